"""Windows as data: integers and small integer tables, no array framework."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ["COUNT", "ORIGIN", "PADDED", "START", "AxisWindows", "Windows", "cover", "offset_dtype", "receptive_field"]

START, COUNT, PADDED, ORIGIN = range(4)
"""Columns of `AxisWindows.edge`."""


@dataclass(frozen=True, eq=False)
class AxisWindows:
    """The windows along one axis.

    Outputs ``first <= i < last`` are whole and evenly spaced (``start = base + stride*(i - first)``,
    ``count = window``, nothing padded); the others are rows ``(start, count, padded, origin)`` of `edge`, in
    output order. `origin` is where the window would start if padding were real: the position that weights
    and borders are aligned with.
    """

    size: int
    outputs: int
    step: int
    window: int
    stride: int
    base: int
    first: int
    last: int
    edge: np.ndarray

    def __len__(self) -> int:
        return self.outputs

    def _column(self, column: int) -> np.ndarray:
        whole = np.arange(self.last - self.first, dtype=np.int64)
        if column in (START, ORIGIN):
            whole = self.base + self.stride * whole
        else:
            whole[:] = self.window if column == COUNT else 0
        return np.concatenate([self.edge[: self.first, column], whole, self.edge[self.first :, column]])

    @cached_property
    def start(self) -> np.ndarray:
        """First real element of each window."""
        return self._column(START)

    @cached_property
    def count(self) -> np.ndarray:
        """Real elements in each window."""
        return self._column(COUNT)

    @cached_property
    def padded(self) -> np.ndarray:
        """Positions of each window on explicit padding (a ceil-mode overhang beyond it never counts)."""
        return self._column(PADDED)

    @cached_property
    def origin(self) -> np.ndarray:
        """Where each window starts when padding is counted as positions; negative on low padding."""
        return self._column(ORIGIN)

    @cached_property
    def most(self) -> int:
        """The largest `count`: the radix of this axis in an offset inside the window."""
        whole = self.window if self.last > self.first else 0
        return max(whole, int(self.edge[:, COUNT].max(initial=0)))

    @cached_property
    def identity(self) -> bool:
        """True where every output is the input element of the same position."""
        return (
            self.outputs == self.size and self.most == 1 and (self.size < 2 or self.stride == 1) and not len(self.edge)
        )

    @cached_property
    def ends(self) -> np.ndarray:
        """One past the last real element of each window (its start where it has none)."""
        return self.start + np.where(self.count > 0, (self.count - 1) * self.step + 1, 0)

    def taps(self, output: int) -> range:
        """The input positions that one output sees.

        >>> from poolwise.geometry import Sliding
        >>> Sliding((3,), stride=(2,), padding=((1, 1),)).axis(5).taps(0)
        range(0, 2)
        """
        start, count = int(self.start[output]), int(self.count[output])
        return range(start, start + self.step * count, self.step)

    def outputs_seeing(self, position: int) -> list[int]:
        """The inverse: the outputs whose window holds one input position."""
        low, high = (int(edge[position]) for edge in self.inverse)
        return [i for i in range(low, high) if position in self.taps(i)]

    @cached_property
    def inverse(self) -> tuple[np.ndarray, np.ndarray]:
        """For each input position, a range ``[low, high)`` of outputs that holds all those that see it.

        A window inside the range may still step over the position: where padding cuts dilated windows, starts
        and ends jump back and forth by less than a step, hence the envelopes.
        """
        position = np.arange(self.size, dtype=np.int64)
        lowest_start = np.minimum.accumulate(self.start[::-1])[::-1]
        highest_end = np.maximum.accumulate(self.ends)
        low = np.searchsorted(highest_end, position, side="right")
        return low, np.searchsorted(lowest_start, position, side="right")

    def input_range(self, first: int, last: int) -> tuple[int, int]:
        """The slice ``[low, high)`` of the input that outputs ``first <= i < last`` read (the halo of a chunk)."""
        real = self.count[first:last] > 0
        if not real.any():
            return 0, 0
        return int(self.start[first:last][real].min()), int(self.ends[first:last][real].max())

    def part(self, first: int, last: int) -> AxisWindows:
        """The windows of outputs ``first <= i < last`` alone, with the same `most`."""
        columns = (self.start, self.count, self.padded, self.origin)
        edge = np.stack([column[first:last] for column in columns], axis=1)
        part = AxisWindows(self.size, len(edge), self.step, self.window, self.stride, 0, 0, 0, edge)
        part.__dict__["most"] = self.most  # offsets keep their radix
        return part

    def positions(self, border: str) -> np.ndarray:
        """Input positions ``[outputs, window]`` with padding filled from a border; -1 where it is zeros.

        `border` is ``"reflect"`` (edge not repeated), ``"replicate"``, ``"circular"`` or ``"zeros"``.
        """
        at = self.origin[:, None] + self.step * np.arange(self.window, dtype=np.int64)
        if border == "zeros":
            return np.where((at >= 0) & (at < self.size), at, -1)
        if border == "replicate":
            return np.clip(at, 0, self.size - 1)
        if border == "circular":
            return at % self.size
        period = max(2 * (self.size - 1), 1)
        return (self.size - 1) - np.abs(at % period - (self.size - 1))


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows over several axes: the product of one `AxisWindows` per pooled axis."""

    axes: tuple[AxisWindows, ...]

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Output lengths of the pooled axes."""
        return tuple(axis.outputs for axis in self.axes)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Input lengths of the pooled axes."""
        return tuple(axis.size for axis in self.axes)

    @cached_property
    def radix(self) -> tuple[int, ...]:
        """Most elements of a window per axis; an offset is a number with these digits."""
        return tuple(axis.most for axis in self.axes)

    @cached_property
    def whole(self) -> int:
        """Positions of a window that nothing cuts."""
        return math.prod(axis.window for axis in self.axes)

    @cached_property
    def any_empty(self) -> bool:
        """True where some window sees no real element."""
        return any(bool((axis.edge[:, COUNT] == 0).any()) for axis in self.axes)

    @cached_property
    def elements(self) -> int:
        """Elements read over all windows of one plane: the work of a direct computation."""
        return math.prod(int(axis.edge[:, COUNT].sum()) + (axis.last - axis.first) * axis.window for axis in self.axes)

    def divisor(self, count_padding: bool) -> np.ndarray:
        """Elements per window ``[outputs...]``, with explicit padding counted or not."""
        total = np.ones((), np.int64)
        for axis in self.axes:
            column = axis.count + axis.padded if count_padding else axis.count
            total = total[..., None] * column
        return total

    def each(self) -> Iterator[tuple[tuple[int, ...], tuple[range, ...]]]:
        """Every output index with the input positions that it sees, per axis, in scan order."""
        for index in np.ndindex(*self.shape):
            yield index, tuple(axis.taps(i) for axis, i in zip(self.axes, index, strict=True))

    def part(self, first: int, last: int) -> Windows:
        """The windows of outputs ``first <= i < last`` of the outermost axis."""
        return Windows((self.axes[0].part(first, last), *self.axes[1:]))

    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """Flat input positions and validity, both ``[outputs, taps]``, taps in scan order.

        The tap number *is* the compact offset. Where a window has fewer elements than the largest, the rest of
        its row is invalid and points at position 0.
        """
        columns = []
        for axis in self.axes:
            j = np.arange(max(axis.most, 1), dtype=np.int64)  # a tap that is invalid where no window sees anything
            columns.append((axis.start[:, None] + axis.step * j, j < axis.count[:, None]))
        return _product(columns, self.sizes)

    def bordered_table(self, border: str) -> tuple[np.ndarray, np.ndarray]:
        """As `table`, over the nominal window: padding is filled from the border, zeros are invalid."""
        columns = [(at, at >= 0) for at in (axis.positions(border) for axis in self.axes)]
        return _product(columns, self.sizes)

    def indices(self, offsets: np.ndarray) -> np.ndarray:
        """Offsets inside the windows ``[..., outputs...]`` to flat positions per plane (int64)."""
        rest = offsets.astype(np.int64)
        flat = np.zeros_like(rest)
        weight = 1
        for axis, trailing in zip(reversed(self.axes), range(len(self.axes)), strict=True):
            rest, digit = np.divmod(rest, max(axis.most, 1))
            shape = (-1,) + (1,) * trailing
            flat += (axis.start.reshape(shape) + axis.step * digit) * weight
            weight *= axis.size
        return flat


def _product(columns: list[tuple[np.ndarray, np.ndarray]], sizes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Join per-axis ``(position, valid)`` pairs ``[outputs, taps]`` to those of the n-D windows."""
    flat, valid = np.zeros((1, 1), np.int64), np.ones((1, 1), bool)
    for (at, real), size in zip(columns, sizes, strict=True):
        outputs, taps = len(flat) * len(at), flat.shape[1] * at.shape[1]
        flat = (flat[:, None, :, None] * size + at[None, :, None, :]).reshape(outputs, taps)
        valid = (valid[:, None, :, None] & real[None, :, None, :]).reshape(outputs, taps)
    return np.where(valid, flat, 0), valid


def cover(index: np.ndarray, valid: np.ndarray, elements: int) -> tuple[np.ndarray, np.ndarray]:
    """The transpose of a table: for each input element the flat ``output*taps + tap`` entries that read it.

    Returns entries and validity ``[elements, most]``, in scan order of the outputs: what a gradient in gather
    form sums over.
    """
    entry = np.flatnonzero(valid)
    element = index.reshape(-1)[entry]
    order = np.argsort(element, kind="stable")
    element, entry = element[order], entry[order]
    seen = np.bincount(element, minlength=elements)
    most = int(seen.max(initial=0))
    rank = np.arange(len(entry)) - np.repeat(np.cumsum(seen) - seen, seen)
    entries, real = np.zeros((elements, most), np.int64), np.zeros((elements, most), bool)
    entries[element, rank] = entry
    real[element, rank] = True
    return entries, real


def offset_dtype(radix: tuple[int, ...]) -> str:
    """The smallest dtype that holds an offset inside a window: one byte for windows of up to 256 elements.

    >>> offset_dtype((3, 3)), offset_dtype((32, 32)), offset_dtype((1024, 1024))
    ('uint8', 'uint16', 'int32')
    """
    elements = math.prod(radix)
    for name, limit in (("uint8", 1 << 8), ("uint16", 1 << 16), ("int32", 1 << 31)):
        if elements <= limit:
            return name
    return "int64"


def receptive_field(windows: list[tuple[int, int, int]]) -> tuple[int, int]:
    """Receptive field and jump along one axis of stacked layers ``(window, stride, dilation)``.

    ``r += dilation*(window - 1)*jump; jump *= stride`` (input elements).

    >>> receptive_field([(5, 1, 1), (2, 2, 1), (5, 1, 1), (2, 2, 1)])  # LeNet-5
    (16, 4)
    """
    field, jump = 1, 1
    for window, stride, dilation in windows:
        field += dilation * (window - 1) * jump
        jump *= stride
    return field, jump
