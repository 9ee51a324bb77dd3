"""Patches that were planted are found where they lie; probes read what is there and nothing else."""

from __future__ import annotations

import io

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import poolwise.torch as pt  # noqa: E402
from poolwise.instruments import linear_probe, patch_sheet, top_patches  # noqa: E402

nn = torch.nn

CROSS = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]])
CORNER = torch.tensor([[1.0, 1, 1], [1, 0, 0], [1, 0, 0]])


def matched() -> nn.Sequential:
    """Two filters that answer most to the two patterns, and one that answers nothing."""
    conv = nn.Conv2d(1, 3, 3, bias=False)
    conv.weight.data = torch.stack([2 * CROSS - 1, 2 * CORNER - 1, torch.zeros(3, 3)])[:, None]
    return nn.Sequential(conv, nn.ReLU(inplace=True))


def planted() -> torch.Tensor:
    images = 0.2 * torch.rand(6, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    images[4, 0, 5:8, 1:4] = CROSS
    images[1, 0, 0:3, 9:12] = 0.9 * CROSS
    images[2, 0, 7:10, 2:5] = CORNER
    return images


def test_planted_patterns_are_found():
    x = planted()
    cross, corner, nothing = top_patches(matched(), "1", x, count=4, batch=4)
    first, second = cross.patches[:2]
    assert (first.image, first.position, first.box) == (4, (5, 1), ((5, 8), (1, 4)))
    assert (second.image, second.position, second.box) == (1, (0, 9), ((0, 3), (9, 12)))
    assert first.activation == pytest.approx(5) and second.activation == pytest.approx(4.5)
    np.testing.assert_array_equal(first.pixels, CROSS.numpy()[None])
    assert (corner.patches[0].image, corner.patches[0].box) == (2, ((7, 10), (2, 5)))
    assert nothing.unit == 2 and nothing.patches == ()
    for unit in (cross, corner):
        assert len({patch.image for patch in unit.patches}) == len(unit.patches) == 4
        strengths = [patch.activation for patch in unit.patches]
        assert strengths == sorted(strengths, reverse=True)


def test_units_and_counts_are_the_callers():
    found = top_patches(matched(), "0", planted(), units=[1, 0], count=99)
    assert [unit.unit for unit in found] == [1, 0] and len(found[0].patches) == 6


def test_the_answer_is_that_of_the_patch_alone():
    """What a unit of a deeper layer saw gives the same answer cut out of its image."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.Tanh(), pt.AvgPool2d(2), nn.Conv2d(4, 5, 3), nn.Tanh(), pt.MaxPool2d(2)
    )
    x = torch.rand(7, 2, 18, 18)
    for layer, depth in ("0", 1), ("2", 3), ("3", 4), ("5", 6):
        for unit in top_patches(model, layer, x, count=3):
            for patch in unit.patches:
                with torch.no_grad():
                    alone = model[:depth](torch.from_numpy(patch.pixels)[None])
                assert alone.shape[2:] == (1, 1)
                assert float(alone[0, unit.unit, 0, 0]) == pytest.approx(patch.activation, abs=1e-6)


def test_fields_that_leave_the_image_are_marked():
    model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1))
    nn.init.ones_(model[0].weight)
    x = torch.zeros(2, 1, 5, 5)
    x[0, 0, 0, 0], x[1, 0, 4, 4] = 1, 2
    model[0].weight.data[:, :, :1] = 0  # the strongest position is beside the pixel, at the border
    strongest, other = top_patches(model, "0", x)[0].patches
    assert strongest.image == 1 and strongest.box == ((2, 5), (2, 5))
    assert other.position == (0, 0) and other.box == ((0, 2), (0, 2)) and other.pixels.shape == (1, 3, 3)
    expected = [[np.nan, np.nan, np.nan], [np.nan, 1, 0], [np.nan, 0, 0]]
    np.testing.assert_array_equal(other.pixels[0], np.array(expected))


def test_of_a_layer_that_runs_twice_the_first_time_counts():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, bias=False)
            nn.init.ones_(self.conv.weight)

        def forward(self, x):
            return self.conv(self.conv(x))

    x = torch.zeros(1, 1, 9, 9)
    x[0, 0, 5, 5] = 1
    (patch,) = top_patches(Twice(), "conv", x)[0].patches
    assert patch.position == (3, 3) and patch.activation == 1 and patch.box == ((3, 6), (3, 6))


def test_along_one_axis():
    model = nn.Sequential(pt.MaxPool1d(3))
    x = torch.zeros(1, 1, 9)
    x[0, 0, 4] = 1
    (patch,) = top_patches(model, "0", x)[0].patches
    assert patch.box == ((3, 6),) and patch.pixels.tolist() == [[0, 1, 0]]
    with pytest.raises(ValueError, match="no such pictures"):
        patch_sheet(top_patches(model, "0", x))


def test_a_sheet_shows_the_patches_side_by_side():
    image = pytest.importorskip("PIL.Image")
    units = top_patches(matched(), "1", planted(), units=[0, 1], count=3)
    sheet = np.asarray(image.open(io.BytesIO(patch_sheet(units, scale=2, gap=1))))
    assert sheet.shape == (2 * 6 + 1, 3 * 6 + 2, 3)
    drawn = sheet[:6, :6].reshape(3, 2, 3, 2, 3)
    assert (drawn == drawn[:, :1, :, :1]).all()
    np.testing.assert_array_equal(drawn[:, 0, :, 0, 0] == 255, CROSS.bool().numpy())
    assert (sheet[6] == 255).all() and (sheet[:, 6] == 255).all()
    colour = np.asarray(image.open(io.BytesIO(patch_sheet(_outside()))))
    assert colour[0, 0].tolist() == [255, 0, 255] and colour[-1, -1].tolist() == [0, 0, 255]


def _outside():
    """A patch of three channels, blue, of which a corner lies outside."""
    from poolwise.instruments import Patch, UnitPatches

    pixels = np.zeros((3, 2, 2))
    pixels[2] = 1
    pixels[:, 0, 0] = np.nan
    return UnitPatches(0, (Patch(0, (0, 0), 1.0, ((0, 2), (0, 2)), pixels),))


def test_patches_refuse():
    for layer, options, text in (
        ("7", {}, "no such layer"),
        ("0", {"units": [3]}, "no such unit"),
        ("0", {"count": 0}, "nothing to look for"),
    ):
        with pytest.raises(ValueError, match=text):
            top_patches(matched(), layer, planted(), **options)
    with pytest.raises(ValueError, match="not a map"):
        top_patches(nn.Sequential(nn.Flatten()), "0", planted())
    with pytest.raises(ValueError, match="no such pictures"):
        patch_sheet([])


def blobs(n: int, shift: float, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(seed)
    y = torch.from_numpy(random.integers(0, 4, n))
    x = torch.from_numpy(random.normal(size=(n, 4, 8, 8))).float()
    x[torch.arange(n), y] += shift
    return x, y


def test_a_probe_reads_what_is_separable():
    model = nn.Sequential(nn.ReLU(), pt.AvgPool2d(2))
    assert linear_probe(model, "1", blobs(200, 3), blobs(200, 3, 1)) == 1
    assert linear_probe(model, None, blobs(200, 3), blobs(200, 3, 1)) == 1


def test_a_probe_does_not_mind_units_of_measurement():
    x, y = blobs(300, 3)
    scale = torch.tensor([1e-4, 1e-4, 1e-4, 1e-4, 1e3]).reshape(1, 5, 1, 1)
    noise = torch.randn(300, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    x = torch.cat([x, noise], 1) * scale + 50 * scale
    assert linear_probe(nn.Identity(), None, (x[:200], y[:200]), (x[200:], y[200:])) > 0.97


def test_a_probe_of_random_labels_is_at_chance():
    x, y = blobs(400, 0)
    found = linear_probe(nn.Sequential(nn.ReLU()), "0", (x, y), blobs(800, 0, 1))
    assert abs(found - 0.25) < 0.06


def test_a_probe_reads_only_its_depth():
    """The classes are in the signs, which the absolute value of the second layer takes away."""

    class Absolute(nn.Module):
        def forward(self, x):
            return x.abs()

    x, y = blobs(300, 0)
    x = torch.ones(300, 1, 2, 2) * (2 * (y % 2) - 1)[:, None, None, None] * (1 + torch.rand(300, 1, 1, 1))
    model = nn.Sequential(nn.Identity(), Absolute())
    labels = y % 2
    both = (x[:200], labels[:200]), (x[200:], labels[200:])
    assert linear_probe(model, "0", *both) == 1
    assert linear_probe(model, "1", *both) < 0.7


def test_a_probe_is_a_function_of_its_seed_and_changes_nothing():
    model = nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(216, 4)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    parts = blobs(150, 0.3), blobs(150, 0.3, 1)
    assert linear_probe(model, "1", *parts, seed=3) == linear_probe(model, "1", *parts, seed=3)
    assert 0.25 < linear_probe(model, "3", *parts) <= 1  # scores are features too
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training and model[1].training


def test_maps_are_averaged_to_four_positions_an_axis():
    from poolwise.instruments.probe import _features

    x = torch.rand(3, 2, 10, 6)
    found = _features("test", nn.Sequential(nn.Identity()), "0", x, 2)
    expected = nn.functional.adaptive_avg_pool2d(x, 4).flatten(1).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert _features("test", nn.Identity(), None, torch.rand(2, 1, 3, 40), 2).shape == (2, 96)


def test_few_images_and_constant_features():
    x = torch.zeros(3, 1, 2, 2)
    assert linear_probe(
        nn.Identity(), None, (x, torch.tensor([0, 1, 1])), (x, torch.tensor([1, 1, 0]))
    ) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="no such layer"):
        linear_probe(nn.Identity(), "depth", (x, torch.tensor([0, 1, 1])), (x, torch.tensor([0, 1, 1])))
    with pytest.raises(ValueError, match="labels do not fit"):
        linear_probe(nn.Identity(), None, (x, torch.tensor([0, 1])), (x, torch.tensor([0, 1, 1])))
    with pytest.raises(ValueError, match="cannot be compared"):
        y = torch.tensor([0, 1, 1])
        linear_probe(nn.Identity(), None, (x, y), (torch.zeros(3, 1, 3, 3), y))
