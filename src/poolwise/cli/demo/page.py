"""The demo's page: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
from typing import Any

from ...data import Photograph
from .photo import SLIDE, WINDOW, Panel, png
from .text import WHAT_A_SHIFT_IS, WHAT_COLUMNS_ARE, measures, rows, saved

__all__ = ["render"]


def render(facts: dict[str, Any], photo: Photograph, panels: list[Panel]) -> str:
    """The page as text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("poolwise.cli.demo", "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    shown = [_panel(panel) for panel in panels]
    nets = [
        {
            **measures(net),
            "kind": net["kind"],
            "rows": [_compact(row) for row in rows(net)],
            "saved": saved(net) if net["multiply_adds_at_stride_1"] else None,
        }
        for net in facts["nets"]
    ]
    return environment.get_template("index.html").render(
        facts=facts, nets=nets, photo=photo, window=WINDOW, slide=SLIDE, regions=shown[:3], sliding=shown[3:],
        bars=_bars(facts["nets"]), shift=WHAT_A_SHIFT_IS, columns=WHAT_COLUMNS_ARE,
    )  # fmt: skip


def _panel(panel: Panel) -> dict[str, Any]:
    data = base64.b64encode(png(panel.pixels)).decode()
    height, width = panel.pixels.shape[:2]
    boxes = panel.boxes if len(panel.boxes) < 10 else ()
    return {
        "title": panel.title, "note": panel.note, "url": f"data:image/png;base64,{data}", "width": width, "height": height,
        "boxes": boxes, "grid": WINDOW if len(panel.boxes) >= 10 else None,
    }  # fmt: skip


def _compact(row: dict[str, str]) -> dict[str, str]:
    """Sizes with a sign in place of the letter that terminals get: six columns must fit a phone."""
    return {name: text.replace(" x ", "\u00d7") for name, text in row.items()}


def _bars(nets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Multiply-adds per image as bars, the longest 100 wide."""
    bars = [{"label": net["title"], "value": net["multiply_adds"], "plain": False} for net in nets]
    first = nets[0]
    bars.insert(
        0, {"label": "pooling with every stride at 1", "value": first["multiply_adds_at_stride_1"], "plain": True}
    )
    longest = max(bar["value"] for bar in bars)
    return [{**bar, "share": 100 * bar["value"] / longest} for bar in bars]
