"""A whole run: cells one after the other, the report that is kept, and what is said on the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .calls import small_calls
from .case import Case
from .machine import about
from .runner import Bench, run_cell
from .summary import summarize

__all__ = ["FORMAT", "run_cells", "write_json"]

FORMAT = 1
Facts = dict[str, Any]


def run_cells(
    cells: Sequence[Case],
    bench: Bench,
    *,
    versions: dict[str, str],
    missing: dict[str, str],
    calls: bool = True,
    done: Callable[[Facts], None] = lambda cell: None,
    say: Callable[[str], None] = lambda text: None,
) -> Facts:
    """Run cells and relate them: the report as plain values. Interrupted, it reports the cells that are done.

    `missing` names the peers that do not take part, each with its reason; it is kept in the report.
    """
    machine = about(bench.threads)
    results: list[Facts] = []
    interrupted = False
    try:
        for number, case in enumerate(cells, 1):
            result = run_cell(case, bench, lambda who, n=number, c=case: say(f"{n}/{len(cells)} {c.name}: {who}"))
            results.append(result)
            done(result)
        small = small_calls() if calls else []
    except KeyboardInterrupt:
        interrupted, small = True, []
    return {
        "format": FORMAT,
        "machine": machine,
        "versions": versions,
        "missing": missing,
        "settings": {
            "poolwise_arrays": bench.via,
            "threads": bench.threads,
            "budget_s": bench.plan.budget,
            "rounds": [bench.plan.least, bench.plan.most],
            "no_memory": bench.no_memory,
            "interrupted": interrupted,
        },
        "cells": results,
        "small_calls": small,
        "summary": summarize(results, small),
    }


def write_json(report: Facts, path: str | Path) -> None:
    """Strict JSON, one cell's every number kept."""
    text = json.dumps(report, indent=1, allow_nan=False)
    Path(path).write_text(text + "\n")
