"""What is done with one network: made, trained, measured."""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .jobs import Job
from .record import Run, Settings
from .variants import BY_NAME

__all__ = ["Material", "train_and_measure"]

Tick = Callable[[float], Any]
MEANS = 20
"""Points of a loss curve."""
TICKS = 20
"""Of one job's training: each is a message to the parent."""
BATCH = 64
"""Images per call where nothing is learned: with 512 the maps leave the cache, and an image takes three times as long."""
UNITS, PATCHES, LOOKED_AT = 4, 9, 12
"""Channels that are shown of each depth, patches of each, and channels of which the shown ones are the first alive."""


@dataclass(frozen=True)
class Material:
    """What all jobs share: the images, in the order in which sizes and tests take their first."""

    settings: Settings
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: int
    pixels: dict[int, float] = field(default_factory=dict)
    """What a probe reads off the pixels, by seed: no network is in it, so a process works it out once."""


def train_and_measure(job: Job, material: Material, tick: Tick) -> Run:
    """One record. The same job gives the same record to the last bit, in whatever process and order."""
    import torch

    from ..instruments import errors, fit, linear_probe
    from . import nets

    torch.set_num_threads(1)  # as many processes as cores
    torch.manual_seed(job.seed)
    settings = material.settings
    x, y = _tensors(material.train_images[: job.size], material.train_labels[: job.size])
    test_x, test_y = _tensors(material.test_images, material.test_labels)
    way = BY_NAME[job.variant]
    model = nets.build(way, x.shape[1:], material.classes, job.seed)
    places = nets.places(way, x.shape[1:])
    main = job.size == settings.sizes[-1]
    first = job.seed == settings.seeds[0]
    started = time.perf_counter()
    before = _untrained(model, places, (x, y), (test_x, test_y), settings, job.seed) if main else {}
    losses = fit(
        model, x, y, steps=settings.steps, batch=settings.batch, rate=settings.rate, seed=job.seed,
        tick=_sparse(tick, settings.steps, job.fit_ms),
    )  # fmt: skip
    train_error, train_loss = errors(model, x, y)
    test_error, test_loss = errors(model, test_x, test_y)
    more: dict[str, Any] = {}
    if main:
        more = _main(model, places, (x, y), (test_x, test_y), settings, job.seed, before)
        if job.seed not in material.pixels:
            few = _first((x, y), settings)
            material.pixels[job.seed] = linear_probe(model, None, few, (test_x, test_y), seed=job.seed)
        more["probes"]["pixels"] = material.pixels[job.seed]
        if first:
            more["patches"] = _patches(model, places, test_x)
        for field in more["fields"].values():
            for when in ("before", "after"):
                grid = field.pop(f"map_{when}")
                if first:
                    field[f"map_{when}"] = np.round(grid, 4).tolist()
    tick(job.measure_ms)
    return Run(
        job.variant, job.seed, job.size, train_error, test_error, train_loss, test_loss, _means(losses),
        round(time.perf_counter() - started, 3), **more,
    )  # fmt: skip


def _tensors(images: np.ndarray, labels: np.ndarray) -> tuple[Any, Any]:
    """Floats in [0, 1]."""
    import torch

    return torch.from_numpy(images).float() / 255, torch.from_numpy(labels)


def _sparse(tick: Tick, steps: int, total: float) -> Callable[[], None]:
    """A tick for every step that passes on about `TICKS` of them."""
    every, done = max(steps // TICKS, 1), 0

    def each() -> None:
        nonlocal done
        done += 1
        if done % every == 0 or done == steps:
            tick(total * (done - (done - 1) // every * every) / steps)

    return each


def _means(losses: list[float]) -> list[float]:
    return [float(np.mean(part)) for part in np.array_split(losses, min(MEANS, len(losses)))]


Pair = tuple[Any, Any]
Places = Mapping[str, str]


def _untrained(model: Any, places: Places, train: Pair, test: Pair, settings: Settings, seed: int) -> dict[str, Any]:
    """What is measured before anything is learned."""
    return {
        "fields": _fields(model, places, test[0][: settings.field_images], "before"),
        "probes": _probes(model, places, train, test, settings, seed),
    }


def _main(
    model: Any, places: Places, train: Pair, test: Pair, settings: Settings, seed: int, before: dict[str, Any]
) -> dict[str, Any]:
    """What is measured once for each variant and seed, at the main size."""
    from ..instruments import circular_consistency, crop_consistency, map_change

    moved = test[0][: settings.shift_images]
    few = test[0][: settings.field_images]
    changes = map_change(model, few, settings.shifts, list(places.values()))
    after = _fields(model, places, few, "after")
    probes = _probes(model, places, train, test, settings, seed)
    return {
        "crops": {str(shift): crop_consistency(model, moved, shift, batch=BATCH).share for shift in settings.shifts},
        "circular": {
            str(shift): circular_consistency(model, moved, shift, batch=BATCH).share for shift in settings.shifts
        },
        "map_change": {
            name: {str(shift): change for shift, change in changes[layer].items() if math.isfinite(change)}
            for name, layer in places.items()
        },
        "fields": {name: {**before["fields"][name], **after[name]} for name in places},
        "probes": probes,
        "probes_untrained": before["probes"],
    }


def _first(train: Pair, settings: Settings) -> Pair:
    return train[0][: settings.probe_images], train[1][: settings.probe_images]


def _fields(model: Any, places: Places, images: Any, when: str) -> dict[str, dict[str, Any]]:
    from ..instruments import effective_field

    found = {}
    for name, layer in places.items():
        field = effective_field(model, images, layer)
        found[name] = {when: float(field.side), f"map_{when}": field.map}
    return found


def _probes(model: Any, places: Places, train: Pair, test: Pair, settings: Settings, seed: int) -> dict[str, float]:
    from ..instruments import linear_probe

    few = _first(train, settings)
    return {name: linear_probe(model, layer, few, test, seed=seed) for name, layer in places.items()}


def _patches(model: Any, places: Places, images: Any) -> dict[str, list[dict[str, Any]]]:
    """Of each depth a few channels, and the parts of test images to which they answer most.

    The channels are the first ones that answer to anything: nobody chose them by their looks.
    """
    from ..instruments import patch_sheet, top_patches

    found: dict[str, list[dict[str, Any]]] = {}
    for name, layer in places.items():
        units = [unit for unit in top_patches(model, layer, images, range(LOOKED_AT), PATCHES) if unit.patches]
        found[name] = [
            {
                "unit": unit.unit,
                "pictures": base64.b64encode(patch_sheet(unit)).decode(),
                "count": len(unit.patches),
                "side": unit.patches[0].pixels.shape[-1],
            }
            for unit in units[:UNITS]
        ]
    return found
