"""What operators share that answer with one of their window's elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..spec import Array, Params, Taps

__all__ = ["picking"]

Select = Callable[[Any, Taps], Array]


def picking(select: Select) -> dict[str, Any]:
    """The definition that follows from `select`: that element forward, all of the gradient to it backward."""

    def forward(xp: Any, taps: Taps, params: Params) -> Array:
        return xp.take_along_axis(taps.values, select(xp, taps)[..., None], axis=-1)[..., 0]

    def vjp(xp: Any, taps: Taps, params: Params, y: Array, gy: Array) -> Array:
        return routed(xp, taps, select(xp, taps), gy)

    return {"select": select, "forward": forward, "vjp": vjp}


def routed(xp: Any, taps: Taps, chosen: Array, gy: Array) -> Array:
    """`gy` on the chosen tap of each window, zero on the others."""
    here = chosen[..., None] == xp.arange(taps.valid.shape[-1], device=gy.device)
    return xp.where(here, gy[..., None], xp.zeros_like(gy)[..., None])
