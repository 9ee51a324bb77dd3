"""Whose array is it? Frameworks are recognised without importing them; each one answers the same few questions."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from .messages import refuse, refuse_type, shown

__all__ = ["Framework", "dense_strides", "framework_of", "inverse", "memory_order"]

Array = Any


class Framework(Protocol):
    """What a framework must say about its arrays. `name` is what users call it."""

    name: str
    xp: Any
    """Its array-API namespace."""

    def dtype_name(self, x: Array) -> str:
        """``"float32"``."""
        ...

    def strides(self, x: Array) -> tuple[int, ...]:
        """In elements."""
        ...

    def device(self, x: Array) -> str:
        """``"cpu"``, ``"cuda"``, ..."""
        ...

    def address(self, x: Array) -> Any:
        """Where the first element is, for arrays on the CPU: a number, or what the compiled kernels take for one."""
        ...

    def empty(self, shape: tuple[int, ...], dtype: str, order: tuple[int, ...], like: Array) -> Array:
        """A new dense array whose axes lie in memory in this order, outermost first."""
        ...

    def maker(
        self, shape: tuple[int, ...], dtype: str, order: tuple[int, ...], like: Array, numpy_memory: bool = False
    ) -> Callable[[Array], Array]:
        """`empty` as a function of `like` alone, for arrays of equal dtype and device: quicker from the second on. Their
        memory is the framework's own, or NumPy's."""
        ...

    def asarray(self, x: np.ndarray, like: Array) -> Array:
        """A NumPy array on the device of another."""
        ...

    def cast(self, x: Array, dtype: str) -> Array:
        """To a dtype by name."""
        ...

    def check(self, x: Array, where: str) -> None:
        """Refuse arrays that pooling would misread."""
        ...

    def check_out(self, out: Array, x: Array, where: str) -> None:
        """Refuse an `out` that is not this framework's, not writable, or shares memory with the input."""
        ...

    def bounds(self, x: Array) -> tuple[int, int]:
        """The least and the largest of integers; (0, -1) where there are none, or nobody can know yet."""
        ...

    def scatter(self, values: Any, at: Any, shape: tuple[int, int], like: Array, duplicates: str) -> Array:
        """Rows of values to their positions in rows of zeros; values None for no values."""
        ...

    def apply(self, plan: Any, x: Array, out: Array | None, finds: str | None) -> Any:
        """Run a plan on an array, with the framework's autograd where it has one."""
        ...

    def deferred(self, x: Array) -> bool:
        """True for arrays whose memory is not their value, which no plan can be run on as they are."""
        ...

    def defer(self, pooling: Any, request: Any, x: Array, out: Array | None) -> Any:
        """Hand a call on such an array to the framework, to be run, mapped or recorded as it sees fit."""
        ...

    def shortcut(self, plan: Any, x: Array, finds: str | None) -> Callable[[Array], Any] | None:
        """A function that does what `apply` does, without `out`, for arrays of which all is equal but the address; None
        where there is no quicker one."""
        ...


def framework_of(x: Array, where: str) -> Framework:
    """The framework of an array, or a `TypeError` that says which are served."""
    if isinstance(x, np.ndarray):
        from .numpy import NUMPY

        return NUMPY
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        from .torch._framework import TORCH

        return TORCH
    raise refuse_type(
        where,
        "this is not an array that pools",
        got=f"{shown(x, 60)} of type {type(x).__module__}.{type(x).__qualname__}",
        expected="a NumPy array or a torch tensor",
        hint="numpy.asarray(x)",
    )


def memory_order(shape: tuple[int, ...], strides: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """Axes from outermost to innermost in memory, as results are laid out too.

    C order where the array is in C order, and wherever the pooled axes do not lie in their own order: windows are
    scanned in C order, and a kernel walks memory in this one. Axes of length 1 have meaningless strides and stay
    beside their neighbours.
    """
    c_order = tuple(range(len(shape)))
    expected = 1
    for axis in reversed(c_order):
        if shape[axis] != 1:
            if strides[axis] != expected:
                break
            expected *= shape[axis]
    else:
        return c_order
    if 0 in strides:  # a broadcast array: repeated elements have no order of their own
        return c_order
    order = tuple(sorted(c_order, key=lambda axis: -abs(strides[axis])))
    pooled = [axis for axis in order if axis in axes]
    return order if pooled == sorted(pooled) else c_order


def inverse(order: tuple[int, ...]) -> tuple[int, ...]:
    """The permutation that undoes another."""
    return tuple(sorted(range(len(order)), key=order.__getitem__))


@lru_cache(maxsize=1024)
def dense_strides(shape: tuple[int, ...], order: tuple[int, ...]) -> tuple[int, ...]:
    """Strides (elements) of a dense array whose axes lie in memory in this order, outermost first."""
    strides, stride = [0] * len(shape), 1
    for axis in reversed(order):
        strides[axis], stride = stride, stride * shape[axis]
    return tuple(strides)


def check_out(framework: Framework, problem: Any, x: Array, out: Array, order: tuple[int, ...]) -> None:
    """Refuse an `out` that the result would not fit exactly."""
    where = problem.where
    framework.check_out(out, x, where)
    got = (tuple(out.shape), framework.dtype_name(out))
    if got != (problem.out_shape, problem.out_dtype):
        raise refuse(
            where,
            "out does not fit the result",
            got=f"out of shape {got[0]} and dtype {got[1]}",
            expected=f"shape {problem.out_shape} and dtype {problem.out_dtype}",
            hint="an out of that shape and dtype, or none",
        )
    expected = dense_strides(problem.out_shape, order)
    actual = framework.strides(out)
    if 0 not in problem.out_shape and any(
        actual[axis] != expected[axis] for axis in order if problem.out_shape[axis] != 1
    ):
        raise refuse(
            where,
            "out is laid out differently from the result",
            got=f"out with strides {actual} (elements)",
            expected=f"a dense array with strides {expected}",
            hint="an out made like the result of a call without out=",
        )
