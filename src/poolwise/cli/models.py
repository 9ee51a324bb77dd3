"""Models named on the command line: ``package.module:factory``, ``path/file.py:factory``, or a file of one.

What a user names is run as they named it: importing a module or calling a factory runs its code, as `python` would. A *file*
of weights is only data, and stays that: nothing in it is unpickled.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .output import CommandError, needs, one_line

if TYPE_CHECKING:
    import torch

__all__ = ["FORMS", "load", "said"]

FORMS = "package.module:factory, path/file.py:factory, an exported program (.pt2) or a TorchScript file"
PICKLED_PARTS = ("opaque_obj_", "custom_obj_")
"""What torch names those members of an exported program that are pickles of objects."""


def load(text: str) -> torch.nn.Module:
    """The model that a text names.

    Parameters
    ----------
    text : str
        ``package.module:factory`` or ``path/file.py:factory``: a function or class that gives a model when called with
        nothing, or a model; ``path.pt2``: a program written by `torch.export.save`; or a TorchScript file.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    CommandError
        One line; code 2 where the text names nothing that could be a model, 1 where the model fails.
    """
    (torch,) = needs("torch", "torch")
    place, colon, name = text.rpartition(":")
    # What prints while it is imported must not land in the document that a command prints.
    with contextlib.redirect_stdout(sys.stderr):
        if colon and place and not Path(text).exists():
            model = _called(_attribute(_module(place), place, name), text)
        else:
            model = _from_file(Path(text))
    if not isinstance(model, torch.nn.Module):
        raise CommandError(f"{text} gave a {type(model).__name__}, not a torch.nn.Module", 2)
    return model


def said(error: BaseException, limit: int = 300) -> str:
    """What an error of somebody else's says, on one line."""
    try:
        text = one_line(str(error))
    except Exception:  # a foreign exception's text is not ours to trust
        text = ""
    text = text if len(text) <= limit else text[: limit - 3] + "..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextlib.contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """As `python` does: what lies beside the program can be imported. The installed command does not look there."""
    entry = str(folder)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(entry)


def _module(place: str) -> ModuleType:
    if not place.endswith(".py"):
        if not all(part.isidentifier() for part in place.split(".")):
            raise CommandError(f"{place!r} is no module; a model is named as {FORMS}", 2)
        with _importing_from(Path.cwd()):
            return _run(lambda: importlib.import_module(place), f"cannot import {place}")
    path = Path(place)
    if not path.is_file():
        raise CommandError(f"there is no file {place}")
    name = f"poolwise_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise CommandError(f"{place} is not a Python file", 2)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and torch look their classes' modules up
    execute = spec.loader.exec_module
    with _importing_from(path.resolve().parent):
        _run(lambda: execute(module), f"cannot import {place}")
    return module


def _run(action: Any, failed: str) -> Any:
    """Somebody else's code; whatever it raises becomes one line."""
    try:
        return action()
    except (Exception, SystemExit) as error:
        raise CommandError(f"{failed}: {said(error)}", 2) from None


def _attribute(module: ModuleType, place: str, name: str) -> Any:
    value: Any = module
    for part in name.split("."):
        if not hasattr(value, part):
            callables = [
                n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__
            ]
            there = f"; it has {', '.join(callables[:8])}" if callables else ""
            raise CommandError(f"{place} has no {name!r}{there}", 2)
        value = getattr(value, part)
    return value


def _called(value: Any, text: str) -> Any:
    import torch

    if isinstance(value, torch.nn.Module):
        return value
    if not callable(value):
        raise CommandError(
            f"{text} names a value of type {type(value).__name__}, which cannot be called to make a model", 2
        )
    with _importing_from(Path.cwd()):
        return _run(value, f"{text} failed")


def _from_file(path: Path) -> Any:
    import torch

    if not path.is_file():
        raise CommandError(f"{path} is neither a file nor a name; a model is named as {FORMS}")
    if path.suffix == ".py":
        raise CommandError(f"{path} may hold several models: say which, as {path}:factory", 2)
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        raise CommandError(f"cannot read {path}: {said(error)}; a model is named as {FORMS}") from None
    inside = [name.partition("/")[2] for name in names]
    if any(name.startswith("code/") for name in inside) and "constants.pkl" in inside:
        return _run(lambda: torch.jit.load(str(path), map_location="cpu"), f"cannot read {path}")
    if "data.pkl" in inside:
        raise CommandError(
            f"{path} is a pickle, which could run anything and is not loaded; name a factory that loads weights itself, "
            "or an exported program (.pt2)", 2,
        )  # fmt: skip
    if any(part in name for name in names for part in PICKLED_PARTS):
        raise CommandError(f"{path} holds pickled objects, which could run anything and are not loaded", 2)
    return _exported(path)


def _exported(path: Path) -> Any:
    import torch

    # torch reads parts of an exported program (its sample inputs) as pickles when they are not plain tensors; this keeps
    # it to plain tensors.
    key = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(key)
    os.environ[key] = "1"
    try:
        program = _run(lambda: torch.export.load(str(path)), f"cannot read {path}")
    finally:
        if before is None:
            del os.environ[key]
        else:
            os.environ[key] = before
    try:
        return torch.export.unflatten(program)  # with the modules that it was made of, and so with their names
    except Exception:  # a program need not have kept them
        return program.module()
