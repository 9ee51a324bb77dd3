"""The life of one call: a request becomes a problem, the problem a plan, and the plan runs in the array's framework."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol

import numpy as np

from .arrays import Framework, check_out, framework_of, memory_order
from .dispatch import Plan, plan
from .messages import refuse
from .problem import Problem, state
from .spec import ASKS, Finds, Request, install_runner

try:
    from . import _core
except ImportError:  # nothing is quick without it
    _core = None

__all__ = ["FACTS", "Watcher", "install_tracer", "run", "too_large", "watched"]

Array = Any


class Watcher(Protocol):
    """Somebody who takes over calls instead of having them run: `poolwise.explain` and `poolwise.vjp`."""

    def see(self, framework: Framework, plan: Plan, x: Array, finds: Finds) -> Any:
        """What the call is to return."""
        ...


watched: ContextVar[Watcher | None] = ContextVar("poolwise_watcher", default=None)


SHORTCUTS_LIMIT = 4096
_shortcuts: dict[Any, Callable[[Array], Array]] = {}
"""Calls that were made before, by everything that they depend on but the array's address: for small arrays, making and
checking a request anew takes ten times as long as the pooling."""

FACTS: dict[type, Callable[[Array], Any]] = {}
"""By the exact type of an array: a function that gives all that a call can depend on in one but its address, hashable, or
None for an array whose calls are always checked. torch's tensors have theirs from its framework."""
if _core is not None:
    FACTS[np.ndarray] = _core.array_key


def _never() -> bool:
    return False


_tracing: Callable[[], bool] = _never
_trace: Callable[[int, tuple[Any, ...], dict[str, Any]], Any] | None = None


def install_tracer(tracing: Callable[[], bool], trace: Callable[[int, tuple[Any, ...], dict[str, Any]], Any]) -> None:
    """Say who takes calls over while a compiler looks on, and when that is. torch's framework installs itself here."""
    global _tracing, _trace
    _tracing, _trace = tracing, trace


def execute(number: int, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Run a call of a public function, known by its number; see `poolwise.spec.pooling`."""
    if _tracing():
        return _trace(number, args, options)
    return run(number, args, options)


def run(number: int, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """`execute` where nobody traces."""
    key = None
    if args and watched.get() is None:
        x = args[0]
        facts = FACTS.get(type(x))
        if facts is not None:
            # Equal keys are equal calls: True, 1 and 1.0 differ in them, and what is not a plain value has none.
            key = number, _core.arguments_key(args, options), facts(x)
            shortcut = _shortcuts.get(key)
            if shortcut is not None:
                return shortcut(x)
    request = ASKS[number](*args, **options)
    return _execute(request, args[0] if args else options["x"], options.get("out"), key)


run._torchdynamo_disable = True  # what torch.compile looks for: should it come here, it runs this as it is


def _execute(request: Request, x: Array, out: Array | None, key: Any) -> Any:
    framework = framework_of(x, request.where)
    framework.check(x, request.where)
    pooling = state(request, len(x.shape), framework.dtype_name(x))
    watcher = watched.get()
    if watcher is None and framework.deferred(x):
        return framework.defer(pooling, request, x, out)
    problem = pooling.over(tuple(x.shape))
    if out is not None:
        check_out(framework, problem, x, out, memory_order(problem.shape, framework.strides(x), problem.axes))
    chosen = plan(problem, framework.device(x), request.backend)
    if watcher is not None:
        return watcher.see(framework, chosen, x, request.finds)
    try:
        result = framework.apply(chosen, x, out, request.finds)
    except OverflowError as error:
        raise too_large(problem, error) from None
    if key is not None and None not in key:
        shortcut = framework.shortcut(chosen, x, request.finds)
        if shortcut is not None:
            if len(_shortcuts) >= SHORTCUTS_LIMIT:
                _shortcuts.clear()
            _shortcuts[key] = shortcut
    return result


def too_large(problem: Problem, error: OverflowError) -> ValueError:
    """What to say where an integer sum does not fit."""
    return refuse(
        problem.where,
        "a result does not fit its dtype",
        got=f"{error} ({problem.op.name} of {problem.dtype})",
        expected=f"every result within {problem.out_dtype}",
        hint='dtype="int64", or dtype="float64"',
    )


install_runner(execute)
