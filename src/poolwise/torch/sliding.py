"""Sliding windows under torch's names: max, average and power-average pooling.

Parameters after the star are more than torch has: padding per side and ``"same"``, dilation, and padding of any size.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from ..messages import refuse_type
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
    more = ("any_padding",)

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Padding = 0,
        dilation: Ints = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
        *,
        any_padding: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode, any_padding)
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Any:
        return self._pool(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.return_indices,
            self.any_padding,
        )

    @classmethod
    def _ask(
        cls,
        input: Tensor,
        kernel_size: Ints,
        stride: Ints | None,
        padding: Padding,
        dilation: Ints,
        ceil_mode: bool,
        return_indices: bool,
        any_padding: bool,
    ) -> Request:
        windows = kernel_size, stride, padding, dilation, ceil_mode, any_padding
        # torch pads with the lowest value: a window that sees padding only gives that, though it has no index.
        empty = None if return_indices else _lowest(input)
        return cls._request(input, *windows, indices=bool(return_indices), empty=empty)


def _lowest(x: Tensor) -> float | None:
    dtype = getattr(x, "dtype", None)
    if not isinstance(dtype, torch.dtype) or dtype.is_complex:
        return None
    if dtype.is_floating_point:
        return -math.inf
    return 0.0 if dtype is torch.bool else float(torch.iinfo(dtype).min)


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

    `padding` may also be ``"same"``, ``"same_lower"`` or a ``(low, high)`` pair per axis, and of any size with
    ``any_padding=True``.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> pt.MaxPool2d(3, stride=2, padding=1)(torch.zeros(1, 8, 32, 32)).shape
    torch.Size([1, 8, 16, 16])
    >>> pt.MaxPool2d(3, stride=2, padding="same")(torch.zeros(1, 8, 31, 32)).shape
    torch.Size([1, 8, 16, 16])
    """

    spatial = 2


class MaxPool3d(_MaxPool):
    """Max pooling of ``(N, C, D, H, W)`` or ``(C, D, H, W)``; parameters as `torch.nn.MaxPool3d`, see `MaxPool2d`."""

    spatial = 3


class _AvgPool(SlidingLayer):
    op = AVG
    shown = ("kernel_size", "stride", "padding")
    more = ("dilation", "any_padding")
    divisor_override: int | None = None

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
        *,
        dilation: Ints = 1,
        any_padding: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode, any_padding)
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        return self._pool(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
            self.dilation,
            self.any_padding,
        )

    @classmethod
    def _ask(
        cls,
        input: Tensor,
        kernel_size: Ints,
        stride: Ints | None,
        padding: Padding,
        ceil_mode: bool,
        include: bool,
        divisor: int | None,
        dilation: Ints,
        any_padding: bool,
    ) -> Request:
        if isinstance(divisor, (bool, float)):
            raise refuse_type(
                cls.__name__,
                "divisor_override is not an int",
                got=f"divisor_override={divisor!r}",
                expected="an int other than 0, or None",
                hint="divisor_override=2",
            )
        windows = kernel_size, stride, padding, dilation, ceil_mode, any_padding
        # torch pads with zeros: where they count, a window that sees padding only has a mean of 0.
        empty = 0.0 if include else None
        more = {"params": AvgParams(divisor), "count_include_pad": include, "empty": empty}
        return cls._request(input, *windows, **more)


class AvgPool1d(_AvgPool):
    """Average pooling of ``(N, C, L)`` or ``(C, L)``; parameters as `torch.nn.AvgPool1d`, see `AvgPool2d`."""

    spatial = 1
    more = ("divisor_override", *_AvgPool.more)

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        *,
        divisor_override: int | None = None,
        dilation: Ints = 1,
        any_padding: bool = False,
    ) -> None:
        super().__init__(
            self._tuple(kernel_size),
            self._tuple(kernel_size if stride is None else stride),
            padding if isinstance(padding, str) else self._tuple(padding),
            ceil_mode,
            count_include_pad,
            divisor_override,
            dilation=dilation,
            any_padding=any_padding,
        )


class AvgPool2d(_AvgPool):
    """Average pooling of ``(N, C, H, W)`` or ``(C, H, W)``; parameters as `torch.nn.AvgPool2d`, operator as
    `poolwise.avg_pool`.

    More than torch has: `dilation`, padding as in `MaxPool2d`, and integers, whose means are exact and rounded.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> pt.AvgPool2d(2)(torch.arange(4.0).reshape(1, 2, 2))
    tensor([[[1.5000]]])
    """

    spatial = 2


class AvgPool3d(_AvgPool):
    """Average pooling of ``(N, C, D, H, W)`` or ``(C, D, H, W)``; as `torch.nn.AvgPool3d`, see `AvgPool2d`."""

    spatial = 3


class _LPPool(SlidingLayer):
    op = LP
    shown = ("norm_type", "kernel_size", "stride", "ceil_mode")
    more = ("padding", "dilation", "any_padding")

    def __init__(
        self,
        norm_type: float,
        kernel_size: Ints,
        stride: Ints | None = None,
        ceil_mode: bool = False,
        *,
        padding: Padding = 0,
        dilation: Ints = 1,
        any_padding: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode, any_padding)
        self.norm_type = norm_type
        self.stride = stride  # as torch's layer, which keeps None

    def forward(self, input: Tensor) -> Tensor:
        return self._pool(
            input,
            self.norm_type,
            self.kernel_size,
            self.stride,
            self.ceil_mode,
            self.padding,
            self.dilation,
            self.any_padding,
        )

    @classmethod
    def _ask(
        cls,
        input: Tensor,
        norm_type: float,
        kernel_size: Ints,
        stride: Ints | None,
        ceil_mode: bool,
        padding: Padding,
        dilation: Ints,
        any_padding: bool,
    ) -> Request:
        windows = kernel_size, stride, padding, dilation, ceil_mode, any_padding
        odd = isinstance(norm_type, (int, float)) and math.isfinite(norm_type) and norm_type % 2 == 1
        # torch, which has no padding, weighs in ceil mode the windows that the edge cuts as whole ones. A window that
        # padding cuts is another thing: a norm of zeros and what is there.
        unpadded = padding == "valid" if isinstance(padding, str) else not any(map(_some, cls._each(padding)))
        params = LpParams(norm_type, signed=odd, rescale=bool(ceil_mode) and unpadded and norm_type != math.inf)
        return cls._request(input, *windows, params=params, empty=0.0)


def _some(pad: Any) -> bool:
    return any(pad) if isinstance(pad, (tuple, list)) else bool(pad)


class LPPool1d(_LPPool):
    """Power-average pooling of ``(N, C, L)`` or ``(C, L)``; parameters as `torch.nn.LPPool1d`, see `LPPool2d`."""

    spatial = 1


class LPPool2d(_LPPool):
    """Power-average pooling of ``(N, C, H, W)`` or ``(C, H, W)``; parameters as `torch.nn.LPPool2d`.

    Equal to torch wherever torch is finite and its powers do not overflow: odd powers keep their sign (p = 1 is sum
    pooling), and in ceil mode without padding the windows that the edge cuts weigh as whole ones. Where torch gives
    NaN, this gives the real root (odd p) or the norm (fractional p). `poolwise.lp_pool` is the norm itself.

    More than torch has: `dilation`, and padding as in `MaxPool2d`, with zeros.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> pt.LPPool2d(2, 2)(torch.tensor([[[3.0, 4.0], [0.0, 0.0]]]))
    tensor([[[5.]]])
    """

    spatial = 2


class LPPool3d(_LPPool):
    """Power-average pooling of ``(N, C, D, H, W)`` or ``(C, D, H, W)``; as `torch.nn.LPPool3d`, see `LPPool2d`."""

    spatial = 3
