"""It counters overfitting: a gap counts only together with the test error."""

from __future__ import annotations

from collections.abc import Sequence

from .. import measures, wording
from ..answers import (
    NONE,
    POOLED,
    Answer,
    Ask,
    Claim,
    asked_twice,
    common,
    each,
    mean_of,
    paired,
    seen,
    strongest,
    told,
    unmeasured,
)  # fmt: skip
from ..measures import Records
from ..statistics import Verdict

__all__ = ["overfitting"]


def overfitting(records: Records) -> Claim:
    """A smaller gap counts only where the test error fell as well, a larger one only where it did not."""
    pooled, nothing, strided = seen(records)
    answers = asked_twice(
        lambda question, control, side: _overfitting_answer(records, question, pooled, control, side), nothing, strided
    )
    smallest = min(records.sizes, default=records.main)
    one = (
        each(records, pooled, nothing, NONE, [(f"gap, {smallest:,} images", measures.gap, smallest)]) if nothing else []
    )
    caveats = common(records, pooled, measures.gap)
    caveats += _fit(records, pooled, nothing)
    return Claim(
        "overfitting", "Overfitting", "Pooling counters overfitting.",
        f"Gap: test error minus training error, in points, at equal parameters and equal numbers of steps; {mean_of(pooled)}, "
        f"at {wording.listed([f'{size:,}' for size in records.sizes])} training images. A smaller gap is a gain only where "
        "the test error is not larger, and a larger one a loss only where it is not smaller, so both are asked.",
        answers, tuple(told(row, "smaller", "larger") for row in strongest([*answers[0].rows, *answers[1].rows])[:3]),
        tuple(one), tuple(caveats),
    )  # fmt: skip


def _overfitting_answer(
    records: Records, question: str, pooled: Sequence[str], control: Sequence[str], side: str
) -> Answer:
    asked: list[Ask] = []
    for size in records.sizes:
        asked.append((f"Gap, {size:,} images", measures.gap, size))
        asked.append((f"Test error, {size:,} images", measures.test_error, size))
    rows = paired(records, pooled, control, (POOLED, side), asked) if pooled and control else []
    if not any(row.measured for row in rows):
        return unmeasured(records, question, pooled, control, side, rows)
    gaps, tests = rows[0::2], rows[1::2]
    sizes = [f"{size:,}" for size in records.sizes]

    def where(wanted: list[bool]) -> list[str]:
        return [size for size, one in zip(sizes, wanted, strict=True) if one]

    smaller = where([gap.favour > 0 for gap in gaps])
    larger = where([gap.favour < 0 for gap in gaps])
    gained = where([gap.favour > 0 and test.favour > 0 for gap, test in zip(gaps, tests, strict=True)])
    lost = where([gap.favour > 0 and test.favour < 0 for gap, test in zip(gaps, tests, strict=True)])
    # Who has learned less of the training images has a smaller gap and a larger test error: that is no loss of the other's.
    excused = where([gap.favour < 0 and test.favour > 0 for gap, test in zip(gaps, tests, strict=True)])
    parts = []
    if smaller:
        parts.append(f"The gap was smaller {POOLED} than {side} at {wording.listed(smaller)} images")
    if larger:
        parts.append(f"The gap was larger {POOLED} than {side} at {wording.listed(larger)} images")
    if excused:
        parts.append(f"at {wording.listed(excused)} the test error was lower, so that the larger gap is no loss there")
    if gained:
        parts.append(f"the test error was lower as well at {wording.listed(gained)}")
    if lost:
        parts.append(f"at {wording.listed(lost)} the test error was higher, so that the smaller gap is no gain there")
    if smaller and not gained and not lost:
        parts.append("the test error was not shown to be lower there, so the smaller gap is not shown to be a gain")
    if not parts:
        asked_at = where([gap.measured for gap in gaps])
        parts.append(f"No difference in the gap was shown {POOLED} and {side}, at {wording.listed(asked_at)} images")
    verdict = Verdict.NOT_SHOWN
    if larger and (smaller or excused == larger):
        verdict = Verdict.IN_PART
    elif larger or (lost and not gained):
        verdict = Verdict.HELD_NOT
    elif smaller:
        verdict = Verdict.HELD if gained and not lost else Verdict.IN_PART
    return Answer(question, verdict, "; ".join(parts) + ".", tuple(rows))


def _fit(records: Records, pooled: Sequence[str], nothing: Sequence[str]) -> list[str]:
    """A gap can be small because the training images were not learned."""
    notes = []
    for name in [*pooled, *nothing]:
        found = records.estimate(name, measures.train_error)
        if found is not None and found.mean > 0.1:
            notes.append(f"{name} {wording.level(found.mean, 'share')}")
    if not notes:
        return []
    return [
        "Not every network learned its training images in the given steps, and one that did not has a small gap for that "
        f"reason alone; training error at {records.main:,} images: {', '.join(notes)}."
    ]
