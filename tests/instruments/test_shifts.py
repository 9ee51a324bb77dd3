"""Change of maps under circular shifts, where it can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import poolwise as pw  # noqa: E402
import poolwise.torch as pt  # noqa: E402
from poolwise.instruments import map_change, operator_change  # noqa: E402
from poolwise.instruments.shifts import OPERATORS  # noqa: E402

nn = torch.nn


def circular(channels: int = 3, **options) -> nn.Conv2d:
    return nn.Conv2d(1, channels, 3, padding=1, padding_mode="circular", **options)


def images(n: int = 4, size: int = 8) -> torch.Tensor:
    return torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(1))


def test_circular_convolutions_are_equivariant():
    model = nn.Sequential(circular(), nn.ReLU(), pt.AdaptiveAvgPool2d(1), nn.Flatten())
    moved = map_change(model, images(), [1, 3], ["0", "1", "3"])
    back = map_change(model, images(), [1, 3], ["0", "1"], aligned=True)
    for shift in (1, 3):
        assert back["0"][shift] == 0 and back["1"][shift] == 0
        assert moved["0"][shift] > 0.1 and moved["3"][shift] < 1e-5


def test_zero_padding_is_seen():
    model = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1))
    assert map_change(model, images(), [2], ["0"], aligned=True)["0"][2] > 0.01


def test_pooling_is_equivariant_by_its_stride_only():
    model = nn.Sequential(circular(), pt.MaxPool2d(2))
    assert map_change(model, images(), [1, 2, 3, 4], ["1"], aligned=True) == {"1": {2: 0.0, 4: 0.0}}
    strides = nn.Sequential(pt.MaxPool2d((2, 4)))
    assert map_change(strides, images(), [1, 2, 4], ["0"], aligned=True) == {"0": {2: 0.0, 4: 0.0}}


def test_a_lone_pixel_moves_by_root_two():
    x = torch.zeros(2, 1, 5, 5)
    x[0, 0, 2, 2], x[1, 0, 0, 0] = 1, 3
    assert map_change(nn.Sequential(nn.Identity()), x, [1, 4], ["0"])["0"] == {
        1: pytest.approx(math.sqrt(2)),
        4: pytest.approx(math.sqrt(2)),
    }


def test_the_mean_is_over_images_and_directions():
    """Rows that are all alike: vertical shifts change nothing, horizontal ones swap 0 and 1."""
    x = torch.zeros(2, 1, 4, 4)
    x[0, :, :, ::2] = 1
    x[1] = 1
    change = map_change(nn.Sequential(nn.Identity()), x, [1], ["0"], batch=1)["0"][1]
    assert change == pytest.approx((math.sqrt(2) / 2 + 0) / 2)


def test_maps_of_zeros():
    model = nn.Sequential(nn.Conv2d(1, 1, 1))
    nn.init.zeros_(model[0].weight)
    nn.init.zeros_(model[0].bias)
    assert map_change(model, images(), [1], ["0"]) == {"0": {1: 0.0}}


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_alone_are_the_layers(name):
    x = images(3)
    found = operator_change(x, 2, 2, [1, 2], [name])[name]
    pool = {
        "max_blur": lambda t: pw.max_blur_pool(t, (2, 2)),
        "subsample": lambda t: t[..., ::2, ::2],
    }.get(name, lambda t: pw.pool(t, name, (2, 2)))
    expected = []
    for axis, by in ((2, 1), (2, -1), (3, 1), (3, -1)):
        a, b = pool(x).flatten(1), pool(x.roll(by, axis)).flatten(1)
        expected.append(((b - a).norm(dim=1) / a.norm(dim=1)).mean())
    assert found[1] == pytest.approx(float(torch.stack(expected).mean()), rel=1e-5)
    assert set(found) == {1, 2}


def test_blurring_before_subsampling_changes_less():
    """Zhang's point, for the operators alone."""
    noise = np.random.default_rng(0).random((8, 1, 16, 16))
    found = {name: change[1] for name, change in operator_change(noise, 3, 2, [1]).items()}
    assert found["blur"] < found["subsample"] and found["max_blur"] < found["max"]


@pytest.mark.parametrize("shift", [0, -1, 8, 1.0, True, "1"])
def test_shifts_that_do_not_fit(shift):
    for call in (
        lambda: map_change(nn.Sequential(nn.Identity()), images(), [shift], ["0"]),
        lambda: operator_change(images(), 2, 2, [shift]),
    ):
        with pytest.raises(ValueError, match="a shift does not fit"):
            call()


def test_refusals():
    with pytest.raises(ValueError, match="no such layer"):
        map_change(nn.Sequential(nn.Identity()), images(), [1], ["1"])
    with pytest.raises(ValueError, match="not a map"):
        map_change(nn.Sequential(nn.Flatten()), images(), [1], ["0"], aligned=True)
    with pytest.raises(ValueError, match="not known"):
        map_change(nn.Sequential(pt.AdaptiveAvgPool2d(3)), images(), [1], ["0"], aligned=True)
    with pytest.raises(ValueError, match="no such operator"):
        operator_change(images(), 2, 2, [1], ["maximum"])
    with pytest.raises(ValueError, match="not images"):
        operator_change(np.zeros((1, 1, 4, 4), np.uint8), 2, 2, [1])
