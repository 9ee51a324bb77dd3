"""``poolwise study``: which pooling for which purpose, from a family of small networks trained on real images."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..study.variants import WAYS
from .arguments import add_json
from .output import CommandError, needs, one_line, print_json, write_whole

if TYPE_CHECKING:
    from ..study.processes import Failed
    from ..study.results import Results
    from ..study.runner import Outcome, Progress

__all__ = ["add_command", "run"]

MODULES = ("torch", "scipy", "sklearn", "jinja2", "matplotlib", "rich", "PIL.Image")
RESULTS, SUMMARY, PAGE = "results.jsonl", "summary.png", "index.html"


def add_command(commands: Any) -> None:
    """``poolwise study``."""
    names = ",".join(way.name for way in WAYS)
    parser = commands.add_parser(
        "study",
        help="train small CNNs that differ only in their pooling, and report which is best for what",
        description="Trains a family of small convolutional networks that differ only in how they reduce resolution, with "
        "equal parameters, weights and batches, and measures them. Results are added to FOLDER/results.jsonl as they come; "
        "Ctrl-C keeps them and --resume goes on. Ends with a table and one page, FOLDER/index.html. Needs poolwise[study]; "
        "uses no network.",
    )
    parser.add_argument(
        "--data", default="mnist5k", metavar="SET",
        help="digits, mnist5k, fashion-mnist, textures, folder:PATH (a folder of pictures for each class, or train and test "
        "with such folders) or idx:PATH (files named as MNIST's); default mnist5k",
    )  # fmt: skip
    parser.add_argument("--out", default="study", metavar="FOLDER", help="where to write (default: study)")
    parser.add_argument("--variants", type=_words, metavar="A,B", help=f"some of {names} (default: all)")
    parser.add_argument("--seeds", type=_count, metavar="N", help="networks of each kind (default 5)")
    parser.add_argument(
        "--sizes",
        type=_counts,
        metavar="N,N",
        help="numbers of training images (default 250,1000,4000, as far as there are)",
    )
    parser.add_argument("--steps", type=_count, metavar="N", help="optimizer steps of each network (default 350)")
    parser.add_argument(
        "--image-size", type=_count, metavar="N", help="sides of the images in pixels (default: as they are)"
    )
    parser.add_argument("--jobs", type=_count, metavar="N", help="processes at a time (default: one for each core)")
    parser.add_argument(
        "--quick", action="store_true", help="about a minute: few steps and images, three seeds; to try it out"
    )
    going_on = parser.add_mutually_exclusive_group()
    going_on.add_argument("--resume", action="store_true", help="go on with the results in FOLDER")
    going_on.add_argument("--force", action="store_true", help="replace the results in FOLDER")
    going_on.add_argument("--report-only", action="store_true", help="only write the page of the results in FOLDER")
    add_json(parser)
    parser.set_defaults(run=run)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _counts(text: str) -> tuple[int, ...]:
    return tuple(_count(part.strip()) for part in text.split(","))


def _words(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def run(args: argparse.Namespace) -> int:
    """Train and measure what has no result yet, then write the page, whole."""
    needs("study", *MODULES)
    from ..study.results import read

    path = Path(args.out) / RESULTS
    if args.report_only:
        return _report(args, read(_there(path)), [])
    outcome = _study(args, path)
    if outcome.interrupted:
        return _interrupted(args, path, outcome)
    for failure in outcome.failed:
        print(f"poolwise: study: no result of {failure.job}: {one_line(failure.why)}", file=sys.stderr)
    code = _report(args, outcome.results, outcome.failed)
    if outcome.left:
        print(
            f"poolwise: study: runs without a result: {outcome.left}; the page is of the others; try again: {_again(args)}",
            file=sys.stderr,
        )
        return 1
    return code


def _there(path: Path) -> Path:
    if not path.is_file():
        raise CommandError(
            f"there are no results in {path.parent} ({path.name}); run poolwise study --out {path.parent}"
        )
    return path


def _study(args: argparse.Namespace, path: Path) -> Outcome:
    from .. import data
    from ..study import runner

    processes = min(args.jobs or runner.cores(), MOST_PROCESSES)
    try:
        images = data.load(args.data, image_size=args.image_size)
    except data.MissingDataError as error:
        raise CommandError(str(error)) from None
    study = runner.plan(
        images, variants=[way.name for way in WAYS] if args.variants is None else args.variants, seeds=args.seeds,
        sizes=args.sizes, steps=args.steps, quick=args.quick, processes=processes, command=_command(args),
    )  # fmt: skip
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        results = runner.prepare(path, study.header, resume=args.resume, force=args.force)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror or error}") from None
    with _bars(sys.stderr.isatty() and not args.json) as progress:
        return runner.run(path, results, study.material, processes, progress)


MOST_PROCESSES = 64


def _interrupted(args: argparse.Namespace, path: Path, outcome: Outcome) -> int:
    done = len(outcome.results.runs)
    page = f"page of these: poolwise study --report-only --out {shlex.quote(args.out)}" if done else "none is finished"
    print(
        f"poolwise: study: interrupted; {done} of {done + outcome.left} runs are in {path}; "
        f"go on: {_again(args)}; {page}",
        file=sys.stderr,
    )  # fmt: skip
    return 130


def _again(args: argparse.Namespace) -> str:
    """The command that goes on where this one stopped."""
    return _command(args, "--resume", "--out", args.out, *(["--jobs", str(args.jobs)] if args.jobs else []))


def _command(args: argparse.Namespace, *more: str) -> str:
    """The command that was typed, as far as it decides results."""
    words = ["poolwise", "study", "--data", args.data]
    for name in ("variants", "sizes"):
        if getattr(args, name) is not None:
            words += [f"--{name}", ",".join(map(str, getattr(args, name)))]
    for name in ("seeds", "steps", "image_size"):
        if getattr(args, name) is not None:
            words += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    return shlex.join([*words, *(["--quick"] if args.quick else []), *more])


def _report(args: argparse.Namespace, results: Results, failed: list[Failed]) -> int:
    """The page, its summary and the table of whatever there is, in the order of the settings and not of finishing."""
    from ..study import figures, page, table

    settings = results.header.settings
    variants = sorted(results.variants, key=lambda variant: settings.variants.index(variant.name))
    runs = sorted(results.runs, key=lambda run: (settings.variants.index(run.variant), run.size, run.seed))
    if not runs:
        raise CommandError(f"not one run has a result in {Path(args.out) / RESULTS}; there is nothing to report")
    folder = Path(args.out)
    write_whole(folder / SUMMARY, figures.main_figure(results.header, variants, runs))
    write_whole(folder / PAGE, page.render(results.header, variants, runs).encode())
    files = [str(folder / name) for name in (RESULTS, SUMMARY, PAGE)]
    if args.json:
        from ..study.record import to_plain

        print_json(
            {
                "header": to_plain(results.header),
                "variants": [to_plain(variant) for variant in variants],
                "runs": [to_plain(run) for run in runs],
                "report": table.as_dict(results.header, variants, runs),
                "failed": [{"run": str(failure.job), "why": failure.why} for failure in failed],
                "files": files,
            }
        )
        return 0
    from rich.console import Console

    console = Console()
    table.show(results.header, variants, runs, console if console.is_terminal else Console(width=WIDTH_OFF_TERMINAL))
    console.print("Written: " + ", ".join(files), highlight=False, soft_wrap=True)
    return 0


WIDTH_OFF_TERMINAL = 120


@contextmanager
def _bars(visible: bool) -> Iterator[Progress | None]:
    """A bar with the time left and the run that ended last, on standard error; or nothing at all."""
    if not visible:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    from ..study.runner import Progress

    columns = (
        TextColumn("{task.fields[runs]:>9} runs"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.description}"),
    )  # fmt: skip
    # Over a minute: jobs differ in how well their time was guessed.
    with Bars(*columns, console=Console(stderr=True), speed_estimate_period=60) as bars:
        task = bars.add_task("", total=None, runs="")
        count = [0, 0]

        def show(text: str) -> None:
            bars.update(task, description=text, runs=f"{count[0]}/{count[1]}" if count[1] else "")

        def begin(done: int, all_runs: int, cost_done: float, cost: float) -> None:
            count[:] = done, all_runs
            bars.reset(task, total=cost, completed=0)
            bars.update(task, completed=cost_done)
            show("starting")

        def finished(job: Any) -> None:
            count[0] += 1
            show(f"last: {job}")

        yield Progress(
            timing=lambda title: show(f"timing {title}"), begin=begin,
            advance=lambda milliseconds: bars.advance(task, milliseconds), finished=finished,
        )  # fmt: skip
