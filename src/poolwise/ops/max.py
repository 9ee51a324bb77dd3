"""Maximum."""

from __future__ import annotations

from typing import Any

from ..spec import EVERY_DTYPE, Array, Ints, Padding, PoolOp, Request, Taps, Traits, WindowArgs, pooling
from ._picking import picking

__all__ = ["MAX", "max_pool", "max_pool_with_indices", "max_pool_with_offsets"]


def select(xp: Any, taps: Taps) -> Array:
    """The first largest tap; `argmax` takes the first NaN where there is one."""
    v = taps.values
    floating = xp.isdtype(v.dtype, "real floating")
    lowest = -xp.inf if floating else xp.iinfo(v.dtype).min
    return xp.argmax(xp.where(taps.valid, v, xp.full_like(v, lowest)), axis=-1)


MAX = PoolOp(
    name="max",
    summary="the largest element",
    family="combine",
    **picking(select),
    wide=EVERY_DTYPE,
    traits=Traits(picks=True, saves="offsets"),
)


@pooling
def max_pool(
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
    """Largest element of each window: keeps the strongest response, wherever in the window it is.

    ``y = max(x_1, ..., x_n)`` over the real elements of the window; padding never enters.

    Parameters
    ----------
    x : array, ``(..., *spatial)``
        NumPy array or torch tensor of any real dtype, bool included.
    window : int or tuple of int
        Window size in elements. n numbers pool the last n axes, or those in `axes`. A bare int needs `axes`
        unless `x` has one axis.
    stride : int or tuple of int, optional
        Distance between windows in elements; the window size by default (non-overlapping regions).
    padding : int, tuple, or {"valid", "same", "same_lower"}
        Positions added on both sides: an int, one per axis, or a ``(low, high)`` pair per axis. ``"same"`` is
        TensorFlow's rule (the odd cell after), ``"same_lower"`` puts it before.
    dilation : int or tuple of int
        Distance between the elements of one window.
    ceil_mode : bool
        Round the number of windows up: a tail that does not fill a window becomes a partial one, and is
        otherwise dropped. As torch, a window that would start beyond the input is left out.
    axes : int or tuple of int, optional
        The axes that are pooled.
    out : array, optional
        Where to write the result: shape and dtype of the result, dense, not overlapping `x`.
    empty : number, optional
        The value of a window that sees padding only; such windows are an error without it.
    backend : str, optional
        Insist on a backend (``"cpu"`` or ``"generic"``); see `poolwise.explain`.

    Returns
    -------
    array, ``(..., *outputs)``
        Same kind of array, dtype and memory order as `x`. Per axis ``floor((n + low + high - d*(k-1) - 1)/s) + 1``.

    Raises
    ------
    ValueError, TypeError
        For anything that does not describe windows on `x`; the message says what to try.

    Notes
    -----
    The gradient goes to the element that was taken; of equal ones, to the first in C order. NaN wins: a window
    with a NaN gives NaN. ``-inf`` is an ordinary value.

    References
    ----------
    Ranzato, Huang, Boureau, LeCun, "Unsupervised learning of invariant feature hierarchies", CVPR 2007.

    Examples
    --------
    >>> import numpy as np, poolwise as pw
    >>> x = np.arange(16.0).reshape(4, 4)
    >>> pw.max_pool(x, (2, 2))
    array([[ 5.,  7.],
           [13., 15.]])
    >>> pw.max_pool(x, 3, stride=1, padding="same", axes=(0, 1)).shape
    (4, 4)
    """
    args = WindowArgs("sliding", window, stride, padding, dilation, ceil_mode)
    return Request("max_pool", MAX, args, axes=axes, empty=empty, backend=backend)


@pooling
def max_pool_with_indices(
    x: Array,
    window: Ints,
    *,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    axes: Ints | None = None,
    backend: str | None = None,
) -> tuple[Array, Array]:
    """`max_pool`, and where each maximum was found.

    Parameters are those of `max_pool`.

    Returns
    -------
    values : array, ``(..., *outputs)``
    indices : array of int64, ``(..., *outputs)``
        Flat positions per plane (C order over the pooled axes), as torch's ``return_indices=True``. What
        `max_unpool` takes.

    Examples
    --------
    >>> import numpy as np, poolwise as pw
    >>> pw.max_pool_with_indices(np.array([3, 1, 4, 1, 5, 9]), 2)
    (array([3, 4, 9]), array([0, 2, 5]))
    """
    args = WindowArgs("sliding", window, stride, padding, dilation, ceil_mode)
    return Request("max_pool_with_indices", MAX, args, axes=axes, backend=backend, finds="indices")


@pooling
def max_pool_with_offsets(
    x: Array,
    window: Ints,
    *,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    axes: Ints | None = None,
    backend: str | None = None,
) -> tuple[Array, Array]:
    """`max_pool`, and the number of each maximum inside its window: an eighth of the memory of indices, or less.

    Parameters are those of `max_pool`.

    Returns
    -------
    values : array, ``(..., *outputs)``
    offsets : array, ``(..., *outputs)``
        Unsigned bytes for windows of up to 256 elements, else uint16, int32 or int64; in the memory order of `values`.
        Elements are counted in C order, from the window's first real element: padding has no number. The digits of an
        offset, one per pooled axis, are to the base of the most real elements that a window has along the axis, and count
        steps of `dilation`.

    Notes
    -----
    Where torch compiles, exports or maps over the call, the dtype follows from the window alone: it may be wider than that
    of the elements which there are. The gradient goes through the values; offsets have none.

    Examples
    --------
    >>> import numpy as np, poolwise as pw
    >>> x = np.array([[3, 1, 4, 1], [5, 9, 2, 6], [5, 3, 5, 8]])
    >>> values, offsets = pw.max_pool_with_offsets(x, (3, 2))
    >>> values, offsets
    (array([[9, 8]]), array([[3, 5]], dtype=uint8))
    >>> np.divmod(offsets, 2)  # rows and columns inside the windows of 3 x 2
    (array([[1, 2]], dtype=uint8), array([[1, 1]], dtype=uint8))
    """
    args = WindowArgs("sliding", window, stride, padding, dilation, ceil_mode)
    return Request("max_pool_with_offsets", MAX, args, axes=axes, backend=backend, finds="offsets")
