"""What one operation costs: multiply-adds, window elements of poolings, bytes."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch.utils.flop_counter import flop_registry

from .calls import Call
from .reach import Reach
from .sliding import counted

__all__ = ["multiply_adds", "nbytes", "pool_operations", "touched"]

Tensor = torch.Tensor
AVERAGES = frozenset(f"aten.{name}" for name in ("mean", "amax", "amin", "max", "sum", "nanmean"))
"""Reductions by which a whole axis is pooled; `torch` itself pools to one value so."""


def multiply_adds(call: Call) -> int:
    """Of convolutions, matrix products and attention, as torch's own counter has them; biases are not counted."""
    if call.name == "aten.mkldnn_rnn_layer":
        x, a = call.a["input"], call.a
        steps = x.numel() // max(x.shape[-1], 1)
        return int(steps * (a["weight0"].numel() + a["weight1"].numel()))
    if call.name in ("aten._scaled_dot_product_flash_attention_for_cpu", "aten._scaled_dot_product_attention_math"):
        query, key, value = (call.a[name] for name in ("query", "key", "value"))
        return math.prod(query.shape[:-1]) * key.shape[-2] * (query.shape[-1] + value.shape[-1])
    if call.name == "aten._trilinear":
        return int(
            math.prod(torch.broadcast_shapes(*(call.a[f"i{n}"].shape[:1] for n in (1, 3)))) * call.a["i2"].numel()
        )
    if call.name in ("aten.mv", "aten.addmv", "aten.dot", "aten.vdot"):
        return int(call.a["mat" if call.name == "aten.addmv" else "self"].numel())
    packet = call.func._overloadpacket
    if packet not in flop_registry or call.name.startswith("poolwise."):
        return 0
    outs = call.outs[0] if len(call.outs) == 1 else tuple(call.outs)
    return int(flop_registry[packet](*call.args, **call.kwargs, out_val=outs)) // 2


def pool_operations(call: Call) -> int:
    """Elements of all windows: what a maximum compares and an average adds."""
    elements = counted(call)
    if elements is not None:
        return int(elements)
    reach = call.reach("self")
    if call.name not in AVERAGES or reach is None or isinstance(call.a.get("other"), Tensor):
        return 0
    x, dims = call.a["self"], call.dims()
    over_space = any(_carries(reach, dim, x.shape[dim]) for dim in dims)
    return int(x.numel()) if over_space else 0


def _carries(reach: Reach, dim: int, length: int) -> bool:
    """True where a dimension holds places of the input, not channels."""
    if length < 2:
        return False
    along = [axis.grid for axis in reach if axis.grid is not None]
    if any(grid.dim == dim for grid in along):
        return True
    return any(axis.first.shape[dim] > 1 for axis in reach if axis.grid is None)


def nbytes(tensor: Tensor) -> int:
    """Bytes of a result."""
    return int(tensor.numel() * tensor.element_size())


def touched(tensors: Iterable[Tensor]) -> int:
    """Bytes that these tensors hold, each tensor once; an element that broadcasting repeats is one."""
    seen, total = set(), 0
    for tensor in tensors:
        key = (tensor.untyped_storage()._cdata, tensor.storage_offset(), tuple(tensor.shape))
        if key not in seen:
            seen.add(key)
            lengths = [n for n, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride or n == 0]
            total += math.prod(lengths) * tensor.element_size()
    return int(total)
