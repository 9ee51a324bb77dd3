"""One operation of torch, and the table of rules that say what it does to reaches, by the name that the dispatcher gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from .merging import merged
from .reach import Axis, Reach, everything

__all__ = ["RULES", "Answer", "Call", "all_of", "apply", "each_axis", "pointwise", "rule"]

Tensor = torch.Tensor
Answer = Reach | None | list[Reach | None]
Rule = Callable[["Call"], Answer]
RULES: dict[str, Rule] = {}
"""Where there is no rule, every output depends on all that any input depends on, and the layer says so."""


@dataclass(frozen=True, eq=False)
class Call:
    """One operation that was done."""

    name: str
    """As ``aten.add``."""
    func: Any
    a: dict[str, Any]
    """Its arguments by their names, those left out too."""
    outs: list[Tensor]
    read: Callable[[Tensor], Reach | None]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Its arguments as they were passed."""

    def reach(self, name: str) -> Reach | None:
        """Of an argument; `None` for a constant."""
        value = self.a.get(name)
        return self.read(value) if isinstance(value, Tensor) else None

    def tensors(self) -> Iterator[Tensor]:
        """Every tensor among the arguments."""
        return (leaf for leaf in tree_leaves(list(self.a.values())) if isinstance(leaf, Tensor))

    def parts(self) -> list[tuple[Reach, tuple[int, ...]]]:
        """Reaches and shapes of the arguments that depend on the input."""
        found = ((self.read(tensor), tuple(tensor.shape)) for tensor in self.tensors())
        return [(reach, shape) for reach, shape in found if reach is not None]

    def dims(self, name: str = "dim", like: str = "self") -> list[int]:
        """Dimensions from 0 on; all of them where none are named."""
        rank, value = self.a[like].ndim, self.a.get(name)
        if value is None or value == []:
            return list(range(rank))
        return [d % max(rank, 1) for d in (value if isinstance(value, (list, tuple)) else [value])] if rank else []


def rule(*names: str) -> Callable[[Rule], Rule]:
    """The rule of these operations of ``aten``."""

    def add(function: Rule) -> Rule:
        RULES.update({name if "." in name else f"aten.{name}": function for name in names})
        return function

    return add


def apply(call: Call) -> tuple[list[Reach | None], bool]:
    """The reach of every output, and whether a rule was known."""
    parts = call.parts()
    if not parts:
        return [None] * len(call.outs), True
    known = RULES.get(call.name) or (pointwise if torch.Tag.pointwise in call.func.tags else None)
    if known is not None:
        answer = known(call)
        answers = answer if isinstance(answer, list) else [answer]
        if answers and len(answers) <= len(call.outs) and all(map(_fits, answers, call.outs)):
            # Further results that nothing is said of: indices, statistics.
            more = [all_of(parts, out) for out in call.outs[len(answers) :]]
            return [*answers, *more], True
    return [all_of(parts, out) for out in call.outs], False


def _fits(reach: Reach | None, out: Tensor) -> bool:
    arrays = [] if reach is None else [array for axis in reach for array in (axis.first, axis.last)]
    return all(
        array.ndim == out.ndim and all(n in (1, m) for n, m in zip(array.shape, out.shape, strict=True))
        for array in arrays
    )


def all_of(parts: list[Any], out: Tensor) -> Reach:
    return everything([reach for reach, _ in parts], out.ndim)


def each_axis(reach: Reach | None, change: Callable[[Axis], Axis]) -> Reach | None:
    return None if reach is None else tuple(map(change, reach))


@rule(
    "_to_copy",
    "dropout",
    "native_dropout",
    "bernoulli",
    "_prelu_kernel",
    "hardswish",
    "rsub",
    "log_sigmoid_forward",
    "tril",
)
@rule(
    "triu", "floor_divide", "rrelu_with_noise", "fake_quantize_per_tensor_affine", "complex", "clone", "lift_fresh_copy"
)
@rule(
    "hardsigmoid",
    "leaky_relu",
    "where",
    "masked_fill",
    "_conj_physical",
    "resolve_conj",
    "poolwise.indices",
    "contiguous",
)
@rule(
    "view_copy",
    "detach_copy",
    "alias_copy",
    "lerp",
    "addcmul",
    "addcdiv",
    "clip",
    "atan2",
    "fmod",
    "heaviside",
    "copysign",
)
def pointwise(call: Call) -> Answer:
    parts, shape = call.parts(), tuple(call.outs[0].shape)
    found = merged(parts, shape)
    return [found if tuple(out.shape) == shape else all_of(parts, out) for out in call.outs]
