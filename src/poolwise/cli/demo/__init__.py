"""``poolwise demo``: a photograph pooled, small networks trained and measured, and a page about it."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import data
from ..output import CommandError, needs, print_json, write_whole

if TYPE_CHECKING:
    from .nets import Outcome, Settings

__all__ = ["run"]

MODULES = ("rich", "jinja2", "PIL.Image", "matplotlib", "torch")


def run(args: argparse.Namespace) -> int:
    """Do everything, then write `index.html` last: a page that exists is complete."""
    needs("demo", *MODULES)
    out = Path(args.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"cannot make the folder {out}: {error.strerror or error}") from None
    try:
        images, photograph = data.SETS[args.data](), data.photograph()
    except data.MissingDataError as error:
        raise CommandError(str(error)) from None
    from . import page, photo
    from .nets import Settings

    started = time.perf_counter()
    write_whole(out / "pooling.png", photo.figure(photograph))
    quick = args.quick
    settings = Settings(
        epochs=2 if quick else 6, batch=16 if quick else 64, rate=3e-3, train_images=400 if quick else len(images.train_labels),
        test_images=100 if quick else len(images.test_labels), seed=args.seed,
    )  # fmt: skip
    outcomes = _train_all(images, settings, visible=sys.stderr.isatty() and not args.json)
    seconds = time.perf_counter() - started
    facts = _facts(images, settings, outcomes, seconds, quick)
    write_whole(out / "index.html", page.render(facts, photograph, photo.panels(photograph)).encode())
    facts["files"] = [str(out / "pooling.png"), str(out / "index.html")]
    if args.json:
        print_json(facts)
    else:
        from .text import show

        show(facts)
    return 0


def _train_all(images: data.ImageSet, settings: Settings, visible: bool) -> list[Outcome]:
    """The same net with each way of halving, one after the other."""
    from .nets import KINDS, examine, one_thread, train

    outcomes = []
    steps = settings.epochs * -(-settings.train_images // settings.batch)
    with _progress(visible) as start, one_thread():
        for kind, title in KINDS.items():
            tick = start(title, steps)
            model, outcome = train(kind, images, settings, tick)
            examine(model, outcome, images, settings)
            outcomes.append(outcome)
    return outcomes


@contextmanager
def _progress(visible: bool) -> Any:
    """Yields ``start(title, steps) -> tick``; bars on standard error, or nothing at all."""
    if not visible:
        yield lambda title, steps: lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<36}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:

        def start(title: str, steps: int) -> Callable[[], None]:
            task = progress.add_task(title, total=steps)
            return lambda: progress.advance(task)

        yield start


def _facts(
    images: data.ImageSet, settings: Settings, outcomes: list[Outcome], seconds: float, quick: bool
) -> dict[str, Any]:
    """Everything that is printed or shown on the page, as plain values."""
    from ... import show_config

    nets = []
    for outcome in outcomes:
        reduced = outcome.without_reduction
        nets.append(
            {
                "kind": outcome.kind,
                "title": outcome.title,
                **outcome.trace.as_dict(),
                "multiply_adds_at_stride_1": reduced.multiply_adds if reduced else None,
                "pool_operations_at_stride_1": reduced.pool_operations if reduced else None,
                "losses": outcome.losses,
                "train_accuracy": outcome.train_accuracy,
                "test_accuracy": outcome.test_accuracy,
                "gap": outcome.train_accuracy - outcome.test_accuracy,
                "unchanged_by_shift": {str(distance): share for distance, share in outcome.unchanged.items()},
                "seconds": outcome.seconds,
            }
        )
    described = {name: getattr(images, name) for name in ("name", "source", "licence", "split", "sha256")}
    shape = list(images.shape[1:])
    return {
        "quick": quick,
        "data": {**described, "shape": shape, "classes": len(images.classes)},
        "settings": asdict(settings),
        "nets": nets,
        "seconds": seconds,
        "config": show_config(),
    }
