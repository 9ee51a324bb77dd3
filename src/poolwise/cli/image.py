"""``poolwise image``: pool a picture."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..ops import BY_NAME
from .arguments import add_json, add_window, operator_parameters, sizes
from .output import CommandError, print_json, write_whole

__all__ = ["add_command"]

DESCRIPTION = """\
Pools a picture over its two spatial axes; each colour channel (and alpha) by itself.

Reads and writes PNG, JPEG and TIFF of 8 and 16 bits: grey, grey+alpha, RGB, RGBA. Palettes become colours and 1-bit
pictures 8-bit grey. The depth of the file is kept. blur and lp compute in float64 and are rounded half to even and
clipped to that depth. EXIF orientation is applied; other metadata is not copied. Needs poolwise[image].
"""


def add_command(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "image", help="pool a picture", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photo", type=Path, metavar="PHOTO", help="a PNG, JPEG or TIFF file")
    parser.add_argument(
        "--op", choices=tuple(BY_NAME), required=True, metavar="OP", help=f"one of {', '.join(BY_NAME)}"
    )
    parser.add_argument("--window", type=sizes, required=True, metavar="N", help="window in pixels: N, or HEIGHTxWIDTH")
    add_window(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help="file to write: .png, .jpg, .jpeg, .tif or .tiff",
    )
    parser.add_argument("--force", action="store_true", help="write over PHOTO itself, where OUT is the same file")
    parser.add_argument(
        "--max-pixels", type=int, default=250_000_000, metavar="N", help="refuse larger pictures (default 250,000,000)"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Pool the picture and write the result."""
    from . import pictures

    pictures.check_output(args.output)
    if not args.force and args.output.exists() and args.photo.exists() and args.output.samefile(args.photo):
        raise CommandError(f"{args.output} is the photo itself; try another OUT, or --force to lose the original")
    options = operator_parameters(args, args.op)
    pixels = pictures.read(args.photo, args.max_pixels)
    pictures.check_fits(args.output, pixels)
    pooled = _pool(args, pixels, options)
    write_whole(args.output, pictures.encode(args.output, pooled))
    facts = {
        "photo": str(args.photo), "input": list(pixels.shape), "dtype": pixels.dtype.name, "operator": args.op,
        "output": list(pooled.shape), "file": str(args.output),
    }  # fmt: skip
    if args.json:
        print_json(facts)
    else:
        print(f"{args.output}: {_size(pixels)} to {_size(pooled)}, {args.op}")
    return 0


def _pool(args: argparse.Namespace, pixels: Any, options: dict[str, Any]) -> Any:
    """Pool ``(height, width[, channels])`` and come back to the picture's own dtype."""
    import numpy as np

    from .. import pool

    exact = pixels.dtype.name in BY_NAME[args.op].wide
    # A sum of pixels leaves the picture's range; it is clipped like the operators that compute in floats.
    wide = "int64" if args.op == "sum" else None
    x = pixels.astype(wide) if wide else pixels if exact else pixels.astype(np.float64)
    y = pool(
        x, args.op, args.window, stride=args.stride, padding=args.padding, dilation=args.dilation,
        ceil_mode=args.ceil_mode, axes=(0, 1), **options,
    )  # fmt: skip
    if y.dtype == pixels.dtype:
        return y
    return np.clip(np.rint(y), 0, np.iinfo(pixels.dtype).max).astype(pixels.dtype)


def _size(pixels: Any) -> str:
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    return f"{width} x {height} ({channels} x {pixels.dtype.itemsize * 8} bit)"
