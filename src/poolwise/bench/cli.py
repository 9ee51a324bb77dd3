"""`poolwise bench`: arguments and what they do."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from typing import Any

__all__ = ["add_arguments", "run"]

BUDGETS = {"quick": 0.3, "default": 1.0, "full": 3.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give an argparse parser the options of the benchmark."""
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", dest="preset", action="store_const", const="quick", help="about a minute")
    size.add_argument("--full", dest="preset", action="store_const", const="full", help="every cell, more repeats")
    parser.set_defaults(preset="default")
    parser.add_argument("--only", metavar="WORDS", help="cells that have all these words: max,2/2,float32 (a|b, !a)")
    parser.add_argument("--peers", metavar="NAMES", help="only these peers, with commas between them")
    parser.add_argument("--compile", action="store_true", help="take torch.compile in; it compiles for minutes")
    parser.add_argument("--threads", type=int, metavar="N", help="for everybody; default: the CPUs of this process")
    parser.add_argument("--via", choices=("torch", "numpy"), help="arrays that poolwise is given (default: torch's)")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="timed calls per cell")
    parser.add_argument("--no-memory", action="store_true", help="do not measure peak memory")
    parser.add_argument("--json", metavar="FILE", help="keep every number")
    parser.add_argument("--svg", metavar="FILE", help="draw the picture")
    parser.add_argument(
        "--networks", action="store_true", help="whole networks before and after poolwise.torch.convert"
    )
    parser.add_argument("--list", action="store_true", help="print the cells and stop")


def _peers(args: argparse.Namespace) -> tuple[list[Any], dict[str, str]]:
    """The peers that are asked for, and why the others are not here."""
    from ..messages import refuse
    from .peers import PEERS, SLOW_TO_PREPARE

    names = [peer.name for peer in PEERS]
    if args.peers is not None:
        wanted = [name.strip() for name in args.peers.split(",") if name.strip()]
        unknown = [name for name in wanted if name not in names]
        if unknown:
            raise refuse(
                "bench",
                "no peer has this name",
                got=f"--peers {', '.join(unknown)}",
                expected=f"some of {', '.join(names)}",
                hint="--peers torch,onnxruntime",
            )
        left = dict.fromkeys((name for name in names if name not in wanted), "left out by --peers")
    else:
        left = {} if args.compile else dict.fromkeys(SLOW_TO_PREPARE, "left out: --compile takes it in")
    return [peer for peer in PEERS if peer.name not in left], left


def run(args: argparse.Namespace) -> int:
    """Run the benchmark; 0, or 1 where this package gave a wrong answer or none in some cell."""
    if args.networks:
        from . import networks

        return networks.run(args, args.budget or BUDGETS[args.preset])
    from .registry import select

    cells = select(args.preset, args.only)
    if args.list:
        print("\n".join(case.name for case in cells))
        print(f"{len(cells)} cells", file=sys.stderr)
        return 0
    import faulthandler

    faulthandler.enable(sys.__stderr__)  # ten libraries in one process: if one of them crashes, say in whose call
    wanted, missing = _peers(args)
    from .machine import claim_cores, start_peers

    threads = claim_cores(args.threads)
    via = args.via or _default_arrays()
    here, versions, absent = start_peers(wanted, threads)
    from .runner import Bench
    from .timing import Plan

    plan = Plan(args.budget or BUDGETS[args.preset])
    bench = Bench(here, threads, via=via, plan=plan, measure_memory=not args.no_memory)
    try:
        report = _show(cells, bench, versions, {**missing, **absent})
    finally:
        bench.close()
    _keep(report, args)
    return int(any(cell["status"] in ("mismatch", "failed") for cell in report["cells"]))


def _default_arrays() -> str:
    import importlib.util

    return "torch" if importlib.util.find_spec("torch") else "numpy"


def _show(cells: list[Any], bench: Any, versions: dict[str, str], missing: dict[str, str]) -> dict[str, Any]:
    from .session import run_cells
    from .text import HEADER, cell_line, summary_lines

    status, say = _status()
    present = ", ".join(f"{name} {version}" for name, version in versions.items())
    print(f"{len(cells)} cells, {bench.threads} threads, poolwise on {bench.via} arrays; peers: {present or 'none'}")
    for name, reason in missing.items():
        print(f"missing: {name}: {reason}")
    print(HEADER)
    with status:
        report = run_cells(
            cells,
            bench,
            versions=versions,
            missing=missing,
            done=lambda cell: print(cell_line(cell), flush=True),
            say=say,
        )
    print("\n".join(summary_lines(report)))
    return report


def _status() -> tuple[Any, Any]:
    """A line that says what is going on, on terminals that can take it back."""
    if not sys.stdout.isatty():
        return nullcontext(), lambda text: None
    try:
        from rich.console import Console
    except ImportError:
        return nullcontext(), lambda text: None
    status = Console().status("starting")
    return status, status.update


def _keep(report: dict[str, Any], args: argparse.Namespace) -> None:
    from .session import write_json

    if args.json:
        write_json(report, args.json)
        print(f"wrote {args.json}")
    if args.svg:
        from .picture import draw

        draw(report, args.svg)
        print(f"wrote {args.svg}")
