"""torch's tensors, as kernels ask for them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import array_api_compat.torch as xp
import numpy as np
import torch

from ..arrays import inverse
from ..messages import refuse, refuse_type
from ..numpy import NUMPY
from ..spec import DTYPES

__all__ = ["TENSORS", "Tensors", "compute"]

Tensor = torch.Tensor


class Tensors:
    """Tensors of any device; strided layouts only."""

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
        self, shape: tuple[int, ...], dtype: str, order: tuple[int, ...], like: Tensor, numpy_memory: bool = False
    ) -> Callable[[Tensor], Tensor]:
        kind, device = getattr(torch, dtype), like.device
        if numpy_memory:
            size, lengths, back = math.prod(shape) * kind.itemsize, [shape[axis] for axis in order], inverse(order)
            return lambda like: torch.from_numpy(np.empty(size, np.uint8)).view(kind).view(lengths).permute(back)
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

    def bounds(self, x: Tensor) -> tuple[int, int]:
        # Traced and on meta, indices are not known: torch's own scatter refuses those outside when they are.
        if not x.numel() or x.is_meta or torch.compiler.is_compiling():
            return 0, -1
        low, high = torch.aminmax(x)
        return int(low), int(high)

    def scatter(self, values: Any, at: Any, shape: tuple[int, int], like: Tensor, duplicates: str) -> Tensor:
        flat = torch.zeros(shape, dtype=like.dtype, device=like.device)
        if values is None:
            return flat
        if values.dtype in (torch.uint16, torch.uint32, torch.uint64) and values.device.type == "cpu":
            # torch can neither gather nor add these; the same memory is a NumPy array.
            return torch.from_numpy(NUMPY.scatter(values.numpy(), at.numpy(), shape, values.numpy(), duplicates))
        if duplicates == "sum":
            return flat.scatter_add(1, at, values)
        if (
            duplicates == "last"
            and values.device.type == "cpu"
            and not (torch.is_grad_enabled() and values.requires_grad)
        ):
            return flat.scatter_(1, at, values)  # on a CPU, one thread goes along each row
        # The last of equal positions, and the largest, are found by number: the same on every run and device.
        place = torch.arange(at.shape[1], device=at.device).expand_as(at)
        if duplicates == "max":
            order = torch.argsort(values, dim=1, stable=True)
            values, at = values.gather(1, order), at.gather(1, order)
        winner = torch.full(shape, -1, dtype=torch.int64, device=at.device).scatter_reduce(1, at, place, "amax")
        return torch.where(winner >= 0, values.gather(1, winner.clamp(min=0)), flat)


TENSORS = Tensors()


def _empty(shape: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
    try:
        return torch.empty(shape, dtype=dtype, device=device)
    except RuntimeError as error:  # what torch says when there is not enough of it
        if "memory" not in str(error):
            raise
        raise MemoryError(f"no memory for a result of shape {tuple(shape)} and dtype {_name(dtype)}") from None


NAMES = {getattr(torch, name): name for name in DTYPES if hasattr(torch, name)}


def _name(dtype: torch.dtype) -> str:
    return NAMES.get(dtype) or str(dtype).removeprefix("torch.")


def _overlap(a: Tensor, b: Tensor) -> bool:
    """True where the two tensors' storage ranges meet."""
    if not a.numel() or not b.numel() or a.untyped_storage().data_ptr() != b.untyped_storage().data_ptr():
        return False
    spans = []
    for x in (a, b):
        reach = sum((n - 1) * stride for n, stride in zip(x.shape, x.stride(), strict=True))
        spans.append((x.data_ptr(), x.data_ptr() + (reach + 1) * x.element_size()))
    return spans[0][0] < spans[1][1] and spans[1][0] < spans[0][1]


def compute(plan: Any, x: Tensor, out: Tensor | None, finds: str | None) -> Any:
    """Run a plan on a tensor that nobody differentiates."""
    x = x.resolve_neg().detach()
    if x.dtype == torch.uint64 and plan.backend == "generic" and x.device.type == "cpu":
        return _in_numpy(plan, x, out, finds)
    return plan.answer(TENSORS, *plan.kernel.forward(TENSORS, x, out, save=finds is not None), finds)


def _in_numpy(plan: Any, x: Tensor, out: Tensor | None, finds: str | None) -> Any:
    """The definition on the same memory as a NumPy array: torch has no arithmetic and no order on uint64."""
    result = NUMPY.apply(plan, x.numpy(), None, finds)
    y, found = result if finds else (result, None)
    half = y.dtype.name == "bfloat16"
    y = torch.from_numpy(y.view(np.int16)).view(torch.bfloat16) if half else torch.from_numpy(y)
    if out is not None:
        y = out.copy_(y)
    return y if finds is None else (y, torch.from_numpy(found))
