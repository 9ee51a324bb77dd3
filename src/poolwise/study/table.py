"""The study on the terminal, and as plain values."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from . import measures, wording
from .answers import Answer, Row
from .claims import judge, purposes, questions
from .measures import Records
from .record import Header, Run, Variant
from .statistics import FEWEST_SEEDS, Estimate

__all__ = ["as_dict", "show"]


def show(header: Header, variants: Sequence[Variant], runs: Iterable[Run], console: Any) -> None:
    """Print the table of variants and a line for each claim to a `rich.console.Console`."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    kept = list(runs)
    records = Records(header, variants, kept)
    table = Table(
        box=box.SIMPLE, pad_edge=False, padding=(0, 1, 0, 0), title=escape(_title(records)), title_justify="left"
    )
    table.add_column("variant", no_wrap=True)
    sign = _between(console.encoding)
    shift = "" if records.middle is None else f"\n{records.middle} px"
    for column in (
        "para-\nmeters",
        "multiply-\nadds",
        "step\nms",
        "test error\n%",
        "gap\npoints",
        f"crops %{shift}",
        f"rolled %{shift}",
    ):
        table.add_column(column, justify="right", overflow="fold")
    for name in records.variants:
        table.add_row(*(escape(_plain(cell).replace(BETWEEN, sign)) for cell in _cells(records, name)))
    console.print(table)
    if any(variant.family != "main" for variant in records.variants.values()):
        console.print("* a larger network: one more convolution a stage", highlight=False)
    if len(header.settings.seeds) < FEWEST_SEEDS:
        console.print(
            f"{wording.plural(len(header.settings.seeds), 'seed')}: nothing is compared, that takes at least {FEWEST_SEEDS}.",
            highlight=False,
        )
    console.print(f"{'claim':<24}{'against no reduction':<24}against a strided convolution", highlight=False)
    for claim in judge(header, variants, kept):
        console.print(f"{claim.name:<24}{claim.verdict.value:<24}{claim.beyond.value}", highlight=False, soft_wrap=True)
    for purpose in purposes(header, variants, kept):
        console.print(_plain(f"{purpose.name}: {purpose.answer}"), highlight=False, markup=False)


def as_dict(header: Header, variants: Sequence[Variant], runs: Iterable[Run]) -> dict[str, Any]:
    """What the report says, as plain values for JSON; shares are fractions, not percent.

    Parameters
    ----------
    header, variants, runs
        The records of one study, complete or not.

    Returns
    -------
    dict
        ``claims``, ``questions``, ``purposes`` and ``variants``.
    """
    kept = list(runs)
    records = Records(header, variants, kept)
    return {
        "claims": [
            {
                "key": claim.key, "claim": claim.claim, "measured": claim.measured, "verdict": claim.verdict.value,
                "more_than_strides": claim.beyond.value, "answers": [_answer(answer) for answer in claim.answers],
                "strength": list(claim.strength), "each": [_row(row) for row in claim.each], "caveats": list(claim.caveats),
            }
            for claim in judge(header, variants, kept)
        ],
        "questions": [
            {"question": one.name, "answer": one.answer, "note": one.note, "rows": [_row(row) for row in one.rows]}
            for one in questions(header, variants, kept)
        ],
        "purposes": [
            {
                "purpose": one.name, "measured": one.measured, "answer": one.answer,
                "order": [place.name for place in one.places], "first": [place.name for place in one.places if place.tied],
            }
            for one in purposes(header, variants, kept)
        ],
        "variants": [
            {
                "name": name,
                "test_error": _estimate(records.estimate(name, measures.test_error)),
                "gap": _estimate(records.estimate(name, measures.gap)),
            }
            for name in records.variants
        ],
    }  # fmt: skip


def _answer(answer: Answer) -> dict[str, Any]:
    return {
        "question": answer.question, "verdict": answer.verdict.value, "text": answer.text,
        "rows": [_row(row) for row in answer.rows],
    }  # fmt: skip


def _row(row: Row) -> dict[str, Any]:
    found = {"what": row.what, "first": row.sides[0], "second": row.sides[1], "unit": row.unit, "shown": row.sign}
    if row.counted is not None:
        return {**found, "values": list(row.counted)}
    if row.found is None:
        return {**found, "shown": None}
    one = row.found
    return {
        **found, "values": [one.first, one.second], "difference": one.mean, "interval": [one.low, one.high],
        "p_corrected": one.adjusted, "seeds": one.n, "spread": one.spread,
    }  # fmt: skip


def _estimate(found: Estimate | None) -> dict[str, Any] | None:
    return None if found is None else dataclasses.asdict(found)


def _title(records: Records) -> str:
    quick = ", quick run" if records.header.quick else ""
    done = "" if len(records.runs) >= records.planned else f", {len(records.runs)} of {records.planned} runs"
    spread = " and 95 % interval" if len(records.header.settings.seeds) >= FEWEST_SEEDS else ""
    return _plain(
        f"{records.header.data.name}: {wording.plural(records.main, 'training image')}, mean{spread}{quick}{done}"
    )


def _cells(records: Records, name: str) -> list[str]:
    variant = records.variants[name]
    wanted = [measures.test_error, measures.gap]
    if records.middle is not None:
        wanted += [measures.crops(records.middle), measures.circular(records.middle)]
    found = [_short(records.estimate(name, measure)) for measure in wanted]
    title = name if variant.family == "main" else f"{name}*"
    counted = (
        wording.counted(variant.multiply_adds, "count")
        .replace(" million", " M")
        .replace(" thousand", " k")
        .replace(" billion", " G")
    )
    return [title, f"{variant.parameters:,}", counted, f"{variant.train_ms:.1f}", *found, *["-"] * (4 - len(found))]


def _short(found: Estimate | None) -> str:
    """Half the interval's width in place of its ends: a line has no room for them."""
    if found is None:
        return "-"
    mean = wording.level(found.mean, "share").removesuffix(" %")
    return mean if found.high is None else f"{mean}{BETWEEN}{100 * (found.high - found.mean):.1f}"


BETWEEN = "\u00b1"


def _between(encoding: str) -> str:
    try:
        BETWEEN.encode(encoding)
    except (LookupError, UnicodeEncodeError):
        return "+-"
    return BETWEEN


def _plain(text: str) -> str:
    """Signs that every terminal has."""
    for sign, plain in {"\u2212": "-", "\u2013": "-", "\u2019": "'", "\u2018": "'"}.items():
        text = text.replace(sign, plain)
    return text
