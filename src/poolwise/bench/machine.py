"""Where and with what a result was measured: a number without these is not one."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import poolwise

from ..messages import refuse
from .peers import Peer

__all__ = ["Others", "about", "claim_cores", "start_peers"]


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _git(*words: str) -> str:
    root = Path(__file__).resolve().parent
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _caches() -> dict[str, str]:
    sizes = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        sizes[f"L{level} {kind.lower()}"] = size
    return sizes


def claim_cores(threads: int | None) -> int:
    """Keep the process on as many CPUs as it may have threads, and answer how many those are.

    This is what gives libraries without a setting (XLA) the same number of threads as everybody else. It must
    happen before they are imported.
    """
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    wanted = threads or len(available) or os.cpu_count() or 1
    if wanted < 1 or (available and wanted > len(available)):
        raise refuse(
            "bench",
            "so many threads would share cores",
            got=f"threads={wanted}",
            expected=f"1 to {len(available)}, the CPUs that this process may use",
            hint=f"--threads {max(len(available), 1)}",
        )
    if available:
        os.sched_setaffinity(0, available[:wanted])
    return wanted


class Others:
    """How busy other programs keep the CPUs that this process may use.

    Spinning thread pools collapse when a core is taken from them (torch's by a factor of ten and more), so a busy
    machine flatters whoever does not spin. Cells measured on one are marked, and the summary says so first.
    """

    def __init__(self) -> None:
        self.before = self._now()

    @staticmethod
    def _now() -> tuple[float, float, float]:
        cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        own = os.times()
        busy = 0.0
        try:
            lines = Path("/proc/stat").read_text().splitlines()
        except OSError:
            return time.perf_counter(), -1.0, 0.0
        for line in lines:
            words = line.split()
            if words and words[0][:3] == "cpu" and words[0][3:].isdigit() and int(words[0][3:]) in cpus:
                user, nice, system, _, _, irq, soft, stolen = map(int, words[1:9])
                busy += (user + nice + system + irq + soft + stolen) / os.sysconf("SC_CLK_TCK")
        return time.perf_counter(), busy, own.user + own.system

    def share(self) -> float | None:
        """Of the CPUs' time since the start, what others used; None where the system does not say."""
        (begin, busy0, own0), (end, busy1, own1) = self.before, self._now()
        if busy0 < 0 or end - begin < 0.1:  # the system counts in hundredths of a second
            return None
        cpus = len(os.sched_getaffinity(0))
        return max(0.0, (busy1 - busy0) - (own1 - own0)) / ((end - begin) * cpus)


def start_peers(peers: Sequence[Peer], threads: int) -> tuple[list[Peer], dict[str, str], dict[str, str]]:
    """Import every peer: those that are here, their versions, and why the others are missing."""
    here: list[Peer] = []
    versions: dict[str, str] = {}
    missing: dict[str, str] = {}
    for peer in peers:
        try:
            versions[peer.name] = peer.start(threads)
        except ImportError as error:
            missing[peer.name] = f"not installed: pip install {peer.package} ({error})"
        else:
            here.append(peer)
    return here, versions, missing


def about(threads: int) -> dict[str, Any]:
    """Machine, system, interpreter, revision and date."""
    page = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "threads": threads,
        "caches": _caches(),
        "huge_pages": page.read_text().strip() if page.exists() else "unknown",
        "system": platform.platform(),
        "python": platform.python_version(),
        "poolwise": poolwise.__version__,
        "git": {"revision": _git("rev-parse", "HEAD"), "changed": bool(_git("status", "--porcelain", "--", "."))},
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else [],
    }
