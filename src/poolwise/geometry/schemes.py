"""Schemes: how windows are laid on an axis. Small hashable values that build `AxisWindows`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..messages import refuse
from .windows import COUNT, ORIGIN, AxisWindows

__all__ = ["INTEGER_LIMIT", "Adaptive", "Fractional", "Global", "Scheme", "Sliding"]

# Windows that are cut by an edge, and all adaptive and fractional ones, are listed in a table. The cap keeps a
# hostile padding (or output size) from allocating gigabytes before anything else can refuse it.
TABLE_LIMIT = 1 << 24
INTEGER_LIMIT = (1 << 63) - 1


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

    def outputs_on(self, size: Any, index: int = 0) -> Any:
        """How many windows `axis` lays on this length, which may be a symbol that stands for an int."""
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

    def pads(self, size: Any, index: int) -> tuple[Any, Any]:
        """Padding before and after an axis."""
        if not isinstance(self.padding, str):
            return self.padding[index]
        if self.padding == "valid":
            return 0, 0
        stride = self.stride[index]
        total = max((-(-size // stride) - 1) * stride + self._span(index) - size, 0)
        less, more = total // 2, total - total // 2
        return (less, more) if self.padding == "same" else (more, less)

    def outputs_on(self, size: Any, index: int = 0) -> Any:
        """How many windows; fewer than 1 where none fits."""
        stride, (low, high) = self.stride[index], self.pads(size, index)
        outputs = (size + low + high - self._span(index) + (stride - 1 if self.ceil_mode else 0)) // stride + 1
        if self.ceil_mode and outputs > 1 and (outputs - 1) * stride >= size + low:
            outputs -= 1
        return outputs

    def _span(self, index: int) -> int:
        return (self.dilation[index] if self.dilation else 1) * (self.window[index] - 1) + 1

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
        low, high = self.pads(size, index)
        span, room, outputs = self._span(index), size + low + high, self.outputs_on(size, index)
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
        base = first * stride - low
        # Distances between things of which there is one are free: kept small, for those who multiply them.
        step, stride = (step if window > 1 else 1), (stride if last - first > 1 else 1)
        return AxisWindows(size, outputs, step, window, stride, base, first, last, edge)


def _cut_windows(origin: np.ndarray, size: int, high: int, window: int, step: int) -> np.ndarray:
    """Rows ``(start, count, padded, origin)`` of windows that may reach over either end of the axis."""
    begin = np.clip(-(origin // step), 0, window)  # first position at or after 0: ceil(-origin / step)
    stop = np.clip(-((origin - size) // step), begin, window)  # first at or after the end
    within = np.clip(-((origin - size - high) // step), begin, window)  # first beyond the explicit padding
    count = stop - begin
    start = np.where(count > 0, origin + step * begin, np.clip(origin, 0, size))
    return np.stack([start, count, within - count, origin], axis=1)


def _sees_nothing(where: str, axis: int, output: int, origin: int, span: int, size: int) -> ValueError:
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

    def outputs_on(self, size: Any, index: int = 0) -> Any:
        """As many as were asked for."""
        outputs = self.outputs[index]
        return size if outputs is None else outputs

    def axis(
        self, size: int, index: int = 0, *, where: str = "pool", axis: int = 0, allow_empty: bool = True
    ) -> AxisWindows:
        """The bins on one axis.

        >>> Adaptive((3,)).axis(7).start.tolist(), Adaptive((3,)).axis(7).count.tolist()
        ([0, 2, 4], [3, 3, 3])
        """
        outputs = self.outputs_on(size, index)
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

    def outputs_on(self, size: Any, index: int = 0) -> Any:
        """One."""
        return 1

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

    def outputs_on(self, size: Any, index: int = 0) -> Any:
        """As many as were asked for."""
        return self.outputs[index]

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
        # A draw too small to change i + draw would leave a region empty: each is held to one element at least.
        whole = np.arange(outputs, dtype=np.int64)
        bound = whole + np.maximum.accumulate(np.clip(bound - whole, 0, size - outputs))
        bound = np.append(bound, size)
        return _listed(size, bound[:-1], np.diff(bound))
