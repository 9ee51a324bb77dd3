"""JAX: `lax.reduce_window` and strided slices under jit, in both layouts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..case import FLOATS, Case
from ..inputs import Inputs
from ..oracle import binomial, divisor_of, highest, lowest, tap_slices
from .base import Task, Unable

__all__ = ["Jax"]

Array = Any


class Jax:
    """XLA's CPU backend. It takes as many threads as the process has CPUs, which the benchmark limits beforehand."""

    name, package = "jax", "jax"

    def start(self, threads: int) -> str:
        """Import it with 64-bit dtypes on."""
        import jax

        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_enable_x64", True)
        return jax.__version__

    def prepare(self, case: Case, inputs: Inputs) -> Sequence[Task]:
        """`reduce_window` and slices, channels first and last."""
        if case.mode == "indices":
            raise Unable("reduce_window gives no positions")
        if case.op == "median":
            raise Unable("no windowed median")
        if case.kind == "adaptive" and any(n % m for n, m in zip(case.spatial, case.window, strict=True)):
            raise Unable("no adaptive pooling, and the bins are not of one size")
        tasks = []
        for layout in dict.fromkeys((case.layout, "first", "last")):
            if layout == "last" and case.shape[1] == 1:
                continue
            tasks += [_task(case, inputs, layout, label, function) for label, function in _functions(case, layout)]
        return tasks


def _task(case: Case, inputs: Inputs, layout: str, label: str, function: Callable[[Array], Array]) -> Task:
    import jax

    def physical(x: np.ndarray) -> np.ndarray:
        return np.moveaxis(x, 1, -1) if layout == "last" else x

    def read(y: Array) -> tuple[np.ndarray, ...]:
        y = np.asarray(y[1] if isinstance(y, tuple) else y)
        return (np.moveaxis(y, -1, 1) if layout == "last" else y,)

    label = f"{label}, {'NHWC' if layout == 'last' else 'NCHW'}"
    x = jax.device_put(physical(inputs.x(layout)))
    wait = jax.block_until_ready
    if case.mode == "forward":
        jitted = jax.jit(function)
        return Task(label, lambda: wait(jitted(x)), read)
    gy = jax.device_put(physical(inputs.gy(layout)))
    if case.mode == "backward":
        _, pullback = jax.vjp(function, x)
        pull = jax.jit(lambda back, g: back(g)[0])
        return Task(label, lambda: wait(pull(pullback, gy)), read)

    def step(x: Array, gy: Array) -> tuple[Array, Array]:
        y, back = jax.vjp(function, x)
        return y, back(gy)[0]

    both = jax.jit(step)
    return Task(label, lambda: wait(both(x, gy)), read)


def _combine(case: Case) -> tuple[Any, Any, float]:
    import jax.numpy as jnp
    from jax import lax

    kind = np.dtype(case.dtype) if case.dtype not in FLOATS else np.dtype("float32")
    if case.op == "max":
        return lax.max, jnp.max, lowest(kind)
    if case.op == "min":
        return lax.min, jnp.min, highest(kind)
    return lax.add, jnp.sum, 0


def _functions(case: Case, layout: str) -> Iterator[tuple[str, Callable[[Array], Array]]]:
    import jax.numpy as jnp
    from jax import lax

    where = range(2, 2 + len(case.spatial)) if layout == "first" else range(1, 1 + len(case.spatial))
    if case.op == "blur":
        yield "depthwise conv", _blur(case, layout)
        return
    if case.dtype not in FLOATS and case.op not in ("max", "min", "sum"):
        raise Unable(f"no exact {case.op} of integers in one call")
    combine, whole, identity = _combine(case)
    if case.kind != "sliding":
        yield "reshape and reduce", lambda x: _finish(case, _blocks(case, x, where, whole), layout)
        return
    rank = len(case.shape)
    axes = {axis: index for index, axis in enumerate(where)}
    slices = [tap_slices(case, index) for index in range(len(case.spatial))]
    window = [case.window[axes[axis]] if axis in axes else 1 for axis in range(rank)]
    stride = [case.stride[axes[axis]] if axis in axes else 1 for axis in range(rank)]
    dilation = [case.dilation[axes[axis]] if axis in axes else 1 for axis in range(rank)]
    pads = [slices[axes[axis]][:2] if axis in axes else (0, 0) for axis in range(rank)]

    def windowed(x: Array) -> Array:
        x = _start(case, x)
        start = np.asarray(identity, x.dtype)
        y = lax.reduce_window(x, start, combine, window, stride, pads, window_dilation=dilation)
        return _finish(case, y, layout)

    def sliced(x: Array) -> Array:
        x = jnp.pad(_start(case, x), pads, constant_values=identity)
        for axis, index in axes.items():
            parts = [x[(*(slice(None),) * axis, tap)] for tap in slices[index][2]]
            x = parts[0]
            for part in parts[1:]:
                x = combine(x, part)
        return _finish(case, x, layout)

    yield "reduce_window", windowed
    if math.prod(case.window) <= 36:
        yield "slices", sliced


def _start(case: Case, x: Array) -> Array:
    """Half precision is summed in float32: XLA's own accumulator is as narrow as the array, and wrong for it."""
    import jax.numpy as jnp

    if case.op in ("max", "min"):
        return x
    x = x.astype(jnp.float32) if x.dtype.itemsize == 2 else x
    return x * x if case.op == "lp" else x


def _finish(case: Case, y: Array, layout: str) -> Array:
    import jax.numpy as jnp

    if case.op == "avg":
        divisor = divisor_of(case) if layout == "first" else np.moveaxis(divisor_of(case)[None], 1, -1)
        same = float(divisor.flat[0])
        y = y * np.asarray(1 / same, y.dtype) if (divisor == same).all() else y / jnp.asarray(divisor, y.dtype)
    y = jnp.sqrt(y) if case.op == "lp" else y
    return y.astype(case.dtype)


def _blocks(case: Case, x: Array, where: range, whole: Callable[..., Array]) -> Array:
    x = _start(case, x)
    if case.kind == "global":
        return whole(x, axis=tuple(where), keepdims=True)
    shape, reduced = [], []
    for axis, size in enumerate(x.shape):
        if axis in where:
            many = case.window[axis - where[0]]
            shape += [many, size // many]
            reduced.append(len(shape) - 1)
        else:
            shape.append(size)
    return whole(x.reshape(shape), axis=tuple(reduced))


def _blur(case: Case, layout: str) -> Callable[[Array], Array]:
    import jax.numpy as jnp
    from jax import lax

    if case.dtype not in FLOATS or len(case.spatial) != 2:
        raise Unable("written for two axes of floats")
    row = np.array(binomial(case.window[0]))
    channels = case.shape[1]
    weights = np.broadcast_to(np.multiply.outer(row, row)[None, None], (channels, 1, len(row), len(row)))
    names = ("NCHW", "OIHW", "NCHW") if layout == "first" else ("NHWC", "OIHW", "NHWC")
    pads = [(0, 0)] * 4
    for index, pad in enumerate(case.padding):
        pads[index + (2 if layout == "first" else 1)] = (pad, pad)

    def blur(x: Array) -> Array:
        x = jnp.pad(x, pads, mode="reflect")
        weight = jnp.asarray(weights, x.dtype)
        return lax.conv_general_dilated(
            x, weight, case.stride, "VALID", dimension_numbers=names, feature_group_count=channels
        )

    return blur
