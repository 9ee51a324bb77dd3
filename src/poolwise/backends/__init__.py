"""Who computes. The table of backends, in order of preference."""

from __future__ import annotations

from . import cpu, generic, triton
from .protocol import Backend

__all__ = ["BACKENDS"]

BACKENDS: tuple[Backend, ...] = (cpu.CPU, triton.TRITON, generic.GENERIC)
