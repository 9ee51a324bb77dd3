"""What is painted into one pair of axes, for the report's charts and the summary alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import measures
from .drawing import COLOURS, Style, empty, legend, style_of
from .measures import Measure, Records
from .statistics import Estimate

__all__ = [
    "paint_change",
    "paint_cost",
    "paint_errors",
    "paint_fields",
    "paint_probes",
    "paint_shifts",
    "paint_sizes",
    "paint_theory",
]


def _named(records: Records) -> list[str]:
    """The grey crowd first, so that it lies below."""
    return sorted(records.variants, key=lambda name: style_of(name).strong)


def paint_errors(axes: Any, records: Records, size: int) -> None:
    """Every seed, the mean and its interval, a row for each variant, best first."""
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


def paint_sizes(axes: Any, records: Records, measure: Measure, title: str) -> None:
    """A measure over the number of training images."""
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


def paint_shifts(axes: Any, records: Records, kind: Callable[[int], Measure], title: str) -> None:
    """Answers that stay, over the shift."""
    shifts = records.shifts
    if _lines(axes, records, shifts, lambda name, i: _percent(records.estimate(name, kind(shifts[i])))):
        axes.set_xticks(shifts)
        axes.set_xlabel("shift, pixels")
        axes.set_ylabel("same answer, %")
        legend(axes)
    axes.set_title(title)


def paint_change(axes: Any, records: Records, depth: str) -> None:
    """How much the maps of one depth change, over the shift."""
    shifts = records.shifts
    if _lines(axes, records, shifts, lambda name, i: records.estimate(name, measures.change(depth, shifts[i]))):
        axes.set_xticks(shifts)
        axes.set_xlabel("shift, pixels")
        axes.set_ylabel("relative change")
        legend(axes)
    axes.set_title(depth)


def paint_cost(axes: Any, records: Records, field: str, label: str, scale: float) -> None:
    """Test error over one cost, names to the right."""
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


def paint_fields(axes: Any, records: Records, when: str) -> None:
    """Sides of effective fields by depth."""
    depths = records.depths
    if _lines(
        axes, records, range(len(depths)), lambda name, i: records.estimate(name, measures.field_side(depths[i], when))
    ):
        axes.set_xticks(range(len(depths)), depths)
        axes.set_ylabel("side, pixels")
        legend(axes)
    axes.set_title(f"Effective, {when} training")


def paint_theory(axes: Any, records: Records) -> None:
    """Theoretical fields by depth."""
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


def paint_probes(axes: Any, records: Records, trained: bool) -> None:
    """Probes from the pixels to the deepest place."""
    depths = records.depths
    places = ["pixels", *depths]

    def one(name: str, i: int) -> Any:
        return _percent(records.estimate(name, measures.probe(places[i], trained=trained or i == 0)))

    if _lines(axes, records, range(len(places)), one):
        axes.set_xticks(range(len(places)), places)
        axes.set_ylabel("probe accuracy, %")
        legend(axes)
    axes.set_title("Probe by depth, " + ("trained" if trained else "untrained"))
