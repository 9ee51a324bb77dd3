"""`vjp` and `explain`: both let a pooling function say what it would do, and take over from there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .arrays import Framework
from .backends.protocol import Residual
from .dispatch import Plan
from .execute import watched
from .messages import refuse, refuse_type
from .spec import DTYPES, Finds, itemsize

__all__ = ["Explanation", "explain", "vjp"]

Array = Any


@dataclass
class Tape:
    """A chain of pooling calls, each one's output the next one's input."""

    steps: list[tuple[Framework, Plan, Residual | None, Array]] = field(default_factory=list)
    last: Array = None

    def see(self, framework: Framework, plan: Plan, x: Array, finds: Finds) -> Any:
        problem = plan.problem
        if DTYPES[problem.dtype] != "float" or DTYPES[problem.out_dtype] != "float":
            raise refuse_type(
                problem.where,
                "integers have no gradient",
                got=f"an array of {problem.dtype}, a result of {problem.out_dtype}",
                expected="float dtypes",
                hint='x.astype("float32")',
            )
        if x is not self.last:
            raise refuse(
                "vjp",
                "the function is not a chain of pooling calls",
                got=f"{problem.where} of another array than the one before gave",
                expected="each call to pool x, or the result of the call before",
                hint="vjp of each pooling call by itself",
            )
        y, residual = plan.kernel.forward(framework, x, None, save=True)
        self.steps.append((framework, plan, residual, y))
        self.last = y
        return plan.answer(framework, y, residual, finds)

    def pullback(self, gy: Array) -> Array:
        """The gradient at x of ``sum(gy * y)``."""
        for framework, plan, residual, y in reversed(self.steps):
            where = plan.problem.where
            if type(gy) is not type(y) or framework.dtype_name(gy) not in DTYPES or tuple(gy.shape) != tuple(y.shape):
                shape = tuple(getattr(gy, "shape", ()))
                raise refuse(
                    where,
                    "the cotangent does not fit the result",
                    got=f"{type(gy).__name__} of shape {shape}",
                    expected=f"{type(y).__name__} of shape {tuple(y.shape)}",
                    hint="numpy.ones_like(y)",
                )
            framework.check(gy, where)
            gy = plan.kernel.backward(framework, framework.cast(gy, plan.problem.out_dtype), residual)
        return gy


def vjp(function: Callable[..., Any], x: Array, *args: Any, **kwargs: Any) -> tuple[Any, Callable[[Array], Array]]:
    """A pooling function's result at `x`, and the pullback that carries gradients back through it.

    Gradients without a framework, for NumPy arrays. (torch tensors carry their own; use ``y.backward()``.)

    Parameters
    ----------
    function : callable
        Any pooling function of this package, or a chain of them such as `max_blur_pool`.
    x : array, ``(..., *spatial)``
        Of a float dtype.
    *args, **kwargs
        What `function` takes after `x`.

    Returns
    -------
    y : array, ``(..., *outputs)``
        What ``function(x, *args, **kwargs)`` returns.
    pullback : callable
        ``pullback(gy) -> gx``: from a gradient of shape ``y.shape`` to the one of shape ``x.shape``.

    Raises
    ------
    TypeError
        For integer arrays.
    ValueError
        For a function that is not a chain of pooling calls, or a cotangent that does not fit.

    Examples
    --------
    >>> import numpy as np, poolwise as pw
    >>> y, pullback = pw.vjp(pw.max_pool, np.array([3.0, 1.0, 4.0, 1.0]), 2)
    >>> pullback(np.array([10.0, 20.0]))
    array([10.,  0., 20.,  0.])
    """
    tape = Tape(last=x)
    token = watched.set(tape)
    try:
        y = function(x, *args, **kwargs)
    finally:
        watched.reset(token)
    if not tape.steps:
        raise refuse(
            "vjp",
            "the function did not pool",
            got=f"{getattr(function, '__name__', function)!r}",
            expected="a pooling function of this package",
            hint="vjp(max_pool, x, 2)",
        )
    return y, tape.pullback


@dataclass(frozen=True)
class Explanation:
    """What a pooling call would do: printable, and `as_dict` for machines."""

    steps: tuple[Plan, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, one entry per pooling call."""
        return {"calls": [_facts(plan) for plan in self.steps]}

    def __str__(self) -> str:
        lines = []
        for facts in self.as_dict()["calls"]:
            lines.append(f"{facts['function']}: {facts['operator']}, {facts['summary']}")
            lines.append(f"  input     {facts['dtype']} {tuple(facts['input'])}, pooling axes {tuple(facts['axes'])}")
            lines.append(f"  output    {facts['output_dtype']} {tuple(facts['output'])}")
            for axis in facts["windows"]:
                lines.append(
                    f"  axis {axis['axis']:<4} {axis['outputs']} windows of up to {axis['elements']} elements, "
                    f"{axis['whole']} whole, {axis['cut']} listed; reads {axis['reads'][0]}..{axis['reads'][1] - 1}"
                )
            for name, reason in facts["rejected"].items():
                lines.append(f"  not {name:<5} {reason}")
            lines.append(f"  backend   {facts['backend']}")
            lines.append(
                f"  cost      {facts['operations']:,} operations, {facts['bytes']:,} bytes read and written, "
                f"{facts['saved_bytes']:,} bytes saved for the gradient"
            )
        return "\n".join(lines)


def _facts(plan: Plan) -> dict[str, Any]:
    problem = plan.problem
    read = math.prod(problem.shape) * itemsize(problem.dtype)
    written = math.prod(problem.out_shape) * itemsize(problem.out_dtype)
    saved = {
        "nothing": 0,
        "offsets": math.prod(problem.out_shape) * itemsize(problem.offset_dtype),
        "input": read + written,
    }[problem.op.traits.saves]
    return {
        "function": problem.where,
        "operator": problem.op.name,
        "summary": problem.op.summary,
        "input": list(problem.shape),
        "dtype": problem.dtype,
        "axes": list(problem.axes),
        "output": list(problem.out_shape),
        "output_dtype": problem.out_dtype,
        "windows": [
            {
                "axis": axis,
                "outputs": len(windows),
                "elements": windows.most,
                "whole": windows.last - windows.first,
                "cut": len(windows.edge),
                "reads": list(windows.input_range(0, len(windows))),
            }
            for axis, windows in zip(problem.axes, problem.windows.axes, strict=True)
        ],
        "backend": plan.backend,
        "rejected": dict(plan.rejected),
        "operations": problem.operations,
        "bytes": read + written,
        "saved_bytes": saved,
    }


@dataclass
class Planner:
    """Collects plans; every call returns an array of the right shape that holds no memory."""

    plans: list[Plan] = field(default_factory=list)

    def see(self, framework: Framework, plan: Plan, x: Array, finds: Finds) -> Any:
        self.plans.append(plan)
        problem = plan.problem
        ones = (1,) * len(problem.shape)
        element = framework.empty(ones, problem.out_dtype, tuple(range(len(ones))), x)
        y = framework.xp.broadcast_to(element, problem.out_shape)
        return y if finds is None else (y, y)


def explain(function: Callable[..., Any], x: Array, *args: Any, **kwargs: Any) -> Explanation:
    """Say what a pooling call would do, without doing it: windows, the backend and why not the others, and cost.

    Parameters
    ----------
    function : callable
        Any pooling function of this package.
    x : array, ``(..., *spatial)``, or tuple of int
        The array, of which only shape, strides, dtype and device are looked at; or a shape, taken as float32.
    *args, **kwargs
        What `function` takes after `x`.

    Returns
    -------
    Explanation
        Print it, or take `Explanation.as_dict`.

    Raises
    ------
    ValueError, TypeError
        What the call itself would raise.

    Examples
    --------
    >>> import poolwise as pw
    >>> explanation = pw.explain(pw.median_pool, (8, 8), (2, 2), backend="generic")
    >>> explanation.as_dict()["calls"][0]["output"]
    [4, 4]
    """
    if isinstance(x, tuple):
        try:
            x = np.broadcast_to(np.float32(0), x)
        except (TypeError, ValueError) as error:
            raise refuse_type(
                "explain", "this is not a shape", got=f"{x!r} ({error})", expected="an array, or a tuple of lengths",
                hint="explain(max_pool, (1, 64, 112, 112), (2, 2))",
            ) from None  # fmt: skip
    planner = Planner()
    token = watched.set(planner)
    try:
        function(x, *args, **kwargs)
    finally:
        watched.reset(token)
    return Explanation(tuple(planner.plans))
