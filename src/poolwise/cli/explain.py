"""``poolwise explain``: what a pooling call would do."""

from __future__ import annotations

import argparse
from typing import Any

from ..ops import BY_NAME
from .arguments import add_json, add_window, operator_parameters, shape, sizes
from .output import print_json

__all__ = ["add_command"]


def add_command(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "explain",
        help="windows, backend and cost of a pooling call, without doing it",
        description="Says what a pooling call would do: output shape, windows, which backend and why not the others, cost.",
    )
    parser.add_argument("op", choices=tuple(BY_NAME), metavar="OP", help=f"one of {', '.join(BY_NAME)}")
    parser.add_argument("--shape", type=shape, required=True, metavar="N,C,H,W", help="the array's shape")
    windows = parser.add_mutually_exclusive_group(required=True)
    windows.add_argument("--window", type=sizes, metavar="N", help="window: N, or one number per axis as 2x3")
    windows.add_argument("--adaptive", type=sizes, metavar="N", help="this many bins per axis, whatever its length")
    windows.add_argument("--global", dest="whole", action="store_true", help="one window over the whole of every axis")
    add_window(parser)
    parser.add_argument(
        "--axes",
        type=sizes,
        metavar="I,J",
        help="pooled axes (default: the last ones, one per number of the window; all after the first two for a single number)",
    )
    parser.add_argument("--dtype", default="float32", help="dtype of the array (default float32)")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the explanation."""
    import numpy as np

    from .. import adaptive_pool, explain, global_pool, pool

    try:
        x: Any = np.broadcast_to(np.zeros((), args.dtype), args.shape)
    except (TypeError, ValueError) as error:
        raise ValueError(f"no array has shape {args.shape} and dtype {args.dtype!r}: {error}") from None
    options = operator_parameters(args, args.op)
    size = args.window if args.window is not None else args.adaptive
    if args.axes is not None:
        options["axes"] = args.axes
    elif not isinstance(size, tuple) and len(args.shape) > 2:
        options["axes"] = tuple(range(2, len(args.shape)))
    if args.window is not None:
        explanation = explain(
            pool, x, args.op, args.window, stride=args.stride, padding=args.padding, dilation=args.dilation,
            ceil_mode=args.ceil_mode, **options,
        )  # fmt: skip
    else:
        if args.stride is not None or args.padding != 0 or args.dilation != 1 or args.ceil_mode or args.border:
            raise ValueError("--stride, --padding, --dilation, --ceil-mode and --border go with --window only")
        if args.whole:
            explanation = explain(global_pool, x, args.op, **options)
        else:
            explanation = explain(adaptive_pool, x, args.op, args.adaptive, **options)
    if args.json:
        print_json(explanation.as_dict())
    else:
        print(explanation)
    return 0
