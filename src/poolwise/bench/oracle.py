"""What the answer is: a second, separate statement of pooling, in NumPy and a wide dtype, tap by tap.

It shares no code with the operators, the reference or the kernels of this package, so that a benchmark cannot agree
with itself. Windows are separable in every operator here but the median, so each axis is walked alone and big
windows cost taps, not taps squared. Arrays are ``(planes, *spatial)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .case import EXACT, Case

__all__ = ["binomial", "divisor_of", "forward", "gradient", "highest", "indices", "lowest", "tap_slices", "wide_dtype"]

Array = Any


def wide_dtype(case: Case) -> Any:
    """Exact for picking; for sums of doubles the widest float, for the rest doubles."""
    if case.op in EXACT:
        return np.float32 if case.dtype in ("bfloat16", "float16") else np.dtype(case.dtype)
    return np.longdouble if case.dtype == "float64" else np.float64


def _bins(case: Case, axis: int) -> list[tuple[int, int]] | None:
    """Begin and end per output for adaptive and global windows; None for sliding ones."""
    size = case.spatial[axis]
    if case.kind == "global":
        return [(0, size)]
    if case.kind == "adaptive":
        many = case.window[axis]
        return [(i * size // many, -(-(i + 1) * size // many)) for i in range(many)]
    return None


def tap_slices(case: Case, axis: int) -> tuple[int, int, list[slice]]:
    """Padding in front, padding behind, and per tap the padded positions that the outputs read."""
    many, step = case.outputs[axis], case.stride[axis]
    size, low = case.spatial[axis], case.padding[axis]
    span = (many - 1) * step
    firsts = [tap * case.dilation[axis] for tap in range(case.window[axis])]
    high = max(firsts[-1] + span + 1 - size - low, 0)
    return low, high, [slice(first, first + span + 1, step) for first in firsts]


def _padded(x: Array, axis: int, low: int, high: int, value: float) -> Array:
    if not low and not high:
        return x
    pads = [(0, 0)] * x.ndim
    pads[axis] = (low, high)
    return np.pad(x, pads, constant_values=value)


def _cut(axis: int, part: slice) -> tuple[slice, ...]:
    return (*(slice(None),) * axis, part)


def _reduce(case: Case, x: Array, combine: np.ufunc, identity: float) -> Array:
    for axis in range(len(case.spatial)):
        at, bins = axis + 1, _bins(case, axis)
        if bins is not None:
            x = np.stack([combine.reduce(x[_cut(at, slice(*ends))], axis=at) for ends in bins], axis=at)
            continue
        low, high, taps = tap_slices(case, axis)
        padded = _padded(x, at, low, high, identity)
        result = padded[_cut(at, taps[0])].copy()
        for tap in taps[1:]:
            combine(result, padded[_cut(at, tap)], out=result)
        x = result
    return x


def divisor_of(case: Case) -> Array:
    """Positions per window, explicit padding counted, what a ceil overhang adds not: torch's default."""
    total = np.ones((1,), np.float64)
    for axis, size in enumerate(case.spatial):
        bins = _bins(case, axis)
        if bins is None:
            starts = np.arange(case.outputs[axis]) * case.stride[axis]
            taps = starts[:, None] + np.arange(case.window[axis]) * case.dilation[axis]
            counts = (taps < size + 2 * case.padding[axis]).sum(axis=1)
        else:
            counts = np.array([end - begin for begin, end in bins])
        total = np.multiply.outer(total, counts)
    return total


def binomial(size: int) -> list[float]:
    """A row of Pascal's triangle that sums to 1."""
    return [math.comb(size - 1, tap) / 2 ** (size - 1) for tap in range(size)]


def _blur(case: Case, x: Array) -> Array:
    for axis in range(len(case.spatial)):
        low, high, taps = tap_slices(case, axis)
        pads = [(0, 0)] * x.ndim
        pads[axis + 1] = (low, high)
        padded = np.pad(x, pads, mode="reflect")
        weights = binomial(case.window[axis])
        x = sum(padded[_cut(axis + 1, tap)] * weight for tap, weight in zip(taps, weights, strict=True))
    return x


def _median(case: Case, x: Array) -> Array:
    axes = tuple(range(1, x.ndim))
    view = np.lib.stride_tricks.sliding_window_view(x, case.window, axes)
    view = view[(slice(None), *(slice(None, None, step) for step in case.stride))]
    taps = view.reshape(*view.shape[: x.ndim], -1)
    middle = taps.shape[-1] // 2
    return np.partition(taps, middle, axis=-1)[..., middle]


def lowest(dtype: Any) -> Any:
    """What every element of the dtype beats."""
    return np.iinfo(dtype).min if np.dtype(dtype).kind in "iu" else -np.inf


def highest(dtype: Any) -> Any:
    """What beats every element of the dtype."""
    return np.iinfo(dtype).max if np.dtype(dtype).kind in "iu" else np.inf


def forward(case: Case, x: Array) -> Array:
    """The result over planes in the wide dtype, not yet rounded."""
    recipes: dict[str, Callable[[], Array]] = {
        "max": lambda: _reduce(case, x, np.maximum, lowest(x.dtype)),
        "min": lambda: _reduce(case, x, np.minimum, highest(x.dtype)),
        "sum": lambda: _reduce(case, x, np.add, 0),
        "avg": lambda: _reduce(case, x, np.add, 0) / divisor_of(case),
        "lp": lambda: np.sqrt(_reduce(case, x * x, np.add, 0)),
        "blur": lambda: _blur(case, x),
        "median": lambda: _median(case, x),
    }
    return recipes[case.op]()


def indices(case: Case, x: Array) -> Array:
    """Flat position in its plane of the first largest (or smallest) element, in C order of the window."""
    better = np.greater if case.op == "max" else np.less
    at = np.broadcast_to(np.arange(math.prod(case.spatial)).reshape(case.spatial), x.shape)
    # Last axis first: the first largest of each row, then the first row that holds the largest.
    for axis in reversed(range(len(case.spatial))):
        bins, many = _bins(case, axis), case.outputs[axis]
        if bins is None:
            low, high, taps = tap_slices(case, axis)
        else:
            low, high = 0, 0
            longest = max(end - begin for begin, end in bins)
            taps = [np.array([min(begin + tap, end - 1) for begin, end in bins]) for tap in range(longest)]
        values = _padded(x, axis + 1, low, high, 0)
        places = _padded(at, axis + 1, low, high, -1)
        shape = (*x.shape[: axis + 1], many, *x.shape[axis + 2 :])
        x, at = np.zeros(shape, values.dtype), np.full(shape, -1)
        for tap in taps:
            value, place = values[_cut(axis + 1, tap)], places[_cut(axis + 1, tap)]
            take = (place >= 0) & ((at < 0) | better(value, x))
            x, at = np.where(take, value, x), np.where(take, place, at)
    return at


def _spread(case: Case, gy: Array) -> Array:
    """The transposed sum: every element receives what the windows that hold it were given."""
    for axis in range(len(case.spatial)):
        at, size, bins = axis + 1, case.spatial[axis], _bins(case, axis)
        low, high, taps = (0, 0, []) if bins is not None else tap_slices(case, axis)
        gx = np.zeros((*gy.shape[:at], size + low + high, *gy.shape[at + 1 :]), gy.dtype)
        for tap in taps:
            gx[_cut(at, tap)] += gy
        for output, ends in enumerate(bins or ()):
            gx[_cut(at, slice(*ends))] += gy[_cut(at, slice(output, output + 1))]
        gy = gx[_cut(at, slice(low, low + size))]
    return gy


def gradient(case: Case, x: Array, gy: Array) -> Array:
    """The gradient at `x` of ``sum(gy * forward(x))``, in doubles at least."""
    wide = np.longdouble if case.dtype == "float64" else np.float64
    gy = gy.astype(wide)
    if case.op in ("max", "min"):
        at, planes, plane = indices(case, x), x.shape[0], math.prod(case.spatial)
        gx = np.zeros((planes, plane), wide)
        rows = np.broadcast_to(np.arange(planes)[:, None], (planes, at[0].size))
        np.add.at(gx, (rows, at.reshape(planes, -1)), gy.reshape(planes, -1))
        return gx.reshape(x.shape)
    if case.op == "lp":
        return x * _spread(case, gy / forward(case, x))
    return _spread(case, gy / divisor_of(case) if case.op == "avg" else gy)
