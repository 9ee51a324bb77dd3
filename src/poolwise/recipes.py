"""Famous poolings that are an operator over some windows, or two of them in a row."""

from __future__ import annotations

from typing import Any

from .ops.avg import AVG
from .ops.blur import blur_pool
from .ops.max import MAX, max_pool
from .spec import Array, Border, Ints, Padding, Request, WindowArgs, pooling

__all__ = ["adaptive_avg_pool", "adaptive_max_pool", "global_avg_pool", "global_max_pool", "max_blur_pool"]


@pooling
def adaptive_max_pool(x: Array, output_size: Any, *, axes: Ints | None = None, backend: str | None = None) -> Array:
    """Largest element of each of a given number of bins; `adaptive_pool` with ``"max"``.

    Shapes: ``x: (..., *spatial) -> (..., *output_size)``. Bins, ties and NaN as in `adaptive_pool` and `max_pool`.

    Examples
    --------
    >>> import numpy as np, poolwise as pw
    >>> pw.adaptive_max_pool(np.arange(7), 3)
    array([2, 4, 6])
    """
    args = WindowArgs("adaptive", output_size=output_size)
    return Request("adaptive_max_pool", MAX, args, axes=axes, backend=backend)


@pooling
def adaptive_avg_pool(
    x: Array, output_size: Any, *, axes: Ints | None = None, dtype: Any = None, backend: str | None = None
) -> Array:
    """Mean of each of a given number of bins; `adaptive_pool` with ``"avg"``.

    Shapes: ``x: (..., *spatial) -> (..., *output_size)``. Bins and dtypes as in `adaptive_pool` and `avg_pool`.

    Examples
    --------
    >>> import numpy as np, poolwise as pw
    >>> pw.adaptive_avg_pool(np.arange(8.0), 2)
    array([1.5, 5.5])
    """
    args = WindowArgs("adaptive", output_size=output_size)
    return Request("adaptive_avg_pool", AVG, args, AVG.params(), axes=axes, dtype=dtype, backend=backend)


@pooling
def global_max_pool(x: Array, *, axes: Ints | None = None, backend: str | None = None) -> Array:
    """Largest element over whole axes, which stay with length 1; `global_pool` with ``"max"``.

    Shapes: ``x: (..., *spatial) -> (..., 1, ..., 1)``.

    Examples
    --------
    >>> import numpy as np, poolwise as pw
    >>> pw.global_max_pool(np.array([[1, 5], [7, 3]]), axes=1)
    array([[5],
           [7]])
    """
    return Request("global_max_pool", MAX, WindowArgs("global"), axes=axes, backend=backend)


@pooling
def global_avg_pool(x: Array, *, axes: Ints | None = None, dtype: Any = None, backend: str | None = None) -> Array:
    """Mean over whole axes, which stay with length 1; `global_pool` with ``"avg"``.

    Shapes: ``x: (..., *spatial) -> (..., 1, ..., 1)``. Before a classifier it replaces the fully connected layers
    (Lin, Chen, Yan, "Network in network", ICLR 2014).

    Examples
    --------
    >>> import numpy as np, poolwise as pw
    >>> pw.global_avg_pool(np.array([[1.0, 5.0], [7.0, 3.0]]), axes=(0, 1))
    array([[4.]])
    """
    return Request("global_avg_pool", AVG, WindowArgs("global"), AVG.params(), axes=axes, dtype=dtype, backend=backend)


def max_blur_pool(
    x: Array,
    window: Ints,
    *,
    stride: Ints = 2,
    filter_size: Ints = 3,
    padding: Padding = 0,
    ceil_mode: bool = False,
    border: Border = "reflect",
    axes: Ints | None = None,
    backend: str | None = None,
) -> Array:
    """Max pooling that survives a shift of its input: the maximum at every position, then `blur_pool`.

    Shapes: ``x: (..., *spatial) -> (..., *outputs)``; `max_pool` with stride 1 and this padding, then `blur_pool` of
    `filter_size` with `stride`, whose padding centres the filter.

    Parameters
    ----------
    x : array, ``(..., *spatial)``
        NumPy array or torch tensor of a float dtype.
    window : int or tuple of int
        Window of the maximum.
    stride : int or tuple of int
        Stride of the whole, 2 by default.
    filter_size : int or tuple of int
        Size of the binomial filter.
    padding, ceil_mode, axes, backend
        As in `max_pool`.
    border : {"reflect", "replicate", "circular", "zeros"}
        As in `blur_pool`.

    References
    ----------
    Zhang, "Making convolutional networks shift-invariant again", ICML 2019.

    Examples
    --------
    >>> import numpy as np, poolwise as pw
    >>> pw.max_blur_pool(np.array([0.0, 4.0, 0.0, 0.0, 0.0, 0.0]), 2)
    array([4., 1., 0.])
    """
    if axes is None and hasattr(window, "__len__"):
        axes = tuple(range(-len(window), 0))
    peaks = max_pool(x, window, stride=1, padding=padding, ceil_mode=ceil_mode, axes=axes, backend=backend)
    # The blur has no compiled kernel of its own yet: a backend that is insisted on holds for the maximum.
    return blur_pool(peaks, filter_size, stride=stride, border=border, axes=axes)
