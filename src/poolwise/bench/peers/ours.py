"""This package, called as a user calls it: no `out=`, no reuse of results, arrays of the cell's own layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..case import Case
from ..inputs import Inputs
from .base import Task

__all__ = ["Poolwise", "call"]


def call(case: Case) -> Callable[[Any], Any]:
    """The public call that computes the case."""
    import poolwise as pw

    axes = case.axes
    extra: dict[str, Any] = {"p": 2.0} if case.op == "lp" else {}
    if case.kind == "global":
        return lambda x: pw.global_pool(x, case.op, axes=axes, **extra)
    if case.kind == "adaptive":
        return lambda x: pw.adaptive_pool(x, case.op, case.window, axes=axes, **extra)
    function = pw.max_pool_with_indices if case.mode == "indices" else getattr(pw, f"{case.op}_pool")
    window = case.window
    options = {
        "stride": case.stride,
        "padding": case.padding,
        "dilation": case.dilation,
        "ceil_mode": case.ceil_mode,
        "axes": axes,
        **extra,
    }
    if case.op == "avg":
        options["count_include_pad"] = True
    return lambda x: function(x, window, **options)


class Poolwise:
    """On torch tensors over the same memory as torch's own, or on NumPy arrays."""

    name, package = "poolwise", "poolwise"

    def __init__(self, via: str) -> None:
        self.via = via

    def start(self, threads: int) -> str:
        """Set the threads; the version is the package's."""
        import poolwise as pw

        pw.set_num_threads(threads)
        return pw.__version__

    def prepare(self, case: Case, inputs: Inputs) -> Sequence[Task]:
        """One task: the fastest of several would be a choice that a user does not have."""
        function = call(case)
        if self.via == "numpy":
            return [_numpy_task(case, inputs, function)]
        from .torch_eager import autograd_task

        return [autograd_task("torch tensors", case, case.layout, inputs, function)]


def _numpy_task(case: Case, inputs: Inputs, function: Callable[[Any], Any]) -> Task:
    import poolwise as pw

    label, x = "NumPy arrays", inputs.x()
    if case.mode in ("forward", "indices"):
        return Task(label, lambda: function(x), lambda y: y if isinstance(y, tuple) else (np.asarray(y),))
    gy = inputs.gy()
    if case.mode == "backward":
        _, pullback = pw.vjp(function, x)
        return Task(label, lambda: pullback(gy), lambda gx: (gx,))

    def both() -> Any:
        y, back = pw.vjp(function, x)
        return y, back(gy)

    return Task(label, both, lambda pair: (pair[1],))
