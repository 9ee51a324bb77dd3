"""The networks one after the other, what is said of them, and the file that is kept."""

from __future__ import annotations

import argparse
import math
import os
from typing import Any

from ...messages import refuse
from ..machine import about, claim_cores
from ..summary import BUSY
from ..text import table
from ..timing import Plan

__all__ = ["run", "summary_lines"]

Facts = dict[str, Any]
FORMAT = 1
MORE = 10
"""A network's share of the budget is this many times a cell's."""
AIMS = {("SqueezeNet 1.1", "inference"): 1.5, ("U-Net", "training"): 1.15}


def run(args: argparse.Namespace, budget: float) -> int:
    """`poolwise bench --networks`: 0, or 1 where an output or a gradient differs."""
    from ..session import write_json
    from .cells import JOBS, measure

    threads = claim_cores(args.threads)
    words = (args.only or "").lower().split(",")
    jobs = [job for job in JOBS if all(word.strip() in job.name.lower() for word in words)]
    jobs = [job for job in jobs if job.quick or args.preset != "quick"]
    if not jobs:
        raise refuse("bench", "no network has these words", got=f"--only {args.only}",
                     expected=f"words of {JOBS[0].name!r} and the like", hint="--networks --list")  # fmt: skip
    if args.list:
        print("\n".join(job.name for job in jobs))
        return 0
    import torch

    torch.set_num_threads(threads)
    machine, cells = about(threads), []
    print(f"{len(jobs)} jobs, {threads} threads, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}")
    for job in jobs:
        cells.append(measure(job, Plan(budget * MORE, 5, 15), weigh=not args.no_memory))
        print(line(cells[-1]), flush=True)
    print("\n".join(summary_lines(cells)))
    if args.json:
        settings = {"threads": threads, "budget_s": budget * MORE}
        versions = {"torch": torch.__version__}
        report = {"format": FORMAT, "machine": machine, "versions": versions, "settings": settings, "networks": cells}
        write_json(report, args.json)
        print(f"wrote {args.json}")
    return int(any(cell["status"] != "ok" for cell in cells))


def line(cell: Facts) -> str:
    """One job as it is done."""
    if cell["status"] != "ok":
        return f"{cell['name']}: no number: {cell['status']}: {cell['reason']}"
    times = ", ".join(f"{name} {entry['median_ms']:.1f} ms" for name, entry in cell["contenders"].items())
    ratios = ", ".join(f"{ratio:.2f}x" for ratio in cell["ratios"].values())
    busy = cell["others_cpu"] or 0
    return f"{cell['name']}: {ratios} ({times})" + (f"  [others used {busy:.0%} of the CPUs]" if busy > BUSY else "")


def summary_lines(cells: list[Facts]) -> list[str]:
    """The table of ratios, what the pooling layers alone took, memory, and the aims."""
    from .cells import RELU

    done = [cell for cell in cells if cell["status"] == "ok"]
    columns = "torch ms", "x poolwise", "fastest", "x ReLU after", "if free", "pools: torch ms", "poolwise ms", "kept"
    rows: list[tuple[str, ...]] = [("network", *columns)]
    for cell in done:
        pools = cell["report"]["rows"]
        timed = [[row[key] or 0.0 for row in pools] for key in ("torch_ms", "poolwise_ms")]
        ratios = [cell["ratios"]["poolwise"], cell["fastest_ratios"]["poolwise"]]
        ratios += [cell["ratios"].get(RELU), cell["free_pooling"]]
        rows.append((cell["name"], f"{cell['contenders']['torch']['median_ms']:.1f}", *("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
                     *(f"{sum(times):.2f}" for times in timed), str(cell["report"]["kept"])))  # fmt: skip
    lines = ["", *table(rows)]
    weighed = [cell for cell in done if cell["work"] == "training"]
    if weighed:
        rows = [("memory of a training step, MB", "kept for backward", "by pooling alone", "peak")]
        for cell in weighed:
            for name, entry in cell["contenders"].items():
                values = (entry.get(key) for key in ("saved_bytes", "saved_by_pooling_bytes", "peak_bytes"))
                shown = ("-" if value is None else f"{value / 2**20:.1f}" for value in values)
                rows.append((f"{cell['name']}: {name}", *shown))
        lines += ["", *table(rows)]
    for (network, work), aim in AIMS.items():
        best = [cell["ratios"]["poolwise"] for cell in done if (cell["network"], cell["work"]) == (network, work)]
        if best:
            word = "met" if min(best) >= aim else "MISSED"
            lines.append(f"aim: {network} {work} {aim:g}x: {word}, {' and '.join(f'{ratio:.2f}x' for ratio in best)}")
    if done:
        mean = math.exp(sum(math.log(cell["ratios"]["poolwise"]) for cell in done) / len(done))
        lines.append(f"geometric mean of {len(done)}: {mean:.2f}x")
    busy = sum((cell["others_cpu"] or 0) > BUSY for cell in done)
    if busy:
        lines.append(f"NOT TO BE TRUSTED: other programs kept the CPUs busy in {busy} of {len(done)} jobs.")
    return lines
