"""Training from a seed, counting mistakes, and how both errors move with the number of images."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import poolwise.torch as pt  # noqa: E402
from poolwise.instruments import balanced_order, errors, fit, learning_curve  # noqa: E402

nn = torch.nn


def bars(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Horizontal or vertical bars in noise: easy to learn, and to learn by heart."""
    random = np.random.default_rng(seed)
    y = np.arange(n) % 2
    x = random.normal(0, 1, (n, 1, 8, 8))
    for image, label in zip(x, y, strict=True):
        at = random.integers(8)
        image[0, at if label else slice(None), slice(None) if label else at] += 1.5
    return torch.from_numpy(x).float(), torch.from_numpy(y)


def net(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), pt.MaxPool2d(2), nn.Dropout(0.2), nn.Flatten(),
        nn.Linear(128, 2),
    )  # fmt: skip


def test_the_seed_decides_everything():
    x, y = bars(48)
    runs = []
    for number, seed in enumerate((0, 0, 1)):
        model = net(0).eval()
        torch.manual_seed(number)  # must not matter
        before = torch.get_rng_state()
        runs.append(fit(model, x, y, steps=12, batch=16, rate=0.01, seed=seed))
        assert torch.equal(torch.get_rng_state(), before)
        assert not any(module.training for module in model.modules())
    assert runs[0] == runs[1] != runs[2] and len(runs[0]) == 12
    assert np.mean(runs[0][-4:]) < np.mean(runs[0][:4])


class Counter(nn.Module):
    """Writes down which images it was shown."""

    def __init__(self):
        super().__init__()
        self.seen: list[list[int]] = []
        self.weight = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        if self.training:
            self.seen.append(x.flatten().int().tolist())
        return self.weight.expand(len(x), 2)


def test_every_epoch_shows_every_image_once():
    model, ticks = Counter(), []
    x = torch.arange(10.0).reshape(10, 1, 1)
    fit(model, x, torch.arange(10) % 2, steps=7, batch=3, rate=0.1, seed=0, tick=lambda: ticks.append(1))
    assert len(ticks) == 7 and [len(batch) for batch in model.seen] == [3] * 7
    for start in (0, 3):
        epoch = [image for batch in model.seen[start : start + 3] for image in batch]
        assert len(set(epoch)) == 9
    assert model.seen[0:3] != model.seen[3:6]
    model.seen.clear()
    fit(model, x, torch.arange(10) % 2, steps=2, batch=64, rate=0.1, seed=0)
    assert [sorted(batch) for batch in model.seen] == [list(range(10))] * 2


def test_the_rate_falls_to_nothing_along_a_cosine(monkeypatch):
    rates = []
    step = torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: (rates.append(self.param_groups[0]["lr"]), step(self)))
    fit(Counter(), torch.zeros(4, 1, 1), torch.tensor([0, 1, 0, 1]), steps=8, batch=4, rate=0.5, seed=0)
    np.testing.assert_allclose(rates, 0.25 * (1 + np.cos(np.pi * np.arange(8) / 8)), rtol=1e-9)


def test_errors_are_counted():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.9)).train()
    labels = torch.tensor([0, 0, 1])
    error, loss = errors(model, logits[:, :, None], labels, batch=2)
    assert error == pytest.approx(2 / 3)
    assert loss == pytest.approx(float(nn.functional.cross_entropy(logits, labels)))
    assert model.training and model[1].training


def test_shuffles_are_balanced_and_nested():
    labels = np.repeat([0, 1, 2], [50, 20, 5])
    order = balanced_order(labels)
    assert sorted(order) == list(range(75))
    for n in range(1, 16):
        counts = np.bincount(labels[order[:n]], minlength=3)
        assert counts.max() - counts.min() <= 1
    assert list(balanced_order(labels, 0)) == list(order) != list(balanced_order(labels, 1))


def test_more_images_close_the_gap():
    train, test = bars(300), bars(200, seed=1)
    small, large = learning_curve(net, train, test, [10, 300], [0, 1, 2], steps=60, batch=32, rate=0.01)
    assert (small.size, large.size) == (10, 300)
    assert small.train.mean == 0 and small.test.mean > large.test.mean
    assert small.gap.mean > large.gap.mean and small.gap.low > 0
    for point in (small, large):
        gaps = [b - a for a, b in zip(point.train.values, point.test.values, strict=True)]
        assert point.gap.values == pytest.approx(gaps) and point.gap.low <= point.gap.mean <= point.gap.high
    again = learning_curve(net, train, test, [10], [0], steps=60, batch=32, rate=0.01)[0]
    assert again.train.values == small.train.values[:1] and again.gap.low is None
    assert again.test.values == small.test.values[:1]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"y": torch.tensor([0, 1, 2, 5])}, "more classes than"),
        ({"y": torch.tensor([0, 1])}, "labels do not fit"),
        ({"y": torch.tensor([0.0, 1.0, 0.0, 1.0])}, "labels do not fit"),
        ({"y": torch.tensor([0, 1, 0, -1])}, "labels do not fit"),
        ({"steps": 0}, "cannot go on"),
        ({"batch": 0}, "cannot go on"),
        ({"rate": float("nan")}, "cannot go on"),
        ({"x": torch.full((4, 1, 8, 8), float("inf"))}, "NaN or infinity"),
        ({"x": torch.zeros(4, 1, 9, 9, 9)}, "does not take these images"),
    ],
)
def test_training_refuses(change, text):
    given = {
        "x": torch.zeros(4, 1, 8, 8),
        "y": torch.tensor([0, 1, 0, 1]),
        "steps": 1,
        "batch": 4,
        "rate": 0.1,
        "seed": 0,
    }
    with pytest.raises(ValueError, match=text):
        fit(net(0), **{**given, **change})


def test_divergence_is_said():
    x = torch.full((4, 1, 1), 1e30)
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2))
    with pytest.raises(ValueError, match="training diverged"):
        fit(model, x, torch.tensor([0, 1, 0, 1]), steps=5, batch=4, rate=1e20, seed=0)


@pytest.mark.parametrize(("sizes", "seeds"), [([0], [0]), ([5], [0]), ([], [0]), ([2], [])])
def test_curves_refuse(sizes, seeds):
    part = torch.zeros(4, 1, 8, 8), torch.tensor([0, 1, 0, 1])
    with pytest.raises(ValueError, match="nothing to train on"):
        learning_curve(net, part, part, sizes, seeds, steps=1, batch=2, rate=0.1)
