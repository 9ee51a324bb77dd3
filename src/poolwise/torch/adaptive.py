"""Adaptive windows under torch's names: a given number of bins per axis.

`mask`, `nan`, `empty` and `output` are more than torch has, and as in `poolwise.torch.MaxPool2d`.
"""

from __future__ import annotations

from typing import Any

import torch

from ..ops.avg import AVG
from ..ops.max import MAX
from ..spec import Request
from ._layer import AdaptiveLayer, Missing, Output, finds_of

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
    more = ("output", *AdaptiveLayer.more)
    output: Output = "values"

    def __init__(
        self,
        output_size: Any,
        return_indices: bool = False,
        *,
        output: Output = "values",
        nan: Missing = "propagate",
        empty: float | None = None,
    ) -> None:
        super().__init__(output_size, nan, empty)
        self.return_indices = return_indices
        self.output = output

    def forward(self, input: Tensor, *, mask: Tensor | None = None) -> Any:
        pool = self._pool if mask is None and self.nan == "propagate" else self._masking(mask, self.nan)
        return pool(input, self.output_size, self.return_indices, self.output, self.empty)

    @classmethod
    def _ask(
        cls, input: Tensor, output_size: Any, return_indices: bool, output: Output, empty: float | None
    ) -> Request:
        return super()._ask(input, output_size, empty, finds_of(cls.__name__, return_indices, output))


class _AdaptiveAvgPool(AdaptiveLayer):
    op = AVG

    def __init__(self, output_size: Any, *, nan: Missing = "propagate", empty: float | None = None) -> None:
        super().__init__(output_size, nan, empty)

    def forward(self, input: Tensor, *, mask: Tensor | None = None) -> Tensor:
        pool = self._pool if mask is None and self.nan == "propagate" else self._masking(mask, self.nan)
        return pool(input, self.output_size, self.empty)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """Max pooling of ``(N, C, L)`` or ``(C, L)`` to a given length; parameters as `torch.nn.AdaptiveMaxPool1d`."""

    spatial = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """Max pooling of ``(N, C, H, W)`` or ``(C, H, W)`` to a given size; parameters as `torch.nn.AdaptiveMaxPool2d`.

    The digits of offsets are to the base of the largest bin's length. In graphs, which may not know it, offsets are int64.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> pt.AdaptiveMaxPool2d((1, 2), output="values_and_offsets")(torch.tensor([[[1.0, 5.0, 2.0, 3.0]]]))
    (tensor([[[5., 3.]]]), tensor([[[1, 1]]], dtype=torch.uint8))
    """

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
    >>> pt.AdaptiveAvgPool2d(1, nan="omit")(torch.tensor([[[1.0, float("nan"), 3.0]]]))
    tensor([[[2.]]])
    """

    spatial = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """Average pooling of ``(N, C, D, H, W)`` or ``(C, D, H, W)`` to a given size; as `torch.nn.AdaptiveAvgPool3d`."""

    spatial = 3
