"""Pooling functions: torch's, this package's beside them, and which modules call them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from .layers import FAMILIES, KINDS

__all__ = ["FUNCTIONS", "INDICES", "family_of_call", "is_own_code", "mentioned", "our_function", "plain", "reached"]

INDICES = "_with_indices"
NAMES = [f"{family}{'' if family.endswith('pool') else '_pool'}{n}d" for family in FAMILIES for n in (1, 2, 3)]
FUNCTIONS: dict[Any, str] = {
    getattr(home, name + ending): name
    for home in (torch._C._nn, torch, functional)
    for name in NAMES
    for ending in ("", INDICES)
    if hasattr(home, name + ending)
}
"""torch's pooling functions, at all of their addresses, and the plain name of each."""


def family_of_call(name: str) -> str:
    """``max`` of ``max_pool2d``, ``max_unpool`` of ``max_unpool2d``."""
    return name[:-2].removesuffix("_pool")


def plain(function: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments for the function of the plain name: torch calls another one for indices."""
    return {**kwargs, "return_indices": True} if function.__name__.endswith(INDICES) else kwargs


def our_function(name: str) -> Callable[..., Any] | None:
    """The function of this package with torch's name and arguments; None where there is none."""
    try:
        ours = importlib.import_module("poolwise.torch.functional")
    except ImportError:
        return None
    return getattr(ours, name, None)


def is_own_code(module: nn.Module) -> bool:
    """True for modules whose `forward` somebody wrote: torch's own layers call their functions as layers do."""
    if isinstance(module, (torch.jit.ScriptModule, *KINDS)):
        return False
    home = type(module).forward.__module__ or ""
    return not home.startswith(("torch.nn.", "torch.ao.", "torch.fx.", "poolwise.torch."))


def _inside(code: CodeType) -> Iterator[CodeType]:
    """A function's code and that of the functions that it makes."""
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _inside(inner)


def reached(forward: Callable[..., Any], kind: type) -> Iterator[CodeType]:
    """The code of a `forward` and of the methods and functions that it names: those of its class and of its file."""
    seen, waiting = set(), [forward]
    while waiting:
        function = waiting.pop()
        if not isinstance(function, FunctionType) or function.__code__ in seen:
            continue
        seen.add(function.__code__)
        waiting.append(getattr(function, "__wrapped__", None))
        for code in _inside(function.__code__):
            yield code
            for name in code.co_names:
                found = getattr(kind, name, function.__globals__.get(name))
                if not (getattr(found, "__module__", None) or "").startswith("torch."):
                    waiting.append(found)


def mentioned(module: nn.Module) -> list[str]:
    """Names of pooling functions in the code of a module's class: all that can be said without running it."""
    if not is_own_code(module):
        return []
    kind = type(module)
    names = {name for code in reached(kind.forward, kind) for name in code.co_names}
    names = {name.removesuffix(INDICES) for name in names if not hasattr(module, name)}  # a layer may have the name
    return [name for name in NAMES if name in names]
