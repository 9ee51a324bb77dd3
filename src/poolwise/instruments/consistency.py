"""Does a prediction survive when the picture moves?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..messages import refuse

__all__ = ["Consistency", "compass", "consistency"]

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


def compass(distance: int) -> list[Shift]:
    """The eight shifts ``(down, right)`` by a number of pixels: sideways, up and down, and along the diagonals.

    >>> compass(1)
    [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]
    """
    steps = (-distance, 0, distance)
    return [(down, right) for down in steps for right in steps if (down, right) != (0, 0)]


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
    """
    import torch

    sizes = tuple(images.shape[2:])
    for shift in shifts:
        if len(shift) != len(sizes) or any(abs(step) >= size for step, size in zip(shift, sizes, strict=True)):
            raise refuse(
                "consistency", "a shift does not fit the images", got=f"shift {shift} for images of {sizes}",
                expected="one whole number per spatial axis, smaller than the axis", hint="(0, 1)",
            )  # fmt: skip
    if not len(images) or not shifts:
        raise refuse(
            "consistency", "there is nothing to compare", got=f"{len(images)} images, {len(shifts)} shifts",
            expected="at least one of each", hint="shifts=compass(1)",
        )  # fmt: skip
    training = model.training
    model.eval()
    same = dict.fromkeys(shifts, 0)
    try:
        with torch.no_grad():
            for start in range(0, len(images), batch):
                part = images[start : start + batch]
                before = model(part).argmax(1)
                for shift in shifts:
                    same[shift] += int((model(_moved(part, shift)).argmax(1) == before).sum())
    finally:
        model.train(training)
    return Consistency(len(images), {shift: count / len(images) for shift, count in same.items()})


def _moved(images: Any, shift: Shift) -> Any:
    """Images moved by whole pixels, zeros where they come from outside."""
    moved = images.new_zeros(images.shape)
    target = [slice(max(step, 0), size + min(step, 0)) for step, size in zip(shift, images.shape[2:], strict=True)]
    source = [slice(max(-step, 0), size - max(step, 0)) for step, size in zip(shift, images.shape[2:], strict=True)]
    moved[(..., *target)] = images[(..., *source)]
    return moved
