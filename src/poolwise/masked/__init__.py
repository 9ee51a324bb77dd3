"""Pooling that leaves elements out: those that a mask does not count, and NaN.

A masked pooling is composed from the poolings that exist (`compose`), so every scheme of windows, backend, framework and
gradient has it at once: elements that do not count become the operator's neutral element, and a pooling of the mask itself
says how many did. What cannot be said so (the median, an operator of one's own) is gathered (`gathered`).
"""

from __future__ import annotations

from .verb import masked_pool, pool_masked

__all__ = ["masked_pool", "pool_masked"]
