"""Lp norm."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from numbers import Real
from typing import Any

from ..messages import refuse, refuse_type, shown
from ..spec import FLOATS, Array, Ints, Padding, Params, PoolOp, Request, Taps, Traits, WindowArgs, pooling

__all__ = ["LP", "LpParams", "lp_pool"]

LARGEST = sys.float_info.max


@dataclass(frozen=True)
class LpParams(Params):
    """The norm's exponent, and the two things in which torch's layer differs from a norm."""

    p: float = 2.0
    signed: bool = False
    """Odd p: terms keep their sign, as torch's ``x**p`` does, and so does the root."""
    rescale: bool = False
    """Weigh the windows that the edge cuts as if they were whole, as torch's layer does in ceil mode."""

    def __post_init__(self) -> None:
        if isinstance(self.p, bool) or not isinstance(self.p, Real):
            raise refuse_type(
                "lp_pool",
                "p is not a number",
                got=f"p={shown(self.p)}",
                expected="a number above 0, or inf",
                hint="p=2",
            )
        if not self.p > 0 or LARGEST < self.p < math.inf:
            raise refuse(
                "lp_pool",
                "p is out of range",
                got=f"p={shown(self.p)}",
                expected="0 < p <= inf",
                hint="p=2, or sum_pool for p=0",
            )
        object.__setattr__(self, "p", float(self.p))


def forward(xp: Any, taps: Taps, params: LpParams) -> Array:
    """``(sum |x|^p)^(1/p)``, scaled by the largest ``|x|`` so that no power leaves the dtype's range."""
    v = xp.where(taps.valid, taps.values, xp.zeros_like(taps.values))
    size = xp.abs(v)
    largest = xp.max(size, axis=-1)
    if math.isinf(params.p):
        return largest
    usable = (largest > 0) & (largest < xp.inf)
    unit = xp.where(usable, largest, xp.ones_like(largest))
    scaled = size / unit[..., None]
    # Signed terms are smooth in v, for autodiff too: at 0 the derivative of v * |v|^0 is 1, that of |v| has no side.
    terms = v / unit[..., None] * scaled ** (params.p - 1) if params.signed else scaled**params.p
    total = xp.sum(terms, axis=-1)
    if params.rescale:
        total = total * (taps.whole / xp.astype(taps.count, total.dtype))
    if params.p == 1:
        root = unit * total
    else:
        norm = unit * xp.abs(total) ** (1 / params.p)
        root = xp.where(total < 0, -norm, norm)
    return xp.where(usable | (largest == 0), root, total if params.signed else largest)


def vjp(xp: Any, taps: Taps, params: LpParams, y: Array, gy: Array) -> Array:
    """``sign(x) * (|x|/y)^(p-1)``; 0 where x is 0 or the norm is. An infinite element takes all of it."""
    v = xp.where(taps.valid, taps.values, xp.zeros_like(taps.values))
    if params.signed and params.p == 1:  # a sum
        share = gy * (taps.whole / xp.astype(taps.count, gy.dtype)) if params.rescale else gy
        return xp.broadcast_to(share[..., None], v.shape)
    size, norm = xp.abs(v), xp.abs(y)[..., None]
    if math.isinf(params.p):
        tap = xp.arange(taps.valid.shape[-1], device=gy.device)
        first = (xp.argmax(size, axis=-1)[..., None] == tap) & (v != 0)
        return xp.where(first, xp.where(v < 0, -gy[..., None], gy[..., None]), xp.zeros_like(v))
    live = (size > 0) & (norm > 0)
    both_infinite = (size == xp.inf) & (norm == xp.inf)
    one = xp.ones_like(size)
    ratio = xp.where(live & ~both_infinite, size, one) / xp.where(live & ~both_infinite, norm, one)
    slope = ratio ** (params.p - 1)
    if params.rescale:
        slope = slope * (taps.whole / xp.astype(taps.count, slope.dtype))[:, None]
    if not params.signed:
        slope = xp.where(v < 0, -slope, slope)
    undefined = xp.isnan(size) | xp.isnan(norm)
    return gy[..., None] * xp.where(live, slope, xp.where(undefined, xp.full_like(slope, xp.nan), xp.zeros_like(slope)))


LP = PoolOp(
    name="lp",
    summary="the Lp norm of the elements",
    family="combine",
    forward=forward,
    vjp=vjp,
    wide=FLOATS,
    params=LpParams,
    traits=Traits(saves="input", flops=3.0),
)


@pooling
def lp_pool(
    x: Array,
    window: Ints,
    *,
    p: float = 2.0,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    axes: Ints | None = None,
    out: Array | None = None,
    empty: float | None = None,
    backend: str | None = None,
) -> Array:
    """Lp norm of each window: between the sum (p = 1) and the maximum (p = inf) of absolute values.

    ``y = (|x_1|^p + ... + |x_n|^p)^(1/p)`` over the real elements of the window.

    Parameters
    ----------
    x : array, ``(..., *spatial)``
        NumPy array or torch tensor of a float dtype.
    window, stride, padding, dilation, ceil_mode, axes, out, empty, backend
        As in `max_pool`.
    p : float
        Exponent above 0; ``inf`` gives the largest absolute value.

    Returns
    -------
    array, ``(..., *outputs)``
        Same kind of array, dtype and memory order as `x`.

    Raises
    ------
    ValueError, TypeError
        For a p that is not above 0, and for anything that does not describe windows on `x`.

    Notes
    -----
    Powers are scaled: finite elements never give NaN, nor inf or 0 where the norm is representable. The gradient
    is ``sign(x) * (|x|/y)^(p-1)``, and 0 where the norm (or x) is 0; for ``p = inf`` it goes to the first of the
    largest. NaN wins. Absolute values are taken for every p; torch's layer takes none, see
    `poolwise.torch.LPPool2d`.

    References
    ----------
    Sermanet, Chintala, LeCun, "Convolutional neural networks applied to house numbers digit classification",
    ICPR 2012.

    Examples
    --------
    >>> import numpy as np, poolwise as pw
    >>> pw.lp_pool(np.array([3.0, -4.0, 0.0, 0.0]), 2)
    array([5., 0.])
    """
    args = WindowArgs("sliding", window, stride, padding, dilation, ceil_mode)
    return Request("lp_pool", LP, args, LpParams(p), axes=axes, empty=empty, backend=backend)
