"""What ``poolwise measure`` does: the instruments one after another, their results as plain values and pictures."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import instruments as tools
from ..instruments.networks import as_images, check_shift, evaluating, map_shapes, maps, module_named, plain, scores
from ..instruments.places import box_of
from .output import CommandError

__all__ = ["Measurement"]

PROBED = 2000
"""Training images for a probe at most: more make it slow and hardly better."""
FIELDS = 64
"""Images that effective receptive fields and the bare operators are averaged over."""
UNITS, PATCHES = 8, 9
"""Rows and columns of a sheet of patches."""
STEPS = 300
"""Of each network that is trained for `overfitting`, where --train does not say."""


class Measurement:
    """One network on one data set, and what was found.

    Raises
    ------
    ValueError
        When it is made, and so before anything is trained: for a network that does not take the images or does not
        classify them, layers that it does not have, and shifts that are too large.
    """

    def __init__(self, args: argparse.Namespace, model: Any, factory: Callable[[int], Any], data: Any) -> None:
        self.args, self.model, self.factory, self.data = args, model, factory, data
        self.train = _part(data.train_images, data.train_labels, len(data.train_labels))
        self.test = _part(data.test_images, data.test_labels, args.images)
        self.files: dict[str, bytes] = {}
        self.weights: dict[str, Any] | None = None
        one = as_images("measure", model, self.test[0][:1])
        with evaluating(model):
            scores("measure", model, one)
        for layer in args.layers or ():
            module_named("measure", model, layer)
        # By default the last layer of each shape: after the activation, and before and after a pooling.
        shapes = map_shapes("measure", model, one)
        last = [name for (name, now), (_, then) in zip(shapes, [*shapes[1:], ("", ())], strict=True) if now != then]
        self.layers = tuple(args.layers or dict.fromkeys(last))
        outputs = next(maps("measure", model, one, self.layers, 1))
        self.corners = {name: (0,) * (y.ndim - 2) for name, y in outputs.items() if y.ndim == one.ndim}
        total = len(self.train[0])
        self.sizes = args.sizes or sorted({max(1, total // 16), max(1, total // 4), total})
        if "overfitting" in args.what and self.sizes[-1] > total:
            raise CommandError(f"--sizes {self.sizes[-1]} is more than the {total:,} training images there are", 2)
        if {"shifts", "consistency"} & set(args.what):
            for shift in args.shifts:
                check_shift("measure", shift, one.shape[2:])

    def start_from(self, weights: dict[str, Any]) -> None:
        """Weights that the network gets after it was measured without them."""
        own = self.model.state_dict()
        parts = {
            "lacks": [name for name in own if name not in weights],
            "has no place for": [name for name in weights if name not in own],
            "has another shape for": [
                n for n, value in own.items() if n in weights and value.shape != weights[n].shape
            ],
        }
        said = "; ".join(f"it {word} {', '.join(names[:3])}" for word, names in parts.items() if names)
        if said:
            said = said.replace("it has no place for", "the model has no place for")
            raise CommandError(f"{self.args.weights} does not fit the model: {said}", 2)
        self.weights = weights

    def run(self) -> dict[str, Any]:
        """Everything that was asked for; pictures are in `files`."""
        args, losses = self.args, []
        changes = self.weights is not None or args.train is not None
        before = self._state("-before") if changes else {}
        if self.weights is not None:
            self.model.load_state_dict(self.weights)
        if args.train is not None:
            losses = tools.fit(
                self.model, *self.train, steps=args.train, batch=args.batch, rate=args.rate, seed=args.seed
            )
        after = self._state("-after" if changes else "")
        found = self._facts(losses)
        measures = {"shifts": self._shifts, "consistency": self._consistency, "overfitting": self._overfitting}
        for name in args.what:
            found[name] = measures[name]() if name in measures else {"before": before.get(name), "after": after[name]}
        if "features" in args.what:
            found["features"]["patches"] = self._patches()
        found["files"] = sorted(self.files)
        return _finite(found)

    def _facts(self, losses: list[float]) -> dict[str, Any]:
        train, test = (tools.errors(self.model, *part) for part in (self.train, self.test))
        source = {name: getattr(self.data, name) for name in ("name", "source", "licence", "split", "sha256")}
        return {
            "model": self.args.model,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "weights": None if self.args.weights is None else str(self.args.weights),
            "data": {**source, "train": len(self.train[0]), "test": len(self.test[0])},
            "seed": self.args.seed,
            "steps": len(losses),
            "loss": losses[-1] if losses else None,
            "train_error": train[0],
            "test_error": test[0],
            "layers": list(self.layers),
        }

    def _state(self, suffix: str) -> dict[str, Any]:
        """What is measured before training and after it."""
        found: dict[str, Any] = {}
        if "field" in self.args.what:
            found["field"] = {}
            for layer in self.corners:
                field = tools.effective_field(self.model, self.test[0][:FIELDS], layer)
                title = f"{layer}{suffix.replace('-', ', ')}: {field.side:.1f} pixels"
                self.files[f"field-{_file(layer)}{suffix}.png"] = tools.field_picture(field.map, title)
                found["field"][layer] = field.as_dict()
        if "features" in self.args.what:
            train = (self.train[0][:PROBED], self.train[1][:PROBED])
            found["features"] = {
                layer or "pixels": tools.linear_probe(self.model, layer, train, self.test, self.args.seed)
                for layer in (None, *self.layers)
            }
        return found

    def _shifts(self) -> dict[str, Any]:
        """Of the network's layers, and of each operator alone, 3 x 3 with stride 2, on the images themselves."""
        shifts = self.args.shifts
        return {
            "layers": tools.map_change(self.model, self.test[0], shifts, self.layers),
            "operators": tools.operator_change(plain(self.test[0][:FIELDS]), 3, 2, shifts),
        }

    def _consistency(self) -> dict[str, Any]:
        measures = {
            "crops": lambda shift: tools.crop_consistency(self.model, self.test[0], shift, seed=self.args.seed),
            "circular": lambda shift: tools.circular_consistency(self.model, self.test[0], shift),
        }
        return {
            name: {shift: measure(shift).as_dict() for shift in self.args.shifts} for name, measure in measures.items()
        }

    def _overfitting(self) -> list[dict[str, Any]]:
        seeds = range(self.args.seed, self.args.seed + self.args.seeds)
        points = tools.learning_curve(
            self.factory, self.train, self.test, self.sizes, seeds,
            steps=self.args.train or STEPS, batch=self.args.batch, rate=self.args.rate,
        )  # fmt: skip
        return [point.as_dict() for point in points]

    def _patches(self) -> dict[str, Any]:
        """A sheet for each layer of which it is known where its units look; the first units that answer at all."""
        found: dict[str, Any] = {}
        for layer in self.corners:
            if box_of(self.model, tuple(self.test[0].shape), layer, self.corners[layer]) is None:
                found[layer] = None
                continue
            units = [unit for unit in tools.top_patches(self.model, layer, self.test[0], count=PATCHES) if unit.patches]
            found[layer] = [
                {
                    "unit": unit.unit,
                    "patches": [
                        {name: getattr(patch, name) for name in ("image", "activation", "box")}
                        for patch in unit.patches
                    ],
                }
                for unit in units[:UNITS]
            ]
            if units:
                scale = max(1, 48 // max(units[0].patches[0].pixels.shape[1:]))
                self.files[f"patches-{_file(layer)}.png"] = tools.patch_sheet(units[:UNITS], scale=scale, gap=2)
        return found


def _part(images: np.ndarray, labels: np.ndarray, count: int) -> tuple[Any, Any]:
    """The first images of a balanced shuffle, as floats in [0, 1], and their classes."""
    import torch

    order = tools.balanced_order(labels)[:count]
    return torch.from_numpy(images[order]).float() / 255, torch.from_numpy(labels[order].astype(np.int64))


def _file(layer: str) -> str:
    """A layer's name as a part of a file's."""
    return re.sub(r"[^\w.-]+", "-", layer)


def _finite(value: Any) -> Any:
    """What JSON can hold: keys are texts, and what is not finite is nothing."""
    if isinstance(value, dict):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
