"""Max unpooling: values back to where they were found."""

from __future__ import annotations

import math
from typing import Literal

from .arguments import axes_and_sizes
from .arrays import framework_of, inverse
from .messages import refuse, refuse_type, shown
from .spec import DTYPES, Array, Ints

__all__ = ["max_unpool"]

Duplicates = Literal["last", "sum", "max"]


def max_unpool(
    values: Array, indices: Array, output_size: Ints, *, axes: Ints | None = None, duplicates: Duplicates = "last"
) -> Array:
    """Scatter pooled values to the positions that `max_pool_with_indices` found them at; zeros elsewhere.

    Parameters
    ----------
    values : array, ``(..., *outputs)``
        NumPy array or torch tensor.
    indices : array of int64, ``(..., *outputs)``
        Flat positions per plane (C order over the pooled axes) of an array whose pooled axes have `output_size`.
    output_size : int or tuple of int
        Lengths of the unpooled axes: the spatial shape that was pooled. n numbers unpool the last n axes, or those
        in `axes`.
    axes : int or tuple of int, optional
        The axes that are unpooled. A bare int as `output_size` needs it unless the array has one axis.
    duplicates : {"last", "sum", "max"}
        What becomes of values that share a position, as overlapping windows do: the last in C order (torch's result
        on a CPU), their sum (the true adjoint of the gather), or the largest. The same on every run.

    Returns
    -------
    array, ``(..., *output_size)``
        Same kind of array and dtype as `values`.

    Raises
    ------
    ValueError
        For an index outside the plane (nothing is written), shapes that differ, or an unknown choice.
    TypeError
        For indices that are not int64.

    References
    ----------
    Zeiler, Taylor, Fergus, "Adaptive deconvolutional networks for mid and high level feature learning", ICCV 2011.

    Examples
    --------
    >>> import numpy as np, poolwise as pw
    >>> values, indices = pw.max_pool_with_indices(np.array([3, 1, 4, 1, 5, 9]), 2)
    >>> pw.max_unpool(values, indices, 6)
    array([3, 0, 4, 0, 0, 9])
    """
    where = "max_unpool"
    framework = framework_of(values, where)
    framework.check(values, where)
    if type(indices) is not type(values) and framework_of(indices, where) is not framework:
        raise refuse_type(
            where, "values and indices are of different kinds", got=f"{type(values).__name__} and {type(indices).__name__}",
            expected="two arrays of one framework", hint="indices as max_pool_with_indices gave them",
        )  # fmt: skip
    framework.check(indices, where)
    if framework.dtype_name(values) not in DTYPES:
        raise refuse_type(
            where, "this dtype does not pool", got=framework.dtype_name(values), expected=f"one of {', '.join(DTYPES)}",
            hint='values.astype("float32")',
        )  # fmt: skip
    if framework.dtype_name(indices) != "int64":
        raise refuse_type(
            where, "indices are not int64", got=framework.dtype_name(indices), expected="int64, as max_pool_with_indices gives",
            hint='indices.astype("int64")',
        )  # fmt: skip
    if tuple(values.shape) != tuple(indices.shape):
        raise refuse(
            where, "values and indices differ in shape", got=f"{tuple(values.shape)} and {tuple(indices.shape)}",
            expected="one shape", hint="indices as max_pool_with_indices gave them",
        )  # fmt: skip
    if duplicates not in ("last", "sum", "max"):
        raise refuse(
            where, "duplicates is unknown", got=f"duplicates={shown(duplicates)}", expected="'last', 'sum' or 'max'",
            hint='duplicates="last"',
        )  # fmt: skip
    shape = tuple(values.shape)
    pooled, sizes = axes_and_sizes(where, output_size, axes, len(shape))
    others = tuple(axis for axis in range(len(shape)) if axis not in pooled)
    elements = math.prod(sizes)
    if elements * max(math.prod([shape[axis] for axis in others]), 1) * 8 >= 1 << 63:
        raise refuse(
            where, "the result's size overflows 64-bit integers", got=f"output_size={shown(output_size)}",
            expected="fewer than 2**60 elements", hint="the spatial shape that was pooled",
        )  # fmt: skip
    xp = framework.xp
    at = xp.permute_dims(indices, others + pooled)
    low, high = framework.bounds(at)
    if low < 0 or high >= elements:
        raise refuse(
            where, "an index is outside the plane", got=f"indices from {low} to {high}",
            expected=f"0 to {elements - 1} for planes of {dict(zip(pooled, sizes, strict=True))} (axis: length)",
            hint="output_size= the spatial shape that was pooled",
        )  # fmt: skip
    planes = math.prod([shape[axis] for axis in others])
    flat = framework.scatter(
        xp.reshape(xp.permute_dims(values, others + pooled), (planes, -1)) if 0 not in shape else None,
        xp.reshape(at, (planes, -1)) if 0 not in shape else None,
        (planes, elements), values, duplicates,
    )  # fmt: skip
    moved = xp.reshape(flat, tuple(shape[axis] for axis in others) + sizes)
    return xp.permute_dims(moved, inverse(others + pooled))
