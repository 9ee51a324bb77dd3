"""Blur: anti-aliased down-sampling with a binomial filter."""

from __future__ import annotations

from functools import lru_cache
from math import comb
from typing import Any

import numpy as np

from ..spec import FLOATS, Array, Border, Ints, Padding, Params, PoolOp, Request, Taps, Traits, WindowArgs, pooling

__all__ = ["BLUR", "blur_pool"]


@lru_cache(maxsize=64)
def binomial(window: tuple[int, ...]) -> np.ndarray:
    """Weights of the nominal window in C order: products of rows of Pascal's triangle, each summing to 1."""
    weights = np.ones(1)
    for size in window:
        # Python integers divide exactly rounded, whatever the row's size.
        row = np.array([comb(size - 1, j) / 2 ** (size - 1) for j in range(size)])
        weights = (weights[:, None] * row).reshape(-1)
    return weights


def forward(xp: Any, taps: Taps, params: Params) -> Array:
    """The weighted mean, as the first valid tap plus the weighted mean of the differences from it.

    Where all elements are equal every difference is 0 and the constant comes back to the bit, in any precision.
    """
    v = xp.where(taps.valid, taps.values, xp.zeros_like(taps.values))
    w = xp.astype(taps.weight, v.dtype)
    total = xp.astype(taps.divisor, v.dtype)
    first = xp.argmax(xp.astype(taps.valid, xp.uint8), axis=-1)[:, None]
    base = xp.take_along_axis(v, xp.broadcast_to(first, (*v.shape[:-1], 1)), axis=-1)
    # Padding that counts as zeros has a weight of its own in the divisor, but no tap.
    inside = xp.sum(w, axis=-1)
    shifted = xp.sum(w * xp.where(taps.valid, v - base, xp.zeros_like(v)), axis=-1)
    exact = base[..., 0] * (inside / total) + shifted / total
    return xp.where(xp.isfinite(exact), exact, xp.sum(xp.where(w > 0, w * v, xp.zeros_like(v)), axis=-1) / total)


def vjp(xp: Any, taps: Taps, params: Params, y: Array, gy: Array) -> Array:
    """The output's gradient, in the proportion of the weights."""
    share = gy / xp.astype(taps.divisor, gy.dtype)
    return share[..., None] * xp.astype(taps.weight, gy.dtype)


BLUR = PoolOp(
    name="blur",
    summary="the binomially weighted mean of the elements",
    family="weighted",
    forward=forward,
    vjp=vjp,
    weights=binomial,
    wide=FLOATS,
    traits=Traits(linear=True, saves="nothing", flops=2.0),
)


@pooling
def blur_pool(
    x: Array,
    window: Ints,
    *,
    stride: Ints = 2,
    padding: Padding | None = None,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    border: Border = "reflect",
    count_include_pad: bool = False,
    axes: Ints | None = None,
    out: Array | None = None,
    backend: str | None = None,
) -> Array:
    """Anti-aliased down-sampling: a binomial filter, then every `stride`-th sample.

    Removes the detail that a coarser grid cannot hold before it is sampled, so that the result changes little when
    the input moves by a pixel.

    ``y = sum_j w_j x_j / sum_j w_j`` with w the products of rows of Pascal's triangle (1 2 1 for a window of 3).

    Parameters
    ----------
    x : array, ``(..., *spatial)``
        NumPy array or torch tensor of a float dtype.
    window : int or tuple of int
        Filter size in elements, 1 to 1024; n numbers pool the last n axes, or those in `axes`.
    stride : int or tuple of int
        Distance between samples in elements, 2 by default.
    padding : int, tuple, or {"valid", "same", "same_lower"}, optional
        As in `max_pool`. By default ``((window - 1)//2, window//2)`` per axis, which centres the filter on the
        samples: a stride of 2 halves the axis, rounded up.
    border : {"reflect", "replicate", "circular", "zeros"}
        What lies on the padding: the mirrored input without its edge repeated, its edge, its other end, or nothing:
        with ``"zeros"`` the weights that fall outside are left out of the divisor, so that a constant image stays
        constant.
    count_include_pad : bool
        With ``border="zeros"``: keep all weights in the divisor, so that padding darkens the edge (the convolution
        with zero padding).
    dilation, ceil_mode, axes, out, backend
        As in `max_pool`.

    Returns
    -------
    array, ``(..., *outputs)``
        Same kind of array, dtype and memory order as `x`.

    Raises
    ------
    ValueError, TypeError
        For an unknown border, and for anything that does not describe windows on `x`.

    Notes
    -----
    Constant input comes back to the bit. The gradient is the transposed filter. NaN wins where its weight is not 0.

    References
    ----------
    Zhang, "Making convolutional networks shift-invariant again", ICML 2019.

    Examples
    --------
    >>> import numpy as np, poolwise as pw
    >>> pw.blur_pool(np.array([0.0, 0.0, 4.0, 0.0, 0.0, 0.0]), 3)
    array([0., 2., 0.])
    """
    args = WindowArgs("sliding", window, stride, padding, dilation, ceil_mode)
    return Request(
        "blur_pool", BLUR, args, axes=axes, count_include_pad=count_include_pad, border=border, backend=backend
    )
