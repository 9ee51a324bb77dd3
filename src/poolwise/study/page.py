"""The report: one HTML file that needs nothing else and asks for nothing."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from ..messages import refuse
from . import figures, measures, pictures, wording
from .answers import Row
from .claims import judge, purposes, questions
from .measures import Records
from .record import Header, Run, Variant
from .statistics import ALPHA, FEWEST_SEEDS, Verdict

__all__ = ["command", "render"]

KINDS = {
    Verdict.HELD: "held", Verdict.IN_PART: "part", Verdict.HELD_NOT: "failed", Verdict.NOT_SHOWN: "open",
    Verdict.NOT_MEASURED: "open",
}  # fmt: skip
MANY_SEEDS = 5
FEW_CLASSES = 12
"""More names than this are counted and folded away."""


def render(header: Header, variants: Sequence[Variant], runs: Iterable[Run]) -> str:
    """The page as text, from whatever records there are.

    Parameters
    ----------
    header, variants, runs
        The records of one study, complete or not.

    Returns
    -------
    str
        HTML without scripts and without requests.

    Raises
    ------
    ValueError
        Where Jinja2 or matplotlib is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise refuse(
            "study", "the report needs Jinja2", got=str(error), expected="Jinja2 to be installed",
            hint="pip install 'poolwise[study]'",
        ) from None  # fmt: skip
    kept = list(runs)
    records = Records(header, variants, kept)
    environment = Environment(
        loader=PackageLoader("poolwise.study", "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(
        rows=_rows, kind=KINDS.get, verdict=wording.verdict_line, mark=wording.MARKS.get, counted=wording.counted,
        number=lambda value: f"{value:,}",
    )  # fmt: skip
    return environment.get_template("report.html").render(
        header=header, data=header.data, settings=header.settings, records=records, warnings=_warnings(records),
        claims=judge(header, variants, kept), purposes=purposes(header, variants, kept),
        questions=questions(header, variants, kept), charts=figures.charts(header, variants, kept),
        maps=pictures.field_maps(records), patches=pictures.patch_strips(records), table=_table(records),
        machine=_machine(header), command=command(header), alpha=ALPHA, fewest=FEWEST_SEEDS, few_classes=FEW_CLASSES,
        seconds=_seconds(records),
    )  # fmt: skip


def _rows(rows: Iterable[Row]) -> list[dict[str, str]]:
    """Comparisons as text, cell by cell."""
    return [_row(row) for row in rows]


def _row(row: Row) -> dict[str, str]:
    cells = {"what": row.what, "sides": f"{row.sides[0]} / {row.sides[1]}"}
    none = "\u2013"
    if row.counted is not None:
        first, second = (wording.counted(value, row.unit) for value in row.counted)
        how, same = ("timed once", "too close to say") if row.unit == "ms" else ("counted", "equal")
        outcome = f"{({1: 'higher', -1: 'lower', 0: same})[row.sign]}, {how}"
        return cells | {"pair": f"{first} / {second}", "difference": none, "p": none, "outcome": outcome}
    found = row.found
    if found is None:
        return cells | {"pair": none, "difference": none, "p": none, "outcome": "not compared: too few seeds"}
    half = found.high - found.mean
    first, second = (wording.level(value, row.unit, half=half) for value in (found.first, found.second))
    return cells | {
        "pair": f"{first} / {second}",
        "difference": f"{wording.step(found, row.unit)} ({wording.interval(found, row.unit)})",
        "p": f"{wording.probability(found.adjusted)}, {wording.plural(found.n, 'seed')}",
        "outcome": {1: "higher", -1: "lower", 0: Verdict.NOT_SHOWN.value}[found.sign],
    }


def _warnings(records: Records) -> list[str]:
    """What a reader must know before anything else."""
    settings, found = records.header.settings, []
    if records.header.quick:
        found.append(
            "This was a quick run: few steps on few images. Its numbers show that it works, not which pooling is good."
        )
    done = len(records.runs)
    if done < records.planned:
        found.append(f"This report is of an incomplete study: {done:,} of {records.planned:,} planned runs are done.")
    seeds = len(settings.seeds)
    if seeds < FEWEST_SEEDS:
        found.append(
            f"There {'is' if seeds == 1 else 'are'} only {wording.plural(seeds, 'seed')}, so nothing is compared: a difference "
            f"between networks cannot be told from one between seeds. That takes at least {FEWEST_SEEDS}."
        )
    elif seeds < MANY_SEEDS:
        found.append(
            f"From {seeds} seeds only large differences can be shown: here, \u201cno difference shown\u201d says little."
        )
    bad = sum(1 for run in records.runs if measures.finite(run) is False)
    if bad:
        found.append(f"{wording.plural(bad, 'run')} gave numbers that are not finite; those numbers are left out.")
    return found


def _table(records: Records) -> list[dict[str, Any]]:
    """Variants with what they cost and reach."""
    wanted = [(measures.test_error, " %"), (measures.gap, " points")]
    if records.middle is not None:
        wanted += [(measures.crops(records.middle), " %"), (measures.circular(records.middle), " %")]
    rows: list[dict[str, Any]] = []
    for name, variant in records.variants.items():
        texts = [wording.estimated(records.estimate(name, one), "share").replace(" %", unit) for one, unit in wanted]
        rows.append({
            "name": name, "title": variant.title, "family": variant.family, "parameters": f"{variant.parameters:,}",
            "multiply_adds": wording.counted(variant.multiply_adds, "count"), "memory": wording.counted(variant.activation_bytes, "bytes"),
            "train": wording.level(variant.train_ms, "ms"), "infer": wording.level(variant.infer_ms, "ms"),
            "found": [tuple(text.rstrip(")").partition(" (")[::2]) for text in [*texts, *["\u2013"] * (4 - len(texts))]],
            "seeds": str(len(records.values(name, measures.test_error))),
        })  # fmt: skip
    return rows


def _machine(header: Header) -> str:
    """As one line, whatever the machine's facts are called."""
    return ", ".join(f"{name} {value}" for name, value in header.machine.items() if name != "command")


def command(header: Header) -> str:
    """What to type to have this again: what was typed, or as much of it as the settings tell."""
    known = header.machine.get("command")
    if isinstance(known, str):
        return known
    settings, data = header.settings, header.data.name
    words = ["poolwise", "study", "--data", data, "--variants", ",".join(settings.variants)]
    words += ["--seeds", str(len(settings.seeds)), "--sizes", ",".join(map(str, settings.sizes))]
    words += ["--steps", str(settings.steps)]
    return shlex.join(words + (["--quick"] if header.quick else []))


def _seconds(records: Records) -> str:
    total = sum(run.seconds for run in records.runs)
    return f"{total / 60:.0f} minutes" if total >= 120 else f"{total:.0f} seconds"
