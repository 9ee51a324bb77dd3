"""The nodes of pooling: torch's own functions of sliding windows, over tensors ``[others..., pooled...]``.

Every function here takes any axes before the pooled ones, and lengths that may be symbolic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

__all__ = ["NODE_AXES", "Slide", "avg_pool", "max_pool", "ones", "weighted"]

Tensor = torch.Tensor
F: Any = torch.nn.functional

NODE_AXES = 3
"""Pooled axes that torch's functions take."""
MODES = {"reflect": "reflect", "replicate": "replicate", "circular": "circular", "zeros": "constant"}


@dataclass(frozen=True)
class Slide:
    """Sliding windows as a pooling node has them."""

    window: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]
    ceil: bool = False

    @property
    def plain(self) -> bool:
        """True where torch's functions take the padding as it is."""
        span = [d * (k - 1) + 1 for k, d in zip(self.window, self.dilation, strict=True)]
        return self.low == self.high and all(2 * low <= n for low, n in zip(self.low, span, strict=True))

    def unpadded(self) -> Slide:
        """The same windows, over elements that are padded already."""
        none = (0,) * len(self.window)
        return replace(self, low=none, high=none)

    def sides(self) -> list[int]:
        """The padding as `pad` takes it: last axis first."""
        pairs = zip(reversed(self.low), reversed(self.high), strict=True)
        return [side for pair in pairs for side in pair]


def _images(v: Tensor, n: int) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """``[others..., pooled...]`` as the batch and channels that torch's functions pool, and the way back."""
    lead = v.shape[: v.ndim - n]
    if len(lead) == 2:
        return v, lambda y: y
    images = v.reshape(1, -1, *v.shape[v.ndim - n :]) if len(lead) < 2 else v.flatten(1, len(lead) - 1)
    return images, lambda y: y.reshape(*lead, *y.shape[-n:])


def ones(v: Tensor, n: int) -> Tensor:
    """One plane of ones, as long as `v`."""
    return torch.ones_like(v[(slice(0, 1),) * (v.ndim - n)])


def max_pool(v: Tensor, slide: Slide, indices: bool) -> Any:
    n = len(slide.window)
    if n == 1 and isinstance(v.shape[-1], torch.SymInt):  # torch's function for one axis takes no symbolic length
        flat = Slide(*((more, *given) for more, given in zip((1, 1, 1, 0, 0), _fields(slide), strict=True)), slide.ceil)
        y = max_pool(v.unsqueeze(-2), flat, indices)
        return tuple(part.squeeze(-2) for part in y) if indices else y.squeeze(-2)
    images, restore = _images(v, n)
    function = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[n - 1]
    y = function(images, slide.window, slide.stride, slide.low, slide.dilation, slide.ceil, indices)
    return tuple(map(restore, y)) if indices else restore(y)


def _fields(slide: Slide) -> tuple[tuple[int, ...], ...]:
    return slide.window, slide.stride, slide.dilation, slide.low, slide.high


def avg_pool(v: Tensor, slide: Slide, include: bool) -> Tensor:
    if not slide.plain:
        v, slide = F.pad(v, slide.sides()), slide.unpadded()
    n = len(slide.window)
    images, restore = _images(v, n)
    function = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[n - 1]
    return restore(function(images, slide.window, slide.stride, slide.low, slide.ceil, include))


def weighted(v: Tensor, slide: Slide, weights: Tensor, border: str = "zeros") -> Tensor:
    """The weighted sum of every window: a convolution of planes, so that any number of channels will do."""
    n = len(slide.window)
    planes = v.reshape(-1, 1, *v.shape[v.ndim - n :])
    if any(slide.low) or any(slide.high):
        planes = F.pad(planes, slide.sides(), mode=MODES[border])
    function = (F.conv1d, F.conv2d, F.conv3d)[n - 1]
    y = function(planes, weights.to(v)[None, None], stride=slide.stride, dilation=slide.dilation)
    return y.reshape(*v.shape[: v.ndim - n], *y.shape[-n:])
