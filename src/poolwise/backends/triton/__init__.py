"""GPU kernels in Triton. Importing this package imports neither triton nor torch."""

from .backend import TRITON

__all__ = ["TRITON"]
