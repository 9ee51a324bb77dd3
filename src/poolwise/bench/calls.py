"""What a call costs when there is next to nothing to pool: Python, checks, dispatch, allocation."""

from __future__ import annotations

from typing import Any

import numpy as np

import poolwise as pw

from .peers.base import Task
from .timing import Plan, calibrate, interleave

__all__ = ["SHAPE", "small_calls"]

SHAPE = (1, 16, 8, 8)


def _tasks() -> dict[str, Task]:
    x = np.random.default_rng(0).standard_normal(SHAPE, np.float32)
    found = {
        "max 2/2, NumPy": lambda: pw.max_pool(x, (2, 2)),
        "avg 2/2, NumPy": lambda: pw.avg_pool(x, (2, 2)),
        "numpy copy": x.copy,
    }
    try:
        import torch
        from torch.nn import functional
    except ImportError:
        return {name: Task(name, run, lambda y: (y,)) for name, run in found.items()}
    t = torch.from_numpy(x)
    leaf, gy = t.clone().requires_grad_(), torch.ones(1, 16, 4, 4)

    def without(function: Any) -> Any:
        def run() -> Any:
            with torch.no_grad():
                return function(t)

        return run

    def step(function: Any) -> Any:
        return lambda: torch.autograd.grad(function(leaf), leaf, gy)

    ours, theirs = (lambda v: pw.max_pool(v, (2, 2))), (lambda v: functional.max_pool2d(v, 2))
    found |= {
        "max 2/2, torch": without(ours),
        "F.max_pool2d": without(theirs),
        "max 2/2, torch, training step": step(ours),
        "F.max_pool2d, training step": step(theirs),
        "torch clone": without(torch.clone),
    }
    return {name: Task(name, run, lambda y: (y,)) for name, run in found.items()}


def small_calls(rounds: int = 15) -> list[dict[str, Any]]:
    """Microseconds per call on a float32 array of `SHAPE`, interleaved as everything else."""
    tasks = _tasks()
    guesses = {name: calibrate(task) for name, task in tasks.items()}
    plan = Plan(budget=10.0, least=rounds, most=rounds)
    timings = interleave(tasks, guesses, plan)
    return [
        {"name": name, "median_us": timing.median * 1e6, "min_us": timing.fastest * 1e6, "max_us": timing.slowest * 1e6}
        for name, timing in timings.items()
    ]
