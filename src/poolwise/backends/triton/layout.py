"""How a problem lies in memory: ``[outer, axes..., inner]``, with windows per axis in the form that kernels take.

Integers only. Axes that are not pooled become `outer` or `inner` (or, between pooled ones, an axis with a window of
one); pooled axes that nothing is done to are folded in with them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...geometry import AxisWindows, Global, Sliding
from ...problem import Problem

__all__ = ["Axis", "Layout", "layout_of"]


@dataclass(frozen=True, eq=False)
class Axis:
    """The windows on one axis. What they are is read off `windows`, nothing is worked out anew."""

    windows: AxisWindows
    index_stride: int = 0
    """Elements from one position to the next in a plane in C order; 0 for an axis that is not pooled."""

    @property
    def size(self) -> int:
        return self.windows.size

    @property
    def outputs(self) -> int:
        return self.windows.outputs

    @cached_property
    def even(self) -> bool:
        """True where all windows, those on the edge included, are one evenly spaced window clipped to the axis.

        Nominal windows that are mostly padding are listed instead, so that the work is that of the real elements.
        """
        w = self.windows
        nominal = w.origin[0] + w.stride * np.arange(w.outputs, dtype=np.int64)
        low = np.clip(-(nominal // w.step), 0, w.window)
        high = np.clip(-((nominal - w.size) // w.step), low, w.window)
        same = (w.origin == nominal).all() and (w.count == high - low).all() and w.origin[0] <= 0
        return bool(same and (w.start == nominal + w.step * low).all() and w.window <= 2 * w.most)

    @cached_property
    def taps(self) -> int:
        """Steps of a loop over the elements of any window."""
        return self.windows.window if self.even else self.windows.most

    @cached_property
    def cut(self) -> bool:
        """True where some window has fewer elements than `taps`."""
        return bool((self.windows.count < self.taps).any())

    @cached_property
    def origin(self) -> int:
        return int(self.windows.origin[0]) if self.even else 0

    @cached_property
    def seen(self) -> int:
        """Steps of a loop over the outputs that see any one element."""
        if self.even:
            return (self.windows.step * (self.windows.window - 1)) // self.windows.stride + 1
        low, high = self.windows.inverse
        return max(int((high - low).max(initial=0)), 1)

    def divisor(self, padding: bool) -> np.ndarray:
        """Elements per window as an average counts them."""
        return self.windows.count + self.windows.padded if padding else self.windows.count


@dataclass(frozen=True, eq=False)
class Layout:
    """``[outer, axes..., inner]``, dense and in this order in memory, for input and result alike."""

    outer: int
    axes: tuple[Axis, ...]
    inner: int

    @cached_property
    def radix(self) -> tuple[int, ...]:
        return tuple(axis.windows.most for axis in self.axes)

    @cached_property
    def taps(self) -> int:
        return math.prod(axis.taps for axis in self.axes)

    @cached_property
    def seen(self) -> int:
        return math.prod(axis.seen for axis in self.axes)

    def single(self, place: int, places: list[int], back: bool = False) -> Layout:
        """One axis alone, when axes are taken in the order `places`: those done have their outputs' lengths.

        On the way `back`, those done have their inputs'.
        """
        done = places[: places.index(place)]
        lengths = [axis.size if (at in done) == back else axis.outputs for at, axis in enumerate(self.axes)]
        outer, inner = math.prod(lengths[:place]), math.prod(lengths[place + 1 :])
        return Layout(self.outer * outer, (self.axes[place],), inner * self.inner)

    @cached_property
    def sizes(self) -> int:
        """Elements of the input."""
        return self.outer * math.prod(axis.size for axis in self.axes) * self.inner

    @cached_property
    def results(self) -> int:
        """Elements of the result."""
        return self.outer * math.prod(axis.outputs for axis in self.axes) * self.inner


def _identity(size: int) -> AxisWindows:
    return Sliding((1,), (1,), ((0, 0),)).axis(size)


def _whole(axis: Axis) -> bool:
    """One window over everything, and nothing else in it."""
    w = axis.windows
    return w.outputs == 1 and w.count[0] == w.size and w.step == 1 and w.padded[0] == 0


def layout_of(problem: Problem, order: tuple[int, ...], fold: bool = True) -> Layout:
    """The layout of a problem whose arrays are dense with axes in this memory order.

    Unfolded, every pooled axis stays, as positions in a plane need.
    """
    pooled = dict(zip(problem.axes, problem.windows.axes, strict=True))
    strides = {axis: math.prod(problem.shape[b] for b in problem.axes if b > axis) for axis in problem.axes}
    dims: list[Axis | int] = []
    for axis in order:
        windows = pooled.get(axis)
        plain = windows is None or (fold and windows.identity)
        if plain and dims and isinstance(dims[-1], int):
            dims[-1] *= problem.shape[axis]
        else:
            dims.append(problem.shape[axis] if plain else Axis(windows, strides[axis]))
    outer = dims.pop(0) if dims and isinstance(dims[0], int) else 1
    inner = dims.pop() if dims and isinstance(dims[-1], int) else 1
    axes: list[Axis] = []
    plain = problem.op.weights is None  # weights are an axis' own: no two of them are one longer axis
    for dim in dims:
        axis = Axis(_identity(dim)) if isinstance(dim, int) else dim
        if fold and plain and axes and _whole(axis) and _whole(axes[-1]):
            axes[-1] = Axis(Global().axis(axes[-1].size * axis.size), 1)
        elif not (isinstance(dim, int) and dim == 1):
            axes.append(axis)
    if not axes:  # every window is one element
        return Layout(1, (Axis(_identity(1)),), outer * inner)
    return Layout(outer, tuple(axes), inner)
