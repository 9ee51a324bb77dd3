"""Layers that torch does not have: min, sum, median, blur and max-blur pooling.

All but the last take `mask`, `nan` and `empty` as `poolwise.torch.MaxPool2d` does.
"""

from __future__ import annotations

from typing import Any

import torch

from ..ops.blur import BLUR
from ..ops.median import MEDIAN
from ..ops.min import MIN
from ..ops.sum import SUM
from ..recipes import max_blur_pool
from ..spec import Border, Ints, Padding, Request
from ._layer import Layer, Missing, SlidingLayer

__all__ = [
    "BlurPool1d",
    "BlurPool2d",
    "BlurPool3d",
    "MaxBlurPool1d",
    "MaxBlurPool2d",
    "MaxBlurPool3d",
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

Tensor = torch.Tensor


class _WindowPool(SlidingLayer):
    """An operator of which nothing needs to be said but its windows. Padding may have any size: torch sets no limit."""

    shown = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")

    def forward(self, input: Tensor, *, mask: Tensor | None = None) -> Tensor:
        pool = self._pool if mask is None and self.nan == "propagate" else self._masking(mask, self.nan)
        return pool(input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.empty)

    @classmethod
    def _ask(cls, input: Tensor, *arguments: Any) -> Request:
        *windows, empty = arguments
        return cls._request(input, *windows, empty=empty)


class _MinPool(_WindowPool):
    op = MIN


class _SumPool(_WindowPool):
    op = SUM


class _MedianPool(_WindowPool):
    op = MEDIAN


class _BlurPool(SlidingLayer):
    op = BLUR
    shown = ("kernel_size", "stride", "padding", "border")
    centres = True

    def __init__(
        self,
        kernel_size: Ints = 3,
        stride: Ints = 2,
        padding: Padding | None = None,
        border: Border = "reflect",
        *,
        nan: Missing = "propagate",
        empty: float | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, nan=nan, empty=empty)
        self.border = border

    def forward(self, input: Tensor, *, mask: Tensor | None = None) -> Tensor:
        pool = self._pool if mask is None and self.nan == "propagate" else self._masking(mask, self.nan)
        return pool(input, self.kernel_size, self.stride, self.padding, self.border, self.empty)

    @classmethod
    def _ask(
        cls,
        input: Tensor,
        kernel_size: Ints,
        stride: Ints,
        padding: Padding | None,
        border: Border,
        empty: float | None,
    ) -> Request:
        return cls._request(input, kernel_size, stride, padding, border=border, empty=empty)


class _MaxBlurPool(Layer):
    shown = ("kernel_size", "stride", "filter_size", "padding", "border")
    more = ("ceil_mode",)
    ceil_mode: bool = False

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints = 2,
        filter_size: Ints = 3,
        padding: Padding = 0,
        ceil_mode: bool = False,
        border: Border = "reflect",
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride
        self.filter_size = filter_size
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.border = border

    def forward(self, input: Tensor) -> Tensor:
        windows = self.kernel_size, self.stride, self.filter_size, self.padding, self.ceil_mode
        return self._pool(input, *windows, self.border)

    @classmethod
    def _run(
        cls,
        input: Tensor,
        kernel_size: Ints,
        stride: Ints,
        filter_size: Ints,
        padding: Padding,
        ceil_mode: bool,
        border: Border,
    ) -> Tensor:
        window = cls._each(kernel_size)
        cls._check(input, "kernel_size", window)
        options = {"stride": stride, "filter_size": filter_size, "padding": padding, "border": border}
        return max_blur_pool(input, window, ceil_mode=ceil_mode, **options)


class MinPool1d(_MinPool):
    """Min pooling of ``(N, C, L)`` or ``(C, L)``; the operator is `poolwise.min_pool`."""

    spatial = 1


class MinPool2d(_MinPool):
    """Min pooling of ``(N, C, H, W)`` or ``(C, H, W)``; the operator is `poolwise.min_pool`."""

    spatial = 2


class MinPool3d(_MinPool):
    """Min pooling of ``(N, C, D, H, W)`` or ``(C, D, H, W)``; the operator is `poolwise.min_pool`."""

    spatial = 3


class SumPool1d(_SumPool):
    """Sum pooling of ``(N, C, L)`` or ``(C, L)``; the operator is `poolwise.sum_pool`."""

    spatial = 1


class SumPool2d(_SumPool):
    """Sum pooling of ``(N, C, H, W)`` or ``(C, H, W)``; the operator is `poolwise.sum_pool`."""

    spatial = 2


class SumPool3d(_SumPool):
    """Sum pooling of ``(N, C, D, H, W)`` or ``(C, D, H, W)``; the operator is `poolwise.sum_pool`."""

    spatial = 3


class MedianPool1d(_MedianPool):
    """Median pooling of ``(N, C, L)`` or ``(C, L)``; the operator is `poolwise.median_pool`."""

    spatial = 1


class MedianPool2d(_MedianPool):
    """Median pooling of ``(N, C, H, W)`` or ``(C, H, W)``; the operator is `poolwise.median_pool`."""

    spatial = 2


class MedianPool3d(_MedianPool):
    """Median pooling of ``(N, C, D, H, W)`` or ``(C, D, H, W)``; the operator is `poolwise.median_pool`."""

    spatial = 3


class BlurPool1d(_BlurPool):
    """Anti-aliased down-sampling of ``(N, C, L)`` or ``(C, L)``; the operator is `poolwise.blur_pool`."""

    spatial = 1


class BlurPool2d(_BlurPool):
    """Anti-aliased down-sampling of ``(N, C, H, W)`` or ``(C, H, W)``; the operator is `poolwise.blur_pool`."""

    spatial = 2


class BlurPool3d(_BlurPool):
    """Anti-aliased down-sampling of ``(N, C, D, H, W)`` or ``(C, D, H, W)``; the operator is `poolwise.blur_pool`."""

    spatial = 3


class MaxBlurPool1d(_MaxBlurPool):
    """Max pooling that survives a shift, of ``(N, C, L)`` or ``(C, L)``; see `poolwise.max_blur_pool`."""

    spatial = 1


class MaxBlurPool2d(_MaxBlurPool):
    """Max pooling that survives a shift, of ``(N, C, H, W)`` or ``(C, H, W)``; see `poolwise.max_blur_pool`."""

    spatial = 2


class MaxBlurPool3d(_MaxBlurPool):
    """Max pooling that survives a shift, of ``(N, C, D, H, W)`` or ``(C, D, H, W)``; see `poolwise.max_blur_pool`."""

    spatial = 3
