"""Masked pooling by the definition: windows gathered, and of each only the elements that count handed to the operator.

For operators that no composition of poolings expresses (the median, an operator of one's own). Hungry, like the generic
backend, whose tables and chunks it uses.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import Framework
from ..backends.generic import Chunk, GenericKernel
from ..spec import Taps

__all__ = ["Gathered"]

Array = Any


class Gathered(GenericKernel):
    """One problem's definition over windows that are sparse."""

    @np.errstate(all="ignore")  # NaN and infinities are values here, nothing to warn of
    def masked(self, framework: Framework, x: Array, present: Array, fill: float) -> Array:
        """The result; `present` has the shape of `x`, windows without any such element give `fill`.

        In operations that the framework can differentiate.
        """
        problem, xp = self.problem, framework.xp
        if not problem.planes:
            return framework.empty(problem.out_shape, problem.out_dtype, tuple(range(len(problem.shape))), x)
        planes, there = self._planes(framework, x), self._planes(framework, present)
        at_once, results = self._planes_at_once(), []
        for start in range(0, problem.planes, at_once):
            rows = slice(start, min(start + at_once, problem.planes))
            parts = [
                self._pooled(framework, planes[rows], there[rows], chunk, fill) for chunk in self._chunks(framework, x)
            ]
            results.append(xp.concat(parts, axis=1))
        return self._unmoved(framework, xp.concat(results, axis=0), problem.out_shape)

    def _pooled(self, framework: Framework, planes: Array, there: Array, chunk: Chunk, fill: float) -> Array:
        problem, xp = self.problem, framework.xp
        index = framework.asarray(chunk.index.reshape(-1), planes)
        values = self._gather(framework, planes, chunk).values
        present = chunk.taps.valid & xp.reshape(xp.take(there, index, axis=1), tuple(values.shape))
        taps, seen = _packed(xp, chunk.taps, values, present, problem.count_include_pad)
        y = xp.reshape(problem.op.forward(xp, taps, problem.params), tuple(seen.shape))
        return self._narrow(framework, xp.where(seen, y, xp.full_like(y, fill)))


def _packed(xp: Any, dense: Taps, values: Array, present: Array, count_padding: bool) -> tuple[Taps, Array]:
    """Taps as operators expect them, each plane's windows as windows of their own, and which of them see anything.

    `values` and `present` are ``[planes, outputs, taps]``. Elements that count come first, in scan order, as the first
    tap of a window is promised to be valid; a window without any gets a zero, so that nothing divides by its count.
    """
    count = xp.sum(xp.astype(present, xp.int64), axis=-1)
    seen = count > 0
    if dense.weight is not None:
        weight = xp.where(present, dense.weight, xp.zeros_like(dense.weight))
        kept = xp.sum(weight, axis=-1)
        seen = kept > 0
        padding = dense.divisor - xp.sum(dense.weight, axis=-1) if count_padding else xp.zeros_like(dense.divisor)
        divisor = xp.where(seen, kept + padding, xp.ones_like(kept))
    else:
        weight = None
        divisor = xp.where(seen, dense.divisor - dense.count + count, xp.ones_like(count))
    order = xp.argsort(xp.astype(~present, xp.uint8), axis=-1, stable=True)

    def pack(array: Array) -> Array:
        packed = xp.take_along_axis(array, order, axis=-1)
        return xp.reshape(packed, (-1, packed.shape[-1]))

    first = xp.arange(present.shape[-1], device=present.device) == 0
    # Where an element does not count its value must not be met at all: a gradient of 0 times infinity is NaN.
    taps = Taps(
        values=pack(xp.where(present, values, xp.zeros_like(values))),
        valid=pack(present) | (xp.reshape(count == 0, (-1, 1)) & first),
        count=xp.reshape(xp.where(count > 0, count, xp.ones_like(count)), (-1,)),
        divisor=xp.reshape(divisor, (-1,)),
        weight=None if weight is None else pack(weight),
        whole=dense.whole,
        rounds=dense.rounds,
    )
    return taps, seen
