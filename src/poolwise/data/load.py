"""Data sets by the text that names them on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..messages import refuse, shown
from . import folder, idx, sets
from .images import ImageSet, resized

__all__ = ["NAMES", "SETS", "load"]

SETS: dict[str, Callable[[], ImageSet]] = {
    "digits": sets.digits,
    "mnist5k": sets.mnist5k,
    "fashion-mnist": sets.fashion_mnist,
    "textures": sets.textures,
}
NAMES = (*SETS, "folder:PATH", "idx:PATH")
FOLDER_SIZE = 32
"""Pixels; pictures of a folder have no size in common."""


def load(text: str, *, image_size: int | None = None) -> ImageSet:
    """The data set that a text names.

    Parameters
    ----------
    text : str
        ``digits``, ``mnist5k``, ``fashion-mnist``, ``textures``, ``folder:PATH`` (a folder of pictures for each class,
        or ``train`` and ``test`` or ``val`` with such folders) or ``idx:PATH`` (files named as MNIST's).
    image_size : int, optional
        Sides of the images in pixels. Without it, as the set has them, and 32 for folders.

    Returns
    -------
    ImageSet
        Images ``(n, channels, height, width)`` uint8.

    Raises
    ------
    ValueError
        For a text that names nothing, and for files that are not what they should be.
    MissingDataError
        For a set that is not on this machine; the text says what to install.

    Examples
    --------
    >>> load("digits").shape  # doctest: +SKIP
    (1, 8, 8)
    """
    if image_size is not None and not 4 <= image_size <= 512:
        raise refuse(
            "data", "images cannot have this size", got=f"image_size={image_size}", expected="4 to 512 pixels",
            hint="image_size=32",
        )  # fmt: skip
    kind, colon, path = text.partition(":")
    if colon and path and kind == "folder":
        return folder.load(Path(path).expanduser(), image_size or FOLDER_SIZE)
    if colon and path and kind == "idx":
        images = idx.load(Path(path).expanduser())
    elif text in SETS:
        images = SETS[text]()
    else:
        raise refuse(
            "data", "there is no such data set", got=shown(text), expected=", ".join(NAMES), hint="mnist5k",
        )  # fmt: skip
    return images if image_size is None else resized(images, image_size)
