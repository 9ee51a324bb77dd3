"""Minimum."""

from __future__ import annotations

from typing import Any

from ..spec import EVERY_DTYPE, Array, Ints, Padding, PoolOp, Request, Taps, Traits, WindowArgs, pooling
from ._picking import picking

__all__ = ["MIN", "min_pool"]


def select(xp: Any, taps: Taps) -> Array:
    """The first smallest tap; `argmin` takes the first NaN where there is one."""
    v = taps.values
    floating = xp.isdtype(v.dtype, "real floating")
    highest = xp.inf if floating else xp.iinfo(v.dtype).max
    return xp.argmin(xp.where(taps.valid, v, xp.full_like(v, highest)), axis=-1)


MIN = PoolOp(
    name="min",
    summary="the smallest element",
    family="combine",
    **picking(select),
    wide=EVERY_DTYPE,
    traits=Traits(picks=True, saves="offsets"),
)


@pooling
def min_pool(
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
    """Smallest element of each window: keeps dark detail, erodes a mask.

    ``y = min(x_1, ..., x_n)`` over the real elements of the window; padding never enters.

    Parameters
    ----------
    x : array, ``(..., *spatial)``
        NumPy array or torch tensor of any real dtype, bool and unsigned included.
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
    The gradient goes to the element that was taken; of equal ones, to the first in C order. NaN wins. ``inf`` is
    an ordinary value. The dual of `max_pool`: erosion, where that is dilation (Serra, "Image Analysis and
    Mathematical Morphology", 1982).

    Examples
    --------
    >>> import numpy as np, poolwise as pw
    >>> pw.min_pool(np.array([[3, 1], [4, 2]], dtype=np.uint8), (2, 1))
    array([[3, 1]], dtype=uint8)
    """
    args = WindowArgs("sliding", window, stride, padding, dilation, ceil_mode)
    return Request("min_pool", MIN, args, axes=axes, empty=empty, backend=backend)
