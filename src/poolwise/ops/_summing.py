"""What operators share that add a window's elements up."""

from __future__ import annotations

from typing import Any

from ..spec import Array

__all__ = ["summed"]

SCALE = 2.0**-64
"""No window has so many elements: sums of elements that are scaled by it stay in range."""


def summed(xp: Any, v: Array, divisor: Any = 1) -> Array:
    """Sums of floats along the last axis, divided; of finite elements never NaN, and infinite only where the quotient is."""
    total = xp.sum(v, axis=-1)
    # Partial sums that leave the range on both sides would be added up to NaN.
    return xp.where(xp.isfinite(total), total / divisor, xp.sum(v * SCALE, axis=-1) / divisor / SCALE)
