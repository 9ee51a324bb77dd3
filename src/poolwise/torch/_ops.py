"""Pooling as operators of torch's dispatcher: what compilers, exporters, modes and subclasses see of a call.

Four operators serve all poolings, which they are told as text (see `_text`); the arrays' lengths may be symbols. Plain
tensors do not come this way: the dispatcher takes longer than a small pooling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch

from ..arrays import dense_strides, inverse, memory_order
from ..backends.protocol import Residual
from ..dispatch import Plan, plan
from ..execute import too_large
from ..geometry import Sliding, offset_dtype
from ..problem import Pooling
from ._tensors import TENSORS, compute
from ._text import decode, encode

__all__ = ["LIBRARY", "gradient", "indices", "pool", "pool_with_offsets"]

Tensor = torch.Tensor
LIBRARY = torch.library.Library("poolwise", "DEF")
TAGS = (torch.Tag.pt2_compliant_tag,)
SCHEMAS = {
    "pool": "(Tensor x, str pooling) -> Tensor",
    "pool_with_offsets": "(Tensor x, str pooling) -> (Tensor, Tensor)",
    "indices": "(Tensor offsets, str pooling, SymInt[] shape, SymInt[] strides) -> Tensor",
    "gradient": "(Tensor gy, Tensor? first, Tensor? second, str pooling, SymInt[] shape, SymInt[] strides) -> Tensor",
}
for name, schema in SCHEMAS.items():
    LIBRARY.define(name + schema, tags=TAGS)

pool = torch.ops.poolwise.pool.default
pool_with_offsets = torch.ops.poolwise.pool_with_offsets.default
indices = torch.ops.poolwise.indices.default
gradient = torch.ops.poolwise.gradient.default


def offset_name(pooling: Pooling) -> str:
    """The dtype in which graphs keep offsets: it must not depend on lengths, which a graph may not know."""
    scheme = pooling.scheme
    return offset_dtype(scheme.window) if isinstance(scheme, Sliding) else "int64"


# What the operators do to tensors that have memory.


@lru_cache(maxsize=1024)
def _planned(text: str, shape: tuple[int, ...], device: str) -> Plan:
    """Who computes this pooling of arrays of this shape."""
    pooling, backend = decode(text)
    return plan(pooling.over(shape), device, backend)


def _order(chosen: Plan, strides: Sequence[int]) -> tuple[int, ...]:
    return memory_order(chosen.problem.shape, tuple(strides), chosen.problem.axes)


def _real_pool(x: Tensor, text: str) -> Tensor:
    chosen = _planned(text, tuple(x.shape), x.device.type)
    try:
        return compute(chosen, x, None, None)
    except OverflowError as error:
        raise too_large(chosen.problem, error) from None


def _real_pool_with_offsets(x: Tensor, text: str) -> tuple[Tensor, Tensor]:
    chosen = _planned(text, tuple(x.shape), x.device.type)
    y, residual = chosen.kernel.forward(TENSORS, x.resolve_neg().detach(), None, save=True)
    return y, residual.arrays[0].to(getattr(torch, offset_name(chosen.problem)))


def _kept(chosen: Plan, saved: Sequence[Tensor], order: tuple[int, ...]) -> Residual:
    """Saved tensors as the kernel left them: offsets in its dtype, dense in the input's memory order."""
    problem = chosen.problem
    if problem.op.traits.saves != "offsets":
        return Residual(tuple(saved), order)
    (offsets,) = saved
    dtype = getattr(torch, problem.offset_dtype)
    if offsets.dtype is not dtype or offsets.stride() != dense_strides(problem.out_shape, order):
        offsets = TENSORS.empty(problem.out_shape, problem.offset_dtype, order, offsets).copy_(offsets)
    return Residual((offsets,), order)


def _real_indices(offsets: Tensor, text: str, shape: Sequence[int], strides: Sequence[int]) -> Tensor:
    chosen = _planned(text, tuple(shape), offsets.device.type)
    return chosen.kernel.indices(TENSORS, _kept(chosen, [offsets], _order(chosen, strides)))


def _real_gradient(
    gy: Tensor, first: Tensor | None, second: Tensor | None, text: str, shape: Sequence[int], strides: Sequence[int]
) -> Tensor:
    chosen = _planned(text, tuple(shape), gy.device.type)
    residual = _kept(chosen, [x for x in (first, second) if x is not None], _order(chosen, strides))
    return chosen.kernel.backward(TENSORS, gy.resolve_neg().detach(), residual)


# What they give where only shapes are known.


def _laid_out(like: Tensor, lengths: Sequence[Any], dtype: str, order: tuple[int, ...]) -> Tensor:
    made = like.new_empty([lengths[axis] for axis in order], dtype=getattr(torch, dtype))
    return made.permute(inverse(order))


def _pooled(x: Tensor, text: str) -> tuple[Pooling, list[Any], tuple[int, ...]]:
    pooling, _ = decode(text)
    lengths = pooling.outputs(x.shape)
    if any(isinstance(n, int) and n < 1 for axis, n in enumerate(lengths) if axis in pooling.axes):
        pooling.over(tuple(map(int, x.shape)))  # which says what does not fit
    return pooling, lengths, memory_order(tuple(x.shape), x.stride(), pooling.axes)


def _fake_pool(x: Tensor, text: str) -> Tensor:
    pooling, lengths, order = _pooled(x, text)
    return _laid_out(x, lengths, pooling.out_dtype, order)


def _fake_pool_with_offsets(x: Tensor, text: str) -> tuple[Tensor, Tensor]:
    pooling, lengths, order = _pooled(x, text)
    return tuple(_laid_out(x, lengths, dtype, order) for dtype in (pooling.out_dtype, offset_name(pooling)))


def _fake_indices(offsets: Tensor, text: str, shape: Sequence[Any], strides: Sequence[Any]) -> Tensor:
    order = memory_order(tuple(shape), tuple(strides), decode(text)[0].axes)
    return _laid_out(offsets, offsets.shape, "int64", order)


def _fake_gradient(
    gy: Tensor, first: Tensor | None, second: Tensor | None, text: str, shape: Sequence[Any], strides: Sequence[Any]
) -> Tensor:
    pooling, _ = decode(text)
    return _laid_out(gy, shape, pooling.dtype, memory_order(tuple(shape), tuple(strides), pooling.axes))


# What they give for a batch: one more axis in front.


@lru_cache(maxsize=1024)
def _batched(text: str) -> str:
    pooling, backend = decode(text)
    return encode(replace(pooling, axes=tuple(axis + 1 for axis in pooling.axes)), backend)


def _in_front(x: Tensor | None, dim: int | None, length: int) -> Tensor | None:
    if x is None:
        return None
    return x.expand(length, *x.shape) if dim is None else x.movedim(dim, 0)


def _batched_strides(shape: Sequence[Any], strides: Sequence[Any]) -> list[Any]:
    """The batch lies outermost."""
    return [max([n * stride for n, stride in zip(shape, strides, strict=True)], default=1), *strides]


def _map_pool(info: Any, dims: Any, x: Tensor, text: str) -> Any:
    return pool(x.movedim(dims[0], 0), _batched(text)), 0


def _map_pool_with_offsets(info: Any, dims: Any, x: Tensor, text: str) -> Any:
    return pool_with_offsets(x.movedim(dims[0], 0), _batched(text)), (0, 0)


def _map_indices(info: Any, dims: Any, offsets: Tensor, text: str, shape: Any, strides: Any) -> Any:
    where = [info.batch_size, *shape], _batched_strides(shape, strides)
    return indices(offsets.movedim(dims[0], 0), _batched(text), *where), 0


def _map_gradient(
    info: Any, dims: Any, gy: Tensor, first: Any, second: Any, text: str, shape: Any, strides: Any
) -> Any:
    arrays = [_in_front(x, dim, info.batch_size) for x, dim in zip((gy, first, second), dims, strict=False)]
    return gradient(*arrays, _batched(text), [info.batch_size, *shape], _batched_strides(shape, strides)), 0


for name, real, fake, mapped in (
    ("pool", _real_pool, _fake_pool, _map_pool),
    ("pool_with_offsets", _real_pool_with_offsets, _fake_pool_with_offsets, _map_pool_with_offsets),
    ("indices", _real_indices, _fake_indices, _map_indices),
    ("gradient", _real_gradient, _fake_gradient, _map_gradient),
):
    LIBRARY.impl(name, real, "CompositeExplicitAutograd")
    torch.library.register_fake(f"poolwise::{name}", fake, lib=LIBRARY)
    torch.library.register_vmap(f"poolwise::{name}", mapped, lib=LIBRARY)
