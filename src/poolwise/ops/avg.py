"""Average."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

from ..messages import refuse, shown
from ..spec import FLOATS, INTEGERS, Array, Ints, Padding, Params, PoolOp, Request, Taps, Traits, WindowArgs, pooling
from ._summing import summed

__all__ = ["AVG", "AvgParams", "avg_pool"]

LIMIT = 1 << 31


@dataclass(frozen=True)
class AvgParams(Params):
    """What to divide by instead of the number of elements, as torch's ``divisor_override``."""

    divisor: int | None = None

    def __post_init__(self) -> None:
        if self.divisor is None:
            return
        whole = isinstance(self.divisor, Integral) and not isinstance(self.divisor, bool)
        if not whole or not 0 < abs(self.divisor) < LIMIT:
            raise refuse(
                "avg_pool",
                "the divisor is not a whole number to divide by",
                got=f"divisor={shown(self.divisor)}",
                expected="an int other than 0 and below 2**31, or None for the number of elements",
                hint="divisor=1, or sum_pool",
            )


def _divisor(xp: Any, taps: Taps, params: AvgParams, dtype: Any) -> Array:
    given = taps.divisor if params.divisor is None else xp.full_like(taps.divisor, params.divisor)
    return xp.astype(given, dtype)


def forward(xp: Any, taps: Taps, params: AvgParams) -> Array:
    """The mean of the valid taps. Integers exactly; for an integer result, rounded half to even."""
    v = xp.where(taps.valid, taps.values, xp.zeros_like(taps.values))
    if xp.isdtype(v.dtype, "real floating"):
        return summed(xp, v, _divisor(xp, taps, params, v.dtype))
    # Quotients and remainders are summed apart: no partial sum is larger than the largest element or n squared.
    n = _divisor(xp, taps, params, v.dtype)
    rest = xp.sum(v % n[:, None], axis=-1)
    whole = xp.sum(v // n[:, None], axis=-1) + rest // n
    rest = rest % n
    if not taps.rounds:
        return xp.astype(whole, xp.float64) + xp.astype(rest, xp.float64) / xp.astype(n, xp.float64)
    beyond = rest * 2 > n if params.divisor is None or params.divisor > 0 else rest * 2 < n
    up = beyond | ((rest * 2 == n) & (whole % 2 != 0))
    return whole + xp.astype(up, whole.dtype)


def vjp(xp: Any, taps: Taps, params: AvgParams, y: Array, gy: Array) -> Array:
    """An equal share of the output's gradient, to every tap."""
    share = gy / _divisor(xp, taps, params, gy.dtype)
    return xp.broadcast_to(share[..., None], taps.values.shape)


AVG = PoolOp(
    name="avg",
    summary="the mean of the elements",
    family="combine",
    forward=forward,
    vjp=vjp,
    wide=FLOATS | INTEGERS,
    params=AvgParams,
    casts=True,
    traits=Traits(linear=True, saves="nothing"),
)


@pooling
def avg_pool(
    x: Array,
    window: Ints,
    *,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    axes: Ints | None = None,
    dtype: Any = None,
    out: Array | None = None,
    empty: float | None = None,
    backend: str | None = None,
) -> Array:
    """Mean of each window: keeps the overall level, smooths detail.

    ``y = (x_1 + ... + x_n) / n`` over the real elements of the window.

    Parameters
    ----------
    x : array, ``(..., *spatial)``
        NumPy array or torch tensor; floats and integers.
    window, stride, padding, dilation, ceil_mode, axes, out, empty, backend
        As in `max_pool`.
    count_include_pad : bool
        Count positions on explicit padding in n, as zeros. What reaches beyond it in ceil mode never counts.
    dtype : dtype or str, optional
        Dtype of the result; that of `x` by default. An integer result is rounded half to even, exactly.

    Returns
    -------
    array, ``(..., *outputs)``
        Same kind of array and memory order as `x`.

    Raises
    ------
    ValueError, TypeError
        For anything that does not describe windows on `x`; the message says what to try.

    Notes
    -----
    The gradient of every element of a window is the output's over n. Half types and float32 add up in wider
    precision; the mean of finite values is finite. NaN wins.

    References
    ----------
    LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition", Proc. IEEE 1998.

    Examples
    --------
    >>> import numpy as np, poolwise as pw
    >>> pw.avg_pool(np.array([[1.0, 2.0, 6.0]]), (1, 2), ceil_mode=True)
    array([[1.5, 6. ]])
    >>> pw.avg_pool(np.array([1, 2, 3, 4], dtype=np.uint8), 2)
    array([2, 4], dtype=uint8)
    """
    args = WindowArgs("sliding", window, stride, padding, dilation, ceil_mode)
    return Request(
        "avg_pool",
        AVG,
        args,
        AvgParams(),
        axes=axes,
        count_include_pad=count_include_pad,
        dtype=dtype,
        empty=empty,
        backend=backend,
    )
