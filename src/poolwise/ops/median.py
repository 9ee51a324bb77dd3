"""Median."""

from __future__ import annotations

from typing import Any

from ..spec import EVERY_DTYPE, Array, Ints, Padding, Params, PoolOp, Request, Taps, Traits, WindowArgs, pooling
from ._picking import routed

__all__ = ["MEDIAN", "median_pool"]


def middle(xp: Any, taps: Taps) -> tuple[Array, Array]:
    """The taps at the lower and the upper middle rank, ties ranked in scan order; twice the first NaN if any."""
    v = taps.values
    floating = xp.isdtype(v.dtype, "real floating")
    top = xp.full_like(v, xp.inf if floating else xp.iinfo(v.dtype).max)
    order = xp.argsort(xp.where(taps.valid, v, top), axis=-1, stable=True)
    # An invalid tap may tie with a real largest value: sorting once more, by validity alone, puts it last.
    absent = xp.astype(xp.broadcast_to(~taps.valid, v.shape), xp.uint8)
    order = xp.take_along_axis(
        order, xp.argsort(xp.take_along_axis(absent, order, axis=-1), axis=-1, stable=True), axis=-1
    )
    count = taps.count[..., None]
    shape = (*v.shape[:-1], 1)
    low = xp.take_along_axis(order, xp.broadcast_to((count - 1) // 2, shape), axis=-1)[..., 0]
    high = xp.take_along_axis(order, xp.broadcast_to(count // 2, shape), axis=-1)[..., 0]
    if not floating:
        return low, high
    nan = xp.astype(xp.isnan(v) & taps.valid, xp.uint8)
    first, found = xp.argmax(nan, axis=-1), xp.max(nan, axis=-1) > 0
    return xp.where(found, first, low), xp.where(found, first, high)


def forward(xp: Any, taps: Taps, params: Params) -> Array:
    """The middle element, or the mean of the two in the middle (of integers, rounded half to even)."""
    low, high = (xp.take_along_axis(taps.values, tap[..., None], axis=-1)[..., 0] for tap in middle(xp, taps))
    if xp.isdtype(low.dtype, "real floating"):
        total = low + high
        return xp.where(xp.isinf(total), low / 2 + high / 2, total / 2)
    floor = (low & high) + ((low ^ high) >> 1)
    return floor + ((low ^ high) & floor & 1)


def vjp(xp: Any, taps: Taps, params: Params, y: Array, gy: Array) -> Array:
    """Half of the gradient to each of the two in the middle, which are one in an odd window."""
    low, high = middle(xp, taps)
    return routed(xp, taps, low, gy / 2) + routed(xp, taps, high, gy / 2)


MEDIAN = PoolOp(
    name="median",
    summary="the median of the elements",
    family="ordered",
    forward=forward,
    vjp=vjp,
    wide=EVERY_DTYPE,
    traits=Traits(saves="input", flops=4.0),
)


@pooling
def median_pool(
    x: Array,
    window: Ints,
    *,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    axes: Ints | None = None,
    out: Array | None = None,
    empty: float | None = None,
    backend: str | None = None,
) -> Array:
    """Median of each window: follows the signal and ignores outliers (salt-and-pepper noise).

    ``y`` is the middle of the window's real elements in sorted order; the mean of the two in the middle when
    their number is even, which for integers is rounded half to even.

    Parameters
    ----------
    x : array, ``(..., *spatial)``
        NumPy array or torch tensor of any real dtype.
    window, stride, padding, dilation, ceil_mode, axes, out, empty, backend
        As in `max_pool`.

    Returns
    -------
    array, ``(..., *outputs)``
        Same kind of array, dtype and memory order as `x`.

    Raises
    ------
    ValueError, TypeError
        For anything that does not describe windows on `x`; the message says what to try.

    Notes
    -----
    The gradient goes to the middle element, or half of it to each of the two; equal elements are ranked in C
    order. NaN wins.

    References
    ----------
    Tukey, "Exploratory Data Analysis", 1977.

    Examples
    --------
    >>> import numpy as np, poolwise as pw
    >>> pw.median_pool(np.array([1.0, 2.0, 100.0, 4.0, 6.0]), 3, stride=2)
    array([2., 6.])
    """
    args = WindowArgs("sliding", window, stride, padding, dilation, ceil_mode)
    return Request("median_pool", MEDIAN, args, axes=axes, empty=empty, backend=backend)
