"""The operator's own definition, run in the array's own framework.

Always there and hungry: it gathers every window. Work goes through in chunks of bounded memory, by planes and by
rows of outputs. Gradients are in gather form (each input element sums over the windows that see it), so they are
the same on every run and every device.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..arrays import Framework, inverse, memory_order
from ..geometry import Windows, cover
from ..ops._picking import routed
from ..problem import Problem
from ..spec import DTYPES, Taps
from .protocol import Kernel, Residual

__all__ = ["GENERIC", "Generic"]

Array = Any
CHUNK_ELEMENTS = 1 << 22
"""Gathered elements at a time: 32 MB of float64, and a few times that with the definition's temporaries."""


class Generic:
    """The definition, run anywhere."""

    name = "generic"

    def why_not(self, problem: Problem, device: str) -> str | None:
        return None

    def kernel(self, problem: Problem) -> Kernel:
        return GenericKernel(problem)


@dataclass(frozen=True)
class Chunk:
    """Some rows of outputs: their windows as tables in the array's framework."""

    rows: slice
    index: np.ndarray
    valid: np.ndarray
    taps: Taps
    """`values` is still missing."""


@dataclass(frozen=True)
class GenericKernel:
    """One problem's definition."""

    problem: Problem

    @np.errstate(all="ignore")  # NaN and infinities are values here, nothing to warn of
    def forward(self, framework: Framework, x: Array, out: Array | None, save: bool) -> tuple[Array, Residual | None]:
        problem, xp = self.problem, framework.xp
        order = memory_order(problem.shape, framework.strides(x), problem.axes)
        y = framework.empty(problem.out_shape, problem.out_dtype, order, x) if out is None else out
        offsets = None
        if save and problem.op.traits.saves == "offsets":
            offsets = framework.empty(problem.out_shape, problem.offset_dtype, order, x)
        source, target = self._planes(framework, x), self._moved(framework, y)
        for planes in _spans(source.shape[0], self._planes_at_once()):
            results, chosen = [], []
            for chunk in self._chunks(framework, x):
                taps = self._gather(framework, source[planes], chunk)
                results.append(
                    self._narrow(framework, self._empty(xp, taps, problem.op.forward(xp, taps, problem.params)))
                )
                if offsets is not None:
                    chosen.append(framework.cast(problem.op.select(xp, taps), problem.offset_dtype))
            self._put(xp, target, planes, results)
            if offsets is not None:
                self._put(xp, self._moved(framework, offsets), planes, chosen)
        if not save:
            return y, None
        kept = {"nothing": (), "offsets": (offsets,), "input": (x, y)}[problem.op.traits.saves]
        return y, Residual(kept, order)

    @np.errstate(all="ignore")
    def backward(self, framework: Framework, gy: Array, residual: Residual) -> Array:
        problem, xp = self.problem, framework.xp
        wide = "float64" if problem.op.wide[problem.dtype] == "float64" else "float32"
        gx = framework.empty(problem.shape, problem.dtype, residual.order, gy)
        target, seen = self._moved(framework, gx), self._planes(framework, gy)
        saved = [self._planes(framework, array) for array in residual.arrays]
        for planes in _spans(seen.shape[0], self._planes_at_once()):
            total = framework.asarray(
                np.zeros((planes.stop - planes.start, math.prod(problem.windows.sizes)), wide), gy
            )
            for chunk in self._chunks(framework, gy):
                part = framework.cast(seen[planes, chunk.rows], wide)
                per_tap = self._per_tap(framework, chunk, part, [array[planes] for array in saved])
                low, high = int(chunk.index.min(initial=0)), int(chunk.index.max(initial=0)) + 1
                share = _scatter(framework, per_tap, chunk, low, high)
                total[:, low:high] += share
            self._put(xp, target, planes, [framework.cast(total, problem.dtype)])
        return gx

    def shortcut(self, framework: Framework, x: Array) -> None:
        return None

    def differentiable_forward(self, framework: Framework, x: Array) -> Array:
        """The result in operations that the framework can differentiate any number of times."""
        chunk = next(self._chunks(framework, x, all_rows=True))
        taps = self._gather(framework, self._planes(framework, x), chunk)
        y = self._empty(framework.xp, taps, self.problem.op.forward(framework.xp, taps, self.problem.params))
        return self._unmoved(framework, framework.cast(y, self.problem.out_dtype), self.problem.out_shape)

    def differentiable_backward(self, framework: Framework, x: Array, gy: Array) -> Array:
        """The gradient at `x`, itself differentiable in `x` and `gy`."""
        problem, xp = self.problem, framework.xp
        wide = "float64" if problem.op.wide[problem.dtype] == "float64" else "float32"
        chunk = next(self._chunks(framework, x, all_rows=True))
        taps = self._gather(framework, self._planes(framework, x), chunk)
        y = problem.op.forward(xp, taps, problem.params)
        part = framework.cast(self._planes(framework, gy), wide)
        per_tap = problem.op.vjp(xp, taps, problem.params, y, part)
        share = _scatter(framework, per_tap, chunk, 0, math.prod(problem.windows.sizes))
        return self._unmoved(framework, framework.cast(share, problem.dtype), problem.shape)

    def indices(self, framework: Framework, residual: Residual) -> Array:
        problem, xp = self.problem, framework.xp
        (offsets,) = residual.arrays
        flat = framework.empty(problem.out_shape, "int64", residual.order, offsets)
        source, target = self._planes(framework, offsets), self._moved(framework, flat)
        chunks = []
        for chunk in self._chunks(framework, offsets):
            table = framework.asarray(chunk.index, offsets)
            tap = framework.cast(source[:, chunk.rows], "int64")
            rows = xp.arange(table.shape[0], device=tap.device) * table.shape[1]
            chunks.append(
                xp.reshape(xp.take(xp.reshape(table, (-1,)), xp.reshape(tap + rows, (-1,)), axis=0), tap.shape)
            )
        self._put(xp, target, slice(0, source.shape[0]), chunks)
        return flat

    def _per_tap(self, framework: Framework, chunk: Chunk, gy: Array, saved: list[Array]) -> Array:
        op, xp = self.problem.op, framework.xp
        if op.traits.saves == "offsets":
            return routed(xp, chunk.taps, framework.cast(saved[0][:, chunk.rows], "int64"), gy)
        if op.traits.saves == "input":
            taps = self._gather(framework, saved[0], chunk)
            y = framework.cast(saved[1][:, chunk.rows], op.wide[self.problem.dtype])
            return op.vjp(xp, taps, self.problem.params, y, gy)
        # Linear: the values do not matter, only their shape does.
        shape = xp.broadcast_to(gy[..., None], (*gy.shape, chunk.index.shape[1]))
        return op.vjp(xp, _with_values(chunk.taps, shape), self.problem.params, gy, gy)

    def _chunks(self, framework: Framework, like: Array, all_rows: bool = False) -> Iterator[Chunk]:
        problem = self.problem
        windows, taps = problem.windows, self._taps_per_window()
        inner = math.prod(windows.shape[1:])
        weights = None
        if problem.op.weights is not None:
            weights = problem.op.weights(tuple(axis.window for axis in windows.axes))
        at_once = windows.shape[0] if all_rows else max(1, CHUNK_ELEMENTS // max(inner * taps, 1))
        for rows in _spans(windows.shape[0], at_once):
            part = windows.part(rows.start, rows.stop)
            yield self._chunk(framework, like, part, weights, slice(rows.start * inner, rows.stop * inner))

    def _chunk(self, framework: Framework, like: Array, part: Windows, weights: Array, rows: slice) -> Chunk:
        problem = self.problem
        index, valid = part.table() if weights is None else part.bordered_table(problem.border or "zeros")
        count = part.divisor(False).reshape(-1)
        if weights is None:
            weight, divisor = None, part.divisor(problem.count_include_pad).reshape(-1)
        else:
            weight = np.where(valid, weights, 0.0)
            divisor = np.full(len(weight), weights.sum()) if problem.count_include_pad else weight.sum(axis=1)

        def put(array: np.ndarray | None) -> Array:
            return None if array is None else framework.asarray(array, like)

        rounds = DTYPES[problem.out_dtype] != "float"
        taps = Taps(None, put(valid), put(count), put(divisor), put(weight), problem.windows.whole, rounds)
        return Chunk(rows, index, valid, taps)

    def _gather(self, framework: Framework, planes: Array, chunk: Chunk) -> Taps:
        xp, wide = framework.xp, self.problem.op.wide[self.problem.dtype]
        index = framework.asarray(chunk.index.reshape(-1), planes)
        values = xp.reshape(xp.take(planes, index, axis=1), (planes.shape[0], *chunk.index.shape))
        return _with_values(chunk.taps, framework.cast(values, wide))

    def _empty(self, xp: Any, taps: Taps, y: Array) -> Array:
        filled = self.problem.border not in (None, "zeros")  # a border fills windows that see padding only
        if self.problem.empty is None or filled or not self.problem.windows.any_empty:
            return y
        return xp.where(taps.count > 0, y, xp.full_like(y, self.problem.empty))

    def _narrow(self, framework: Framework, y: Array) -> Array:
        problem, xp = self.problem, framework.xp
        if problem.op.casts and DTYPES[problem.out_dtype] == "integer":
            info = np.iinfo(problem.out_dtype)
            wide = np.iinfo("uint64" if "uint64" in str(y.dtype) else "int64")
            low, high = max(info.min, wide.min), min(info.max, wide.max)
            if bool(xp.any((y < low) | (y > high))):
                raise OverflowError(f"a result does not fit {problem.out_dtype}")
        return framework.cast(y, problem.out_dtype)

    def _taps_per_window(self) -> int:
        axes = self.problem.windows.axes
        return math.prod(axis.window if self.problem.op.weights else axis.most for axis in axes)

    def _planes_at_once(self) -> int:
        rows = math.prod(self.problem.windows.shape) * self._taps_per_window()
        return max(1, CHUNK_ELEMENTS // max(rows, 1))

    def _moved(self, framework: Framework, x: Array) -> Array:
        """A view ``[others..., pooled...]``."""
        axes = self.problem.axes
        others = tuple(axis for axis in range(len(self.problem.shape)) if axis not in axes)
        return framework.xp.permute_dims(x, others + axes)

    def _planes(self, framework: Framework, x: Array) -> Array:
        """``[planes, elements]``: a view where the memory order allows it."""
        moved = self._moved(framework, x)
        elements = math.prod(moved.shape[len(moved.shape) - len(self.problem.axes) :])
        return framework.xp.reshape(moved, (self.problem.planes, elements))

    def _unmoved(self, framework: Framework, planes: Array, shape: tuple[int, ...]) -> Array:
        """``[planes, elements]`` back to the array's own axes."""
        axes = self.problem.axes
        moved = tuple(axis for axis in range(len(shape)) if axis not in axes) + axes
        return framework.xp.permute_dims(
            framework.xp.reshape(planes, tuple(shape[axis] for axis in moved)), inverse(moved)
        )

    def _put(self, xp: Any, target: Array, planes: slice, parts: list[Array]) -> None:
        """Write ``[planes, elements]`` parts into a view ``[others..., pooled...]``."""
        if not parts:
            return
        joined = parts[0] if len(parts) == 1 else xp.concat(parts, axis=1)
        others = target.shape[: len(target.shape) - len(self.problem.axes)]
        if planes.start == 0 and planes.stop == math.prod(others):
            target[...] = xp.reshape(joined, target.shape)
            return
        pooled = target.shape[len(others) :]
        for row, plane in enumerate(range(planes.start, planes.stop)):
            target[np.unravel_index(plane, others)] = xp.reshape(joined[row], pooled)


def _with_values(taps: Taps, values: Array) -> Taps:
    return Taps(values, taps.valid, taps.count, taps.divisor, taps.weight, taps.whole, taps.rounds)


def _scatter(framework: Framework, per_tap: Array, chunk: Chunk, low: int, high: int) -> Array:
    """Sum ``[planes, outputs, taps]`` into input positions ``low <= i < high``, in scan order of the outputs."""
    xp = framework.xp
    entries, real = cover(chunk.index - low, chunk.valid, high - low)
    flat = xp.reshape(per_tap, (per_tap.shape[0], -1))
    parts = xp.take(flat, framework.asarray(entries.reshape(-1), per_tap), axis=1)
    parts = xp.reshape(parts, (per_tap.shape[0], *entries.shape))
    return xp.sum(xp.where(framework.asarray(real, per_tap), parts, xp.zeros_like(parts)), axis=-1)


def _spans(total: int, at_once: int) -> Iterator[slice]:
    for start in range(0, total, at_once):
        yield slice(start, min(start + at_once, total))


GENERIC = Generic()
