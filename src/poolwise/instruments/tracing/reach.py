"""Which input positions a tensor's elements depend on: integer arrays, and what operations do to them.

For one axis of the input there are two pairs of arrays. The *exact* pair says the first and the last position of the input
that an element depends on. The *padded* pair says the same with padding counted as positions, which go on beyond the input's
ends: what papers publish as the receptive field, the same for every output where windows slide.

Arrays hold the first position and minus the last, so that an operation always takes the smallest: over a window, over the
operands of a sum, over what a matrix product adds up. `NOTHING` is what it starts from. An array has the rank of its tensor,
and length 1 along dimensions along which it does not vary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

__all__ = ["NOTHING", "Axis", "Grid", "Reach", "Taps", "compact", "everything", "expanded", "source", "through"]

Tensor = torch.Tensor
NOTHING = 1 << 40
"""The position that nothing depends on: neutral, since the smallest counts."""
CHUNK = 1 << 20


class Grid(NamedTuple):
    """Elements lie evenly along dimension `dim`: `period` elements further is `advance` input positions further.

    `inner` and `length` say where along a dimension that several were flattened into: position ``i // inner % length``.
    Without `even` only the spacing is known, and the padded arrays say nothing: something went round the edge.
    """

    dim: int
    period: int
    advance: int
    inner: int = 1
    length: int | None = None
    even: bool = True

    @property
    def folded(self) -> bool:
        """True where the dimension holds others too."""
        return self.length is not None

    def strided(self, dim: int, outputs: int, inputs: int) -> Grid:
        """Along a dimension where so many outputs are so many of these elements further."""
        rounds = self.period // math.gcd(self.period, inputs)
        return self._replace(dim=dim, period=outputs * rounds, advance=self.advance * rounds * inputs // self.period)


@dataclass(frozen=True, eq=False)
class Axis:
    """What a tensor's elements depend on along one axis of the input, of length `size`."""

    size: int
    first: Tensor
    last: Tensor
    """Minus the last position."""
    padded_first: Tensor
    padded_last: Tensor
    grid: Grid | None
    """`None`: no even spacing is known, and the padded pair says nothing more than the exact one."""
    mixed: bool = False
    """True where something that is the same all over, as a global average, was mixed in. The padded pair and the grid leave it
    out: they say what the windows alone see."""

    def each(self, exact: Callable[[Tensor], Tensor], padded: Callable[[Tensor, int], Tensor] | None = None) -> Axis:
        """The same operation on all four arrays; `padded` is given 1 for first positions and -1 for last ones."""
        other = padded or (lambda array, sign: exact(array))
        return replace(
            self, first=exact(self.first), last=exact(self.last),
            padded_first=other(self.padded_first, 1), padded_last=other(self.padded_last, -1),
        )  # fmt: skip

    def on(self, grid: Grid | None) -> Axis:
        """On another grid."""
        return replace(self, grid=grid)

    @property
    def nothing(self) -> bool:
        """True where no element depends on the input."""
        return bool((self.first >= NOTHING // 2).all())

    @property
    def even(self) -> bool:
        """True where the padded arrays say something."""
        return self.grid is not None and self.grid.even

    @property
    def flat(self) -> bool:
        """True where all elements depend on the same positions."""
        return all(bool((array == array.reshape(-1)[0]).all()) for array in (self.first, self.last) if array.numel())

    def field(self) -> int:
        """The most positions, from the first to the last, that an element depends on."""
        return _longest(self.first, self.last)

    def padded_field(self) -> int:
        """The same with padding counted, and without what is the same all over."""
        return _longest(self.padded_first, self.padded_last)

    def start(self) -> int | None:
        """Where the field of the first element begins, padding counted."""
        if not self.even or self.grid is None:
            return None
        first = self.padded_first
        if first.shape[self.grid.dim] > 1:
            first = first.narrow(self.grid.dim, 0, 1)
        found = int(first.min()) if first.numel() else NOTHING
        return None if found >= NOTHING // 2 else found


Reach = tuple[Axis, ...]
"""One entry per axis of the input."""


def _longest(first: Tensor, last: Tensor) -> int:
    if not first.numel() or not last.numel():
        return 0
    first, last = torch.broadcast_tensors(first, last)
    return int(torch.where(first >= NOTHING // 2, 0, 1 - last - first).max())


def source(shape: Sequence[int], dims: Sequence[int]) -> Reach:
    """The input itself: along each of these dimensions, an element depends on its own position."""
    axes = []
    for dim in dims:
        lengths = [1] * len(shape)
        lengths[dim] = shape[dim]
        first = torch.arange(shape[dim], dtype=torch.int64).reshape(lengths)
        axes.append(Axis(shape[dim], first, -first, first, -first, Grid(dim, 1, 1)))
    return tuple(axes)


def everything(reaches: Sequence[Reach], rank: int) -> Reach:
    """Every element depends on all that anything here depends on."""
    axes = []
    for parts in zip(*reaches, strict=True):
        ends = []
        for name in ("first", "last"):
            arrays = [getattr(part, name) for part in parts]
            ends.append(min((int(array.min()) for array in arrays if array.numel()), default=NOTHING))
        first, last = (torch.full((1,) * rank, end, dtype=torch.int64) for end in ends)
        axes.append(Axis(parts[0].size, first, last, first, last, None))
    return tuple(axes)


def expanded(array: Tensor, shape: Sequence[int], dims: Sequence[int] | None = None) -> Tensor:
    """At full length along all dimensions, or these; no memory is taken."""
    wanted = [n if dims is None or dim in dims else array.shape[dim] for dim, n in enumerate(shape)]
    return array.expand(wanted)


def compact(array: Tensor) -> Tensor:
    """At length 1 along dimensions along which nothing changes."""
    for dim, stride in enumerate(array.stride()):
        if array.shape[dim] > 1 and stride == 0:
            array = array.narrow(dim, 0, 1)
    for dim, length in enumerate(array.shape):
        if length > 1:
            one = array.narrow(dim, 0, 1)
            if bool((array == one).all()):
                array = one
    return array


@dataclass(frozen=True, eq=False)
class Taps:
    """What each of m outputs along a dimension reads: positions ``[m, k]`` of the dimension, and which of them count.

    `virtual` may lie outside of the dimension: windows as they are where padding is made of positions. `step` is
    ``(outputs, inputs)``: after so many outputs the pattern comes again, so many inputs further; `None` where it does not.
    """

    exact: Tensor
    real: Tensor
    virtual: Tensor
    counted: Tensor
    step: tuple[int, int] | None


def through(axis: Axis, dim: int, taps: Taps, length: int) -> Axis:
    """Windows over one dimension of a tensor, which has this length."""

    def exact(array: Tensor) -> Tensor:
        return _least(array, dim, taps.exact, taps.real, length)

    grid = axis.grid
    if grid is None or grid.folded or grid.dim != dim:
        # Along a dimension that carries no positions a window sees the same positions wherever it is.
        kept = axis.each(exact)
        return kept.on(None) if grid is not None and grid.dim == dim else kept
    if taps.step is None:
        return axis.each(exact).on(None)
    found = grid.strided(dim, *taps.step)
    if not grid.even or length < grid.period:
        return axis.each(exact).on(found._replace(even=False))

    def padded(array: Tensor, sign: int) -> Tensor:
        if array.shape[dim] != length:
            array = array.expand(*array.shape[:dim], length, *array.shape[dim + 1 :])
        index, moved = _wrapped(taps.virtual, length, grid.period)
        return _least(array, dim, index, taps.counted, length, sign * grid.advance * moved)

    return axis.each(exact, padded).on(found)


def _wrapped(at: Tensor, length: int, period: int) -> tuple[Tensor, Tensor]:
    """Positions brought inside by whole periods, and how many periods they were moved."""
    below = torch.clamp(-(at // period), min=0)
    whole = length // period * period
    above = torch.clamp((at - whole) // period + 1, min=0)
    above = torch.where(at >= length, above, 0)
    return at + period * (below - above), above - below


def _least(array: Tensor, dim: int, index: Tensor, valid: Tensor, length: int, more: Tensor | None = None) -> Tensor:
    """The smallest over each output's taps, `more` added to them; `NOTHING` where there are none."""
    if array.shape[dim] == 1 and length != 1:
        if bool(valid.any(1).all()) if valid.numel() else True:
            return array
        index = torch.zeros_like(index)
    outputs, most = index.shape
    if not most or not array.numel():
        return array.new_full([outputs if d == dim else n for d, n in enumerate(array.shape)], NOTHING)
    index = torch.where(valid, index, 0)
    lengths = [1] * array.ndim
    lengths[dim] = outputs
    result = None
    width = max(1, CHUNK * array.shape[dim] // max(1, outputs * array.numel()))
    for begin in range(0, most, width):
        part = index[:, begin : begin + width]
        taken = array.index_select(dim, part.reshape(-1)).unflatten(dim, part.shape)
        shape = [*lengths[: dim + 1], part.shape[1], *lengths[dim + 1 :]]
        if more is not None:
            moved = taken + more[:, begin : begin + width].reshape(shape)
            taken = torch.where(taken >= NOTHING // 2, taken, moved)
        taken = torch.where(valid[:, begin : begin + width].reshape(shape), taken, NOTHING)
        least = taken.amin(dim + 1)
        result = least if result is None else torch.minimum(result, least)
    assert result is not None
    return result
