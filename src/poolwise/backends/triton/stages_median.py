"""From a median to launches: one forward; backward one that finds the two in the middle, and one that gathers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import triton.language as tl

from ...problem import Problem
from . import median, median_back
from .launch import INTERPRETED, LARGEST, Launch, packed, tile
from .layout import Axis, Layout
from .stages import (
    COMPARED,
    MOST_AXES,
    SUMMED,
    UNROLLED,
    Stage,
    digits_of,
    dtype_of,
    form_of,
    padded,
    table_of,
    weights_of,
)
from .stages_back import inverse_of

__all__ = ["median_backward_stages", "median_forward_stages"]

HELD = 49
"""Elements of a window of which registers hold half: 7 x 7 takes 26 a lane. Larger ones are read once per pass."""


@dataclass(frozen=True, eq=False)
class Places:
    """A layout as the kernels have it: three axes, and how much lies between them without being pooled."""

    layout: Layout
    axes: tuple[Axis | None, Axis | None, Axis | None]
    between: tuple[int, int]

    @classmethod
    def of(cls, layout: Layout) -> Places:
        if len(layout.axes) <= MOST_AXES:
            first, second, third = padded(layout.axes)
            return cls(layout, (first, second, third), (1, 1))
        pooled = [place for place, axis in enumerate(layout.axes) if not axis.windows.identity]
        between = [math.prod(axis.size for axis in layout.axes[one + 1 : other]) for one, other in pairwise(pooled)]
        first, second, third = (layout.axes[place] for place in pooled)
        return cls(layout, (first, second, third), (between[0], between[1]))

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        return tuple(1 if axis is None else axis.size for axis in self.axes)

    @cached_property
    def outputs(self) -> tuple[int, ...]:
        return tuple(1 if axis is None else axis.outputs for axis in self.axes)

    @cached_property
    def radix(self) -> tuple[int, ...]:
        return tuple(1 if axis is None else axis.windows.most for axis in self.axes)

    @cached_property
    def deep(self) -> bool:
        return self.between != (1, 1)

    @cached_property
    def wide(self) -> bool:
        return max(self.layout.sizes, self.layout.results) > LARGEST

    def launch(self, kernel: Any, owned: tuple[int, ...], columns: Any, constants: Any, taps: int) -> Launch:
        """A launch in which lanes own elements of these lengths. `constants` come before those of the tile."""
        # Few results a lane: half of a window in registers, or a range that is the last of its program to shrink.
        most = 512 if taps <= 4 else 256 if taps <= 9 else 128
        along = self.layout.inner > 1
        lanes = self.layout.inner if along else owned[-1]
        rows = self.layout.outer * math.prod(self.between) * math.prod(owned if along else owned[:-1])
        block = tile(rows, lanes, 1, most, widest=most)
        tiles = -(-lanes // block.lanes)
        split = (owned[1], self.between[1], owned[2]) if self.deep else owned
        integers = (rows, tiles, *self.sizes, *self.outputs, *self.between, self.layout.inner, *map(packed, split))
        constants = (*constants, self.wide, block.rows, block.lanes)
        return Launch(kernel, -(-rows // block.rows) * tiles, columns, integers, constants, block.warps)

    @cached_property
    def along(self) -> bool:
        return self.layout.inner > 1

    @cached_property
    def forms(self) -> tuple[int | bool, ...]:
        """The axes' windows."""
        return (
            *(number for axis in self.axes for number in form_of(axis)),
            *(axis is not None and not axis.even for axis in self.axes),
        )

    @cached_property
    def cut(self) -> bool:
        return any(axis is not None and axis.cut for axis in self.axes)


def median_forward_stages(problem: Problem, layout: Layout) -> tuple[Stage, ...]:
    """The launch of a forward pass."""
    places = Places.of(layout)
    wide = COMPARED.get(problem.dtype, "int32")
    small = layout.taps <= HELD
    low = {"int32": -(1 << 31), "int64": -(1 << 63)}.get(wide, 0)
    constants = (*places.forms, places.cut, getattr(tl, wide), low, places.deep, places.along)
    launch = places.launch(
        median.median_small if small else median.median_large,
        places.outputs, tuple(map(table_of, places.axes)), constants, layout.taps,
    )  # fmt: skip
    return (Stage(launch, layout.results),)


def median_backward_stages(problem: Problem, layout: Layout) -> tuple[Stage, ...]:
    """The launches of a backward pass, in order."""
    places = Places.of(layout)
    taps = math.prod(places.radix)
    pair = "int32" if taps * taps < 1 << 31 else "int64"
    numbers = (*weights_of(places.radix), taps, getattr(tl, pair), places.deep, places.along)
    find = places.launch(
        median_back.middles, places.outputs, tuple(map(table_of, places.axes)),
        (
            *places.forms, places.cut, getattr(tl, COMPARED[problem.dtype]), *numbers,
            layout.taps <= UNROLLED and not INTERPRETED,
        ),
        layout.taps,
    )  # fmt: skip
    spread = places.launch(
        median_back.middles_spread, places.sizes, tuple(map(inverse_of, places.axes)),
        (
            *places.forms, *(1 if axis is None else axis.seen for axis in places.axes), getattr(tl, SUMMED[problem.dtype]),
            *numbers, layout.seen <= UNROLLED and not INTERPRETED,
        ),
        layout.seen,
    )  # fmt: skip
    first = Stage(find, layout.results, dtype_of(problem.dtype), dtype_of(digits_of(taps * taps)))
    return first, Stage(spread, layout.sizes)
