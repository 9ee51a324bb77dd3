"""What a data set is, and what all of them share: splitting and resizing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

__all__ = ["FILTER", "SPLIT_SEED", "ImageSet", "MissingDataError", "digest", "fitted", "resized", "split_by_class"]

SPLIT_SEED = 0
FILTER = "bilinear, averaged over the pixels that one covers"
"""How pictures are resized, in words; Pillow's BILINEAR, whose window grows with the reduction."""


class MissingDataError(ValueError):
    """A data set is not on this machine; the text says what to install."""


@dataclass(frozen=True)
class ImageSet:
    """Labelled images ``(n, channels, height, width)`` uint8 and their classes ``(n,)`` int64, split in two."""

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]
    source: str
    licence: str
    split: str
    sha256: str
    """Of everything that was read."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width


def digest(parts: Iterable[bytes]) -> str:
    """SHA-256 of several files, one after the other."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part)
    return whole.hexdigest()


def split_by_class(labels: np.ndarray, share: float, seed: int = SPLIT_SEED) -> tuple[np.ndarray, np.ndarray]:
    """Positions to train and to test on: of each class the share to train, at least one image on either side.

    Examples
    --------
    >>> train, test = split_by_class(np.array([0, 1] * 10), 0.8)
    >>> len(train), len(test)
    (16, 4)
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    train, test = [], []
    for label in np.unique(labels):
        mine = order[labels[order] == label]
        count = min(max(round(share * len(mine)), 1), len(mine) - 1)
        train.append(mine[:count])
        test.append(mine[count:])
    return np.concatenate(train), np.concatenate(test)


def fitted(picture: Any, size: int) -> Any:
    """A Pillow picture's largest centred square, `size` pixels wide."""
    from PIL import Image

    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    box = (left, top, left + side, top + side)
    return picture.resize((size, size), Image.Resampling.BILINEAR, box=box, reducing_gap=None)


def resized(images: ImageSet, size: int) -> ImageSet:
    """The same set with square images of another size (centre crop, then bilinear)."""
    if images.shape[1:] == (size, size):
        return images
    from PIL import Image

    def each(pixels: np.ndarray) -> np.ndarray:
        out = np.empty((len(pixels), pixels.shape[1], size, size), np.uint8)
        for number, image in enumerate(pixels):
            for channel, plane in enumerate(image):
                out[number, channel] = np.asarray(fitted(Image.fromarray(plane), size))
        return out

    return replace(
        images,
        train_images=each(images.train_images),
        test_images=each(images.test_images),
        split=f"{images.split}; resized to {size} x {size} ({FILTER})",
    )
