"""Rules of operations with windows: convolutions, poolings, padding, resizing."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch

from . import windows
from .calls import Answer, Call, rule
from .merging import merged
from .movement import joined_of, reshaped, viewed
from .reach import Axis, Reach, Taps, through
from .windows import each

__all__: list[str] = []

Tensor = torch.Tensor
MOST_TAPS = 256
"""Of a window that is laid out tap by tap."""


def slide(reach: Reach | None, shape: Sequence[int], dims: Sequence[int], taps: Sequence[Taps]) -> Reach | None:
    """Windows over several dimensions, one after the other."""
    if reach is None:
        return None

    def change(axis: Axis) -> Axis:
        for dim, each_taps in zip(dims, taps, strict=True):
            axis = through(axis, dim, each_taps, shape[dim])
        return axis

    return tuple(map(change, reach))


@rule("convolution", "_convolution", "cudnn_convolution", "mkldnn_convolution", "convolution_overrideable")
def convolution(call: Call) -> Answer:
    x, weight, a = call.a.get("input", call.a.get("self")), call.a["weight"], call.a
    first = "input" if "input" in a else "self"
    reach, rank = call.reach(first), x.ndim - 2
    if call.reach("weight") is not None or (call.reach("bias") is not None):
        return []  # a kernel that is computed from the input
    if reach is None:
        return None
    stride, padding, dilation = (each(a[name], rank) for name in ("stride", "padding", "dilation"))
    sizes, groups, outputs = x.shape[2:], a["groups"], call.outs[0].shape[1]
    if a.get("transposed"):
        taps = [
            windows.adjoint(n, m, k, s, p, d)
            for n, m, k, s, p, d in zip(
                sizes, call.outs[0].shape[2:], weight.shape[2:], stride, padding, dilation, strict=True
            )
        ]
    else:
        taps = windows.convolved(sizes, weight.shape[2:], stride, padding, dilation)

    def across(array: Tensor) -> Tensor:
        if array.shape[1] == 1:
            return array
        least = array.unflatten(1, (groups, -1)).amin(2)
        return least if groups == 1 else least.repeat_interleave(outputs // groups, 1)

    return slide(tuple(axis.each(across) for axis in reach), x.shape, range(2, x.ndim), taps)


def pooled(call: Call) -> Answer:
    found = windows.pooling(call.name, call.a)
    if found is None:
        return []
    dims, scheme, laid, problem = found
    x = call.a["self"] if problem is None else call.a["x"]
    border = None if problem is None else problem.border
    if border in (None, "zeros"):
        taps = [windows.over(axis, scheme, i) for i, axis in enumerate(laid.axes)]
    else:
        taps = [windows.bordered(axis, scheme, i, border) for i, axis in enumerate(laid.axes)]
    reach = slide(call.read(x), x.shape, dims, taps)
    return [reach for _ in call.outs]


for _n in (1, 2, 3):
    rule(f"max_pool{_n}d_with_indices", f"max_pool{_n}d", f"avg_pool{_n}d", f"adaptive_max_pool{_n}d")(pooled)
    rule(f"adaptive_avg_pool{_n}d", f"_adaptive_avg_pool{_n}d")(pooled)
rule("poolwise.pool", "poolwise.pool_with_offsets")(pooled)


def padded(call: Call, border: str) -> Answer:
    x, pad = call.a["self"], list(call.a["pad" if "pad" in call.a else "padding"])
    dims = [x.ndim - 1 - i for i in range(len(pad) // 2)]
    taps = [windows.padded(x.shape[d], pad[2 * i], pad[2 * i + 1], border) for i, d in enumerate(dims)]
    return slide(call.reach("self"), x.shape, dims, taps)


rule("constant_pad_nd")(functools.partial(padded, border="zeros"))
for _n in (1, 2, 3):
    rule(f"reflection_pad{_n}d")(functools.partial(padded, border="reflect"))
    rule(f"replication_pad{_n}d")(functools.partial(padded, border="replicate"))


def resized(call: Call) -> Answer:
    x, out, a = call.a.get("self", call.a.get("input")), call.outs[0], call.a
    dims = list(range(2, x.ndim))
    if "scale_factors" in a:
        scales = list(a["scale_factors"] or [None] * len(dims))
    else:
        scales = [
            a.get(name)
            for name in (["scales"] if len(dims) == 1 else ["scales_d", "scales_h", "scales_w"][-len(dims) :])
        ]
    op = getattr(torch.ops.aten, call.name.removeprefix("aten.")).default
    corners = a.get("align_corners")
    taps = [
        windows.resized(op, len(dims), x.shape[d], out.shape[d], corners, scale)
        for d, scale in zip(dims, scales, strict=True)
    ]
    if any(each_taps is None for each_taps in taps):
        return []
    return slide(call.read(x), x.shape, dims, [each_taps for each_taps in taps if each_taps is not None])


for _name in ("nearest1d", "nearest2d", "nearest3d", "linear1d", "bilinear2d", "trilinear3d", "bicubic2d"):
    rule(f"upsample_{_name}")(resized)
for _name in ("nearest_exact1d", "nearest_exact2d", "nearest_exact3d", "bilinear2d_aa", "bicubic2d_aa"):
    rule(f"_upsample_{_name}")(resized)


def _squares(call: Call) -> tuple[tuple[int, ...], ...]:
    return tuple(each(call.a[name], 2) for name in ("kernel_size", "stride", "padding", "dilation"))


@rule("im2col")
def im2col(call: Call) -> Answer:
    """Windows as columns: for every tap a map of what it sees."""
    x, reach = call.a["self"], call.reach("self")
    window, stride, padding, dilation = _squares(call)
    if reach is None or math.prod(window) > MOST_TAPS:
        return []
    dims, channel = [x.ndim - 2, x.ndim - 1], x.ndim - 3
    taps = windows.convolved(x.shape[-2:], window, stride, padding, dilation)
    lengths = [t.exact.shape[0] for t in taps]
    maps = []
    for at in itertools.product(*map(range, window)):
        one = [
            windows.tap(n, m, s, p - d * i)
            for n, m, s, p, d, i in zip(x.shape[-2:], lengths, stride, padding, dilation, at, strict=True)
        ]
        maps.append((slide(reach, x.shape, dims, one), (*x.shape[:-2], *lengths)))
    stacked = joined_of(maps, channel + 1, (*x.shape[:-2], len(maps), *lengths), True)
    return None if stacked is None else reshaped(stacked, (*x.shape[:-2], len(maps), *lengths), call.outs[0].shape)


@rule("col2im")
def col2im(call: Call) -> Answer:
    """Windows laid back where they came from, and added."""
    x, reach, out = call.a["self"], call.reach("self"), call.outs[0]
    window, stride, padding, dilation = _squares(call)
    if reach is None or math.prod(window) > MOST_TAPS:
        return []
    lengths = [t.exact.shape[0] for t in windows.convolved(out.shape[-2:], window, stride, padding, dilation)]
    taps = math.prod(window)
    apart = (*x.shape[:-2], x.shape[-2] // taps, taps, *lengths)
    reach, parts = reshaped(reach, x.shape, apart), []
    for number, at in enumerate(itertools.product(*map(range, window))):
        own = viewed(reach, apart, lambda array, number=number: array.select(-3, number), 0)
        shape = (*apart[:-3], *lengths)
        laid = [
            windows.adjoint(n, m, 1, s, p - d * i, d)
            for n, m, s, p, d, i in zip(lengths, out.shape[-2:], stride, padding, dilation, at, strict=True)
        ]
        parts.append((slide(own, shape, [out.ndim - 2, out.ndim - 1], laid), tuple(out.shape)))
    return merged([(part, shape) for part, shape in parts if part is not None], out.shape)


def counted(call: Call) -> Any:
    """Window elements of a pooling over all its outputs; `None` for what is no pooling."""
    found = windows.pooling(call.name, call.a)
    if found is None:
        return None
    dims, _, laid, _ = found
    x = call.a.get("self", call.a.get("x"))
    planes = 1
    for dim, n in enumerate(x.shape):
        planes *= 1 if dim in dims else n
    return planes * laid.elements
