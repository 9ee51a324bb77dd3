"""Which elements count: the mask, checked and given the array's axes, and NaN."""

from __future__ import annotations

from typing import Any

from ..arrays import Framework, framework_of
from ..messages import refuse, refuse_type, shown
from ..problem import Problem
from ..spec import DTYPES, Array

__all__ = ["elements_that_count"]


def elements_that_count(framework: Framework, problem: Problem, x: Array, mask: Any, nan: Any) -> Array | None:
    """Where an element counts, as `Call.present`; None where all do."""
    if not (isinstance(nan, str) and nan in ("propagate", "omit")):
        raise refuse(
            problem.where,
            "nan is unknown",
            got=f"nan={shown(nan)}",
            expected="'propagate' or 'omit'",
            hint='nan="omit"',
        )
    present = None if mask is None else _aligned(framework, problem, x, mask)
    if nan == "propagate" or DTYPES[problem.dtype] != "float":
        return present
    real = x == x  # false for NaN alone, in one pass
    return real if present is None else present & real


def _aligned(framework: Framework, problem: Problem, x: Array, mask: Any) -> Array:
    """The mask with the axes of `x`, the pooled ones in full."""
    where, shape = problem.where, problem.shape
    beside = type(mask) is type(x) or (hasattr(mask, "dtype") and framework_of(mask, where) is framework)
    if not beside or getattr(mask, "device", None) != getattr(x, "device", None):
        raise refuse_type(
            where, "the mask is not an array beside x", got=f"mask={shown(mask, 40)} of type {type(mask).__name__}",
            expected=f"a bool array of {framework.name}, where x is", hint="an array of the same kind and device",
        )  # fmt: skip
    framework.check(mask, where)
    if framework.dtype_name(mask) != "bool":
        raise refuse_type(
            where, "the mask is not of bools", got=f"a mask of {framework.dtype_name(mask)}",
            expected="bool: True where the element counts", hint="mask=mask != 0",
        )  # fmt: skip
    lengths = tuple(mask.shape)
    if len(lengths) == len(problem.axes) != len(shape):
        own = dict(zip(problem.axes, lengths, strict=True))
        lengths = tuple(own.get(axis, 1) for axis in range(len(shape)))
    if len(lengths) != len(shape) or any(m not in (1, n) for m, n in zip(lengths, shape, strict=True)):
        pooled = tuple(shape[axis] for axis in problem.axes)
        raise refuse(
            where, "the mask does not fit the array", got=f"a mask of shape {tuple(mask.shape)} for an array of {shape}",
            expected=f"{len(shape)} axes, each as long as that of x or of length 1; or the pooled axes alone, {pooled}",
            hint="mask[:, None], where an axis of x is missing: (N, L) becomes (N, 1, L)",
        )  # fmt: skip
    full = tuple(n if axis in problem.axes else m for axis, (m, n) in enumerate(zip(lengths, shape, strict=True)))
    return framework.xp.broadcast_to(framework.xp.reshape(mask, lengths), full)
