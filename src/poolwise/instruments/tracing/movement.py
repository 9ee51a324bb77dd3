"""Operations that move elements and compute nothing: the same operation, done to the arrays of a reach."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from .merging import gathered, joined
from .reach import Axis, Grid, Reach, compact, expanded

__all__ = ["flipped", "groups", "joined_of", "mapped", "reshaped", "rolled", "shuffled", "viewed"]

Tensor = torch.Tensor
Shape = Sequence[int]


def groups(before: Shape, after: Shape) -> list[tuple[list[int], list[int]]]:
    """The smallest runs of dimensions that hold the same elements before and after a reshape."""
    if math.prod(before) == 0:
        return [(list(range(len(before))), list(range(len(after))))]
    found = []
    i = j = 0
    while i < len(before) or j < len(after):
        ins: list[int] = []
        outs: list[int] = []
        m = n = 1
        if i < len(before):
            ins, m, i = [i], before[i], i + 1
        if j < len(after):
            outs, n, j = [j], after[j], j + 1
        while m != n:
            if m < n:
                ins, m, i = [*ins, i], m * before[i], i + 1
            else:
                outs, n, j = [*outs, j], n * after[j], j + 1
        found.append((ins, outs))
    return found


def reshaped(reach: Reach, before: Shape, after: Shape) -> Reach:
    """`view`, `reshape`, `flatten`: elements stay in order."""
    parts = groups(before, after)
    along = [axis.grid.dim for axis in reach if axis.grid is not None]
    return tuple(_reshaped(axis, before, after, parts, along) for axis in reach)


def _reshaped(axis: Axis, before: Shape, after: Shape, parts: Any, along: list[int]) -> Axis:

    def reshape(array: Tensor) -> Tensor:
        full, wanted = list(array.shape), [1] * len(after)
        for ins, outs in parts:
            if any(array.shape[d] > 1 for d in ins):
                for d in ins:
                    full[d] = before[d]
                for d in outs:
                    wanted[d] = after[d]
        return compact(array.expand(full).reshape(wanted))

    found = axis.each(reshape)
    if axis.grid is None:
        return found
    ins, outs = next((ins, outs) for ins, outs in parts if axis.grid.dim in ins)
    return found.on(_regrouped(axis.grid, before, after, ins, outs, sum(dim in ins for dim in along) > 1))


def _regrouped(grid: Grid, before: Shape, after: Shape, ins: list[int], outs: list[int], crowded: bool) -> Grid | None:
    """`crowded`: other axes of the input run along these dimensions too."""
    wide_in = [d for d in ins if before[d] > 1 or d == grid.dim]
    wide_out = [d for d in outs if after[d] > 1] or outs[:1]
    if not wide_out:
        return None
    if len(wide_in) == 1 and len(wide_out) == 1:
        return grid._replace(dim=wide_out[0])
    if len(wide_out) == 1:  # flattened
        inner = math.prod(before[d] for d in ins if d > grid.dim)
        if wide_in[0] == grid.dim and not grid.folded and not crowded:
            return grid._replace(dim=wide_out[0], period=grid.period * inner)
        length = grid.length if grid.folded else before[grid.dim]
        return grid._replace(dim=wide_out[0], inner=grid.inner * inner, length=length)
    if len(wide_in) > 1:
        return None
    # Split: one step along the outermost new dimension is as many elements as all others hold.
    if not grid.folded:
        inner = math.prod(after[d] for d in outs if d > wide_out[0])
        return grid.strided(wide_out[0], 1, inner)
    assert grid.length is not None
    for d in wide_out:
        inner, rest = divmod(grid.inner, math.prod(after[e] for e in outs if e > d))
        if inner and not rest and after[d] % (inner * grid.length) == 0:
            alone = inner * grid.length == after[d] and inner == 1
            return grid._replace(dim=d, inner=inner, length=None if alone else grid.length)
    return None


def viewed(reach: Reach, shape: Shape, view: Callable[[Tensor], Any], number: int) -> Reach:
    """An operation that looks at the same memory in another way; it is done to the arrays, and to strides that tell
    dimensions apart. Of several results, that of this number."""

    def look(array: Tensor) -> Tensor:
        seen = view(array)
        return seen[number] if isinstance(seen, (list, tuple)) else seen

    strides, total = [0] * len(shape), 1
    for dim in reversed(range(len(shape))):
        strides[dim] = total
        total *= 4 * max(shape[dim], 1)
    marks = look(torch.empty_strided(tuple(shape), strides, device="meta"))
    axes = []
    for axis in reach:
        found = axis.each(lambda array: compact(look(expanded(array, shape))))
        axes.append(found.on(None if axis.grid is None else _followed(axis.grid, shape, strides, marks)))
    return tuple(axes)


def _followed(grid: Grid, shape: Shape, strides: list[int], marks: Tensor) -> Grid | None:
    """The grid along the first dimension of a view that steps along its dimension only."""
    unit = strides[grid.dim]
    above = unit * 4 * max(shape[grid.dim], 1)
    for dim, (length, stride) in enumerate(zip(marks.shape, marks.stride(), strict=True)):
        # The stride of a dimension that was made, of length 1, is anything.
        if unit <= stride < above and stride % unit == 0 and (length > 1 or stride == unit):
            step = stride // unit
            if grid.folded:
                same = step == 1 and length == shape[grid.dim]
                return grid._replace(dim=dim) if same else None
            return grid.strided(dim, 1, step)
    return None


def mapped(axis: Axis, shape: Shape, dims: Sequence[int] | None, move: Callable[[Tensor], Tensor]) -> Axis:
    """An operation that picks elements along these dimensions (`None`: all), in whatever order."""
    along = range(len(shape)) if dims is None else dims
    found = axis.each(lambda array: compact(move(expanded(array, shape, dims))))
    if axis.grid is None:
        return found
    return gathered(found) if axis.grid.dim in along else found


def flipped(axis: Axis, shape: Shape, dims: Sequence[int]) -> Axis:
    """Back to front along some dimensions."""
    found = axis.each(lambda array: torch.flip(array, [d for d in dims if array.shape[d] > 1]))
    grid = axis.grid
    if grid is None or grid.dim not in dims:
        return found
    return gathered(found) if grid.folded else found.on(grid._replace(advance=-grid.advance))


def rolled(axis: Axis, shape: Shape, shifts: Sequence[int], dims: Sequence[int]) -> Axis:
    """Round the edge along some dimensions."""
    if not dims:
        return mapped(axis, shape, None, lambda array: torch.roll(array, tuple(shifts)))
    found = axis.each(lambda array: torch.roll(array, tuple(shifts), tuple(dims)))
    grid = axis.grid
    if grid is None or grid.dim not in dims:
        return found
    return gathered(found) if grid.folded else found.on(grid._replace(even=False))


def joined_of(parts: Any, dim: int, shape: Shape, stacked: bool) -> Reach | None:
    """`cat`, and `stack`, which makes a dimension first."""
    if stacked:
        parts = [
            (None if reach is None else tuple(_unsqueezed(axis, dim) for axis in reach), (*own[:dim], 1, *own[dim:]))
            for reach, own in parts
        ]
    return joined(parts, dim, shape)


def _unsqueezed(axis: Axis, dim: int) -> Axis:
    found = axis.each(lambda array: array.unsqueeze(dim))
    grid = axis.grid
    return found if grid is None else found.on(grid._replace(dim=grid.dim + (grid.dim >= dim)))


def shuffled(axis: Axis, shape: Shape, factor: int, up: bool) -> Axis:
    """Pixel shuffle: squares of channels become squares of pixels, or the other way."""
    channel = len(shape) - 3

    def move(array: Tensor) -> Tensor:
        if not up:
            lengths = [n if array.shape[d] > 1 else max(factor, 1) for d, n in enumerate(shape)]
            return compact(
                torch.pixel_unshuffle(expanded(array, [*array.shape[:channel], shape[channel], *lengths[-2:]]), factor)
            )
        if array.shape[channel] > 1:
            return compact(torch.pixel_shuffle(expanded(array, [*array.shape[:channel], *shape[channel:]]), factor))
        # Where all channels are alike, those of one pixel are enough.
        one = expanded(array, [*array.shape[:channel], factor * factor, *array.shape[-2:]])
        return compact(torch.pixel_shuffle(one, factor))

    found = axis.each(move)
    grid = axis.grid
    if grid is None or grid.dim <= channel:
        return found if grid is None else gathered(found)
    return found.on(grid.strided(grid.dim, *((factor, 1) if up else (1, factor))))
