"""What the layers share: windows and operators as torch modules. The number of spatial axes is a class attribute."""

from __future__ import annotations

from typing import Any

import torch

from ..messages import refuse, shown
from ..spec import Ints, Padding, PoolOp, Request, WindowArgs, run

__all__ = [
    "AdaptiveLayer",
    "Layer",
    "SlidingLayer",
]

Tensor = torch.Tensor


class Layer(torch.nn.Module):
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
        for name in ("kernel_size", "output_size"):
            value = getattr(self, name, None)
            if isinstance(value, (tuple, list)) and len(value) != self.spatial:
                raise refuse(
                    type(self).__name__,
                    f"{name} has the wrong length",
                    got=f"{name}={shown(value)}",
                    expected=f"one number, or {self.spatial}",
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

    def _limit_padding(self) -> None:
        """As torch's layers: padding beyond half of the window is refused there as a mistake."""
        given = (self.kernel_size, self.padding, self.dilation)
        for window, padding, dilation in zip(*map(self._each, given), strict=False):
            numbers = all(type(n) is int for n in (window, padding, dilation))
            if numbers and window > 0 < dilation and 2 * padding > dilation * (window - 1) + 1:
                raise refuse(
                    type(self).__name__,
                    "padding is more than half of the window",
                    got=f"padding={padding} for a window of {window}, dilation {dilation}",
                    expected=f"at most {(dilation * (window - 1) + 1) // 2}, as torch",
                    hint="less padding, or poolwise's functions, which have no such limit",
                )

    def _run(self, x: Tensor, params: Any = None, indices: bool = False, **options: Any) -> Any:
        self._check(x)
        padding = (
            self.padding
            if isinstance(self.padding, str)
            else self._each(self.padding)
            if self.padding is not None
            else None
        )
        args = WindowArgs("sliding", self._each(self.kernel_size), self.stride, padding, self.dilation, self.ceil_mode)
        params = self.op.params() if params is None else params
        return run(Request(type(self).__name__, self.op, args, params, indices=indices, **options), x)


class AdaptiveLayer(Layer):
    """A given number of bins per axis."""

    op: PoolOp
    shown: tuple[str, ...] = ("output_size",)

    def _run(self, x: Tensor, indices: bool = False) -> Any:
        self._check(x)
        args = WindowArgs("adaptive", output_size=self._each(self.output_size))
        return run(Request(type(self).__name__, self.op, args, self.op.params(), indices=indices), x)
