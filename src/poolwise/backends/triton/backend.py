"""The backend's entry in the table: what it can serve. Light on purpose; kernels are imported with the first one."""

from __future__ import annotations

import math
import os
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from ...problem import Problem
from ...spec import DTYPES
from ..protocol import Kernel

__all__ = ["ROWS", "TRITON", "Triton"]

ROWS = ("max", "min", "avg", "sum", "lp", "blur", "median")
"""Operators that have kernels."""
MOST_AXES = 3
MOST_EDGE_TAPS, LEAST_WEIGHT = 1 << 24, 1000
"""Limits of a blur: table entries for the windows that an edge cuts, and the power of two by which its smallest weight may
fall."""
LARGEST = (1 << 31) - (1 << 20)


@lru_cache(maxsize=1)
def _missing() -> str | None:
    for name in ("triton", "torch"):
        if find_spec(name) is None:
            return f"{name} is not installed"
    return None


def interpreted() -> bool:
    """True where Triton's interpreter runs the kernels, on the CPU: for tests without a GPU."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


class Triton:
    """Kernels compiled at first use, for arrays in a GPU's memory."""

    name = "triton"

    def why_not(self, problem: Problem, device: str) -> str | None:
        op, source = problem.op.name, problem.dtype
        if missing := _missing():
            return missing
        if device != "cuda" and not (device == "cpu" and interpreted()):
            return f"the array is on {device}, the kernels read a GPU's memory"
        if op not in ROWS:
            return f"no kernel for {op}"
        if op in ("avg", "sum") and DTYPES[source] != "float":
            return f"no kernel for {op} of integers"
        if problem.windows.any_empty and problem.border in (None, "zeros"):
            return "windows that see padding only are left to the definition"
        own = {"lp": self._norm, "blur": self._blur, "median": self._median}.get(op)
        return self._too_large(problem) or (own(problem) if own else None)

    def kernel(self, problem: Problem) -> Kernel:
        from .run import TritonKernel

        return TritonKernel(problem)

    def _too_large(self, problem: Problem) -> str | None:
        if math.prod(problem.windows.radix) > LARGEST:
            return "a window of more than 2**31 elements"
        if any(max(axis.size, axis.outputs) > LARGEST for axis in problem.windows.axes):
            return "an axis of more than 2**31 elements"
        return None

    def _norm(self, problem: Problem) -> str | None:
        params: Any = problem.params
        if math.isinf(params.p):
            return "no kernel for p = inf"
        if params.signed:
            return "signed norms, whose slope jumps where terms cancel, are left to the definition"
        if problem.axes[-1] - problem.axes[0] >= MOST_AXES:
            return f"no kernel for a norm over more than {MOST_AXES} axes or axes that lie apart"
        return None

    def _blur(self, problem: Problem) -> str | None:
        axes = problem.windows.axes
        if any(len(axis.edge) * axis.window > MOST_EDGE_TAPS for axis in axes):
            return "too many windows that an edge cuts"
        if sum(axis.window - 1 for axis in axes) > LEAST_WEIGHT:
            return f"weights below 2**-{LEAST_WEIGHT}"
        return None

    def _median(self, problem: Problem) -> str | None:
        if len(problem.axes) > MOST_AXES:
            return f"no kernel for a median over more than {MOST_AXES} axes"
        return None


TRITON = Triton()
