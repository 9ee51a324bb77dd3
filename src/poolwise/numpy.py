"""NumPy: its arrays as a `Framework`."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from .messages import refuse, refuse_type

__all__ = ["NUMPY", "NumpyFramework"]


class NumpyFramework:
    """NumPy arrays (and subclasses that add no meaning, such as memory maps)."""

    name = "numpy"
    xp = np

    def dtype_name(self, x: np.ndarray) -> str:
        return _name(x.dtype)

    def strides(self, x: np.ndarray) -> tuple[int, ...]:
        itemsize = x.itemsize
        return tuple(stride // itemsize for stride in x.strides)

    def device(self, x: np.ndarray) -> str:
        return "cpu"

    def address(self, x: np.ndarray) -> np.ndarray:
        return x  # the compiled kernels ask it themselves: ctypes.data takes as long as pooling a small array

    def empty(self, shape: tuple[int, ...], dtype: str, order: tuple[int, ...], like: np.ndarray) -> np.ndarray:
        return self.maker(shape, dtype, order, like)(like)

    def maker(
        self, shape: tuple[int, ...], dtype: str, order: tuple[int, ...], like: np.ndarray, numpy_memory: bool = True
    ) -> Callable[[np.ndarray], np.ndarray]:
        if order == tuple(range(len(order))):
            if dtype == _name(like.dtype):
                return lambda like: np.empty(shape, like.dtype)
            return lambda like: np.empty(shape, _dtype(dtype))
        lengths, back = [shape[axis] for axis in order], sorted(range(len(order)), key=order.__getitem__)
        kind = like.dtype if dtype == _name(like.dtype) else _dtype(dtype)
        return lambda like: np.empty(lengths, kind).transpose(back)

    def asarray(self, x: np.ndarray, like: np.ndarray) -> np.ndarray:
        return x

    def cast(self, x: np.ndarray, dtype: str) -> np.ndarray:
        return x if dtype == x.dtype.name and x.dtype.isnative else x.astype(_dtype(dtype))

    def check(self, x: np.ndarray, where: str) -> None:
        if isinstance(x, np.ma.MaskedArray):
            raise refuse_type(
                where,
                "a masked array's mask would be ignored",
                got="a numpy.ma.MaskedArray",
                expected="a plain array",
                hint="x.filled(value)",
            )
        if not x.dtype.isnative:
            raise refuse_type(
                where,
                "the array is in foreign byte order",
                got=f"dtype {x.dtype.str}",
                expected="native byte order",
                hint='x.astype(x.dtype.newbyteorder("="))',
            )
        if x.itemsize and (any(stride % x.itemsize for stride in x.strides) or not x.flags.aligned):
            raise refuse(
                where,
                "the array's elements are not aligned in memory",
                got=f"strides of {x.strides} bytes for elements of {x.itemsize}",
                expected="elements at multiples of their size",
                hint="x.copy()",
            )

    def check_out(self, out: Any, x: np.ndarray, where: str) -> None:
        if not isinstance(out, np.ndarray):
            raise refuse_type(
                where, "out is not a NumPy array", got=f"out of type {type(out).__name__}",
                expected="a numpy.ndarray, as x", hint="numpy.empty_like of the result",
            )  # fmt: skip
        self.check(out, where)
        if not out.flags.writeable:
            raise refuse(
                where,
                "out is read-only",
                got="an array that is not writable",
                expected="a writable one",
                hint="out.copy()",
            )
        if np.may_share_memory(out, x):
            raise refuse(
                where,
                "out overlaps the input",
                got="out and x in the same memory",
                expected="memory of its own, since windows are read while the result is written",
                hint="numpy.empty for out, or no out",
            )

    def bounds(self, x: np.ndarray) -> tuple[int, int]:
        return (int(x.min()), int(x.max())) if x.size else (0, -1)

    def scatter(self, values: Any, at: Any, shape: tuple[int, int], like: np.ndarray, duplicates: str) -> np.ndarray:
        flat = np.zeros(shape, like.dtype)
        if values is None:
            return flat
        rows = np.broadcast_to(np.arange(shape[0])[:, None], at.shape)
        if duplicates == "last":
            flat[rows, at] = values  # NumPy assigns in order: of repeated positions the last one stays
        elif duplicates == "sum":
            np.add.at(flat, (rows, at), values)
        else:
            present = np.zeros(shape, bool)
            present[rows, at] = True
            lowest = -np.inf if np.issubdtype(like.dtype, np.inexact) or like.dtype.name == "bfloat16" else None
            flat[present] = np.iinfo(like.dtype).min if lowest is None and like.dtype != bool else lowest or 0
            np.maximum.at(flat, (rows, at), values)
        return flat

    def apply(self, plan: Any, x: np.ndarray, out: np.ndarray | None, finds: str | None) -> Any:
        return plan.answer(self, *plan.kernel.forward(self, x, out, save=finds is not None), finds)

    def deferred(self, x: np.ndarray) -> bool:
        return False

    def defer(self, pooling: Any, request: Any, x: np.ndarray, out: np.ndarray | None) -> Any:
        raise NotImplementedError("the memory of a NumPy array is its value")

    def shortcut(self, plan: Any, x: np.ndarray, finds: str | None) -> Callable[[np.ndarray], Any] | None:
        return None if finds else plan.kernel.shortcut(self, x)


@lru_cache(maxsize=256)
def _name(dtype: np.dtype) -> str:
    """The dtype's name, which NumPy puts together anew every time."""
    return dtype.name


def _dtype(name: str) -> np.dtype:
    try:
        return np.dtype(name)
    except TypeError:  # bfloat16 is NumPy's only once ml_dtypes has registered it
        raise refuse_type(
            "pool",
            f"NumPy has no {name} here",
            got=f"dtype={name!r}",
            expected="one of NumPy's own dtypes",
            hint="import ml_dtypes first, which brings bfloat16 along",
        ) from None


NUMPY = NumpyFramework()
