"""What the units at a depth answer to: the image patches that excite them most."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..messages import refuse
from .networks import as_images, map_from, maps, module_named, plain
from .places import Box, traced_layer

__all__ = ["Patch", "UnitPatches", "patch_sheet", "top_patches"]

OUTSIDE = (255, 0, 255)
"""Colour of what lies outside the image: one that is rare in pictures."""


@dataclass(frozen=True)
class Patch:
    """The part of an image at a unit's receptive field, where the unit answers most."""

    image: int
    """Number of the image."""
    position: tuple[int, ...]
    """In the layer's map."""
    activation: float
    box: Box
    """``(first, end)`` per axis of the image."""
    pixels: np.ndarray
    """``(channels, *side)``: the same size for all patches of a layer; NaN where the field leaves the image."""


@dataclass(frozen=True)
class UnitPatches:
    """One unit's strongest answers."""

    unit: int
    """Channel."""
    patches: tuple[Patch, ...]
    """Strongest first, one per image. None for a unit that answers the same everywhere."""


def top_patches(
    model: Any, layer: str, images: Any, units: Sequence[int] | None = None, count: int = 9, batch: int = 64
) -> list[UnitPatches]:
    """The image patches that excite each unit of a layer most.

    A unit is a channel of the layer's map. In each image its strongest position is taken (the first in scan order of
    equal ones), and of the images those with the strongest answers (of equal ones the earlier image): no two patches are
    of the same image, so that one picture cannot fill the list with its own neighbours.

    Parameters
    ----------
    model : torch.nn.Module
        Run in evaluation mode and left as it was. `trace` must know where the layer's units look.
    layer : str
        Name of a module whose output is a map.
    images : torch.Tensor or numpy.ndarray, ``(n, channels, *spatial)``
        Floats.
    units : sequence of int, optional
        Channels; all by default.
    count : int
        Patches per unit; fewer where there are fewer images.
    batch : int
        Images per call of the model.

    Returns
    -------
    list of UnitPatches

    Raises
    ------
    ValueError
        For layers and units that do not exist, and where the layer's receptive field is not known.

    References
    ----------
    Girshick, Donahue, Darrell, Malik, "Rich feature hierarchies for accurate object detection and semantic
    segmentation", CVPR 2014 (section 3.1). Zeiler, Fergus, "Visualizing and understanding convolutional networks", ECCV
    2014.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> x = torch.zeros(2, 1, 4, 4)
    >>> x[1, 0, 2, 1] = 1
    >>> best = top_patches(torch.nn.Sequential(pt.MaxPool2d(2)), "0", x)[0].patches[0]
    >>> best.image, best.position, best.activation, best.box
    (1, (1, 0), 1.0, ((2, 4), (0, 2)))
    >>> best.pixels.tolist()
    [[[0.0, 1.0], [0.0, 0.0]]]
    """
    where = "top_patches"
    x = as_images(where, model, images)
    module_named(where, model, layer)
    _check_count(where, count)
    best, at, lowest, sizes = _strongest(where, model, x, layer, batch)
    chosen = range(best.shape[1]) if units is None else [_unit(where, unit, best.shape[1]) for unit in units]
    frame = _Frame(where, model, layer, tuple(x.shape), sizes)
    pixels = plain(x)
    found = []
    for unit in chosen:
        live = best[:, unit].max() > lowest[unit]
        order = np.argsort(-best[:, unit], kind="stable")[: count if live else 0]
        patches = []
        for image in order:
            position = tuple(int(i) for i in np.unravel_index(at[image, unit], sizes))
            box, cut = frame.cut(pixels[image], position)
            patches.append(Patch(int(image), position, float(best[image, unit]), box, cut))
        found.append(UnitPatches(unit, tuple(patches)))
    return found


def _strongest(
    where: str, model: Any, x: Any, layer: str, batch: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, ...]]:
    """Per image and unit the largest answer and its flat position; per unit the smallest of all; the map's lengths."""
    values, places, lows = [], [], []
    sizes: tuple[int, ...] = ()
    for part in maps(where, model, x, [layer], batch):
        y = map_from(where, x, part, layer)
        sizes = tuple(y.shape[2:])
        flat = plain(y.flatten(2)).astype(np.float64)
        places.append(flat.argmax(-1))
        values.append(flat.max(-1))
        lows.append(flat.min(axis=(0, 2)))
    best = np.concatenate(values)
    if not np.isfinite(best).all():
        raise refuse(
            where, "a layer's map is not finite", got=f"layer {layer!r} with NaN or infinity", expected="finite answers",
            hint="look at the model's parameters for NaN",
        )  # fmt: skip
    return best, np.concatenate(places), np.min(lows, axis=0), sizes


class _Frame:
    """Cuts patches of one size out of images, wherever a unit's field lies."""

    def __init__(self, where: str, model: Any, layer: str, shape: tuple[int, ...], sizes: tuple[int, ...]) -> None:
        found = traced_layer(model, shape, layer)
        # A field is as large as the largest box along the axis: only those at the border are cut.
        boxes = [
            None if found is None else found.box(tuple(min(i, n - 1) for n in sizes)) or None for i in range(max(sizes))
        ]
        known = [box for box in boxes if box is not None]
        if found is None or len(known) < len(boxes):
            raise refuse(
                where, "where a layer's units look is not known", got=f"layer {layer!r}",
                expected="a layer whose receptive field trace can tell", hint="a convolution or pooling before it",
            )  # fmt: skip
        self.found, self.shape = found, shape
        self.side = tuple(max(end - first for first, end in axis) for axis in zip(*known, strict=True))

    def cut(self, image: np.ndarray, position: tuple[int, ...]) -> tuple[Box, np.ndarray]:
        """The box and its pixels, NaN around them where the field leaves the image."""
        box = self.found.box(position)
        pixels = np.full((len(image), *self.side), np.nan, image.dtype)
        inner = []
        for (first, end), side in zip(box, self.side, strict=True):
            missing = side - (end - first)
            start = missing if first == 0 else 0  # cut at the low border: what is missing lies before
            inner.append(slice(start, start + end - first))
        pixels[(slice(None), *inner)] = image[(slice(None), *(slice(first, end) for first, end in box))]
        return box, pixels


def patch_sheet(found: UnitPatches | Sequence[UnitPatches], scale: int = 1, gap: int = 1) -> bytes:
    """Patches as one PNG: a row for each unit, its patches side by side. Needs Pillow.

    Three channels are taken for red, green and blue; of any other number the mean is drawn in grey. Black and white are
    the smallest and the largest value on the sheet. What lies outside the image is magenta.

    Parameters
    ----------
    found : UnitPatches or sequence of UnitPatches
        From `top_patches`, of images with two spatial axes.
    scale : int
        Screen pixels along one side of an image pixel.
    gap : int
        White screen pixels between patches.

    Returns
    -------
    bytes
        A PNG file.

    Raises
    ------
    ValueError
        Where there is no patch to show, and for patches that are not pictures.

    Examples
    --------
    >>> import numpy as np
    >>> patch = Patch(0, (0, 0), 1.0, ((0, 2), (0, 2)), np.eye(2)[None])
    >>> patch_sheet(UnitPatches(0, (patch, patch)))[1:4]
    b'PNG'
    """
    from PIL import Image

    rows = [found] if isinstance(found, UnitPatches) else list(found)
    patches = [patch.pixels for row in rows for patch in row.patches]
    if (
        not patches
        or any(pixels.ndim != 3 or pixels.shape != patches[0].shape for pixels in patches)
        or min(scale, gap + 1) < 1
    ):
        raise refuse(
            "patch_sheet", "there are no such pictures to show",
            got=f"{len(patches)} patches, scale={scale}, gap={gap}", expected="patches (channels, height, width) of one layer",
            hint="units with patches",
        )  # fmt: skip
    low, high = np.nanmin(patches), np.nanmax(patches)
    side = np.array(patches[0].shape[1:]) * scale
    columns = max(len(row.patches) for row in rows)
    height, width = np.array((len(rows), columns)) * (side + gap) - gap
    sheet = np.full((height, width, 3), 255, np.uint8)
    for down, row in enumerate(rows):
        for right, patch in enumerate(row.patches):
            top, left = np.array((down, right)) * (side + gap)
            drawn = _colours(patch.pixels, low, high).repeat(scale, 0).repeat(scale, 1)
            sheet[top : top + side[0], left : left + side[1]] = drawn
    stream = io.BytesIO()
    Image.fromarray(sheet).save(stream, "PNG")
    return stream.getvalue()


def _colours(pixels: np.ndarray, low: float, high: float) -> np.ndarray:
    """``(channels, height, width)`` as red, green and blue bytes."""
    outside = np.isnan(pixels).any(0)
    shown = np.where(outside, low, pixels)
    if len(shown) != 3:
        shown = shown.mean(0, keepdims=True).repeat(3, 0)
    scaled = (shown - low) / (high - low) if high > low else np.zeros_like(shown)
    drawn = np.rint(scaled * 255).astype(np.uint8).transpose(1, 2, 0)
    drawn[outside] = OUTSIDE
    return drawn


def _check_count(where: str, count: Any) -> None:
    if not isinstance(count, int) or count < 1:
        raise refuse(
            where,
            "there is nothing to look for",
            got=f"count={count!r}",
            expected="a whole number from 1",
            hint="count=9",
        )


def _unit(where: str, unit: Any, units: int) -> int:
    if not isinstance(unit, (int, np.integer)) or not 0 <= unit < units:
        raise refuse(
            where, "the layer has no such unit", got=f"unit {unit!r}", expected=f"a channel from 0 to {units - 1}",
            hint="units=None for all",
        )  # fmt: skip
    return int(unit)
