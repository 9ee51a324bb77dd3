"""What the project has set itself, as data; `judge` says which are met by a set of cells."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .registry import matches

__all__ = ["TARGETS", "Target", "judge", "words_of"]

Facts = dict[str, Any]
SMALL_CALL = "max 2/2, NumPy"


@dataclass(frozen=True)
class Target:
    """`bound` for the ratio `metric` of every cell that `only` matches (``all`` of them, or their geometric mean)."""

    name: str
    only: str
    metric: str
    bound: float
    mean: bool = False


_COMBINE = "max|min|avg|sum,float32,forward,2d,large,!dilated,!ceil"
TARGETS = (
    Target("2/2, float32, of copy", f"{_COMBINE},2/2", "copy", 0.85),
    Target("3/2, float32, of copy", f"{_COMBINE},3/2", "copy", 0.85),
    Target("3/1, float32, of copy", f"{_COMBINE},3/1", "copy", 0.75),
    Target("5/1, float32, of copy", f"{_COMBINE},5/1", "copy", 0.6),
    Target("with indices, of copy", "indices,float32,large", "copy", 0.75),
    Target("backward, of copy", "max|min|avg|sum,backward,float32|float64,large", "copy", 0.7),
    Target("8 and 16 bits, of copy", "max|avg,uint8|int8|float16|bfloat16,forward,sliding,large", "copy", 0.6),
    Target("float64, of copy", "max|avg,float64,forward,sliding,large", "copy", 0.85),
    Target("1-D and 3-D, of copy", "1d|3d,forward,sliding,large,!31/1", "copy", 0.7),
    Target("global and adaptive, of reading", "global|adaptive,forward,large", "read", 0.8),
    Target("median 31/1, best peer", "median,31/1", "best", 1.0),
    Target("best peer, geometric mean", "", "best", 3.0, mean=True),
    Target("best peer, every cell", "", "best", 1.0),
)
GROWTH = 1.5
"""The time of 101/1 may be this many times that of 5/1."""
CALL_US = 3.0
"""A whole call on a (1, 16, 8, 8) array through NumPy, in microseconds."""


def words_of(cell: Facts) -> frozenset[str]:
    """The words that filters match, of a cell in a result file."""
    dilated = {"dilated"} if set(cell["dilation"]) - {1} else set()
    known = {f"{len(cell['shape']) - 2}d", cell["size"], f"channels-{cell['layout']}", cell["kind"]}
    return frozenset(cell["name"].split()) | known | dilated | set(cell["tags"])


def _of_cells(target: Target, cells: Sequence[Facts]) -> Facts:
    values = {
        cell["name"]: cell["ratios"][target.metric]
        for cell in cells
        if matches(words_of(cell), target.only) and cell["ratios"].get(target.metric) is not None
    }
    worst = min(values.values(), default=None)
    got = statistics.geometric_mean(values.values()) if target.mean and values else worst
    missed = [] if target.mean else sorted(name for name, value in values.items() if value < target.bound)
    return {
        "target": target.name,
        "bound": target.bound,
        "cells": len(values),
        "got": got,
        "met": None if got is None else got >= target.bound,
        "missed": missed,
    }


def _growth(cells: Sequence[Facts]) -> list[Facts]:
    times = {
        (cell["op"], cell["layout"], tuple(cell["shape"]), cell["window"][0]): cell["ours"]["median_ms"]
        for cell in cells
        if cell["kind"] == "sliding" and set(cell["stride"]) == {1} and cell["mode"] == "forward"
    }
    found = []
    for (op, layout, shape, window), big in times.items():
        small = times.get((op, layout, shape, 5))
        if window == 101 and small is not None:
            found.append(
                {
                    "target": f"{op} 101/1 in at most {GROWTH} times the time of 5/1",
                    "bound": GROWTH,
                    "cells": 2,
                    "got": big / small,
                    "met": big / small <= GROWTH,
                    "missed": [],
                }
            )
    return found


def judge(cells: Sequence[Facts], calls: Sequence[Facts]) -> list[Facts]:
    """Every target with what was got: `met` is None where no cell speaks to it."""
    timed = [cell for cell in cells if cell["status"] == "ok"]
    found = [_of_cells(target, timed) for target in TARGETS] + _growth(timed)
    for entry in calls:
        if entry["name"] == SMALL_CALL:
            found.append(
                {
                    "target": f"a call on (1, 16, 8, 8) through NumPy in at most {CALL_US:g} us",
                    "bound": CALL_US,
                    "cells": 1,
                    "got": entry["median_us"],
                    "met": entry["median_us"] <= CALL_US,
                    "missed": [],
                }
            )
    return found
