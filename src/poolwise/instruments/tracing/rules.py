"""What moves, reductions, normalisations and matrix products do to reaches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from . import movement
from .calls import Answer, Call, all_of, each_axis, pointwise, rule
from .merging import merged, reduced, spread
from .reach import Axis, Reach, expanded

__all__: list[str] = []

Tensor = torch.Tensor


@rule("copy")
def copy(call: Call) -> Answer:
    reach = call.reach("src")
    return None if reach is None else merged([(reach, tuple(call.a["src"].shape))], call.outs[0].shape)


@rule("zero", "fill", "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "randint_like")
@rule(
    "new_zeros", "new_ones", "new_full", "new_empty", "new_empty_strided", "uniform", "normal", "random", "exponential"
)
def constant(call: Call) -> Answer:
    reach = call.reach("value")
    return None if reach is None else merged([(reach, ())], call.outs[0].shape)


# Views and other movements.


@rule("permute", "transpose", "t", "select", "slice", "unsqueeze", "squeeze", "expand", "unbind", "split", "diagonal")
@rule(
    "split_with_sizes", "narrow", "unfold", "alias", "detach", "unsafe_split", "unsafe_split_with_sizes", "unsafe_chunk"
)
@rule("chunk", "tensor_split", "lift_fresh", "movedim", "swapaxes", "swapdims", "rot90", "numpy_T", "mT")
def view(call: Call) -> Answer:
    first = next(iter(call.a))
    reach, x = call.reach(first), call.a[first]
    if reach is None:
        return None
    options = {name: value for name, value in call.a.items() if name != first}
    number = range(len(call.outs))
    return [movement.viewed(reach, tuple(x.shape), lambda array: call.func(array, **options), i) for i in number]


@rule("view", "_unsafe_view", "reshape", "_reshape_alias", "flatten", "unflatten", "reshape_copy")
def reshape(call: Call) -> Answer:
    first = next(iter(call.a))
    before, after = tuple(call.a[first].shape), tuple(call.outs[0].shape)
    if call.a.get("dtype") is not None and before != after:
        return [all_of(call.parts(), call.outs[0])]
    reach = call.reach(first)
    return None if reach is None else movement.reshaped(reach, before, after)


@rule("cat", "stack", "concat", "concatenate")
def cat(call: Call) -> Answer:
    tensors, out = list(call.a["tensors"]), call.outs[0]
    stacked = call.name == "aten.stack"
    if not stacked and any(tensor.ndim != out.ndim for tensor in tensors):  # torch lets an empty one pass
        tensors = [tensor for tensor in tensors if tensor.ndim == out.ndim]
    parts = [(call.read(tensor), tuple(tensor.shape)) for tensor in tensors]
    return movement.joined_of(parts, call.a["dim"] % out.ndim, tuple(out.shape), stacked)


@rule("flip")
def flip(call: Call) -> Answer:
    dims = call.dims("dims")
    return each_axis(call.reach("self"), lambda axis: movement.flipped(axis, call.a["self"].shape, dims))


@rule("roll")
def roll(call: Call) -> Answer:
    x, dims = call.a["self"], [d % call.a["self"].ndim for d in call.a["dims"]]
    return each_axis(call.reach("self"), lambda axis: movement.rolled(axis, x.shape, call.a["shifts"], dims))


@rule("pixel_shuffle", "pixel_unshuffle")
def pixel_shuffle(call: Call) -> Answer:
    up, shape = call.name == "aten.pixel_shuffle", tuple(call.a["self"].shape)
    factor = call.a["upscale_factor" if up else "downscale_factor"]
    return each_axis(call.reach("self"), lambda axis: movement.shuffled(axis, shape, factor, up))


@rule("channel_shuffle", "native_channel_shuffle")
def channel_shuffle(call: Call) -> Answer:
    x = call.a["self"]

    def shuffle(array: Tensor) -> Tensor:
        return array.unflatten(1, (call.a["groups"], -1)).transpose(1, 2).flatten(1, 2)

    return each_axis(call.reach("self"), lambda axis: movement.mapped(axis, x.shape, [1], shuffle))


@rule("repeat", "index_select", "index", "gather", "take_along_dim", "repeat_interleave")
def picked(call: Call) -> Answer:
    """Elements picked by numbers that are known; where the numbers depend on the input, anything may be."""
    x, out = call.a["self"], call.outs[0]
    others = [reach for tensor in call.tensors() if tensor is not x and (reach := call.read(tensor)) is not None]
    reach = call.read(x)
    if others or reach is None or out.device.type == "meta":
        return []
    options = {name: _on_cpu(value) for name, value in call.a.items() if name != "self"}
    dims = {"aten.index_select": call.dims, "aten.repeat_interleave": call.dims}.get(call.name)
    along = dims() if dims is not None and call.a.get("dim") is not None else None
    return each_axis(
        reach, lambda axis: movement.mapped(axis, x.shape, along, lambda array: call.func(array, **options))
    )


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.cpu()
    return [_on_cpu(entry) for entry in value] if isinstance(value, (list, tuple)) else value


@rule("embedding")
def embedding(call: Call) -> Answer:
    reach = call.reach("indices")
    if call.reach("weight") is not None or reach is None:
        return [all_of(call.parts(), call.outs[0])]
    return each_axis(reach, lambda axis: axis.each(lambda array: array.unsqueeze(-1)))


# Reductions.


@rule(
    "mean",
    "sum",
    "amax",
    "amin",
    "max",
    "min",
    "argmax",
    "argmin",
    "any",
    "all",
    "linalg_vector_norm",
    "norm",
    "std",
    "var",
)
@rule(
    "var_mean",
    "std_mean",
    "logsumexp",
    "prod",
    "median",
    "nanmedian",
    "mode",
    "kthvalue",
    "aminmax",
    "nansum",
    "nanmean",
)
@rule("count_nonzero")
def reduction(call: Call) -> Answer:
    if isinstance(call.a.get("other"), Tensor):  # max and min of two tensors
        return pointwise(call)
    x, reach = call.a["self"], call.reach("self")
    if reach is None:
        return None
    dims, keep = call.dims(), call.outs[0].ndim == call.a["self"].ndim
    found = tuple(reduced(axis, x.shape, dims, keep) for axis in reach)
    return [found for _ in call.outs]


@rule(
    "_softmax", "_log_softmax", "softmax", "log_softmax", "sort", "cummax", "cummin", "topk", "renorm", "_safe_softmax"
)
@rule("cumsum", "cumprod", "logcumsumexp")
def along(call: Call) -> Answer:
    """Every result along a dimension is made of all elements along it."""
    x, reach = call.a["self"], call.reach("self")
    if reach is None:
        return None
    dims = call.dims()
    if call.name == "aten.topk" or call.name == "aten.sort":
        found = tuple(reduced(axis, x.shape, dims, True) for axis in reach)
    elif call.name in ("aten.cumsum", "aten.cumprod", "aten.logcumsumexp", "aten.cummax", "aten.cummin"):
        found = tuple(_cumulative(axis, x.shape, dims[0]) for axis in reach)
    else:
        found = tuple(spread(axis, dims) for axis in reach)
    return [found for _ in call.outs]


def _cumulative(axis: Axis, shape: Any, dim: int) -> Axis:
    found = axis.each(lambda array: torch.cummin(expanded(array, shape, (dim,)), dim).values)
    return found.on(None) if axis.grid is not None and axis.grid.dim == dim else found


# Normalisations: the statistics see all that they are of, the elements are where they were.


@rule(
    "native_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "cudnn_batch_norm",
    "batch_norm",
)
@rule("_batch_norm_with_update", "miopen_batch_norm", "_native_batch_norm_legit_functional", "_batch_norm_no_update")
def batch_norm(call: Call) -> Answer:
    x = call.a["input"]
    if not (call.a.get("training") or "with_update" in call.name):
        return merged([(reach, tuple(x.shape))], x.shape) if (reach := call.reach("input")) is not None else None
    dims = [d for d in range(x.ndim) if d != 1]
    return each_axis(call.reach("input"), lambda axis: spread(axis, dims))


@rule("native_layer_norm", "layer_norm", "_fused_rms_norm", "rms_norm")
def layer_norm(call: Call) -> Answer:
    x = call.a["input"]
    dims = range(x.ndim - len(call.a["normalized_shape"]), x.ndim)
    return each_axis(call.reach("input"), lambda axis: spread(axis, list(dims)))


@rule("native_group_norm", "group_norm")
def group_norm(call: Call) -> Answer:
    x = call.a["input"]
    groups = call.a.get("group") or call.a.get("num_groups")
    channels, rest = x.shape[1], list(range(2, x.ndim))

    def within(array: Tensor) -> Tensor:
        if array.shape[1] == 1:
            return array
        least = array.unflatten(1, (groups, channels // groups)).amin(2)
        return least.repeat_interleave(channels // groups, 1)

    return each_axis(call.reach("input"), lambda axis: spread(axis.each(within), rest))


# Matrix products: sums over what is multiplied.


@rule("mm", "bmm", "addmm", "baddbmm", "mv", "addmv", "dot", "matmul", "linear", "vdot", "addbmm")
def product(call: Call) -> Answer:
    names = list(call.a)
    shape = tuple(call.outs[0].shape)
    if call.name in ("aten.matmul", "aten.linear", "aten.addbmm"):
        return [all_of(call.parts(), call.outs[0])]
    bias, a, b = (
        (names[0], names[1], names[2]) if call.name.startswith(("aten.add", "aten.badd")) else (None, *names[:2])
    )
    parts = []
    for name, contracted in ((a, -1), (b, -2)):
        reach, tensor = call.reach(name), call.a[name]
        if reach is None:
            continue
        dim = tensor.ndim + contracted if tensor.ndim > 1 or contracted == -1 else 0
        keep = tensor.ndim > 1 and call.name not in ("aten.mv", "aten.addmv", "aten.dot", "aten.vdot")
        done = tuple(reduced(axis, tensor.shape, [dim], keep) for axis in reach)
        lengths = tuple(1 if d == dim else n for d, n in enumerate(tensor.shape) if keep or d != dim)
        parts.append((_uncontracted(done, dim) if keep else done, lengths))
    if bias is not None and (reach := call.reach(bias)) is not None:
        parts.append((reach, tuple(call.a[bias].shape)))
    return merged(parts, shape)


def _uncontracted(reach: Reach, dim: int) -> Reach:
    """The contracted dimension is not the result's of that number: no grid can lie along it."""
    return tuple(axis.on(None) if axis.grid is not None and axis.grid.dim == dim else axis for axis in reach)


@rule("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention")
@rule(
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_attention_math",
)
def attention(call: Call) -> Answer:
    """Each query sees itself, all keys and all values of its head; a mask is taken to hide nothing."""
    shape, parts = tuple(call.outs[0].shape), []
    for name in ("query", "key", "value"):
        reach, x = call.reach(name), call.a[name]
        if reach is None:
            continue
        dims = [x.ndim - 1] if name == "query" else [x.ndim - 2, x.ndim - 1]
        done = tuple(reduced(axis, x.shape, dims, True) for axis in reach)
        done = tuple(
            replace(axis, grid=None) if axis.grid is not None and axis.grid.dim in dims else axis for axis in done
        )
        parts.append((done, tuple(1 if d in dims else n for d, n in enumerate(x.shape))))
    return merged(parts, shape)


@rule("_trilinear")
def trilinear(call: Call) -> Answer:
    return [all_of(call.parts(), call.outs[0])]


@rule("glu")
def glu(call: Call) -> Answer:
    x, (dim,) = call.a["self"], call.dims()

    def halves(array: Tensor) -> Tensor:
        if array.shape[dim] == 1:
            return array
        a, b = array.chunk(2, dim)
        return torch.minimum(a, b)

    if (reach := call.reach("self")) is None:
        return None
    done = tuple(axis.each(halves) for axis in reach)
    on_it = any(axis.grid is not None and axis.grid.dim == dim for axis in reach)
    return each_axis(done, lambda axis: axis.on(None)) if on_it and x.ndim else done
