"""From a blur to launches: one where its windows are small, else one per axis from the outermost in, both ways."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import triton.language as tl

from ...geometry import AxisWindows
from ...problem import Problem
from . import blur
from .launch import INTERPRETED, LARGEST, Launch, packed, tile
from .layout import Axis, Layout
from .stages import DENSE, MOST_AXES, NONE, SUMMED, UNROLLED, Stage, dtype_of, padded

__all__ = ["blur_backward_stages", "blur_forward_stages"]

LEAST_SINGLE = 120
"""Powers of two by which weights may fall in float32; filters of half types that fall further are taken in float64."""
ONE = np.ones(1)


@dataclass(frozen=True, eq=False)
class Filter:
    """What the kernel reads along one axis: results ``first <= i < last`` in closed form, the others off a table."""

    form: tuple[int, int, int, int, int]
    """``(G, S, D, K)`` of the windows in closed form, and the most entries of any result."""
    between: tuple[int, int]
    weights: np.ndarray
    positions: np.ndarray
    """``[entries, results in the table]``: what is read, -1 for none."""
    shares: np.ndarray
    """``[entries, results in the table]``: with which weight."""
    inside: np.ndarray
    """Per result, the part of the weight that is not on padding."""
    edged: bool


PLAIN = Filter((0, 1, 1, 1, 1), (0, 0), ONE, NONE[None], ONE[None], ONE, False)
"""One element each."""


class Rows:
    """The windows of outputs ``begin <= i < end``, nominal: positions ``[outputs, window]`` and what they weigh."""

    def __init__(self, problem: Problem, windows: AxisWindows, begin: int, end: int) -> None:
        weights = weights_along(problem, windows)
        self.outputs = np.arange(begin, end)
        self.at = windows.part(begin, end).positions(problem.border or "zeros")
        kept = np.where(self.at >= 0, weights, 0.0).sum(axis=1)
        whole = weights.sum() if problem.count_include_pad else kept
        self.inside = kept / whole
        self.share = weights / np.broadcast_to(whole, kept.shape)[:, None]


def weights_along(problem: Problem, windows: AxisWindows) -> np.ndarray:
    """The operator's weights along one axis."""
    assert problem.op.weights is not None
    return problem.op.weights((windows.window,))


def _both(low: Rows, high: Rows, name: str) -> np.ndarray:
    return np.concatenate([getattr(low, name), getattr(high, name)])


def _regular(windows: AxisWindows) -> tuple[int, int, int, int]:
    """``(G, S, D, K)`` of the nominal windows: a filter's slide, so all of them are evenly spaced."""
    origin = windows.origin[:2]
    stride = int(origin[1] - origin[0]) if len(origin) > 1 else 1
    return int(origin[0]), stride, windows.step, windows.window


def _forward_filter(problem: Problem, windows: AxisWindows) -> Filter:
    low = Rows(problem, windows, 0, windows.first)
    high = Rows(problem, windows, windows.last, windows.outputs)
    at, share = _both(low, high, "at"), _both(low, high, "share")
    # What is there comes first: the first entry is what others are compared with.
    order = np.argsort(at < 0, axis=1, kind="stable")
    at, share = np.take_along_axis(at, order, axis=1), np.take_along_axis(share, order, axis=1)
    inside = np.concatenate([low.inside, np.ones(windows.last - windows.first), high.inside])
    weights = weights_along(problem, windows)
    return Filter(
        (*_regular(windows), windows.window), (windows.first, windows.last), weights / weights.sum(), at.T, share.T,
        inside, len(at) > 0,
    )  # fmt: skip


def _backward_filter(problem: Problem, windows: AxisWindows) -> Filter:
    """The transpose. Elements that windows on an edge read, folded back by the border, are listed with all that see them."""
    g, stride, step, window = form = _regular(windows)
    low = Rows(problem, windows, 0, windows.first)
    high = Rows(problem, windows, windows.last, windows.outputs)
    touched = np.unique(np.concatenate([low.at.reshape(-1), high.at.reshape(-1), [-1, windows.size]]))
    widest = int(np.argmax(np.diff(touched)))
    begin, end = int(touched[widest]) + 1, int(touched[widest + 1])
    reach, weights = step * (window - 1), weights_along(problem, windows)
    if windows.first == windows.last:
        begin = end = 0
    else:
        # Whole windows that reach into what is listed: starts increase.
        a = min(max(-(-(begin - g) // stride), windows.first), windows.last)
        b = min(max((end - reach - 1 - g) // stride + 1, a), windows.last)
        low, high = Rows(problem, windows, 0, a), Rows(problem, windows, b, windows.outputs)
    at, share = _both(low, high, "at"), _both(low, high, "share")
    output = np.broadcast_to(_both(low, high, "outputs")[:, None], at.shape)
    real = (at >= 0) & ((at < begin) | (at >= end))
    positions, shares = _transposed(at[real], output[real], share[real], windows, begin, end)
    most = max(positions.shape[0], reach // stride + 1 if windows.first < windows.last else 1)
    if len(positions) < most:
        more = ((0, most - len(positions)), (0, 0))
        positions, shares = np.pad(positions, more, constant_values=-1), np.pad(shares, more)
    return Filter(
        (*form, most), (begin, end), weights / weights.sum(), positions, shares, ONE,
        begin > 0 or end < windows.size,
    )  # fmt: skip


def _transposed(
    at: np.ndarray, output: np.ndarray, share: np.ndarray, windows: AxisWindows, begin: int, end: int
) -> tuple[np.ndarray, np.ndarray]:
    """Per listed element the outputs that see it, in order, each once with the sum of its weights there."""
    key, which = np.unique(at * windows.outputs + output, return_inverse=True)
    total = np.zeros(len(key))
    np.add.at(total, which.reshape(-1), share)
    at, output = key // windows.outputs, key % windows.outputs
    row = np.where(at < begin, at, at - (end - begin))
    rows = windows.size - (end - begin)
    seen = np.bincount(row, minlength=rows)
    rank = np.arange(len(row)) - np.repeat(np.cumsum(seen) - seen, seen)
    positions = np.full((max(int(seen.max(initial=0)), 1), rows), -1, np.int64)
    shares = np.zeros(positions.shape)
    positions[rank, row], shares[rank, row] = output, total
    return positions, shares


def _several(layout: Layout, elements: int) -> bool:
    """True where axes are taken one by one."""
    most = UNROLLED if layout.axes[-1].windows.stride > 1 else DENSE
    return len(layout.axes) > MOST_AXES or (len(layout.axes) > 1 and elements > most)


def blur_forward_stages(problem: Problem, layout: Layout) -> tuple[Stage, ...]:
    """The launches of a forward pass, in order."""
    filters = {axis: _forward_filter(problem, axis.windows) for axis in layout.axes}
    return _stages(problem, layout, filters, back=False)


def blur_backward_stages(problem: Problem, layout: Layout) -> tuple[Stage, ...]:
    """The launches of a backward pass, in order."""
    filters = {axis: _backward_filter(problem, axis.windows) for axis in layout.axes}
    return _stages(problem, layout, filters, back=True)


def _stages(problem: Problem, layout: Layout, filters: dict[Axis, Filter], back: bool) -> tuple[Stage, ...]:
    if not _several(layout, math.prod(found.form[-1] for found in filters.values())):
        return (_stage(problem, layout, filters, back, True),)
    places = [place for place, axis in enumerate(layout.axes) if not axis.windows.identity]
    return tuple(
        _stage(problem, layout.single(place, places, back=back), filters, back, place == places[-1]) for place in places
    )


def _stage(problem: Problem, layout: Layout, filters: dict[Axis, Filter], back: bool, last: bool) -> Stage:
    axes, along = padded(layout.axes), layout.inner > 1
    found = [PLAIN if axis is None else filters[axis] for axis in axes]
    taps = math.prod(each.form[-1] for each in found)
    wide = _wide(problem)
    reads = tuple(1 if axis is None else axis.outputs if back else axis.size for axis in axes)
    gives = tuple(1 if axis is None else axis.size if back else axis.outputs for axis in axes)
    lanes = layout.inner if along else gives[-1]
    rows = layout.outer * math.prod(gives if along else gives[:-1])
    # Told apart from sums only where float64 is rounded to itself; elsewhere the last rounding gives a constant back.
    shift = problem.dtype == "float64" and not back
    # Loads of a whole window are in flight at once: four results a lane took 254 registers for 31 elements, and spilled.
    most = 256 if taps <= 9 else 128
    block = tile(rows, lanes, 1, most, widest=most)
    tiles = -(-lanes // block.lanes)
    constants = (
        *(value for each in found for value in (*each.form, each.edged)),
        getattr(tl, wide), shift, shift and any(bool((each.inside != 1).any()) for each in found),
        along, taps <= UNROLLED and not INTERPRETED, max(layout.sizes, layout.results) > LARGEST, block.rows, block.lanes,
    )  # fmt: skip
    integers = (
        rows, tiles, *reads, *gives, layout.inner, *map(packed, gives),
        *(each.between[0] for each in found), *(each.between[1] for each in found),
        *(each.positions.shape[1] for each in found),
    )  # fmt: skip
    columns = (
        *(_flat(each.positions, np.int32) for each in found),
        *(_flat(each.shares, wide) for each in found),
        *(_flat(each.weights, wide) for each in found),
        *(_flat(each.inside if shift else ONE, wide) for each in found),
    )
    kernel = blur.blur_back if back else blur.blur
    launch = Launch(kernel, -(-rows // block.rows) * tiles, columns, integers, constants, block.warps)
    return Stage(launch, layout.sizes if back else layout.results, None if last else dtype_of(wide))


def _flat(column: np.ndarray, dtype: Any) -> np.ndarray:
    return np.ascontiguousarray(column, dtype).reshape(-1) if column.size else np.zeros(1, dtype)


def _wide(problem: Problem) -> str:
    falls = sum(axis.window - 1 for axis in problem.windows.axes)
    return "float64" if falls > LEAST_SINGLE else SUMMED[problem.dtype]
