"""What pooling costs, for torch's `FlopCounterMode`, which counts every other operator's pooling as nothing."""

from __future__ import annotations

import importlib.util
import math
import sys
from types import ModuleType
from typing import Any

import torch

from ..problem import Problem
from ._text import decode

__all__ = ["backward_flops", "register"]

COUNTER = "torch.utils.flop_counter"


def backward_flops(problem: Problem) -> int:
    """Operations of a call's gradient.

    Operators that pick an element add one number per output. Linear ones cost what they cost forward: the transposed map
    has as many terms. The others work on every window again and add one term per element.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    int

    Examples
    --------
    >>> import poolwise as pw
    >>> backward_flops(pw.explain(pw.max_pool, (4, 5), (2, 2), padding=1, ceil_mode=True).steps[0].problem)
    9
    """
    traits = problem.op.traits
    if traits.picks:
        return problem.planes * math.prod(problem.windows.shape)
    more = 0 if traits.linear else problem.planes * problem.windows.elements
    return problem.operations + more


def _forward(x: Any, text: str, *_: Any, **__: Any) -> int:
    return decode(text)[0].over(tuple(x)).operations


def _backward(gy: Any, first: Any, second: Any, text: str, shape: Any, *_: Any, **__: Any) -> int:
    return backward_flops(decode(text)[0].over(tuple(shape)))


def _add(counter: ModuleType) -> None:
    ops = torch.ops.poolwise
    counter.register_flop_formula([ops.pool, ops.pool_with_offsets])(_forward)
    counter.register_flop_formula(ops.gradient)(_backward)


class _Later:
    """Waits for torch's counter to be imported. Importing it here would take 0.2 s, and it warns where triton is not."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != COUNTER:
            return None
        sys.meta_path.remove(self)
        found = importlib.util.find_spec(name)
        if found is None or found.loader is None:
            return found
        load = found.loader.exec_module

        def load_and_add(module: ModuleType) -> None:
            load(module)
            _add(module)

        found.loader.exec_module = load_and_add
        return found


def register() -> None:
    """Tell torch's counter what our operators cost, now or when it is imported."""
    if COUNTER in sys.modules:
        _add(sys.modules[COUNTER])
    else:
        sys.meta_path.insert(0, _Later())
