"""The networks whose receptive fields Araujo, Norris and Sim computed (Distill, 2019), as TensorFlow-Slim lays their layers.

One channel each: fields do not depend on channels. The layer lists are written from memory of the published definitions; that
each gives the field, the stride and the padding of the article says that they are the same networks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

PUBLISHED = {
    # receptive field, stride, padding before the first position, length of the input
    "alexnet_v2": (195, 32, 64, 224),
    "vgg_16": (212, 32, 90, 224),
    "mobilenet_v1": (315, 32, 126, 224),
    "resnet_v1_50": (483, 32, 239, 224),
    "inception_v2": (699, 32, 318, 224),
    "resnet_v1_101": (1027, 32, 511, 224),
    "inception_v3": (1311, 32, 618, 299),
    "resnet_v1_152": (1507, 32, 751, 224),
    "resnet_v1_200": (1763, 32, 879, 224),
    "inception_v4": (2071, 32, 998, 299),
    "inception_resnet_v2": (3039, 32, 1482, 299),
}


class Same(nn.Module):
    """A layer padded as TensorFlow does, the odd cell behind."""

    def __init__(self, layer: nn.Module, window: tuple[int, int], stride: int) -> None:
        super().__init__()
        self.layer, self.window, self.stride = layer, window, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pads: list[int] = []
        for n, k in zip(reversed(x.shape[2:]), reversed(self.window), strict=True):
            total = max((-(-n // self.stride) - 1) * self.stride + k - n, 0)
            pads += [total // 2, total - total // 2]
        return self.layer(F.pad(x, pads))


class Branches(nn.Module):
    """Several ways, concatenated and mixed to one channel, or added to the input."""

    def __init__(self, *ways: nn.Module, residual: bool = False) -> None:
        super().__init__()
        self.ways, self.residual = nn.ModuleList(ways), residual
        self.mix = nn.Conv2d(len(ways), 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.mix(torch.cat([way(x) for way in self.ways], 1))
        return x + y if self.residual else y


def conv(window: int | tuple[int, int], stride: int = 1, valid: bool = False) -> nn.Module:
    pair = window if isinstance(window, tuple) else (window, window)
    layer = nn.Conv2d(1, 1, pair, stride)
    return nn.Sequential(layer if valid or pair == (1, 1) else Same(layer, pair, stride), nn.ReLU())


def pool(window: int = 3, stride: int = 2, valid: bool = False, average: bool = False) -> nn.Module:
    layer = (nn.AvgPool2d if average else nn.MaxPool2d)(window, stride)
    return layer if valid else Same(layer, (window, window), stride)


def row(*windows: int | tuple[int, int], stride: int = 1, valid: bool = False) -> nn.Module:
    """Convolutions one after the other, the last one with the stride."""
    last = conv(windows[-1], stride, valid)
    return nn.Sequential(*map(conv, windows[:-1]), last)


def smooth() -> nn.Module:
    return nn.Sequential(pool(3, 1, average=True), conv(1))


AROUND, DOWN = (1, 7), (7, 1)


def alexnet_v2() -> nn.Module:
    return nn.Sequential(
        conv(11, 4, valid=True),
        pool(valid=True),
        conv(5),
        pool(valid=True),
        conv(3),
        conv(3),
        conv(3),
        pool(valid=True),
    )


def vgg_16() -> nn.Module:
    layers: list[nn.Module] = []
    for convolutions in (2, 2, 3, 3, 3):
        layers += [*(conv(3) for _ in range(convolutions)), pool(2, 2, valid=True)]
    return nn.Sequential(*layers)


def mobilenet_v1() -> nn.Module:
    strides = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
    return nn.Sequential(conv(3, 2), *(nn.Sequential(conv(3, stride), conv(1)) for stride in strides))


class Unit(nn.Module):
    """A bottleneck; a stride is padded the same on both sides, and the shortcut takes every second element."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.way = nn.Sequential(conv(1), nn.Conv2d(1, 1, 3, stride, 1), conv(1))
        self.short = nn.MaxPool2d(1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.way(x) + self.short(x))


def resnet_v1(*units: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(1, 1, 7, 2, 3), pool()]
    for block, count in enumerate(units):
        layers += [Unit(2 if i == count - 1 and block < 3 else 1) for i in range(count)]
    return nn.Sequential(*layers)


def inception_v2() -> nn.Module:
    def mixed() -> nn.Module:
        return Branches(conv(1), row(1, 3), row(1, 3, 3), smooth())

    def reduction() -> nn.Module:
        return Branches(row(1, 3, stride=2), row(1, 3, 3, stride=2), pool())

    return nn.Sequential(
        conv(7, 2), pool(), conv(1), conv(3), pool(), mixed(), mixed(), reduction(), *(mixed() for _ in range(4)), reduction(),
        mixed(), mixed(),
    )  # fmt: skip


def stem() -> list[nn.Module]:
    return [
        conv(3, 2, valid=True),
        conv(3, valid=True),
        conv(3),
        pool(valid=True),
        conv(1),
        conv(3, valid=True),
        pool(valid=True),
    ]


def grid_a() -> nn.Module:
    return Branches(row(3, stride=2, valid=True), row(1, 3, 3, stride=2, valid=True), pool(valid=True))


def grid_b() -> nn.Module:
    sides = row(1, AROUND, DOWN, 3, stride=2, valid=True)
    return Branches(row(1, 3, stride=2, valid=True), sides, pool(valid=True))


def seven() -> nn.Module:
    return Branches(conv(1), row(1, AROUND, DOWN), row(1, DOWN, AROUND, DOWN, AROUND), smooth())


def inception_v3() -> nn.Module:
    five = [Branches(conv(1), row(1, 5), row(1, 3, 3), smooth()) for _ in range(3)]
    ends = [
        Branches(conv(1), row(1, (1, 3)), row(1, (3, 1)), row(1, 3, (1, 3)), row(1, 3, (3, 1)), smooth())
        for _ in range(2)
    ]
    return nn.Sequential(*stem(), *five, grid_a(), *(seven() for _ in range(4)), grid_b(), *ends)


def inception_v4() -> nn.Module:
    start = [
        conv(3, 2, valid=True), conv(3, valid=True), conv(3), Branches(pool(valid=True), conv(3, 2, valid=True)),
        Branches(row(1, 3, valid=True), row(1, AROUND, DOWN, 3, valid=True)), Branches(conv(3, 2, valid=True), pool(valid=True)),
    ]  # fmt: skip
    a = [Branches(conv(1), row(1, 3), row(1, 3, 3), smooth()) for _ in range(4)]
    sides = ((1, 3), (3, 1))
    c = [
        Branches(
            conv(1), *(row(1, side) for side in sides), *(row(1, (3, 1), (1, 3), side) for side in sides), smooth()
        )
        for _ in range(3)
    ]
    return nn.Sequential(*start, *a, grid_a(), *(seven() for _ in range(7)), grid_b(), *c)


def inception_resnet_v2() -> nn.Module:
    a = [Branches(conv(1), row(1, 3), row(1, 3, 3), residual=True) for _ in range(10)]
    b = [Branches(conv(1), row(1, AROUND, DOWN), residual=True) for _ in range(20)]
    down = Branches(
        row(1, 3, stride=2, valid=True),
        row(1, 3, stride=2, valid=True),
        row(1, 3, 3, stride=2, valid=True),
        pool(valid=True),
    )
    c = [Branches(conv(1), row(1, (1, 3), (3, 1)), residual=True) for _ in range(10)]
    first = Branches(conv(1), row(1, 5), row(1, 3, 3), smooth())
    return nn.Sequential(*stem(), first, *a, grid_a(), *b, down, *c, conv(1))


def build(name: str) -> nn.Module:
    """The network of this name."""
    units = {"50": (3, 4, 6, 3), "101": (3, 4, 23, 3), "152": (3, 8, 36, 3), "200": (3, 24, 36, 3)}
    if name.startswith("resnet_v1"):
        return resnet_v1(*units[name.rpartition("_")[2]])
    return globals()[name]()
