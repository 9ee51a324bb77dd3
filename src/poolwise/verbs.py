"""The verbs: any operator over any scheme of windows."""

from __future__ import annotations

from typing import Any

from .messages import refuse, refuse_type, shown
from .ops import BY_NAME
from .spec import Array, Border, Ints, Padding, Params, PoolOp, Request, WindowArgs, pooling

__all__ = ["adaptive_pool", "fractional_pool", "global_pool", "pool"]


def operator(where: str, op: str | PoolOp) -> PoolOp:
    """An operator by name, or itself."""
    if isinstance(op, PoolOp):
        return op
    if isinstance(op, str) and op in BY_NAME:
        return BY_NAME[op]
    raise refuse(
        where,
        "no operator has this name",
        got=f"op={shown(op)}",
        expected=f"one of {', '.join(map(repr, BY_NAME))}, or a PoolOp",
        hint='op="max"',
    )


def parameters(where: str, op: PoolOp, given: dict[str, Any]) -> Params:
    """The operator's parameters from keywords."""
    try:
        return op.params(**given)
    except TypeError as error:
        if not given or "unexpected keyword" not in str(error):
            raise
        known = ", ".join(getattr(op.params, "__dataclass_fields__", {})) or "none"
        raise refuse_type(
            where,
            f"{op.name} has no such parameter",
            got=", ".join(f"{name}={shown(value)}" for name, value in given.items()),
            expected=f"parameters of {op.name}: {known}",
            hint="leave it out",
        ) from None


@pooling
def pool(
    x: Array,
    op: str | PoolOp,
    window: Ints,
    *,
    stride: Ints | None = None,
    padding: Padding = 0,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
    border: Border = "reflect",
    axes: Ints | None = None,
    dtype: Any = None,
    out: Array | None = None,
    empty: float | None = None,
    backend: str | None = None,
    **params: Any,
) -> Array:
    """Any operator over sliding windows or non-overlapping regions.

    Parameters
    ----------
    x : array, ``(..., *spatial)``
        NumPy array or torch tensor.
    op : str or PoolOp
        ``"max"``, ``"min"``, ``"avg"``, ``"sum"``, ``"lp"``, ``"blur"``, ``"median"``, or an operator of your own.
    window, stride, padding, dilation, ceil_mode, axes, out, empty, backend
        As in `max_pool`.
    count_include_pad, dtype
        As in `avg_pool`.
    border : {"reflect", "replicate", "circular", "zeros"}
        What lies on the padding for weighted operators, as in `blur_pool`.
    **params
        The operator's own: ``p`` of ``"lp"``.

    Returns
    -------
    array, ``(..., *outputs)``

    Raises
    ------
    ValueError, TypeError
        For an unknown operator or parameter, and for anything that does not describe windows on `x`.

    Examples
    --------
    >>> import numpy as np, poolwise as pw
    >>> pw.pool(np.array([1.0, 2.0, 3.0, 4.0]), "lp", 2, p=1)
    array([3., 7.])
    """
    chosen = operator("pool", op)
    args = WindowArgs("sliding", window, stride, padding, dilation, ceil_mode)
    return Request(
        "pool",
        chosen,
        args,
        parameters("pool", chosen, params),
        axes=axes,
        count_include_pad=count_include_pad,
        border=border,
        dtype=dtype,
        empty=empty,
        backend=backend,
    )


@pooling
def adaptive_pool(
    x: Array,
    op: str | PoolOp,
    output_size: Any,
    *,
    axes: Ints | None = None,
    dtype: Any = None,
    out: Array | None = None,
    backend: str | None = None,
    **params: Any,
) -> Array:
    """Any operator over a given number of bins, whatever the size of the input.

    Bin i of m over n elements is ``[floor(i*n/m), ceil((i+1)*n/m))``, as torch's; m may exceed n.

    Parameters
    ----------
    x : array, ``(..., *spatial)``
        NumPy array or torch tensor.
    op : str or PoolOp
        As in `pool`; not ``"blur"``.
    output_size : int, None, or tuple of them
        Bins per axis; `None` keeps the axis as it is. n entries pool the last n axes, or those in `axes`.
    axes, dtype, out, backend
        As in `pool`.
    **params
        The operator's own: ``p`` of ``"lp"``.

    Returns
    -------
    array, ``(..., *output_size)``

    Raises
    ------
    ValueError, TypeError
        For an unknown operator or parameter, and for sizes that are not above 0.

    Examples
    --------
    >>> import numpy as np, poolwise as pw
    >>> pw.adaptive_pool(np.arange(7.0), "avg", 3)
    array([1., 3., 5.])
    """
    chosen = operator("adaptive_pool", op)
    args = WindowArgs("adaptive", output_size=output_size)
    params_value = parameters("adaptive_pool", chosen, params)
    return Request("adaptive_pool", chosen, args, params_value, axes=axes, border="zeros", dtype=dtype, backend=backend)


@pooling
def global_pool(
    x: Array,
    op: str | PoolOp,
    *,
    axes: Ints | None = None,
    dtype: Any = None,
    out: Array | None = None,
    backend: str | None = None,
    **params: Any,
) -> Array:
    """Any operator over whole axes; they stay, with length 1.

    Parameters
    ----------
    x : array, ``(..., *spatial)``
        NumPy array or torch tensor.
    op : str or PoolOp
        As in `pool`; not ``"blur"``.
    axes : int or tuple of int
        The axes that are pooled; may be left out for an array of one axis.
    dtype, out, backend
        As in `pool`.
    **params
        The operator's own: ``p`` of ``"lp"``.

    Returns
    -------
    array, ``(..., 1, ..., 1)``

    Raises
    ------
    ValueError, TypeError
        For an unknown operator or parameter, and where the axes are not said.

    Examples
    --------
    >>> import numpy as np, poolwise as pw
    >>> pw.global_pool(np.ones((2, 3, 5, 5)), "avg", axes=(2, 3)).shape
    (2, 3, 1, 1)
    """
    chosen = operator("global_pool", op)
    return Request(
        "global_pool",
        chosen,
        WindowArgs("global"),
        parameters("global_pool", chosen, params),
        axes=axes,
        border="zeros",
        dtype=dtype,
        backend=backend,
    )


@pooling
def fractional_pool(
    x: Array,
    op: str | PoolOp,
    output_size: Ints,
    *,
    draws: Any,
    window: Ints | None = None,
    axes: Ints | None = None,
    dtype: Any = None,
    out: Array | None = None,
    backend: str | None = None,
    **params: Any,
) -> Array:
    """Any operator over pseudo-random windows at a fractional stride, between 1 and 2 say.

    Randomness is an input: the same draws give the same windows, on every backend.

    Parameters
    ----------
    x : array, ``(..., *spatial)``
        NumPy array or torch tensor.
    op : str or PoolOp
        As in `pool`; not ``"blur"``.
    output_size : int or tuple of int
        Windows per axis. n numbers pool the last n axes, or those in `axes`.
    draws : float or sequence of float
        Uniform draws in [0, 1), one per pooled axis.
    window : int or tuple of int, optional
        Window size in elements: overlapping windows, spaced as torch's layer does. Without it the windows are
        disjoint regions that cover the axis.
    axes, dtype, out, backend
        As in `pool`.
    **params
        The operator's own: ``p`` of ``"lp"``.

    Returns
    -------
    array, ``(..., *output_size)``

    Raises
    ------
    ValueError, TypeError
        For draws outside [0, 1), and where so many windows do not fit.

    References
    ----------
    Graham, "Fractional max-pooling", arXiv 1412.6071, 2014.

    Examples
    --------
    >>> import numpy as np, poolwise as pw
    >>> pw.fractional_pool(np.arange(7), "max", 4, draws=0.3)
    array([1, 3, 4, 6])
    """
    chosen = operator("fractional_pool", op)
    args = WindowArgs("fractional", window, output_size=output_size, draws=draws)
    params_value = parameters("fractional_pool", chosen, params)
    return Request(
        "fractional_pool", chosen, args, params_value, axes=axes, border="zeros", dtype=dtype, backend=backend
    )
