"""Workers: processes that are handed one piece of work at a time, so that it is known who was at what."""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

__all__ = ["Done", "Failed", "Tick", "work"]


@dataclass(frozen=True)
class Tick:
    """A job came forward by so much."""

    amount: float


@dataclass(frozen=True)
class Done:
    """A job's result."""

    job: Any
    value: Any


@dataclass(frozen=True)
class Failed:
    """A job that has no result, and why."""

    job: Any
    why: str
    details: str = ""
    """The traceback in the process, where there is one."""


def work(
    jobs: Iterable[Any], function: Callable[..., Any], shared: Any, processes: int
) -> Iterator[Tick | Done | Failed]:
    """Do all jobs, ``function(job, shared, tick)`` each, in so many processes; yields what happens as it happens.

    Processes are spawned, not forked (torch's threads do not survive a fork), and end with the iterator: close it, or
    let an exception through, to stop them at once. One that dies takes only its job along; another takes its place.
    """
    waiting = list(jobs)[::-1]
    context = multiprocessing.get_context("spawn")
    crew: dict[Connection, Any] = {}
    busy: dict[Connection, Any] = {}

    def start() -> None:
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(there, function, shared), daemon=True)
        # What is blocked here is blocked in the process from its first instruction on: Ctrl-C, which the terminal sends
        # to all, is for the parent alone.
        with _without_interrupts():
            process.start()
            crew[here] = process
        there.close()
        hand_out(here)

    def hand_out(worker: Connection) -> None:
        busy.pop(worker, None)
        if waiting:
            busy[worker] = job = waiting.pop()
            with suppress(OSError):  # one that has died says so when it is listened to
                worker.send(job)

    try:
        for _ in range(min(processes, len(waiting))):
            start()
        while busy:
            for worker in wait(list(busy)):
                try:
                    found = worker.recv()
                except (EOFError, ConnectionError):
                    process = crew.pop(worker)
                    worker.close()
                    process.join()
                    job = busy.pop(worker)
                    if waiting:
                        start()
                    yield Failed(job, f"its process {_ending(process.exitcode)}")
                    continue
                if not isinstance(found, Tick):
                    hand_out(worker)
                yield found
    finally:
        for process in crew.values():
            process.terminate()
        for worker, process in crew.items():
            process.join()
            worker.close()


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"was killed ({name}{', perhaps for want of memory' if name == 'SIGKILL' else ''})"
    return f"ended with code {code}"


@contextmanager
def _without_interrupts() -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(parent: Connection, function: Callable[..., Any], shared: Any) -> None:
    """A process: jobs in, results out, until the parent hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            job = parent.recv()
        except (EOFError, OSError):
            return
        try:
            found: Done | Failed = Done(job, function(job, shared, lambda amount=1.0: parent.send(Tick(amount))))
        except Exception as error:  # whatever it is, the others' work goes on
            found = Failed(job, f"{type(error).__name__}: {error}", traceback.format_exc())
        try:
            parent.send(found)
        except OSError:  # the parent is gone
            return
