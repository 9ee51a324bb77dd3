"""Arguments that several commands take, and the texts they are typed in."""

from __future__ import annotations

import argparse
import math
import re
from typing import Any

from ..ops import BY_NAME

__all__ = ["add_demo_command", "add_json", "add_window", "operator_parameters", "sizes"]

PADDING_WORDS = ("valid", "same", "same_lower")
BORDERS = ("reflect", "replicate", "circular", "zeros")
NUMBER = re.compile(r"[+-]?\d{1,19}")


def _number(text: str) -> int:
    if not NUMBER.fullmatch(text.strip()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number (up to 19 digits)")
    return int(text)


def sizes(text: str) -> int | tuple[int, ...]:
    """``2``, or one number per axis: ``2x3`` or ``2,3``.

    >>> sizes("2"), sizes("2x3"), sizes("1,64,112,112")
    (2, (2, 3), (1, 64, 112, 112))
    """
    numbers = tuple(_number(part) for part in re.split("[x,]", text))
    return numbers[0] if len(numbers) == 1 and "," not in text else numbers


def shape(text: str) -> tuple[int, ...]:
    """Lengths of all axes, at least one."""
    numbers = sizes(text.removesuffix(","))
    return numbers if isinstance(numbers, tuple) else (numbers,)


def paddings(text: str) -> Any:
    """``1``, ``1x2``, ``0:1x0:1`` (before:after), or a word.

    >>> paddings("1"), paddings("1x2"), paddings("0:1x2"), paddings("same")
    (1, (1, 2), ((0, 1), (2, 2)), 'same')
    """
    if text in PADDING_WORDS:
        return text
    if ":" not in text:
        return sizes(text)
    pairs = []
    for part in re.split("[x,]", text):
        low, _, high = part.partition(":")
        pairs.append((_number(low), _number(high or low)))
    return tuple(pairs)


def exponent(text: str) -> float:
    """A number or ``inf``."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if math.isnan(value):
        raise argparse.ArgumentTypeError("nan is not an exponent")
    return value


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document and nothing else on standard output"
    )


def add_window(parser: argparse.ArgumentParser) -> None:
    """Window arguments, named as in the library."""
    parser.add_argument(
        "--stride",
        type=sizes,
        metavar="N",
        help="step between windows (default: the window, so that regions do not overlap)",
    )
    parser.add_argument(
        "--padding",
        type=paddings,
        default=0,
        metavar="N",
        help="elements around: N, NxM, before:afterxbefore:after, or one of valid, same, same_lower (default 0)",
    )
    parser.add_argument("--dilation", type=sizes, default=1, metavar="N", help="step inside a window (default 1)")
    parser.add_argument("--ceil-mode", action="store_true", help="keep a partial window at the end")
    parser.add_argument("--p", type=exponent, metavar="P", help="exponent of the operator lp, or inf (default 2)")
    parser.add_argument("--border", choices=BORDERS, help="what blur sees on the padding (default reflect)")


def operator_parameters(args: argparse.Namespace, op: str) -> dict[str, Any]:
    """``--p`` and ``--border``, which only some operators have."""
    given: dict[str, Any] = {}
    if args.p is not None:
        if op != "lp":
            raise ValueError(f"--p belongs to the operator lp, not to {op}")
        given["p"] = args.p
    if args.border is not None:
        if BY_NAME[op].weights is None:
            raise ValueError(f"--border belongs to the operator blur, not to {op}")
        given["border"] = args.border
    return given


def add_demo_command(commands: Any) -> None:
    """``poolwise demo``; declared here, since everything under `cli.demo` is slow to import."""
    parser = commands.add_parser(
        "demo",
        help="pool a photograph, train small CNNs on digits, write a page about it",
        description="Pools a photograph, trains three small convolutional networks on real images (max pooling, average "
        "pooling, none), measures them, and writes pictures and a page to a folder. Needs poolwise[demo]; uses no network.",
    )
    parser.add_argument("--out", default="demo", metavar="FOLDER", help="where to write (default: demo)")
    parser.add_argument("--quick", action="store_true", help="fewer images and epochs: seconds, and poor accuracy")
    parser.add_argument("--data", choices=("mnist5k", "fashion-mnist"), default="mnist5k", help="images to learn from")
    parser.add_argument("--seed", type=_seed, default=0, metavar="N", help="seed of weights and batches (default 0)")
    add_json(parser)
    parser.set_defaults(run=_run_demo)


def add_bench_command(commands: Any) -> None:
    """``poolwise bench``: the benchmark, beside every other pooling library that is installed."""
    from ..bench import cli as bench

    parser = commands.add_parser(
        "bench",
        help="time pooling here, beside every other library that is installed",
        description="Times this package beside torch, JAX, ONNX Runtime, OpenCV, scikit-image, SciPy and tinybrain where they "
        "are installed, and beside a plain copy. No number is printed where results differ.",
    )
    bench.add_arguments(parser)
    parser.set_defaults(run=bench.run)


def _seed(text: str) -> int:
    number = _number(text)
    if not 0 <= number < 2**63:
        raise argparse.ArgumentTypeError("a seed is between 0 and 2**63 - 1")
    return number


def _run_demo(args: argparse.Namespace) -> int:
    from . import demo

    return demo.run(args)
