"""torch as a `Framework`: which of its ways a call takes.

Plain tensors go straight to the kernels, with one `autograd.Function` where a gradient is wanted. What compilers, modes,
subclasses and `torch.func` hand over has no memory to go to: it takes the dispatcher's operators (`_ops`).
"""

from __future__ import annotations

import inspect
import operator
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import forward_ad

from ..backends.generic import GenericKernel
from ..dispatch import Plan
from ..execute import FACTS, install_tracer, run
from ..masked.verb import masked_pool, pool_masked
from ..messages import refuse
from ..problem import Pooling, state
from ..spec import ASKS, DTYPES, Finds, Request
from . import _derivatives, _ops  # noqa: F401 - the operators need their derivatives
from ._autograd import PLAIN, Pool, quick_apply, transformed, wrapped
from ._flops import register as register_flops
from ._onnx import standard
from ._tensors import TENSORS, Tensors, compute
from ._text import encode

__all__ = ["TORCH", "TorchFramework"]

Tensor = torch.Tensor
modes_active = torch._C._len_torch_dispatch_stack
tracing_state = torch._C._get_tracing_state


class TorchFramework(Tensors):
    """torch tensors, and its autograd."""

    def deferred(self, x: Tensor) -> bool:
        return wrapped(x) or _observed()

    def defer(self, pooling: Pooling, request: Request, x: Tensor, out: Tensor | None) -> Any:
        if exporting():
            return _exported(request, x)
        if forward_ad._current_level >= 0 and pooling.op.traits.saves == "input":
            # No forward derivative of its own: the definition in torch's own operations, which have theirs.
            return GenericKernel(pooling.over(tuple(x.shape))).differentiable_forward(TENSORS, x)
        result = _dispatched(x, encode(pooling, request.backend), request.finds, _saves(pooling))
        return result if out is None else _put(pooling.where, result, out)

    def apply(self, plan: Plan, x: Tensor, out: Tensor | None, finds: Finds) -> Any:
        if torch.is_grad_enabled() and x.requires_grad and DTYPES[plan.problem.out_dtype] == "float":
            return Pool.apply(x, plan, finds)
        return compute(plan, x, out, finds)

    def shortcut(self, plan: Plan, x: Tensor, finds: Finds) -> Callable[[Tensor], Any] | None:
        if torch.is_grad_enabled() and x.requires_grad:
            return lambda x: quick_apply(x, plan, finds)
        if finds is not None:
            return lambda x: compute(plan, x, None, finds)
        return plan.kernel.shortcut(TENSORS, x)


def _observed() -> bool:
    """True while a mode, or a compiler, wants to see every operation."""
    return modes_active() > 0 or tracing_state() is not None


TORCH = TorchFramework()
register_flops()


def exporting() -> bool:
    """True while a model is exported to ONNX, whose graphs cannot call our kernels."""
    onnx = sys.modules.get("torch.onnx")
    return onnx is not None and onnx.is_in_onnx_export()


def _exported(request: Request, x: Tensor) -> Any:
    if request.finds == "offsets":
        raise refuse(
            request.where,
            "offsets are not exported",
            got="a call that returns offsets",
            expected="values, or values and indices: ONNX's MaxPool gives positions",
            hint="return_indices=True",
        )
    return standard(request, x)


def _facts(x: Tensor) -> Any:
    """All that a call depends on in a tensor whose memory is its value, and in torch's modes; see `execute.FACTS`."""
    if x.is_cpu:
        device = -1
    elif x.is_cuda:
        device = x.get_device()
    else:
        return None
    if x.layout is not torch.strided or x.is_neg() or transformed(x) or _observed():
        return None
    return x.dtype, x.shape, x.stride(), device, x.requires_grad and torch.is_grad_enabled()


if FACTS:  # else the compiled module that makes keys is missing
    FACTS.update(dict.fromkeys(PLAIN, _facts))


def _dispatched(x: Tensor, text: str, finds: Finds, saves: str) -> Any:
    """A call as the dispatcher's operators. `saves` is what a gradient would need, "values" where there is none."""
    if finds is None and not (saves == "offsets" and torch.is_grad_enabled() and x.requires_grad):
        return _ops.pool(x, text)
    y, offsets = _ops.pool_with_offsets(x, text)
    if finds is None:
        return y
    return y, offsets if finds == "offsets" else _ops.indices(offsets, text, x.shape, x.stride())


def _saves(pooling: Pooling) -> str:
    return pooling.op.traits.saves if DTYPES[pooling.out_dtype] == "float" else "values"


def _put(where: str, result: Any, out: Tensor) -> Tensor:
    if tuple(out.shape) != tuple(result.shape) or out.dtype != result.dtype:
        raise refuse(
            where,
            "out does not fit the result",
            got=f"out of shape {tuple(out.shape)} and {out.dtype}",
            expected=f"shape {tuple(result.shape)} and {result.dtype}",
            hint="an out of that shape and dtype, or none",
        )
    return out.copy_(result)


# torch.compile looks on. It follows the lines of `_trace`, takes the answer of `_described`, which is marked as a constant
# for it, and puts the dispatcher's operators into its graph.


def _described(number: int, ndim: int, dtype: torch.dtype, args: tuple[Any, ...], options: tuple[Any, ...]) -> Any:
    """The text of a call of public function `number`, what it finds beside values, and what its gradient needs."""
    stand_in = torch.empty((2,) * ndim, dtype=dtype, device="meta")
    request = ASKS[number](stand_in, *args, **dict(options))
    pooling = state(request, ndim, TENSORS.dtype_name(stand_in))
    return encode(pooling, request.backend), request.finds, _saves(pooling)


_described._dynamo_marked_constant = True


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)) and not isinstance(value, Request):
        return tuple(_plain(entry) for entry in value)
    # A length that the graph does not know becomes a number that it relies on: windows are part of the text.
    return operator.index(value) if isinstance(value, (int, torch.SymInt)) and not isinstance(value, bool) else value


def _trace(number: int, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    x = args[0] if args else options["x"]
    if not isinstance(x, torch.Tensor):
        return run(number, args, options)
    if not torch.compiler.is_dynamo_compiling() and exporting():
        return _exported(ASKS[number](*args, **options), x)
    more = tuple((name, _plain(value)) for name, value in options.items() if name not in ("x", "out"))
    text, finds, saves = _described(number, x.ndim, x.dtype, _plain(args[1:]), more)
    result = _dispatched(x, text, finds, saves)
    out = options.get("out")
    return result if out is None else out.copy_(result)


def _not_compiled(*functions: Callable[..., Any]) -> None:
    """Have torch.compile run these functions, and all that they call, as they are, should a frame of one come up by itself:
    traced, the memory of NumPy arrays would not be there, and it cannot follow a pooling that is made of poolings. What
    `torch.compiler.disable` does, but that would load the compiler, which takes a second, and wrap every call, which takes
    as long as a small one."""
    dynamo = torch._C._dynamo.eval_frame
    if not hasattr(dynamo, "set_code_exec_strategy"):  # a torch of before 2.7
        return
    skip = dynamo._FrameAction.SKIP
    for function in functions:
        dynamo.set_code_exec_strategy(inspect.unwrap(function).__code__, dynamo._FrameExecStrategy(skip, skip))


_not_compiled(run, masked_pool, pool_masked)
install_tracer(torch.compiler.is_compiling, _trace)
