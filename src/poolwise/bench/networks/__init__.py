"""Whole networks before and after `poolwise.torch.convert`: `poolwise bench --networks`."""

from __future__ import annotations

from .cells import JOBS, Job, measure
from .session import run

__all__ = ["JOBS", "Job", "measure", "run"]
