"""It gives some translation invariance: crops and circular shifts are two questions, and a shift of its own each."""

from __future__ import annotations

from collections.abc import Sequence

from .. import measures, wording
from ..answers import (
    NONE,
    POOLED,
    STRIDED,
    Answer,
    Ask,
    Claim,
    Row,
    asked_twice,
    common,
    direction,
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

__all__ = ["translation"]


def translation(records: Records) -> Claim:
    """Crops and circular shifts are two questions: what leaves the picture is lost only in the first."""
    pooled, nothing, strided = seen(records)
    answers = asked_twice(
        lambda question, control, side: _translation_answer(records, question, pooled, control, side), nothing, strided
    )
    middle = records.middle
    one: list[Row] = []
    if middle is not None and strided:
        kinds = (("crops", measures.crops(middle)), ("rolled", measures.circular(middle)))
        asked: list[Ask] = [(f"same answer, {what}, {middle} px", measure, None) for what, measure in kinds]
        one = each(records, pooled, strided, STRIDED, asked)
    caveats = common(records, pooled, measures.crops(middle or 0))
    caveats.append(
        "Every network averages over its last map before the answer, which forgives shifts by itself; asked is what "
        "reducing in between adds or takes."
    )
    caveats += _errors(records, ((POOLED, pooled), (NONE, nothing), (STRIDED, strided)))
    return Claim(
        "translation", "Translation", "Pooling makes answers less dependent on where things are.",
        "Share of test images whose answer stays: for two random crops at most so many pixels apart (as Zhang 2019), and for "
        f"the picture rolled round (as Chaman and Dokmani\u0107 2021); {mean_of(pooled)}, by "
        f"{wording.listed([str(shift) for shift in records.shifts])} pixels, {records.main:,} training images.",
        answers, tuple(told(row, "lower", "higher") for row in _both_kinds(answers)), tuple(one), tuple(caveats),
    )  # fmt: skip


def _both_kinds(answers: Sequence[Answer]) -> list[Row]:
    """Of each answer and kind the row with the strongest effect."""
    found = []
    for answer in answers:
        for kind in ("crops", "rolled"):
            found += strongest([row for row in answer.rows if kind in row.what])[:1]
    return found


def _translation_answer(
    records: Records, question: str, pooled: Sequence[str], control: Sequence[str], side: str
) -> Answer:
    asked: list[Ask] = [(f"Same answer, crops, {shift} px", measures.crops(shift), None) for shift in records.shifts]
    asked += [(f"Same answer, rolled, {shift} px", measures.circular(shift), None) for shift in records.shifts]
    rows = paired(records, pooled, control, (POOLED, side), asked) if pooled and control else []
    kinds = {
        "two crops": [row for row in rows if "crops" in row.what and row.measured],
        "rolling the picture": [row for row in rows if "rolled" in row.what and row.measured],
    }
    known = {kind: direction(found) for kind, found in kinds.items() if found}
    if not known:
        return unmeasured(records, question, pooled, control, side, rows)
    parts = []
    for kind, sign in known.items():
        shown = [row for row in kinds[kind] if row.favour or not sign]
        where = (
            wording.listed([row.what.rsplit(", ", 1)[1].removesuffix(" px") for row in shown]) + " px" if shown else ""
        )
        if sign is None:
            parts.append(
                f"for {kind}, answers stayed more often {POOLED} than {side} at some shifts and less often at others"
            )
        elif sign == 0:
            parts.append(f"for {kind}, no difference was shown ({where})")
        else:
            word = "more" if sign > 0 else "less"
            parts.append(f"for {kind}, answers stayed {word} often {POOLED} than {side} ({where})")
    signs = set(known.values())
    if signs == {1}:
        verdict = Verdict.HELD
    elif 1 in signs or None in signs:
        verdict = Verdict.IN_PART
    else:
        verdict = Verdict.HELD_NOT if -1 in signs else Verdict.NOT_SHOWN
    text = "; ".join(parts) + "."
    return Answer(question, verdict, text[0].upper() + text[1:], tuple(rows))


def _errors(records: Records, groups: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """Whoever says the same of everything is perfectly steady, so the errors belong beside."""
    levels = []
    for side, names in groups:
        values, _ = records.group(names, measures.test_error)
        if values:
            levels.append(f"{side} {wording.level(sum(values.values()) / len(values), 'share')}")
    text = "Only whether the answer stays counts here, not whether it is right, and a network that gives few different answers is steady."
    return [f"{text} Test errors: {', '.join(levels)}." if levels else text]
