"""``poolwise measure``: the instruments on a network and images of the user's own."""

from __future__ import annotations

import argparse
import difflib
import math
import os
import tempfile
from pathlib import Path
from typing import Any

from .arguments import add_json
from .measure_text import lines
from .output import CommandError, needs, one_line, print_json, write_whole

__all__ = ["WHAT", "add_command"]

WHAT = {
    "field": "effective receptive field of each layer, before and after training, with pictures",
    "shifts": "how much each layer's map changes when the image moves",
    "consistency": "whether predictions survive random crops and circular shifts",
    "features": "the patches that excite units most, and linear probes of each layer",
    "overfitting": "errors by the number of training images (trains a network for each size and seed)",
}
DEFAULT = ("field", "shifts", "consistency", "features")
NEEDED = {"field": ["matplotlib"], "features": ["PIL.Image"], "overfitting": ["scipy.stats"]}

DESCRIPTION = """\
Measures a network on real images. Images are given to it as floats in [0, 1], (n, channels, height, width).

What can be measured:
"""


def add_command(commands: Any) -> None:
    """Declare the command."""
    known = "\n".join(f"  {name:<12} {text}" for name, text in WHAT.items())
    parser = commands.add_parser(
        "measure", help="what a network's layers see, and what shifts and more images change",
        description=f"{DESCRIPTION}{known}", formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("model", metavar="MODEL", help="package.module:factory, or path/to/file.py:factory")
    parser.add_argument("--data", required=True, metavar="DATA", help="a data set's name, folder:PATH or idx:PATH")
    parser.add_argument("--image-size", type=_count, metavar="N", help="resize images to N x N")
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="weights for it: .safetensors, or .pt (tensors only)"
    )
    parser.add_argument("--train", type=_count, metavar="STEPS", help="train it first (Adam, a rate that falls to 0)")
    parser.add_argument(
        "--what", type=_what, default=DEFAULT, metavar="A,B", help=f"of the above (default {','.join(DEFAULT)})"
    )
    parser.add_argument(
        "--layers", type=_names, metavar="A,B", help="names of modules (default: the last layer of each shape)"
    )
    parser.add_argument("--shifts", type=_counts, default=(1, 2, 4), metavar="A,B", help="pixels (default 1,2,4)")
    parser.add_argument("--images", type=_count, default=500, metavar="N", help="test images at most (default 500)")
    parser.add_argument("--sizes", type=_counts, metavar="A,B", help="overfitting: numbers of training images")
    parser.add_argument(
        "--seeds", type=_count, default=3, metavar="N", help="overfitting: networks per size (default 3)"
    )
    parser.add_argument("--batch", type=_count, default=64, metavar="N", help="images per training step (default 64)")
    parser.add_argument("--rate", type=_rate, default=1e-3, metavar="R", help="learning rate (default 0.001)")
    parser.add_argument("--seed", type=_seed, default=0, metavar="N", help="of weights, batches and crops (default 0)")
    parser.add_argument(
        "--threads",
        type=_count,
        metavar="N",
        help="torch's threads; on a busy machine small networks are fastest in one",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where measure.json and pictures go")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, write the files and print the table."""
    # What can be refused is refused before anything takes time.
    (torch,) = needs("torch", "torch")
    for name in args.what:
        needs("study", *NEEDED.get(name, ()))
    if args.weights is not None and not args.weights.is_file():
        raise CommandError(f"there is no file {args.weights}")
    _check_folder(args.out)
    from . import models
    from .measured import Measurement

    if args.threads is not None:
        torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    model = models.load(args.model)
    measurement = Measurement(args, model, _factory(args.model, model), _data(args))
    if args.weights is not None:
        measurement.start_from(load_weights(args.weights))
    results = measurement.run()
    _write(args.out, results, measurement.files)
    if args.json:
        print_json(results)
    else:
        for line in lines(results):
            print(line)
        print(f"{args.out}: measure.json and {len(measurement.files)} pictures")
    return 0


def _factory(text: str, model: Any) -> Any:
    """New untrained models by seed; copies of the one there is where the text names a model and not what makes one."""
    import copy

    from . import models

    untouched = copy.deepcopy(model)

    def make(seed: int) -> Any:
        made = models.load(text)
        return copy.deepcopy(untouched) if made is model else made

    return make


def _data(args: argparse.Namespace) -> Any:
    from .. import data

    options = {} if args.image_size is None else {"image_size": args.image_size}
    try:
        return data.load(args.data, **options)
    except data.MissingDataError as missing:
        raise CommandError(one_line(str(missing))) from None


def load_weights(path: Path) -> dict[str, Any]:
    """Tensors by name; nothing in the file is run.

    Raises
    ------
    CommandError
        For a file that cannot be read or holds anything but tensors.
    """
    if path.suffix == ".safetensors":
        (files,) = needs("torch", "safetensors.torch")
        read = files.load_file
    else:
        (torch,) = needs("torch", "torch")

        def read(name: str) -> Any:
            return torch.load(name, map_location="cpu", weights_only=True)

    try:
        found = read(str(path))
    except Exception as error:  # whatever a damaged file makes its reader raise
        raise CommandError(f"cannot read {path}: {type(error).__name__}: {one_line(str(error))[:200]}") from None
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not found or not all(hasattr(value, "shape") for value in found.values()):
        raise CommandError(f"{path} does not hold weights; expected tensors by name, as model.state_dict() gives")
    return found


def _check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be written to before hours go into what it should hold."""
    if folder.exists() and not folder.is_dir():
        raise CommandError(f"{folder} is not a folder")
    parent = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not parent.is_dir():
        raise CommandError(f"cannot write {folder}: {parent} is not a folder")
    try:
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise CommandError(f"cannot write {folder}: {error.strerror or error}") from None


def _write(folder: Path, results: dict[str, Any], files: dict[str, bytes]) -> None:
    import json

    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise CommandError(f"cannot write {folder}: {error.strerror or error}") from None
    for name, content in files.items():
        write_whole(folder / name, content)
    # Last: where it is, everything that it names is.
    write_whole(folder / "measure.json", (json.dumps(results, indent=2, ensure_ascii=False) + "\n").encode())


def _what(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(_names(text)))
    for name in names:
        if name not in WHAT:
            near = difflib.get_close_matches(name, WHAT, n=1)
            raise argparse.ArgumentTypeError(
                f"{name!r} cannot be measured{f', did you mean {near[0]}?' if near else ';'} known are {', '.join(WHAT)}"
            )
    return names


def _names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    if not names:
        raise argparse.ArgumentTypeError("there is no name in it")
    return names


def _whole(text: str, lowest: int) -> int:
    if not text.strip().isdecimal() or not lowest <= int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {lowest}")
    return int(text)


def _count(text: str) -> int:
    return _whole(text, 1)


def _seed(text: str) -> int:
    return _whole(text, 0)


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _counts(text: str) -> tuple[int, ...]:
    return tuple(sorted({_count(part) for part in text.split(",")}))
