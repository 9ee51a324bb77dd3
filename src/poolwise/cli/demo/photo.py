"""The demo's photograph, pooled in ways that show at a glance."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import pool
from ...data import Photograph

__all__ = ["WINDOW", "Panel", "figure", "panels", "png"]

WINDOW = 8
SLIDE = 2
CROP = (slice(42, 202), slice(112, 272))
"""Rows and columns of the photograph: the cat's right eye, 160 x 160."""
DETAIL = (slice(52, 76), slice(44, 68))
"""Rows and columns of the crop: where overlapping windows are shown enlarged, 24 x 24."""


@dataclass(frozen=True)
class Panel:
    """One picture with its title."""

    title: str
    note: str
    pixels: np.ndarray
    boxes: tuple[tuple[int, int, int], ...] = ()
    """Windows to draw on it: ``(row, column, size)`` in pixels."""


def panels(photo: Photograph) -> list[Panel]:
    """Two rows of three: the original with its windows drawn in, the maximum and the average of each window."""
    original = photo.pixels[CROP]
    rows, columns = original.shape[:2]
    regions = tuple((r, c, WINDOW) for r in range(0, rows, WINDOW) for c in range(0, columns, WINDOW))
    slide = tuple((8, 4 + SLIDE * step, WINDOW) for step in range(3))
    found = [Panel("Original", f"with its {WINDOW} x {WINDOW} regions", original, regions)]
    found += _pooled(original, WINDOW)
    note = f"three {WINDOW} x {WINDOW} windows in a row, {SLIDE} pixels apart"
    found.append(Panel("Detail of the original", note, original[DETAIL], slide))
    return found + _pooled(original, SLIDE)


def _pooled(original: np.ndarray, stride: int) -> list[Panel]:
    found = []
    for op, title in (("max", "Max pooling"), ("avg", "Average pooling")):
        small = pool(original, op, WINDOW, stride=stride, axes=(0, 1))
        size = f"{original.shape[0]} x {original.shape[1]} pixels become {small.shape[0]} x {small.shape[1]}"
        found.append(Panel(title, size, small))
    return found


def png(pixels: np.ndarray) -> bytes:
    """The pixels as a PNG file."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG")
    return stream.getvalue()


def figure(photo: Photograph) -> bytes:
    """All panels as one picture, a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(11, 8.6), dpi=120, facecolor="white")
    FigureCanvasAgg(drawing)
    grid: Any = drawing.subplots(2, 3)
    titles = (
        f"Non-overlapping regions: windows of {WINDOW} x {WINDOW}, stride {WINDOW}",
        f"Overlapping windows: {WINDOW} x {WINDOW}, stride {SLIDE}",
    )
    for axes, panel in zip(grid.flat, panels(photo), strict=True):
        rows, columns = panel.pixels.shape[:2]
        axes.imshow(panel.pixels, interpolation="nearest", extent=(0, columns, rows, 0))
        axes.set_title(panel.title, fontsize=13, pad=20, weight="bold")
        axes.text(0.5, 1.025, panel.note, transform=axes.transAxes, ha="center", fontsize=11)
        axes.set_axis_off()
        _draw_boxes(axes, panel)
    drawing.subplots_adjust(left=0.02, right=0.98, top=0.865, bottom=0.045, wspace=0.06, hspace=0.38)
    for title, axes in zip(titles, grid[:, 0], strict=True):
        top = axes.get_position().y1
        drawing.text(0.5, top + 0.085, title, ha="center", fontsize=15)
    drawing.text(0.02, 0.012, f"Photograph: {photo.name}; {photo.source}; {photo.licence}.", fontsize=8, color="0.35")
    stream = io.BytesIO()
    drawing.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _draw_boxes(axes: Any, panel: Panel) -> None:
    from matplotlib.patches import Rectangle

    few = len(panel.boxes) < 10
    for number, (row, column, size) in enumerate(panel.boxes):
        colour = ("#ffd400", "#ff5ad2", "#35e0ff")[number % 3] if few else "white"
        line, alpha = (3.0, 1.0) if few else (0.5, 0.45)
        axes.add_patch(Rectangle((column, row), size, size, fill=False, edgecolor=colour, linewidth=line, alpha=alpha))
