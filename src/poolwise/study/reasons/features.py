"""From low-level to high-level features: learned ones must beat untrained ones and the pixels, and the rise must be pooling's."""

from __future__ import annotations

from collections.abc import Sequence

from .. import measures
from ..answers import (
    BY_SIGN,
    IS_IT_POOLING,
    IS_IT_SO,
    NONE,
    POOLED,
    STRIDED,
    Answer,
    Ask,
    Claim,
    Row,
    common,
    direction,
    each,
    mean_of,
    paired,
    seen,
    told,
    unmeasured,
)  # fmt: skip
from ..measures import Measure, Records
from ..statistics import Difference, Verdict, correct

__all__ = ["features"]


def features(records: Records) -> Claim:
    """Learned features must beat untrained ones and the pixels, and the rise must be pooling's."""
    pooled, nothing, strided = seen(records)
    places = records.depths
    first = _features_answer(records, pooled, nothing, places)
    rise = measures.rise(places)
    asked: list[Ask] = [("Rise of the probe per stage", rise, None)]
    if places:
        asked.append((f"Probe at {places[-1]}", measures.probe(places[-1]), None))
    rows = paired(records, pooled, strided, (POOLED, STRIDED), asked) if pooled and strided else []
    if any(row.measured for row in rows):
        words = {1: "steeper", -1: "flatter", 0: "not shown to differ"}
        sign = rows[0].sign
        text = f"The rise with depth was {words[sign]}{'' if sign == 0 else f' {POOLED} than {STRIDED}'}"
        if len(rows) > 1 and rows[1].measured:
            text += (
                "; at the deepest place, the probe was "
                + {1: "better", -1: "worse", 0: "not shown to differ"}[rows[1].sign]
            )
        second = Answer(IS_IT_POOLING, BY_SIGN[direction(rows)], text + ".", tuple(rows))
    else:
        second = unmeasured(records, IS_IT_POOLING, pooled, strided, STRIDED, rows)
    return Claim(
        "features", "From low to high level",
        "Stacked with convolutions, pooling lets a network learn from low-level to high-level features.",
        f"Accuracy of a linear classifier on each depth's features ({records.header.settings.probe_images:,} training images), "
        f"after and before training, and on the pixels; {mean_of(pooled)}. If features grow more abstract with depth, the "
        "accuracy rises with depth; if learning is why, untrained features do not rise as much; if pooling is why, networks "
        "without it do not either.",
        (first, second), tuple(told(row, "lower", "higher") for row in (*first.rows, *second.rows) if row.found is not None),
        tuple(each(records, pooled, nothing, NONE, [("rise per stage", rise, None)])) if nothing else (),
        (*common(records, pooled, rise), "A linear classifier measures how well classes lie apart, which is one side of "
               "\u2018high level\u2019; look at the patches for the other."),
    )  # fmt: skip


def _features_answer(records: Records, pooled: Sequence[str], nothing: Sequence[str], places: Sequence[str]) -> Answer:
    if not pooled:
        return unmeasured(records, IS_IT_SO, pooled, nothing, NONE)
    if len(places) < 2:
        return Answer(IS_IT_SO, Verdict.NOT_MEASURED, "Not measured: fewer than two depths.", ())
    rows = _learned(records, pooled, nothing, places)
    rising, above, learned, more = (row for row in rows)
    if not rising.measured:
        return unmeasured(records, IS_IT_SO, pooled, nothing, NONE, rows)
    parts = [
        {1: "Probes rose with depth", -1: "Probes fell with depth", 0: "No trend of the probes with depth was shown"}[
            rising.sign
        ]
    ]
    if above.measured:
        parts.append(
            {
                1: "the deepest was better than on the pixels",
                -1: "the deepest was worse than on the pixels",
                0: "the deepest was not shown to differ from the pixels",
            }[above.sign]
        )
    if learned.measured:
        parts.append(
            {
                1: "they rose more than in untrained networks",
                -1: "they rose less than in untrained networks",
                0: "no difference in the rise was shown from untrained networks",
            }[learned.sign]
        )
    if more.measured:
        parts.append(
            {
                1: "without reduction they rose less",
                -1: "without reduction they rose more",
                0: "no difference in the rise was shown from networks without reduction",
            }[more.sign]
        )
    else:
        parts.append("not compared with networks without reduction")
    text = "; ".join(parts) + "."
    if rising.sign < 0:
        verdict = Verdict.HELD_NOT
    elif rising.sign == 0:
        verdict = Verdict.NOT_SHOWN
    else:
        verdict = Verdict.HELD if above.sign > 0 and learned.sign > 0 and more.sign > 0 else Verdict.IN_PART
    return Answer(IS_IT_SO, verdict, text, tuple(rows))


def _learned(records: Records, pooled: Sequence[str], nothing: Sequence[str], places: Sequence[str]) -> list[Row]:
    """Rise against level, deepest against pixels, trained against untrained, pooling against none: one question."""
    rise, still = measures.rise(places), measures.rise(places, trained=False)
    deep, pixels = measures.probe(places[-1]), measures.probe("pixels")

    def contrast(measure: Measure, other: Measure | None) -> Difference | None:
        one, names = records.group(pooled, measure)
        two = dict.fromkeys(one, 0.0) if other is None else records.group(names, other)[0]
        return records.contrast(one, two, names, measure)

    found = correct(
        [
            contrast(rise, None),
            contrast(deep, pixels),
            contrast(rise, still),
            records.difference(pooled, nothing, rise) if nothing else None,
        ]
    )
    labels = (
        ("Rise of the probe per stage", (POOLED, "with no rise")),
        (f"Probe at {places[-1]}", ("there", "on the pixels")),
        ("Rise of the probe per stage, trained", ("trained", "untrained")),
        ("Rise of the probe per stage, pooling", (POOLED, NONE)),
    )
    return [Row(what, sides, "share", 1, one) for (what, sides), one in zip(labels, found, strict=True)]
