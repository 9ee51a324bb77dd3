"""Pooling layers with torch's names, parameters and order, on this package's operators.

One class per way of laying windows; the number of spatial axes is a class attribute, since users type it in the name.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from ..messages import refuse
from ..ops.avg import AVG, AvgParams
from ..ops.blur import BLUR
from ..ops.lp import LP, LpParams
from ..ops.max import MAX
from ..ops.median import MEDIAN
from ..ops.min import MIN
from ..recipes import max_blur_pool
from ..spec import Border, Ints, Padding, PoolOp, Request, WindowArgs, run

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

Tensor = torch.Tensor


class _Layer(torch.nn.Module):
    """What all layers share: the number of spatial axes, and a line that describes them."""

    spatial: int
    shown: tuple[str, ...]

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.shown)

    def _each(self, value: Any) -> Any:
        """One number per spatial axis, as the window arguments take them."""
        if isinstance(value, (int, type(None))) and not isinstance(value, bool):
            return (value,) * self.spatial
        return value

    def _check(self, x: Tensor) -> None:
        if x.ndim not in (self.spatial + 1, self.spatial + 2):
            raise refuse(
                type(self).__name__,
                "the input has the wrong number of axes",
                got=f"a tensor of shape {tuple(x.shape)}",
                expected=f"(N, C, *spatial) or (C, *spatial) with {self.spatial} spatial axes",
                hint="x.unsqueeze(0) to add a batch axis",
            )


class _Sliding(_Layer):
    """Windows of one size at a constant stride."""

    op: PoolOp
    kernel_size: Ints
    stride: Ints | None
    padding: Padding | None = 0
    dilation: Ints = 1
    ceil_mode: bool = False

    def _run(self, x: Tensor, params: Any = None, indices: bool = False, **options: Any) -> Any:
        self._check(x)
        padding = self.padding if isinstance(self.padding, str) else self._each(self.padding) if self.padding is not None else None
        args = WindowArgs(
            "sliding", self._each(self.kernel_size), self.stride, padding, self.dilation, self.ceil_mode
        )
        params = self.op.params() if params is None else params
        return run(Request(type(self).__name__, self.op, args, params, indices=indices, **options), x)


class _MaxPool(_Sliding):
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
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, x: Tensor) -> Any:
        if self.return_indices:
            return self._run(x, indices=True)
        # torch pads with -inf: a dilated window that sees padding only gives that.
        return self._run(x, empty=-math.inf if x.is_floating_point() else None)


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


class MinPool2d(_Sliding):
    """Min pooling of ``(N, C, H, W)`` or ``(C, H, W)``; the operator is `poolwise.min_pool`."""

    spatial = 2
    op = MIN
    shown = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Padding = 0,
        dilation: Ints = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.ceil_mode = ceil_mode

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x)


class MedianPool2d(MinPool2d):
    """Median pooling of ``(N, C, H, W)`` or ``(C, H, W)``; the operator is `poolwise.median_pool`."""

    op = MEDIAN


class _AvgPool(_Sliding):
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
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, x: Tensor) -> Tensor:
        params = AvgParams(self.divisor_override)
        # torch pads with zeros: where they count, a window that sees padding only has a mean of 0.
        empty = 0.0 if self.count_include_pad else None
        return self._run(x, params, count_include_pad=self.count_include_pad, empty=empty)


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


class _LPPool(_Sliding):
    op = LP
    shown = ("norm_type", "kernel_size", "stride", "ceil_mode")

    def __init__(
        self, norm_type: float, kernel_size: Ints, stride: Ints | None = None, ceil_mode: bool = False
    ) -> None:
        super().__init__()
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode

    def forward(self, x: Tensor) -> Tensor:
        odd = math.isfinite(self.norm_type) and self.norm_type % 2 == 1
        return self._run(x, LpParams(self.norm_type, signed=odd, rescale=self.ceil_mode))


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


class _Adaptive(_Layer):
    """A given number of bins per axis."""

    op: PoolOp
    shown: tuple[str, ...] = ("output_size",)

    def _run(self, x: Tensor, indices: bool = False) -> Any:
        self._check(x)
        args = WindowArgs("adaptive", output_size=self._each(self.output_size))
        return run(Request(type(self).__name__, self.op, args, self.op.params(), indices=indices), x)


class _AdaptiveMaxPool(_Adaptive):
    op = MAX

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size = output_size
        self.return_indices = return_indices

    def forward(self, x: Tensor) -> Any:
        return self._run(x, self.return_indices)


class _AdaptiveAvgPool(_Adaptive):
    op = AVG

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x)


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


class BlurPool2d(_Sliding):
    """Anti-aliased down-sampling of ``(N, C, H, W)`` or ``(C, H, W)``; the operator is `poolwise.blur_pool`."""

    spatial = 2
    op = BLUR
    shown = ("kernel_size", "stride", "padding", "border")

    def __init__(
        self, kernel_size: Ints = 3, stride: Ints = 2, padding: Padding | None = None, border: Border = "reflect"
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride
        self.padding = padding
        self.border = border

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x, border=self.border)


class MaxBlurPool2d(_Layer):
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
        self._check(x)
        return max_blur_pool(
            x,
            self._each(self.kernel_size),
            stride=self.stride,
            filter_size=self.filter_size,
            padding=self.padding,
            ceil_mode=self.ceil_mode,
            border=self.border,
        )
