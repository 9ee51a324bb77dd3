"""What a network's windows do: reach and cost layer by layer, what a shift changes, what units answer to, overfitting."""

from __future__ import annotations

from .consistency import Agreement, Consistency, circular_consistency, compass, consistency, crop_consistency
from .curve import CurvePoint, balanced_order, learning_curve
from .effective import EffectiveField, effective_field, field_picture
from .features import Patch, UnitPatches, patch_sheet, top_patches
from .intervals import Estimate
from .probe import linear_probe
from .shifts import map_change, operator_change
from .tracing import Layer, Trace, Undecimated, inspect, trace
from .training import errors, fit

__all__ = [
    "Agreement", "Consistency", "CurvePoint", "EffectiveField", "Estimate", "Layer", "Patch", "Trace", "Undecimated",
    "UnitPatches", "balanced_order", "circular_consistency", "compass", "consistency", "crop_consistency",
    "effective_field", "errors", "field_picture", "fit", "inspect", "learning_curve", "linear_probe", "map_change",
    "operator_change", "patch_sheet", "top_patches", "trace",
]  # fmt: skip
