"""C++ kernels for arrays in the CPU's memory."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np

from ..arrays import Framework, dense_strides, memory_order
from ..geometry import AxisWindows
from ..messages import refuse, shown
from ..problem import Problem
from ..spec import DTYPES, itemsize
from .protocol import Kernel, Residual

try:
    from .. import _core
except ImportError as error:  # a source tree without a build, or a platform without a wheel
    _core, _missing = None, str(error)

__all__ = ["CPU", "get_num_threads", "set_num_threads"]

Array = Any
ROWS = ("max", "min", "avg", "sum", "lp", "median", "blur")
"""Operators that have a kernel."""
MOST_AXES = 16
SMALL = 1 << 15
"""Elements of windows below which one thread is enough."""
HUGE = 1 << 22
"""Bytes from which an array is worth huge pages; NumPy's own limit."""
RECYCLED = 1 << 22
"""Bytes from which the C library may fetch an array's memory anew each time: always from 32 MiB on, below by what else is freed."""
MOST_RANKS = 1 << 32
"""Elements of a plane whose positions the gradient of a median can hold."""
MOST_ROWS, MOST_EDGE_TAPS, LEAST_WEIGHT = 1 << 16, 1 << 24, 1000
"""Limits of a blur: rows of input in a window, table entries for the windows that an edge cuts, and the power of two by
which its smallest weight may fall."""

_threads: int | None = None


def set_num_threads(threads: int | None) -> None:
    """How many threads a call may use; `None` follows torch where it is loaded, the environment otherwise.

    Where torch is loaded, and has no more threads than this, a call runs on its threads: they spin for a while after each of
    torch's operations, and others would wait for the cores. ``POOLWISE_THREADING=own`` in the environment keeps both apart.
    """
    global _threads
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise refuse(
            "set_num_threads",
            "this is not a number of threads",
            got=f"threads={shown(threads)}",
            expected="an int of at least 1, or None",
            hint="set_num_threads(2)",
        )
    _threads = threads


def get_num_threads() -> int:
    """How many threads a call may use: what was set, else torch's number, ``POOLWISE_NUM_THREADS`` or
    ``OMP_NUM_THREADS``, else the CPUs that this process may run on."""
    if _threads is not None:
        return _threads
    import sys

    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):
        return torch.get_num_threads()
    return _default_threads()


@lru_cache(maxsize=1)
def _default_threads() -> int:
    for name in ("POOLWISE_NUM_THREADS", "OMP_NUM_THREADS"):
        value = os.environ.get(name, "")
        if value.isdigit() and int(value) > 0:
            return int(value)
    available = getattr(os, "sched_getaffinity", None)
    return max(len(available(0)) if available else os.cpu_count() or 1, 1)


class Cpu:
    """The compiled kernels."""

    name = "cpu"

    def why_not(self, problem: Problem, device: str) -> str | None:
        op, source, result = problem.op.name, problem.dtype, problem.out_dtype
        if _core is None:
            return f"the compiled kernels are not installed ({_missing})"
        if device != "cpu":
            return f"the array is on {device}, the kernels read the CPU's memory"
        if op not in ROWS:
            return f"no kernel for {op}"
        if source != result and result not in ("float32", "float64", "int64"):
            return f"no kernel from {source} to {result}"
        if source == "float64" and result == "float32":
            return "no kernel from float64 to float32"
        if problem.windows.any_empty:
            return "windows that see padding only are left to the definition"
        if len(problem.shape) > MOST_AXES:
            return f"more than {MOST_AXES} axes"
        if op == "median" and DTYPES[source] == "float" and math.prod(problem.shape) > MOST_RANKS:
            return f"more than {MOST_RANKS} elements"
        return _why_no_blur(problem) if op == "blur" else None

    def kernel(self, problem: Problem) -> Kernel:
        return CpuKernel(problem)


@dataclass(frozen=True)
class CpuKernel:
    """One problem's kernels, one per memory layout that its arrays come in."""

    problem: Problem

    @cached_property
    def small(self) -> bool:
        """True where a call is not worth asking for how many threads it may use."""
        return self.problem.planes * self.problem.windows.elements < SMALL

    def threads(self) -> int:
        return 1 if self.small else get_num_threads()

    def forward(self, framework: Framework, x: Array, out: Array | None, save: bool) -> tuple[Array, Residual | None]:
        problem = self.problem
        native, order = _layout(problem, framework.strides(x))
        y = _empty(framework, problem.out_shape, problem.out_dtype, order, x) if out is None else out
        if save and problem.op.traits.saves == "offsets":
            offsets = _empty(framework, problem.out_shape, problem.offset_dtype, order, x)
            native.forward_offsets(
                framework.address(x), framework.address(y), framework.address(offsets), self.threads()
            )
            return y, Residual((offsets,), order)
        native.forward(framework.address(x), framework.address(y), self.threads())
        if not save:
            return y, None
        return y, Residual((x, y) if problem.op.traits.saves == "input" else (), order)

    def shortcut(self, framework: Framework, x: Array) -> Callable[[Array], Array] | None:
        problem = self.problem
        if DTYPES[problem.out_dtype] == "integer" and problem.op.casts:
            return None  # an integer sum may fail, which the long way words
        native, order = _layout(problem, framework.strides(x))
        run, address, shape, dtype = native.forward, framework.address, problem.out_shape, problem.out_dtype
        make = _maker(framework, shape, dtype, order, x)
        threads = self.threads

        def pool(x: Array) -> Array:
            y = make(x)
            run(address(x), address(y), threads())
            return y

        return pool

    def backward(self, framework: Framework, gy: Array, residual: Residual) -> Array:
        problem, order = self.problem, residual.order
        native = _dense_native(problem, order)
        gx = _empty(framework, problem.shape, problem.dtype, order, gy)
        gy = self._dense(framework, gy, problem.out_shape, problem.out_dtype, order)
        ends = framework.address(gx), self.threads()
        saves = problem.op.traits.saves
        if saves == "nothing":
            native.backward_linear(framework.address(gy), *ends)
        elif saves == "offsets":
            native.backward_select(framework.address(gy), framework.address(residual.arrays[0]), *ends)
        else:
            x = self._dense(framework, residual.arrays[0], problem.shape, problem.dtype, order)
            if problem.op.name == "median":
                native.backward_median(framework.address(x), framework.address(gy), *ends)
                return gx
            y = self._dense(framework, residual.arrays[1], problem.out_shape, problem.dtype, order)
            native.backward_lp(framework.address(x), framework.address(y), framework.address(gy), *ends)
        return gx

    def indices(self, framework: Framework, residual: Residual) -> Array:
        problem, order = self.problem, residual.order
        (offsets,) = residual.arrays
        flat = _empty(framework, problem.out_shape, "int64", order, offsets)
        native = _dense_native(problem, order)
        native.offsets_to_indices(framework.address(offsets), framework.address(flat), self.threads())
        return flat

    def _dense(
        self, framework: Framework, x: Array, shape: tuple[int, ...], dtype: str, order: tuple[int, ...]
    ) -> Array:
        """The array itself where it is dense in this memory order, else a copy that is."""
        expected = dense_strides(shape, order)
        actual = framework.strides(x)
        if framework.dtype_name(x) == dtype and (
            actual == expected or all(a == e or n == 1 for a, e, n in zip(actual, expected, shape, strict=True))
        ):
            return x
        copy = framework.empty(shape, dtype, order, x)
        copy[...] = framework.cast(x, dtype)
        return copy


def _empty(framework: Framework, shape: tuple[int, ...], dtype: str, order: tuple[int, ...], like: Array) -> Array:
    """An array for a kernel to write to."""
    if math.prod(shape) * itemsize(dtype) < HUGE:
        return framework.empty(shape, dtype, order, like)
    return _maker(framework, shape, dtype, order, like)(like)


def _maker(
    framework: Framework, shape: tuple[int, ...], dtype: str, order: tuple[int, ...], like: Array
) -> Callable[[Array], Array]:
    """Makes arrays for a kernel to write to. Page faults cost as much as the pooling: large arrays get huge pages, for which
    NumPy asks itself, and the largest lie in memory that is used again."""
    size = math.prod(shape) * itemsize(dtype)
    if size >= RECYCLED and _recycles():
        return partial(_core.recycled, framework.maker(shape, dtype, order, like, numpy_memory=True))
    make = framework.maker(shape, dtype, order, like)
    if size < HUGE or framework.name == "numpy":
        return make

    def advised(like: Array) -> Array:
        x = make(like)
        _core.advise_huge_pages(framework.address(x), size)
        return x

    return advised


@lru_cache(maxsize=1)
def _recycles() -> bool:
    """False where the user said not to, or wants no huge pages, which such memory is made of."""
    return os.environ.get("POOLWISE_RECYCLE") != "0" and os.environ.get("NUMPY_MADVISE_HUGEPAGE") != "0"


@lru_cache(maxsize=1024)
def _layout(problem: Problem, strides: tuple[int, ...]) -> tuple[Any, tuple[int, ...]]:
    """The compiled kernel for arrays with these strides, and the memory order of its results."""
    order = memory_order(problem.shape, strides, problem.axes)
    return _native(problem, strides, order), order


@lru_cache(maxsize=1024)
def _dense_native(problem: Problem, order: tuple[int, ...]) -> Any:
    """The compiled kernel for dense arrays in this memory order, which gradients are."""
    return _native(problem, dense_strides(problem.shape, order), order)


@lru_cache(maxsize=1024)
def _native(problem: Problem, strides: tuple[int, ...], order: tuple[int, ...]) -> Any:
    """The compiled kernel for a problem and one memory layout.

    The layout becomes ``[batch..., axes..., inner]``: axes outside the pooled ones in memory are batch, those inside
    are one run of elements that are pooled side by side (channels-last), and those between are pooled with a
    window of one.
    """
    pooled = dict(zip(problem.axes, problem.windows.axes, strict=True))
    places = [place for place, axis in enumerate(order) if axis in pooled]
    first, last = places[0], places[-1]
    batch = [(problem.shape[axis], strides[axis]) for axis in order[:first]]
    axes = []
    for axis in order[first : last + 1]:
        axes.append(_axis(problem, axis, pooled.get(axis), strides[axis]))
    inner = 1, 1
    tail = [axis for axis in order[last + 1 :] if problem.shape[axis] != 1]
    if tail:
        inner = problem.shape[tail[-1]], strides[tail[-1]]
        for axis in reversed(tail[:-1]):
            if strides[axis] == inner[0] * inner[1] and len(axes) == last + 1 - first:
                inner = inner[0] * problem.shape[axis], inner[1]
            else:
                axes.insert(last + 1 - first, _axis(problem, axis, None, strides[axis]))
    filters = []
    if problem.op.weights is not None:
        whole = [(_filter(problem, pooled[axis]) if axis in pooled else None) for axis in order[first : last + 1]]
        filters = [taps or (np.ones(1).tobytes(), b"") for taps in whole + [None] * (len(axes) - len(whole))]
    params = problem.params
    return _core.Kernel(
        problem.op.name,
        problem.dtype,
        problem.out_dtype,
        batch,
        axes,
        inner,
        p=getattr(params, "p", 2.0),
        signed=getattr(params, "signed", False),
        rescale=float(problem.windows.whole) if getattr(params, "rescale", False) else 0.0,
        divisor=float(getattr(params, "divisor", None) or 0.0),
        count_padding=problem.count_include_pad,
        filters=filters,
    )


def _axis(problem: Problem, axis: int, windows: Any, stride: int) -> tuple:
    """One axis as the compiled kernel takes it."""
    size = problem.shape[axis]
    if windows is None:
        return size, stride, size, 1, 1, 1, 0, size, 0, b"", 1, 0
    index_stride = math.prod(problem.shape[other] for other in problem.axes if other > axis)
    edge = np.ascontiguousarray(windows.edge[:, :3]).tobytes()
    form = windows.step, windows.stride, windows.window, windows.first, windows.last, windows.base
    return size, stride, windows.outputs, *form, edge, windows.most, index_stride


def _filter(problem: Problem, windows: AxisWindows) -> tuple[bytes, bytes]:
    """The weights of a whole window along one axis, and the positions that the windows read which an edge cuts."""
    edge = replace(windows, outputs=len(windows.edge), first=0, last=0)
    positions = np.ascontiguousarray(edge.positions(problem.border or "zeros"), np.int64)
    return problem.op.weights((windows.window,)).tobytes(), positions.tobytes()


def _why_no_blur(problem: Problem) -> str | None:
    axes = problem.windows.axes
    if math.prod(axis.window for axis in axes[:-1]) > MOST_ROWS:
        return f"more than {MOST_ROWS} rows in a window"
    if any(len(axis.edge) * axis.window > MOST_EDGE_TAPS for axis in axes):
        return "too many windows that an edge cuts"
    if sum(axis.window - 1 for axis in axes) > LEAST_WEIGHT:
        return f"weights below 2**-{LEAST_WEIGHT}"
    return None


CPU = Cpu()
