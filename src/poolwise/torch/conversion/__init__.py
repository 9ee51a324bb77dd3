"""`convert`: a network's pooling exchanged for this package's, checked and measured on an example; `revert` undoes it."""

from __future__ import annotations

from .exchange import convert, revert
from .report import Report, Row

__all__ = ["Report", "Row", "convert", "revert"]
