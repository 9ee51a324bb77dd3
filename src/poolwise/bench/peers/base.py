"""What a contender is: it prepares tasks for a case, or says why it cannot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..case import Case
from ..inputs import Inputs

__all__ = ["Peer", "Task", "Unable"]


class Unable(Exception):  # noqa: N818 - an answer, not a fault
    """Raised by `Peer.prepare` with the reason why a cell is beyond it."""


@dataclass(frozen=True)
class Task:
    """One way to compute a cell. `run` is what is timed: it allocates its result and leaves it ready to read.

    `read` turns that result into NumPy arrays ``(batch, channels, *spatial)``: the value, then positions where the
    mode asks for them. It is never timed.
    """

    label: str
    run: Callable[[], Any]
    read: Callable[[Any], tuple[np.ndarray, ...]]


class Peer(Protocol):
    """A library, or one distinct way to use it. A peer may offer several tasks; its fastest correct one counts."""

    name: str
    package: str
    """What `pip` calls it."""

    def start(self, threads: int) -> str:
        """Import it, give it its threads and return its version; ImportError where it is missing."""
        ...

    def prepare(self, case: Case, inputs: Inputs) -> Sequence[Task]:
        """Ways to compute the case; raises `Unable` with the reason where there is none."""
        ...
