"""What this installation is made of, for bug reports."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from .backends import BACKENDS, cpu

__all__ = ["show_config"]


def show_config() -> dict[str, Any]:
    """Versions, backends, instruction set and threads, as plain values.

    Examples
    --------
    >>> import poolwise as pw
    >>> sorted(pw.show_config())
    ['backends', 'instruction_set', 'instruction_sets', 'platform', 'python', 'shared_threads', 'threads', 'versions']
    """
    core = cpu._core
    versions = {}
    for name in ("poolwise", "numpy", "torch", "jax"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "versions": versions,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "backends": [backend.name for backend in BACKENDS],
        "instruction_set": core.isa() if core else None,
        "instruction_sets": core.isa_available() if core else [],
        "threads": cpu.get_num_threads(),
        "shared_threads": bool(core and core.shared_threads(cpu.get_num_threads())),
    }
