"""A study from its settings to its file of results: what is missing is worked out, done, and added as it comes."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..data import ImageSet
from ..messages import refuse
from .jobs import Job, pending
from .processes import Done, Failed, Tick, work
from .record import Header, Run, Settings, Source, Variant
from .results import Results, added_to, differences, read, replaced
from .variants import chosen, reductions
from .worker import Material, train_and_measure

__all__ = ["Outcome", "Plan", "Progress", "cores", "plan", "prepare", "run"]

GIVE_UP = 3
"""Failed runs after which no more are started: something is wrong with all of them."""
SIZES, QUICK_SIZES = (250, 1000, 4000), (400,)
STEPS, QUICK_STEPS = 350, 40
SEEDS, QUICK_SEEDS = 5, 3
SHIFTS = (1, 2, 4, 8)
SMALLEST_SHARE = 7
"""A shift is at most this part of a side: a seventh, 4 of 28 pixels."""


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Plan:
    """A study that could run: every argument is read and fits the data."""

    header: Header
    material: Material


def plan(
    images: ImageSet,
    *,
    variants: Iterable[str],
    seeds: int | None = None,
    sizes: tuple[int, ...] | None = None,
    steps: int | None = None,
    quick: bool = False,
    processes: int = 1,
    command: str | None = None,
) -> Plan:
    """Settings for a data set; what is not said has values that make about a minute, or less than twenty.

    `command` is what a reader of the report may type to have the same again.

    Raises
    ------
    ValueError
        For variants that do not exist, more images than there are, numbers below 1, and images whose sides do not fit.
    """
    names = tuple(way.name for way in chosen(list(variants)))
    reductions(*images.shape[1:])
    there = len(images.train_labels)
    if sizes is None:
        usual = QUICK_SIZES if quick else SIZES
        sizes = (*(n for n in usual if n < there), *([there] if there <= usual[-1] else []))
    sizes = tuple(sorted(set(sizes)))
    classes = len(images.classes)
    if not sizes or sizes[0] < classes or sizes[-1] > there:
        raise refuse(
            "study", "so many images to learn from cannot be had", got=f"sizes {', '.join(map(str, sizes)) or 'none'}",
            expected=f"from {classes} (the classes) to {there} (the training images of {images.name})",
            hint=f"--sizes {max(there // 4, classes)},{there}",
        )  # fmt: skip
    seeds = seeds or (QUICK_SEEDS if quick else SEEDS)
    side = min(images.shape[1:])
    settings = Settings(
        variants=names, seeds=tuple(range(seeds)), sizes=sizes, steps=steps or (QUICK_STEPS if quick else STEPS), batch=32,
        rate=1e-2, test_images=min(200 if quick else 1000, len(images.test_labels)),
        shifts=tuple(shift for shift in SHIFTS if shift * SMALLEST_SHARE <= side)[: 2 if quick else None],
        probe_images=min(100 if quick else 500, sizes[-1]), field_images=min(16 if quick else 64, len(images.test_labels)),
        shift_images=min(100 if quick else 500, len(images.test_labels)),
    )  # fmt: skip
    header = _header(images, settings, quick, processes)
    if command:
        header.machine["command"] = command
    return Plan(header, _material(images, settings))


def _header(images: ImageSet, settings: Settings, quick: bool, processes: int) -> Header:
    import torch

    source = Source(
        images.name, images.source, images.licence, images.split, images.sha256, len(images.train_labels),
        len(images.test_labels), images.shape, images.classes,
    )  # fmt: skip
    machine = {
        "processor": _processor(), "cores": cores(), "processes": processes, "python": platform.python_version(),
        "numpy": np.__version__, "torch": torch.__version__,
    }  # fmt: skip
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return Header(settings, source, __version__, machine, now, quick)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _material(images: ImageSet, settings: Settings) -> Material:
    from ..instruments import balanced_order

    # Nested: a larger number of images holds the smaller ones, and each has its classes as evenly as they last.
    train = balanced_order(images.train_labels)[: settings.sizes[-1]]
    test = balanced_order(images.test_labels)[: settings.test_images]
    return Material(
        settings, images.train_images[train], images.train_labels[train], images.test_images[test],
        images.test_labels[test], len(images.classes),
    )  # fmt: skip


def prepare(path: Path, header: Header, *, resume: bool, force: bool) -> Results:
    """The file of results, ready to be added to: a new one, or one that holds part of the same study.

    Raises
    ------
    ValueError
        For a file that is there already, or belongs to another study.
    OSError
        Where it cannot be written.
    """
    if path.exists() and not force:
        if not resume:
            raise refuse(
                "study", "there are results already", got=str(path), expected="a folder without any",
                hint="--resume to go on with them, --force to replace them, or another folder as --out",
            )  # fmt: skip
        results = read(path)
        apart = differences(results.header, header)
        if apart:
            raise refuse(
                "study", "these results are of another study", got=f"{path}: {'; '.join(apart)}",
                expected="the same settings and data", hint="the same arguments, another folder as --out, or --force",
            )  # fmt: skip
        return results
    replaced(path, header)
    return read(path)


@dataclass
class Outcome:
    """What a study has come to."""

    results: Results
    failed: list[Failed] = field(default_factory=list)
    interrupted: bool = False
    left: int = 0
    """Runs that have no result."""


@dataclass(frozen=True)
class Progress:
    """Who is told how far the study is: nobody, unless a program watches."""

    timing: Callable[[str], Any] = lambda title: None
    begin: Callable[[int, int, float, float], Any] = lambda done, all_runs, cost_done, cost: None
    advance: Callable[[float], Any] = lambda milliseconds: None
    finished: Callable[[Job], Any] = lambda job: None


def run(path: Path, results: Results, material: Material, processes: int, progress: Progress | None = None) -> Outcome:
    """Do what is missing. Ctrl-C keeps what is finished: `Outcome.interrupted` says that it came."""
    progress = progress or Progress()
    settings = results.header.settings
    outcome = Outcome(results)
    try:
        with added_to(path, results.whole) as add:
            _describe(results, material, add, progress)
            jobs = pending(settings, results.variants, results.runs)
            total = sum(job.cost for job in pending(settings, results.variants, ()))
            progress.begin(
                len(results.runs), len(results.runs) + len(jobs), total - sum(job.cost for job in jobs), total
            )
            with closing(work(jobs, train_and_measure, material, processes)) as events:
                _collect(events, outcome, add, progress)
    except KeyboardInterrupt:
        # It may have come after a line was written and before its record was noted: the file says what there is.
        outcome.results = results = read(path)
        outcome.interrupted = True
    outcome.left = len(settings.variants) * len(settings.seeds) * len(settings.sizes) - len(results.runs)
    return outcome


def _describe(results: Results, material: Material, add: Callable[[Variant], Any], progress: Progress) -> None:
    """Variants that are not in the file yet; before any run, so that times are of a machine without other work of ours."""
    from .costs import describe

    known = {variant.name for variant in results.variants}
    for way in chosen(results.header.settings.variants):
        if way.name not in known:
            progress.timing(way.title)
            found = describe(way, results.header.data.shape, material.classes, results.header.settings)
            add(found)
            results.variants.append(found)


def _collect(
    events: Iterable[Tick | Done | Failed], outcome: Outcome, add: Callable[[Run], Any], progress: Progress
) -> None:
    for event in events:
        if isinstance(event, Tick):
            progress.advance(event.amount)
        elif isinstance(event, Done):
            add(event.value)
            outcome.results.runs.append(event.value)
            progress.finished(event.job)
        else:
            outcome.failed.append(event)
            if len(outcome.failed) == GIVE_UP:
                return
