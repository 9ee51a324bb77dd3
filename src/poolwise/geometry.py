"""Windows: which input elements each output sees.

The only window arithmetic of the project. Integers and small integer tables, no array framework:
along one axis, output ``i`` reads ``input[start[i] + step*j]`` for ``0 <= j < count[i]``. Padding is never
inside a window; how many of its positions fell on padding is a column of its own (`AxisWindows.padded`).

Sliding, adaptive, global and fractional windows are *schemes*: small values that know how to build
`AxisWindows` for an axis of a given length. An n-D window is a tuple of axes (`Windows`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .messages import refuse

__all__ = ["Adaptive", "AxisWindows", "Fractional", "Global", "Scheme", "Sliding", "Windows"]

# Windows that are cut by an edge, and all adaptive and fractional ones, are listed in a table. The cap keeps a
# hostile padding (or output size) from allocating gigabytes before anything else can refuse it.
TABLE_LIMIT = 1 << 24
INTEGER_LIMIT = (1 << 63) - 1

Axis = int
START, COUNT, PADDED, ORIGIN = range(4)


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
        return self.outputs == self.size and self.most == 1 and (self.size < 2 or self.stride == 1) and not len(self.edge)

    @cached_property
    def ends(self) -> np.ndarray:
        """One past the last real element of each window (its start where it has none)."""
        return self.start + np.where(self.count > 0, (self.count - 1) * self.step + 1, 0)

    def taps(self, output: int) -> range:
        """The input positions that one output sees.

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


def _even(size: int, *, outputs: int, window: int, stride: int) -> AxisWindows:
    """Whole windows from position 0 on: regions, adaptive bins that divide, global, identity."""
    return AxisWindows(size, outputs, 1, window, stride, 0, 0, outputs, np.empty((0, 4), np.int64))


def _listed(size: int, start: np.ndarray, count: np.ndarray) -> AxisWindows:
    """Windows without a regular form, all of them in the table."""
    edge = np.stack([start, count, np.zeros_like(start), start], axis=1)
    return AxisWindows(size, len(start), 1, int(count.max(initial=0)), 1, 0, 0, 0, edge)


class Scheme:
    """How windows are laid on axes; a hashable value. Subclasses say it for the axis numbered `index`."""

    def axis(
        self, size: int, index: int = 0, *, where: str = "pool", axis: int = 0, allow_empty: bool = True
    ) -> AxisWindows:
        """The windows on an axis of length `size`.

        `where` and `axis` name the call in errors; a window without any real element is one, unless allowed.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Sliding(Scheme):
    """Windows of one size at a constant stride; non-overlapping regions where stride equals window.

    One entry per axis. `padding` holds ``(low, high)`` pairs, or ``"same"`` (TensorFlow's rule: the odd cell
    after) or ``"same_lower"`` (before). Output lengths are torch's: ``floor((n + low + high - d*(k-1) - 1) /
    s) + 1``; with `ceil_mode` the quotient is rounded up and a last window that would start at or beyond
    ``n + low`` is dropped.
    """

    window: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...] | str
    dilation: tuple[int, ...] = ()
    ceil_mode: bool = False

    def _pads(self, size: int, index: int) -> tuple[int, int]:
        if not isinstance(self.padding, str):
            return self.padding[index]
        if self.padding == "valid":
            return 0, 0
        window, stride = self.window[index], self.stride[index]
        dilation = self.dilation[index] if self.dilation else 1
        total = max((-(-size // stride) - 1) * stride + dilation * (window - 1) + 1 - size, 0)
        less, more = total // 2, total - total // 2
        return (less, more) if self.padding == "same" else (more, less)

    def axis(
        self, size: int, index: int = 0, *, where: str = "pool", axis: int = 0, allow_empty: bool = True
    ) -> AxisWindows:
        """The sliding windows on one axis.

        >>> windows = Sliding((3,), (2,), ((1, 1),)).axis(5)
        >>> windows.start.tolist(), windows.count.tolist(), windows.padded.tolist()
        ([0, 1, 3], [2, 3, 2], [1, 0, 1])
        """
        window, stride = self.window[index], self.stride[index]
        step = self.dilation[index] if self.dilation else 1
        low, high = self._pads(size, index)
        span = step * (window - 1) + 1
        room = size + low + high
        outputs = ((room - span + (stride - 1 if self.ceil_mode else 0)) // stride) + 1
        if self.ceil_mode and outputs > 1 and (outputs - 1) * stride >= size + low:
            outputs -= 1
        if outputs < 1:
            raise refuse(
                where,
                f"window does not fit on axis {axis}",
                got=f"window {window}, dilation {step} (spans {span}) on length {size} with padding {(low, high)}",
                expected=f"length + padding >= {span}",
                hint='a smaller window or dilation, more padding, padding="same", or ceil_mode=True for a partial window',
            )
        if max(room, span, (outputs - 1) * stride) > INTEGER_LIMIT // 2:
            raise refuse(
                where,
                f"window positions on axis {axis} overflow 64-bit integers",
                got=f"window {window}, stride {stride}, dilation {step}, padding {(low, high)}",
                expected="length + padding and the window's span below 2**62",
                hint="smaller numbers",
            )
        last_origin = (outputs - 1) * stride - low
        if not allow_empty and (low > span - 1 or last_origin >= size):
            # Decided from the two outermost windows: a hostile padding is refused before any table is made.
            output = 0 if low > span - 1 else outputs - 1
            raise _sees_nothing(where, axis, output, output * stride - low, span, size)
        first = -(-low // stride)
        last = (size - span + low) // stride + 1 if size >= span else 0
        first, last = (first, min(last, outputs)) if first < min(last, outputs) else (0, 0)
        if outputs - (last - first) > TABLE_LIMIT:
            raise refuse(
                where,
                f"too many windows are cut by the padding on axis {axis}",
                got=f"{outputs - (last - first)} windows on padding {(low, high)} of length {size}",
                expected=f"at most {TABLE_LIMIT}",
                hint="less padding or a larger stride",
            )
        i = np.concatenate([np.arange(first, dtype=np.int64), np.arange(last, outputs, dtype=np.int64)])
        edge = _cut_windows(i * stride - low, size, high, window, step)
        if not allow_empty and step > size:
            empty = np.flatnonzero(edge[:, COUNT] == 0)  # a dilated window can step over a short input altogether
            if len(empty):
                row = int(empty[0])
                raise _sees_nothing(where, axis, int(i[row]), int(edge[row, ORIGIN]), span, size)
        return AxisWindows(size, outputs, step, window, stride, first * stride - low, first, last, edge)


def _cut_windows(origin: np.ndarray, size: int, high: int, window: int, step: int) -> np.ndarray:
    """Rows ``(start, count, padded, origin)`` of windows that may reach over either end of the axis."""
    begin = np.clip(-(origin // step), 0, window)  # first position at or after 0: ceil(-origin / step)
    stop = np.clip(-((origin - size) // step), begin, window)  # first at or after the end
    within = np.clip(-((origin - size - high) // step), begin, window)  # first beyond the explicit padding
    count = stop - begin
    start = np.where(count > 0, origin + step * begin, np.clip(origin, 0, size))
    return np.stack([start, count, within - count, origin], axis=1)


def _sees_nothing(where: str, axis: Axis, output: int, origin: int, span: int, size: int) -> ValueError:
    return refuse(
        where,
        f"a window sees no real element on axis {axis}",
        got=f"window {output} covers positions {origin} to {origin + span - 1} of length {size}: padding only",
        expected="every window to hold at least one element",
        hint="less padding, or empty=VALUE to say what such a window gives",
    )


@dataclass(frozen=True)
class Adaptive(Scheme):
    """A given number of bins per axis, torch's: bin i is ``[floor(i*n/m), ceil((i+1)*n/m))``; m > n is allowed.

    `None` keeps the axis as it is.
    """

    outputs: tuple[int | None, ...]

    def axis(
        self, size: int, index: int = 0, *, where: str = "pool", axis: int = 0, allow_empty: bool = True
    ) -> AxisWindows:
        """The bins on one axis.

        >>> Adaptive((3,)).axis(7).start.tolist(), Adaptive((3,)).axis(7).count.tolist()
        ([0, 2, 4], [3, 3, 3])
        """
        outputs = self.outputs[index]
        outputs = size if outputs is None else outputs
        if size % outputs == 0:
            return _even(size, outputs=outputs, window=size // outputs, stride=size // outputs)
        if outputs > TABLE_LIMIT or outputs * size > INTEGER_LIMIT:
            raise refuse(
                where,
                f"too many adaptive bins on axis {axis}",
                got=f"{outputs} bins of an axis of length {size}",
                expected=f"at most {TABLE_LIMIT} bins that do not divide the axis",
                hint="a smaller output size, or one that divides the axis",
            )
        i = np.arange(outputs, dtype=np.int64)
        start = i * size // outputs
        return _listed(size, start, -(-(i + 1) * size // outputs) - start)


@dataclass(frozen=True)
class Global(Scheme):
    """One window over the whole of every axis."""

    def axis(
        self, size: int, index: int = 0, *, where: str = "pool", axis: int = 0, allow_empty: bool = True
    ) -> AxisWindows:
        """One window as long as the axis.

        >>> Global().axis(7).taps(0)
        range(0, 7)
        """
        return _even(size, outputs=1, window=size, stride=max(size, 1))


@dataclass(frozen=True)
class Fractional(Scheme):
    """Pseudo-random windows at a fractional stride (Graham 2014), from given uniform draws in [0, 1).

    With a window of length k (overlapping, as torch's layer): ``start[i] = floor((i + u)*a) - floor(u*a)``,
    ``a = (n - k)/(m - 1)``, the last window flush with the end. With ``window=None`` (disjoint regions): region
    i is ``[b[i], b[i+1])`` with ``b[i] = ceil(a*(i + u)) - ceil(a*u)``, ``a = n/m``, and the last ends at n.
    """

    outputs: tuple[int, ...]
    window: tuple[int, ...] | None
    draws: tuple[float, ...]

    def axis(
        self, size: int, index: int = 0, *, where: str = "pool", axis: int = 0, allow_empty: bool = True
    ) -> AxisWindows:
        """The windows on one axis.

        >>> Fractional((3,), (2,), (0.5,)).axis(7).start.tolist()
        [0, 2, 5]
        """
        outputs, draw = self.outputs[index], self.draws[index]
        window = None if self.window is None else self.window[index]
        needed = outputs if window is None else outputs + window - 1
        if needed > size or outputs > TABLE_LIMIT:
            raise refuse(
                where,
                f"too many fractional windows on axis {axis}",
                got=f"output size {outputs}, window {window}, on length {size}",
                expected="output_size + window - 1 <= length (output_size <= length for regions)",
                hint=f"output_size <= {max(size - (window or 1) + 1, 1)}",
            )
        i = np.arange(outputs, dtype=np.float64)
        if window is not None:
            alpha = (size - window) / (outputs - 1) if outputs > 1 else 0.0
            start = np.floor((i + draw) * alpha).astype(np.int64) - math.floor(draw * alpha)
            start[-1] = size - window
            return _listed(size, start, np.full_like(start, window))
        alpha = size / outputs
        bound = np.ceil(alpha * (i + draw)).astype(np.int64) - math.ceil(alpha * draw)
        bound = np.append(bound, size)
        return _listed(size, bound[:-1], np.diff(bound))


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
            j = np.arange(axis.most, dtype=np.int64)
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


