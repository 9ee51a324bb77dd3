"""A run in a few lines: geometric means, the worst cell, the cells lost, what was not measured and why."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from .targets import judge

__all__ = ["BUSY", "summarize"]

Facts = dict[str, Any]
BUSY = 0.05
"""Share of the CPUs' time in other programs above which a cell's numbers are not to be trusted."""


def _mean(values: Iterable[float | None]) -> float | None:
    kept = [value for value in values if value]
    return statistics.geometric_mean(kept) if kept else None


def _groups(cells: Sequence[Facts]) -> dict[str, list[Facts]]:
    groups: dict[str, list[Facts]] = defaultdict(list)
    for cell in cells:
        groups["all"].append(cell)
        groups[f"op {cell['op']}"].append(cell)
        groups[f"mode {cell['mode']}"].append(cell)
        groups[f"dtype {cell['dtype']}"].append(cell)
        groups[f"channels {cell['layout']}"].append(cell)
        groups[f"{len(cell['shape']) - 2}-D"].append(cell)
        groups[f"size {cell['size']}"].append(cell)
        groups[f"windows {cell['windows']}" if cell["kind"] == "sliding" else f"windows {cell['kind']}"].append(cell)
    return groups


def summarize(cells: Sequence[Facts], calls: Sequence[Facts]) -> Facts:
    """Plain values; ratios above 1 mean that this package is faster."""
    timed = [cell for cell in cells if cell["status"] == "ok"]
    rivals = [cell for cell in timed if cell["ratios"]["best"] is not None]
    worst = min(rivals, key=lambda cell: cell["ratios"]["best"], default=None)
    lost = sorted((cell for cell in rivals if cell["ratios"]["best"] < 1), key=lambda cell: cell["ratios"]["best"])
    return {
        "cells": len(cells),
        "timed": len(timed),
        "without_numbers": [
            {"name": cell["name"], "status": cell["status"], "reason": cell["reason"]}
            for cell in cells
            if cell["status"] != "ok"
        ],
        "wrong_peers": [
            {"name": cell["name"], "peer": name, "reason": text}
            for cell in cells
            for name, entry in cell["peers"].items()
            for text in (entry.get("mismatches") or ([entry["reason"]] if entry["status"] == "mismatch" else []))
        ],
        "groups": {
            name: {
                "cells": len(members),
                **{key: _mean(cell["ratios"][key] for cell in members) for key in ("torch", "best", "limit")},
            }
            for name, members in _groups(timed).items()
        },
        "worst": _brief(worst) if worst else None,
        "lost": [_brief(cell) for cell in lost],
        "not_compiled": sum("cpu" not in cell["backend"] for cell in timed),
        "noisy": sum(cell["noisy"] for cell in timed),
        "busy": sum((cell["others_cpu"] or 0) > BUSY for cell in timed),
        "targets": judge(cells, calls),
    }


def _brief(cell: Facts) -> Facts:
    peer = cell["ratios"]["best_peer"]
    return {
        "name": cell["name"],
        "ratio": cell["ratios"]["best"],
        "peer": peer,
        "way": cell["peers"][peer]["label"],
        "ours_ms": cell["ours"]["median_ms"],
        "peer_ms": cell["peers"][peer]["median_ms"],
        "limit": cell["ratios"]["limit"],
        "backend": cell["backend"],
        "noisy": cell["noisy"],
    }
