"""``poolwise inspect``: what every layer of a model sees and costs, and what its pooling saves."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import re
import sys
import textwrap
import warnings
from typing import TYPE_CHECKING, Any

from . import models
from .arguments import add_json
from .output import CommandError, needs, one_line, print_json

if TYPE_CHECKING:
    from ..instruments import Trace

__all__ = ["add_command"]

INPUT = re.compile(r"(\d{1,9}(?:[,x]\d{1,9})*),?(?::([a-z]+\d*))?")


def add_command(commands: Any) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "inspect",
        help="layer by layer: what a model sees and costs, and what its pooling saves",
        description="Runs a torch model once and prints, layer by layer, its shapes, reduction, receptive field, multiply-adds, "
        "pooling operations and memory; then what the same network would cost with every pooling stride at 1.",
    )
    parser.add_argument("model", metavar="MODEL", help=models.FORMS)
    parser.add_argument(
        "--input", action="append", required=True, type=_shape, metavar="N,C,H,W[:DTYPE]",
        help="the input's shape, zeros of the model's dtype unless one is named (1,128:int64); again for each further input",
    )  # fmt: skip
    parser.add_argument("--all", action="store_true", help="also the layers that only normalise, activate or rearrange")
    add_json(parser)
    parser.set_defaults(run=run)


def _shape(text: str) -> tuple[tuple[int, ...], str | None]:
    found = INPUT.fullmatch(text.strip())
    if not found:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no shape; write lengths as 1,3,224,224, with a dtype as 1,128:int64"
        )
    return tuple(int(n) for n in re.split("[,x]", found[1])), found[2]


def run(args: argparse.Namespace) -> int:
    """Print the trace."""
    needs("torch", "torch")
    from ..instruments import inspect

    # What a model prints or warns of while it is made or run is not part of the answer.
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = models.load(args.model)
        example = tuple(_tensor(shape, dtype, model) for shape, dtype in args.input)
        try:
            found = inspect(model, example)
        except ValueError as error:
            raise CommandError(_without_trace(error)) from None
        except TypeError as error:
            raise CommandError(_without_trace(error), 2) from None
    if args.json:
        print_json({"model": args.model, **found.as_dict()})
    else:
        _show(found, args.all)
    return 0


def _without_trace(error: Exception) -> str:
    return one_line(str(error)).removeprefix("trace: ")


def _tensor(shape: tuple[int, ...], dtype: str | None, model: Any) -> Any:
    import torch

    first = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(0))
    chosen = first.dtype if dtype is None else getattr(torch, dtype, None)
    if not isinstance(chosen, torch.dtype):
        raise CommandError(f"--input: {dtype!r} is no dtype of torch", 2)
    try:
        return torch.zeros(shape, dtype=chosen, device=first.device)
    except RuntimeError as error:
        raise CommandError(f"--input {','.join(map(str, shape))}: {models.said(error)}") from None


def _show(found: Trace, everything: bool) -> None:
    from ..instruments.tracing import text

    if importlib.util.find_spec("rich") is None:
        print(text.table(found, everything))
        print("\n" + textwrap.fill(text.WHAT_COLUMNS_ARE, 80))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, emoji=False)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for number, head in enumerate(text.HEADS):
        table.add_column(head, justify="left" if number < 2 else "right", no_wrap=True)
    for row in text.rows(text.shown(found, everything), console.width):
        table.add_row(*row)
    console.print(table)
    if not everything and text.hidden(found):
        console.print(f"(left out: {text.left_out(found)}; --all shows them)")
    console.print()
    for line in text.findings(found):
        console.print(line)
    console.print("\n" + text.WHAT_COLUMNS_ARE, style="dim")
