"""torch: its tensors as a `Framework`, and the one bridge to its autograd."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import array_api_compat.torch as xp
import numpy as np
import torch
from torch.autograd import Function, forward_ad

from ..arrays import inverse
from ..backends.generic import GenericKernel
from ..backends.protocol import Residual
from ..dispatch import Plan
from ..execute import FACTS, execute
from ..messages import refuse, refuse_type
from ..numpy import NUMPY
from ..ops.max import max_pool
from ..spec import DTYPES

__all__ = ["TORCH", "TorchFramework"]

Tensor = torch.Tensor
PLAIN = (torch.Tensor, torch.nn.Parameter)


class TorchFramework:
    """torch tensors of any device; strided layouts only."""

    name = "torch"
    xp = xp

    def dtype_name(self, x: Tensor) -> str:
        return _name(x.dtype)

    def strides(self, x: Tensor) -> tuple[int, ...]:
        return x.stride()

    def device(self, x: Tensor) -> str:
        return x.device.type

    def address(self, x: Tensor) -> int:
        return x.data_ptr()

    def empty(self, shape: tuple[int, ...], dtype: str, order: tuple[int, ...], like: Tensor) -> Tensor:
        if order == tuple(range(len(order))):
            return _empty(shape, getattr(torch, dtype), like.device)
        return self.maker(shape, dtype, order, like)(like)

    def maker(
        self, shape: tuple[int, ...], dtype: str, order: tuple[int, ...], like: Tensor
    ) -> Callable[[Tensor], Tensor]:
        kind, device = getattr(torch, dtype), like.device
        if order == tuple(range(len(order))):
            return lambda like: _empty(shape, kind, device)
        lengths, back = [shape[axis] for axis in order], inverse(order)
        return lambda like: _empty(lengths, kind, device).permute(back)

    def asarray(self, x: np.ndarray, like: Tensor) -> Tensor:
        return torch.from_numpy(x if x.flags.writeable else x.copy()).to(like.device)

    def cast(self, x: Tensor, dtype: str) -> Tensor:
        return x.to(getattr(torch, dtype))

    def check(self, x: Tensor, where: str) -> None:
        if x.layout is not torch.strided or x.is_quantized:
            raise refuse_type(
                where,
                "this tensor does not pool",
                got=f"layout {x.layout}" + (", quantized" if x.is_quantized else ""),
                expected="a dense strided tensor",
                hint="x.dequantize()" if x.is_quantized else "x.to_dense()",
            )

    def check_out(self, out: Any, x: Tensor, where: str) -> None:
        if not isinstance(out, torch.Tensor) or out.device != x.device:
            raise refuse_type(
                where,
                "out is not a tensor beside x",
                got=f"out of type {type(out).__name__}"
                + (f" on {out.device}" if isinstance(out, torch.Tensor) else ""),
                expected=f"a torch tensor on {x.device}",
                hint="torch.empty_like of the result",
            )
        self.check(out, where)
        if torch.is_grad_enabled() and (out.requires_grad or x.requires_grad):
            raise refuse(
                where,
                "out does not go with gradients",
                got="a tensor that requires grad",
                expected="neither x nor out to require grad",
                hint="no out, or torch.no_grad()",
            )
        if x.device.type != "meta" and _overlap(out, x):
            raise refuse(
                where,
                "out overlaps the input",
                got="out and x in the same memory",
                expected="memory of its own, since windows are read while the result is written",
                hint="torch.empty for out, or no out",
            )

    def scatter(self, values: Any, at: Any, shape: tuple[int, int], like: Tensor, duplicates: str) -> Tensor:
        flat = torch.zeros(shape, dtype=like.dtype, device=like.device)
        if values is None:
            return flat
        if values.dtype in (torch.uint16, torch.uint32, torch.uint64) and values.device.type == "cpu":
            # torch can neither gather nor add these; the same memory is a NumPy array.
            return torch.from_numpy(NUMPY.scatter(values.numpy(), at.numpy(), shape, values.numpy(), duplicates))
        if duplicates == "sum":
            return flat.scatter_add(1, at, values)
        # The last of equal positions, and the largest, are found by number: the same on every run and device.
        place = torch.arange(at.shape[1], device=at.device).expand_as(at)
        if duplicates == "max":
            order = torch.argsort(values, dim=1, stable=True)
            values, at = values.gather(1, order), at.gather(1, order)
        winner = torch.full(shape, -1, dtype=torch.int64, device=at.device).scatter_reduce(1, at, place, "amax")
        return torch.where(winner >= 0, values.gather(1, winner.clamp(min=0)), flat)

    def apply(self, plan: Plan, x: Tensor, out: Tensor | None, indices: bool) -> Any:
        if _transformed(x):
            return _traced(plan, x, out, indices)
        if torch.is_grad_enabled() and x.requires_grad and DTYPES[plan.problem.out_dtype] == "float":
            return Pool.apply(x, plan, indices)
        x = x.resolve_neg().detach()
        if x.dtype == torch.uint64 and plan.backend == "generic" and x.device.type == "cpu":
            return _in_numpy(plan, x, out, indices)
        y, residual = plan.kernel.forward(self, x, out, save=indices)
        return (y, plan.kernel.indices(self, residual)) if indices else y

    def shortcut(self, plan: Plan, x: Tensor) -> Callable[[Tensor], Tensor] | None:
        pool = plan.kernel.shortcut(self, x)
        if pool is None or not (torch.is_grad_enabled() and x.requires_grad):
            return pool
        return lambda x: Pool.apply(x, plan, False)


TORCH = TorchFramework()


def _empty(shape: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    try:
        return torch.empty(shape, dtype=dtype, device=device)
    except RuntimeError as error:  # what torch says when there is not enough of it
        if "memory" not in str(error):
            raise
        raise MemoryError(f"no memory for a result of shape {tuple(shape)} and dtype {_name(dtype)}") from None


@lru_cache(maxsize=64)
def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _facts(x: Tensor) -> Any:
    """All that a call depends on in a tensor whose memory is its value, and in torch's modes; see `execute.FACTS`."""
    if not x.is_cpu or x.layout is not torch.strided or x.is_neg() or forward_ad._current_level >= 0:
        return None
    if torch._C._functorch.is_functorch_wrapped_tensor(x):
        return None
    return x.dtype, x.shape, x.stride(), x.requires_grad and torch.is_grad_enabled()


def _not_traced() -> None:
    """Have `torch.compile` run calls as they are: traced, their addresses would be those of tensors without memory.

    What `torch.compiler.disable` does, but that would load the compiler, which takes a second, and wrap every call, which
    takes as long as a small one.
    """
    dynamo = torch._C._dynamo.eval_frame
    if not hasattr(dynamo, "set_code_exec_strategy"):  # a torch of before 2.7
        return
    skip = dynamo._FrameAction.SKIP
    for code in (max_pool.__code__, execute.__code__):  # all public functions share the first one
        dynamo.set_code_exec_strategy(code, dynamo._FrameExecStrategy(skip, skip))


_not_traced()
FACTS.update(dict.fromkeys(PLAIN, _facts))


def _overlap(a: Tensor, b: Tensor) -> bool:
    """True where the two tensors' storage ranges meet."""
    if not a.numel() or not b.numel() or a.untyped_storage().data_ptr() != b.untyped_storage().data_ptr():
        return False
    spans = []
    for x in (a, b):
        reach = sum((n - 1) * stride for n, stride in zip(x.shape, x.stride(), strict=True))
        spans.append((x.data_ptr(), x.data_ptr() + (reach + 1) * x.element_size()))
    return spans[0][0] < spans[1][1] and spans[1][0] < spans[0][1]


def _transformed(x: Tensor) -> bool:
    """True for tensors whose memory is not their value: subclasses, `torch.func` transforms, forward-mode AD."""
    if type(x) not in PLAIN or forward_ad._current_level >= 0:
        return True
    return torch._C._functorch.is_functorch_wrapped_tensor(x) or x.device.type == "meta"


def _traced(plan: Plan, x: Tensor, out: Tensor | None, indices: bool) -> Any:
    """The definition in torch's own operations, which every transform can see through."""
    if indices or out is not None:
        raise refuse(
            plan.problem.where,
            "indices and out are not served under a transform",
            got=f"{type(x).__name__} under torch.func, forward-mode AD or a subclass",
            expected="values only",
            hint="the function without indices or out",
        )
    return GenericKernel(plan.problem).differentiable_forward(TORCH, x)


def _in_numpy(plan: Plan, x: Tensor, out: Tensor | None, indices: bool) -> Any:
    """The definition on the same memory as a NumPy array: torch has no arithmetic and no order on uint64."""
    found = NUMPY.apply(plan, x.numpy(), None, indices)
    y = found[0] if indices else found
    half = y.dtype.name == "bfloat16"
    y = torch.from_numpy(y.view(np.int16)).view(torch.bfloat16) if half else torch.from_numpy(y)
    if out is not None:
        y = out.copy_(y)
    return (y, torch.from_numpy(found[1])) if indices else y


class Pool(Function):
    """Any operator over any windows, with its gradient. Old-style on purpose: `setup_context` costs 50 us a call."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, plan: Plan, indices: bool) -> Any:
        y, residual = plan.kernel.forward(TORCH, x.resolve_neg(), None, save=True)
        ctx.plan, ctx.order = plan, residual.order
        if plan.problem.op.traits.saves == "input":
            ctx.save_for_backward(x, y)
        else:
            ctx.save_for_backward(*residual.arrays)
        if not indices:
            return y
        found = plan.kernel.indices(TORCH, residual)
        ctx.mark_non_differentiable(found)
        return y, found

    @staticmethod
    def backward(ctx: Any, gy: Tensor, _: Any = None) -> tuple[Tensor, None, None]:
        saved, plan = ctx.saved_tensors, ctx.plan
        again = torch.is_grad_enabled() or _transformed(gy)  # a gradient that will be differentiated, or mapped over
        if again and plan.problem.op.traits.saves != "input":
            return Transposed.apply(gy, plan, ctx.order, *saved), None, None
        if again:
            return GenericKernel(plan.problem).differentiable_backward(TORCH, saved[0], gy), None, None
        return plan.kernel.backward(TORCH, gy.resolve_neg(), Residual(saved, ctx.order)), None, None


class Transposed(Function):
    """The gradient of an operator that is linear, or linear once the elements are picked; linear itself."""

    @staticmethod
    def forward(ctx: Any, gy: Tensor, plan: Plan, order: tuple[int, ...], *saved: Tensor) -> Tensor:
        ctx.plan, ctx.order = plan, order
        ctx.save_for_backward(*saved)
        return plan.kernel.backward(TORCH, gy.resolve_neg().detach(), Residual(saved, order))

    @staticmethod
    def backward(ctx: Any, ggx: Tensor) -> tuple[Any, ...]:
        plan, saved = ctx.plan, ctx.saved_tensors
        if not saved:
            return _without_empty(plan, Pool.apply(ggx, plan, False)), None, None
        at = plan.kernel.indices(TORCH, Residual(saved, ctx.order))
        return _without_empty(plan, _picked(plan, ggx, at)), None, None, None


def _without_empty(plan: Plan, y: Tensor) -> Tensor:
    """Zero where a window sees padding only: its value is a constant."""
    problem = plan.problem
    if problem.empty is None or not problem.windows.any_empty or problem.border not in (None, "zeros"):
        return y
    lengths = [n if axis in problem.axes else 1 for axis, n in enumerate(problem.out_shape)]
    real = TORCH.asarray(problem.windows.divisor(False) > 0, y).reshape(lengths)
    return torch.where(real, y, torch.zeros_like(y))


def _picked(plan: Plan, x: Tensor, at: Tensor) -> Tensor:
    """The elements of `x` at flat positions per plane; differentiable in torch's own operations."""
    problem = plan.problem
    others = tuple(axis for axis in range(x.ndim) if axis not in problem.axes)
    order = others + problem.axes
    lead = [x.shape[axis] for axis in others]
    moved = x.permute(order).reshape(*lead, -1).gather(-1, at.permute(order).reshape(*lead, -1))
    return moved.reshape([problem.out_shape[axis] for axis in order]).permute(inverse(order))
