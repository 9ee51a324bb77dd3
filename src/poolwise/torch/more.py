"""Layers that torch does not have: min, median, blur and max-blur pooling."""

from __future__ import annotations

from typing import Any

import torch

from ..ops.blur import BLUR
from ..ops.median import MEDIAN
from ..ops.min import MIN
from ..recipes import max_blur_pool
from ..spec import Border, Ints, Padding, Request
from ._layer import Layer, SlidingLayer

__all__ = [
    "BlurPool2d",
    "MaxBlurPool2d",
    "MedianPool2d",
    "MinPool2d",
]

Tensor = torch.Tensor


class MinPool2d(SlidingLayer):
    """Min pooling of ``(N, C, H, W)`` or ``(C, H, W)``; the operator is `poolwise.min_pool`."""

    spatial = 2
    op = MIN
    shown = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")

    def forward(self, x: Tensor) -> Tensor:
        return self._pool(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    @classmethod
    def _ask(cls, x: Tensor, *windows: Any) -> Request:
        return cls._request(x, *windows)


class MedianPool2d(MinPool2d):
    """Median pooling of ``(N, C, H, W)`` or ``(C, H, W)``; the operator is `poolwise.median_pool`."""

    op = MEDIAN


class BlurPool2d(SlidingLayer):
    """Anti-aliased down-sampling of ``(N, C, H, W)`` or ``(C, H, W)``; the operator is `poolwise.blur_pool`."""

    spatial = 2
    op = BLUR
    shown = ("kernel_size", "stride", "padding", "border")

    def __init__(
        self, kernel_size: Ints = 3, stride: Ints = 2, padding: Padding | None = None, border: Border = "reflect"
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.border = border

    def forward(self, x: Tensor) -> Tensor:
        return self._pool(x, self.kernel_size, self.stride, self.padding, self.border)

    @classmethod
    def _ask(cls, x: Tensor, kernel_size: Ints, stride: Ints, padding: Padding | None, border: Border) -> Request:
        return cls._request(x, kernel_size, stride, padding, border=border)


class MaxBlurPool2d(Layer):
    """Max pooling that survives a shift, of ``(N, C, H, W)`` or ``(C, H, W)``; see `poolwise.max_blur_pool`."""

    spatial = 2
    shown = ("kernel_size", "stride", "filter_size", "padding", "border")

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

    def forward(self, x: Tensor) -> Tensor:
        self._check(x, "kernel_size", self.kernel_size)
        return max_blur_pool(
            x,
            self._each(self.kernel_size),
            stride=self.stride,
            filter_size=self.filter_size,
            padding=self.padding,
            ceil_mode=self.ceil_mode,
            border=self.border,
        )
