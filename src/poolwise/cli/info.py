"""``poolwise list`` and ``poolwise config``."""

from __future__ import annotations

import argparse
from typing import Any

from .arguments import add_json
from .output import print_json

__all__ = ["add_commands"]


def add_commands(commands: Any) -> None:
    """Declare both commands."""
    listing = commands.add_parser("list", help="the operators", description="Lists the pooling operators.")
    add_json(listing)
    listing.set_defaults(run=_list)
    config = commands.add_parser(
        "config",
        help="versions, backends and threads",
        description="What this installation is made of, for bug reports.",
    )
    add_json(config)
    config.set_defaults(run=_config)


def _list(args: argparse.Namespace) -> int:
    from ..ops import OPS

    if args.json:
        print_json(
            [{"name": op.name, "summary": op.summary, "family": op.family, "dtypes": list(op.wide)} for op in OPS]
        )
    else:
        width = max(len(op.name) for op in OPS)
        for op in OPS:
            print(f"{op.name:<{width}}  {op.summary}")
    return 0


def _config(args: argparse.Namespace) -> int:
    from .. import show_config

    config = show_config()
    if args.json:
        print_json(config)
        return 0
    width = max(map(len, config))
    for name, value in config.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {each}" for key, each in value.items())
        elif isinstance(value, list):
            value = ", ".join(map(str, value)) or "none"
        print(f"{name.replace('_', ' '):<{width}}  {'none' if value is None else value}")
    return 0
