"""The records by variant, seed and size, and the numbers that are read off them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .record import Depth, Header, Run, Variant
from .statistics import Difference, Estimate, compare, complete, estimate

__all__ = [
    "Measure",
    "Records",
    "change",
    "circular",
    "crops",
    "field_side",
    "gap",
    "probe",
    "rise",
    "test_error",
    "train_error",
]


@dataclass(frozen=True)
class Measure:
    """One number of a run."""

    name: str
    unit: str
    """A key of `wording.UNITS`."""
    read: Callable[[Run], float | None]
    resolution: Callable[[Header, int], float]
    """One step of the scale: the header and the number of training images decide it."""
    good: int = 0
    """-1 where less is better, 1 where more is."""


def _tests(header: Header, _size: int) -> float:
    return 1 / max(header.settings.test_images, 1)


def _moved(header: Header, _size: int) -> float:
    return 1 / max(header.settings.shift_images, 1)


def _both(header: Header, size: int) -> float:
    return 1 / max(min(header.settings.test_images, size), 1)


test_error = Measure("test error", "share", lambda run: run.test_error, _tests, -1)
train_error = Measure("training error", "share", lambda run: run.train_error, lambda _h, size: 1 / max(size, 1), -1)
gap = Measure("gap", "points", lambda run: run.test_error - run.train_error, _both, -1)


def crops(shift: int) -> Measure:
    """Same answer for two crops, at most so many pixels apart."""
    return Measure(f"same answer, crops {shift} px", "share", lambda run: (run.crops or {}).get(str(shift)), _moved, 1)


def circular(shift: int) -> Measure:
    """Same answer for the picture rolled by so many pixels."""
    return Measure(
        f"same answer, rolled {shift} px", "share", lambda run: (run.circular or {}).get(str(shift)), _moved, 1
    )


def change(depth: str, shift: int) -> Measure:
    """Relative change of a map."""
    return Measure(
        f"change of the map, {depth}, {shift} px", "relative",
        lambda run: run.map_change.get(depth, {}).get(str(shift)), lambda _h, _s: 0.002, -1,
    )  # fmt: skip


def field_side(depth: str, when: str) -> Measure:
    """Side of the effective receptive field, ``before`` or ``after`` training."""
    return Measure(
        f"effective field, {depth}, {when} training", "pixels",
        lambda run: run.fields.get(depth, {}).get(when), lambda _h, _s: 0.1, 1,
    )  # fmt: skip


def probe(place: str, *, trained: bool = True) -> Measure:
    """Accuracy of a linear classifier on a depth's features, or on the pixels."""
    return Measure(
        f"probe, {place}{'' if trained else ', untrained'}", "share",
        lambda run: (run.probes if trained else run.probes_untrained).get(place), _tests, 1,
    )  # fmt: skip


def rise(places: Sequence[str], *, trained: bool = True) -> Measure:
    """Slope of the probes' accuracies over depth, by least squares, per stage."""

    def read(run: Run) -> float | None:
        found = run.probes if trained else run.probes_untrained
        values = [found.get(place) for place in places]
        known = [value for value in values if value is not None]
        if len(known) < len(values) or len(values) < 2:
            return None
        middle, mean = (len(known) - 1) / 2, math.fsum(known) / len(known)
        return math.fsum((i - middle) * (value - mean) for i, value in enumerate(known)) / math.fsum(
            (i - middle) ** 2 for i in range(len(known))
        )

    return Measure(f"rise of the probe per stage{'' if trained else ', untrained'}", "share", read, _tests, 1)


class Records:
    """All lines of a study, looked up by variant, size and seed."""

    def __init__(self, header: Header, variants: Iterable[Variant], runs: Iterable[Run]) -> None:
        self.header = header
        given = {variant.name: variant for variant in variants}
        wanted = header.settings.variants
        self.variants = {name: given[name] for name in dict.fromkeys([*wanted, *given]) if name in given}
        self._runs: dict[tuple[str, int], dict[int, Run]] = {}
        for run in runs:
            self._runs.setdefault((run.variant, run.size), {})[run.seed] = run

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of training images that any run has, ascending."""
        return tuple(sorted({size for _, size in self._runs}))

    @property
    def main(self) -> int:
        """The number of training images that everything is measured at."""
        return self.header.settings.sizes[-1]

    @property
    def runs(self) -> list[Run]:
        """Each variant, size and seed once."""
        return [run for seeds in self._runs.values() for run in seeds.values()]

    @property
    def planned(self) -> int:
        """Runs of the whole study."""
        settings = self.header.settings
        return len(settings.variants) * len(settings.sizes) * len(settings.seeds)

    @property
    def shifts(self) -> tuple[int, ...]:
        """Pixels that a study moves pictures by."""
        return self.header.settings.shifts

    @property
    def middle(self) -> int | None:
        """The shift that stands for all where there is room for one."""
        return self.shifts[(len(self.shifts) - 1) // 2] if self.shifts else None

    @property
    def depths(self) -> list[str]:
        """Names of the places that every variant has, from the input on."""
        lists = [[depth.name for depth in variant.depths] for variant in self.variants.values()]
        return [name for name in lists[0] if all(name in other for other in lists)] if lists else []

    def depth(self, variant: str, name: str) -> Depth:
        """One place in one variant."""
        return next(depth for depth in self.variants[variant].depths if depth.name == name)

    def names(self, reduces: str | None = None, family: str = "main") -> list[str]:
        """Variants that reduce resolution so."""
        return [
            name
            for name, variant in self.variants.items()
            if variant.family == family and reduces in (None, variant.reduces)
        ]

    def values(self, variant: str, measure: Measure, size: int | None = None) -> dict[int, float]:
        """By seed; what is missing or not finite is left out."""
        runs = self._runs.get((variant, self.main if size is None else size), {})
        found = {seed: measure.read(run) for seed, run in sorted(runs.items())}
        return {seed: float(value) for seed, value in found.items() if value is not None and math.isfinite(value)}

    def estimate(self, variant: str, measure: Measure, size: int | None = None) -> Estimate | None:
        """Over all seeds of a variant; None without any."""
        values = list(self.values(variant, measure, size).values())
        return estimate(values, measure.resolution(self.header, size or self.main)) if values else None

    def group(
        self, names: Sequence[str], measure: Measure, size: int | None = None
    ) -> tuple[dict[int, float], list[str]]:
        """Seed by seed the mean of several variants, and which of them it is of: the same ones for every seed."""
        block, seeds = complete({name: self.values(name, measure, size) for name in names})
        values = {name: self.values(name, measure, size) for name in block}
        return {seed: math.fsum(values[name][seed] for name in block) / len(block) for seed in seeds}, block

    def difference(
        self, first: Sequence[str], second: Sequence[str], measure: Measure, size: int | None = None
    ) -> Difference | None:
        """Mean of the first variants minus mean of the second, seed by seed, not yet corrected."""
        one, names = self.group(first, measure, size)
        two, others = self.group(second, measure, size)
        return self.contrast(one, two, [*names, *others], measure, size)

    def contrast(
        self,
        one: dict[int, float],
        two: dict[int, float],
        names: Sequence[str],
        measure: Measure,
        size: int | None = None,
    ) -> Difference | None:
        """`compare` with this measure's resolution and the spread between seeds of these variants."""
        spreads = [found.sd for name in names if (found := self.estimate(name, measure, size)) is not None]
        known = [sd**2 for sd in spreads if sd is not None]
        spread = math.sqrt(math.fsum(known) / len(known)) if known else 0.0
        return compare(one, two, measure.resolution(self.header, size or self.main), spread)


def finite(run: Run) -> bool:
    """Whether all of a run's main numbers are."""
    return all(map(math.isfinite, (run.train_error, run.test_error, run.train_loss, run.test_loss)))
