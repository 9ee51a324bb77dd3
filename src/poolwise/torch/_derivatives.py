"""The derivatives of the dispatcher's operators: backward, forward, and those of each other.

Each operator has a kernel for torch's autograd that makes one node and hands on to whoever comes below, which may be another
level of `torch.func`. What `torch.library.register_autograd` makes cannot be used under `torch.func`
(https://github.com/pytorch/pytorch/issues/170834) and has no forward derivative; an ordinary `Function` around the
operators is not seen through by torch.compile where `torch.func.grad` is compiled along.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad
from torch.autograd.function import _SingleLevelFunction

from ..backends.generic import GenericKernel
from ..problem import Problem
from ._autograd import picked, without_empty
from ._ops import LIBRARY, gradient, indices, pool, pool_with_offsets
from ._tensors import TENSORS
from ._text import decode

Tensor = torch.Tensor


class _Level(_SingleLevelFunction):
    """One operator at one level of differentiation. The first argument of `forward` is the dispatcher's keys."""

    op: Any

    @classmethod
    def at(cls, keys: Any, *args: Any) -> Any:
        with enable_single_level_autograd_function():
            return cls.apply(keys, cls.op, *args)

    @staticmethod
    def forward(keys: Any, op: Any, *args: Any) -> Any:
        with torch.enable_grad(), forward_ad._set_fwd_grad_enabled(True), torch._C._AutoDispatchBelowAutograd():
            return op.redispatch(keys & torch._C._after_autograd_keyset, *args)


def _problem(text: str, x: Tensor | None, shape: Sequence[int] = ()) -> Problem:
    return decode(text)[0].over(tuple(map(int, x.shape if x is not None else shape)))


def _at(x: Tensor, offsets: Tensor, text: str, shape: Sequence[int], strides: Sequence[int]) -> Tensor:
    """What `x` holds where an earlier call found its answers."""
    pooling, _ = decode(text)
    y = picked(x, indices(offsets, text, shape, strides), pooling.axes)
    return y if pooling.empty is None else without_empty(_problem(text, None, shape), y)


def _linear(x: Tensor, text: str, shape: Sequence[int]) -> Tensor:
    y = pool(x, text)
    return y if decode(text)[0].empty is None else without_empty(_problem(text, None, shape), y)


class _PoolLevel(_Level):
    op = pool

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        _, _, x, ctx.text = inputs
        ctx.where = x.shape, x.stride()
        ctx.saves = decode(ctx.text)[0].op.traits.saves
        kept = {"nothing": (), "offsets": (x,), "input": (x, output)}[ctx.saves]
        ctx.save_for_backward(*kept)
        ctx.save_for_forward(*kept)

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> Any:
        saved = ctx.saved_tensors
        if ctx.saves == "offsets":
            saved = pool_with_offsets(saved[0], ctx.text)[1:]
        first, second, *_ = (*saved, None, None)
        return None, None, gradient(gy, first, second, ctx.text, *ctx.where), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        tx, text = tangents[2], ctx.text
        if ctx.saves == "nothing":
            return _linear(tx, text, ctx.where[0])
        if ctx.saves == "offsets":
            return _at(tx, pool_with_offsets(ctx.saved_tensors[0], text)[1], text, *ctx.where)
        raise _no_forward(text)


class _PoolWithOffsetsLevel(_Level):
    op = pool_with_offsets

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, _, x, ctx.text = inputs
        ctx.where = x.shape, x.stride()
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])
        ctx.save_for_forward(output[1])

    @staticmethod
    def backward(ctx: Any, gy: Tensor, _: Any) -> Any:
        return None, None, gradient(gy, ctx.saved_tensors[0], None, ctx.text, *ctx.where), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        return _at(tangents[2], ctx.saved_tensors[0], ctx.text, *ctx.where), None


class _GradientLevel(_Level):
    """Linear in the cotangent; where input and output were saved, a function of the input as well."""

    op = gradient

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        _, _, gy, first, _, ctx.text, *ctx.where = inputs
        ctx.saves = decode(ctx.text)[0].op.traits.saves
        kept = {"nothing": (), "offsets": (first,), "input": (gy, first)}[ctx.saves]
        ctx.save_for_backward(*kept)
        ctx.save_for_forward(*kept)

    @staticmethod
    def backward(ctx: Any, ggx: Tensor) -> Any:
        rest = None, None, None, None
        if ctx.saves == "nothing":
            return None, None, _linear(ggx, ctx.text, ctx.where[0]), None, *rest
        if ctx.saves == "offsets":
            return None, None, _at(ggx, ctx.saved_tensors[0], ctx.text, *ctx.where), None, *rest
        _, pull = torch.func.vjp(_definition(ctx.text, ctx.where[0]), *ctx.saved_tensors)
        return None, None, *pull(ggx), *rest

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        tgy = tangents[2]
        if ctx.saves == "nothing":
            return gradient(tgy, None, None, ctx.text, *ctx.where)
        if ctx.saves == "offsets":
            return gradient(tgy, ctx.saved_tensors[0], None, ctx.text, *ctx.where)
        raise _no_forward(ctx.text)


def _no_forward(text: str) -> Exception:
    """Outside of compilers such calls are the definition in torch's own operations, and do not come here."""
    where = decode(text)[0].where
    return NotImplementedError(
        f"{where} has no forward derivative inside torch.compile; compile around it, or not at all"
    )


def _definition(text: str, shape: Sequence[int]) -> Any:
    definition = GenericKernel(_problem(text, None, shape))
    return lambda gy, x: definition.differentiable_backward(TENSORS, x, gy)


for level in (_PoolLevel, _PoolWithOffsetsLevel, _GradientLevel):
    LIBRARY.impl(level.op.name().partition("::")[2], level.at, "Autograd", with_keyset=True)
LIBRARY.impl("indices", torch.library.fallthrough_kernel, "Autograd")
