"""Sliding windows under torch's names: max, average and power-average pooling.

Parameters after the star are more than torch has: padding per side and ``"same"``, dilation, padding of any size, elements
that do not count, and offsets; `MaxPool2d` describes them.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from ..messages import refuse, refuse_type
from ..ops.avg import AVG, AvgParams
from ..ops.lp import LP, LpParams
from ..ops.max import MAX
from ..spec import Ints, Padding, Request
from ._layer import Missing, Output, SlidingLayer, finds_of

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
    more = ("any_padding", "output", *SlidingLayer.more)
    output: Output = "values"

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
        output: Output = "values",
        nan: Missing = "propagate",
        empty: float | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode, any_padding, nan=nan, empty=empty)
        self.return_indices = return_indices
        self.output = output

    def forward(self, input: Tensor, *, mask: Tensor | None = None) -> Any:
        pool = self._pool if mask is None and self.nan == "propagate" else self._masking(mask, self.nan)
        return pool(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.return_indices,
            self.any_padding,
            self.output,
            self.empty,
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
        output: Output,
        empty: float | None,
    ) -> Request:
        windows = kernel_size, stride, padding, dilation, ceil_mode, any_padding
        finds = finds_of(cls.__name__, return_indices, output)
        # torch pads with the lowest value: a window that sees padding only gives that, though nothing is found in it.
        empty = None if finds else _lowest(input) if empty is None else empty
        return cls._request(input, *windows, finds=finds, empty=empty)


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

    More than torch has, in layers and functions alike:

    - `padding` may also be ``"same"``, ``"same_lower"`` or a ``(low, high)`` pair per axis, and of any size with
      ``any_padding=True``.
    - ``layer(x, mask=m)`` pools the elements where the bool tensor `m` is True, ``nan="omit"`` those that are not NaN,
      as `poolwise.masked_pool`; gradients of the others are 0. Neither gives indices or offsets as well.
    - `empty` is what a window gives in which nothing counts; NaN without it, and integers must say. Given, it is also the
      value of windows on padding only, which are else as in torch in calls without a mask (the lowest value here, 0 in
      an average that counts padding), though there still is no index or offset in them.
    - ``output="values_and_offsets"`` gives ``(values, offsets)``, as `poolwise.max_pool_with_offsets`; not together with
      `return_indices`.

    torch.compile leaves its graph for a call with a mask or ``nan="omit"`` (``fullgraph=True`` is an error there);
    torch.export takes it with ``strict=False``. Offsets stay in graphs, in a dtype that follows from the window alone.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> pt.MaxPool2d(3, stride=2, padding=1)(torch.zeros(1, 8, 32, 32)).shape
    torch.Size([1, 8, 16, 16])
    >>> pt.MaxPool2d(3, stride=2, padding="same")(torch.zeros(1, 8, 31, 32)).shape
    torch.Size([1, 8, 16, 16])
    >>> x = torch.tensor([[[3.0, 9.0, 2.0, 5.0], [1.0, 4.0, 6.0, 7.0]]])
    >>> pt.MaxPool2d(2)(x, mask=x < 5)
    tensor([[[4., 2.]]])
    >>> pt.MaxPool2d(2, output="values_and_offsets")(x)
    (tensor([[[9., 7.]]]), tensor([[[1, 3]]], dtype=torch.uint8))
    """

    spatial = 2


class MaxPool3d(_MaxPool):
    """Max pooling of ``(N, C, D, H, W)`` or ``(C, D, H, W)``; parameters as `torch.nn.MaxPool3d`, see `MaxPool2d`."""

    spatial = 3


class _AvgPool(SlidingLayer):
    op = AVG
    shown = ("kernel_size", "stride", "padding")
    more = ("dilation", "any_padding", *SlidingLayer.more)
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
        nan: Missing = "propagate",
        empty: float | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode, any_padding, nan=nan, empty=empty)
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Tensor, *, mask: Tensor | None = None) -> Tensor:
        pool = self._pool if mask is None and self.nan == "propagate" else self._masking(mask, self.nan)
        return pool(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
            self.dilation,
            self.any_padding,
            self.empty,
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
        empty: float | None,
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
        empty = 0.0 if include and empty is None else empty
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
        nan: Missing = "propagate",
        empty: float | None = None,
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
            nan=nan,
            empty=empty,
        )


class AvgPool2d(_AvgPool):
    """Average pooling of ``(N, C, H, W)`` or ``(C, H, W)``; parameters as `torch.nn.AvgPool2d`, operator as
    `poolwise.avg_pool`.

    More than torch has: `dilation`, integers, whose means are exact and rounded, and padding, `mask`, `nan` and `empty` as
    in `MaxPool2d`; means are of the elements that count, and of the padding where that counts.

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
    more = ("padding", "dilation", "any_padding", *SlidingLayer.more)

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
        nan: Missing = "propagate",
        empty: float | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode, any_padding, nan=nan, empty=empty)
        self.norm_type = norm_type
        self.stride = stride  # as torch's layer, which keeps None

    def forward(self, input: Tensor, *, mask: Tensor | None = None) -> Tensor:
        pool = self._pool if mask is None and self.nan == "propagate" else self._masking(mask, self.nan)
        return pool(
            input,
            self.norm_type,
            self.kernel_size,
            self.stride,
            self.ceil_mode,
            self.padding,
            self.dilation,
            self.any_padding,
            self.empty,
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
        empty: float | None,
    ) -> Request:
        windows = kernel_size, stride, padding, dilation, ceil_mode, any_padding
        odd = isinstance(norm_type, (int, float)) and math.isfinite(norm_type) and norm_type % 2 == 1
        # torch, which has no padding, weighs in ceil mode the windows that the edge cuts as whole ones. A window that
        # padding cuts is another thing: a norm of zeros and what is there.
        unpadded = padding == "valid" if isinstance(padding, str) else not any(map(_some, cls._each(padding)))
        params = LpParams(norm_type, signed=odd, rescale=bool(ceil_mode) and unpadded and norm_type != math.inf)
        return cls._request(input, *windows, params=params, empty=0.0 if empty is None else empty)

    @classmethod
    def _counted(cls, input: Tensor, request: Request, empty: float | None) -> Request:
        if request.params.rescale:
            raise refuse(
                cls.__name__,
                "ceil mode weighs windows as whole ones, which has no meaning where elements do not count",
                got="ceil_mode=True without padding, with a mask or nan='omit'",
                expected="a norm of the elements that count",
                hint="ceil_mode=False, or x padded and the padding masked",
            )
        return super()._counted(input, request, empty)


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

    More than torch has: `dilation`, padding as in `MaxPool2d`, with zeros, and its `mask`, `nan` and `empty`; these not
    in ceil mode without padding.

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
