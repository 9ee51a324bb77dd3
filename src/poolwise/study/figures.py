"""The report's pictures. Every point has its seeds behind it; bars are the means' own 95 % intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from . import measures, wording
from .drawing import BESIDE, LINES, NAMED, inline, png
from .measures import Records
from .panels import (
    paint_change,
    paint_cost,
    paint_errors,
    paint_fields,
    paint_probes,
    paint_shifts,
    paint_sizes,
    paint_theory,
)
from .record import Header, Run, Variant

__all__ = ["Chart", "Panel", "charts", "main_figure"]

Paint = Callable[[Any], None]


@dataclass(frozen=True)
class Panel:
    """One drawing."""

    svg: str


@dataclass(frozen=True)
class Chart:
    """Drawings that are read together."""

    key: str
    title: str
    how: str
    """How to read them."""
    panels: tuple[Panel, ...]


def charts(header: Header, variants: Sequence[Variant], runs: Iterable[Run]) -> tuple[Chart, ...]:
    """All charts that there are records for."""
    records = Records(header, variants, runs)
    return tuple(
        chart for make in (_errors, _by_size, _by_shift, _changes, _costs, _fields, _probes) if (chart := make(records))
    )


def main_figure(header: Header, variants: Sequence[Variant], runs: Iterable[Run]) -> bytes:
    """A summary in six drawings: a PNG, 1600 pixels wide."""
    records = Records(header, variants, runs)
    last = records.depths[-1] if records.depths else ""
    paints: list[Paint] = [
        partial(paint_errors, records=records, size=records.main),
        partial(paint_sizes, records=records, measure=measures.gap, title="Gap: test minus training error"),
        partial(paint_shifts, records=records, kind=measures.crops, title="Same answer: crops"),
        partial(paint_shifts, records=records, kind=measures.circular, title="Same answer: rolled"),
        partial(paint_cost, records=records, field="multiply_adds", label="multiply-adds of an image, million", scale=1e-6),
        partial(paint_probes, records=records, trained=True) if last else partial(paint_cost, records=records, field="train_ms", label="training step, ms", scale=1.0),
    ]  # fmt: skip
    source, seeds = header.data, len(header.settings.seeds)
    title = f"{source.name[:40]}: {wording.plural(records.main, 'training image')}, {wording.plural(seeds, 'seed')}"
    return png(2, paints, title, (8.0, 10.4), 200)


def _drawing(
    key: str, label: str, paint: Paint, height: float = 3.7, margins: tuple[float, float, float, float] = LINES
) -> Panel:
    return Panel(inline(key, label, height, paint, margins))


def _errors(records: Records) -> Chart | None:
    sizes = [
        size
        for size in records.sizes
        if any(records.values(name, measures.test_error, size) for name in records.variants)
    ]
    if not sizes:
        return None
    ends = dict.fromkeys((sizes[-1], sizes[0]))
    height = 1.0 + 0.24 * len(records.variants)
    panels = [
        _drawing(f"errors{size}", f"Test error of each variant, {size:,} training images", partial(paint_errors, records=records, size=size), height, NAMED)
        for size in ends
    ]  # fmt: skip
    return Chart(
        "errors", "Test error",
        "Small dots are seeds, the mark is their mean, the bar the mean\u2019s own 95 % interval. Bars that overlap do not decide: "
        "seeds are pairs, and the tables compare them pair by pair. Below the line: networks with one more convolution a "
        "stage, to be compared with each other only.",
        tuple(panels),
    )  # fmt: skip


def _by_size(records: Records) -> Chart | None:
    if not records.sizes:
        return None
    wanted = (
        ("Test error", measures.test_error),
        ("Training error", measures.train_error),
        ("Gap: test minus training error", measures.gap),
    )
    panels = [
        _drawing(f"sizes{i}", f"{title} over the number of training images", partial(paint_sizes, records=records, measure=measure, title=title))
        for i, (title, measure) in enumerate(wanted)
    ]  # fmt: skip
    return Chart(
        "sizes", "Training images, error and gap",
        "All networks take the same number of steps, whatever the number of images. A small gap helps only where the test "
        "error is small as well. Bars are 95 % intervals of the means.",
        tuple(panels),
    )  # fmt: skip


def _by_shift(records: Records) -> Chart | None:
    if not any(run.crops or run.circular for run in records.runs):
        return None
    wanted = (("crops", "Two random crops", measures.crops), ("circular", "Rolled round", measures.circular))
    panels = [
        _drawing(key, f"Share of answers that stay, {title.lower()}", partial(paint_shifts, records=records, kind=kind, title=title))
        for key, title, kind in wanted
    ]  # fmt: skip
    return Chart(
        "shifts", "Answers that stay when the picture moves",
        "Higher is steadier. Crops lose what leaves the picture, as a camera does; rolling loses nothing, it tests the network "
        "alone. The two need not agree.",
        tuple(panels),
    )  # fmt: skip


def _changes(records: Records) -> Chart | None:
    depths = [depth for depth in records.depths if any(depth in run.map_change for run in records.runs)]
    panels = [
        _drawing(f"change{i}", f"Relative change of the map at {depth} over the shift", partial(paint_change, records=records, depth=depth))
        for i, depth in enumerate(depths)
    ]  # fmt: skip
    return None if not panels else Chart(
        "changes", "How much maps change inside",
        "Relative difference (L2) between a map of the picture and of the moved picture, position by position: lower is "
        "steadier. A finer map has more positions that can differ, so variants with other resolutions are not on one scale.",
        tuple(panels),
    )  # fmt: skip


def _costs(records: Records) -> Chart | None:
    if not records.runs or not records.names():
        return None
    wanted = (
        ("multiply_adds", "multiply-adds of an image, million", 1e-6),
        ("train_ms", "training step, ms", 1.0),
        ("activation_bytes", "all layers\u2019 outputs, KiB", 1 / 1024),
    )
    panels = [
        _drawing(f"cost{i}", f"Test error against {label}", partial(paint_cost, records=records, field=field, label=label, scale=scale), 3.4, BESIDE)
        for i, (field, label, scale) in enumerate(wanted)
    ]  # fmt: skip
    return Chart(
        "costs", "Cost against error",
        f"Left and low is good. {records.main:,} training images; bars are 95 % intervals of the means. Times are one median "
        "each, on one thread of this machine.",
        tuple(panels),
    )  # fmt: skip


def _fields(records: Records) -> Chart | None:
    if not records.depths:
        return None
    panels = [_drawing("theory", "Theoretical receptive field by depth", partial(paint_theory, records=records))]
    if any(run.fields for run in records.runs):
        panels += [
            _drawing(f"field{when}", f"Effective receptive field by depth, {when} training", partial(paint_fields, records=records, when=when))
            for when in ("before", "after")
        ]  # fmt: skip
    return Chart(
        "fields", "Receptive fields by depth",
        "Side of the square that one output can depend on (theoretical; dotted: the picture\u2019s side), and of the square with "
        "the area of what it does depend on (effective). The scales differ.",
        tuple(panels),
    )  # fmt: skip


def _probes(records: Records) -> Chart | None:
    if not any(run.probes for run in records.runs) or not records.depths:
        return None
    panels = [
        _drawing(f"probe{key}", f"Accuracy of linear probes by depth, {key} networks", partial(paint_probes, records=records, trained=trained))
        for key, trained in (("trained", True), ("untrained", False))
    ]  # fmt: skip
    return Chart(
        "probes", "Features by depth",
        "How well a linear classifier reads the class off each depth\u2019s features, and off the pixels themselves. What rises in "
        "trained networks and not in untrained ones was learned.",
        tuple(panels),
    )  # fmt: skip
