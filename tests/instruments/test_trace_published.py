"""Receptive fields that others published."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import slim  # noqa: E402

import poolwise.torch as pt  # noqa: E402
from poolwise.instruments import trace  # noqa: E402

nn = torch.nn


@pytest.mark.parametrize("name", slim.PUBLISHED)
def test_field_stride_and_padding(name):
    field, stride, padding, size = slim.PUBLISHED[name]
    last = trace(slim.build(name), (1, 1, size, size)).layers[-1]
    assert (last.receptive_field, last.reduction) == ((field, field), (stride, stride))
    assert last.start == (-padding, -padding) and not last.assumed


def lenet(pool):
    return nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.Tanh(), pool(2), nn.Conv2d(6, 16, 5), nn.Tanh(), pool(2), nn.Conv2d(16, 120, 5), nn.Flatten(),
        nn.Linear(120, 10),
    )  # fmt: skip


@pytest.mark.parametrize("pool", [nn.AvgPool2d, pt.AvgPool2d, nn.MaxPool2d, pt.MaxPool2d])
def test_lenet(pool):
    found = trace(lenet(pool), (1, 1, 32, 32))
    fields = [found.layer(name).receptive_field[0] for name in ("0", "2", "3", "5", "6")]
    assert fields == [5, 6, 14, 16, 32]
    assert [found.layer(name).reduction[0] for name in ("0", "2", "3", "5")] == [1, 2, 2, 4]
    assert found.layer("0").multiply_adds == 6 * 28 * 28 * 25 and found.layer("2").pool_operations == 6 * 28 * 28
    # The answer sees the whole image, at no place of its own.
    assert found.layers[-1].receptive_field == (32, 32) and found.layers[-1].reduction is None
    assert found.parameters == 156 + 2416 + 48120 + 1210
