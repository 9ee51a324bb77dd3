"""Consistency of nets whose answer is known, and intervals that hold the truth."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import poolwise.torch as pt  # noqa: E402
from poolwise.instruments import circular_consistency, compass, consistency, crop_consistency  # noqa: E402
from poolwise.instruments.intervals import mean_interval, share_interval  # noqa: E402

nn = torch.nn


class FirstRow(nn.Module):
    """Class 1 where the first row holds anything: a net whose answer depends on the position."""

    def forward(self, x):
        lit = x[:, 0, 0].amax(-1)
        return torch.stack([1 - lit, lit], 1)


class Parity(nn.Module):
    """Class 1 where an odd column holds the brightest pixel."""

    def forward(self, x):
        odd, even = x[..., 1::2].amax((1, 2, 3)), x[..., ::2].amax((1, 2, 3))
        return torch.stack([even, odd], 1)


def anywhere() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 5, 3, padding=1, padding_mode="circular"), nn.ReLU(), pt.AdaptiveMaxPool2d(1), nn.Flatten()
    )


def noise(n: int = 30, size: int = 8) -> torch.Tensor:
    return torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(0))


def test_consistency_counts_what_changes():
    images = torch.zeros(4, 1, 5, 5)
    images[0, 0, 0, 2] = images[1, 0, 1, 2] = images[2, 0, 4, 4] = 1
    found = consistency(FirstRow(), images, [(1, 0), (-1, 0), (0, 1)], batch=3)
    # Down: image 0 leaves the first row. Up: image 0 is lost, image 1 arrives. Sideways: nothing.
    assert found.unchanged == {(1, 0): 0.75, (-1, 0): 0.5, (0, 1): 1.0}
    assert found.mean == 0.75 and found.worst == 0.5 and found.images == 4


def test_global_pooling_does_not_mind_shifts():
    images = torch.zeros(6, 1, 9, 9)
    images[:, :, 3:6, 3:6] = torch.rand(6, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Conv2d(1, 5, 1), pt.AdaptiveMaxPool2d(1), nn.Flatten())
    assert consistency(model, images, compass(1) + compass(3)).mean == 1


def test_consistency_refuses():
    images = torch.zeros(1, 1, 5, 5)
    for shifts, text in ([(5, 0)], "does not fit"), ([(1,)], "does not fit"), ([], "nothing"):
        with pytest.raises(ValueError, match=text):
            consistency(FirstRow(), images, shifts)


def test_no_stride_and_circular_borders_keep_every_answer():
    torch.manual_seed(0)
    for shift in (1, 3, 7):
        found = circular_consistency(anywhere(), noise(), shift)
        assert found.share == found.high == 1 and 0.85 < found.low < 1
        assert (found.images, found.pairs, found.shift) == (30, 8, shift)


@pytest.mark.parametrize(("shift", "share"), [(1, 2 / 8), (2, 1.0), (3, 2 / 8)])
def test_circular_shifts_of_a_position_detector(shift, share):
    """Only the two directions that do not move columns keep the parity of an odd shift."""
    found = circular_consistency(Parity(), noise(), shift, batch=7)
    assert found.share == share


def test_circular_shifts_along_one_and_three_axes():
    line = nn.Sequential(pt.AdaptiveMaxPool1d(1), nn.Flatten())
    assert circular_consistency(line, torch.rand(3, 2, 6), 1).pairs == 2
    box = nn.Sequential(pt.AdaptiveMaxPool3d(1), nn.Flatten())
    assert circular_consistency(box, torch.rand(3, 2, 4, 4, 4), 1).pairs == 26


def brute_crops(images: torch.Tensor, shift: int) -> float:
    """The share over all pairs of different corners."""
    before = shift // 2
    wide = np.pad(images.numpy(), [(0, 0), (0, 0), *[(before, shift - before)] * 2], mode="reflect")
    size = images.shape[-1]
    corners = [(i, j) for i in range(shift + 1) for j in range(shift + 1)]
    with torch.no_grad():
        answers = np.stack(
            [Parity()(torch.from_numpy(wide[..., i : i + size, j : j + size])).argmax(1).numpy() for i, j in corners]
        )
    pairs = [(answers[a] == answers[b]).mean() for a in range(len(corners)) for b in range(len(corners)) if a != b]
    return float(np.mean(pairs))


@pytest.mark.parametrize("shift", [1, 2, 3])
def test_crops_are_random_pairs_of_different_windows(shift):
    images = noise(60)
    found = crop_consistency(Parity(), images, shift, pairs=60)
    assert found.share == pytest.approx(brute_crops(images, shift), abs=0.02)
    assert found.images == 60 and found.pairs == 60 and found.low <= found.share <= found.high


def test_crops_are_windows_of_the_mirrored_image():
    seen = []

    class Witness(nn.Module):
        def forward(self, x):
            seen.extend(image.numpy().tobytes() for image in x)
            return torch.zeros(len(x), 2)

    image = noise(1, 5)
    crop_consistency(Witness(), image, 3, pairs=200)
    wide = np.pad(image.numpy()[0], [(0, 0), (1, 2), (1, 2)], mode="reflect")
    assert set(seen) == {wide[:, i : i + 5, j : j + 5].tobytes() for i in range(4) for j in range(4)}
    assert image.numpy().tobytes() in seen  # not moved at all is one of them
    assert all(first != second for first, second in zip(seen[::2], seen[1::2], strict=True))


def test_crops_of_a_constant_never_differ():
    for shape in (4, 1, 6), (4, 1, 6, 6), (4, 1, 6, 6, 6):
        flat = nn.Sequential(nn.Flatten(), nn.Linear(6 ** (len(shape) - 2), 3))
        assert crop_consistency(flat, torch.ones(shape), 2).share == 1


def test_the_same_seed_draws_the_same_crops():
    first, again, other = (crop_consistency(Parity(), noise(), 1, seed=seed) for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("shift", [0, -1, 5, 1.5])
@pytest.mark.parametrize("measure", [crop_consistency, circular_consistency])
def test_shifts_that_do_not_fit(measure, shift):
    with pytest.raises(ValueError, match="a shift does not fit"):
        measure(FirstRow(), torch.zeros(1, 1, 5, 5), shift)


@pytest.mark.parametrize("measure", [crop_consistency, circular_consistency])
def test_models_that_do_not_classify(measure):
    with pytest.raises(ValueError, match="does not classify"):
        measure(nn.Identity(), torch.zeros(1, 1, 5, 5), 1)
    model = FirstRow().train()
    measure(model, torch.zeros(1, 1, 5, 5), 1)
    assert model.training
    with pytest.raises(ValueError, match="pairs=0"):
        crop_consistency(model, torch.zeros(1, 1, 5, 5), 1, pairs=0)


@pytest.mark.parametrize(
    ("share", "alike", "count", "pairs"), [(0.9, 2, 100, 8), (0.7, 0.3, 60, 4), (0.97, 5, 300, 8), (0.5, None, 80, 4)]
)
def test_intervals_hold_the_truth(share, alike, count, pairs):
    """Pairs of one image agree with a chance of the image's own: from nearly all or nothing to the same for all images."""
    random, held = np.random.default_rng(0), 0
    for _ in range(400):
        chances = share if alike is None else random.beta(share * alike, (1 - share) * alike, count)
        low, high = share_interval(random.binomial(pairs, chances, count) / pairs)
        assert 0 <= low < high <= 1
        held += low <= share <= high
    assert 0.90 <= held / 400 <= 0.99


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_intervals_where_all_images_agree(value):
    low, high = share_interval(np.full(50, value))
    assert low <= value <= high and 0.05 < high - low < 0.3
    one = share_interval(np.array([value]))
    assert one[0] <= value <= one[1]


def test_means_over_seeds():
    random, held = np.random.default_rng(0), 0
    for _ in range(400):
        found = mean_interval(random.normal(3, 2, 4))
        held += found.low <= 3 <= found.high
    assert 0.90 <= held / 400 <= 0.99
    assert mean_interval([0.5, 0.5, 0.5]).low == 0.5
    assert mean_interval([0.25]).low is None and mean_interval([0.25]).mean == 0.25
