"""Windows as pooling nodes have them, and torch's own functions that become such nodes.

The functions take tensors ``[others..., pooled...]`` with any axes before the pooled ones; lengths may be symbolic.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..geometry import Adaptive, Global, Sliding
from ..messages import refuse
from ..problem import Problem

__all__ = ["Pooled", "Slide", "avg_pool", "max_pool", "ones", "weighted"]

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
        halves = all(2 * low <= k for low, k in zip(self.low, self.window, strict=True))
        return self.low == self.high and halves

    def unpadded(self) -> Slide:
        """The same windows, over elements that are padded already."""
        none = (0,) * len(self.window)
        return replace(self, low=none, high=none)

    def sides(self) -> list[int]:
        """The padding as `pad` takes it: last axis first."""
        pairs = zip(reversed(self.low), reversed(self.high), strict=True)
        return [side for pair in pairs for side in pair]


@dataclass(frozen=True)
class Pooled:
    """The windows of one problem, for an export in which lengths may change."""

    problem: Problem
    changing: tuple[bool, ...]
    """Per pooled axis: whether its length may differ from the example's."""
    guessed: bool
    """True where nobody said that it will."""

    def whole(self) -> tuple[int, ...]:
        """The pooled axes with one window over all of them: of these, any length will do."""
        scheme = self.problem.scheme
        if isinstance(scheme, Global):
            return tuple(range(len(self.problem.axes)))
        outputs = scheme.outputs if isinstance(scheme, Adaptive) else ()
        return tuple(i for i, number in enumerate(outputs) if number == 1)

    def slide(self, ceil: bool) -> Slide | None:
        """The windows as a node's, those of `whole` axes left out; None where they have no such form.

        `ceil` says whether the node that takes them knows a ceil mode; without, padding stands for it.
        """
        scheme, windows = self.problem.scheme, self.problem.windows.axes
        n = len(windows)
        if n > NODE_AXES or not isinstance(scheme, (Adaptive, Sliding)):
            return None
        if isinstance(scheme, Adaptive):
            even = [
                1 if number in (None, 1) else axis.window for number, axis in zip(scheme.outputs, windows, strict=True)
            ]
            if any(len(axis.edge) for axis in windows):
                return None
            self.hold([size > 1 for size in even], "adaptive bins")
            return Slide(tuple(even), tuple(even), (1,) * n, (0,) * n, (0,) * n)
        # What "same" comes to depends on the length, but for a stride of 1.
        by_length = scheme.padding in ("same", "same_lower")
        self.hold([by_length and stride > 1 for stride in scheme.stride], f'padding="{scheme.padding}" at a stride')
        low, high = zip(*self.padding(), strict=True)
        slide = Slide(scheme.window, scheme.stride, scheme.dilation, low, high, scheme.ceil_mode)
        if not slide.ceil or (ceil and slide.plain and any(self.changing)):
            return slide
        self.hold([True] * n, "ceil_mode with these windows")
        spans = [d * (k - 1) + 1 for k, d in zip(slide.window, slide.dilation, strict=True)]
        over = tuple(int(axis.origin[-1]) + span - axis.size for axis, span in zip(windows, spans, strict=True))
        if ceil and slide.plain:  # runtimes differ in which last windows they drop: asked only where one is added
            return replace(slide, ceil=any(end > pad for end, pad in zip(over, high, strict=True)))
        return replace(slide, high=tuple(max(end, 0) for end in over), ceil=False)

    def padding(self) -> list[tuple[int, int]]:
        """Positions added before and after each axis by sliding windows."""
        return [self.problem.scheme.pads(axis.size, i) for i, axis in enumerate(self.problem.windows.axes)]

    def hold(self, needed: list[bool], what: str) -> None:
        """Refuse a form that holds lengths which may change; warn where nobody said whether they will."""
        axes = [
            axis
            for axis, both in zip(self.problem.axes, zip(needed, self.changing, strict=False), strict=False)
            if all(both)
        ]
        if not axes:
            return
        problem = self.problem
        held = f"lengths {tuple(problem.shape[axis] for axis in axes)} of axes {tuple(axes)}"
        if self.guessed:
            text = f"{problem.where}: {what}: the exported model holds the {held}, and serves no others"
            warnings.warn(text, torch.jit.TracerWarning, stacklevel=2)
            return
        raise refuse(
            problem.where,
            "this pooling is not exported with dynamic lengths",
            got=f"{what}, and dynamic lengths on axes {tuple(axes)}",
            expected="static lengths on these axes; all others may be dynamic",
            hint="dynamic_shapes without these axes",
        )


def _images(v: Tensor, n: int) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """``[others..., pooled...]`` as the batch and channels that torch's functions pool, and the way back."""
    lead = v.shape[: v.ndim - n]
    if len(lead) == 2:
        return v, lambda y: y
    if len(lead) == 1:
        return v.unsqueeze(0), lambda y: y.squeeze(0)
    if not lead:
        return v.unsqueeze(0).unsqueeze(0), lambda y: y.squeeze(0).squeeze(0)
    return v.flatten(1, len(lead) - 1), lambda y: y.reshape(*lead, *y.shape[-n:])


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
    """The weighted sum of every window: a convolution of each channel, or of each plane where their number may change."""
    n = len(slide.window)
    images, restore = _images(v, n)
    channels = images.shape[1]
    if not isinstance(channels, int):
        lead, channels = v.shape[: v.ndim - n], 1
        images, restore = v.reshape(-1, 1, *v.shape[v.ndim - n :]), lambda y: y.reshape(*lead, *y.shape[-n:])
    if any(slide.low) or any(slide.high):
        images = F.pad(images, slide.sides(), mode=MODES[border])
    function = (F.conv1d, F.conv2d, F.conv3d)[n - 1]
    each = weights.to(v).expand(channels, 1, *slide.window)
    return restore(function(images, each, stride=slide.stride, dilation=slide.dilation, groups=channels))
