"""The run as a picture: how near to the speed of memory everybody comes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..messages import refuse

__all__ = ["draw"]

Facts = dict[str, Any]
MOST_ROWS = 48
LEFT = 0.001
"""Slower than this is drawn at the edge."""
OURS_COLOUR = "#c2410c"
MARKS = "ovs^D<>pPX*"
COLOURS = ("#1d4ed8", "#0891b2", "#7c3aed", "#64748b", "#15803d", "#a16207", "#be185d", "#4d7c0f", "#334155", "#0f766e")


def _rows(cells: Sequence[Facts]) -> list[Facts]:
    timed = [cell for cell in cells if cell["status"] == "ok"]
    chosen = [cell for cell in timed if "headline" in cell["tags"]]
    return (chosen if len(chosen) >= 8 else timed)[:MOST_ROWS]


def _label(cell: Facts) -> str:
    shape = "x".join(map(str, cell["shape"]))
    mode = "" if cell["mode"] == "forward" else f" {'training step' if cell['mode'] == 'both' else cell['mode']}"
    return f"{cell['op']} {cell['windows']}{mode}, {cell['dtype']}, channels {cell['layout']}, {shape}"


def draw(report: Facts, path: str | Path) -> None:
    """Write an SVG: a row per cell, the big dot how much of the limit this package reaches, peers as marks.

    The limit is a copy of the same bytes (reading them, for global and adaptive windows) by as many threads. Shows
    the cells with the tag ``headline``, or the first that there are.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise refuse(
            "bench",
            "the picture needs matplotlib",
            got=f"{error}",
            expected="matplotlib to be installed",
            hint="pip install matplotlib, or leave out --svg",
        ) from None
    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    cells = _rows(report["cells"])
    names = list(dict.fromkeys(name for cell in cells for name in cell["peers"]))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "poolwise", "font.size": 9}):
        figure = Figure(figsize=(11, 2.0 + 0.27 * max(len(cells), 4)))
        axes = figure.add_subplot()
        _paint(axes, cells, names)
        _frame(axes, report, len(cells))
        figure.savefig(path, format="svg", metadata={"Date": None}, bbox_inches="tight")


def _paint(axes: Any, cells: Sequence[Facts], names: Sequence[str]) -> None:
    for row, cell in enumerate(cells):
        own, limit = cell["ratios"]["limit"], _limit(cell)
        axes.hlines(row, LEFT, own, color=OURS_COLOUR, linewidth=3, alpha=0.35)
        axes.plot(own, row, "o", color=OURS_COLOUR, markersize=10, zorder=4, label="poolwise" if row == 0 else None)
        beside = {"transform": axes.get_yaxis_transform(), "va": "center", "ha": "left"}
        axes.text(1.01, row, f"{own:.2f}", color=OURS_COLOUR, fontweight="bold", **beside)
        ratio = cell["ratios"]["best"]
        if ratio is not None:
            axes.text(1.07, row, f"{ratio:.1f}x {cell['ratios']['best_peer']}", color="#475569", **beside)
        for index, name in enumerate(names):
            entry = cell["peers"].get(name, {})
            if "median_ms" in entry:
                axes.plot(
                    max(limit / entry["median_ms"], LEFT),
                    row,
                    MARKS[index % len(MARKS)],
                    color=COLOURS[index % len(COLOURS)],
                    markersize=6,
                    markeredgecolor="white",
                    markeredgewidth=0.6,
                    zorder=3,
                )
    for index, name in enumerate(names):
        mark, colour = MARKS[index % len(MARKS)], COLOURS[index % len(COLOURS)]
        axes.plot([], [], mark, color=colour, markersize=6, label=name)


def _limit(cell: Facts) -> float:
    name = "read" if cell["ratios"]["read"] is not None else "copy"
    return cell["limits"][name]["median_ms"]


def _frame(axes: Any, report: Facts, rows: int) -> None:
    machine = report["machine"]
    axes.set_yticks(range(rows), [_label(cell) for cell in _rows(report["cells"])])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(LEFT * 0.9, max(1.4, 1.2 * axes.dataLim.x1))
    axes.set_xticks([0.001, 0.01, 0.1, 1.0], ["0.001", "0.01", "0.1", "1"])
    axes.axvline(1.0, color="black", linewidth=1)
    axes.grid(axis="x", which="both", color="#e2e8f0", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.set_xlabel(
        "speed as a fraction of a plain copy of the same bytes: 1 is the memory's own speed\n"
        "right: poolwise's fraction, and how many times as fast as the best peer it is"
    )
    busy = report["summary"]["busy"]
    warning = f"\nNOT TO BE TRUSTED: other programs were busy in {busy} cells" if busy else ""
    changed = " (changed)" if machine["git"]["changed"] else ""
    revision = (machine["git"]["revision"] or "no revision")[:10]
    axes.set_title(
        f"Pooling on {machine['cpu']}, {machine['threads']} threads; poolwise {machine['poolwise']}, "
        f"{revision}{changed}, {machine['date'][:10]}{warning}",
        loc="right",
        fontsize=10,
    )
    axes.legend(loc="upper center", bbox_to_anchor=(0.3, -0.75 / (0.27 * max(rows, 4))), ncols=6, frameon=False)
