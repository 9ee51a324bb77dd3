"""The demo's networks: stacked convolution and pooling layers, and a twin that strides instead."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from ... import torch as pool_layers
from ...data import ImageSet
from ...instruments import Trace, Undecimated, compass, consistency, trace

__all__ = ["KINDS", "Outcome", "Settings", "build", "examine", "one_thread", "train"]

WIDTHS = (16, 32, 64)
BATCH = 128
"""Images per call where nothing is learned: their maps stay in the cache."""
KINDS = {
    "max": "max pooling",
    "avg": "average pooling",
    "strided": "no pooling, strided",
}


@dataclass(frozen=True)
class Settings:
    """How every net is trained."""

    epochs: int
    batch: int
    rate: float
    train_images: int
    test_images: int
    seed: int


@dataclass
class Outcome:
    """One trained net and what was measured of it."""

    kind: str
    title: str
    trace: Trace
    without_reduction: Undecimated | None
    """The same layers with every pooling stride at 1."""
    losses: list[float] = field(default_factory=list)
    train_accuracy: float = 0.0
    test_accuracy: float = 0.0
    unchanged: dict[int, float] = field(default_factory=dict)
    """Share of test predictions that stay, by how many pixels the image moved."""
    seconds: float = 0.0


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch in one thread, for the same figures on any number of cores.

    On a busy machine torch's threads wait for each other: on two cores shared with two other programs these nets took
    7 to 20 times as long in two threads as in one.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def build(kind: str, classes: int) -> nn.Sequential:
    """Three convolutions; the first two are halved by pooling, or by a stride of their own.

    All kinds have the same parameters: pooling has none, and a global average before the classifier makes the linear
    layer's size independent of how large the maps are.
    """
    layers: list[tuple[str, nn.Module]] = []
    channels = 1
    for number, width in enumerate(WIDTHS, 1):
        halve = number < len(WIDTHS)
        stride = 2 if halve and kind == "strided" else 1
        layers.append((f"conv{number}", nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)))
        layers.append((f"norm{number}", nn.BatchNorm2d(width)))
        layers.append((f"relu{number}", nn.ReLU()))
        if halve and kind != "strided":
            layer = pool_layers.MaxPool2d if kind == "max" else pool_layers.AvgPool2d
            layers.append((f"pool{number}", layer(2)))
        channels = width
    layers.append(("global average", pool_layers.AdaptiveAvgPool2d(1)))
    layers.append(("flatten", nn.Flatten()))
    layers.append(("linear", nn.Linear(channels, classes)))
    model = nn.Sequential()
    for name, module in layers:
        model.add_module(name, module)
    return model


def _tensors(images: np.ndarray, labels: np.ndarray, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first `count` images of a fixed shuffle, as float32 in [0, 1]."""
    chosen = np.random.default_rng(0).permutation(len(labels))[:count]
    x = torch.from_numpy(np.ascontiguousarray(images[chosen])).float() / 255
    return x, torch.from_numpy(labels[chosen])


def _accuracy(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    model.eval()
    with torch.no_grad():
        right = sum(int((model(a).argmax(1) == b).sum()) for a, b in zip(x.split(BATCH), y.split(BATCH), strict=True))
    return right / len(y)


def train(kind: str, data: ImageSet, settings: Settings, tick: Callable[[], Any]) -> tuple[nn.Sequential, Outcome]:
    """Train one net from the seed; `tick` is called after every step.

    Adam with a rate that falls to 0 along a cosine. Nothing is chosen by looking at the test images: the net of the
    last epoch is the one that is measured.
    """
    torch.manual_seed(settings.seed)
    model = build(kind, len(data.classes))
    x, y = _tensors(data.train_images, data.train_labels, settings.train_images)
    shape = (1, *data.shape)
    found = trace(model, shape, undecimated=kind != "strided")
    outcome = Outcome(kind, KINDS[kind], found, found.undecimated)
    optimizer = torch.optim.Adam(model.parameters(), settings.rate)
    steps = -(-len(x) // settings.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.epochs * steps)
    order = torch.Generator().manual_seed(settings.seed)
    started = time.perf_counter()
    model.train()
    for _ in range(settings.epochs):
        total = 0.0
        for chosen in torch.randperm(len(x), generator=order).split(settings.batch):
            loss = nn.functional.cross_entropy(model(x[chosen]), y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) * len(chosen)
            tick()
        outcome.losses.append(total / len(x))
    outcome.seconds = time.perf_counter() - started
    return model, outcome


def examine(model: nn.Sequential, outcome: Outcome, data: ImageSet, settings: Settings) -> None:
    """Accuracy on both parts, and whether predictions survive a move by one or two pixels."""
    outcome.train_accuracy = _accuracy(model, *_tensors(data.train_images, data.train_labels, settings.train_images))
    x, y = _tensors(data.test_images, data.test_labels, settings.test_images)
    outcome.test_accuracy = _accuracy(model, x, y)
    for distance in (1, 2):
        outcome.unchanged[distance] = consistency(model, x, compass(distance), batch=BATCH).mean
