"""The rules of the five claims, a file each: which comparisons it needs, and what follows from which outcome."""

from __future__ import annotations

from .compute import compute
from .features import features
from .field import field
from .overfitting import overfitting
from .translation import translation

__all__ = ["ALL"]

ALL = (compute, overfitting, field, translation, features)
"""In the order in which they are usually told."""
