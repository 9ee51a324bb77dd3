"""The life of one call: a request becomes a problem, the problem a plan, and the plan runs in the array's framework."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Protocol

from .arrays import Framework, check_out, framework_of, memory_order
from .dispatch import Plan, plan
from .messages import refuse
from .problem import state
from .spec import Request, install_runner

__all__ = ["Watcher", "watched"]

Array = Any


class Watcher(Protocol):
    """Somebody who takes over calls instead of having them run: `poolwise.explain` and `poolwise.vjp`."""

    def see(self, framework: Framework, plan: Plan, x: Array, indices: bool) -> Any:
        """What the call is to return."""
        ...


watched: ContextVar[Watcher | None] = ContextVar("poolwise_watcher", default=None)


def execute(request: Request, x: Array, out: Array | None) -> Any:
    """Run a request; see `poolwise.spec.run`."""
    framework = framework_of(x, request.where)
    framework.check(x, request.where)
    problem = state(request, tuple(x.shape), framework.dtype_name(x))
    if out is not None:
        check_out(framework, problem, x, out, memory_order(problem.shape, framework.strides(x), problem.axes))
    chosen = plan(problem, framework.device(x), request.backend)
    watcher = watched.get()
    if watcher is not None:
        return watcher.see(framework, chosen, x, request.indices)
    try:
        return framework.apply(chosen, x, out, request.indices)
    except OverflowError as error:
        raise refuse(
            problem.where,
            "a result does not fit its dtype",
            got=f"{error} ({problem.op.name} of {problem.dtype})",
            expected=f"every result within {problem.out_dtype}",
            hint='dtype="int64", or dtype="float64"',
        ) from None


install_runner(execute)
