"""Does a prediction survive when the picture moves?

Three ways to move it, which are not comparable with each other: content lost and zeros coming in (`consistency`), pairs of
random crops (`crop_consistency`), and circular shifts, where nothing is lost (`circular_consistency`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..messages import refuse
from .intervals import share_interval
from .networks import as_images, check_shift, evaluating, predictions

__all__ = ["Agreement", "Consistency", "circular_consistency", "compass", "consistency", "crop_consistency"]

Shift = tuple[int, ...]


@dataclass(frozen=True)
class Consistency:
    """Share of predictions that stay the same, for each shift."""

    images: int
    unchanged: dict[Shift, float]

    @property
    def mean(self) -> float:
        """Over all images and shifts."""
        return sum(self.unchanged.values()) / len(self.unchanged)

    @property
    def worst(self) -> float:
        """Of the shift that changes most."""
        return min(self.unchanged.values())


@dataclass(frozen=True)
class Agreement:
    """Share of pairs with equal predictions, and its 95 % interval over images (`share_interval`)."""

    share: float
    low: float
    high: float
    images: int
    pairs: int
    """Compared for each image; pairs of one image are not independent, so the interval counts images."""
    shift: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {name: getattr(self, name) for name in ("share", "low", "high", "images", "pairs", "shift")}


def compass(distance: int, axes: int = 2) -> list[Shift]:
    """All shifts by a number of pixels, along the axes and the diagonals: ``(down, right)`` for two axes.

    Parameters
    ----------
    distance : int
        Pixels on each axis that moves.
    axes : int
        Spatial axes: 2 for pictures.

    Returns
    -------
    list of tuple of int
        ``3**axes - 1`` of them.

    Examples
    --------
    >>> compass(1)
    [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]
    >>> compass(3, axes=1)
    [(-3,), (3,)]
    """
    return [shift for shift in itertools.product((-distance, 0, distance), repeat=axes) if any(shift)]


def consistency(model: Any, images: Any, shifts: Sequence[Shift], batch: int = 512) -> Consistency:
    """Share of images whose predicted class stays the same when the image moves.

    Parameters
    ----------
    model : torch.nn.Module
        Gives ``(n, classes)`` scores; the class with the largest one is the prediction. Run in evaluation mode.
    images : torch.Tensor, ``(n, channels, *spatial)``
    shifts : sequence of tuple of int
        Whole pixels per spatial axis, towards higher positions. What moves out of the image is lost; what comes in is
        zero.
    batch : int
        Images per call of the model.

    Returns
    -------
    Consistency

    Raises
    ------
    ValueError
        For no images, no shifts, or shifts that move the whole image out of sight.

    Examples
    --------
    >>> import torch
    >>> first = torch.nn.Sequential(torch.nn.Flatten())  # answers with the position of the largest pixel
    >>> consistency(first, torch.eye(3)[:, None], [(1,)]).unchanged
    {(1,): 0.0}
    """
    where = "consistency"
    sizes = tuple(images.shape[2:])
    for shift in shifts:
        if len(shift) != len(sizes) or any(abs(step) >= size for step, size in zip(shift, sizes, strict=True)):
            raise refuse(
                where, "a shift does not fit the images", got=f"shift {shift} for images of {sizes}",
                expected="one whole number per spatial axis, smaller than the axis", hint="(0, 1)",
            )  # fmt: skip
    if not len(images) or not shifts:
        raise refuse(
            where, "there is nothing to compare", got=f"{len(images)} images, {len(shifts)} shifts",
            expected="at least one of each", hint="shifts=compass(1)",
        )  # fmt: skip
    x = as_images(where, model, images)
    with evaluating(model):
        before = predictions(where, model, x, batch)
        same = {shift: float((predictions(where, model, _moved(x, shift), batch) == before).mean()) for shift in shifts}
    return Consistency(len(x), same)


def crop_consistency(model: Any, images: Any, shift: int, pairs: int = 4, seed: int = 0, batch: int = 512) -> Agreement:
    """Share of pairs of random crops of one image that get the same answer.

    Two windows of the image's own size are cut out of the image with `shift` more pixels per axis, which are mirrored in
    at its borders (half of them before, half after). Their corners are drawn independently and are never the same, so
    they lie at most `shift` apart on each axis, diagonally too. Cutting smaller windows out of the image itself, as is
    done with large photographs, would show a network made for small pictures a size that it never saw and lose what lies
    at the border; this way every window has the size of training. The same seed draws the same crops for every network.

    Parameters
    ----------
    model : torch.nn.Module
        Gives ``(n, classes)`` scores; the class with the largest one is the prediction. Run in evaluation mode.
    images : torch.Tensor or numpy.ndarray, ``(n, channels, *spatial)``
        Floats, one to three spatial axes.
    shift : int
        Largest distance of the two windows on an axis, in pixels: from 1, smaller than every axis.
    pairs : int
        Pairs of crops per image.
    seed : int
    batch : int
        Images per call of the model.

    Returns
    -------
    Agreement

    Raises
    ------
    ValueError
        For images, shifts or numbers of pairs that do not fit, and for a model that does not classify.

    References
    ----------
    Zhang, "Making convolutional networks shift-invariant again", ICML 2019 (there: crops of 224 out of 256 pixels).

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> anywhere = torch.nn.Sequential(pt.AdaptiveMaxPool2d(1), torch.nn.Flatten())
    >>> crop_consistency(anywhere, torch.rand(50, 3, 8, 8).sort(1).values, 2).share
    1.0
    """
    import torch

    where = "crop_consistency"
    x = as_images(where, model, images)
    sizes = tuple(x.shape[2:])
    shift = check_shift(where, shift, sizes)
    if not isinstance(pairs, int) or pairs < 1:
        raise refuse(
            where,
            "there is nothing to compare",
            got=f"pairs={pairs!r}",
            expected="a whole number from 1",
            hint="pairs=4",
        )
    margins = [(shift // 2, shift - shift // 2)] * len(sizes)
    wide = torch.nn.functional.pad(x, [n for pair in reversed(margins) for n in pair], mode="reflect")
    random = np.random.default_rng(seed)
    corners, shape = (shift + 1) ** len(sizes), (shift + 1,) * len(sizes)
    same = np.empty((pairs, len(x)), bool)
    with evaluating(model):
        for number in range(pairs):
            first = random.integers(0, corners, len(x))
            second = (first + random.integers(1, corners, len(x))) % corners  # any other corner, all equally likely
            one, other = (
                predictions(where, model, _windows(wide, np.stack(np.unravel_index(each, shape), 1), sizes), batch)
                for each in (first, second)
            )
            same[number] = one == other
    return _agreement(same, shift)


def circular_consistency(model: Any, images: Any, shift: int, batch: int = 512) -> Agreement:
    """Share of answers that stay when the image is rolled by exactly `shift` pixels.

    What leaves on one side comes back on the other, so the picture holds the same pixels and a network that keeps
    circular borders and never skips a position cannot tell. All directions along the axes and the diagonals are tried
    (eight for pictures) and compared with the image that was not moved; nothing is random.

    Parameters
    ----------
    model : torch.nn.Module
        Gives ``(n, classes)`` scores; the class with the largest one is the prediction. Run in evaluation mode.
    images : torch.Tensor or numpy.ndarray, ``(n, channels, *spatial)``
        Floats.
    shift : int
        In pixels: from 1, smaller than every axis.
    batch : int
        Images per call of the model.

    Returns
    -------
    Agreement

    Raises
    ------
    ValueError
        For images or shifts that do not fit, and for a model that does not classify.

    References
    ----------
    Chaman, Dokmanic, "Truly shift-invariant convolutional neural networks", CVPR 2021.

    Examples
    --------
    >>> import torch
    >>> corner = torch.nn.Sequential(torch.nn.Flatten())  # answers with the position of the largest pixel
    >>> circular_consistency(corner, torch.rand(5, 1, 4, 4), 1).share
    0.0
    """
    import torch

    where = "circular_consistency"
    x = as_images(where, model, images)
    axes = tuple(range(2, x.ndim))
    shift = check_shift(where, shift, x.shape[2:])
    with evaluating(model):
        before = predictions(where, model, x, batch)
        same = np.stack(
            [predictions(where, model, torch.roll(x, by, axes), batch) == before for by in compass(shift, len(axes))]
        )
    return _agreement(same, shift)


def _agreement(same: np.ndarray, shift: int) -> Agreement:
    """From ``(pairs, images)``: which pairs agreed."""
    each = same.mean(0)
    return Agreement(float(same.mean()), *share_interval(each), images=same.shape[1], pairs=len(same), shift=shift)


def _windows(wide: Any, corners: np.ndarray, sizes: Shift) -> Any:
    """A window of each image, at a corner of its own."""
    import torch

    return torch.stack(
        [
            image[(slice(None), *(slice(int(at), int(at) + size) for at, size in zip(corner, sizes, strict=True)))]
            for image, corner in zip(wide, corners, strict=True)
        ]
    )


def _moved(images: Any, shift: Shift) -> Any:
    """Images moved by whole pixels, zeros where they come from outside."""
    moved = images.new_zeros(images.shape)
    target = [slice(max(step, 0), size + min(step, 0)) for step, size in zip(shift, images.shape[2:], strict=True)]
    source = [slice(max(-step, 0), size - max(step, 0)) for step, size in zip(shift, images.shape[2:], strict=True)]
    moved[(..., *target)] = images[(..., *source)]
    return moved
