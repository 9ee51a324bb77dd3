"""What the layers share: windows and operators as torch modules. The number of spatial axes is a class attribute."""

from __future__ import annotations

from typing import Any

import torch

from ..messages import refuse
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


class SlidingLayer(Layer):
    """Windows of one size at a constant stride."""

    op: PoolOp
    kernel_size: Ints
    stride: Ints | None
    padding: Padding | None = 0
    dilation: Ints = 1
    ceil_mode: bool = False

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
