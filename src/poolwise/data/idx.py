"""IDX files, as MNIST has them: big-endian magic number, one length per axis, unsigned bytes."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from ..messages import refuse
from .images import SPLIT_SEED, ImageSet, digest, split_by_class

__all__ = ["load", "read"]

UNSIGNED_BYTES = 0x08
PARTS = {"train": ("train",), "test": ("t10k", "test")}
KINDS = {"images": ("images-idx3-ubyte", "images.idx3-ubyte"), "labels": ("labels-idx1-ubyte", "labels.idx1-ubyte")}
MOST = 200_000_000
"""Pixels of one file: beyond it, memory would be the limit, not the networks."""


def read(raw: bytes, name: str, axes: int) -> np.ndarray:
    """The array of one IDX file, compressed by gzip or not.

    Raises
    ------
    ValueError
        For anything but an IDX file of unsigned bytes with that many axes.
    """

    def refused(what: str) -> ValueError:
        return refuse(
            "data", "this is not the IDX file it should be", got=f"{name}: {what}",
            expected=f"magic number {UNSIGNED_BYTES << 8 | axes:#x}, {axes} lengths, and as many bytes",
            hint="copy or install the data set again",
        )  # fmt: skip

    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise refused(f"gzip says {error}") from None
    header = 4 * (axes + 1)
    if len(raw) < header:
        raise refused(f"{len(raw)} bytes")
    magic, *shape = struct.unpack(f">{axes + 1}I", raw[:header])
    if magic != UNSIGNED_BYTES << 8 | axes:
        raise refused(f"magic number {magic:#x}")
    count = 1
    for length in shape:
        count *= length
    if len(raw) - header != count:
        raise refused(f"{len(raw) - header} bytes for lengths {shape}")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def _find(folder: Path, part: str, kind: str) -> Path | None:
    for prefix in PARTS[part]:
        for suffix in KINDS[kind]:
            for ending in ("", ".gz"):
                path = folder / f"{prefix}-{suffix}{ending}"
                if path.is_file():
                    return path
    return None


def load(folder: Path) -> ImageSet:
    """The four files of a set, or two (``train-...``), of which a fifth is set aside to test on.

    Raises
    ------
    ValueError
        For missing files, and for files that do not fit together.
    """
    files = {(part, kind): _find(folder, part, kind) for part in PARTS for kind in KINDS}
    missing = [kind for (part, kind), path in files.items() if part == "train" and path is None]
    if missing or (files["test", "images"] is None) != (files["test", "labels"] is None):
        raise refuse(
            "data", "files of the IDX set are missing", got=f"{folder}",
            expected="train-images-idx3-ubyte and train-labels-idx1-ubyte, and both t10k- files or none; plain or .gz",
            hint="the folder that holds them, as idx:PATH",
        )  # fmt: skip
    raws = {key: path.read_bytes() for key, path in files.items() if path is not None}
    arrays = {key: read(raw, str(files[key]), 3 if key[1] == "images" else 1) for key, raw in raws.items()}
    for part in PARTS:
        if (part, "images") in arrays:
            _check(folder, part, arrays[part, "images"], arrays[part, "labels"])
    images, labels = arrays["train", "images"][:, None], arrays["train", "labels"].astype(np.int64)
    if ("test", "images") in arrays:
        test_images, test_labels = arrays["test", "images"][:, None], arrays["test", "labels"].astype(np.int64)
        split = "the set's own two parts"
        if test_images.shape[1:] != images.shape[1:]:
            raise _apart(folder, f"images of {images.shape[2:]} to train on and {test_images.shape[2:]} to test on")
    else:
        first, second = _split(folder, labels)
        images, test_images, labels, test_labels = images[first], images[second], labels[first], labels[second]
        split = f"no test files: in each class 80 % to train on and 20 % to test on, drawn with seed {SPLIT_SEED}"
    # Classes by the numbers that occur: a set of letters may start at 1.
    values = np.unique(np.concatenate([labels, test_labels]))
    if len(values) < 2:
        raise _apart(folder, "a single class")
    return ImageSet(
        f"idx:{folder.name}",
        images, np.searchsorted(values, labels), test_images, np.searchsorted(values, test_labels),
        classes=tuple(map(str, values.tolist())), source=f"IDX files in {folder.resolve()}", licence="unknown: yours",
        split=split, sha256=digest(raws.values()),
    )  # fmt: skip


def _split(folder: Path, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, counts = np.unique(labels, return_counts=True)
    if (counts < 2).any():
        raise _apart(folder, f"one image of class {values[counts < 2][0]}, and no test files")
    return split_by_class(labels, 0.8)


def _check(folder: Path, part: str, images: np.ndarray, labels: np.ndarray) -> None:
    if len(images) != len(labels) or not images.size:
        raise _apart(folder, f"{len(images)} images and {len(labels)} labels in the {part} files")
    if images.size > MOST:
        raise _apart(folder, f"{images.size:,} pixels in one file, of which {MOST:,} are read")


def _apart(folder: Path, what: str) -> ValueError:
    return refuse(
        "data", "these IDX files do not make a data set", got=f"{folder}: {what}",
        expected="as many labels as images, at least two classes and two images of each", hint="mnist5k",
    )  # fmt: skip
