"""Which pooling for which purpose, and the questions that are asked beside the five claims."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from . import measures, wording
from .answers import Row, direction
from .measures import Measure, Records
from .record import Header, Run, Variant
from .statistics import FEWEST_SEEDS, Estimate, Ranking, correct, estimate, rank

__all__ = ["Place", "Purpose", "Question", "purposes", "questions"]


@dataclass(frozen=True)
class Place:
    """One variant in an order."""

    name: str
    value: str
    tied: bool
    """It may share the first place: nothing tells it apart."""
    estimate: Estimate | None
    """None where the number is counted."""


@dataclass(frozen=True)
class Purpose:
    """An order of the variants for one purpose."""

    name: str
    measured: str
    places: tuple[Place, ...]
    answer: str


@dataclass(frozen=True)
class Question:
    """Something people ask, as pairs of variants that differ in nothing else."""

    name: str
    asked: str
    answer: str
    rows: tuple[Row, ...]
    note: str


def purposes(header: Header, variants: Sequence[Variant], runs: Iterable[Run]) -> tuple[Purpose, ...]:
    """For each purpose the variants of the main family in order, and who cannot be told apart from the first.

    Parameters
    ----------
    header, variants, runs
        The records of one study, complete or not.

    Returns
    -------
    tuple of Purpose
        Without those that nothing was measured for.
    """
    records = Records(header, variants, runs)
    found = []
    few = records.sizes[0] if records.sizes else records.main
    wanted: list[tuple[str, str, Measure, int]] = [
        ("Accuracy", f"test error, {records.main:,} training images", measures.test_error, records.main),
        ("Few images to learn from", f"test error, {few:,} training images", measures.test_error, few),
        ("Small gap between training and test", f"gap, {records.main:,} training images; look at the test error too", measures.gap, records.main),
    ]  # fmt: skip
    if few == records.main:
        del wanted[1]
    if records.middle is not None:
        wanted += [
            ("Answers that stay, crops", f"same answer for crops at most {records.middle} px apart", measures.crops(records.middle), records.main),
            ("Answers that stay, circular shifts", f"same answer when rolled by {records.middle} px", measures.circular(records.middle), records.main),
        ]  # fmt: skip
    for name, measured, measure, size in wanted:
        found.append(_ranked(records, name, measured, measure, size))
    found += [
        _counted(records, "Little computation", "multiply-adds of an image", "multiply_adds", "count"),
        _counted(records, "Little memory", "all layers' outputs of an image", "activation_bytes", "bytes"),
    ]
    return tuple(purpose for purpose in found if purpose is not None)


def _ranked(records: Records, name: str, measured: str, measure: Measure, size: int) -> Purpose | None:
    values = {variant: records.values(variant, measure, size) for variant in records.names()}
    values = {variant: seeds for variant, seeds in values.items() if seeds}
    if not values:
        return None
    ranking = rank(values, measure.resolution(records.header, size), measure.good)
    places = [
        _place(records, variant, values[variant], ranking, measure, size)
        for variant in (*ranking.order, *ranking.left_out)
    ]
    if not ranking.tied:
        answer = f"Not compared: no two variants have {FEWEST_SEEDS} seeds in common."
    elif len(ranking.tied) == len(ranking.order):
        answer = f"No difference shown between any of the {len(ranking.order)} variants."
    elif len(ranking.tied) == 1:
        answer = f"{ranking.tied[0]}: shown to be ahead of all others compared."
    else:
        leader, *others = ranking.tied
        answer = f"No difference shown between {leader} and {wording.listed(others)}; all others were shown to be behind {leader}."
    if ranking.left_out and ranking.tied:
        answer += f" Too few seeds to be compared: {wording.listed(ranking.left_out)}."
    return Purpose(name, measured, tuple(places), answer)


def _place(
    records: Records, name: str, values: dict[int, float], ranking: Ranking, measure: Measure, size: int
) -> Place:
    """Over the seeds that the order is of, so that it is an order of the numbers that are shown."""
    shown = [value for seed, value in values.items() if seed in ranking.seeds or name in ranking.left_out]
    found = estimate(shown, measure.resolution(records.header, size))
    return Place(name, wording.estimated(found, measure.unit), name in ranking.tied, found)


def _counted(records: Records, name: str, measured: str, field: str, unit: str) -> Purpose | None:
    costs = {variant: float(getattr(records.variants[variant], field)) for variant in records.names()}
    if len(costs) < 2:
        return None
    least = min(costs.values())
    order = sorted(costs, key=lambda variant: costs[variant])
    first = [variant for variant in order if costs[variant] == least]
    places = [Place(variant, wording.counted(costs[variant], unit), variant in first, None) for variant in order]
    answer = f"{wording.listed(first)}: {wording.counted(least, unit)}{' each' if len(first) > 1 else ''}, counted."
    return Purpose(name, measured, tuple(places), answer)


Pair = tuple[str, str]

ASKED: tuple[tuple[str, str, tuple[Pair, ...], str], ...] = (
    (
        "Maximum or average?", "The same windows, the largest value or the mean.",
        (("max2", "avg2"), ("max3", "avg3")), "",
    ),
    (
        "Overlapping windows or side by side?", "Windows of 3 x 3 every second position, or of 2 x 2 that do not overlap.",
        (("max3", "max2"), ("avg3", "avg2")),
        "3 x 3 windows are also larger, so this is not overlap alone.",
    ),
    (
        "Pooling or a strided convolution?",
        "First as it is often done, max pooling or a stride in the same convolution. Then with an added convolution that "
        "takes the stride (allconv), against max pooling and against a network that has the added convolution and pools "
        "as well (convpool).",
        (("max2", "strided"), ("max2", "allconv"), ("convpool", "allconv")),
        "Only convpool and allconv have the same layers and parameters: a network with an added convolution is a larger "
        "network, whatever reduces its resolution (Springenberg et al. 2015).",
    ),
)  # fmt: skip


def questions(header: Header, variants: Sequence[Variant], runs: Iterable[Run]) -> tuple[Question, ...]:
    """Pairs of variants, compared in test error, gap and steadiness; all rows of a question are corrected together.

    Parameters
    ----------
    header, variants, runs
        The records of one study, complete or not.

    Returns
    -------
    tuple of Question
        Without those whose variants are not in the study.
    """
    records = Records(header, variants, runs)
    result = []
    for name, asked, pairs, note in ASKED:
        there = [pair for pair in pairs if set(pair) <= set(records.variants)]
        if there:
            rows = _rows(records, there)
            result.append(Question(name, asked, _answer(rows, there), tuple(rows), note))
    return tuple(result)


def _rows(records: Records, pairs: Sequence[Pair]) -> list[Row]:
    wanted = [("test error", measures.test_error), ("gap", measures.gap)]
    if records.middle is not None:
        wanted += [
            (f"same answer for crops ({records.middle} px)", measures.crops(records.middle)),
            (f"same answer when rolled ({records.middle} px)", measures.circular(records.middle)),
        ]
    keys = [(pair, what, measure) for pair in pairs for what, measure in wanted]
    found = correct([records.difference([one], [two], measure) for (one, two), _, measure in keys])
    return [
        Row(f"{one} against {two}: {what}", (one, two), measure.unit, measure.good, difference)
        for ((one, two), what, measure), difference in zip(keys, found, strict=True)
    ]


def _answer(rows: Sequence[Row], pairs: Sequence[Pair]) -> str:
    """One sentence a pair: what was shown, of the test error first."""
    parts = []
    for pair in pairs:
        own = [row for row in rows if row.sides == pair and row.measured]
        if not own:
            parts.append(f"{pair[0]} and {pair[1]}: not compared, fewer than {FEWEST_SEEDS} seeds in common.")
            continue
        shown = [f"{row.what.split(': ', 1)[1]} {'higher' if row.sign > 0 else 'lower'}" for row in own if row.sign]
        if direction(own) == 0:
            parts.append(f"{pair[0]} and {pair[1]}: no difference shown.")
        else:
            parts.append(f"{pair[0]} against {pair[1]}: {'; '.join(shown)}.")
    return " ".join(parts)
