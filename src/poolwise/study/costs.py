"""What a variant is and costs, without training it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from . import nets
from .record import Depth, Settings, Variant
from .variants import Way

__all__ = ["describe"]

WARM, TIMED = 2, 7
"""Calls before the clock starts, and calls of which the median is taken."""


def describe(way: Way, shape: Sequence[int], classes: int, settings: Settings) -> Variant:
    """A variant's windows, costs and times; nothing else should run meanwhile."""
    from ..instruments import trace

    model = nets.build(way, shape, classes, 0)
    found = trace(model, (1, *shape))
    layers = {layer.name: layer for layer in found.layers}
    depths = tuple(
        Depth(
            name, layer, layers[layer].output[1:], _same(layers[layer].reduction), _same(layers[layer].receptive_field)
        )
        for name, layer in nets.places(way, shape).items()
    )
    train_ms, infer_ms = _times(model, shape, classes, settings)
    return Variant(
        way.name, way.title, way.family, way.reduces, found.parameters, found.multiply_adds, found.pool_operations,
        sum(layer.output_bytes for layer in found.layers), train_ms, infer_ms, depths,
    )  # fmt: skip


def _same(values: Sequence[int] | None) -> int | None:
    """One number for all axes."""
    return values[0] if values and len(set(values)) == 1 else None


def _times(model: Any, shape: Sequence[int], classes: int, settings: Settings) -> tuple[float, float]:
    """Milliseconds of a step and of an inference, one thread."""
    import torch

    generator = torch.Generator().manual_seed(0)
    x = torch.rand((settings.batch, *shape), generator=generator)
    y = torch.randint(0, classes, (settings.batch,), generator=generator)
    optimizer = torch.optim.Adam(model.parameters(), settings.rate)

    def step() -> None:
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model.train()
        train = _median(step)
        model.eval()
        with torch.no_grad():
            return train, _median(lambda: model(x))
    finally:
        torch.set_num_threads(threads)


def _median(call: Callable[[], Any]) -> float:
    times = []
    for number in range(WARM + TIMED):
        started = time.perf_counter()
        call()
        if number >= WARM:
            times.append(time.perf_counter() - started)
    return round(statistics.median(times) * 1000, 3)
