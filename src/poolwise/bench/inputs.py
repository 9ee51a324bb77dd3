"""The arrays of one cell, made once and shared by everybody who can read them where they lie."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from .case import Case

__all__ = ["Inputs", "float32_of", "numpy_dtype", "stored"]

Array = Any


def numpy_dtype(name: str) -> Any:
    """NumPy's dtype by name; bfloat16 is ml_dtypes' (an ImportError where it is not installed)."""
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def stored(x: Array, layout: str) -> Array:
    """The same values, ``(batch, channels, *spatial)`` to the eye, laid out in memory as said."""
    if layout == "first":
        return np.ascontiguousarray(x)
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def float32_of(x: Array) -> Array:
    """bfloat16 and float16 as float32, exactly; others as they are."""
    return x.astype(np.float32) if x.dtype.itemsize == 2 and x.dtype.kind not in "iu" else x


class Inputs:
    """Input and cotangent of a case as NumPy arrays, in either layout; what a layout costs is never timed.

    Floats are normal, so that sums cancel and a hidden float16 accumulator shows; integers use their whole range
    where elements are picked, and stay small where they are summed.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        rng = np.random.default_rng(zlib.crc32(case.name.encode()))
        kind = numpy_dtype(case.dtype)
        if kind.kind in "iu":
            low, high = (0, 100) if case.op == "sum" else (np.iinfo(kind).min, np.iinfo(kind).max)
            x = rng.integers(low, high, case.shape, kind, endpoint=True)
            gy = None
        else:
            x = rng.standard_normal(case.shape, np.float32).astype(kind)
            needs = case.mode in ("backward", "both")
            gy = rng.standard_normal(case.out_shape, np.float32).astype(kind) if needs else None
        self._x: dict[str, Array] = {case.layout: stored(x, case.layout)}
        self._gy: dict[str, Array] = {} if gy is None else {case.layout: stored(gy, case.layout)}

    def _get(self, kept: dict[str, Array], layout: str | None) -> Array:
        layout = layout or self.case.layout
        if layout not in kept:
            kept[layout] = stored(next(iter(kept.values())), layout)
        return kept[layout]

    def x(self, layout: str | None = None) -> Array:
        """The input, in the case's layout or another."""
        return self._get(self._x, layout)

    def gy(self, layout: str | None = None) -> Array:
        """The cotangent."""
        return self._get(self._gy, layout)

    def torch_x(self, layout: str | None = None) -> Any:
        """The input as a torch tensor over the same memory."""
        return _tensor(self.x(layout))

    def torch_gy(self, layout: str | None = None) -> Any:
        """The cotangent as a torch tensor over the same memory."""
        return _tensor(self.gy(layout))


def _tensor(x: Array) -> Any:
    import torch

    if x.dtype.name == "bfloat16":
        return torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(x)
