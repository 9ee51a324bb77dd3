"""Reaches put together: operands of a sum, parts of a concatenation, what a reduction takes in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from .reach import NOTHING, Axis, Grid, Reach, compact, expanded

__all__ = ["common", "gathered", "joined", "lifted", "merged", "reduced", "spread", "together"]

Shape = Sequence[int]
Part = tuple[Reach, tuple[int, ...]]
"""A reach and the shape of its tensor."""


def lifted(axis: Axis, rank: int) -> Axis:
    """With dimensions of length 1 in front, as broadcasting does."""
    more = rank - axis.first.ndim
    if more <= 0:
        return axis
    found = axis.each(lambda array: array.reshape((1,) * more + tuple(array.shape)))
    return found if axis.grid is None else found.on(axis.grid._replace(dim=axis.grid.dim + more))


def common(grids: Sequence[Grid | None]) -> Grid | None:
    """One grid that all of them lie on, where they have the same spacing."""
    found = grids[0]
    for grid in grids[1:]:
        if found is None or grid is None or found[:1] + found[3:5] != grid[:1] + grid[3:5]:
            return None
        if found.advance * grid.period != grid.advance * found.period:
            return None
        period = math.lcm(found.period, grid.period)
        advance = found.advance * (period // found.period)
        found = found._replace(period=period, advance=advance, even=found.even and grid.even)
    return found


def _least(arrays: Sequence[torch.Tensor]) -> torch.Tensor:
    result = arrays[0]
    for array in arrays[1:]:
        result = torch.minimum(result, array)
    return result


def _local(axes: Sequence[tuple[Axis, tuple[int, ...]]], shape: Shape) -> list[Axis]:
    """Those that say where: not the same all over, as the global average that is added to a map is."""
    found = []
    for axis, own in axes:
        here = axis.grid is not None and (own[axis.grid.dim] != 1 or shape[axis.grid.dim] == 1)
        if here or not axis.flat:
            found.append(axis)
    return found


def together(axes: Sequence[tuple[Axis, tuple[int, ...]]], shape: Shape) -> Axis:
    """What an element depends on that is computed from the elements at its place, one of each; all of one rank.

    The shapes are those of the operands, and of the result.
    """
    size = axes[0][0].size
    parts = [pair for pair in axes if not pair[0].nothing]
    if not parts:
        return axes[0][0]
    if len(parts) == 1 and parts[0][1] == tuple(shape):
        return parts[0][0]
    first, last = (_least([getattr(axis, name) for axis, _ in parts]) for name in ("first", "last"))
    local = _local(parts, shape)
    mixed = any(axis.mixed for axis, _ in parts) or 0 < len(local) < len(parts)
    local = local or [axis for axis, _ in parts]
    grid = common([axis.grid for axis in local])
    if grid is None:
        return Axis(size, first, last, first, last, None)
    padded = (_least([getattr(axis, name) for axis in local]) for name in ("padded_first", "padded_last"))
    return Axis(size, first, last, *padded, grid, mixed)


def merged(parts: Sequence[Part], shape: Shape) -> Reach | None:
    """Operands of an operation that works element by element, broadcast to a shape."""
    if not parts:
        return None
    rank = len(shape)
    padded = [(reach, (1,) * (rank - len(own)) + tuple(own)) for reach, own in parts]
    return tuple(
        together([(lifted(axis, rank), own) for axis, (_, own) in zip(axes, padded, strict=True)], shape)
        for axes in zip(*(reach for reach, _ in padded), strict=True)
    )


def joined(parts: Sequence[tuple[Reach | None, tuple[int, ...]]], dim: int, shape: Shape) -> Reach | None:
    """A concatenation along a dimension; `None` stands for constants."""
    known = next((reach for reach, _ in parts if reach is not None), None)
    if known is None:
        return None
    axes = []
    for number, some in enumerate(known):
        blank = replace(some, grid=None, mixed=False).each(lambda a: torch.full((1,) * len(shape), NOTHING))
        these = [(blank if reach is None else reach[number], own) for reach, own in parts]
        axes.append(_joined(these, dim, shape))
    return tuple(axes)


def _joined(parts: list[tuple[Axis, tuple[int, ...]]], dim: int, shape: Shape) -> Axis:
    live = [pair for pair in parts if not pair[0].nothing]
    local = _local([(axis, shape) for axis, _ in live], shape)
    grid = common([axis.grid for axis in local]) if local else None
    if grid is not None and grid.dim == dim:
        grid = None if len(live) < len(parts) or grid.folded else grid._replace(even=False)

    def cat(name: str, leave: bool) -> torch.Tensor:
        arrays = []
        for axis, own in parts:
            array = expanded(getattr(axis, name), own, (dim,))
            arrays.append(torch.full_like(array, NOTHING) if leave and axis not in local else array)
        lengths = [max(array.shape[d] for array in arrays) for d in range(len(shape))]
        wide = [array.expand([array.shape[d] if d == dim else n for d, n in enumerate(lengths)]) for array in arrays]
        return compact(torch.cat(wide, dim))

    first, last = cat("first", False), cat("last", False)
    if grid is None:
        return Axis(parts[0][0].size, first, last, first, last, None)
    mixed = any(axis.mixed for axis, _ in live) or len(local) < len(live)
    return Axis(parts[0][0].size, first, last, cat("padded_first", True), cat("padded_last", True), grid, mixed)


def reduced(axis: Axis, shape: Shape, dims: Sequence[int], keep: bool) -> Axis:
    """What a value depends on that all elements along some dimensions give."""
    grid = axis.grid
    if grid is not None and grid.dim in dims:
        length = shape[grid.dim]
        if keep and grid.even and not grid.folded and length % grid.period == 0:
            # One window over the whole length.
            grid = Grid(grid.dim, 1, grid.advance * length // grid.period)
        else:
            grid = None

    def least(array: torch.Tensor) -> torch.Tensor:
        array = array.amin(tuple(dims), keepdim=True) if dims else array
        return array if keep else array.reshape([n for d, n in enumerate(array.shape) if d not in dims])

    found = axis.each(least)
    if grid is not None and not keep:
        grid = grid._replace(dim=grid.dim - sum(d < grid.dim for d in dims))
    return found.on(grid)


def spread(axis: Axis, dims: Sequence[int]) -> Axis:
    """Every element sees all those along some dimensions, and is still at its own place."""
    if axis.nothing or all(axis.first.shape[d] == axis.last.shape[d] == 1 for d in dims):
        return axis
    wide = axis.each(lambda array: array.amin(tuple(dims), keepdim=True))
    if axis.grid is None:
        return wide
    across = [d for d in dims if d != axis.grid.dim]

    def least(array: torch.Tensor) -> torch.Tensor:
        return array.amin(tuple(across), keepdim=True) if across else array

    own = axis.each(least)
    mixed = axis.mixed or axis.grid.dim in dims
    return replace(own, first=wide.first, last=wide.last, mixed=mixed)


def gathered(axis: Axis) -> Axis:
    """Without an even spacing."""
    return Axis(axis.size, axis.first, axis.last, axis.first, axis.last, None)
