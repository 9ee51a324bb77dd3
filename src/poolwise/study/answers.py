"""What an answer is made of: comparisons that are corrected together, the verdict that follows, and its words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from . import wording
from .measures import Measure, Records
from .statistics import FEWEST_SEEDS, Difference, Verdict, correct

__all__ = [
    "BY_SIGN", "IS_IT_POOLING", "IS_IT_SO", "NONE", "POOLED", "STRIDED", "TIME_MARGIN", "Answer", "Ask", "Claim", "Row", "asked_twice", "common",
    "direction", "each", "mean_of", "paired", "seen", "strongest", "told", "unmeasured", "why_not",
]  # fmt: skip

IS_IT_SO = "Against no reduction (stride 1 throughout)"
IS_IT_POOLING = "Against a strided convolution: is it pooling, or any reduction?"
POOLED, NONE, STRIDED = "with pooling", "without reduction", "with strides"
BY_SIGN = {1: Verdict.HELD, -1: Verdict.HELD_NOT, 0: Verdict.NOT_SHOWN, None: Verdict.IN_PART}
"""From what `direction` gives."""


TIME_MARGIN = 0.1
"""Times are single medians on one machine, without intervals; less than this share of the longer one is not read."""


@dataclass(frozen=True)
class Row:
    """One comparison, first against second."""

    what: str
    sides: tuple[str, str]
    unit: str
    good: int
    """Sign of a difference that speaks for the first; 0 where neither does."""
    found: Difference | None = None
    counted: tuple[float, float] | None = None
    """In place of `found`: two numbers that are counted, or timed once, and have no interval."""

    @property
    def sign(self) -> int:
        """-1 or 1 where a difference is shown, in the direction of the number."""
        if self.counted is not None:
            first, second = self.counted
            apart = TIME_MARGIN * max(first, second) if self.unit == "ms" else 0.0
            return (first > second + apart) - (first < second - apart)
        return 0 if self.found is None else self.found.sign

    @property
    def favour(self) -> int:
        """1 where the first is shown to be better, -1 where it is shown to be worse."""
        return self.sign * self.good

    @property
    def measured(self) -> bool:
        """Enough to say something."""
        return self.counted is not None or self.found is not None


@dataclass(frozen=True)
class Answer:
    """One question about a claim."""

    question: str
    verdict: Verdict
    text: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Claim:
    """A box of the report."""

    key: str
    name: str
    claim: str
    measured: str
    answers: tuple[Answer, ...]
    """Against no reduction, then against a strided convolution."""
    strength: tuple[str, ...]
    each: tuple[Row, ...]
    """Variants one by one, corrected among themselves."""
    caveats: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """Whether the claim holds against networks that do not reduce resolution."""
        return self.answers[0].verdict

    @property
    def beyond(self) -> Verdict:
        """Whether pooling does more than a strided convolution."""
        return self.answers[1].verdict


def seen(records: Records) -> tuple[list[str], list[str], list[str]]:
    """Names of the main family: those that pool, those that do not reduce, those that stride."""
    return records.names("pooling"), records.names("nothing"), records.names("convolution")


def asked_twice(
    ask: Callable[[str, Sequence[str], str], Answer], nothing: Sequence[str], strided: Sequence[str]
) -> tuple[Answer, Answer]:
    """The answers of a claim: ``ask(question, control, side)`` against no reduction, then against a strided convolution."""
    return ask(IS_IT_SO, nothing, NONE), ask(IS_IT_POOLING, strided, STRIDED)


def unmeasured(
    records: Records, question: str, first: Sequence[str], control: Sequence[str], side: str, rows: Sequence[Row] = ()
) -> Answer:
    """The answer where nothing can be said, and why."""
    return Answer(question, Verdict.NOT_MEASURED, why_not(records, first, control, f"a variant {side}"), tuple(rows))


Ask = tuple[str, Measure, int | None]
"""What a row says, the measure, the number of training images (None: the main one)."""


def paired(
    records: Records, first: Sequence[str], second: Sequence[str], sides: tuple[str, str], asked: Sequence[Ask]
) -> list[Row]:
    """Rows of one question, corrected together."""
    found = correct([records.difference(first, second, measure, size) for _, measure, size in asked])
    return [
        Row(what, sides, measure.unit, measure.good, one) for (what, measure, _), one in zip(asked, found, strict=True)
    ]


def each(records: Records, names: Sequence[str], control: Sequence[str], side: str, asked: Sequence[Ask]) -> list[Row]:
    """Every variant against the control, all corrected together."""
    keys = [(name, ask) for ask in asked for name in names]
    found = correct([records.difference([name], control, measure, size) for name, (_, measure, size) in keys])
    return [
        Row(f"{name}: {what}", (name, side), measure.unit, measure.good, one)
        for (name, (what, measure, _)), one in zip(keys, found, strict=True)
    ]


def direction(rows: Sequence[Row]) -> int | None:
    """1: shown better somewhere, worse nowhere; -1: the reverse; None: both; 0: neither."""
    favours = {row.favour for row in rows}
    return None if {1, -1} <= favours else 1 if 1 in favours else -1 if -1 in favours else 0


def why_not(records: Records, first: Sequence[str], second: Sequence[str], control: str) -> str:
    """Why a question was not measured."""
    if not first:
        return "Not measured: no variant that pools is in this study."
    if not second:
        return f"Not measured: {control} is not in this study."
    seeds = len(records.header.settings.seeds)
    if seeds < FEWEST_SEEDS:
        return (
            f"Not measured: {wording.plural(seeds, 'seed')}. Nothing is compared from fewer than {FEWEST_SEEDS}, "
            "since the spread between seeds cannot be told from a difference."
        )
    return f"Not measured: fewer than {FEWEST_SEEDS} seeds have been run, or looked at, on both sides so far."


def told(row: Row, less: str, more: str) -> str:
    """One row as a sentence."""
    if row.counted is not None:
        first, second = (wording.counted(value, row.unit) for value in row.counted)
        return f"{row.what}: {first} {row.sides[0]}, {second} {row.sides[1]}."
    return f"{row.what}: {wording.among(row.found, row.unit, row.sides, less, more)}."


def strongest(rows: Sequence[Row]) -> list[Row]:
    """Measured rows, the largest effect first."""
    known = [row for row in rows if row.found is not None]
    return sorted(known, key=lambda row: -(row.found.effect if row.found else 0))


def common(records: Records, pooled: Sequence[str], measure: Measure) -> list[str]:
    """What a reader must know about the records themselves."""
    _, used = records.group(pooled, measure)
    left = [name for name in pooled if name not in used]
    notes = []
    if used and left:
        notes.append(f"Left out of the mean over pooling variants, too few seeds in common: {wording.listed(left)}.")
    if len(records.runs) < records.planned:
        notes.append(f"{len(records.runs):,} of {records.planned:,} planned runs are done: this may change.")
    return notes


def mean_of(names: Sequence[str]) -> str:
    """What stands for pooling as a whole."""
    return f"the mean of {wording.listed(names)}" if len(names) > 1 else wording.listed(names)
