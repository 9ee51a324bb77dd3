"""Who computes a problem: the backends' table walked in order, with every rejection and its reason."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .backends import BACKENDS
from .backends.protocol import Kernel, Residual
from .messages import refuse, shown
from .problem import Problem

__all__ = ["Plan", "plan"]


@dataclass(frozen=True, eq=False)
class Plan:
    """The choice of a backend for a problem."""

    problem: Problem
    backend: str
    kernel: Kernel
    rejected: tuple[tuple[str, str], ...]
    """Backends that come before in the table, each with the reason why it cannot."""

    def answer(self, framework: Any, y: Any, residual: Residual | None, finds: str | None) -> Any:
        """What a call returns, from what the kernel's forward gave; it kept its residual where something is found."""
        if finds is None:
            return y
        return y, residual.arrays[0] if finds == "offsets" else self.kernel.indices(framework, residual)


def plan(problem: Problem, device: str, insisted: Any = None) -> Plan:
    """The first backend that can serve the problem; or the one insisted on, or an error that says why it cannot."""
    if insisted is not None and insisted not in (names := tuple(backend.name for backend in BACKENDS)):
        raise refuse(
            problem.where,
            "no backend has this name",
            got=f"backend={shown(insisted)}",
            expected=f"one of {', '.join(map(repr, names))}, or None for the first that can",
            hint="backend=None",
        )
    return _plan(problem, device, insisted)


@lru_cache(maxsize=1024)
def _plan(problem: Problem, device: str, insisted: str | None) -> Plan:
    rejected = []
    for backend in BACKENDS:
        if insisted is not None and backend.name != insisted:
            continue
        reason = backend.why_not(problem, device)
        if reason is None:
            return Plan(problem, backend.name, backend.kernel(problem), tuple(rejected))
        rejected.append((backend.name, reason))
    raise refuse(
        problem.where,
        f"backend {insisted!r} cannot run this",
        got=f"{problem.op.name} over {problem.dtype} of shape {problem.shape} on {device}",
        expected=rejected[-1][1],
        hint="backend=None, which takes the first backend that can",
    )
