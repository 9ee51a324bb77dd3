"""Pooling layers for PyTorch. The functions of `poolwise` take tensors as they are, with autograd.

Any number of axes has its layers: `MaxPool4d` and so on are made when they are first asked for. Their functions are in
`poolwise.torch.functional`. Errors are `TorchPoolError`, a `ValueError` and a `RuntimeError`, or `TorchPoolTypeError`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from . import _framework  # noqa: F401 - tells torch.compile of poolwise before a call is traced
from . import functional as functional
from ._layer import TorchPoolError as TorchPoolError
from ._layer import TorchPoolTypeError as TorchPoolTypeError
from ._layer import with_axes
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
from .fractional import FractionalMaxPool1d, FractionalMaxPool2d, FractionalMaxPool3d
from .more import (
    BlurPool1d,
    BlurPool2d,
    BlurPool3d,
    MaxBlurPool1d,
    MaxBlurPool2d,
    MaxBlurPool3d,
    MedianPool1d,
    MedianPool2d,
    MedianPool3d,
    MinPool1d,
    MinPool2d,
    MinPool3d,
    SumPool1d,
    SumPool2d,
    SumPool3d,
)
from .sliding import AvgPool1d, AvgPool2d, AvgPool3d, LPPool1d, LPPool2d, LPPool3d, MaxPool1d, MaxPool2d, MaxPool3d
from .unpool import MaxUnpool1d, MaxUnpool2d, MaxUnpool3d

if TYPE_CHECKING:
    from ..instruments import inspect as inspect

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
    "BlurPool1d",
    "BlurPool2d",
    "BlurPool3d",
    "FractionalMaxPool1d",
    "FractionalMaxPool2d",
    "FractionalMaxPool3d",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "MaxBlurPool1d",
    "MaxBlurPool2d",
    "MaxBlurPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
    "MedianPool1d",
    "MedianPool2d",
    "MedianPool3d",
    "MinPool1d",
    "MinPool2d",
    "MinPool3d",
    "SumPool1d",
    "SumPool2d",
    "SumPool3d",
]


def __getattr__(name: str) -> Any:
    """The layer of this name for more than three axes; the same class every time. And `inspect`, a tool that stands on all of
    this, and so is fetched when it is asked for."""
    if name == "inspect":
        from ..instruments import inspect

        return inspect
    found = re.fullmatch(r"(\w+ool)(\d{1,2})d", name)
    layer = found and globals().get(f"{found[1]}3d")
    if not layer or not 3 < int(found[2]) <= functional.MOST_AXES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return with_axes(layer, int(found[2]))
