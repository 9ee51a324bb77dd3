"""Pooling layers for PyTorch. The functions of `poolwise` take tensors as they are, with autograd."""

from __future__ import annotations

from . import _framework  # noqa: F401 - tells torch.compile of poolwise before a call is traced
from .adaptive import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
)
from .conversion import convert as convert
from .conversion import revert as revert
from .more import BlurPool2d, MaxBlurPool2d, MedianPool2d, MinPool2d
from .sliding import AvgPool1d, AvgPool2d, AvgPool3d, LPPool1d, LPPool2d, LPPool3d, MaxPool1d, MaxPool2d, MaxPool3d

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BlurPool2d",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "MaxBlurPool2d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MedianPool2d",
    "MinPool2d",
]
