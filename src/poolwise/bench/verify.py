"""Nobody gets a number for a wrong answer. What "wrong" means is stated here, once.

On a sample of planes every answer is held to `oracle`: values that are picked must be equal; the rest may be off by
a number of ulps, where an ulp is that of the same operator over absolute values (what cancellation leaves of it is
nobody's fault). The rest of the array is then held to this package's answer, and where they disagree the oracle is
asked about the worst plane, so that the blame falls on the right side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import oracle
from .case import EXACT, FLOATS, Case
from .inputs import Inputs, float32_of

__all__ = ["OURS", "Oracle", "Verdict", "allowed"]

Array = Any
OURS = "poolwise"
LEAST_ULP = {"float64": 2.0**-1074, "float32": 2.0**-149, "float16": 2.0**-24, "bfloat16": 2.0**-133}
"""Between subnormal numbers."""
SAMPLE = 1 << 20
"""Elements of the sample of planes, which holds one plane at least."""
EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def allowed(case: Case, who: str) -> float:
    """Ulps that an answer may be off; for averages of integers, units.

    This package is held to what it promises: 1 for half precision, 2 for the others; gradients of float32 maxima add in float32. Peers may add up one after
    the other in the array's precision, whose error grows like the square root of the elements.
    """
    if case.op in EXACT and case.mode in ("forward", "indices"):
        return 0.0
    if case.dtype not in FLOATS:
        return 1.0 if case.op == "avg" else 0.0
    if who == OURS:
        if case.dtype == "float32" and case.op in ("max", "min") and case.mode in ("backward", "both"):
            # One rounding of half an ulp for every window that meets in an element, the first apart: float32 is what the
            # operator's definition and torch add in.
            meet = math.prod(-(-window // stride) for window, stride in zip(case.window, case.stride, strict=True))
            return max(2.0, meet / 2)
        return 1.0 if case.dtype in ("float16", "bfloat16") else 2.0
    return 4.0 + 2.0 * math.sqrt(case.elements)


@dataclass(frozen=True)
class Verdict:
    """How far off an answer is, and why that is too far if it is."""

    worst: float
    reason: str | None = None


class Oracle:
    """The right answer to one case on a sample of planes, computed once and asked by everybody."""

    def __init__(self, case: Case, inputs: Inputs) -> None:
        self.case, self.inputs = case, inputs
        planes = case.shape[0] * case.shape[1]
        many = max(1, min(planes, SAMPLE // max(math.prod(case.spatial), 1)))
        rng = np.random.default_rng(0)
        chosen = {0, planes - 1, *rng.permutation(planes)[:many].tolist()}
        self.planes = sorted(chosen)[: max(many, 2)]
        self.value, self.scale, self.at = self._answer(self.planes)
        self.reach = float(np.abs(self.scale).max(initial=0))
        self.ours: tuple[Array, ...] | None = None

    def _answer(self, planes: list[int]) -> tuple[Array, Array, Array | None]:
        case, wide = self.case, oracle.wide_dtype(self.case)
        x = _take(self.inputs.x(), planes).astype(wide)
        if case.mode in ("backward", "both"):
            gy = float32_of(_take(self.inputs.gy(), planes))
            scale = oracle.gradient(replace(case, op="sum") if case.op == "lp" else case, x, np.abs(gy))
            return oracle.gradient(case, x, gy), scale, None
        value = oracle.forward(case, x)
        linear = case.op in ("avg", "sum", "blur")
        scale = oracle.forward(case, np.abs(x)) if linear else np.abs(value)
        return value, scale, oracle.indices(case, x) if case.mode == "indices" else None

    def judge(self, answer: tuple[Array, ...], who: str) -> Verdict:
        """Hold an answer to the sample, then to this package's whole answer."""
        case, limit = self.case, allowed(self.case, who)
        shape = case.shape if case.mode in ("backward", "both") else case.out_shape
        if tuple(answer[0].shape) != shape:
            return Verdict(math.inf, f"shape {tuple(answer[0].shape)}, expected {shape}")
        kind = "f" if case.dtype in FLOATS else np.dtype(case.dtype).kind
        if answer[0].dtype.kind != kind and answer[0].dtype.name != case.dtype:
            return Verdict(math.inf, f"dtype {answer[0].dtype}, expected {case.dtype}")
        verdict = self._hold(answer, self.planes, (self.value, self.scale, self.at), limit)
        if who == OURS:
            self.ours = answer if verdict.reason is None else None
            return verdict
        if verdict.reason is not None or self.ours is None:
            return verdict
        return self._hold_whole(answer, limit, verdict)

    def _hold(
        self, answer: tuple[Array, ...], planes: list[int], right: tuple[Array, Array, Array | None], limit: float
    ) -> Verdict:
        value, scale, at = right
        got = float32_of(_take(answer[0], planes))
        off = self._distance(got, value, scale)
        worst = float(off.max(initial=0))
        if not worst <= limit:  # also where it is NaN
            where = np.unravel_index(int(np.nanargmax(np.where(np.isnan(off), np.inf, off))), off.shape)
            unit = "ulp" if self.case.dtype in FLOATS else "units"
            return Verdict(
                worst,
                f"{got[where]!s} where {value[where]:.9g} is right: {worst:.3g} {unit} off, {limit:.3g} allowed "
                f"(plane {planes[where[0]]}, position {tuple(map(int, where[1:]))})",
            )
        if at is not None and not np.array_equal(_take(answer[1], planes), at):
            return Verdict(math.inf, "positions differ from those of the first largest elements")
        return Verdict(worst)

    def _distance(self, got: Array, value: Array, scale: Array) -> Array:
        case = self.case
        if allowed(case, OURS) == 0:
            same = (got == value) if got.shape == value.shape else np.zeros(1, bool)
            return np.where(same, 0.0, np.inf)
        if case.dtype not in FLOATS:
            return np.abs(got.astype(np.float64) - np.asarray(value, np.float64).round())
        size = np.maximum(np.abs(scale), np.finfo(np.float32).tiny).astype(value.dtype)
        ulp = np.maximum(np.exp2(np.floor(np.log2(size))) * EPS[case.dtype], LEAST_ULP[case.dtype])
        return (np.abs(got.astype(value.dtype) - value) / ulp).astype(np.float64)

    def _hold_whole(self, answer: tuple[Array, ...], limit: float, verdict: Verdict) -> Verdict:
        case, ours = self.case, self.ours
        assert ours is not None
        worst, plane = 0.0, -1
        reach = EPS.get(case.dtype, 1.0) * max(self.reach, 1e-30) if case.dtype in FLOATS else 1.0
        slack = (limit + allowed(case, OURS)) * reach
        for batch in range(case.shape[0]):
            mine, theirs = float32_of(ours[0][batch]), float32_of(answer[0][batch])
            if not np.array_equal(mine, theirs):
                off = np.abs(mine.astype(np.float64) - theirs.astype(np.float64))
                each = np.nan_to_num(off, nan=np.inf).reshape(off.shape[0], -1).max(axis=1)
                if each.max() > max(worst, slack):
                    worst, plane = float(each.max()), batch * case.shape[1] + int(each.argmax())
            if case.mode == "indices" and not np.array_equal(ours[1][batch], answer[1][batch]):
                differ = (ours[1][batch] != answer[1][batch]).reshape(case.shape[1], -1).any(axis=1)
                worst, plane = math.inf, batch * case.shape[1] + int(differ.argmax())
        if plane < 0:
            return verdict
        right = self._answer([plane])
        theirs = self._hold(answer, [plane], right, limit)
        if theirs.reason is not None:
            return theirs
        mine = self._hold(ours, [plane], right, allowed(case, OURS))
        return Verdict(worst, f"poolwise itself is wrong on plane {plane}: {mine.reason}") if mine.reason else verdict


def _take(x: Array, planes: list[int]) -> Array:
    """Those planes of ``(batch, channels, ...)`` as ``(planes, ...)``."""
    batch, channel = np.divmod(np.array(planes), x.shape[1])
    return x[batch, channel]
