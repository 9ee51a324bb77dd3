"""Pictures from the records: receptive-field maps with the theoretical field around them, and patches that units answer to."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .measures import Records
from .record import Run

__all__ = ["Map", "Strip", "field_maps", "patch_strips"]

SHOWN = ("max2", "avg2", "maxblur", "strided", "none")
"""One of each kind, where they are in the study; all of them would be a wall."""
MOST = 5
MOST_UNITS = 4
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Map:
    """An effective field; lengths are in pixels of the picture."""

    depth: str
    when: str
    url: str
    width: int
    height: int
    side: float
    """Of the square with its area."""
    theory: int | None
    box: tuple[float, float, float, float] | None
    """Of the theoretical field, in the middle: left, top, width, height; None where it covers everything or is not known."""


@dataclass(frozen=True)
class Strip:
    """Patches of one unit, side by side."""

    unit: int
    url: str
    count: int
    side: int


def _chosen(records: Records, found: dict[str, Run]) -> list[str]:
    first = [name for name in SHOWN if name in found]
    return (first + [name for name in found if name not in first])[:MOST]


def _firsts(records: Records, has: Any) -> dict[str, Run]:
    """The first run of each variant that has such pictures."""
    found: dict[str, Run] = {}
    for name in records.variants:
        runs = [run for run in records.runs if run.variant == name and has(run)]
        if runs:
            found[name] = min(runs, key=lambda run: run.seed)
    return found


def field_maps(records: Records) -> dict[str, list[Map]]:
    """By variant: before and after training, depth by depth."""
    found = _firsts(records, lambda run: any("map_after" in facts for facts in run.fields.values()))
    result = {}
    for name in _chosen(records, found):
        maps = []
        for depth in records.depths:
            facts = found[name].fields.get(depth, {})
            for when in ("before", "after"):
                rows = facts.get(f"map_{when}")
                if rows and rows[0] and facts.get(when) is not None:
                    maps.append(_map(rows, depth, when, float(facts[when]), records.depth(name, depth).receptive_field))
        if maps:
            result[name] = maps
    return result


def _map(rows: Sequence[Sequence[float]], depth: str, when: str, side: float, theory: int | None) -> Map:
    height, width = len(rows), len(rows[0])
    box = None
    if theory is not None and theory < max(height, width):
        across, down = min(theory, width), min(theory, height)
        box = ((width - across) / 2, (height - down) / 2, float(across), float(down))
    return Map(depth, when, _coloured(rows), width, height, side, theory, box)


def _coloured(rows: Sequence[Sequence[float]]) -> str:
    import numpy as np
    from matplotlib import colormaps
    from PIL import Image

    values = np.nan_to_num(np.asarray(rows, dtype=np.float64)).clip(0, 1)
    # The square root: of a field that falls off like a bell, all but the middle would be black.
    colours = colormaps["viridis"](np.sqrt(values), bytes=True)[..., :3]
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(colours)).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def patch_strips(records: Records) -> dict[str, dict[str, list[Strip]]]:
    """By variant and depth; what is no PNG is left out."""
    found = _firsts(records, lambda run: bool(run.patches))
    result: dict[str, dict[str, list[Strip]]] = {}
    for name in _chosen(records, found):
        depths = {}
        for depth in records.depths:
            strips = [strip for facts in found[name].patches.get(depth, [])[:MOST_UNITS] if (strip := _strip(facts))]
            if strips:
                depths[depth] = strips
        if depths:
            result[name] = depths
    return result


def _strip(facts: dict[str, Any]) -> Strip | None:
    try:
        data = base64.b64decode(facts["pictures"], validate=True)
        strip = Strip(
            int(facts["unit"]), f"data:image/png;base64,{facts['pictures']}", int(facts["count"]), int(facts["side"])
        )
    except (KeyError, TypeError, ValueError, binascii.Error):
        return None
    return strip if data.startswith(PNG) else None
