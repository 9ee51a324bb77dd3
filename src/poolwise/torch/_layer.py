"""What the layers share: windows and operators as torch modules. The number of spatial axes is a class attribute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..messages import refuse, shown
from ..spec import Ints, Padding, PoolOp, Request, WindowArgs, pooling

__all__ = [
    "AdaptiveLayer",
    "Layer",
    "SlidingLayer",
]

Tensor = torch.Tensor


class Layer(torch.nn.Module):
    """What all layers share: the number of spatial axes, and a line that describes them.

    A layer that is one pooling call says it in `_ask`, from the tensor and the layer's attributes, and makes it with
    `_pool`, which takes the same: see `poolwise.spec.pooling`.
    """

    spatial: int
    shown: tuple[str, ...]
    _pool: Callable[..., Any]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if hasattr(cls, "_ask"):
            cls._pool = staticmethod(pooling(cls._ask))

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)}" for name in self.shown)

    @classmethod
    def _each(cls, value: Any) -> Any:
        """One number per spatial axis, as the window arguments take them."""
        if isinstance(value, (int, type(None))) and not isinstance(value, bool):
            return (value,) * cls.spatial
        return value

    @classmethod
    def _check(cls, x: Tensor, name: str, value: Any) -> None:
        if x.ndim not in (cls.spatial + 1, cls.spatial + 2):
            raise refuse(
                cls.__name__,
                "the input has the wrong number of axes",
                got=f"a tensor of shape {tuple(x.shape)}",
                expected=f"(N, C, *spatial) or (C, *spatial) with {cls.spatial} spatial axes",
                hint="x.unsqueeze(0) to add a batch axis",
            )
        if isinstance(value, (tuple, list)) and len(value) != cls.spatial:
            raise refuse(
                cls.__name__,
                f"{name} has the wrong length",
                got=f"{name}={shown(value)}",
                expected=f"one number, or {cls.spatial}",
                hint=f"{name}=2",
            )


class SlidingLayer(Layer):
    """Windows of one size at a constant stride."""

    op: PoolOp
    kernel_size: Ints
    stride: Ints | None
    padding: Padding | None = 0
    dilation: Ints = 1
    ceil_mode: bool = False

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Padding | None = 0,
        dilation: Ints = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.ceil_mode = ceil_mode

    @classmethod
    def _limit_padding(cls, kernel_size: Ints, padding: Padding, dilation: Ints = 1) -> None:
        """As torch's layers: padding beyond half of the window is refused there as a mistake."""
        given = [cls._each(value) for value in (kernel_size, padding, dilation)]
        if not all(isinstance(value, (tuple, list)) for value in given):
            return  # text, which has no such limit, or what the request refuses
        for window, pad, step in zip(*given, strict=False):
            numbers = all(type(n) is int for n in (window, pad, step))
            if numbers and window > 0 < step and 2 * pad > step * (window - 1) + 1:
                raise refuse(
                    cls.__name__,
                    "padding is more than half of the window",
                    got=f"padding={pad} for a window of {window}, dilation {step}",
                    expected=f"at most {(step * (window - 1) + 1) // 2}, as torch",
                    hint="less padding, or poolwise's functions, which have no such limit",
                )

    @classmethod
    def _request(
        cls,
        x: Tensor,
        kernel_size: Ints,
        stride: Ints | None,
        padding: Padding | None = 0,
        dilation: Ints = 1,
        ceil_mode: bool = False,
        params: Any = None,
        **options: Any,
    ) -> Request:
        cls._check(x, "kernel_size", kernel_size)
        pads = padding if isinstance(padding, str) or padding is None else cls._each(padding)
        args = WindowArgs("sliding", cls._each(kernel_size), stride, pads, dilation, ceil_mode)
        return Request(cls.__name__, cls.op, args, cls.op.params() if params is None else params, **options)


class AdaptiveLayer(Layer):
    """A given number of bins per axis."""

    op: PoolOp
    shown: tuple[str, ...] = ("output_size",)

    @classmethod
    def _ask(cls, x: Tensor, output_size: Any, return_indices: bool = False) -> Request:
        cls._check(x, "output_size", output_size)
        args = WindowArgs("adaptive", output_size=cls._each(output_size))
        return Request(cls.__name__, cls.op, args, cls.op.params(), indices=bool(return_indices))
