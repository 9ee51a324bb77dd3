"""What all commands share: one-line errors, JSON, and files that appear whole or not at all."""

from __future__ import annotations

import importlib
import json
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

__all__ = ["CommandError", "needs", "one_line", "print_json", "write_whole"]


class CommandError(Exception):
    """A command cannot go on; the text is one line for the user."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


def one_line(text: str) -> str:
    """An error in one line; the library's four parts are joined with semicolons.

    >>> one_line("pool: window does not fit.\\n  got       9\\n  expected  at most 8\\n  try       window=8")
    'pool: window does not fit; got 9; expected at most 8; try window=8'
    """
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith("."):
        lines[0] = lines[0][:-1]
    return "; ".join(lines)


def needs(extra: str, *modules: str) -> list[Any]:
    """Modules of an optional extra, or a failure that names it."""
    found = []
    for module in modules:
        try:
            found.append(importlib.import_module(module))
        except ImportError as error:
            raise CommandError(f"{module} is not installed ({error}); try: pip install 'poolwise[{extra}]'") from None
    return found


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def write_whole(path: Path, data: bytes) -> None:
    """Write a file beside its place and move it there, so that nobody ever sees half of it.

    A link is followed, not replaced; a device or a folder is refused, since a move would replace it.
    """
    target = Path(os.path.realpath(path))
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        mode = None
    if mode is not None and not stat.S_ISREG(mode):
        raise CommandError(
            f"{path} is {'a folder' if stat.S_ISDIR(mode) else 'not an ordinary file'}; nothing was written"
        )
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror or error}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o666 & ~_umask() if mode is None else stat.S_IMODE(mode))
        os.replace(name, target)
    except OSError as error:
        os.unlink(name)
        raise CommandError(f"cannot write {path}: {error.strerror or error}") from None
    except BaseException:
        os.unlink(name)
        raise


def _umask() -> int:
    # The mask can only be read by setting it; the command line has no other thread that could write meanwhile.
    mask = os.umask(0)
    os.umask(mask)
    return mask
