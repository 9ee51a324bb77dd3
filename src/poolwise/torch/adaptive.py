"""Adaptive windows under torch's names: a given number of bins per axis."""

from __future__ import annotations

from typing import Any

import torch

from ..ops.avg import AVG
from ..ops.max import MAX
from ._layer import AdaptiveLayer

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
]

Tensor = torch.Tensor


class _AdaptiveMaxPool(AdaptiveLayer):
    op = MAX

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size = output_size
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Any:
        return self._pool(input, self.output_size, self.return_indices)


class _AdaptiveAvgPool(AdaptiveLayer):
    op = AVG

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        return self._pool(input, self.output_size)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """Max pooling of ``(N, C, L)`` or ``(C, L)`` to a given length; parameters as `torch.nn.AdaptiveMaxPool1d`."""

    spatial = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """Max pooling of ``(N, C, H, W)`` or ``(C, H, W)`` to a given size; parameters as `torch.nn.AdaptiveMaxPool2d`."""

    spatial = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """Max pooling of ``(N, C, D, H, W)`` or ``(C, D, H, W)`` to a given size; as `torch.nn.AdaptiveMaxPool3d`."""

    spatial = 3


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """Average pooling of ``(N, C, L)`` or ``(C, L)`` to a given length; parameters as `torch.nn.AdaptiveAvgPool1d`."""

    spatial = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """Average pooling of ``(N, C, H, W)`` or ``(C, H, W)`` to a given size; as `torch.nn.AdaptiveAvgPool2d`.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> pt.AdaptiveAvgPool2d((None, 1))(torch.ones(1, 3, 5, 7)).shape
    torch.Size([1, 3, 5, 1])
    """

    spatial = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """Average pooling of ``(N, C, D, H, W)`` or ``(C, D, H, W)`` to a given size; as `torch.nn.AdaptiveAvgPool3d`."""

    spatial = 3
