"""Networks of the family, with equal weights for equal seeds."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import nn

from .. import torch as layers
from ..verbs import fractional_pool
from .variants import WAYS, WIDTHS, Way, reductions

__all__ = ["FractionalRoot2", "build", "check_parameters", "places"]


class FractionalRoot2(layers.FractionalMaxPool2d):
    """Largest of overlapping 2 x 2 windows that lie about 1.41 apart: two of these halve an axis.

    One draw per axis for the whole batch. In training it comes from torch's generator; in evaluation it is the middle,
    so that answers do not depend on what was drawn before.
    """

    def __init__(self) -> None:
        super().__init__(2, output_ratio=math.sqrt(0.5))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        # Rounded, not cut: 28 -> 20 -> 14 -> 10 -> 7.
        outputs = tuple(round(n * ratio) for n, ratio in zip(input.shape[-2:], self.output_ratio, strict=True))
        draws = torch.rand(2, dtype=torch.float64).tolist() if self.training else (0.5, 0.5)
        return fractional_pool(input, "max", outputs, draws=draws, window=self.kernel_size)


def build(way: Way, shape: Sequence[int], classes: int, seed: int) -> nn.Sequential:
    """The network of one variant for images ``(channels, height, width)``.

    Each layer's weights are drawn from a generator of its own, from the seed and the layer's name: a layer starts equal
    in all variants that have it, so that differences between variants are paired within a seed.
    """
    channels, height, width = shape
    times = reductions(height, width)
    model = nn.Sequential()
    for stage, features in enumerate(WIDTHS[: times + 1], 1):
        halve = stage <= times
        _add(model, "", stage, channels, features, way.stride if halve else 1)
        if halve and way.extra:
            _add(model, "extra_", stage, features, features, way.extra)
        for number, (kind, options) in enumerate(way.pools if halve else (), 1):
            last = number == len(way.pools)
            layer = FractionalRoot2 if kind == "FractionalRoot2" else getattr(layers, kind)
            model.add_module(f"pool{stage}" if last else f"pool{stage}_{number}", layer(**options))
        channels = features
    model.add_module("average", layers.AdaptiveAvgPool2d(1))
    model.add_module("flatten", nn.Flatten())
    model.add_module("linear", nn.Linear(channels, classes))
    _draw(model, seed)
    # Channels last: convolutions of few channels take half the time, and every pooling here knows that layout.
    return model.to(memory_format=torch.channels_last)


def _add(model: nn.Sequential, prefix: str, stage: int, channels: int, features: int, stride: int) -> None:
    convolution = nn.Conv2d(channels, features, 3, stride=stride, padding=1, bias=False)
    model.add_module(f"{prefix}conv{stage}", convolution)
    model.add_module(f"{prefix}norm{stage}", nn.BatchNorm2d(features))
    model.add_module(f"{prefix}relu{stage}", nn.ReLU())


def _draw(model: nn.Module, seed: int) -> None:
    for name, module in model.named_modules():
        if not isinstance(module, (nn.Conv2d, nn.Linear)):
            continue
        digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
        with torch.no_grad():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            else:
                bound = 1 / math.sqrt(module.in_features)
                module.weight.uniform_(-bound, bound, generator=generator)
                module.bias.zero_()


def places(way: Way, shape: Sequence[int]) -> dict[str, str]:
    """Where features are looked at: ``stage 1`` and so on to the layer that ends the stage, its reduction included."""
    times = reductions(*shape[1:])
    found = {}
    for stage in range(1, times + 2):
        halve = stage <= times
        last = (
            f"pool{stage}" if halve and way.pools else f"extra_relu{stage}" if halve and way.extra else f"relu{stage}"
        )
        found[f"stage {stage}"] = last
    return found


def check_parameters(shape: Sequence[int], classes: int) -> dict[str, int]:
    """Parameters of each family.

    Raises
    ------
    AssertionError
        Where two variants of one family do not have the same.
    """
    counts: dict[str, int] = {}
    for way in WAYS:
        count = sum(p.numel() for p in build(way, shape, classes, 0).parameters())
        if counts.setdefault(way.family, count) != count:
            raise AssertionError(f"{way.name} has {count} parameters, its family {counts[way.family]}")
    return counts
