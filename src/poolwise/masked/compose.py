"""Masked poolings made from others: what does not count becomes the operator's neutral element."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..arrays import Framework
from ..execute import watched
from ..messages import refuse
from ..ops.avg import AVG, AvgParams
from ..ops.blur import BLUR
from ..ops.lp import LP
from ..ops.max import MAX
from ..ops.min import MIN
from ..ops.sum import SUM
from ..problem import Problem
from ..spec import DTYPES, Array, Params, PoolOp, Request, itemsize, pooling

__all__ = ["Call", "recipe_of", "run_request"]

EXACT_IN_FLOAT32 = 1 << 24
"""Numbers up to which float32 counts."""
LARGEST_SCALE = 1 << 30
BLUR_BITS = {"float64": 8}
BLUR_BITS_BELOW = 24
"""By how many powers of two the weight of a window's corner may fall below 1, that a window which has only its corner left
is still as precise as its dtype (float64: nearly): blurs in float64 subtract what they leave out."""


@pooling
def run_request(x: Array, request: Request) -> Request:
    return request


@dataclass(frozen=True)
class Call:
    """One masked call, and the poolings that it is made from."""

    framework: Framework
    request: Request
    problem: Problem
    x: Array
    present: Array
    """True where an element counts: as many axes as `x`, the pooled ones in full, the others in full or of length 1, so
    that a mask for all channels alike is pooled once."""

    def run(self, op: PoolOp, x: Array, params: Params | None = None, **options: Any) -> Array:
        """Another operator over the same windows. Those on padding were refused, or the caller has a value for them."""
        plain = self.request._replace(op=op, params=op.params() if params is None else params, count_include_pad=False)
        plain = plain._replace(dtype=None, border=None, empty=0)
        return run_request(x, plain._replace(**options))

    def number(self, value: float, like: Array) -> Array:
        """A number as an array without axes: one that is written out may be of another dtype."""
        return self.framework.xp.full((), value, dtype=like.dtype, device=like.device)

    def filled(self, value: float) -> Array:
        """`x`, with this where an element does not count. Exactly 0 is the gradient there, whatever `x` holds."""
        return self.framework.xp.where(self.present, self.x, self.number(value, self.x))

    def seen(self) -> Array:
        """True for windows in which something counts."""
        return self.run(MAX, self.present)

    def counts(self) -> Array:
        """How many elements count in each window, in a float dtype that holds it exactly."""
        exact = None if math.prod(self.problem.windows.radix) <= EXACT_IN_FLOAT32 else "float64"
        return self.run(SUM, self.framework.cast(self.present, "float32"), dtype=exact)

    def divisors(self) -> tuple[Array, Array]:
        """What an average divides by, at least 1, and which windows see something."""
        framework, windows = self.framework, self.problem.windows
        total = self.counts()
        seen = total > 0
        if self.problem.count_include_pad:
            padding = windows.divisor(True) - windows.divisor(False)
            lengths = [n if axis in self.problem.axes else 1 for axis, n in enumerate(self.problem.out_shape)]
            total = framework.cast(total, "float64")  # padding may be much wider than what there is to count
            total = total + framework.asarray(padding.astype(np.float64).reshape(lengths), self.x)
        return framework.xp.maximum(total, self.number(1, total)), seen


Answer = tuple[Array, Array]
"""The pooled array, and the windows in which something counts."""


def _extreme(op: PoolOp, dual: PoolOp, sign: int, call: Call) -> Answer:
    """The largest or smallest: the others become the dtype's worst element."""
    xp, dtype = call.framework.xp, call.problem.dtype
    if DTYPES[dtype] != "float":
        ends = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        return call.run(op, call.filled(ends[0 if sign > 0 else 1])), call.seen()
    worst = -sign * math.inf
    y, seen = call.run(op, call.filled(worst)), call.seen()
    if getattr(call.x, "requires_grad", False) and watched.get() is None:
        # Where only -inf counts, an element that does not may be the first of the largest, and would take the gradient.
        # The smallest of the same window is the first -inf that counts.
        tied = seen & (y == worst)
        if _maybe(xp, tied):
            y = xp.where(tied, call.run(dual, call.filled(-worst)), y)
    return y, seen


def _maybe(xp: Any, condition: Array) -> bool:
    """True if it is anywhere; and where nobody can know, under a torch.func.vmap."""
    try:
        return bool(xp.any(condition))
    except RuntimeError:
        return True


def _mean(call: Call) -> Answer:
    problem, framework = call.problem, call.framework
    if problem.params.divisor is not None:
        return call.run(AVG, call.filled(0), problem.params, dtype=call.request.dtype), call.seen()
    divisor, seen = call.divisors()
    if DTYPES[problem.dtype] != "float":
        return _integer_mean(call, framework.cast(divisor, "int64")), seen
    # A sum may overflow where the mean does not. Divided by a power of two it is exact, and no larger than an element.
    scale = 1
    while scale < min(math.prod(problem.windows.radix), LARGEST_SCALE):
        scale *= 2
    wide = "float32" if max(itemsize(problem.dtype), itemsize(problem.out_dtype)) == 2 else "float64"
    part = call.run(AVG, call.filled(0), AvgParams(scale), dtype=wide)
    return framework.cast(part / (divisor / scale), problem.out_dtype), seen


def _integer_mean(call: Call, n: Array) -> Array:
    """As the average's definition: exact, rounded half to even. The sum of 32-bit integers fits 64 bits."""
    problem, framework = call.problem, call.framework
    total = call.run(SUM, call.filled(0), dtype="int64")
    whole, rest = total // n, total % n
    if DTYPES[problem.out_dtype] == "float":
        y = framework.cast(whole, "float64") + framework.cast(rest, "float64") / framework.cast(n, "float64")
    else:
        up = (rest * 2 > n) | ((rest * 2 == n) & (whole % 2 != 0))
        y = whole + framework.cast(up, "int64")
    return framework.cast(y, problem.out_dtype)


def _zeros(call: Call) -> Answer:
    """Sums and norms, to which zeros add nothing."""
    problem = call.problem
    if getattr(problem.params, "rescale", False):
        raise refuse(
            problem.where, "rescale has no meaning with a mask", got=f"params={problem.params}",
            expected="a norm of the elements that count", hint="rescale=False",
        )  # fmt: skip
    return call.run(problem.op, call.filled(0), problem.params, dtype=call.request.dtype), call.seen()


def _blur(call: Call) -> Answer:
    """Normalised convolution: the blurred elements over the blurred mask."""
    framework, xp, problem = call.framework, call.framework.xp, call.problem
    options = {"border": call.request.border, "count_include_pad": call.request.count_include_pad}
    kept = call.run(BLUR, framework.cast(call.present, "float64"), **options)
    total = call.run(BLUR, framework.cast(call.filled(0), "float64"), **options)
    seen = kept > 0
    if problem.count_include_pad:  # the weight of the padding counts, with zeros there
        lengths = [n if axis in problem.axes else 1 for axis, n in enumerate(problem.shape)]
        inside = call.run(BLUR, framework.asarray(np.ones(lengths), call.x), **options)
        kept = kept + (1 - inside)
    return framework.cast(total / xp.where(seen, kept, xp.ones_like(kept)), problem.out_dtype), seen


RECIPES: dict[PoolOp, Callable[[Call], Answer]] = {
    MAX: partial(_extreme, MAX, MIN, 1),
    MIN: partial(_extreme, MIN, MAX, -1),
    AVG: _mean,
    SUM: _zeros,
    LP: _zeros,
    BLUR: _blur,
}


def recipe_of(problem: Problem) -> Callable[[Call], Answer] | None:
    """How the operator is composed, None where it is not."""
    if problem.op is AVG and DTYPES[problem.dtype] != "float":
        fits = problem.out_dtype in (problem.dtype, "int64") or DTYPES[problem.out_dtype] == "float"
        return _mean if itemsize(problem.dtype) < 8 and fits else None
    if problem.op is BLUR:
        bits = sum(axis.window - 1 for axis in problem.windows.axes)
        return _blur if bits <= BLUR_BITS.get(problem.dtype, BLUR_BITS_BELOW) else None
    return RECIPES.get(problem.op)
