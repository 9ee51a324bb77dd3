"""The report's pictures. Every point has its seeds behind it; bars are the means' own 95 % intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from . import measures, wording
from .drawing import COLOURS, Style, empty, inline, legend, png, style_of
from .measures import Measure, Records
from .record import Header, Run, Variant
from .statistics import Estimate

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
        partial(_paint_errors, records=records, size=records.main),
        partial(_paint_sizes, records=records, measure=measures.gap, title="Gap: test minus training error"),
        partial(_paint_shifts, records=records, kind=measures.crops, title="Same answer: crops"),
        partial(_paint_shifts, records=records, kind=measures.circular, title="Same answer: rolled"),
        partial(_paint_cost, records=records, field="multiply_adds", label="multiply-adds of an image, million", scale=1e-6),
        partial(_paint_probes, records=records, trained=True) if last else partial(_paint_cost, records=records, field="train_ms", label="training step, ms", scale=1.0),
    ]  # fmt: skip
    source, seeds = header.data, len(header.settings.seeds)
    title = f"{source.name[:40]}: {wording.plural(records.main, 'training image')}, {wording.plural(seeds, 'seed')}"
    return png(2, paints, title, (8.0, 10.4), 200)


def _named(records: Records) -> list[str]:
    """The grey crowd first, so that it lies below."""
    return sorted(records.variants, key=lambda name: style_of(name).strong)


def _drawing(key: str, label: str, paint: Paint, height: float = 3.6) -> Panel:
    return Panel(inline(key, label, height, paint))


# Test error of each variant


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
        _drawing(f"errors{size}", f"Test error of each variant, {size:,} training images", partial(_paint_errors, records=records, size=size), height)
        for size in ends
    ]  # fmt: skip
    return Chart(
        "errors", "Test error",
        "Small dots are seeds, the mark is their mean, the bar the mean\u2019s own 95 % interval. Bars that overlap do not decide: "
        "seeds are pairs, and the tables compare them pair by pair. Below the line: networks with one more convolution a "
        "stage, to be compared with each other only.",
        tuple(panels),
    )  # fmt: skip


def _paint_errors(axes: Any, records: Records, size: int) -> None:
    found = {name: records.estimate(name, measures.test_error, size) for name in records.variants}
    known = {name: one for name, one in found.items() if one is not None}
    if not known:
        return empty(axes, "no runs yet")
    order = sorted(known, key=lambda name: (records.variants[name].family != "main", known[name].mean))
    for row, name in enumerate(order):
        style, one = style_of(name), known[name]
        values = [100 * value for value in records.values(name, measures.test_error, size).values()]
        colour = style.colour if style.strong else COLOURS["soft"]
        axes.plot(values, [row + 0.28] * len(values), ".", color=colour, alpha=0.6, markersize=4, markeredgewidth=0)
        if one.low is not None and one.high is not None:
            axes.hlines(row, 100 * one.low, 100 * one.high, color=colour, linewidth=2)
        axes.plot(100 * one.mean, row, style.marker if style.strong else "o", color=colour, markersize=6)
    main = sum(records.variants[name].family == "main" for name in order)
    if 0 < main < len(order):
        axes.axhline(main - 0.5, color=COLOURS["soft"], linewidth=0.8)
    axes.set_yticks(range(len(order)), order)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("test error, %")
    axes.set_title(f"Test error, {size:,} training images")
    return None


# Lines over training images, shifts and depth


def _lines(axes: Any, records: Records, xs: Sequence[float], values: Callable[[str, int], Any]) -> bool:
    """One line a variant; those with a colour of their own have intervals. Whether there was anything."""
    drawn = 0
    strong = [name for name in _named(records) if style_of(name).strong]
    for name in _named(records):
        style = style_of(name)
        found = [(x, values(name, i)) for i, x in enumerate(xs)]
        found = [(x, one) for x, one in found if one is not None]
        if not found:
            continue
        drawn += 1
        _line(axes, name, style, found, strong.index(name) - len(strong) / 2 if style.strong else 0, len(xs))
    if not drawn:
        empty(axes, "not measured")
    return bool(drawn)


def _line(axes: Any, name: str, style: Style, found: Sequence[tuple[float, Any]], offset: float, count: int) -> None:
    xs = [x for x, _ in found]
    ys = [one.mean for _, one in found]
    label = name if style.strong else "others"
    if not style.strong:
        axes.plot(
            xs, ys, style.line, marker=style.marker, color=style.colour, linewidth=0.8, alpha=0.8, label=label, zorder=1
        )
        return
    logarithmic = axes.get_xscale() == "log"
    # Beside each other, so that intervals do not cover each other.
    moved = [x * (1 + 0.02 * offset) if logarithmic else x + 0.012 * offset * max(count, 2) for x in xs]
    low = [one.mean - one.low if one.low is not None else 0 for _, one in found]
    high = [one.high - one.mean if one.high is not None else 0 for _, one in found]
    axes.errorbar(moved, ys, (low, high), color=style.colour, marker=style.marker, linestyle=style.line, markersize=5,
                  elinewidth=1, capsize=2, label=label, zorder=3)  # fmt: skip


def _percent(found: Any) -> Any:
    """An estimate in percent."""
    if found is None:
        return None
    low, high = (None if end is None else 100 * end for end in (found.low, found.high))
    return type(found)(100 * found.mean, None, found.n, low, high)


def _paint_sizes(axes: Any, records: Records, measure: Measure, title: str) -> None:
    sizes = records.sizes
    if len(sizes) > 1:
        axes.set_xscale("log")
    if _lines(axes, records, sizes, lambda name, i: _percent(records.estimate(name, measure, sizes[i]))):
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        axes.set_xlabel("training images")
        axes.set_ylabel("points" if measure is measures.gap else "%")
        legend(axes)
    axes.set_title(title)


def _by_size(records: Records) -> Chart | None:
    if not records.sizes:
        return None
    wanted = (
        ("Test error", measures.test_error),
        ("Training error", measures.train_error),
        ("Gap: test minus training error", measures.gap),
    )
    panels = [
        _drawing(f"sizes{i}", f"{title} over the number of training images", partial(_paint_sizes, records=records, measure=measure, title=title))
        for i, (title, measure) in enumerate(wanted)
    ]  # fmt: skip
    return Chart(
        "sizes", "Training images, error and gap",
        "All networks take the same number of steps, whatever the number of images. A small gap helps only where the test "
        "error is small as well. Bars are 95 % intervals of the means.",
        tuple(panels),
    )  # fmt: skip


def _paint_shifts(axes: Any, records: Records, kind: Callable[[int], Measure], title: str) -> None:
    shifts = records.shifts
    if _lines(axes, records, shifts, lambda name, i: _percent(records.estimate(name, kind(shifts[i])))):
        axes.set_xticks(shifts)
        axes.set_xlabel("shift, pixels")
        axes.set_ylabel("same answer, %")
        legend(axes)
    axes.set_title(title)


def _by_shift(records: Records) -> Chart | None:
    if not any(run.crops or run.circular for run in records.runs):
        return None
    wanted = (("crops", "Two random crops", measures.crops), ("circular", "Rolled round", measures.circular))
    panels = [
        _drawing(key, f"Share of answers that stay, {title.lower()}", partial(_paint_shifts, records=records, kind=kind, title=title))
        for key, title, kind in wanted
    ]  # fmt: skip
    return Chart(
        "shifts", "Answers that stay when the picture moves",
        "Higher is steadier. Crops lose what leaves the picture, as a camera does; rolling loses nothing, it tests the network "
        "alone. The two need not agree.",
        tuple(panels),
    )  # fmt: skip


def _paint_change(axes: Any, records: Records, depth: str) -> None:
    shifts = records.shifts
    if _lines(axes, records, shifts, lambda name, i: records.estimate(name, measures.change(depth, shifts[i]))):
        axes.set_xticks(shifts)
        axes.set_xlabel("shift, pixels")
        axes.set_ylabel("relative change")
        legend(axes)
    axes.set_title(depth)


def _changes(records: Records) -> Chart | None:
    depths = [depth for depth in records.depths if any(depth in run.map_change for run in records.runs)]
    panels = [
        _drawing(f"change{i}", f"Relative change of the map at {depth} over the shift", partial(_paint_change, records=records, depth=depth))
        for i, depth in enumerate(depths)
    ]  # fmt: skip
    return None if not panels else Chart(
        "changes", "How much maps change inside",
        "Relative difference (L2) between a map of the picture and of the moved picture, position by position: lower is "
        "steadier. A finer map has more positions that can differ, so variants with other resolutions are not on one scale.",
        tuple(panels),
    )  # fmt: skip


# Cost


def _paint_cost(axes: Any, records: Records, field: str, label: str, scale: float) -> None:
    points = []
    for name in records.names():
        one = records.estimate(name, measures.test_error)
        if one is not None:
            points.append((name, getattr(records.variants[name], field) * scale, _percent(one)))
    if not points:
        return empty(axes, "no runs yet")
    for name, x, one in points:
        style = style_of(name)
        colour = style.colour if style.strong else COLOURS["soft"]
        if one.low is not None:
            axes.vlines(x, one.low, one.high, color=colour, linewidth=1)
        axes.plot(x, one.mean, style.marker if style.strong else "o", color=colour, markersize=6)
    _beside(axes, [(name, x, one.mean) for name, x, one in points])
    axes.set_xlabel(label)
    axes.set_ylabel("test error, %")
    axes.set_title(label.split(",")[0][0].upper() + label.split(",")[0][1:])
    return None


def _beside(axes: Any, points: Sequence[tuple[str, float, float]]) -> None:
    """Names in a column to the right, in the order of the points' heights, each with a thin line to its point."""
    axes.margins(x=0.06)
    axes.set_xlim(0, None)
    low, high = axes.get_ylim()
    pad = 0.05 * (high - low)
    low, high = low - pad, high + pad
    axes.set_ylim(low, high)
    left, right = axes.get_xlim()
    ordered = sorted(points, key=lambda point: point[2])
    least = (high - low) / max(len(ordered), 12)
    places: list[float] = []
    for _, _, y in ordered:
        places.append(max(y, places[-1] + least) if places else max(y, low + least / 2))
    over = places[-1] - (high - least / 2)
    for i in range(len(places) - 1, -1, -1):  # pushed over the top: back down, as far as needed
        if over <= 0:
            break
        places[i] -= over
        over = 0 if i == 0 else places[i - 1] - (places[i] - least)
    axes.set_xlim(left, right)
    for (name, x, y), place in zip(ordered, places, strict=True):
        style = style_of(name)
        axes.annotate(
            name, (x, y), (1.05, place), textcoords=axes.get_yaxis_transform(), va="center", annotation_clip=False,
            color=style.colour if style.strong else COLOURS["ink"], fontsize=8.5,
            arrowprops={"arrowstyle": "-", "color": COLOURS["other"], "linewidth": 0.6, "shrinkA": 1, "shrinkB": 4},
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
        _drawing(f"cost{i}", f"Test error against {label}", partial(_paint_cost, records=records, field=field, label=label, scale=scale), 3.4)
        for i, (field, label, scale) in enumerate(wanted)
    ]  # fmt: skip
    return Chart(
        "costs", "Cost against error",
        f"Left and low is good. {records.main:,} training images; bars are 95 % intervals of the means. Times are one median "
        "each, on one thread of this machine.",
        tuple(panels),
    )  # fmt: skip


# Inside


def _paint_fields(axes: Any, records: Records, when: str) -> None:
    depths = records.depths
    if _lines(
        axes, records, range(len(depths)), lambda name, i: records.estimate(name, measures.field_side(depths[i], when))
    ):
        axes.set_xticks(range(len(depths)), depths)
        axes.set_ylabel("side, pixels")
        legend(axes)
    axes.set_title(f"Effective, {when} training")


def _paint_theory(axes: Any, records: Records) -> None:
    depths = records.depths

    def one(name: str, i: int) -> Any:
        size = records.depth(name, depths[i]).receptive_field
        return None if size is None else Estimate(float(size), None, 1)

    if _lines(axes, records, range(len(depths)), one):
        axes.axhline(min(records.header.data.shape[1:]), color=COLOURS["soft"], linewidth=0.8, linestyle=(0, (1, 2)))
        axes.set_xticks(range(len(depths)), depths)
        axes.set_ylabel("side, pixels")
        legend(axes)
    axes.set_title("Theoretical")


def _fields(records: Records) -> Chart | None:
    if not records.depths:
        return None
    panels = [_drawing("theory", "Theoretical receptive field by depth", partial(_paint_theory, records=records))]
    if any(run.fields for run in records.runs):
        panels += [
            _drawing(f"field{when}", f"Effective receptive field by depth, {when} training", partial(_paint_fields, records=records, when=when))
            for when in ("before", "after")
        ]  # fmt: skip
    return Chart(
        "fields", "Receptive fields by depth",
        "Side of the square that one output can depend on (theoretical; dotted: the picture\u2019s side), and of the square with "
        "the area of what it does depend on (effective). The scales differ.",
        tuple(panels),
    )  # fmt: skip


def _paint_probes(axes: Any, records: Records, trained: bool) -> None:
    depths = records.depths
    places = ["pixels", *depths]

    def one(name: str, i: int) -> Any:
        return _percent(records.estimate(name, measures.probe(places[i], trained=trained or i == 0)))

    if _lines(axes, records, range(len(places)), one):
        axes.set_xticks(range(len(places)), places)
        axes.set_ylabel("probe accuracy, %")
        legend(axes)
    axes.set_title("Probe by depth, " + ("trained" if trained else "untrained"))


def _probes(records: Records) -> Chart | None:
    if not any(run.probes for run in records.runs) or not records.depths:
        return None
    panels = [
        _drawing(f"probe{key}", f"Accuracy of linear probes by depth, {key} networks", partial(_paint_probes, records=records, trained=trained))
        for key, trained in (("trained", True), ("untrained", False))
    ]  # fmt: skip
    return Chart(
        "probes", "Features by depth",
        "How well a linear classifier reads the class off each depth\u2019s features, and off the pixels themselves. What rises in "
        "trained networks and not in untrained ones was learned.",
        tuple(panels),
    )  # fmt: skip
