"""The file of results: lines that are only ever added, one record each."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ..messages import refuse
from .record import SCHEMA, Header, Run, Variant, from_plain, to_plain

__all__ = ["Results", "added_to", "differences", "read", "replaced"]


@dataclass
class Results:
    """What a file of results holds."""

    header: Header
    variants: list[Variant] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    whole: int = 0
    """Bytes up to the end of the last whole line; a killed study may leave part of a line after them."""


def read(path: Path) -> Results:
    """All whole lines of a file.

    Raises
    ------
    ValueError
        For a file of another version, and for lines that no study wrote.
    OSError
        Where it cannot be read.
    """
    raw = path.read_bytes()
    whole = raw.rfind(b"\n") + 1
    results: Results | None = None
    for number, line in enumerate(raw[:whole].splitlines(), 1):
        record = _record(path, number, line)
        if number == 1:
            if not isinstance(record, Header):
                raise _not_ours(path, f"line 1 is a {type(record).__name__.lower()}")
            results = Results(record, whole=whole)
        elif isinstance(record, Variant) and results is not None:
            results.variants.append(record)
        elif isinstance(record, Run) and results is not None:
            results.runs.append(record)
        else:
            raise _not_ours(path, f"line {number} is a second header")
    if results is None:
        raise _not_ours(path, "not one whole line")
    return results


def _record(path: Path, number: int, line: bytes) -> Header | Variant | Run:
    try:
        value = json.loads(line)
        if not isinstance(value, dict):
            raise ValueError(f"a {type(value).__name__}, not a record")
    except (ValueError, RecursionError) as error:
        raise _not_ours(path, f"line {number}: {error}") from None
    # Asked before the fields are looked at: another version has others.
    if number == 1 and value.get("kind") == "header" and value.get("schema") != SCHEMA:
        raise refuse(
            "study", "these results are of another version", got=f"{path}: schema {value.get('schema')!r}",
            expected=f"schema {SCHEMA}", hint="another folder as --out, or --force to replace them",
        )  # fmt: skip
    try:
        return from_plain(value)
    except (ValueError, TypeError, AttributeError) as error:
        raise _not_ours(path, f"line {number}: {error}") from None


def _not_ours(path: Path, what: str) -> ValueError:
    return refuse(
        "study", "this is not a file of results", got=f"{path}: {what}", expected="lines that poolwise study wrote",
        hint="another folder as --out, or --force to replace it",
    )  # fmt: skip


def differences(there: Header, asked: Header) -> list[str]:
    """In what a file's settings differ from those asked for, one text each."""
    found = []
    for settings_or_data in ("settings", "data"):
        old, new = (getattr(header, settings_or_data) for header in (there, asked))
        for part in dataclasses.fields(old):
            before, after = getattr(old, part.name), getattr(new, part.name)
            # Where the files lie may change; what is in them may not.
            if before != after and (settings_or_data, part.name) not in (("data", "source"), ("data", "licence")):
                found.append(f"{settings_or_data}.{part.name} is {_short(before)} there, {_short(after)} here")
    if there.quick != asked.quick:
        found.append(f"quick is {there.quick} there, {asked.quick} here")
    return found


def _short(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _line(record: Header | Variant | Run) -> bytes:
    return json.dumps(to_plain(record), ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def replaced(path: Path, header: Header) -> None:
    """A file with nothing but the header, in place of what was there."""
    if path.is_file():
        with added_to(path):
            pass  # nobody is at work there
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb") as file:
            file.write(_line(header))
            _settle(file)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


@contextmanager
def added_to(path: Path, whole: int | None = None) -> Iterator[Any]:
    """Yields ``add(record)``, which returns once the line is on the disk; what follows `whole` bytes is cut off first.

    Raises
    ------
    ValueError
        While another study adds to the same file.
    """
    with path.open("r+b") as file:
        _claim(file, path)
        if whole is not None:
            file.truncate(whole)
        file.seek(0, os.SEEK_END)

        def add(record: Variant | Run) -> None:
            file.write(_line(record))
            _settle(file)

        yield add


def _settle(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _claim(file: IO[bytes], path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise refuse(
            "study", "another study is at work here", got=str(path), expected="one study for each folder",
            hint="wait for it, or another folder as --out",
        ) from None  # fmt: skip
