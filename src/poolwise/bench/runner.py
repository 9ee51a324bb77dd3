"""Run cells: prepare, compare, time side by side, relate. The one place where numbers come to be."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import poolwise as pw

from . import memory
from .case import Case
from .inputs import Inputs
from .limits import FRESH, limit_tasks
from .machine import Others
from .peers import Peer, Poolwise, Task, Unable
from .peers.ours import call
from .timing import Plan, calibrate, interleave
from .verify import OURS, Oracle

__all__ = ["Bench", "run_cell"]

Facts = dict[str, Any]
MEMORY_FLOOR = 4 << 20
"""Bytes of a cell below which the kernel's count of resident pages is too coarse to print."""
MEMORY_PATIENCE = 0.5
"""Seconds of a call above which it is not made once more for its memory."""


@dataclass
class Bench:
    """What stays the same from cell to cell."""

    peers: Sequence[Peer]
    threads: int
    via: str = "numpy"
    plan: Plan = field(default_factory=Plan)
    measure_memory: bool = True
    ours: Peer | None = None

    def __post_init__(self) -> None:
        self.ours = self.ours or Poolwise(self.via)
        self.ours.start(self.threads)
        self.pool = ThreadPoolExecutor(self.threads) if self.threads > 1 else None
        self.no_memory = memory.available() if self.measure_memory else "not asked for"

    def close(self) -> None:
        """End the copying threads."""
        if self.pool is not None:
            self.pool.shutdown()


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{type(error).__name__}: {lines[0][:200]}"


def _contend(peer: Peer, case: Case, inputs: Inputs, oracle: Oracle) -> tuple[list[Task], Facts]:
    """A peer's tasks that answer rightly, and what became of it otherwise."""
    try:
        tasks = list(peer.prepare(case, inputs))
    except Unable as reason:
        return [], {"status": "unable", "reason": str(reason)}
    except Exception as error:  # a peer's own refusal of a dtype, a layout, a size: its words are the reason
        return [], {"status": "unable", "reason": _first_line(error)}
    right, wrong, refused, worst = [], [], [], 0.0
    for task in tasks:
        try:
            verdict = oracle.judge(task.read(task.run()), peer.name)
        except Unable as reason:
            refused.append(str(reason))
            continue
        except Exception as error:
            refused.append(_first_line(error))
            continue
        if verdict.reason is None:
            right.append(task)
            worst = max(worst, verdict.worst)
        else:
            wrong.append(f"{task.label}: {verdict.reason}")
    facts: Facts = {"status": "ok", "ulps": worst}
    if wrong:
        facts["mismatches"] = wrong
    if not right:
        reason = "; ".join(wrong or refused)
        facts = {"status": "mismatch" if wrong else "unable", "reason": reason}
    return right, facts


def _fastest(tasks: Sequence[Task]) -> tuple[Task, float]:
    guesses = [calibrate(task) for task in tasks]
    best = min(range(len(tasks)), key=guesses.__getitem__)
    return tasks[best], guesses[best]


def run_cell(case: Case, bench: Bench, say: Callable[[str], None] = lambda text: None) -> Facts:
    """One cell, as plain values. `status` is ``ok``, or says why there are no numbers: ``mismatch`` or
    ``failed`` for a wrong answer or an error of this package, ``unable`` where the dtype is not installed."""
    facts: Facts = {
        **case.as_dict(),
        "traffic_bytes": case.traffic,
        "result_bytes": case.result_bytes,
        "status": "ok",
        "peers": {},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peers' deprecations are not news here
        try:
            inputs = Inputs(case)
            oracle = Oracle(case, inputs)
            facts["backend"] = _backend(case, inputs, bench)
        except ImportError as error:
            return {**facts, "status": "unable", "reason": _first_line(error)}
        say("poolwise")
        assert bench.ours is not None
        own, facts["ours"] = _contend(bench.ours, case, inputs, oracle)
        if not own:  # nothing to compare: our own answer is wrong, or there is none
            status = {"unable": "failed"}.get(facts["ours"]["status"], facts["ours"]["status"])
            return {**facts, "status": status, "reason": facts["ours"]["reason"]}
        chosen: dict[str, tuple[Task, float]] = {OURS: _fastest(own)}
        for peer in bench.peers:
            say(peer.name)
            tasks, facts["peers"][peer.name] = _contend(peer, case, inputs, oracle)
            if tasks:
                chosen[peer.name] = _fastest(tasks)
        del oracle
        limits = limit_tasks(case, bench.threads, bench.pool)
        say("timing")
        others = Others()
        _measure(case, bench, chosen, limits, facts)
        facts["others_cpu"] = others.share()
    _relate(case, facts)
    gc.collect()
    return facts


def _backend(case: Case, inputs: Inputs, bench: Bench) -> str:
    x = inputs.torch_x() if bench.via == "torch" else inputs.x()
    steps = pw.explain(call(case), x).as_dict()["calls"]
    return " + ".join(dict.fromkeys(step["backend"] for step in steps))


def _measure(
    case: Case, bench: Bench, chosen: dict[str, tuple[Task, float]], limits: dict[str, list[Task]], facts: Facts
) -> None:
    """Fill in times and memory. Every way of copying is timed throughout: the limit is the best of them."""
    tasks: dict[Any, Task] = {name: task for name, (task, _) in chosen.items()}
    guesses: dict[Any, float] = {name: guess for name, (_, guess) in chosen.items()}
    for name, ways in limits.items():
        tasks |= {(name, number): task for number, task in enumerate(ways)}
        guesses |= {(name, number): calibrate(task) for number, task in enumerate(ways)}
    timings = interleave(tasks, guesses, bench.plan)
    entries = {key: {"label": tasks[key].label, **timing.as_dict()} for key, timing in timings.items()}
    facts["limits"] = {
        name: min((entries[name, number] for number in range(len(ways))), key=lambda entry: entry["median_ms"])
        for name, ways in limits.items()
    }
    weigh = bench.no_memory is None and case.bytes_in + case.bytes_out >= MEMORY_FLOOR
    for name, (task, _) in chosen.items():
        entry = facts["ours"] if name == OURS else facts["peers"][name]
        entry.update(entries[name])
        if weigh and guesses[name] < MEMORY_PATIENCE:
            entry["peak_bytes"] = memory.peak(task)


def _relate(case: Case, facts: Facts) -> None:
    """Ratios above 1 mean that this package is faster; fractions of 1 that nothing could be."""
    ours = facts["ours"]["median_ms"]
    timed = {name: entry["median_ms"] for name, entry in facts["peers"].items() if "median_ms" in entry}
    same = "torch" if case.layout == "first" or case.shape[1] == 1 else "torch channels_last"
    best = min(timed, key=timed.__getitem__, default=None)
    limits = facts["limits"]
    ratios: Facts = {
        "torch": timed[same] / ours if same in timed else None,
        "best": timed[best] / ours if best is not None else None,
        "best_peer": best,
        "copy": limits["copy"]["median_ms"] / ours,
        "fresh_copy": limits[FRESH]["median_ms"] / ours,
        "read": limits["read"]["median_ms"] / ours if "read" in limits else None,
    }
    ratios["limit"] = ratios["copy"] if ratios["read"] is None else ratios["read"]
    facts["ratios"] = ratios
    facts["noisy"] = (
        facts["ours"]["iqr_ms"] > 0.2 * ours or limits["copy"]["iqr_ms"] > 0.2 * limits["copy"]["median_ms"]
    )
