"""Pictures in folders, one folder for each class."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..messages import refuse
from .images import FILTER, SPLIT_SEED, ImageSet, MissingDataError, digest, fitted, split_by_class

__all__ = ["load"]

MOST = 6000
"""Pictures of one part; where there are more, as many of each class as makes this number."""
TESTS = ("test", "val", "valid", "validation")
NAMED = 5
"""Unreadable files that an error names."""
GREY = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")
"""Pillow's modes of pictures without colour; a palette's colours are looked at."""


def load(folder: Path, size: int) -> ImageSet:
    """The pictures of a folder as squares of `size` pixels.

    Either one folder for each class, of which a fifth is set aside to test on; or ``train`` and ``test`` (or ``val``)
    with such folders. Classes are in the order of their names; what starts with a dot is left out. Grey pictures give one
    channel, and any colour picture gives three to all.

    Raises
    ------
    ValueError
        For a folder that is not there, a single class, a class without pictures, and files that cannot be read.
    """
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        raise MissingDataError("Pillow is not installed; try: pip install 'poolwise[study]'") from None
    if not folder.is_dir():
        raise _refused("there is no such folder", str(folder))
    inside = _folders(folder)
    test = next((inside[name] for name in TESTS if name in inside), None)
    if "train" in inside and test is not None:
        names = sorted(_folders(inside["train"]))
        others = sorted(_folders(test))
        if names != others:
            odd = sorted(set(names) ^ set(others))
            raise _refused("the parts have other classes", f"{folder}: only one part has {', '.join(odd[:NAMED])}")
        files = [_files(inside["train"], names), _files(test, names)]
        split = f"the folders train and {test.name}"
    else:
        names = sorted(inside)
        paths, labels = _files(folder, names)
        if min(np.bincount(labels)) < 2:
            raise _refused("a class has a single picture", f"{folder / names[int(np.bincount(labels).argmin())]}")
        # The most that both parts can use, chosen before anything is read.
        paths, labels = _fewer(paths, labels, MOST)
        first, second = split_by_class(labels, 0.8)
        files = [([paths[i] for i in part], labels[part]) for part in (first, second)]
        split = f"in each class 80 % to train on and 20 % to test on, drawn with seed {SPLIT_SEED}"
    files = [_fewer(*part, MOST) for part in files]
    pictures, hashes = _read([path for paths, _ in files for path in paths], size)
    count = len(files[0][0])
    return ImageSet(
        f"folder:{folder.resolve().name}", pictures[:count], files[0][1], pictures[count:], files[1][1],
        classes=tuple(names), source=f"pictures in {folder.resolve()}", licence="unknown: yours",
        split=f"{split}; centre squares, resized to {size} x {size} ({FILTER})",
        # Names too: a picture that moves to another class is other data.
        sha256=digest(f"{path.relative_to(folder)}\0{known}\n".encode() for path, known in hashes),
    )  # fmt: skip


def _folders(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}


def _files(folder: Path, names: Sequence[str]) -> tuple[list[Path], np.ndarray]:
    """All files of the classes' folders, by name, and their classes."""
    if len(names) < 2:
        raise _refused("this folder has a single class" if names else "this folder has no classes", str(folder))
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        mine = sorted(path for path in (folder / name).iterdir() if path.is_file() and not path.name.startswith("."))
        if not mine:
            raise _refused("a class has no pictures", str(folder / name))
        paths += mine
        labels += [label] * len(mine)
    return paths, np.array(labels, np.int64)


def _fewer(paths: list[Path], labels: np.ndarray, most: int) -> tuple[list[Path], np.ndarray]:
    """At most so many, drawn from each class in proportion."""
    if len(paths) <= most:
        return paths, labels
    order = np.random.default_rng(SPLIT_SEED).permutation(len(labels))
    mine = [order[labels[order] == label] for label in np.unique(labels)]
    kept = np.sort(np.concatenate([some[: max(round(len(some) * most / len(paths)), 2)] for some in mine]))
    return [paths[i] for i in kept], labels[kept]


def _read(paths: Sequence[Path], size: int) -> tuple[np.ndarray, list[tuple[Path, str]]]:
    """All pictures ``(n, channels, size, size)`` uint8, and the hash of each file."""
    from PIL import Image

    squares: list[np.ndarray] = []
    hashes: list[tuple[Path, str]] = []
    bad: list[str] = []
    for path in paths:
        try:
            with path.open("rb") as file, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about profiles and such; pixels are all that is asked of the file
                known = hashlib.file_digest(file, "sha256") if hasattr(hashlib, "file_digest") else _hash(file)
                file.seek(0)
                with Image.open(file) as picture:
                    squares.append(np.asarray(fitted(_plain(picture), size)))
            hashes.append((path, known.hexdigest()))
        except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
            reason = "not a picture that Pillow can read" if isinstance(error, Image.UnidentifiedImageError) else error
            bad.append(f"{path}: {reason}")
    if bad:
        more = f" and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        raise _refused(f"{len(bad)} of {len(paths)} files cannot be read", "; ".join(bad[:NAMED]) + more)
    if any(square.ndim == 3 for square in squares):
        squares = [s.transpose(2, 0, 1) if s.ndim == 3 else np.repeat(s[None], 3, 0) for s in squares]
        return np.stack(squares), hashes
    return np.stack(squares)[:, None], hashes


def _hash(file: Any) -> Any:
    """`hashlib.file_digest`, which Python 3.10 does not have."""
    return hashlib.sha256(file.read())


def _plain(picture: Any) -> Any:
    """A picture as 8-bit grey or RGB: transparent pixels over white, 16 bits by their high byte, CMYK converted."""
    from PIL import Image, ImageOps

    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        values = np.asarray(picture).astype(np.float64)
        # Pillow's convert("L") would cut everything above 255 off. Wide modes hold 16 bits as a rule; others 0 to 1.
        most = (
            1.0
            if picture.mode == "F" and values.max(initial=0) <= 1
            else 255.0
            if values.max(initial=0) <= 255
            else 65535.0
        )
        if picture.mode.startswith("I;16"):
            most = 65535.0
        return Image.fromarray(np.rint(values.clip(0, most) * (255 / most)).astype(np.uint8))
    grey = picture.mode in GREY
    if picture.mode == "P":
        colours = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)[np.unique(np.asarray(picture))]
        grey = bool((colours == colours[:, :1]).all())
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        opaque = picture.convert("RGBA")
        under = Image.new("RGBA", opaque.size, "white")
        picture = Image.alpha_composite(under, opaque)
    return picture.convert("L" if grey else "RGB")


def _refused(what: str, got: str) -> ValueError:
    return refuse(
        "data", what, got=got,
        expected="a folder of pictures for each of two or more classes, or train and test with such folders",
        hint="folder:PATH with PATH/cat/1.png, PATH/dog/1.png and so on",
    )  # fmt: skip
