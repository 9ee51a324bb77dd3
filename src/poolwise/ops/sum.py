"""Sum."""

from __future__ import annotations

from typing import Any

from ..spec import FLOATS, INTEGERS, Array, Ints, Padding, Params, PoolOp, Request, Taps, Traits, WindowArgs, pooling
from ._summing import summed

__all__ = ["SUM", "sum_pool"]


def forward(xp: Any, taps: Taps, params: Params) -> Array:
    """The sum of the valid taps; integers exactly, and refused where 64 bits do not hold it."""
    v = xp.where(taps.valid, taps.values, xp.zeros_like(taps.values))
    if xp.isdtype(v.dtype, "real floating"):
        return summed(xp, v)
    # Halves of 32 bits are summed apart: no partial sum wraps for any window of up to 2**31 elements.
    high, low = xp.sum(v >> 32, axis=-1), xp.sum(v & 0xFFFFFFFF, axis=-1)
    high, low = high + (low >> 32), low & 0xFFFFFFFF
    if not taps.rounds:
        return xp.astype(high, xp.float64) * 2.0**32 + xp.astype(low, xp.float64)
    lowest = 0 if xp.isdtype(v.dtype, "unsigned integer") else -(1 << 31)
    if bool(xp.any((high < lowest) | (high >= lowest + (1 << 32)))):
        raise OverflowError("a sum does not fit 64 bits")
    return (high << 32) + low


def vjp(xp: Any, taps: Taps, params: Params, y: Array, gy: Array) -> Array:
    """The output's gradient, to every tap."""
    return xp.broadcast_to(gy[..., None], taps.values.shape)


SUM = PoolOp(
    name="sum",
    summary="the sum of the elements",
    family="combine",
    forward=forward,
    vjp=vjp,
    wide=FLOATS | INTEGERS,
    casts=True,
    traits=Traits(linear=True, saves="nothing"),
)


@pooling
def sum_pool(
    x: Array,
    window: Ints,
    *,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    axes: Ints | None = None,
    dtype: Any = None,
    out: Array | None = None,
    empty: float | None = None,
    backend: str | None = None,
) -> Array:
    """Sum of each window: counts, energy, anything that must be conserved when an array shrinks.

    ``y = x_1 + ... + x_n`` over the real elements of the window.

    Parameters
    ----------
    x : array, ``(..., *spatial)``
        NumPy array or torch tensor; floats and integers.
    window, stride, padding, dilation, ceil_mode, axes, out, empty, backend
        As in `max_pool`.
    dtype : dtype or str, optional
        Dtype of the result; that of `x` by default.

    Returns
    -------
    array, ``(..., *outputs)``
        Same kind of array and memory order as `x`.

    Raises
    ------
    ValueError
        Also where an integer sum does not fit the result's dtype: it is never wrapped. Try ``dtype="int64"``.
    TypeError
        For a bool array, whose sum in bool would count nothing; convert it first.

    Notes
    -----
    The gradient of every element of a window is the output's. float32 and half types add up in wider precision,
    integers exactly. NaN wins.

    Examples
    --------
    >>> import numpy as np, poolwise as pw
    >>> pw.sum_pool(np.array([200, 100, 1, 2], dtype=np.uint8), 2, dtype="int64")
    array([300,   3])
    """
    args = WindowArgs("sliding", window, stride, padding, dilation, ceil_mode)
    return Request("sum_pool", SUM, args, axes=axes, dtype=dtype, empty=empty, backend=backend)
