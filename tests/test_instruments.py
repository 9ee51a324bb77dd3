"""Consistency against nets whose answer is known."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import poolwise.torch as pt  # noqa: E402
from poolwise.instruments import compass, consistency  # noqa: E402

nn = torch.nn


class FirstRow(nn.Module):
    """Class 1 where the first row holds anything: a net whose answer depends on the position."""

    def forward(self, x):
        lit = x[:, 0, 0].amax(-1)
        return torch.stack([1 - lit, lit], 1)


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
