"""The specification, runnable: an operator's definition, one window at a time, slowly and exactly.

Never a backend and never fast: the tests hold every backend to this file.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from .problem import Problem
from .spec import HALF, Taps

__all__ = ["forward", "select", "vjp"]


def _wide(problem: Problem) -> np.dtype:
    """The definition's own dtype; sums of floats in the widest float there is."""
    name = problem.op.wide[problem.dtype]
    exact = problem.op.select is not None or not name.startswith("float")
    return np.dtype(name) if exact else np.dtype(np.longdouble)


def _windows(problem: Problem) -> Iterator[tuple[tuple[int, ...], list[tuple[int, ...]], float, np.ndarray | None]]:
    """Per output: its index, the positions that it reads, its divisor, and weights if it has any."""
    axes = problem.windows.axes
    weights = None if problem.op.weights is None else problem.op.weights(tuple(axis.window for axis in axes))
    filled = None if weights is None else [axis.positions(problem.border or "zeros") for axis in axes]
    counted = problem.windows.divisor(problem.count_include_pad)
    for index, ranges in problem.windows.each():
        if weights is None or filled is None:
            yield index, list(itertools.product(*ranges)), float(counted[index]), None
            continue
        nominal = list(itertools.product(*(rows[i].tolist() for rows, i in zip(filled, index, strict=True))))
        real = [tap for tap, at in enumerate(nominal) if min(at) >= 0]
        kept = weights[real]
        divisor = float(weights.sum() if problem.count_include_pad else kept.sum())
        yield index, [nominal[tap] for tap in real], divisor, kept


def _taps(
    problem: Problem, plane: np.ndarray, at: list[tuple[int, ...]], divisor: float, kept: np.ndarray | None
) -> Taps:
    values = np.array([plane[position] for position in at]).astype(_wide(problem))
    floating = np.isdtype(values.dtype, "real floating")
    return Taps(
        values=values[None],
        valid=np.ones((1, len(at)), bool),
        count=np.array([len(at)]),
        divisor=np.array([divisor], dtype=values.dtype if floating else np.int64),
        weight=None if kept is None else kept[None],
        whole=problem.windows.whole,
        rounds=not problem.out_dtype.startswith(("float", "bfloat")),
    )


def _planes(problem: Problem, x: np.ndarray) -> np.ndarray:
    """A view ``[others..., pooled...]``."""
    return np.moveaxis(x, problem.axes, range(x.ndim - len(problem.axes), x.ndim))


def forward(problem: Problem, x: np.ndarray) -> np.ndarray:
    """Pool a NumPy array."""
    y = np.empty(problem.out_shape, _dtype(problem.out_dtype, x))
    source, target = _planes(problem, x), _planes(problem, y)
    for index, at, divisor, kept in _windows(problem):
        for plane in np.ndindex(*source.shape[: x.ndim - len(problem.axes)]):
            if not at:
                target[plane + index] = problem.empty
                continue
            taps = _taps(problem, source[plane], at, divisor, kept)
            target[plane + index] = _narrow(problem.op.forward(np, taps, problem.params)[0], problem.out_dtype)
    return y


def select(problem: Problem, x: np.ndarray) -> np.ndarray:
    """Flat position per plane of the element that each window picked (int64)."""
    chosen = np.empty(problem.out_shape, np.int64)
    source, target = _planes(problem, x), _planes(problem, chosen)
    for index, at, divisor, kept in _windows(problem):
        for plane in np.ndindex(*source.shape[: x.ndim - len(problem.axes)]):
            tap = int(problem.op.select(np, _taps(problem, source[plane], at, divisor, kept))[0])
            target[plane + index] = np.ravel_multi_index(at[tap], problem.windows.sizes)
    return chosen


def vjp(problem: Problem, x: np.ndarray, gy: np.ndarray) -> np.ndarray:
    """The gradient at `x` of ``sum(gy * forward(x))``, in the widest float."""
    gx = np.zeros(x.shape, np.longdouble)
    source, seen, target = _planes(problem, x), _planes(problem, gy), _planes(problem, gx)
    for index, at, divisor, kept in _windows(problem):
        for plane in np.ndindex(*source.shape[: x.ndim - len(problem.axes)]):
            if not at:
                continue
            taps = _taps(problem, source[plane], at, divisor, kept)
            y = problem.op.forward(np, taps, problem.params)
            per_tap = problem.op.vjp(np, taps, problem.params, y, np.array([seen[plane + index]], np.longdouble))
            for tap, position in enumerate(at):
                target[plane + position] += per_tap[0, tap]
    return gx


def _dtype(name: str, like: np.ndarray) -> np.dtype:
    # bfloat16 is not NumPy's own: an array that holds it brings the dtype along.
    return like.dtype if name == "bfloat16" else np.dtype(name)


def _narrow(value: np.generic, name: str) -> np.generic | float:
    if name in HALF and isinstance(value, np.longdouble):
        return np.float64(value)
    if name.startswith(("int", "uint")):
        info = np.iinfo(name)
        if not info.min <= int(value) <= info.max:
            raise OverflowError(f"a sum does not fit {name}")
    return value
