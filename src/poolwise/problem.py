"""The one validation: from what a user typed to a `Problem`, or an error, before any array is touched.

Every front end and every backend goes through it. It looks at shapes, dtypes and integers only, allocates nothing that
grows with the window, and takes well under a millisecond to refuse.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from .arguments import check_filter, choice, empty_value, flag, out_dtype, resolve
from .geometry import INTEGER_LIMIT, Scheme, Windows, offset_dtype
from .messages import refuse, refuse_type
from .spec import Params, PoolOp, Request

__all__ = ["Pooling", "Problem", "state"]

BORDERS = ("reflect", "replicate", "circular", "zeros")


@dataclass(frozen=True)
class Pooling:
    """What is to be done to arrays of one dtype and number of axes, whatever their lengths."""

    where: str
    op: PoolOp
    params: Params
    dtype: str
    out_dtype: str
    axes: tuple[int, ...]
    """The pooled axes, increasing."""
    scheme: Scheme
    count_include_pad: bool
    border: str | None
    empty: float | None

    def over(self, shape: tuple[int, ...]) -> Problem:
        """The problem that an array of this shape poses, or a clear refusal."""
        return _problem(self, shape)

    def outputs(self, shape: Any) -> list[Any]:
        """The result's shape, from lengths that may be symbols."""
        lengths = list(shape)
        for index, axis in enumerate(self.axes):
            lengths[axis] = self.scheme.outputs_on(shape[axis], index)
        return lengths


@dataclass(frozen=True, eq=False)
class Problem(Pooling):
    """A pooling call that makes sense: what every backend is handed. Equal problems are one object."""

    shape: tuple[int, ...]
    windows: Windows

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @cached_property
    def out_shape(self) -> tuple[int, ...]:
        """The result's shape."""
        shape = list(self.shape)
        for axis, outputs in zip(self.axes, self.windows.shape, strict=True):
            shape[axis] = outputs
        return tuple(shape)

    @cached_property
    def offset_dtype(self) -> str:
        """Dtype of compact offsets inside the windows."""
        return offset_dtype(self.windows.radix)

    @cached_property
    def planes(self) -> int:
        """How many planes are pooled alike."""
        return math.prod(n for axis, n in enumerate(self.shape) if axis not in self.axes)

    @property
    def operations(self) -> int:
        """Comparisons and arithmetic operations of the definition; elements on padding cost nothing."""
        return int(self.planes * self.windows.elements * self.op.traits.flops)


def state(request: Request, ndim: int, dtype: str) -> Pooling:
    """What a request asks for, of arrays of this many axes and this dtype, or a clear refusal."""
    where, op = request.where, request.op
    if dtype not in op.wide:
        raise refuse_type(
            where,
            "this dtype does not pool",
            got=f"an array of {dtype}",
            expected=f"one of {', '.join(op.wide)}",
            hint=f'x.astype("{"float32" if "float32" in op.wide else next(iter(op.wide))}")',
        )
    axes, scheme = resolve(request, ndim)
    result = out_dtype(request, dtype)
    border = choice(where, "border", request.border, BORDERS) if op.weights else None
    include = flag(where, "count_include_pad", request.count_include_pad)
    empty = None if request.empty is None else empty_value(where, request.empty, result)
    if border is not None:
        check_filter(where, scheme)
    return Pooling(where, op, request.params, dtype, result, axes, scheme, include, border, empty)


@lru_cache(maxsize=1024)
def _problem(pooling: Pooling, shape: tuple[int, ...]) -> Problem:
    where = pooling.where
    for axis in pooling.axes:
        if shape[axis] < 1:
            raise refuse(
                where,
                f"axis {axis} is empty",
                got=f"an array of shape {shape}",
                expected="at least one element on every pooled axis",
                hint="other axes=, or an array with elements",
            )
    allow_empty = pooling.empty is not None or pooling.border not in (None, "zeros")
    windows = Windows(
        tuple(
            pooling.scheme.axis(shape[axis], index, where=where, axis=axis, allow_empty=allow_empty)
            for index, axis in enumerate(pooling.axes)
        )
    )
    problem = Problem(**vars(pooling), shape=shape, windows=windows)
    if math.prod(problem.out_shape) * 8 > INTEGER_LIMIT or math.prod(shape) * 8 > INTEGER_LIMIT:
        raise refuse(
            where,
            "the result's size overflows 64-bit integers",
            got=f"an output of shape {problem.out_shape}",
            expected="fewer than 2**60 elements",
            hint="less padding, a larger stride or a smaller output size",
        )
    return problem
