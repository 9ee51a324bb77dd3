"""The public function, and the life of one masked call."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from ..arrays import framework_of
from ..dispatch import plan
from ..execute import watched
from ..messages import refuse, refuse_type
from ..problem import Problem, state
from ..spec import DTYPES, Array, Request
from .compose import Call, recipe_of, run_request
from .gathered import Gathered
from .mask import elements_that_count

__all__ = ["masked_pool", "pool_masked"]

Missing = Literal["propagate", "omit"]


def masked_pool(
    function: Callable[..., Any],
    x: Array,
    *args: Any,
    mask: Array | None = None,
    nan: Missing = "propagate",
    empty: float | None = None,
    **kwargs: Any,
) -> Array:
    """Pool only the elements that count: batches padded to one length, images with holes, data with NaN.

    ``masked_pool(avg_pool, x, 2, mask=m)`` is ``avg_pool(x, 2)`` where every window holds only those of its elements for
    which the mask is **True**. True means *counts* (`numpy.ma` and torch's ``key_padding_mask`` have it the other way
    round: hand over ``~mask``).

    Parameters
    ----------
    function : callable
        Any pooling function of this package that is one operator over some windows: `max_pool`, `adaptive_avg_pool`,
        `pool`, ...
    x : array, ``(..., *spatial)``
        NumPy array or torch tensor.
    *args, **kwargs
        What `function` takes after `x`; not ``out``.
    mask : array of bool, optional
        True where the element counts. As many axes as `x`, each as long as there or of length 1 (``(N, 1, H, W)`` for all
        channels alike); or the pooled axes alone. A mask of ``(N, L)`` over an array of ``(N, C, L)`` is
        ``mask[:, None]``: axes are never guessed.
    nan : {"propagate", "omit"}
        ``"omit"``: NaN elements do not count, besides those that the mask leaves out.
    empty : number, optional
        What a window gives in which nothing counts: NaN by default. Integers have no NaN, with a mask they must say. Given,
        it is also the value of windows that see padding only, which are an error without it.

    Returns
    -------
    array, ``(..., *outputs)``
        As `function` gives it: same kind of array and dtype.

    Raises
    ------
    TypeError
        For a function that is no pooling, and a mask that is not a bool array beside `x`.
    ValueError
        For a mask that does not fit `x`, integers without `empty`, and whatever `function` refuses.

    Notes
    -----
    The average divides by the number of elements that count, with ``count_include_pad`` also by positions on padding; the
    blur by the sum of the weights that are left (normalised convolution). Integers are exact, means of finite elements
    finite. Elements that do not count may be anything, NaN and infinities included: none enters a result, and their
    gradient is exactly 0, as is that of a window in which nothing counts. Of NaN that counts, ties and infinities all is
    as in `function`; a window in which only ``-inf`` counts gives ``-inf``, not `empty`. Every operator is served; the
    median, averages of 64-bit integers, wide blurs and operators of your own by the generic backend.

    References
    ----------
    Knutsson, Westin, "Normalized and differential convolution", CVPR 1993.

    Examples
    --------
    Two sequences of 5 and 2 steps, padded to one length:

    >>> import numpy as np, poolwise as pw
    >>> x = np.array([[1.0, 2.0, 3.0, 4.0, 9.0], [5.0, 7.0, 0.0, 0.0, 0.0]])
    >>> mask = np.arange(5) < np.array([[5], [2]])
    >>> pw.masked_pool(pw.global_avg_pool, x, axes=1, mask=mask)
    array([[3.8],
           [6. ]])
    >>> pw.masked_pool(pw.max_pool, x, (2,), ceil_mode=True, mask=mask)
    array([[ 2.,  4.,  9.],
           [ 7., nan, nan]])

    Without the elements that are missing:

    >>> pw.masked_pool(pw.median_pool, np.array([1.0, np.nan, 3.0, np.nan]), 2, nan="omit")
    array([1., 3.])
    """
    where = "masked_pool"
    ask = getattr(function, "__wrapped__", None)
    request = ask(x, *args, **kwargs) if callable(ask) else None
    if not isinstance(request, Request):
        raise refuse_type(
            where, "this is not one pooling", got=getattr(function, "__name__", f"a {type(function).__name__}"),
            expected="a pooling function of this package, of one operator",
            hint="masked_pool(pw.max_pool, x, 2, mask=mask)",
        )  # fmt: skip
    if kwargs.get("out") is not None:
        raise refuse(
            where, "out is not served", got="an out= array", expected="none, as the result is put together in steps",
            hint="out[...] = masked_pool(...)",
        )  # fmt: skip
    return pool_masked(request._replace(empty=empty), x, mask, nan)


@np.errstate(all="ignore")  # NaN and infinities are values here, nothing to warn of
def pool_masked(request: Request, x: Array, mask: Array | None, nan: Missing) -> Array:
    """What a request gives when only some elements count; parameters as in `masked_pool`."""
    where = request.where
    framework = framework_of(x, where)
    framework.check(x, where)
    problem = state(request, len(x.shape), framework.dtype_name(x)).over(tuple(x.shape))
    plan(problem, framework.device(x), request.backend)  # what the pooling itself would refuse
    present = elements_that_count(framework, problem, x, mask, nan)
    if present is None:
        return run_request(x, request)
    fill = _fill(request, problem)
    if framework.name != "numpy" and problem.dtype == "uint64" and framework.device(x) == "cpu":
        # torch has no arithmetic and no order on uint64; the same memory is a NumPy array.
        narrow = request._replace(dtype="float32") if problem.out_dtype == "bfloat16" else request
        y = pool_masked(narrow, x.numpy(), None if mask is None else mask.numpy(), nan)
        return framework.cast(framework.asarray(y, x), problem.out_dtype)
    call = Call(framework, request, problem, x, present)
    recipe = recipe_of(problem)
    if recipe is None:
        return _gathered(call, fill)
    y, seen = recipe(call)
    return framework.xp.where(seen, y, call.number(fill, y))


for function in (masked_pool, pool_masked):
    function._torchdynamo_disable = True  # type: ignore[attr-defined]  # a graph break: see `poolwise.execute.run`


def _gathered(call: Call, fill: float) -> Array:
    problem, request = call.problem, call.request
    if request.backend not in (None, "generic"):
        raise refuse(
            problem.where, f"backend {request.backend!r} cannot run this", got=f"a masked {problem.op.name} of {problem.dtype}",
            expected="backend='generic', which gathers the elements that count", hint="backend=None",
        )  # fmt: skip
    if watched.get() is not None:  # who explains a call sees the plan that is the nearest
        return run_request(call.filled(0), request._replace(backend="generic"))
    present = call.framework.xp.broadcast_to(call.present, problem.shape)
    try:
        return Gathered(problem).masked(call.framework, call.x, present, fill)
    except OverflowError as error:
        raise refuse(
            problem.where, "a result does not fit its dtype", got=f"{error} ({problem.op.name} of {problem.dtype})",
            expected=f"every result within {problem.out_dtype}", hint='dtype="int64", or dtype="float64"',
        ) from None  # fmt: skip


def _fill(request: Request, problem: Problem) -> float:
    """What a window gives in which nothing counts; here all is refused that only a masked call refuses."""
    if request.finds is not None:
        raise refuse(
            problem.where, f"{request.finds} are not served with a mask", got=f"a call that returns {request.finds}",
            expected="one that returns values", hint="max_pool",
        )  # fmt: skip
    floating = DTYPES[problem.out_dtype] == "float"
    if problem.empty is None and not floating:
        raise refuse(
            problem.where, "what a window gives in which nothing counts is not said",
            got=f"a result of {problem.out_dtype}, which has no NaN, and no empty=", expected="empty=", hint="empty=0",
        )  # fmt: skip
    if problem.empty is None:
        return math.nan
    return problem.empty if floating else int(problem.empty)
