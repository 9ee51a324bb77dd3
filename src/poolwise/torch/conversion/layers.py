"""Which layer stands in for which, and what moves over when one takes another's place."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from ...messages import refuse, refuse_type, shown

__all__ = [
    "FAMILIES",
    "KINDS",
    "check_pools",
    "check_to",
    "describe",
    "drop_in",
    "family_of",
    "is_ours",
    "original",
    "other",
    "put_in_place",
]

NAME = re.compile(r"(\w*?)(Pool|Unpool)([123])d")
STANDS_FOR = "_stands_for"
DEFAULTS = {"padding": 0, "dilation": 1, "ceil_mode": False, "nan": "propagate", "empty": None}
RANDOM_OR_INVERSE = ("fractional_max", "max_unpool")
"""Families whose windows are no sliding ones, though they have a kernel_size."""
SETTINGS: dict[str, dict[str, Any]] = {
    "avg": {"count_include_pad": False},  # padding entered none of the operators that an average can replace
    "lp": {"norm_type": 2.0},
}
"""What a target needs beside the windows."""


def family_of(name: str) -> tuple[str, int] | None:
    """The stem that a layer's name spells, and its number of axes.

    >>> family_of("MaxBlurPool2d"), family_of("LPPool1d"), family_of("MaxUnpool3d"), family_of("Conv2d")
    (('max_blur', 2), ('lp', 1), ('max_unpool', 3), None)
    """
    found = NAME.fullmatch(name)
    if found is None:
        return None
    stem = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", found[1]).lower()
    return stem + ("_unpool" if found[2] == "Unpool" else ""), int(found[3])


KINDS: dict[type, tuple[str, int]] = {
    value: family
    for name, value in vars(nn).items()
    if isinstance(value, type) and (family := family_of(name)) is not None
}
"""torch's pooling layers."""
FAMILIES = tuple(dict.fromkeys(family for family, _ in KINDS.values()))


def _ours() -> dict[tuple[str, int], type]:
    """This package's layers by family and number of axes; late, since their package imports this one."""
    from ... import torch as package

    found = {family_of(name): getattr(package, name) for name in package.__all__}
    return {family: layer for family, layer in found.items() if family is not None}


def is_ours(layer: nn.Module) -> bool:
    """True for this package's layers, though not for subclasses."""
    return type(layer) in _ours().values()


def describe(layer: nn.Module) -> str:
    """One line, as `print` shows the layer."""
    return re.sub(r"\s+", " ", repr(layer))


def original(layer: nn.Module) -> nn.Module:
    """The layer that stood here before the first conversion."""
    while STANDS_FOR in vars(layer):
        layer = vars(layer)[STANDS_FOR]
    return layer


def drop_in(old: nn.Module) -> nn.Module | str | None:
    """The layer of this package that equals it, or why there is none; None for what is not a pooling layer."""
    kind = type(old)
    if isinstance(old, torch.jit.ScriptModule):
        known = family_of(str(getattr(old, "original_name", "")))
        return None if known is None else "scripted: its code is compiled, convert before torch.jit.script"
    if is_ours(old):
        return "poolwise's own already"
    if kind not in KINDS:
        if not isinstance(old, tuple(KINDS)):
            return None
        return f"a subclass ({kind.__module__}.{kind.__qualname__}), whose forward may differ from its parent's"
    changed = _changed(old)
    if changed is not None:
        return changed
    new = _ours().get(KINDS[kind])
    if new is None:
        return f"poolwise.torch has no {kind.__name__}"
    arguments = {name: getattr(old, name) for name in inspect.signature(new).parameters if hasattr(old, name)}
    return _dressed(new(**arguments), old)


def _changed(old: nn.Module) -> str | None:
    if "forward" in vars(old):
        return "its forward was replaced on the object"
    arguments = set(inspect.signature(type(old)).parameters)  # random samples are a buffer
    if old._modules or old._parameters or set(old._buffers) - arguments:
        return "it holds modules, parameters or buffers of its own"
    return None


def other(old: nn.Module, name: str, family: str, target: str) -> nn.Module:
    """Another operator over the same windows; raises where it cannot have them."""
    n = KINDS[type(old)][1] if type(old) in KINDS else old.spatial
    kind = _ours().get((target, n))
    where = f"convert: {name or 'the model itself'}"
    if kind is None:
        dims = ", ".join(f"{axes}d" for found, axes in sorted(_ours()) if found == target)
        raise refuse(where, f"there is no {target} pooling over {n} axes", got=describe(old), expected=f"{target} in {dims}",
                     hint=f"pools= or to= without {family!r}, or convert the parts of the model")  # fmt: skip
    changed = _changed(old)
    if changed is not None:
        raise refuse(where, "the layer is not what its name says", got=f"{describe(old)}: {changed}",
                     expected="a plain pooling layer", hint=f"to= without {family!r}")  # fmt: skip
    names = set(inspect.signature(kind).parameters)
    windows = {key: value for key in ("output_size", "kernel_size", "stride", *DEFAULTS)
               if (value := getattr(old, key, None)) is not None}  # fmt: skip
    lost = [
        key
        for key, default in DEFAULTS.items()
        if key in windows and key not in names and not _is(windows[key], default)
    ]
    lost += [key for key in ("return_indices", "divisor_override") if getattr(old, key, None)]
    lost += ["output"] if getattr(old, "output", "values") != "values" else []
    if lost:
        said = ", ".join(f"{key}={getattr(old, key)}" for key in lost)
        raise refuse(where, f"{kind.__name__} cannot take this layer's place", got=f"{describe(old)}, with {said}",
                     expected=f"a layer without {' and '.join(lost)}", hint=f"to= without {family!r}")  # fmt: skip
    return _dressed(
        kind(**{key: value for key, value in windows.items() if key in names}, **SETTINGS.get(target, {})), old
    )


def _is(value: Any, default: Any) -> bool:
    return all(n == default for n in value) if isinstance(value, (tuple, list)) else value == default


def _dressed(new: nn.Module, old: nn.Module) -> nn.Module:
    """With the old layer's hooks, training flag and whatever its owner wrote on it."""
    arguments = set(inspect.signature(type(old)).parameters)
    for key, value in vars(old).items():
        if key not in vars(new) and key not in arguments and key != STANDS_FOR:
            vars(new)[key] = value
    _share(old, new)
    return new


def _share(old: nn.Module, new: nn.Module) -> None:
    """The very tables of hooks, not copies of them: handles that were given out remove from both."""
    for key, value in vars(old).items():
        if "hook" in key:
            vars(new)[key] = value
    new.training = old.training


def put_in_place(model: nn.Module, changes: Mapping[nn.Module, nn.Module], undo: bool = False) -> nn.Module:
    """Exchange layers wherever they stand; the model, or what takes its place where it is one of them."""
    for old, new in changes.items():
        _share(old, new)
        if not undo:
            vars(new)[STANDS_FOR] = old
    for parent in list(model.modules()):
        if isinstance(parent, torch.jit.ScriptModule):
            continue  # its children are compiled into it
        for key, child in parent._modules.items():
            if child is not None and child in changes:
                parent._modules[key] = changes[child]
    return changes.get(model, model)


def check_pools(pools: Any) -> tuple[str, ...]:
    """The families that are to be replaced; all where none are named."""
    if pools is None:
        return FAMILIES
    named = (pools,) if isinstance(pools, str) else tuple(pools) if isinstance(pools, Iterable) else None
    if named is None:
        raise refuse_type("convert", "pools names no pooling layers", got=f"pools={shown(pools)}",
                          expected="names, or None for all", hint='pools=("max", "avg")')  # fmt: skip
    unknown = [name for name in named if name not in FAMILIES]
    if unknown:
        raise refuse("convert", "pools names a layer that torch does not have", got=f"pools={shown(pools)}",
                     expected=f"some of {', '.join(FAMILIES)}", hint='pools=("max", "avg")')  # fmt: skip
    return named


def check_to(to: Any) -> dict[str, str]:
    """Pairs of operators, the second of which can have the windows of the first."""
    if to is None:
        return {}
    if not isinstance(to, Mapping):
        raise refuse_type("convert", "to is not a mapping of operators", got=f"to={shown(to)}",
                          expected="a mapping from what is there to what shall be", hint='to={"max": "max_blur"}')  # fmt: skip
    adaptive = {"adaptive_max", "adaptive_avg"}
    targets = sorted({family for family, _ in _ours()} - set(RANDOM_OR_INVERSE))
    sliding = [name for name in targets if name not in adaptive]
    for old, new in to.items():
        served = adaptive if old in adaptive else set(sliding) if old in sliding else set()
        if new not in served or old == new:
            expected = (
                f"one of {', '.join(sorted(served - {old}))}" if served else f"a pair out of {', '.join(targets)}"
            )
            raise refuse("convert", f"{shown(old)} is not replaced by {shown(new)}", got=f"to={shown(dict(to))}",
                         expected=expected, hint='to={"max": "max_blur"}')  # fmt: skip
    return dict(to)
