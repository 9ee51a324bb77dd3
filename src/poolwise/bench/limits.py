"""What the machine allows: copying, or only reading, as many bytes as a cell must move, with as many threads."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from .case import Case
from .peers.base import Task

__all__ = ["FRESH", "limit_tasks"]

FRESH = "fresh copy"
"""A copy into newly allocated memory: what the operating system adds when results are not reused."""


def _nothing(result: Any) -> tuple[np.ndarray, ...]:
    return ()


def _in_parts(threads: int, pool: ThreadPoolExecutor | None, work: Callable[[slice], Any], many: int) -> Callable:
    """`work` over `many` elements cut into a part per thread; NumPy releases the GIL."""
    if pool is None:
        return partial(work, slice(None))
    edges = [many * part // threads for part in range(threads + 1)]
    parts = [slice(*pair) for pair in itertools.pairwise(edges)]
    return lambda: list(pool.map(work, parts))


def limit_tasks(case: Case, threads: int, pool: ThreadPoolExecutor | None) -> dict[str, list[Task]]:
    """Several ways per limit; the fastest counts, so that nobody looks good beside a poor copy.

    The copy reads half of the cell's bytes and writes as many, in memory that exists already.
    """
    many = max(case.traffic // 2 // 8, threads)
    source, target = np.ones(many), np.zeros(many)
    copy = lambda part: np.copyto(target[part], source[part])  # noqa: E731
    tasks: dict[str, list[Task]] = {
        "copy": [Task("numpy, 1 thread", partial(copy, slice(None)), _nothing)],
        FRESH: [Task("numpy copy, 1 thread", source.copy, _nothing)],
    }
    if pool is not None:
        tasks["copy"].append(Task(f"numpy, {threads} threads", _in_parts(threads, pool, copy, many), _nothing))
    reading = case.reads_only
    if reading:
        whole = np.ones(max(case.bytes_in // 8, threads))
        read = lambda part: np.maximum.reduce(whole[part])  # noqa: E731
        tasks["read"] = [Task("numpy max", _in_parts(threads, pool, read, len(whole)), _nothing)]
    try:
        import torch
    except ImportError:
        return tasks
    source_t, target_t = torch.from_numpy(source), torch.from_numpy(target)
    tasks["copy"].append(Task("torch copy_", lambda: target_t.copy_(source_t), _nothing))
    tasks[FRESH].append(Task("torch clone", source_t.clone, _nothing))
    if reading:
        whole_t = torch.from_numpy(whole)
        tasks["read"] += [Task("torch sum", whole_t.sum, _nothing), Task("torch amax", whole_t.amax, _nothing)]
    return tasks
