"""The windows of convolutions, poolings and resizings, read off `poolwise.geometry` or off the operation itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch

from ...geometry import Adaptive, AxisWindows, Scheme, Sliding, Windows
from ...problem import Problem
from ...torch._text import decode
from .reach import Taps

__all__ = ["adjoint", "bordered", "over", "padded", "pooling", "resized"]

LARGEST = 1 << 22
"""Elements of a table that says what a resizing reads."""


def _table(start: Any, step: int, most: int) -> torch.Tensor:
    return torch.as_tensor(start)[:, None] + step * torch.arange(most)


def _below(count: Any, most: int) -> torch.Tensor:
    return torch.arange(most) < torch.as_tensor(count)[:, None]


def over(axis: AxisWindows, scheme: Scheme, index: int) -> Taps:
    """What windows read."""
    real = _table(axis.start, axis.step, axis.most), _below(axis.count, axis.most)
    if isinstance(scheme, Sliding):
        step = scheme.dilation[index] if scheme.dilation else 1
        virtual = _table(axis.origin, step, axis.window)
        return Taps(*real, virtual, torch.ones_like(virtual, dtype=torch.bool), (1, scheme.stride[index]))
    spaced = axis.last > axis.first
    return Taps(*real, *real, (1, axis.stride) if spaced else None)


def bordered(axis: AxisWindows, scheme: Scheme, index: int, border: str) -> Taps:
    """What windows read where padding is filled from the input."""
    plain = over(axis, scheme, index)
    at = torch.as_tensor(axis.positions(border))
    return Taps(at, at >= 0, plain.virtual, plain.counted, plain.step)


def padded(size: int, low: int, high: int, border: str) -> Taps:
    """One position each, of an axis that padding makes longer, or cuts where it is negative."""
    if border == "zeros":
        at = torch.arange(-low, size + high)[:, None]
        return Taps(
            at.clamp(0, max(size - 1, 0)), (at >= 0) & (at < size), at, torch.ones_like(at, dtype=torch.bool), (1, 1)
        )
    scheme = Sliding((1,), (1,), ((max(low, 0), max(high, 0)),))
    taps = bordered(scheme.axis(size), scheme, 0, border)
    kept = slice(max(-low, 0), taps.exact.shape[0] - max(-high, 0))
    return Taps(taps.exact[kept], taps.real[kept], taps.virtual[kept], taps.counted[kept], taps.step)


def adjoint(size: int, outputs: int, window: int, stride: int, padding: int, dilation: int) -> Taps:
    """The windows of a convolution read the other way: what a transposed convolution's outputs come from.

    Output p comes from every i whose window, ``i*stride - padding + dilation*j``, holds p.
    """
    at = torch.arange(outputs)[:, None] + padding - dilation * torch.arange(window)
    origin, divides = at // stride, at % stride == 0
    real = divides & (origin >= 0) & (origin < size)
    return Taps(origin.clamp(0, max(size - 1, 0)), real, origin, divides, (stride, 1))


def tap(size: int, outputs: int, stride: int, padding: int) -> Taps:
    """One tap of every window."""
    at = (stride * torch.arange(outputs) - padding)[:, None]
    real = (at >= 0) & (at < size)
    return Taps(at.clamp(0, max(size - 1, 0)), real, at, torch.ones_like(real), (1, stride))


@lru_cache(maxsize=512)
def resized(op: Any, rank: int, size: int, outputs: int, corners: bool | None, scale: float | None) -> Taps | None:
    """What a resizing reads, found by resizing the unit vectors; `None` where that would be a large table."""
    small = size * outputs <= LARGEST
    exact, real = _probed(op, rank, size, outputs, corners, scale) if small else (None, None)
    inside = 1 if corners else 0  # with aligned corners it is the gaps between elements that are scaled
    a, b = size - inside, outputs - inside
    uneven = scale is not None and not inside and outputs != size * scale
    inputs, steps = (1, 1) if min(a, b) < 1 else (a // math.gcd(a, b), b // math.gcd(a, b))
    rounds = 2 * max(2, -(-4 // inputs), -(-4 // steps))
    if uneven or size == 1 or min(a, b) < 1 or rounds * inputs * rounds * steps > LARGEST:
        return None if exact is None else Taps(exact, real, exact, real, None)
    # Away from the ends, where nothing is cut: the pattern of one period in a long axis, moved to where it is wanted.
    long = _probed(op, rank, rounds * inputs + inside, rounds * steps + inside, corners, scale)
    middle = rounds // 2
    at = torch.arange(outputs)
    rows = middle * steps + at % steps
    virtual, counted = long[0][rows] + (at // steps - middle)[:, None] * inputs, long[1][rows]
    if exact is None:  # beyond the ends the outermost elements are read again, or with antialiasing none
        within = (virtual >= 0) & (virtual < size)
        exact, real = virtual.clamp(0, size - 1), counted & within if "_aa" in str(op) else counted
    return Taps(exact, real, virtual, counted, (steps, inputs))


def _probed(op: Any, rank: int, size: int, outputs: int, corners: bool | None, scale: float | None) -> Any:
    # The other axes have length 2: antialiasing over one of length 1 gives wrong values (torch 2.13).
    unit = torch.eye(size, dtype=torch.float64).reshape(size, 1, size, *[1] * (rank - 1))
    wide = unit.expand(size, 1, size, *[2] * (rank - 1)).contiguous()
    options = [] if corners is None else [corners]
    seen = op(wide, [outputs, *[2] * (rank - 1)], *options, *[scale, *[None] * (rank - 1)])
    read = seen.reshape(size, outputs, -1)[:, :, 0].T != 0
    most = int(read.sum(1).max())
    # Positions that are read come first, in order.
    order = torch.argsort((~read).to(torch.uint8), dim=1, stable=True)[:, :most]
    return order, torch.gather(read, 1, order)


def convolved(sizes: Sequence[int], window: Any, stride: Any, padding: Any, dilation: Any) -> list[Taps]:
    """A convolution's, one per axis; padding is the same before and after."""
    scheme = Sliding(tuple(window), tuple(stride), tuple((p, p) for p in padding), tuple(dilation))
    return [over(scheme.axis(n, i, where="trace", axis=i + 2), scheme, i) for i, n in enumerate(sizes)]


# Poolings, of torch and our own, as the geometry that they have.


def pooling(name: str, a: dict[str, Any]) -> tuple[list[int], Scheme, Windows, Problem | None] | None:
    """The pooled dimensions, the scheme, the windows, and our own problem; `None` for what is no pooling."""
    if name in ("poolwise.pool", "poolwise.pool_with_offsets"):
        problem = decode(a["pooling"])[0].over(tuple(a["x"].shape))
        return list(problem.axes), problem.scheme, problem.windows, problem
    found = _torch_scheme(name, a)
    if found is None:
        return None
    scheme, rank = found
    x = a["self"]
    dims = list(range(x.ndim - rank, x.ndim))
    axes = (scheme.axis(x.shape[d], i, where=name, axis=d) for i, d in enumerate(dims))
    return dims, scheme, Windows(tuple(axes)), None


def _torch_scheme(name: str, a: dict[str, Any]) -> tuple[Scheme, int] | None:
    kind = name.removeprefix("aten.").removeprefix("_").removesuffix("_with_indices")
    if kind[-3:-1] not in ("l1", "l2", "l3") or "pool" not in kind or kind.startswith(("fractional", "max_unpool")):
        return None
    rank = int(kind[-2])
    if kind.startswith("adaptive"):
        return Adaptive(each(a["output_size"], rank)), rank
    if not kind.startswith(("max_pool", "avg_pool")):
        return None
    window = each(a["kernel_size"], rank)
    stride = each(a.get("stride") or window, rank)
    padding = tuple((p, p) for p in each(a.get("padding") or 0, rank))
    dilation = each(a.get("dilation") or 1, rank)
    return Sliding(window, stride, padding, dilation, bool(a.get("ceil_mode"))), rank


def each(value: Any, rank: int) -> tuple[Any, ...]:
    """One entry per axis."""
    entries = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    return entries * rank if len(entries) == 1 else entries
