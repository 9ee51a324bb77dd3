"""The gradients of plain tensors, and what all gradients are made of."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd import Function, forward_ad

from ..arrays import dense_strides, inverse
from ..backends.generic import GenericKernel
from ..backends.protocol import Residual
from ..dispatch import Plan
from ..problem import Problem
from ..spec import Finds
from . import _ops
from ._tensors import TENSORS
from ._text import encode

__all__ = ["Pool", "Transposed", "picked", "quick_apply", "transformed", "without_empty", "wrapped"]

Tensor = torch.Tensor
PLAIN = (torch.Tensor, torch.nn.Parameter)
functorch_wrapped = torch._C._functorch.is_functorch_wrapped_tensor
legacy_batched = torch._C._functorch.is_legacy_batchedtensor
transforms_active = torch._C._are_functorch_transforms_active


def wrapped(x: Tensor) -> bool:
    """True for tensors whose memory is not their value: subclasses, `torch.func` transforms, forward-mode AD, meta."""
    return type(x) not in PLAIN or x.is_meta or transformed(x)


def transformed(x: Tensor) -> bool:
    """`wrapped`, of a tensor whose type and device are known to be plain."""
    return forward_ad._current_level >= 0 or functorch_wrapped(x) or legacy_batched(x)


def without_empty(problem: Problem, y: Tensor) -> Tensor:
    """Zero where a window sees padding only: its value is a constant."""
    if problem.empty is None or not problem.windows.any_empty or problem.border not in (None, "zeros"):
        return y
    lengths = [n if axis in problem.axes else 1 for axis, n in enumerate(problem.out_shape)]
    real = TENSORS.asarray(problem.windows.divisor(False) > 0, y).reshape(lengths)
    return torch.where(real, y, torch.zeros_like(y))


def picked(x: Tensor, at: Tensor, axes: tuple[int, ...]) -> Tensor:
    """The elements of `x` at flat positions per plane; differentiable in torch's own operations."""
    others = tuple(axis for axis in range(x.ndim) if axis not in axes)
    order = others + axes
    lead = [x.shape[axis] for axis in others]
    moved = x.permute(order).reshape(*lead, -1).gather(-1, at.permute(order).reshape(*lead, -1))
    return moved.reshape([at.shape[axis] for axis in order]).permute(inverse(order))


class Pool(Function):
    """Any operator over any windows, with its gradient. Old-style on purpose: `setup_context` costs 50 us a call."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, plan: Plan, finds: Finds) -> Any:
        y, residual = plan.kernel.forward(TENSORS, x.resolve_neg(), None, save=True)
        ctx.plan, ctx.order = plan, residual.order
        if plan.problem.op.traits.saves == "input":
            ctx.save_for_backward(x, y)
        else:
            ctx.save_for_backward(*residual.arrays)
        result = plan.answer(TENSORS, y, residual, finds)
        if finds is not None:
            ctx.mark_non_differentiable(result[1])
        return result

    @staticmethod
    def backward(ctx: Any, gy: Tensor, _: Any = None) -> tuple[Tensor, None, None]:
        saved, plan = ctx.saved_tensors, ctx.plan
        mapped = wrapped(gy)
        again = torch.is_grad_enabled() or mapped  # a gradient that will be differentiated, or mapped over
        if again and plan.problem.op.traits.saves != "input":
            if mapped:
                return _gradient(plan, ctx.order, gy, saved), None, None
            return Transposed.apply(gy, plan, ctx.order, *saved), None, None
        if again:
            return GenericKernel(plan.problem).differentiable_backward(TENSORS, saved[0], gy), None, None
        return plan.kernel.backward(TENSORS, gy.resolve_neg(), Residual(saved, ctx.order)), None, None


_bare_apply = super(Function, Pool).apply


def quick_apply(x: Tensor, plan: Plan, finds: Finds) -> Any:
    """`Pool.apply`, of a tensor that is known not to be `transformed`: without torch's Python around it, which looks for
    transforms in every argument, a tenth of a small call."""
    return Pool.apply(x, plan, finds) if transforms_active() else _bare_apply(x, plan, finds)


class Transposed(Function):
    """The gradient of an operator that is linear, or linear once the elements are picked; linear itself."""

    @staticmethod
    def forward(ctx: Any, gy: Tensor, plan: Plan, order: tuple[int, ...], *saved: Tensor) -> Tensor:
        ctx.plan, ctx.order = plan, order
        ctx.save_for_backward(*saved)
        return plan.kernel.backward(TENSORS, gy.resolve_neg().detach(), Residual(saved, order))

    @staticmethod
    def backward(ctx: Any, ggx: Tensor) -> tuple[Any, ...]:
        plan, saved = ctx.plan, ctx.saved_tensors
        if not saved:
            mapped = wrapped(ggx)
            y = _ops.pool(ggx, encode(plan.problem, plan.backend)) if mapped else Pool.apply(ggx, plan, None)
            return without_empty(plan.problem, y), None, None
        at = plan.kernel.indices(TENSORS, Residual(saved, ctx.order))
        return without_empty(plan.problem, picked(ggx, at, plan.problem.axes)), None, None, None


def _gradient(plan: Plan, order: tuple[int, ...], gy: Tensor, saved: tuple[Tensor, ...]) -> Tensor:
    """`Transposed` for a cotangent that is mapped over."""
    problem, (offsets, *_) = plan.problem, (*saved, None)
    strides = dense_strides(problem.shape, order)
    return _ops.gradient(gy, offsets, None, encode(problem, plan.backend), problem.shape, strides)
