"""What a network's windows do: shapes, reach and cost layer by layer, and what a shift of the input changes."""

from __future__ import annotations

from .consistency import Agreement, Consistency, circular_consistency, compass, consistency, crop_consistency
from .effective import EffectiveField, effective_field, field_picture
from .features import Patch, UnitPatches, patch_sheet, top_patches
from .intervals import Estimate
from .probe import linear_probe
from .shifts import map_change, operator_change
from .trace import Layer, Trace, trace, undecimated
from .training import errors, fit

__all__ = [
    "Agreement", "Consistency", "EffectiveField", "Estimate", "Layer", "Patch", "Trace", "UnitPatches",
    "circular_consistency", "compass", "consistency", "crop_consistency", "effective_field", "errors", "field_picture",
    "fit", "linear_probe", "map_change", "operator_change", "patch_sheet", "top_patches", "trace", "undecimated",
]  # fmt: skip
