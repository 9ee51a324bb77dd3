"""Networks of published shapes, with random weights: what a pooling layer is surrounded by.

Written down from the papers' tables. Where a reference implementation that everybody times differs from its paper
(AlexNet in one column, GoogLeNet with batch norm and 3 x 3 in place of 5 x 5), the shapes are the implementation's,
so that the number of parameters is the published one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

__all__ = ["NETWORKS", "Network"]

Tensor = torch.Tensor


def conv(inside: int, outside: int, size: int, stride: int = 1, padding: int = 0) -> list[nn.Module]:
    """A convolution and its ReLU."""
    return [nn.Conv2d(inside, outside, size, stride, padding), nn.ReLU(inplace=True)]


def normed(inside: int, outside: int, size: int, stride: int = 1, padding: int = 0, relu: bool = True) -> nn.Sequential:
    """A convolution without bias, batch norm, and ReLU if asked."""
    layers = [nn.Conv2d(inside, outside, size, stride, padding, bias=False), nn.BatchNorm2d(outside)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


def alexnet() -> nn.Sequential:
    """Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014."""
    features = nn.Sequential(
        *conv(3, 64, 11, 4, 2), nn.MaxPool2d(3, 2),
        *conv(64, 192, 5, padding=2), nn.MaxPool2d(3, 2),
        *conv(192, 384, 3, padding=1), *conv(384, 256, 3, padding=1), *conv(256, 256, 3, padding=1), nn.MaxPool2d(3, 2),
        nn.AdaptiveAvgPool2d(6), nn.Flatten(),
    )  # fmt: skip
    dense = [nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(True), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(True)]
    return nn.Sequential(features, *dense, nn.Linear(4096, 1000))


def vgg16() -> nn.Sequential:
    """Simonyan, Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015."""
    layers: list[nn.Module] = []
    inside = 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            layers += conv(inside, width, 3, padding=1)
            inside = width
        layers.append(nn.MaxPool2d(2))
    dense = [nn.Linear(25088, 4096), nn.ReLU(True), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(True), nn.Dropout()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(7), nn.Flatten(), *dense, nn.Linear(4096, 1000))


class Side(nn.Module):
    """Branches beside each other, their channels put together."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def squeezenet() -> nn.Sequential:
    """Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", 2016; version 1.1."""

    def fire(inside: int, squeeze: int, expand: int) -> list[nn.Module]:
        wide = Side(nn.Sequential(*conv(squeeze, expand, 1)), nn.Sequential(*conv(squeeze, expand, 3, padding=1)))
        return [*conv(inside, squeeze, 1), wide]

    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return nn.Sequential(
        *conv(3, 64, 3, 2), pool(),
        *fire(64, 16, 64), *fire(128, 16, 64), pool(),
        *fire(128, 32, 128), *fire(256, 32, 128), pool(),
        *fire(256, 48, 192), *fire(384, 48, 192), *fire(384, 64, 256), *fire(512, 64, 256),
        nn.Dropout(), *conv(512, 1000, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


INCEPTIONS = {
    # outputs of: 1x1; 1x1 before 3x3, 3x3; 1x1 before 5x5, 5x5; 1x1 after the pooling
    "3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64), "4b": (160, 112, 224, 24, 64, 64), "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64), "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128),
}  # fmt: skip


def googlenet() -> nn.Sequential:
    """Szegedy et al., "Going deeper with convolutions", CVPR 2015; without the classifiers at the sides."""
    layers: list[nn.Module] = [normed(3, 64, 7, 2, 3), nn.MaxPool2d(3, 2, ceil_mode=True)]
    layers += [normed(64, 64, 1), normed(64, 192, 3, padding=1)]
    inside = 192
    for name, (one, before3, three, before5, five, pooled) in INCEPTIONS.items():
        if name.endswith("a"):  # each stage begins with half of the map
            layers.append(nn.MaxPool2d(2 if name == "5a" else 3, 2, ceil_mode=True))
        layers.append(
            Side(
                normed(inside, one, 1),
                nn.Sequential(normed(inside, before3, 1), normed(before3, three, 3, padding=1)),
                nn.Sequential(normed(inside, before5, 1), normed(before5, five, 3, padding=1)),
                nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), normed(inside, pooled, 1)),
            )
        )
        inside = one + three + five + pooled
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1024, 1000))


class Residual(nn.Module):
    """Two convolutions, and the input added to them."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            normed(inside, outside, 3, stride, 1), normed(outside, outside, 3, padding=1, relu=False)
        )
        self.short = nn.Identity() if inside == outside else normed(inside, outside, 1, stride, relu=False)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.body(x) + self.short(x))


def resnet18() -> nn.Sequential:
    """He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016."""
    layers: list[nn.Module] = [*normed(3, 64, 7, 2, 3), nn.MaxPool2d(3, 2, 1)]
    inside = 64
    for width in (64, 128, 256, 512):
        layers += [Residual(inside, width, 1 if width == 64 else 2), Residual(width, width, 1)]
        inside = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


class UNet(nn.Module):
    """Four times half and back; the way up sees what the way down saw. Padded, so that maps keep their size."""

    def __init__(self, width: int = 64, classes: int = 2) -> None:
        super().__init__()
        widths = [width << level for level in range(5)]
        self.down = nn.ModuleList(self.twice(a, b) for a, b in zip([1, *widths], widths, strict=False))
        self.pool = nn.MaxPool2d(2)
        self.grow = nn.ModuleList(nn.ConvTranspose2d(2 * n, n, 2, 2) for n in reversed(widths[:-1]))
        self.up = nn.ModuleList(self.twice(2 * n, n) for n in reversed(widths[:-1]))
        self.last = nn.Conv2d(width, classes, 1)

    @staticmethod
    def twice(inside: int, outside: int) -> nn.Sequential:
        """Two convolutions of 3 x 3."""
        return nn.Sequential(*conv(inside, outside, 3, padding=1), *conv(outside, outside, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        seen = []
        for level, layers in enumerate(self.down):
            x = layers(self.pool(x) if level else x)
            seen.append(x)
        for grow, layers, left in zip(self.grow, self.up, reversed(seen[:-1]), strict=True):
            x = layers(torch.cat([left, grow(x)], 1))
        return self.last(x)


@dataclass(frozen=True)
class Network:
    """One network, and what it is given."""

    name: str
    build: Callable[[], nn.Module]
    parameters: int
    """The published number; of the U-Nets, what the table of layers comes to. A test counts."""
    image: tuple[int, int, int]


NETWORKS = (
    Network("SqueezeNet 1.1", squeezenet, 1_235_496, (3, 224, 224)),
    Network("GoogLeNet", googlenet, 6_624_904, (3, 224, 224)),
    Network("AlexNet", alexnet, 61_100_840, (3, 224, 224)),
    Network("VGG16", vgg16, 138_357_544, (3, 224, 224)),
    Network("ResNet-18", resnet18, 11_689_512, (3, 224, 224)),
    Network("U-Net", UNet, 31_030_658, (1, 256, 256)),
    Network("U-Net of width 16", lambda: UNet(16), 1_940_834, (1, 256, 256)),
)
