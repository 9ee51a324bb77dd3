"""It enlarges the receptive field: the theoretical one by arithmetic, the effective one measured at the deepest place."""

from __future__ import annotations

from collections.abc import Sequence

from .. import measures, wording
from ..answers import (
    BY_SIGN,
    NONE,
    POOLED,
    STRIDED,
    Answer,
    Ask,
    Claim,
    Row,
    asked_twice,
    common,
    each,
    mean_of,
    paired,
    seen,
    told,
    unmeasured,
)  # fmt: skip
from ..measures import Records
from ..statistics import Verdict

__all__ = ["field"]


def field(records: Records) -> Claim:
    """The claim's box."""
    pooled, nothing, strided = seen(records)
    deepest = records.depths[-1] if records.depths else None
    ask: list[Ask] = []
    if deepest is not None:
        ask = [
            (f"Effective field, {deepest}, {when} training", measures.field_side(deepest, when), None)
            for when in ("after", "before")
        ]
    answers = asked_twice(
        lambda question, control, side: _answer(records, question, pooled, control, side, deepest, ask),
        nothing,
        strided,
    )
    rows = [row for answer in answers for row in answer.rows if row.found is not None]
    strength = [told(row, "smaller", "larger") for row in rows]
    reduction = paired(records, strided, nothing, (STRIDED, NONE), ask[:1]) if strided and nothing else []
    strength += [
        f"Strides alone enlarge it too. {told(row, 'smaller', 'larger')}"
        if row.sign > 0
        else told(row, "smaller", "larger")
        for row in reduction
        if row.found is not None
    ]
    one = (
        each(records, pooled, nothing, NONE, [(f"effective field after training, {deepest}", *ask[0][1:])])
        if nothing and ask
        else []
    )
    return Claim(
        "field", "Receptive field", "Pooling enlarges the receptive field.",
        f"Theoretical field: pixels that one output of {deepest or 'the deepest place'} can depend on, along one axis, by "
        "arithmetic. Effective field: side of the square with the area of what it does depend on (gradients, "
        f"{wording.plural(records.header.settings.field_images, 'test image')}); {mean_of(pooled)}, {records.main:,} "
        "training images.",
        answers, tuple(strength), tuple(one), tuple(_caveats(records, [*pooled, *nothing, *strided], pooled, deepest)),
    )  # fmt: skip


def _answer(
    records: Records,
    question: str,
    pooled: Sequence[str],
    control: Sequence[str],
    side: str,
    deepest: str | None,
    ask: Sequence[Ask],
) -> Answer:
    if not pooled or not control or deepest is None:
        return unmeasured(records, question, pooled, control, side)
    rows = [*_theory(records, pooled, control[0], deepest), *paired(records, pooled, control, (POOLED, side), ask)]
    theory = next((row for row in rows if row.counted is not None), None)
    effective = next((row for row in rows if row.found is not None), None)
    if effective is None:
        return unmeasured(records, question, pooled, control, side, rows)
    words = {1: "was larger", -1: "was smaller", 0: "was not shown to differ"}
    text = f"The effective field after training {words[effective.sign]} {POOLED} than {side}"
    if not effective.sign:
        text = f"No difference in the effective field after training was shown {POOLED} and {side}"
    if theory is not None:
        text += (
            f"; in theory, {theory.sides[0]} sees {_pixels(theory, 0)} px, {theory.sides[1]} {_pixels(theory, 1)} px"
        )
    signs = {row.sign for row in (theory, effective) if row is not None}
    verdict = BY_SIGN[effective.sign]
    if len(signs) > 1 and 1 in signs:
        verdict = Verdict.IN_PART
    return Answer(question, verdict, text + ".", tuple(rows))


def _pixels(row: Row, side: int) -> str:
    assert row.counted is not None
    return f"{row.counted[side]:.0f}"


def _theory(records: Records, pooled: Sequence[str], control: str, deepest: str) -> list[Row]:
    """The pooling variant that sees least: all others see as much or more."""
    base = records.depth(control, deepest).receptive_field
    known = {name: size for name in pooled if (size := records.depth(name, deepest).receptive_field) is not None}
    if base is None or not known:
        return []
    least = min(known, key=lambda name: known[name])
    label = f"Theoretical field, {deepest}, {least}" + (", the smallest" if len(known) > 1 else "")
    return [Row(label, (least, control), "pixels", 1, counted=(float(known[least]), float(base)))]


def _caveats(records: Records, names: Sequence[str], pooled: Sequence[str], deepest: str | None) -> list[str]:
    if deepest is None:
        return []
    caveats = common(records, pooled, measures.field_side(deepest, "after"))
    side = min(records.header.data.shape[1:])
    fields = {name: records.depth(name, deepest).receptive_field for name in names}
    full = [name for name, size in fields.items() if size is not None and size >= side]
    if full:
        caveats.append(
            f"Pictures are {side} pixels wide: in theory, {deepest} sees all of that in {wording.listed(full)}, and no "
            "effective field can grow beyond it."
        )
    unknown = [name for name, size in fields.items() if size is None]
    if unknown:
        caveats.append(f"No theoretical field is known for {wording.listed(unknown)}.")
    return caveats
