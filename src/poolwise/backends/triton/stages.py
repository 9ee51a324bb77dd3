"""From a problem to launches: which kernel, over which axes, with which constants.

A small window is one launch. A large one is taken axis by axis, from the innermost out, so that the work grows with the
sum of its lengths and not with their product. Scan order survives: the first of equal elements in the first of equal
rows is the first of all. The gradient of a maximum goes back the same way, because the number of the picked element
inside its row does not depend on which window picked the row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import triton.language as tl

from ...geometry import offset_dtype
from ...problem import Problem
from . import forward, long
from .launch import INTERPRETED, LARGEST, Launch, packed, tile
from .layout import Axis, Layout

__all__ = ["Shares", "Stage", "forward_stages"]

UNROLLED = 32
"""Elements of a window up to which loops are unrolled and axes pooled together."""
DENSE = 16
"""The same for windows at a stride of 1: two passes over 5 x 5 take half the time of one launch on an H100."""
LONG = 32
"""Elements of a window from which its outputs may be too few to fill the device, and lanes share it."""
BUSY = 1 << 18
"""Lanes that fill the device."""
MOST_AXES = 3

NONE = np.zeros(1, np.int32)
PICKS, SUMS, AVERAGES, NORM = range(4)
OPS = {"max": PICKS, "min": PICKS, "sum": SUMS, "avg": AVERAGES, "lp": NORM}
COMPARED = {"float64": "float64", "int64": "int64", "uint64": "uint64", "uint32": "int64"}
COMPARED |= dict.fromkeys(("float32", "float16", "bfloat16"), "float32")
"""In which dtype elements are compared; int32 for the other integers."""
SUMMED = {"float16": "float32", "bfloat16": "float32", "float32": "float64", "float64": "float64"}
"""float32 adds up in float64: 9 conversions per output of a 3 x 3 window still hide behind memory on a data-centre GPU."""
POWERS = {"float16": "float32", "bfloat16": "float64", "float32": "float64", "float64": "float64"}
"""Wide enough for 4th powers of any finite element but those of float64, which are scaled by the largest."""


@dataclass(eq=False)
class Stage:
    """One launch, and what it leaves for the next: how many elements, of which dtypes."""

    launch: Launch
    results: int
    dtype: torch.dtype | None = None
    digits: torch.dtype | None = None


def dtype_of(name: str) -> torch.dtype:
    return getattr(torch, name)


def padded(axes: tuple[Axis, ...]) -> list[Axis | None]:
    return [None] * (MOST_AXES - len(axes)) + list(axes)


def shape_of(axes: tuple[Axis, ...]) -> tuple[int, ...]:
    """Sizes, then outputs, of exactly three axes."""
    three = padded(axes)
    return tuple(axis.size if axis else 1 for axis in three) + tuple(axis.outputs if axis else 1 for axis in three)


def form_of(axis: Axis | None) -> tuple[int, ...]:
    """``(G, S, D, K)``."""
    if axis is None:
        return 0, 1, 1, 1
    return axis.origin, axis.windows.stride, axis.windows.step, axis.taps


def table_of(axis: Axis | None) -> np.ndarray:
    if axis is None or axis.even:
        return NONE
    return np.concatenate([axis.windows.start, axis.windows.count]).astype(np.int32)


@dataclass(frozen=True)
class Shares:
    """What an average divides by: a constant, and per axis a column where it varies."""

    constant: float
    columns: tuple[np.ndarray, ...]
    vary: tuple[bool, ...]

    @classmethod
    def of(cls, problem: Problem, axes: tuple[Axis, ...], last: bool, exact: bool) -> Shares:
        """Of these axes; `last` where nothing is left to divide by after them. Columns hold inverses unless `exact`."""
        params: Any = problem.params
        one = cls(1.0, (NONE,) * MOST_AXES, (False,) * MOST_AXES)
        if problem.op.name == "lp" and params.rescale:
            counted = False
        elif problem.op.name == "avg" and params.divisor is None:
            counted = problem.count_include_pad
        elif problem.op.name == "avg":
            return cls(float(params.divisor), one.columns, one.vary) if last else one
        else:
            return one
        constant, columns, vary = 1.0, [], []
        for axis in padded(axes):
            column = NONE if axis is None else axis.divisor(counted)
            varies = axis is not None and bool((column != column[0]).any())
            columns.append((column.astype(np.int32) if exact else 1.0 / column) if varies else NONE)
            vary.append(varies)
            constant *= 1.0 if varies or axis is None else float(column[0])
        return cls(constant, tuple(columns), tuple(vary))


def _wide(problem: Problem) -> str:
    name = problem.op.name
    if OPS[name] == PICKS:
        return COMPARED.get(problem.dtype, "int32")
    return POWERS[problem.dtype] if name == "lp" else SUMMED[problem.dtype]


def _scaled(problem: Problem) -> bool:
    params: Any = problem.params
    return problem.op.name == "lp" and (problem.dtype == "float64" or params.p > 4)


def _apart(problem: Problem, layout: Layout, elements: int) -> bool:
    """True where axes are taken one by one."""
    whole = _scaled(problem) or getattr(problem.params, "rescale", False)
    most = UNROLLED if layout.axes[-1].windows.stride > 1 else DENSE
    return len(layout.axes) > MOST_AXES or (len(layout.axes) > 1 and elements > most and not whole)


def forward_stages(problem: Problem, layout: Layout, save: bool) -> tuple[Stage, ...]:
    """The launches of a forward pass, in order."""
    if not _apart(problem, layout, layout.taps):
        return (_forward(problem, layout, weights_of(layout.radix), save, True, True),)
    places = list(reversed(range(len(layout.axes))))
    if OPS[problem.op.name] != PICKS:
        # Sums have no scan order to keep, and rows of whole lines are read best: the outermost axis first. Averages
        # over 33 x 33 windows at a stride of 16 took 960 us the other way on an H100.
        places.reverse()
    return tuple(
        _forward(
            problem,
            layout.single(place, places),
            (math.prod(layout.radix[place + 1 :]),),
            save,
            place == places[0],
            place == places[-1],
        )
        for place in places
    )


def weights_of(radix: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(radix[place + 1 :]) for place in range(len(radix)))


def _forward(problem: Problem, layout: Layout, weights: tuple[int, ...], save: bool, first: bool, last: bool) -> Stage:
    op, wide, params = OPS[problem.op.name], _wide(problem), problem.params
    between = wide if op != PICKS else "uint8" if problem.dtype == "bool" else problem.dtype
    divided = op == AVERAGES and (last or params.divisor is None)
    shares = Shares.of(problem, layout.axes, last, problem.dtype == "float64")
    values = {
        "OP": AVERAGES if divided else SUMS if op == AVERAGES else op,
        "ACC": getattr(tl, wide),
        "MINIMUM": problem.op.name == "min",
        "LOW": {"int32": -(1 << 31), "int64": -(1 << 63)}.get(wide, 0),
        "SAVE": save,
        "CARRY": save and not first,
        "N": shares.constant,
        "EXACT": problem.dtype == "float64",
        "GUARD": divided and problem.dtype in ("bfloat16", "float64"),
        "P": float(getattr(params, "p", 2.0)),
        "SCALED": _scaled(problem),
        "POWER": op == NORM and first,
        "ROOT": op == NORM and last,
        "RESCALE": bool(getattr(params, "rescale", False)),
        "WIDE": max(layout.sizes, layout.results) > LARGEST,
    }
    if values["RESCALE"]:
        values["N"] /= problem.windows.whole
    lanes_share = (
        len(layout.axes) == 1 and layout.taps >= LONG and not values["SCALED"] and not values["RESCALE"]
        and (layout.axes[0].windows.stride * 2 >= layout.taps or layout.axes[0].outputs < 8)
        and (layout.inner == 1 or layout.results < BUSY)
    )  # fmt: skip
    return Stage(
        (_long if lanes_share else _lanes)(layout, weights, shares, values),
        layout.results,
        None if last else dtype_of(between),
        None if last or not save else dtype_of(digits_of(weights[0] * layout.axes[0].windows.most)),
    )


def digits_of(numbers: int) -> str:
    return offset_dtype((numbers,))


def _lanes(layout: Layout, weights: tuple[int, ...], shares: Shares, values: dict[str, Any]) -> Launch:
    axes, along = padded(layout.axes), layout.inner > 1
    unroll = layout.taps <= UNROLLED
    block = _block(axes, values) if unroll else 1
    blocks = -(-(axes[1].outputs if axes[1] else 1) // block)
    lanes = layout.inner if along else axes[2].outputs
    rows = layout.outer * (axes[0].outputs if axes[0] else 1) * blocks * (axes[2].outputs if along else 1)
    size = tile(rows, lanes, block, _results(axes[2], along, block, layout.inner))
    tiles = -(-lanes // size.lanes)
    constants = (
        *(number for axis in axes for number in form_of(axis)),
        *(axis is not None and not axis.even for axis in axes),
        *(axis is not None and (axis.cut or (place == 1 and axis.outputs % block > 0)) for place, axis in enumerate(axes)),
        *shares.vary,
        *((0,) * (MOST_AXES - len(weights)) + weights),
        *values_of(values, LANE_VALUES), along, unroll and not INTERPRETED, values["WIDE"], size.rows, size.lanes, block,
    )  # fmt: skip
    integers = (
        rows,
        tiles,
        *shape_of(layout.axes),
        layout.inner,
        blocks,
        packed(axes[0].outputs if axes[0] else 1),
        packed(blocks),
        packed(axes[2].outputs),
    )
    columns = (*map(table_of, axes), *shares.columns)
    return Launch(forward.pool, -(-rows // size.rows) * tiles, columns, integers, constants, size.warps)


def _results(last: Axis, along: bool, block: int, inner: int) -> int:
    """Results per program. Lanes whose elements lie apart share cache lines between taps: too many, and the lines are
    gone before the next tap (2 x 2 at a stride of 2 on an H100: 102 us with 8 results per thread, 87 with 4).
    """
    if along:
        return 1024 if inner >= 64 else 512
    if not last.even or last.windows.stride > 1:
        return 512 if block == 1 and last.even else 256
    return 512 if block == 1 else 1024


def _block(axes: list[Axis | None], values: dict[str, Any]) -> int:
    """Outputs along axis 1 per lane: as many as make shared rows worth it."""
    axis = axes[1]
    if axis is None or not axis.even or values["SCALED"] or values["RESCALE"]:
        return 1
    window = axis.windows
    if window.step * (window.window - 1) + 1 <= window.stride or window.outputs < 4:
        return 1
    return 4 if window.stride == 1 else 2


LANE_VALUES = (
    "OP", "ACC", "MINIMUM", "LOW", "SAVE", "CARRY", "N", "EXACT", "GUARD", "P", "SCALED", "POWER", "ROOT",
    "RESCALE",
)  # fmt: skip
LONG_VALUES = (
    "OP", "ACC", "MINIMUM", "LOW", "SAVE", "CARRY", "N", "EXACT", "GUARD", "P", "POWER", "ROOT", "WIDE",
)  # fmt: skip


def values_of(values: dict[str, Any], names: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(values[name] for name in names)


def _long(layout: Layout, weights: tuple[int, ...], shares: Shares, values: dict[str, Any]) -> Launch:
    (axis,) = layout.axes
    rows = layout.outer * axis.outputs
    lanes = min(32, 1 << (layout.inner - 1).bit_length())
    taps = min(1 << (axis.taps - 1).bit_length(), 1024 // lanes, 128)
    height = min(max(1024 // (lanes * taps), 1), 1 << (rows - 1).bit_length())
    tiles = -(-layout.inner // lanes)
    listed = not axis.even
    constants = (
        *form_of(axis), listed, axis.cut, shares.vary[-1], weights[0], *values_of(values, LONG_VALUES), height, taps, lanes,
    )  # fmt: skip
    integers = (rows, tiles, axis.size, axis.outputs, layout.inner, packed(axis.outputs))
    columns = (table_of(axis), shares.columns[-1])
    return Launch(long.pool_long, -(-rows // height) * tiles, columns, integers, constants, 4)
