"""Every reach against what changing the input shows: single operations, and random networks of them."""

from __future__ import annotations

import random

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from perturbing import check, observable, observed  # noqa: E402

import poolwise.torch as pt  # noqa: E402
from poolwise.instruments import trace  # noqa: E402

nn = torch.nn


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def conv(*args, **options):
    return nn.Conv2d(2, 2, *args, **options)


def chain(*parts):
    return nn.Sequential(*(part if isinstance(part, nn.Module) else Function(part) for part in parts))


def blurred(x):
    return F.avg_pool2d(x, 3, 1, 1)


def twice(x):
    return torch.cat([x, blurred(x)], 1)


def windows_of(x):
    return x.view(1, 2, x.shape[2] // 2, 2, x.shape[3] // 2, 2)


def written(x):
    y = x.clone()
    y[:, :, 1:3].mul_(x[:, :, 4:6])
    return y


CASES = {
    # name: network, then step, field and start of the first axis on 10 x 12
    "convolutions": (lambda: chain(conv(3, padding=1), conv(3, stride=2, padding=2, dilation=2)), 2, 7, -3),
    "groups": (lambda: chain(nn.Conv2d(2, 4, 3, groups=2), twice, nn.Conv2d(8, 8, 3, groups=4)), 1, 7, -1),
    "transposed": (lambda: chain(nn.ConvTranspose2d(2, 2, 3, 2, 1, 1), conv(3)), "1/2", 3, 0),
    "dilated transposed": (
        lambda: chain(conv(3, 2, 1), nn.ConvTranspose2d(2, 2, 2, 3, dilation=2), conv(3)),
        "2/3",
        5,
        -1,
    ),
    "torch's pools": (lambda: chain(nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2, ceil_mode=True)), 4, 5, -1),
    "our pools": (lambda: chain(pt.MaxPool2d(3, 2, 1), pt.BlurPool2d(3), pt.MedianPool2d(2, 1)), 4, 11, -3),
    "max blur": (lambda: chain(pt.MaxBlurPool2d(3)), 2, 5, -1),
    "same": (lambda: chain(pt.MinPool2d(3, 2, padding="same"), pt.SumPool2d(2, 1)), 2, 5, 0),
    "window on padding": (lambda: chain(lambda x: F.max_pool2d(F.pad(x, (4, 4, 4, 4)), 2)), 2, 2, -4),
    "uneven bins": (lambda: chain(pt.AdaptiveAvgPool2d(4), nn.AdaptiveMaxPool2d(3)), None, 6, None),
    "global": (lambda: chain(conv(3), nn.AdaptiveAvgPool2d(1)), 8, 10, 0),
    "residual": (lambda: chain(conv(3, 2, 1), lambda x: x + blurred(x), nn.ReLU(inplace=True)), 2, 7, -3),
    "unequal steps": (lambda: chain(lambda x: F.avg_pool2d(x, 2)[:, :, :4, :4] + x[:, :, :4, :4]), None, 5, None),
    "global gate": (lambda: chain(lambda x: blurred(x) * (1 + 1e-6 * x.mean((2, 3), keepdim=True))), 1, 10, -1),
    "nearest": (lambda: chain(nn.MaxPool2d(2), nn.Upsample(scale_factor=2), conv(3, padding=1)), 1, 4, -2),
    "nearest to 7": (lambda: chain(lambda x: F.interpolate(x, size=(7, 5))), "10/7", 1, 0),
    "bilinear": (lambda: chain(nn.MaxPool2d(2), nn.Upsample(scale_factor=2, mode="bilinear"), conv(3)), 1, 6, -2),
    "aligned": (
        lambda: chain(lambda x: F.interpolate(x, size=(19, 5), mode="bilinear", align_corners=True)),
        "1/2",
        2,
        0,
    ),
    "shuffle up": (lambda: chain(twice, nn.PixelShuffle(2), nn.Conv2d(1, 1, 3)), "1/2", 4, -1),
    "shuffle down": (lambda: chain(twice, nn.PixelUnshuffle(2)), 2, 3, -1),
    "channel shuffle": (lambda: chain(twice, nn.ChannelShuffle(2), nn.Conv2d(4, 4, 1, groups=4)), 1, 3, -1),
    "permuted": (
        lambda: chain(lambda x: x.permute(0, 3, 2, 1).contiguous().permute(0, 3, 2, 1)[:, :, ::2, 1:-1]),
        2,
        1,
        0,
    ),
    "flipped": (lambda: chain(lambda x: x.flip(2), nn.MaxPool2d(3, 2, 1)), 2, 3, 8),
    "rolled": (lambda: chain(lambda x: torch.roll(x, (1, 2), (2, 3)), conv(3)), 1, 10, None),
    "circular": (lambda: chain(conv(3, padding=1, padding_mode="circular")), None, 10, None),
    "reflected": (lambda: chain(conv(3, padding=1, padding_mode="reflect")), 1, 3, -1),
    "replicated": (lambda: chain(conv(3, padding=2, padding_mode="replicate")), 1, 3, -2),
    "batch norm": (lambda: chain(conv(3, 2), nn.BatchNorm2d(2)), 2, 3, 0),
    "instance norm": (lambda: chain(conv(3), nn.InstanceNorm2d(2)), 1, 10, 0),
    "group norm": (lambda: chain(conv(3, 2), nn.GroupNorm(1, 2)), 2, 9, 0),
    "as tokens": (lambda: chain(blurred, lambda x: x.flatten(2).transpose(1, 2).reshape(1, 10, 12, 2)), 1, 3, -1),
    "blocks": (lambda: chain(lambda x: windows_of(x).mean((3, 5))), 2, 2, 0),
    "windows and back": (
        lambda: chain(lambda x: (windows_of(x) + windows_of(x).amax((3, 5), True)).view(x.shape)),
        1,
        2,
        0,
    ),
    "unfolded": (lambda: chain(lambda x: x.unfold(2, 3, 2).unfold(3, 2, 2).amax((-1, -2))), 2, 3, 0),
    "im2col": (lambda: chain(lambda x: F.unfold(x, 3, stride=2)[:, 1:3]), 2, 1, 0),
    "col2im": (lambda: chain(lambda x: F.fold(F.unfold(x, 3, stride=2).flip(1), x.shape[2:], 3, stride=2)), 1, 5, -2),
    "written in place": (lambda: chain(written), None, 4, None),
    "cumulative": (lambda: chain(lambda x: x.cumsum(2)), None, 10, None),
    "picked": (lambda: chain(lambda x: x[:, :, torch.tensor([3, 1, 1])]), None, 1, None),
    "joined in space": (lambda: chain(lambda x: torch.cat([x[:, :, :2], blurred(x)], 2)), 1, 3, None),
    "stacked": (lambda: chain(lambda x: torch.stack([x, blurred(x)], 2).amax(1)), 1, 3, -1),
    "softmax": (lambda: chain(conv(3), lambda x: (x / 1e4).softmax(2)), 1, 10, 0),
    "matrix": (lambda: chain(lambda x: x.transpose(2, 3) @ torch.ones(x.shape[2], 3, dtype=x.dtype)), None, 10, None),
    "flattened": (lambda: chain(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(60, 3)), None, 10, None),
}


@pytest.mark.parametrize("name", CASES)
def test_operations(name):
    build, step, field, start = CASES[name]
    seen = check(build(), (1, 2, 10, 12))
    layer = seen.layers[-1]
    assert layer.receptive_field[0] == field
    if step is None:
        assert layer.reduction is None
    else:
        assert str(layer.reduction[0]) == str(step)
    assert layer.start[0] == start and not any(each.assumed for each in seen.layers)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (lambda: nn.Sequential(nn.Conv1d(2, 2, 3, 2, 1), pt.MaxPool1d(3), nn.MaxPool1d(2, 1), nn.AvgPool1d(2)), (1, 2, 41)),
        (lambda: nn.Sequential(nn.Conv1d(2, 2, 3, padding="same"), nn.LPPool1d(2, 2), nn.Upsample(scale_factor=3)), (1, 2, 17)),
        (lambda: nn.Sequential(nn.Conv3d(2, 2, (1, 3, 2)), pt.AvgPool3d(2), nn.MaxPool3d((2, 1, 1), 1)), (1, 2, 6, 7, 5)),
        (lambda: nn.Sequential(nn.ConvTranspose3d(2, 2, 2, 2), nn.AdaptiveAvgPool3d((3, None, 1))), (1, 2, 4, 3, 3)),
    ],
)  # fmt: skip
def test_other_ranks(model, shape):
    assert not any(layer.assumed for layer in check(model(), shape).layers)


class Graph(nn.Module):
    """A random network: each node takes earlier maps, made the same size where they are put together."""

    def __init__(self, seed):
        super().__init__()
        draw = random.Random(seed)
        self.parts, self.joins = nn.ModuleList(), []
        for number in range(draw.randint(4, 7)):
            self.joins.append(
                (draw.randrange(number + 1), draw.randrange(number + 1), draw.choice(["add", "cat", "one", "one"]))
            )
            self.parts.append(self.node(draw, self.joins[-1][2] == "cat"))

    @staticmethod
    def node(draw, joined):
        channels = 4 if joined else 2
        k, s, d = draw.randint(1, 3), draw.randint(1, 2), draw.randint(1, 2)
        kinds = [
            lambda: nn.Conv2d(channels, 2, k, s, draw.randint(0, 1), d),
            lambda: nn.Conv2d(channels, 2, (k, 3), (1, s), (k // 2, 0), groups=2),
            lambda: nn.ConvTranspose2d(channels, 2, k, s, 0, 0),
            lambda: nn.Sequential(nn.MaxPool2d(k, s, k // 2, d), nn.Conv2d(channels, 2, 1)),
            lambda: nn.Sequential(pt.AvgPool2d((k, 2), s, padding=((0, 1), (1, 0))), nn.Conv2d(channels, 2, 1)),
            lambda: nn.Sequential(pt.MaxBlurPool2d(3, stride=s), nn.Conv2d(channels, 2, 1)),
            lambda: nn.Sequential(nn.Upsample(scale_factor=draw.choice([2, 3])), nn.Conv2d(channels, 2, k, 2)),
            lambda: nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(channels, 2, k, 2)),
            lambda: nn.Sequential(nn.ZeroPad2d((1, 0, -1, 2)), nn.Conv2d(channels, 2, 2), nn.BatchNorm2d(2)),
            lambda: nn.Sequential(nn.Conv2d(channels, 8, 1), nn.PixelShuffle(2), nn.MaxPool2d(2)),
            lambda: nn.Sequential(
                nn.Conv2d(channels, 2, 1), Function(lambda x: x.permute(0, 1, 3, 2)[:, :, 1:].transpose(2, 3))
            ),
            lambda: nn.Sequential(nn.AdaptiveAvgPool2d((5, None)), nn.Conv2d(channels, 2, 1)),
            lambda: nn.Sequential(nn.Conv2d(channels, 2, 1), Function(lambda x: x[:, :, ::2].flip(3))),
        ]
        return draw.choice(kinds)()

    def forward(self, x):
        maps = [x]
        for part, (i, j, how) in zip(self.parts, self.joins, strict=True):
            a, b = maps[i], maps[j]
            if how != "one":
                rows, columns = (min(m, n) for m, n in zip(a.shape[2:], b.shape[2:], strict=True))
                a, b = a[:, :, :rows, :columns], b[:, :, :rows, :columns]
                a = a + b if how == "add" else torch.cat([a, b], 1)
            maps.append(part(a) + 1)
        return maps[-1]


@pytest.mark.parametrize("seed", range(40))
def test_random_networks(seed):
    model = None
    while model is None:
        model = observable(Graph(seed), seed)
        try:
            model(torch.rand(1, 2, 13, 11, dtype=torch.float64))
        except (RuntimeError, ValueError):  # the maps became too small
            model, seed = None, seed + 1000
    seen = check(model, (1, 2, 13, 11))
    assert not any(layer.assumed for layer in seen.layers)
    for axis in seen.layers[-1].reach:
        if axis.even and not axis.mixed:  # windows as they are on padding hold what is left of them
            assert bool((axis.padded_first <= axis.first).all() and (axis.padded_last <= axis.last).all())


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic", "area", "antialiased"])
def test_long_resizings_read_what_short_ones_do(mode, monkeypatch):
    """The unit vectors of a long axis are too many: its ends are worked out from the middle."""
    from poolwise.instruments.tracing import windows

    options = {"mode": "bilinear", "antialias": True} if mode == "antialiased" else {"mode": mode}
    model = Function(lambda x: F.interpolate(x, scale_factor=3, **options))
    windows.resized.cache_clear()
    check(model, (1, 1, 30, 2))
    monkeypatch.setattr(windows, "LARGEST", 2000)
    windows.resized.cache_clear()
    found = check(model, (1, 1, 30, 2))
    windows.resized.cache_clear()
    assert not found.layers[-1].assumed


def test_what_has_no_rule_sees_everything():
    class Sampled(nn.Module):
        def forward(self, x):
            places = torch.zeros(1, 4, 4, 2, dtype=x.dtype)
            return F.grid_sample(F.max_pool2d(x, 2), places, align_corners=False)

    found = trace(Sampled(), (1, 2, 8, 8))
    last = found.layers[-1]
    assert last.assumed and last.receptive_field == (8, 8) and "grid_sampler" in found.notes[0]


def test_box():
    model = observable(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(1, 1, 3, 2)))
    layer = trace(model, (1, 1, 16, 20)).layers[-1]
    first, last = observed(model, (1, 1, 16, 20))[1]
    for position in ((0, 0), (2, 3), (1, -1)):
        assert layer.box(position)[1] == (int(first[0, 0][position]), int(last[0, 0][position]) + 1)
        assert layer.box((0, 0, *position)) == layer.box(position)
    with pytest.raises(ValueError, match="no output there"):
        layer.box((3, 0))
