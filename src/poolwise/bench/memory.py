"""Peak memory of one call, from the kernel's own high-water mark.

Linux only: writing 5 to ``/proc/self/clear_refs`` sets the mark back to what is resident now. Memory that the C
library holds in reserve is given back first. A library that keeps an arena of its own from an earlier call may show
less than it uses, never more; this package has none. Threads count in batches, so the resolution is about 0.5 MB.
"""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

from .peers.base import Task

__all__ = ["available", "peak"]

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def available() -> str | None:
    """Why it cannot be measured here, or None."""
    try:
        _CLEAR.write_text("5")
    except OSError as error:
        return f"no high-water mark of memory on this system ({error})"
    return None


def _status() -> dict[str, int]:
    lines = (line.split() for line in _STATUS.read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words and words[0].startswith("Vm")}


def peak(task: Task) -> int:
    """Bytes that a call adds at its peak, its result included and its input not."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    before = _status()["VmRSS"]
    _CLEAR.write_text("5")
    result = task.run()
    highest = _status()["VmHWM"]
    del result
    return max(highest - before, 0)
