"""PyTorch: eager in each of its layouts, its oneDNN tensors, and compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

from ..case import FLOATS, Case
from ..inputs import Inputs
from .base import Task, Unable

__all__ = ["TorchCompiled", "TorchEager", "TorchOneDnn", "autograd_task"]

Array = Any
MOST_GATHERED = 1 << 30
"""Bytes that a peer may gather window by window before that is called beyond it."""


def _array(t: Any) -> np.ndarray:
    import torch

    t = t.detach()
    return (t.to(torch.float32) if t.dtype == torch.bfloat16 else t).numpy()


def autograd_task(label: str, case: Case, layout: str, inputs: Inputs, function: Callable[[Any], Any]) -> Task:
    """Run `function` on tensors in the mode that the case asks for; the same code for torch and for this package."""
    import torch

    x = inputs.torch_x(layout)

    if case.mode in ("forward", "indices"):

        def plain() -> Any:
            with torch.no_grad():
                return function(x)

        return Task(label, plain, lambda y: tuple(map(_array, y)) if isinstance(y, tuple) else (_array(y),))
    gy = inputs.torch_gy(layout)
    leaf = x.detach().requires_grad_()
    if case.mode == "backward":
        y = function(leaf)
        return Task(label, lambda: torch.autograd.grad(y, leaf, gy, retain_graph=True)[0], lambda gx: (_array(gx),))

    def both() -> Any:
        result = function(leaf)
        return result, torch.autograd.grad(result, leaf, gy)[0]

    return Task(label, both, lambda pair: (_array(pair[1]),))


def functions(case: Case) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """Every way that torch has to compute the case, by what a reader calls it."""
    if case.op in ("max", "min"):
        yield from _picks(case)
    elif case.op in ("avg", "sum", "lp"):
        yield from _averages(case)
    elif case.op == "median":
        yield "unfold + median", _median(case)
    else:
        yield "depthwise conv", _blur(case)


def _native(case: Case, stem: str, **options: Any) -> Callable[[Any], Any]:
    """`torch.nn.functional.<stem>_pool<n>d` with the case's windows; 1-D runs as 2-D, where torch has more dtypes."""
    from torch.nn import functional

    rank = len(case.spatial)
    one = rank == 1
    if case.kind != "sliding":
        sizes = case.window or (1,) * rank
        inner = getattr(functional, f"adaptive_{stem}_pool{max(rank, 2)}d")
        sizes = (1, *sizes) if one else sizes
        return (lambda x: inner(x.unsqueeze(2), sizes).squeeze(2)) if one else (lambda x: inner(x, sizes))
    inner = getattr(functional, f"{stem}_pool{max(rank, 2)}d")
    lift = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1}
    keys = dict(
        zip(lift, (case.window, case.stride, case.padding, case.dilation), strict=True), ceil_mode=case.ceil_mode
    )
    if stem == "avg":
        if set(case.dilation) != {1}:
            raise Unable("no dilation in averages")
        del keys["dilation"]
    if not one:
        return lambda x: inner(x, **keys, **options)
    keys = {key: (lift[key], *value) if key in lift else value for key, value in keys.items()}
    if case.mode != "indices":
        return lambda x: inner(x.unsqueeze(2), **keys, **options).squeeze(2)
    return lambda x: tuple(y.squeeze(2) for y in inner(x.unsqueeze(2), **keys, **options))


def _picks(case: Case) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    import torch

    largest = case.op == "max"
    if case.mode == "indices":
        yield "max_pool", _native(case, "max", return_indices=True)
        return
    inner = _native(case, "max")
    if largest:
        yield "max_pool", inner
    elif case.dtype in FLOATS:
        yield "-max_pool(-x)", lambda x: -inner(-x)
    else:  # ~ turns the order of integers round without overflow
        yield "~max_pool(~x)", lambda x: ~inner(~x)
    reduce = torch.amax if largest else torch.amin
    if case.kind == "global":
        yield "amax", lambda x: reduce(x, case.axes, keepdim=True)
    if case.plain and case.elements <= 9 and case.mode == "forward":
        pick = torch.maximum if largest else torch.minimum
        yield "strided slices", lambda x: _folded(case, x, pick)


def _folded(case: Case, x: Any, combine: Callable[[Any, Any], Any]) -> Any:
    parts = []
    for taps in product(*(range(size) for size in case.window)):
        cuts = [
            slice(tap, tap + (many - 1) * step + 1, step)
            for tap, many, step in zip(taps, case.outputs, case.stride, strict=True)
        ]
        parts.append(x[(slice(None), slice(None), *cuts)])
    total = combine(parts[0], parts[1])
    for part in parts[2:]:
        total = combine(total, part)
    return total


def _averages(case: Case) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    import torch
    from torch.nn import functional

    if case.dtype not in FLOATS:
        raise Unable(f"no {case.op} of integers")
    if case.op == "avg":
        yield ("avg_pool" if case.kind == "sliding" else "adaptive_avg_pool"), _native(case, "avg")
        if case.kind == "global":
            yield "mean", lambda x: x.mean(case.axes, keepdim=True)
        return
    if case.kind == "global":
        yield "sum", lambda x: x.sum(case.axes, keepdim=True)
        return
    if case.kind == "adaptive":
        raise Unable(f"no adaptive {case.op}")
    total = _native(case, "avg", divisor_override=1)
    if case.op == "sum":
        yield "avg_pool, divisor 1", total
        return
    yield "sqrt(avg_pool(x*x))", lambda x: torch.sqrt(total(x * x))
    if not any(case.padding):
        inner = getattr(functional, f"lp_pool{len(case.spatial)}d")
        yield "lp_pool", lambda x: inner(x, 2.0, case.window, case.stride, case.ceil_mode)


def _median(case: Case) -> Callable[[Any], Any]:
    from ..case import BYTES

    if case.bytes_out * case.elements * (8 + BYTES[case.dtype]) // BYTES[case.dtype] > MOST_GATHERED:
        raise Unable("gathering every window would take more than 1 GiB")

    def median(x: Any) -> Any:
        for axis, (size, step) in enumerate(zip(case.window, case.stride, strict=True)):
            x = x.unfold(axis + 2, size, step)
        return x.flatten(2 + len(case.spatial)).median(-1).values

    return median


def _blur(case: Case) -> Callable[[Any], Any]:
    import torch
    from torch.nn import functional

    from ..oracle import binomial

    if case.dtype not in FLOATS or len(case.spatial) != 2:
        raise Unable("written for two axes of floats")
    row = torch.tensor(binomial(case.window[0]), dtype=getattr(torch, case.dtype))
    weight = torch.outer(row, row).expand(case.shape[1], 1, -1, -1).contiguous()
    pads = [pad for pad in reversed(case.padding) for _ in range(2)]
    return lambda x: functional.conv2d(
        functional.pad(x, pads, "reflect"), weight, stride=case.stride, groups=x.shape[1]
    )


class TorchEager:
    """Plain tensors in one memory layout, every way that torch has."""

    package = "torch"

    def __init__(self, layout: str) -> None:
        self.layout = layout
        self.name = "torch" if layout == "first" else "torch channels_last"

    def start(self, threads: int) -> str:
        """Import torch and give it the threads."""
        import torch

        torch.set_num_threads(threads)
        return torch.__version__

    def prepare(self, case: Case, inputs: Inputs) -> Sequence[Task]:
        """A task per way; one channel has one layout only."""
        if case.shape[1] == 1 and self.layout == "last":
            raise Unable("one channel: the same bytes as channels first")
        return [autograd_task(label, case, self.layout, inputs, function) for label, function in functions(case)]


class TorchOneDnn:
    """Tensors that the user converted to oneDNN's own kind beforehand."""

    name, package = "torch oneDNN", "torch"

    def start(self, threads: int) -> str:
        """As torch."""
        return TorchEager("first").start(threads)

    def prepare(self, case: Case, inputs: Inputs) -> Sequence[Task]:
        """Max and average of floats, values only."""
        import torch

        if case.op not in ("max", "avg") or case.mode != "forward" or case.dtype not in ("float32", "bfloat16"):
            raise Unable("oneDNN tensors pool max and avg, float32 and bfloat16, forward")
        if len(case.spatial) == 1 or case.kind == "global":
            raise Unable("written for sliding and adaptive windows over 2 and 3 axes")
        ((label, function), *_) = functions(case)
        x = inputs.torch_x("first").to_mkldnn()

        def run() -> Any:
            with torch.no_grad():
                return function(x)

        return [Task(label, run, lambda y: (_array(y.to_dense()),))]


class TorchCompiled:
    """The same functions through torch.compile, in the layout of the case."""

    name, package = "torch.compile", "torch"

    def start(self, threads: int) -> str:
        """As torch."""
        return TorchEager("first").start(threads)

    def prepare(self, case: Case, inputs: Inputs) -> Sequence[Task]:
        """The first way only: compiling takes seconds."""
        import torch

        torch._dynamo.reset()
        ((label, function), *_) = functions(case)
        compiled = torch.compile(function, dynamic=False)
        return [autograd_task(f"compiled {label}", case, case.layout, inputs, compiled)]
