"""Interleaved timing: round after round, everybody once, each time another one first."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .peers.base import Task

__all__ = ["Plan", "Timing", "calibrate", "interleave"]

# Thread pools keep spinning after a call (libgomp for 7 ms on the machine that this was written on), and on two
# cores that is taken from whoever comes next. Everyone starts on idle cores, and wakes its own threads untimed, for as
# long as a processor that was halted needs to come up to speed: one call of a millisecond is not enough.
SETTLE = 0.010
WARM_UP = 0.005
LEAST_WARM = 3
"""Warming calls at least: one that was slow because memory was cold would otherwise be given fewer to become warm in."""
SHORTEST = 200e-6
"""A sample repeats the call until it is this long: the clock and the loop must not count."""
WARM_UP_LIMIT = 0.02
"""Calls above this many seconds are not warmed up in every round: waking threads takes a few 10 us."""


@dataclass(frozen=True)
class Timing:
    """Seconds per call over the rounds."""

    median: float
    fastest: float
    slowest: float
    quartile_range: float
    rounds: int
    calls: int

    def as_dict(self) -> dict[str, Any]:
        """Milliseconds, for JSON."""
        return {
            "median_ms": self.median * 1e3,
            "min_ms": self.fastest * 1e3,
            "max_ms": self.slowest * 1e3,
            "iqr_ms": self.quartile_range * 1e3,
            "rounds": self.rounds,
            "calls_per_round": self.calls,
        }


@dataclass(frozen=True)
class Plan:
    """How often: seconds for one cell's timed calls, and the rounds that they are spread over."""

    budget: float = 1.5
    least: int = 3
    most: int = 11

    def rounds(self, seconds: float, contenders: int) -> int:
        """For a call of this length: a slow one is repeated less often, once at least."""
        share = self.budget / max(contenders, 1)
        if seconds > self.budget / 4:
            return 1 if seconds > self.budget else 2
        return int(min(max(share / max(seconds, 1e-9), self.least), self.most))


def _sample(task: Task, calls: int) -> float:
    run = task.run
    begin = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - begin) / calls


def calibrate(task: Task) -> float:
    """Seconds of a call once it is warm: the best of three, or the first alone where it is long."""
    first = _sample(task, 1)
    return first if first > 10 * WARM_UP_LIMIT else min(_sample(task, 1) for _ in range(3))


def interleave(tasks: Mapping[Any, Task], guesses: Mapping[Any, float], plan: Plan) -> dict[Any, Timing]:
    """Time tasks side by side: A B C, B C A, ... until each has its rounds."""
    names = list(tasks)
    rounds = {name: plan.rounds(guesses[name], len(names)) for name in names}
    calls = {name: max(1, min(int(SHORTEST / max(guesses[name], 1e-9)), 1000)) for name in names}
    samples: dict[Any, list[float]] = {name: [] for name in names}
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        for number in range(max(rounds.values(), default=0)):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                if number >= rounds[name]:
                    continue
                time.sleep(SETTLE)
                if guesses[name] < WARM_UP_LIMIT:
                    _sample(tasks[name], max(LEAST_WARM, min(int(WARM_UP / max(guesses[name], 1e-9)), 1000)))
                samples[name].append(_sample(tasks[name], calls[name]))
    finally:
        if enabled:
            gc.enable()
    return {name: _summary(samples[name], calls[name]) for name in names}


def _summary(samples: list[float], calls: int) -> Timing:
    low, middle, high = np.quantile(samples, (0.25, 0.5, 0.75))
    return Timing(float(middle), min(samples), max(samples), float(high - low), len(samples), calls)
