"""matplotlib drawings as SVG that fits into a page: its colours follow the page's, and its names clash with no other's."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..messages import refuse

__all__ = ["BESIDE", "COLOURS", "LINES", "NAMED", "Style", "empty", "inline", "legend", "png", "style_of"]

# What matplotlib paints with is the light theme; in an SVG each of these is replaced by the page's variable of that name,
# so none may be equal to another. Light and dark were chosen for 4.5:1 against the page (greys 3:1), and apart for the
# common colour blindnesses; markers differ as well.
COLOURS = {
    "ink": "#1c2126", "soft": "#5b6670", "line": "#dfe3e6", "max": "#b84a00", "avg": "#0b5fa5", "blur": "#00734f",
    "strided": "#9b2f78", "other": "#87929a",
}  # fmt: skip
FONT = 10.0
WIDTH = 4.5


@dataclass(frozen=True)
class Style:
    """How a variant is drawn, wherever it is."""

    colour: str
    marker: str
    line: str
    strong: bool = True
    """Drawn with intervals and named in legends; the others are the grey crowd."""


STYLES = {
    "max2": Style(COLOURS["max"], "o", "-"),
    "avg2": Style(COLOURS["avg"], "s", "-"),
    "maxblur": Style(COLOURS["blur"], "^", "-"),
    "strided": Style(COLOURS["strided"], "D", "--"),
    "none": Style(COLOURS["ink"], "X", ":"),
}
CROWD = Style(COLOURS["other"], ".", "-", strong=False)


def style_of(name: str) -> Style:
    """The variant's own, or the crowd's."""
    return STYLES.get(name, CROWD)


def _matplotlib() -> Any:
    try:
        import matplotlib
    except ImportError as error:
        raise refuse(
            "study", "the report's figures need matplotlib", got=str(error), expected="matplotlib to be installed",
            hint="pip install 'poolwise[study]'",
        ) from None  # fmt: skip
    matplotlib.use("Agg")
    return matplotlib


SETTINGS = {
    "svg.fonttype": "none", "font.size": FONT, "axes.titlesize": FONT + 1, "axes.labelsize": FONT, "legend.fontsize": FONT - 0.5,
    "xtick.labelsize": FONT - 0.5, "ytick.labelsize": FONT - 0.5, "text.color": COLOURS["ink"], "axes.labelcolor": COLOURS["ink"],
    "xtick.color": COLOURS["soft"], "ytick.color": COLOURS["soft"], "xtick.labelcolor": COLOURS["ink"],
    "ytick.labelcolor": COLOURS["ink"], "axes.edgecolor": COLOURS["soft"], "grid.color": COLOURS["line"], "axes.grid": True,
    "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none", "axes.titleweight": "bold",
    "axes.titlelocation": "left", "lines.linewidth": 1.6,
}  # fmt: skip


LINES = (0.72, 0.1, 1.0, 0.3)
"""Left, right, bottom (with a legend) and top margin in inches."""
NAMED = (0.85, 0.1, 0.55, 0.3)
"""Names of variants to the left, no legend."""
BESIDE = (0.72, 0.95, 0.55, 0.3)
"""Names of variants to the right."""


def inline(
    key: str,
    label: str,
    height: float,
    paint: Callable[[Any], None],
    margins: tuple[float, float, float, float] = LINES,
) -> str:
    """One drawing as an ``<svg>`` element; ``key`` is unique in the page."""
    matplotlib = _matplotlib()
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**SETTINGS, "svg.hashsalt": key}):
        figure = Figure(figsize=(WIDTH, height))
        # Fixed, in inches: a layout engine draws everything twice, which is half of the time.
        left, right, bottom, top = margins
        figure.subplots_adjust(left / WIDTH, bottom / height, 1 - right / WIDTH, 1 - top / height)
        paint(figure.add_subplot())
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _adapted(stream.getvalue(), key, label)


def png(
    columns: int, paints: Sequence[Callable[[Any], None]], title: str, size: tuple[float, float], dpi: int
) -> bytes:
    """Several drawings as one picture on white."""
    matplotlib = _matplotlib()
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**SETTINGS, "figure.facecolor": "white", "savefig.facecolor": "white", "font.size": 9}):
        figure = Figure(figsize=size, layout="constrained")
        figure.suptitle(title, fontsize=11, fontweight="bold", x=0.01, ha="left")
        rows = -(-len(paints) // columns)
        for axes, paint in zip(figure.subplots(rows, columns, squeeze=False).flat, paints, strict=False):
            paint(axes)
        figure.get_layout_engine().set(hspace=0.06, wspace=0.06)  # type: ignore[union-attr, call-arg]
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    return stream.getvalue()


def _adapted(text: str, key: str, label: str) -> str:
    from html import escape

    text = text[text.index("<svg") :]
    box = re.search(r'viewBox="([^"]*)"', text)
    assert box is not None
    inside = text[text.index(">") + 1 :]
    inside = re.sub(r"<metadata>.*?</metadata>", "", inside, flags=re.DOTALL)
    inside = re.sub(r"<!--.*?-->", "", inside, flags=re.DOTALL)
    inside = re.sub(r'\bid="', f'id="{key}-', inside)
    inside = re.sub(r'href="#', f'href="#{key}-', inside).replace("xlink:href", "href")
    inside = inside.replace("url(#", f"url(#{key}-")
    # A rule in a document is the document's: matplotlib's would reach every other drawing. Its one says what joins look like.
    inside = re.sub(r"<style[^>]*>.*?</style>", "", inside, flags=re.DOTALL)
    inside = re.sub(r"font: ([^;\"]*?)'DejaVu Sans'[^;\"]*", r"font: \1system-ui, sans-serif", inside)
    for name, colour in COLOURS.items():
        inside = inside.replace(colour, f"var(--{name})")
    inside = re.sub(r"\n\s*", "\n", inside)
    return (
        f'<svg viewBox="{box[1]}" role="img" aria-label="{escape(label, quote=True)}" stroke-linejoin="round">{inside}'
    )


def legend(axes: Any) -> None:
    """Below the axes, so that it covers nothing; each name once."""
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    if unique:
        axes.legend(
            unique.values(), unique.keys(), loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=min(len(unique), 3),
            handlelength=1.8, columnspacing=1.2,
        )  # fmt: skip


def empty(axes: Any, why: str) -> None:
    """What stands where there is nothing to draw."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, why, ha="center", va="center", color=COLOURS["soft"], transform=axes.transAxes)
