"""What may be said from a few seeds: intervals, paired differences, corrections, and the words for verdicts.

Sign: a difference is always *first minus second*, so a negative one means that the first is smaller. Whether smaller is
better is not decided here.

Seeds are pairs: equal seeds start from equal weights and see equal batches, so differences are taken seed by seed and what is
common to both cancels. Intervals and p-values are Student's t over seeds. They say how far another set of *seeds* might lead;
images are the same for all.

No spread is taken to be smaller than one step of the measuring scale (one test image, say): five seeds that agree exactly
would otherwise count as certainty.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

__all__ = [
    "ALPHA", "FEWEST_SEEDS", "Difference", "Estimate", "Ranking", "Verdict", "compare", "complete", "correct", "estimate",
    "rank",
]  # fmt: skip

ALPHA = 0.05
"""Of all comparisons that answer one question together, the chance that any is shown where there is nothing."""
FEWEST_SEEDS = 3
"""Below this nothing is compared: two numbers have a spread, but not one worth relying on."""


class Verdict(Enum):
    """The words for what was found. No others are used."""

    HELD = "held here"
    IN_PART = "held in part"
    HELD_NOT = "did not hold here"
    NOT_SHOWN = "no difference shown"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its own 95 % interval (of this mean alone)."""

    mean: float
    sd: float | None
    """Between seeds; None from one seed."""
    n: int
    low: float | None = None
    high: float | None = None
    """None from fewer than `FEWEST_SEEDS`."""


@dataclass(frozen=True)
class Difference:
    """First minus second, over the seeds that both have."""

    mean: float
    error: float
    """Standard error of the mean."""
    n: int
    p: float
    """Two-sided, of this comparison alone."""
    adjusted: float
    """After Holm's correction over all comparisons of the question."""
    low: float
    high: float
    """The interval at the level that Holm's correction gives this comparison: it leaves out zero exactly where the difference
    is shown."""
    first: float
    second: float
    """The two means, over the same seeds."""
    spread: float
    """Between seeds of one variant: what the difference is to be measured against."""

    @property
    def sign(self) -> int:
        """-1 or 1 where a difference is shown, else 0."""
        if self.adjusted > ALPHA or self.mean == 0:
            return 0
        return 1 if self.mean > 0 else -1

    @property
    def effect(self) -> float:
        """How many times the spread between seeds."""
        return abs(self.mean) / self.spread


def estimate(values: Sequence[float], resolution: float) -> Estimate:
    """Mean and interval of one variant.

    >>> found = estimate([0.1, 0.2, 0.3], 0.01)
    >>> round(found.mean, 3), round(found.low, 3), round(found.high, 3)
    (0.2, -0.048, 0.448)
    """
    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return Estimate(mean, None, n)
    sd = _sd(values)
    if n < FEWEST_SEEDS:
        return Estimate(mean, sd, n)
    half = _quantile(n - 1, ALPHA) * max(sd, resolution) / math.sqrt(n)
    return Estimate(mean, sd, n, mean - half, mean + half)


def compare(
    first: Mapping[int, float], second: Mapping[int, float], resolution: float, spread: float = 0.0
) -> Difference | None:
    """The difference over the seeds that both have, uncorrected; None from fewer than `FEWEST_SEEDS`.

    Parameters
    ----------
    first, second : mapping of seed to value
    resolution : float
        One step of the measuring scale, above 0: no spread counts as smaller.
    spread : float
        Between seeds of one variant, in the values' unit.

    Examples
    --------
    >>> found = compare({0: 0.10, 1: 0.12, 2: 0.14}, {0: 0.20, 1: 0.23, 2: 0.23}, 0.001)
    >>> round(found.mean, 3), round(found.p, 3), found.sign
    (-0.1, 0.003, -1)
    """
    from scipy.special import stdtr

    seeds = sorted(set(first) & set(second))
    n = len(seeds)
    if n < FEWEST_SEEDS:
        return None
    differences = [first[seed] - second[seed] for seed in seeds]
    mean = math.fsum(differences) / n
    error = max(_sd(differences), resolution) / math.sqrt(n)
    p = float(2 * stdtr(n - 1, -abs(mean) / error))
    half = _quantile(n - 1, ALPHA) * error
    means = [math.fsum(side[seed] for seed in seeds) / n for side in (first, second)]
    return Difference(
        mean, error, n, p, p, mean - half, mean + half, means[0], means[1], max(spread, resolution)
    )  # fmt: skip


def correct(found: Sequence[Difference | None]) -> list[Difference | None]:
    """Holm's correction over all comparisons that answer one question, in the order given.

    The intervals widen with it. From the first comparison (by p) that is not shown, all keep its level.
    """
    order = sorted((i for i, one in enumerate(found) if one is not None), key=lambda i: _p(found[i]))
    result = list(found)
    worst, factor, stopped = 0.0, len(order), False
    for rank_, index in enumerate(order):
        one = found[index]
        assert one is not None
        factor = factor if stopped else len(order) - rank_
        worst = min(1.0, max(worst, one.p * (len(order) - rank_)))
        stopped = stopped or worst > ALPHA
        half = _quantile(one.n - 1, ALPHA / factor) * one.error
        result[index] = dataclasses.replace(one, adjusted=worst, low=one.mean - half, high=one.mean + half)
    return result


def complete(values: Mapping[str, Mapping[int, float]]) -> tuple[list[str], list[int]]:
    """Names and the seeds that all of them have; the names with the fewest seeds go until there are `FEWEST_SEEDS`."""
    names = [name for name, seeds in values.items() if len(seeds) >= FEWEST_SEEDS]
    while names:
        seeds = set.intersection(*(set(values[name]) for name in names))
        if len(seeds) >= FEWEST_SEEDS:
            return names, sorted(seeds)
        names.remove(min(reversed(names), key=lambda name: len(values[name])))
    return [], []


@dataclass(frozen=True)
class Ranking:
    """Variants in order, and those that cannot be told apart from the first."""

    order: tuple[str, ...]
    tied: tuple[str, ...]
    """With the first one; empty where nothing may be said."""
    seeds: tuple[int, ...]
    """That all of them have."""
    left_out: tuple[str, ...]
    """With too few seeds in common with the others."""


def rank(values: Mapping[str, Mapping[int, float]], resolution: float, good: int) -> Ranking:
    """Order variants by their means over the seeds that all have, and find who may share the first place.

    The first place is chosen by looking, so a test of the others against it must allow for all pairs: Tukey's range test with
    seeds as blocks. It takes spreads to be alike, which they need not be: one variant whose seeds scatter widely was set apart
    in 9 % of simulated studies where nothing differs. So the pairs' own t-tests, after Holm, must agree (2 %).
    """
    names, seeds = complete(values)
    left_out = tuple(name for name in values if name not in names)
    if len(names) < 2:
        order = tuple(sorted(names, key=lambda name: -good * _mean(values[name], seeds)))
        return Ranking(order, (), tuple(seeds), left_out)
    order = tuple(sorted(names, key=lambda name: (-good * _mean(values[name], seeds), names.index(name))))
    k, n = len(order), len(seeds)
    rows = [[values[name][seed] for seed in seeds] for name in order]
    means = [math.fsum(row) / n for row in rows]
    blocks = [math.fsum(row[j] for row in rows) / k for j in range(n)]
    whole = math.fsum(means) / k
    rest = math.fsum((rows[i][j] - means[i] - blocks[j] + whole) ** 2 for i in range(k) for j in range(n))
    freedom = (k - 1) * (n - 1)
    noise = max(rest / freedom, resolution**2 / 2)
    first = values[order[0]]
    alone = correct([compare(first, {seed: values[name][seed] for seed in seeds}, resolution) for name in order[1:]])
    tied = [order[0]]
    for name, mean, own in zip(order[1:], means[1:], alone, strict=True):
        assert own is not None
        if not own.sign or _range_p(abs(mean - means[0]) / math.sqrt(noise / n), k, freedom) > ALPHA:
            tied.append(name)
    return Ranking(order, tuple(tied), tuple(seeds), left_out)


def _range_p(q: float, k: int, freedom: int) -> float:
    from scipy.stats import studentized_range

    return float(studentized_range.sf(q, k, freedom))


def _mean(values: Mapping[int, float], seeds: Sequence[int]) -> float:
    return math.fsum(values[seed] for seed in seeds) / len(seeds)


def _p(found: Difference | None) -> float:
    return 1.0 if found is None else found.p


def _sd(values: Sequence[float]) -> float:
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _quantile(freedom: int, alpha: float) -> float:
    """Two-sided."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 1 - alpha / 2))
