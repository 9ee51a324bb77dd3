"""Sliding windows under torch's names: max, average and power-average pooling."""

from __future__ import annotations

import math
from typing import Any

import torch

from ..ops.avg import AVG, AvgParams
from ..ops.lp import LP, LpParams
from ..ops.max import MAX
from ..spec import Ints, Padding, Request
from ._layer import SlidingLayer

__all__ = [
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
]

Tensor = torch.Tensor


class _MaxPool(SlidingLayer):
    op = MAX
    shown = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Padding = 0,
        dilation: Ints = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)
        self.return_indices = return_indices

    def forward(self, x: Tensor) -> Any:
        windows = self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode
        return self._pool(x, *windows, self.return_indices)

    @classmethod
    def _ask(
        cls,
        x: Tensor,
        kernel_size: Ints,
        stride: Ints | None,
        padding: Padding,
        dilation: Ints,
        ceil_mode: bool,
        return_indices: bool,
    ) -> Request:
        cls._limit_padding(kernel_size, padding, dilation)
        # torch pads with -inf: a dilated window that sees padding only gives that.
        empty = None if return_indices or not x.is_floating_point() else -math.inf
        indices = bool(return_indices)
        return cls._request(x, kernel_size, stride, padding, dilation, ceil_mode, indices=indices, empty=empty)


class MaxPool1d(_MaxPool):
    """Max pooling of ``(N, C, L)`` or ``(C, L)``; parameters as `torch.nn.MaxPool1d`, operator as `poolwise.max_pool`.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> pt.MaxPool1d(2)(torch.tensor([[3.0, 1.0, 4.0, 1.0]]))
    tensor([[3., 4.]])
    """

    spatial = 1


class MaxPool2d(_MaxPool):
    """Max pooling of ``(N, C, H, W)`` or ``(C, H, W)``; parameters as `torch.nn.MaxPool2d`, operator as
    `poolwise.max_pool`.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> pt.MaxPool2d(3, stride=2, padding=1)(torch.zeros(1, 8, 32, 32)).shape
    torch.Size([1, 8, 16, 16])
    """

    spatial = 2


class MaxPool3d(_MaxPool):
    """Max pooling of ``(N, C, D, H, W)`` or ``(C, D, H, W)``; parameters as `torch.nn.MaxPool3d`."""

    spatial = 3


class _AvgPool(SlidingLayer):
    op = AVG
    shown = ("kernel_size", "stride", "padding")

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode=ceil_mode)
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, x: Tensor) -> Tensor:
        windows = self.kernel_size, self.stride, self.padding, self.ceil_mode
        return self._pool(x, *windows, self.count_include_pad, self.divisor_override)

    @classmethod
    def _ask(
        cls,
        x: Tensor,
        kernel_size: Ints,
        stride: Ints | None,
        padding: Padding,
        ceil_mode: bool,
        include: bool,
        divisor: int | None,
    ) -> Request:
        cls._limit_padding(kernel_size, padding)
        # torch pads with zeros: where they count, a window that sees padding only has a mean of 0.
        empty = 0.0 if include else None
        more = {"params": AvgParams(divisor), "count_include_pad": include, "empty": empty}
        return cls._request(x, kernel_size, stride, padding, ceil_mode=ceil_mode, **more)


class AvgPool1d(_AvgPool):
    """Average pooling of ``(N, C, L)`` or ``(C, L)``; parameters as `torch.nn.AvgPool1d`."""

    spatial = 1

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)


class AvgPool2d(_AvgPool):
    """Average pooling of ``(N, C, H, W)`` or ``(C, H, W)``; parameters as `torch.nn.AvgPool2d`, operator as
    `poolwise.avg_pool`.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> pt.AvgPool2d(2)(torch.arange(4.0).reshape(1, 2, 2))
    tensor([[[1.5000]]])
    """

    spatial = 2


class AvgPool3d(_AvgPool):
    """Average pooling of ``(N, C, D, H, W)`` or ``(C, D, H, W)``; parameters as `torch.nn.AvgPool3d`."""

    spatial = 3


class _LPPool(SlidingLayer):
    op = LP
    shown = ("norm_type", "kernel_size", "stride", "ceil_mode")

    def __init__(
        self, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False
    ) -> None:
        super().__init__(kernel_size, stride, ceil_mode=ceil_mode)
        self.norm_type = norm_type
        self.stride = stride  # as torch's layer, which keeps None

    def forward(self, x: Tensor) -> Tensor:
        return self._pool(x, self.norm_type, self.kernel_size, self.stride, self.ceil_mode)

    @classmethod
    def _ask(cls, x: Tensor, norm_type: float, kernel_size: Ints, stride: Ints | None, ceil_mode: bool) -> Request:
        odd = math.isfinite(norm_type) and norm_type % 2 == 1
        params = LpParams(norm_type, signed=odd, rescale=ceil_mode)
        return cls._request(x, kernel_size, stride, ceil_mode=ceil_mode, params=params)


class LPPool1d(_LPPool):
    """Power-average pooling of ``(N, C, L)`` or ``(C, L)``; parameters as `torch.nn.LPPool1d`.

    Equal to torch wherever torch is finite and its powers do not overflow: odd powers keep their sign (p = 1 is sum
    pooling), and in ceil mode the windows that the edge cuts weigh as whole ones. Where torch gives NaN, this gives
    the real root (odd p) or the norm (fractional p). `poolwise.lp_pool` is the norm itself.
    """

    spatial = 1


class LPPool2d(_LPPool):
    """Power-average pooling of ``(N, C, H, W)`` or ``(C, H, W)``; parameters as `torch.nn.LPPool2d`, see `LPPool1d`.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> pt.LPPool2d(2, 2)(torch.tensor([[[3.0, 4.0], [0.0, 0.0]]]))
    tensor([[[5.]]])
    """

    spatial = 2


class LPPool3d(_LPPool):
    """Power-average pooling of ``(N, C, D, H, W)`` or ``(C, D, H, W)``; see `LPPool1d`."""

    spatial = 3
