"""From a problem to launches, backward: in gather form, one launch, or one per axis from the outermost in."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import triton.language as tl

from ...problem import Problem
from . import backward, phases
from .launch import INTERPRETED, LARGEST, Launch, packed, tile
from .layout import Axis, Layout
from .stages import (
    DENSE,
    MOST_AXES,
    NONE,
    NORM,
    OPS,
    PICKS,
    SUMMED,
    UNROLLED,
    Shares,
    Stage,
    digits_of,
    dtype_of,
    form_of,
    padded,
    shape_of,
    values_of,
    weights_of,
)

__all__ = ["backward_stages", "index_stage"]


def backward_stages(problem: Problem, layout: Layout) -> tuple[Stage, ...]:
    """The launches of a backward pass, in order."""
    linear, several = OPS[problem.op.name] != NORM, len(layout.axes) > 1
    # Tables are looked up per axis and element: one axis at a time, most of it happens on an array that is still small.
    listed = any(not axis.even for axis in layout.axes)
    most = 1 if listed else UNROLLED if _phases(layout) else DENSE
    if not (len(layout.axes) > MOST_AXES or (linear and several and layout.seen > most)):
        return (_backward(problem, layout, weights_of(layout.radix), 1, True),)
    stages = []
    for place in range(len(layout.axes)):
        rest = math.prod(layout.radix[place + 1 :])
        last = place == len(layout.axes) - 1
        stages.append(
            _backward(problem, layout.single(place, list(range(len(layout.axes))), back=True), (1,), rest, last)
        )
    return tuple(stages)


def _backward(problem: Problem, layout: Layout, weights: tuple[int, ...], rest: int, last: bool) -> Stage:
    op, params = OPS[problem.op.name], problem.params
    shares = Shares.of(problem, layout.axes, last, False)
    constant, rescale = shares.constant, bool(getattr(params, "rescale", False))
    if rescale:
        constant = problem.windows.whole / constant
    # The slope of a norm is a quotient with the rounded result: float32 is as good as more.
    wide = "float32" if op == NORM and problem.dtype != "float64" else SUMMED[problem.dtype]
    if problem.dtype == "float32" and last and layout.seen <= 2 and op != NORM and not any(shares.vary):
        # One rounding of at most one sum either way.
        wide = "float32" if math.frexp(constant)[0] == 0.5 else wide
    more = op == PICKS and not last
    values = {
        "REST": rest, "OP": op, "ACC": getattr(tl, wide), "N": constant, "MORE": more,
        "P": float(getattr(params, "p", 2.0)), "INVERT": not rescale,
        "WIDE": max(layout.sizes, layout.results) > LARGEST,
    }  # fmt: skip
    steps = None if more or op == NORM else _phases(layout)
    if steps is None:
        launch = _gathered(layout, weights, shares, values)
    else:
        launch = _phased(layout, weights, shares, values, steps)
    dtype, digits = None if last else dtype_of(wide), dtype_of(digits_of(rest + 1)) if more else None
    return Stage(launch, layout.sizes, dtype, digits)


def _gathered(layout: Layout, weights: tuple[int, ...], shares: Shares, values: dict[str, Any]) -> Launch:
    axes, along = padded(layout.axes), layout.inner > 1
    sizes = [axis.size for axis in layout.axes]
    lanes = layout.inner if along else sizes[-1]
    rows = layout.outer * math.prod(sizes if along else sizes[:-1])
    block = tile(rows, lanes)
    tiles = -(-lanes // block.lanes)
    constants = (
        *(number for axis in axes for number in form_of(axis)),
        *(axis is not None and not axis.even for axis in axes),
        *(axis.seen if axis else 1 for axis in axes),
        *shares.vary,
        *((0,) * (MOST_AXES - len(weights)) + weights),
        *values_of(values, ("REST", "OP", "ACC", "N", "MORE", "P", "INVERT")),
        along, layout.seen <= UNROLLED and not INTERPRETED, values["WIDE"], block.rows, block.lanes,
    )  # fmt: skip
    shape = shape_of(layout.axes)
    integers = (rows, tiles, *shape, layout.inner, *map(packed, shape[:MOST_AXES]))
    columns = (*map(inverse_of, axes), *shares.columns)
    return Launch(backward.spread, -(-rows // block.rows) * tiles, columns, integers, constants, block.warps)


def _phases(layout: Layout) -> tuple[int, ...] | None:
    """Positions per block and axis for the kernel by phases, where it serves these windows."""
    steps, seen = [], 1
    for place, axis in enumerate(padded(layout.axes)):
        if axis is None:
            steps.append(1)
            continue
        window = axis.windows
        if not axis.even or window.step > 1 or window.window < window.stride or window.stride > 4:
            return None
        lanes = place == MOST_AXES - 1 and layout.inner == 1
        if lanes and window.stride > 2:
            return None
        # Overlapping rows are loaded once per block.
        block = (
            (4 if axis.seen < 4 else 2)
            if place == 1 and window.stride == 1 and window.window > 1 and axis.size > 3
            else 1
        )
        steps.append(window.stride * block)
        seen *= axis.seen
    return tuple(steps) if math.prod(steps) <= 8 and seen <= UNROLLED else None


def _phased(
    layout: Layout, weights: tuple[int, ...], shares: Shares, values: dict[str, Any], steps: tuple[int, ...]
) -> Launch:
    axes, along = padded(layout.axes), layout.inner > 1
    blocks = tuple(-(-(axis.size if axis else 1) // step) for axis, step in zip(axes, steps, strict=True))
    lanes = layout.inner if along else blocks[-1]
    rows = layout.outer * math.prod(blocks if along else blocks[:-1])
    block = tile(rows, lanes, min(math.prod(steps), 4), 1024 if layout.seen <= 9 else 512)
    tiles = -(-lanes // block.lanes)
    forms = [form_of(axis) for axis in axes]
    constants = (
        *(number for (g, s, _, k), step in zip(forms, steps, strict=True) for number in (g, s, k, step)),
        *shares.vary,
        *((0,) * (MOST_AXES - len(weights)) + weights),
        *values_of(values, ("OP", "ACC", "N")), 1.0 / values["N"], along, values["WIDE"], block.rows, block.lanes,
    )  # fmt: skip
    integers = (rows, tiles, *shape_of(layout.axes), layout.inner, *blocks, *map(packed, blocks))
    columns = shares.columns
    return Launch(phases.spread_phases, -(-rows // block.rows) * tiles, columns, integers, constants, block.warps)


def inverse_of(axis: Axis | None) -> np.ndarray:
    """Outputs that see each position, then its number in each; -1 for none."""
    if axis is None or axis.even:
        return NONE
    windows, i = axis.windows, np.arange(axis.size)
    low, high = windows.inverse
    outputs, digits = [], []
    for t in range(axis.seen):
        output = np.minimum(low + t, axis.outputs - 1)
        digit, apart = np.divmod(i - windows.start[output], windows.step)
        real = (low + t < high) & (apart == 0) & (digit >= 0) & (digit < windows.count[output])
        outputs.append(np.where(real, output, -1))
        digits.append(digit)
    return np.concatenate(outputs + digits).astype(np.int32)


def index_stage(layout: Layout) -> Stage | None:
    """The launch from offsets to flat positions; `None` for more axes than it has."""
    if len(layout.axes) > MOST_AXES:
        return None
    axes, weights = padded(layout.axes), weights_of(layout.radix)
    rows = layout.results // layout.inner
    block = tile(rows, layout.inner)
    tiles = -(-layout.inner // block.lanes)
    integers = (rows, tiles, *shape_of(layout.axes)[MOST_AXES:], layout.inner)
    constants = (
        *(axis.windows.step if axis else 1 for axis in axes),
        *((math.prod(layout.radix),) * (MOST_AXES - len(weights)) + weights),
        *(axis.index_stride if axis else 0 for axis in axes),
        layout.results > LARGEST,
        block.rows,
        block.lanes,
    )
    columns = tuple(NONE if axis is None else axis.windows.start.astype(np.int32) for axis in axes)
    programs = -(-rows // block.rows) * tiles
    launch = Launch(backward.flat_indices, programs, columns, integers, constants, block.warps)
    return Stage(launch, layout.results)
