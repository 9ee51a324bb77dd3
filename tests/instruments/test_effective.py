"""Effective receptive fields of nets whose gradients are known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import poolwise.torch as pt  # noqa: E402
from poolwise.instruments import effective_field, field_picture  # noqa: E402

nn = torch.nn


def ones(channels: int = 1, size: int = 3) -> nn.Conv2d:
    conv = nn.Conv2d(channels, channels, size, padding=size // 2, bias=False)
    nn.init.ones_(conv.weight)
    return conv


@pytest.mark.parametrize("depth", [1, 3, 6])
def test_a_stack_of_boxes_is_their_convolution(depth):
    model = nn.Sequential(*(ones() for _ in range(depth)))
    found = effective_field(model, torch.zeros(2, 1, 21, 21))
    line = np.ones(1)
    for _ in range(depth):
        line = np.convolve(line, np.ones(3))
    expected = np.zeros((21, 21))
    cut = slice(10 - depth, 11 + depth)
    expected[cut, cut] = np.outer(line, line) / line.max() ** 2
    np.testing.assert_allclose(found.map, expected, rtol=1e-6)
    assert found.count == (expected > 1 - 0.9545).sum()
    assert found.side == math.sqrt(found.count)
    assert found.layer == str(depth - 1) and found.unit == (10, 10) and found.images == 2
    assert found.theoretical == (2 * depth + 1,) * 2 and found.share == found.count / (2 * depth + 1) ** 2


def test_it_grows_like_a_root_of_the_depth():
    """The paper's law: the standard deviation of n boxes grows with the root of n, the theoretical field with n."""
    sides = [
        effective_field(nn.Sequential(*(ones() for _ in range(n))), torch.zeros(1, 1, 81, 81)).side for n in (8, 32)
    ]
    assert 1.8 < sides[1] / sides[0] < 2.3


@pytest.mark.parametrize("layer", [pt.AvgPool2d, nn.AvgPool2d])
def test_one_average_sees_its_window(layer):
    found = effective_field(nn.Sequential(layer(4)), torch.rand(3, 2, 12, 12), "0")
    expected = np.zeros((12, 12))
    expected[4:8, 4:8] = 1
    np.testing.assert_array_equal(found.map, expected)
    assert found.side == 4 and found.share == 1 and found.unit == (1, 1)


def test_of_an_even_number_of_units_the_one_after_the_middle():
    found = effective_field(nn.Sequential(pt.AvgPool2d(2)), torch.zeros(1, 1, 8, 12), "0")
    assert found.unit == (2, 3) and found.map[4:6, 6:8].sum() == found.map.sum() == 4


def test_a_maximum_sees_one_position_of_its_window_in_each_image():
    images = torch.zeros(3, 1, 6, 6)
    images[0, 0, 2, 2] = images[1, 0, 2, 2] = images[2, 0, 3, 2] = 1
    found = effective_field(nn.Sequential(pt.MaxPool2d(2)), images, "0")
    expected = np.zeros((6, 6))
    expected[2, 2], expected[3, 2] = 1, 0.5
    np.testing.assert_array_equal(found.map, expected)
    assert found.count == 2 and found.theoretical == (2, 2) and found.share == 0.5


def test_blurs_have_binomial_weights():
    found = effective_field(nn.Sequential(pt.BlurPool2d(5, 1)), torch.zeros(1, 1, 11, 11), "0")
    line = np.array([0, 0, 0, 1, 4, 6, 4, 1, 0, 0, 0]) / 6
    np.testing.assert_allclose(found.map, np.outer(line, line), rtol=1e-6)


@pytest.mark.parametrize(
    ("conv", "shape", "side"),
    [(nn.Conv1d, (2, 1, 9), 3), (nn.Conv3d, (1, 1, 7, 7, 7), 3)],
)
def test_one_and_three_axes(conv, shape, side):
    layer = conv(1, 1, 3, padding=1)
    nn.init.ones_(layer.weight)
    found = effective_field(nn.Sequential(layer), torch.zeros(shape))
    assert found.map.shape == shape[2:] and found.side == pytest.approx(side) and found.share == 1
    assert field_picture(found.map)[:8] == b"\x89PNG\r\n\x1a\n"


def test_channels_do_not_cancel_between_images():
    """Gradients are made positive image by image and input channel by input channel, before the mean."""
    conv = nn.Conv2d(2, 1, 1, bias=False)
    conv.weight.data = torch.tensor([1.0, -1.0]).reshape(1, 2, 1, 1)
    found = effective_field(nn.Sequential(conv), torch.zeros(1, 2, 3, 3))
    assert found.map[1, 1] == 1 and found.map.sum() == 1


def test_the_default_layer_is_the_last_map():
    model = nn.Sequential(ones(), nn.ReLU(inplace=True), pt.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
    assert effective_field(model, torch.rand(1, 1, 5, 5)).layer == "1"


def test_what_the_next_layer_writes_over_is_still_seen():
    """ReLU in place makes this net's map all zero; the convolution before it has a gradient all the same."""
    conv = ones()
    nn.init.constant_(conv.weight, -1)
    model = nn.Sequential(conv, nn.ReLU(inplace=True))
    assert effective_field(model, torch.ones(1, 1, 5, 5), "0").side == 3
    dead = effective_field(model, torch.ones(1, 1, 5, 5), "1")
    assert dead.side == 0 and not dead.map.any()


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(ones(), nn.BatchNorm2d(1), nn.Dropout(0.5))
    model[1].eval()
    model[0].weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    effective_field(model, torch.rand(4, 1, 5, 5), "2")
    assert [module.training for module in model.modules()] == [True, True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == [False, True, True]
    assert all(p.grad is None for p in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("images", "layer", "text"),
    [
        (torch.zeros(0, 1, 5, 5), None, "no images"),
        (torch.zeros(1, 5), None, "too few axes"),
        (torch.zeros(1, 3, 5, 5), None, "does not take these images"),
        (torch.full((1, 1, 5, 5), math.nan), None, "NaN"),
        (torch.zeros(1, 1, 5, 5), "fatten", "no such layer.*\n.*\n.*one of flatten"),
        (torch.zeros(1, 1, 5, 5), "flatten", "not a map"),
    ],
)
def test_refusals(images, layer, text):
    model = nn.Sequential()
    model.add_module("conv", ones())
    model.add_module("flatten", nn.Flatten())
    with pytest.raises(ValueError, match=text):
        effective_field(model, images, layer)
    assert not any(module._forward_hooks for module in model.modules())
    with pytest.raises(TypeError, match="whole numbers"):
        effective_field(model, torch.zeros(1, 1, 5, 5, dtype=torch.uint8))
    with pytest.raises(TypeError, match="not a torch model"):
        effective_field("model", torch.zeros(1, 1, 5, 5))
