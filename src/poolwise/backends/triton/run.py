"""One problem's kernels at work: layouts, scratch memory, launches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...arrays import Framework, dense_strides, memory_order
from ...problem import Problem
from ..generic import GenericKernel
from ..protocol import Residual
from .layout import layout_of
from .operators import backward_stages, forward_stages
from .stages import Stage
from .stages_back import index_stage

__all__ = ["TritonKernel"]

Array = Any
Tensor = torch.Tensor
Order = tuple[int, ...]


@dataclass(frozen=True)
class Route:
    """How arrays of one memory layout go through."""

    order: Order
    stages: tuple[Stage, ...]
    source: tuple[int, ...]
    """Strides of what the kernels read: the input, or a copy."""
    strides: tuple[int, ...]
    """Of the result."""
    dtype: torch.dtype
    offsets: torch.dtype | None


@dataclass(frozen=True)
class Return:
    """How gradients of one memory order go back."""

    stages: tuple[Stage, ...]
    strides: tuple[int, ...]
    """Of the gradient at the input."""
    results: tuple[int, ...]
    """Those of a result that is dense in this order."""
    dtype: torch.dtype


class TritonKernel:
    """One problem; launches are made once per memory order."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.saves = problem.op.traits.saves
        self.routes: dict[tuple[tuple[int, ...], bool], Route] = {}
        self.returns: dict[Order, Return] = {}
        self.flat: dict[Order, Stage | None] = {}

    def forward(self, framework: Framework, x: Array, out: Array | None, save: bool) -> tuple[Array, Residual | None]:
        problem, strides = self.problem, framework.strides(x)
        route = self.routes.get((strides, save))
        if route is None:
            route = self.routes[strides, save] = self._route(strides, save)
        shape = problem.out_shape
        y = _empty(framework, shape, route.strides, route.order, route.dtype, x) if out is None else out
        offsets = None
        if route.offsets is not None:
            offsets = _empty(framework, shape, route.strides, route.order, route.offsets, x)
        if route.stages:
            source = _dense(framework, x, problem.shape, route.source, route.order)
            _run_forward(route.stages, source, _tensor(y), None if offsets is None else _tensor(offsets))
        if not save:
            return y, None
        if offsets is not None:
            return y, Residual((offsets,), route.order)
        return y, Residual((x, y) if self.saves == "input" else (), route.order)

    def shortcut(self, framework: Framework, x: Array) -> Callable[[Array], Array] | None:
        if not isinstance(x, Tensor):  # NumPy's, under the interpreter
            return None
        route = self.routes.get((x.stride(), False)) or self._route(x.stride(), False)
        if route.source != x.stride():
            return None
        empty, shape, strides, stages = torch.empty_strided, self.problem.out_shape, route.strides, route.stages
        dtype, device = route.dtype, x.device

        def pool(x: Tensor) -> Tensor:
            y = empty(shape, strides, dtype=dtype, device=device)
            launch(x, y, y, x)
            return y

        def in_stages(x: Tensor) -> Tensor:
            y = empty(shape, strides, dtype=dtype, device=device)
            if stages:
                _run_forward(stages, _tensor(x), _tensor(y), None)
            return y

        if len(stages) != 1 or torch.bool in (x.dtype, dtype):
            return in_stages
        launch = stages[0].launch
        return pool

    def _route(self, strides: tuple[int, ...], save: bool) -> Route:
        problem = self.problem
        order = memory_order(problem.shape, strides, problem.axes)
        saves = save and self.saves == "offsets"
        stages: tuple[Stage, ...] = ()
        if 0 not in problem.shape:
            stages = forward_stages(problem, layout_of(problem, order), saves)
        # The strides of an input that the kernels can read where it lies are its own, so that there is one comparison.
        source = dense_strides(problem.shape, order)
        source = strides if _alike(strides, source, problem.shape) else source
        offsets = getattr(torch, problem.offset_dtype) if saves else None
        dtype = getattr(torch, problem.out_dtype)
        return Route(order, stages, source, dense_strides(problem.out_shape, order), dtype, offsets)

    def backward(self, framework: Framework, gy: Array, residual: Residual) -> Array:
        problem, order = self.problem, residual.order
        back = self.returns.get(order)
        if back is None:
            back = self.returns[order] = self._return(order)
        gx = _empty(framework, problem.shape, back.strides, order, back.dtype, gy)
        if back.stages:
            shape = problem.out_shape
            saved = [_dense(framework, array, shape, back.results, order) for array in residual.arrays[-1:]]
            if self.saves == "input":
                saved.insert(0, _dense(framework, residual.arrays[0], problem.shape, back.strides, order))
            _run_backward(back.stages, _dense(framework, gy, shape, back.results, order), _tensor(gx), saved)
        return gx

    def _return(self, order: Order) -> Return:
        problem = self.problem
        stages = () if 0 in problem.shape else backward_stages(problem, layout_of(problem, order))
        strides, results = dense_strides(problem.shape, order), dense_strides(problem.out_shape, order)
        return Return(stages, strides, results, getattr(torch, problem.dtype))

    def indices(self, framework: Framework, residual: Residual) -> Array:
        problem, order = self.problem, residual.order
        if order not in self.flat:
            self.flat[order] = None if 0 in problem.shape else index_stage(layout_of(problem, order, fold=False))
        stage = self.flat[order]
        if stage is None:  # more axes than the kernel has, or nothing to do
            return GenericKernel(problem).indices(framework, residual)
        flat = framework.empty(problem.out_shape, "int64", order, residual.arrays[0])
        shape = problem.out_shape
        offsets = _dense(framework, residual.arrays[0], shape, dense_strides(shape, order), order)
        stage.launch(offsets, _tensor(flat))
        return flat


def _dense(framework: Framework, x: Array, shape: tuple[int, ...], expected: tuple[int, ...], order: Order) -> Tensor:
    """The array's memory where it is dense in this order, which these strides say, else a copy that is."""
    strides = framework.strides(x)
    if strides != expected and not _alike(strides, expected, shape):
        copy = framework.empty(shape, framework.dtype_name(x), order, x)
        copy[...] = x
        x = copy
    return _tensor(x)


def _alike(strides: tuple[int, ...], expected: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """True for strides that lead to the same places: those of axes of length 1 do not count."""
    return all(stride == want or n == 1 for stride, want, n in zip(strides, expected, shape, strict=True))


def _empty(
    framework: Framework,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    order: Order,
    dtype: torch.dtype,
    like: Array,
) -> Array:
    """A new dense array. One call of torch where the framework's way takes three: it is a fifth of a small pooling."""
    if isinstance(like, Tensor):
        return torch.empty_strided(shape, strides, dtype=dtype, device=like.device)
    return framework.empty(shape, str(dtype).removeprefix("torch."), order, like)


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
    if len(stages) == 1:
        stages[0].launch(x, y, y if offsets is None else offsets, x)
        return
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
