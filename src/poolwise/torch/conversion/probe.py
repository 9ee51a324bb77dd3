"""A run of the example: what comes out, which layers and functions pool what, and which of two is faster there."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from ...messages import refuse, refuse_type, shown
from .calls import FUNCTIONS, plain
from .layers import KINDS

__all__ = ["Call", "Difference", "Example", "Run", "compare", "failed", "quiet", "run", "timed"]

Tensor = torch.Tensor
ROUNDS = 9
SHORTEST = 200e-6
"""A sample repeats the call until it is this long: the clock and the loop must not count."""
LONG = 20e-3
"""Calls above this many seconds are timed in a third of the rounds."""


@dataclass(frozen=True)
class Example:
    """Arguments of one call of the model."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @classmethod
    def of(cls, example: Any) -> Example:
        """A tensor, a tuple of positional arguments, or a mapping of named ones."""
        if isinstance(example, Tensor):
            return cls((example,), {})
        if isinstance(example, (tuple, list)):
            return cls(tuple(example), {})
        if isinstance(example, Mapping):
            return cls((), dict(example))
        raise refuse_type("convert", "the example cannot be given to a model", got=f"example={shown(example)}",
                          expected="a tensor, a tuple of arguments, or a mapping of named ones",
                          hint="example=torch.randn(1, 3, 224, 224)")  # fmt: skip


@dataclass
class Call:
    """Arguments that a pooling layer or function was given, and how often in one run."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    times: int = 1

    def result(self, function: Callable[..., Any]) -> Any:
        """What a function makes of them; the same random numbers every time."""
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(0)
            return function(*self.args, **self.kwargs)


@dataclass
class Run:
    """What one run of the example showed."""

    output: Any = None
    layers: dict[nn.Module, dict[Any, Call]] = field(default_factory=dict)
    functions: dict[tuple[nn.Module, str], dict[Any, Call]] = field(default_factory=dict)


def _note(calls: dict[Any, Call], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    leaves, tree = pytree.tree_flatten((args, kwargs))
    key = (str(tree), *((x.shape, x.stride(), x.dtype, x.device) if isinstance(x, Tensor) else repr(x) for x in leaves))
    if key in calls:
        calls[key].times += 1
        return
    # A copy: what comes after a layer may write to its input.
    kept = [x.detach().clone() if isinstance(x, Tensor) else x for x in leaves]
    calls[key] = Call(*pytree.tree_unflatten(kept, tree))


class _Watch(TorchFunctionMode):
    """Notes torch's pooling functions with the module that called them."""

    def __init__(self, found: Run, stack: list[nn.Module]) -> None:
        super().__init__()
        self.found, self.stack = found, stack

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = FUNCTIONS.get(function)
        if name is not None and self.stack and not isinstance(self.stack[-1], tuple(KINDS)):
            _note(self.found.functions.setdefault((self.stack[-1], name), {}), args, plain(function, kwargs or {}))
        return function(*args, **(kwargs or {}))


@contextlib.contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
    """In evaluation mode, without gradients and with the same random numbers every time; all is as before afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(0)
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def run(model: nn.Module, example: Example, watched: set[nn.Module] | None = None) -> Run:
    """Run the example; with `watched`, note what those layers are given and who calls pooling functions."""
    found, stack, handles = Run(), [], []

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        stack.append(module)
        if module in (watched or ()):
            _note(found.layers.setdefault(module, {}), args, kwargs)

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        stack.pop()

    try:
        with contextlib.ExitStack() as around:
            around.enter_context(quiet(model))
            if watched is not None:
                for module in model.modules():
                    if not isinstance(module, torch.jit.ScriptModule):
                        handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
                        handles.append(module.register_forward_hook(leave, always_call=True))
                around.enter_context(_Watch(found, stack))
            found.output = model(*_copied(example.args), **_copied(example.kwargs))
    finally:
        for handle in handles:
            handle.remove()
    return found


def _copied(values: Any) -> Any:
    """Tensors of their own: a model that writes to its input must not change what the next run is given."""
    return pytree.tree_map(lambda x: x.detach().clone() if isinstance(x, Tensor) else x, values)


@dataclass(frozen=True)
class Difference:
    """How two results compare."""

    same_bits: bool
    wrong: str | None = None
    """What is not equal beyond rounding."""
    largest: float = 0.0
    """Of the differences, as a share of the largest element."""


def compare(expected: Any, got: Any, slack: int = 1, shapes_only: bool = False) -> Difference:
    """Tensors anywhere in two results. Equal means equal up to the rounding of one layer, times `slack`."""
    (before, tree), (after, other) = pytree.tree_flatten(expected), pytree.tree_flatten(got)
    if tree != other:
        return Difference(False, f"a result of another form: {other} instead of {tree}")
    same, largest = True, 0.0
    for a, b in zip(before, after, strict=True):
        if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
            continue
        if (a.shape, a.dtype, a.device) != (b.shape, b.dtype, b.device):
            said = [f"{x.dtype} {tuple(x.shape)} on {x.device}" for x in (b, a)]
            return Difference(False, f"{said[0]} instead of {said[1]}")
        if shapes_only:
            same = False
            continue
        if a.layout is not torch.strided or a.is_quantized:
            a, b = (x.dequantize() if x.is_quantized else x.to_dense() for x in (a, b))
        equal = (a == b) | ((a != a) & (b != b))
        if bool(equal.all()):
            continue
        same = False
        apart, scale = _apart(a[~equal], b[~equal], a)
        if not apart <= slack * _tolerance(a.dtype) * scale:
            return Difference(False, f"values {apart:.3g} apart, where the largest is {scale:.3g}", apart)
        largest = max(largest, apart / scale)
    return Difference(same, None, largest)


def _apart(a: Tensor, b: Tensor, whole: Tensor) -> tuple[float, float]:
    wide = torch.complex128 if whole.is_complex() else torch.float64
    finite = whole.abs()[whole.isfinite()]
    return float((a.to(wide) - b.to(wide)).abs().max()), float(finite.max()) if finite.numel() else 0.0


def _tolerance(dtype: torch.dtype) -> float:
    """Two means of the same elements, added in another order; half types are added in float32 and rounded once."""
    if not (dtype.is_floating_point or dtype.is_complex):
        return 0.0
    eps = torch.finfo(dtype).eps
    return 2 * eps if eps > 1e-4 else 128 * eps


def timed(
    torchs: Callable[..., Any], ours: Callable[..., Any], call: Call, grad: bool
) -> list[tuple[float, float, float]]:
    """Seconds of both, in turns: each its lower quartile, median and upper quartile; with the gradient if asked."""
    with torch.enable_grad() if grad else torch.no_grad():
        tasks = [_task(function, call, grad) for function in (torchs, ours)]
        guesses = [min(_sample(task, 1) for _ in range(3)) for task in tasks]
        calls = [max(1, min(int(SHORTEST / max(guess, 1e-9)), 1000)) for guess in guesses]
        samples: list[list[float]] = [[], []]
        enabled = gc.isenabled()
        gc.disable()
        try:
            for number in range(ROUNDS if max(guesses) < LONG else ROUNDS // 3):
                for who in (0, 1) if number % 2 else (1, 0):
                    # The other one's threads may still spin, and this one's sleep.
                    _sample(tasks[who], 1)
                    samples[who].append(_sample(tasks[who], calls[who]))
        finally:
            if enabled:
                gc.enable()
    return [tuple(float(q) for q in np.quantile(found, (0.25, 0.5, 0.75))) for found in samples]


def _task(function: Callable[..., Any], call: Call, grad: bool) -> Callable[[], Any]:
    tensors = [x for x in pytree.tree_leaves((call.args, call.kwargs)) if isinstance(x, Tensor)]
    device = tensors[0].device if tensors else torch.device("cpu")
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    leaves = [x for x in tensors if x.is_floating_point()]
    if not (grad and leaves):
        return lambda: (function(*call.args, **call.kwargs), wait())
    for x in leaves:
        x.requires_grad_()

    def values() -> list[Tensor]:
        found = pytree.tree_leaves(function(*call.args, **call.kwargs))
        return [y for y in found if isinstance(y, Tensor) and y.requires_grad]

    given = [torch.ones_like(y) for y in values()]
    return lambda: (torch.autograd.grad(values(), leaves, given, allow_unused=True), wait())


def _sample(task: Callable[[], Any], calls: int) -> float:
    begin = time.perf_counter()
    for _ in range(calls):
        task()
    return (time.perf_counter() - begin) / calls


def failed(error: Exception, when: str) -> ValueError:
    """The example raised."""
    return refuse("convert", f"the model does not take the example{when}", got=f"{type(error).__name__}: {error}",
                  expected="arguments of one call of the model", hint="example=(x, ...), or a mapping of named arguments")  # fmt: skip
