"""One problem's kernels at work: layouts, scratch memory, launches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...arrays import Framework, memory_order
from ...problem import Problem
from ..generic import GenericKernel
from ..protocol import Residual
from .launch import INTERPRETED
from .layout import layout_of
from .stages import Stage, forward_stages
from .stages_back import backward_stages, index_stage

__all__ = ["TritonKernel"]

Array = Any
Tensor = torch.Tensor
Order = tuple[int, ...]


@dataclass(frozen=True)
class Route:
    """How arrays of one memory layout go through."""

    order: Order
    stages: tuple[Stage, ...]
    strides: tuple[int, ...]
    """Of the result."""
    dtype: torch.dtype
    offsets: torch.dtype | None


class TritonKernel:
    """One problem; launches are made once per memory order."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.routes: dict[tuple[tuple[int, ...], bool], Route] = {}
        self.backwards: dict[Order, tuple[Stage, ...]] = {}
        self.flat: dict[Order, Stage | None] = {}
        self.strides: dict[tuple[Order, bool], tuple[int, ...]] = {}

    def forward(self, framework: Framework, x: Array, out: Array | None, save: bool) -> tuple[Array, Residual | None]:
        problem, strides = self.problem, framework.strides(x)
        route = self.routes.get((strides, save))
        if route is None:
            route = self.routes[strides, save] = self._route(strides, save)
        y = self._empty(framework, route, False, x) if out is None else out
        offsets = None if route.offsets is None else self._empty(framework, route, True, x)
        if route.stages:
            source, result = self._dense(framework, x, route.order, True), _tensor(y)
            if len(route.stages) == 1:
                picked = result if offsets is None else _tensor(offsets)
                route.stages[0].launch(source, result, picked, source)
            else:
                _run_forward(route.stages, source, result, None if offsets is None else _tensor(offsets))
        if not save:
            return y, None
        return y, Residual(
            {"nothing": (), "offsets": (offsets,), "input": (x, y)}[problem.op.traits.saves], route.order
        )

    def _route(self, strides: tuple[int, ...], save: bool) -> Route:
        problem = self.problem
        order = memory_order(problem.shape, strides, problem.axes)
        saves = save and problem.op.traits.saves == "offsets"
        stages: tuple[Stage, ...] = ()
        if 0 not in problem.shape:
            stages = forward_stages(problem, layout_of(problem, order), saves)
        offsets = getattr(torch, problem.offset_dtype) if saves else None
        return Route(order, stages, self._strides(order, False), getattr(torch, problem.out_dtype), offsets)

    def _empty(self, framework: Framework, route: Route, offsets: bool, like: Array) -> Array:
        """A new result, or new offsets."""
        problem = self.problem
        if INTERPRETED:
            dtype = problem.offset_dtype if offsets else problem.out_dtype
            return framework.empty(problem.out_shape, dtype, route.order, like)
        # One call of torch where the framework's way takes three: it is a fifth of a small pooling.
        dtype = route.offsets if offsets else route.dtype
        return torch.empty_strided(problem.out_shape, route.strides, dtype=dtype, device=like.device)

    def backward(self, framework: Framework, gy: Array, residual: Residual) -> Array:
        problem, order = self.problem, residual.order
        gx = framework.empty(problem.shape, problem.dtype, order, gy)
        if 0 in problem.shape:
            return gx
        stages = self.backwards.get(order)
        if stages is None:
            stages = self.backwards[order] = backward_stages(problem, layout_of(problem, order))
        saved = [
            self._dense(framework, array, order, place == 0 and problem.op.traits.saves == "input")
            for place, array in enumerate(residual.arrays)
        ]
        _run_backward(stages, self._dense(framework, gy, order, False), _tensor(gx), saved)
        return gx

    def indices(self, framework: Framework, residual: Residual) -> Array:
        problem, order = self.problem, residual.order
        if order not in self.flat:
            self.flat[order] = None if 0 in problem.shape else index_stage(layout_of(problem, order, fold=False))
        stage = self.flat[order]
        if stage is None:  # more axes than the kernel has, or nothing to do
            return GenericKernel(problem).indices(framework, residual)
        flat = framework.empty(problem.out_shape, "int64", order, residual.arrays[0])
        offsets = self._dense(framework, residual.arrays[0], order, False)
        stage.launch(offsets, _tensor(flat))
        return flat

    def shortcut(self, framework: Framework, x: Any) -> None:
        """None: arrays of the CPU come here only under the interpreter."""

    def _strides(self, order: Order, source: bool) -> tuple[int, ...]:
        """Those of a dense array in this order."""
        shape = self.problem.shape if source else self.problem.out_shape
        strides, stride = [0] * len(shape), 1
        for axis in reversed(order):
            strides[axis], stride = stride, stride * shape[axis]
        self.strides[order, source] = tuple(strides)
        return self.strides[order, source]

    def _dense(self, framework: Framework, x: Array, order: Order, source: bool) -> Tensor:
        """The array's memory where it is dense in this order, else a copy that is."""
        shape = self.problem.shape if source else self.problem.out_shape
        expected = self.strides.get((order, source)) or self._strides(order, source)
        actual = framework.strides(x)
        if actual != expected and any(a != e and n != 1 for a, e, n in zip(actual, expected, shape, strict=True)):
            copy = framework.empty(shape, framework.dtype_name(x), order, x)
            copy[...] = x
            x = copy
        return _tensor(x)


def _tensor(x: Array) -> Tensor:
    """A torch tensor over the array's memory, of a dtype that kernels know."""
    if isinstance(x, np.ndarray):  # only under the interpreter: NumPy arrays are not on a GPU
        x = x if x.flags.writeable else x.copy()
        if x.dtype.name == "bfloat16":
            return torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)
        x = torch.from_numpy(x)
    return x.view(torch.uint8) if x.dtype is torch.bool else x


def _run_forward(stages: tuple[Stage, ...], x: Tensor, y: Tensor, offsets: Tensor | None) -> None:
    """Stage by stage, from the innermost axis out; results between them are scratch."""
    carry = None
    for stage in stages:
        last = stage is stages[-1]
        result = y if last else torch.empty(stage.results, dtype=stage.dtype, device=x.device)
        picked = offsets
        if offsets is not None and not last:
            picked = torch.empty(stage.results, dtype=stage.digits, device=x.device)
        stage.launch(x, result, result if picked is None else picked, x if carry is None else carry)
        x, carry = result, picked


def _run_backward(stages: tuple[Stage, ...], gy: Tensor, gx: Tensor, saved: list[Tensor]) -> None:
    """Stage by stage, from the outermost axis in."""
    x, y = saved if len(saved) == 2 else (gy, gy)
    offsets = saved[0] if len(saved) == 1 else gy
    for stage in stages:
        last = stage is stages[-1]
        result = gx if last else torch.empty(stage.results, dtype=stage.dtype, device=gy.device)
        rest = offsets
        if stage.digits is not None:
            rest = torch.empty(stage.results, dtype=stage.digits, device=gy.device)
        stage.launch(gy, result, offsets, rest, x, y)
        gy, offsets = result, rest
