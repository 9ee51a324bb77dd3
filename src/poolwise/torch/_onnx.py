"""Pooling in operations that torch's ONNX exporters turn into standard operators.

What a graph holds cannot call our kernels, so while `torch.onnx.is_in_onnx_export` a call is made of torch's own
operations instead. The plainest form that serves is taken: a reduction (ReduceMax, ReduceMean), one pooling node
(MaxPool, AveragePool), windows gathered axis by axis (Gather and a reduction: bins that do not divide the axis), a
convolution, and for everything else the definition.

Lp norms are powers around an AveragePool, not an LpPool, which takes whole exponents only, and which torch can emit only
for a stand-in that computes zeros: the exported program could not be verified.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ..arrays import inverse
from ..backends.generic import GenericKernel
from ..geometry import Global, Sliding
from ..messages import refuse
from ..ops.avg import AVG
from ..ops.blur import BLUR
from ..ops.lp import LP
from ..ops.max import MAX
from ..ops.median import MEDIAN
from ..ops.min import MIN
from ..ops.sum import SUM
from ..problem import Problem, state
from ..spec import DTYPES, PoolOp, Request, Taps
from ._onnx_nodes import Pooled, avg_pool, max_pool, ones, weighted

__all__ = ["lengths", "standard"]

Tensor = torch.Tensor
F: Any = torch.nn.functional

COMPARED = dict.fromkeys(DTYPES, "float32") | {"float16": "float16", "int64": "int64", "uint64": None}
COMPARED |= dict.fromkeys(("float64", "int32", "uint32"), "float64")
"""Dtypes in which elements are compared: each holds its own exactly, and ONNX Runtime has a MaxPool for the floats."""


def standard(asked: Request | Problem, x: Tensor, indices: bool | None = None) -> Any:
    """A pooling call in torch operations that have a form in ONNX; what is called while a model is exported.

    Parameters
    ----------
    asked : Request or Problem
        The call. A `Problem` is one for the example's lengths, see `lengths`.
    x : Tensor, ``(..., *spatial)``
        What torch's exporters trace: lengths may be symbolic.
    indices : bool, optional
        True to return ``(y, indices)``; a `Request` says it itself.

    Returns
    -------
    Tensor ``(..., *outputs)``, or a tuple of it and the indices (int64)

    Raises
    ------
    ValueError
        Where a pooled axis has a dynamic length and every form of the call would hold the example's: adaptive bins
        other than one per axis, fractional windows, medians, ``"same"`` padding at a stride. Where integers are summed
        to integers, or 64-bit integers to anything: a graph could not refuse a sum that does not fit.

    Notes
    -----
    Axes that are not pooled may be dynamic. The older exporter (``dynamo=False``) does not say which axes are: there, forms
    that hold the example's lengths warn of it. How NaN and windows of only ``-inf`` compare is the runtime's to say.

    Examples
    --------
    >>> import torch
    >>> from poolwise.ops.max import MAX
    >>> from poolwise.spec import Request, WindowArgs
    >>> request = Request("max_pool", MAX, WindowArgs("sliding", (2, 2)))
    >>> standard(request, torch.arange(16.0).reshape(1, 1, 4, 4))
    tensor([[[[ 5.,  7.],
              [13., 15.]]]])
    """
    problem: Any = asked
    if isinstance(asked, Request):
        indices = asked.finds == "indices" if indices is None else indices
        problem = state(asked, x.ndim, str(x.dtype).removeprefix("torch.")).over(lengths(x))
    if problem.op is SUM and (DTYPES[problem.out_dtype] != "float" or problem.dtype in ("int64", "uint64")):
        raise refuse(
            problem.where,
            "integer sums are not exported",
            got=f"sums of {problem.dtype} as {problem.out_dtype}",
            expected="elements of up to 32 bits and a float result: a graph cannot refuse a sum that does not fit",
            hint='dtype="float64"',
        )
    guessed = torch.jit.is_tracing()
    call = _Call(problem, tuple(guessed or isinstance(x.shape[axis], torch.SymInt) for axis in problem.axes), guessed)
    return call.with_indices(x) if indices else call.values(x)


def lengths(x: Tensor) -> tuple[int, ...]:
    """The shape of the example that a model is exported with, in numbers, whatever the exporter makes of them.

    Raises
    ------
    ValueError
        For a length that depends on values.
    """
    with _untraced():
        found = tuple(n.node.hint if isinstance(n, torch.SymInt) else int(n) for n in x.shape)
    if None in found:
        raise refuse(
            "torch.onnx.export",
            "a length is not known",
            got=f"a tensor of shape {tuple(x.shape)}",
            expected="lengths that do not depend on values",
            hint="pooling before the operation whose result has no known shape",
        )
    return found


@contextmanager
def _untraced() -> Iterator[None]:
    """Out of sight of the older exporter, which makes tensors of lengths and warns of every constant."""
    tracer = torch._C._get_tracing_state()
    torch._C._set_tracing_state(None)
    try:
        yield
    finally:
        torch._C._set_tracing_state(tracer)


def _constant(table: np.ndarray, like: Tensor) -> Tensor:
    with _untraced():
        return torch.from_numpy(table).to(like.device)


@dataclass(frozen=True)
class _Call(Pooled):
    """One call in an export. Tensors inside are ``[others..., pooled...]``."""

    def values(self, x: Tensor) -> Tensor:
        """The result."""
        form, dtype = FORMS.get(self.problem.op), self._dtype()
        empty = self.problem.windows.any_empty and self.problem.op is not MEDIAN
        if form is None or dtype is None or empty:
            return self._definition(x, False)
        y = form(self, _cast(self._moved(x), dtype))
        return self._definition(x, False) if y is None else self._unmoved(y, self.problem.out_dtype)

    def with_indices(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The result, and flat positions per plane."""
        problem, n, dtype = self.problem, len(self.problem.axes), self._dtype()
        whole = self.whole()
        slide = None if whole else self.slide(True)
        pooled = slide is not None and slide.plain and dtype != torch.int64
        if dtype is None or problem.windows.any_empty or not (pooled or len(whole) == n):
            return self._definition(x, True)
        v = _cast(self._moved(x), dtype)
        if slide is None:
            flat = v.flatten(-n)
            y, at = (flat.amin(-1), flat.argmin(-1)) if problem.op is MIN else (flat.amax(-1), flat.argmax(-1))
            y, at = y[(..., *(None,) * n)], at[(..., *(None,) * n)]
        else:
            y, at = max_pool(-v if problem.op is MIN else v, slide, True)
            y = -y if problem.op is MIN else y
        return self._unmoved(y, problem.out_dtype), self._unmoved(at, "int64")

    def extreme(self, v: Tensor, least: bool = False) -> Tensor:
        """The largest element of every window, or the least."""
        reduce: Any = torch.amin if least else torch.amax
        n, whole = len(self.problem.axes), self.whole()
        v = reduce(v, [i - n for i in whole], keepdim=True) if whole else v
        if len(whole) == n:
            return v
        slide = None if v.dtype == torch.int64 else self.slide(True)
        if slide is None:
            return self._by_tables(v, lambda taps, _, dim: reduce(taps, dim))
        v = -v if least else v
        if not slide.plain:
            v, slide = F.pad(v, slide.sides(), value=-math.inf), slide.unpadded()
        y = max_pool(v, slide, False)
        return -y if least else y

    def total(self, v: Tensor) -> Tensor:
        """The sum of every window."""
        n, whole = len(self.problem.axes), self.whole()
        v = v.sum([i - n for i in whole], keepdim=True) if whole else v
        if len(whole) == n:
            return v
        slide = None if v.dtype == torch.float64 else self.slide(False)
        if slide is None:
            return self._by_tables(v, _sum)
        if max(slide.dilation) > 1:
            return weighted(v, slide, torch.ones(slide.window))
        return avg_pool(v, slide, True) * math.prod(slide.window)

    def mean(self, v: Tensor, include: bool) -> Tensor:
        """The mean of every window, its explicit padding counted or not."""
        n, whole = len(self.problem.axes), self.whole()
        v = v.mean([i - n for i in whole], keepdim=True) if whole else v  # these axes then have one element to pool
        if len(whole) == n:
            return v
        slide = None if v.dtype == torch.float64 else self.slide(True)
        if slide is not None and slide.plain and max(slide.dilation) == 1:
            return avg_pool(v, slide, include)
        return self.total(v) / self._divisor(v, include)

    def blurred(self, v: Tensor) -> Tensor | None:
        """The weighted mean of every window; None where torch has no such padding."""
        problem, border = self.problem, self.problem.border or "zeros"
        slide = None if v.dtype == torch.float64 else self.slide(False)
        if slide is None:
            return None
        furthest = [max(pair) for pair in zip(slide.low, slide.high, strict=True)]
        reach = {"reflect": -1, "circular": 0}.get(border)
        if reach is not None and any(far > n + reach for far, n in zip(furthest, problem.windows.sizes, strict=True)):
            return None
        weights = _constant(problem.op.weights(slide.window).reshape(slide.window), v).to(v.dtype)
        if border != "zeros":
            return weighted(v, slide, weights, border)
        y = weighted(v, slide, weights)
        if problem.count_include_pad or not any(furthest):
            return y
        if any(self.changing) and not self.guessed:
            return y / weighted(ones(v, len(slide.window)), slide, weights)
        self.hold([True], "a border of zeros")
        _, valid = problem.windows.bordered_table("zeros")
        inside = np.where(valid, problem.op.weights(slide.window), 0.0).sum(axis=1)
        return y / _constant(inside.reshape(problem.windows.shape), v).to(v.dtype)

    def _divisor(self, v: Tensor, include: bool) -> Any:
        """What the sums of `mean` are divided by: a number, a table, or the sums of ones."""
        problem, scheme = self.problem, self.problem.scheme
        slide = isinstance(scheme, Sliding)
        if slide and not scheme.ceil_mode and (include or not any(map(any, self.padding()))):
            return math.prod(scheme.window)
        if slide and any(self.changing) and not self.guessed:
            return self.total(ones(v, len(problem.axes)))
        self.hold([True], "a mean of windows that differ")
        table = np.ones((), np.int64)
        for i, axis in enumerate(problem.windows.axes):
            column = axis.count + axis.padded if include else axis.count
            table = table[..., None] * (np.ones_like(column) if i in self.whole() else column)
        return _constant(table, v).to(v.dtype)

    def _by_tables(self, v: Tensor, reduce: Callable[[Tensor, Tensor | None, int], Tensor]) -> Tensor:
        """Windows over one axis after the other, each gathered by a table of positions and reduced."""
        self.hold([i not in self.whole() for i in range(len(self.changing))], f"windows of {self.problem.where}")
        n = len(self.problem.axes)
        for i, axis in enumerate(self.problem.windows.axes):
            if i in self.whole() or axis.identity:
                continue
            j, count = np.arange(axis.most), axis.count[:, None]
            table = axis.start[:, None] + axis.step * np.minimum(
                j, count - 1
            )  # the last again, where there is no other
            at = v.ndim - n + i
            taps = v.index_select(at, _constant(table.reshape(-1), v)).unflatten(at, table.shape)
            valid = None
            if not (count == axis.most).all():
                valid = _constant(j < count, v).reshape(*table.shape, *(1,) * (n - 1 - i))
            v = reduce(taps, valid, at + 1)
        return v

    def median(self, v: Tensor) -> Tensor:
        """The definition by values alone, without positions: the sort of both exporters (TopK)."""
        chunk, taps = self._taps(v)
        ranked = taps.values.masked_fill(~taps.valid, math.inf).topk(chunk.valid.shape[1], largest=False).values
        count = chunk.valid.sum(axis=1)
        first = np.arange(len(count)) * chunk.valid.shape[1]
        middle = [_constant(first + rank, v) for rank in (np.maximum(count - 1, 0) // 2, count // 2)]
        low, high = (ranked.flatten(1).index_select(1, at) for at in middle)
        total = low + high
        y = torch.where(total.isinf(), low / 2 + high / 2, total / 2)
        nan = (taps.values.isnan() & taps.valid).any(-1)
        y = self._filled(taps, y.masked_fill(nan, math.nan))
        return y.reshape(self._shape(v))

    def _definition(self, x: Tensor, indices: bool) -> Any:
        problem, xp = self.problem, _Namespace()
        if DTYPES[problem.dtype] != "float" and not problem.op.traits.picks and (self.guessed or problem.op is MEDIAN):
            raise refuse(
                problem.where,
                "negative integers are sorted by no exporter, and divided wrongly by the older one",
                got=f"{problem.op.name} of {problem.dtype}",
                expected="floats" if problem.op is MEDIAN else "floats, or dynamo=True",
                hint="x.to(torch.float32)",
            )
        v = self._moved(x)
        chunk, taps = self._taps(v)
        y = self._filled(taps, problem.op.forward(xp, taps, problem.params))
        y = self._unmoved(y.reshape(self._shape(v)), problem.out_dtype)
        if not indices:
            return y
        table = _constant(chunk.index, x)
        row = torch.arange(len(table), device=x.device) * table.shape[1]
        at = table.reshape(-1)[problem.op.select(xp, taps) + row]
        return y, self._unmoved(at.reshape(self._shape(v)), "int64")

    def _taps(self, v: Tensor) -> tuple[Any, Taps]:
        """Every window's elements, and the tables by which they were gathered."""
        from ._framework import TORCH

        problem = self.problem
        self.hold([True] * len(problem.axes), f"{problem.op.name} over these windows")
        with _untraced():  # constants only
            chunk = next(GenericKernel(problem)._chunks(TORCH, v, all_rows=True))
        planes = v.reshape(-1, math.prod(problem.windows.sizes))
        values = planes.index_select(1, _constant(chunk.index.reshape(-1), v)).reshape(-1, *chunk.index.shape)
        return chunk, replace(chunk.taps, values=_cast(values, getattr(torch, problem.op.wide[problem.dtype])))

    def _filled(self, taps: Taps, y: Tensor) -> Tensor:
        filled = self.problem.border not in (None, "zeros") or not self.problem.windows.any_empty
        return y if filled or self.problem.empty is None else y.masked_fill(taps.count == 0, self.problem.empty)

    def _shape(self, v: Tensor) -> tuple[Any, ...]:
        return *v.shape[: v.ndim - len(self.problem.axes)], *self.problem.windows.shape

    def _dtype(self) -> torch.dtype | None:
        """What the standard forms compute in; None for the definition."""
        problem = self.problem
        if problem.op in (MAX, MIN):
            name = COMPARED[problem.dtype]
        elif {DTYPES[problem.dtype], DTYPES[problem.out_dtype]} == {"float"}:
            name = "float64" if "float64" in (problem.dtype, problem.out_dtype) else "float32"
        else:
            name = "float64" if problem.op is SUM else None  # exact: elements of up to 32 bits
        return None if name is None else getattr(torch, name)

    def _moved(self, x: Tensor) -> Tensor:
        order = self._order()
        return x if order == tuple(sorted(order)) else x.permute(order)

    def _unmoved(self, y: Tensor, dtype: str) -> Tensor:
        order = self._order()
        return _cast(y if order == tuple(sorted(order)) else y.permute(inverse(order)), getattr(torch, dtype))

    def _order(self) -> tuple[int, ...]:
        axes = self.problem.axes
        return tuple(axis for axis in range(len(self.problem.shape)) if axis not in axes) + axes


def _cast(v: Tensor, dtype: torch.dtype) -> Tensor:
    """As `to`, which leaves a node where there is nothing to do."""
    return v if v.dtype == dtype else v.to(dtype)


class _Namespace:
    """torch as the definitions take it, but for a function that takes no symbolic lengths."""

    def __init__(self) -> None:
        from ._framework import TORCH

        self.__dict__.update(vars(TORCH.xp), take_along_axis=lambda x, at, axis: x.gather(axis, at.clamp(min=0)))


def _averaged(call: _Call, v: Tensor) -> Tensor:
    divisor = call.problem.params.divisor
    return call.mean(v, call.problem.count_include_pad) if divisor is None else call.total(v) / divisor


def _normed(call: _Call, v: Tensor) -> Tensor | None:
    params, p = call.problem.params, call.problem.params.p
    if math.isinf(p):
        return call.extreme(v.abs())
    if params.signed:
        terms = v if p == 1 else v * v.abs() ** (p - 1)
    else:
        terms = v * v if p == 2 else v.abs() if p == 1 else v.abs() ** p
    scheme = call.problem.scheme
    if params.rescale and not isinstance(scheme, (Sliding, Global)):
        return None
    if params.rescale and isinstance(scheme, Sliding):
        total = call.mean(terms, False) * math.prod(scheme.window)
    else:
        total = call.total(terms)
    if p == 1:
        return total
    norm = total.abs() if params.signed else total
    norm = norm.sqrt() if p == 2 else norm ** (1 / p)
    return total.sign() * norm if params.signed else norm


FORMS: dict[PoolOp, Callable[[_Call, Tensor], Tensor | None]] = {
    MAX: _Call.extreme,
    MIN: lambda call, v: call.extreme(v, least=True),
    SUM: _Call.total,
    AVG: _averaged,
    LP: _normed,
    BLUR: _Call.blurred,
    MEDIAN: _Call.median,
}
"""By operator: from elements to results. The others have their definition."""


def _sum(taps: Tensor, valid: Tensor | None, dim: int) -> Tensor:
    return (taps if valid is None else taps.masked_fill(~valid, 0)).sum(dim)
