"""What a user typed, checked: axes, windows, dtypes, flags. Integers and names only; no array is looked at."""

from __future__ import annotations

import math
import operator
from typing import Any

from .geometry import INTEGER_LIMIT, Adaptive, Fractional, Global, Scheme, Sliding
from .messages import refuse, refuse_type, shown
from .spec import DTYPES, Request, WindowArgs, itemsize

__all__ = ["axes_and_sizes", "check_filter", "choice", "empty_value", "flag", "out_dtype", "resolve"]

PADDINGS = ("valid", "same", "same_lower")
FILTER_LIMIT = 1024


def resolve(request: Request, ndim: int) -> tuple[tuple[int, ...], Scheme]:
    """Axes (increasing) and the scheme over them, for an array of this many axes."""
    where, args = request.where, request.windows
    name, lead = {
        "sliding": ("window", args.window),
        "adaptive": ("output_size", args.output_size),
        "fractional": ("output_size", args.output_size),
        "global": ("axes", None),
    }[args.scheme]
    given = None if lead is None or not _is_sequence(lead) else len(lead)
    axes = _axes(where, name, request.axes, given, lead, ndim)
    order = sorted(range(len(axes)), key=axes.__getitem__)
    return tuple(axes[i] for i in order), _scheme(where, args, len(axes), order)


def axes_and_sizes(where: str, sizes: Any, axes: Any, ndim: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Axes (increasing) and a length for each, for functions that make spatial axes rather than pool them."""
    given = len(sizes) if _is_sequence(sizes) else None
    found = _axes(where, "output_size", axes, given, sizes, ndim)
    lengths = _ints(where, "output_size", sizes, len(found), 1)
    order = sorted(range(len(found)), key=found.__getitem__)
    return tuple(found[i] for i in order), tuple(lengths[i] for i in order)


def _scheme(where: str, args: WindowArgs, n: int, order: list[int]) -> Scheme:
    def pick(values: tuple) -> tuple:
        return tuple(values[i] for i in order)

    if args.scheme == "global":
        return Global()
    if args.scheme == "adaptive":
        return Adaptive(pick(_ints(where, "output_size", args.output_size, n, 1, none=True)))
    if args.scheme == "fractional":
        window = None if args.window is None else pick(_ints(where, "window", args.window, n, 1))
        outputs = pick(_ints(where, "output_size", args.output_size, n, 1))
        return Fractional(outputs, window, pick(_draws(where, args.draws, n)))
    window = _ints(where, "window", args.window, n, 1)
    stride = window if args.stride is None else _ints(where, "stride", args.stride, n, 1)
    dilation = _ints(where, "dilation", args.dilation, n, 1)
    ceil_mode = flag(where, "ceil_mode", args.ceil_mode)
    if args.padding is None:
        padding: Any = pick(
            tuple(((k - 1) * d // 2, (k * d - d + 1) // 2) for k, d in zip(window, dilation, strict=True))
        )
    elif isinstance(args.padding, str):
        padding = choice(where, "padding", args.padding, PADDINGS)
    else:
        padding = pick(_pads(where, args.padding, n))
    return Sliding(pick(window), pick(stride), padding, pick(dilation), ceil_mode)


def _axes(where: str, name: str, axes: Any, given: int | None, lead: Any, ndim: int) -> tuple[int, ...]:
    if axes is None:
        if given is None and ndim != 1:
            axis_names = f"axes={tuple(range(max(ndim - 2, 0), ndim))}"
            shown_lead = "" if lead is None else f" with {name}={shown(lead)}"
            raise refuse(
                where,
                "which axes to pool is not said",
                got=f"an array of {ndim} axes{shown_lead} and no axes=",
                expected=f"axes=, or one number per pooled axis in {name}" if lead is not None else "axes=",
                hint=f"{axis_names}"
                + ("" if lead is None else f", or {name}=({shown(lead)}, {shown(lead)}) for the last two"),
            )
        given = 1 if given is None else given
        if not 1 <= given <= ndim:
            raise refuse(
                where,
                f"{name} has more numbers than the array has axes" if given else f"{name} has no numbers",
                got=f"{given} numbers for an array of {ndim} axes",
                expected=f"1 to {ndim}",
                hint=f"{name} with one number per pooled axis",
            )
        return tuple(range(ndim - given, ndim))
    listed = tuple(axes) if _is_sequence(axes) else (axes,)
    found = []
    for axis in listed:
        number = _int(where, "axes", axis)
        if not -ndim <= number < ndim:
            raise refuse(
                where,
                "an axis is out of range",
                got=f"axes={shown(axes)} for an array of {ndim} axes",
                expected=f"numbers from {-ndim} to {ndim - 1}" if ndim else "an array with at least one axis",
                hint=f"axes={tuple(range(max(ndim - 2, 0), ndim))}",
            )
        found.append(number % ndim)
    if len(set(found)) != len(found) or not found:
        raise refuse(
            where,
            "axes repeat" if found else "there are no axes to pool",
            got=f"axes={shown(axes)}",
            expected="every axis once, at least one",
            hint=f"axes={tuple(sorted(set(found))) or (ndim - 1,)}",
        )
    if given is not None and given != len(found):
        raise refuse(
            where,
            f"{name} and axes differ in length",
            got=f"{given} numbers in {name} for {len(found)} axes",
            expected="one number per axis",
            hint=f"axes={tuple(found)} and {len(found)} numbers in {name}",
        )
    return tuple(found)


def _is_sequence(value: Any) -> bool:
    return not isinstance(value, (str, bytes)) and hasattr(value, "__len__") and getattr(value, "shape", (1,)) != ()


def _int(where: str, name: str, value: Any) -> int:
    """A whole number that a user typed; bools and floats are mistakes, not numbers."""
    if type(value) is int:
        return value
    kind = type(value).__name__
    if not isinstance(value, bool) and "bool" not in kind:
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise refuse_type(
        where,
        f"{name} is not an integer",
        got=f"{name}={shown(value)} of type {kind}",
        expected="an int, or a tuple of one int per pooled axis",
        hint=f"{name}={int(value)}" if isinstance(value, float) and math.isfinite(value) else f"{name}=2",
    )


def _ints(where: str, name: str, value: Any, n: int, lowest: int, none: bool = False) -> tuple:
    """One whole number per pooled axis."""
    listed = tuple(value) if _is_sequence(value) else (value,) * n
    if len(listed) != n:
        raise refuse(
            where,
            f"{name} has the wrong length",
            got=f"{name}={shown(value)} for {n} pooled axes",
            expected=f"one int, or {n}",
            hint=f"{name}=({', '.join(['2'] * n)}{',' if n == 1 else ''})",
        )
    numbers = tuple(None if none and entry is None else _int(where, name, entry) for entry in listed)
    for number in numbers:
        if number is not None and not lowest <= number <= INTEGER_LIMIT:
            raise refuse(
                where,
                f"{name} is out of range",
                got=f"{name}={shown(value)}",
                expected=f"at least {lowest}" if number < lowest else "below 2**63",
                hint=f"{name}={max(lowest, 2)}",
            )
    return numbers


def _pads(where: str, value: Any, n: int) -> tuple[tuple[int, int], ...]:
    """A ``(low, high)`` pair per pooled axis."""
    if not _is_sequence(value):
        (number,) = _ints(where, "padding", value, 1, 0)
        return ((number, number),) * n
    if len(value) != n:
        raise refuse(
            where,
            "padding has the wrong length",
            got=f"padding={shown(value)} for {n} pooled axes",
            expected=f"one int, {n} ints, {n} (low, high) pairs, or one of {', '.join(map(repr, PADDINGS))}",
            hint=f"padding=({', '.join(['(0, 1)'] * n)}{',' if n == 1 else ''})",
        )
    pads = []
    for entry in value:
        pair = _ints(where, "padding", entry, 2, 0)
        pads.append((pair[0], pair[1]))
    return tuple(pads)


def _draws(where: str, value: Any, n: int) -> tuple[float, ...]:
    """One uniform draw in [0, 1) per pooled axis."""
    try:
        entries = tuple(value) if _is_sequence(value) else (value,) * n
        listed = () if any(isinstance(entry, (str, bytes, bool)) for entry in entries) else tuple(map(float, entries))
    except (TypeError, ValueError, OverflowError):
        listed = ()
    if len(listed) != n or not all(0 <= draw < 1 for draw in listed):
        raise refuse(
            where,
            "draws are not uniform draws",
            got=f"draws={shown(value)}",
            expected=f"{n} numbers in [0, 1), one per pooled axis",
            hint=f"draws=numpy.random.default_rng(0).random({n})",
        )
    return listed


def flag(where: str, name: str, value: Any) -> bool:
    if isinstance(value, bool) or type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    raise refuse_type(
        where, f"{name} is not a bool", got=f"{name}={shown(value)}", expected="True or False", hint=f"{name}=True"
    )


def choice(where: str, name: str, value: Any, choices: tuple[str, ...]) -> str:
    if isinstance(value, str) and value in choices:
        return value
    raise refuse(
        where,
        f"{name} is unknown",
        got=f"{name}={shown(value)}",
        expected=f"one of {', '.join(map(repr, choices))}",
        hint=f'{name}="{choices[0]}"',
    )


def empty_value(where: str, value: Any, dtype: str) -> float:
    """The value of windows without elements, which the result's dtype must be able to hold."""
    low, high = -math.inf, math.inf
    if DTYPES[dtype] != "float":
        bits = 1 if dtype == "bool" else 8 * itemsize(dtype)
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if dtype.startswith("int") else (0, (1 << bits) - 1)
    try:
        number = None if isinstance(value, (str, bytes)) else float(value) + 0.0  # no -0.0: equal problems are one
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or (high < math.inf and not (number.is_integer() and low <= number <= high)):
        raise refuse_type(
            where,
            "empty is not a number that the result holds",
            got=f"empty={shown(value)} for a result of {dtype}",
            expected="a number" if high == math.inf else f"a whole number from {low} to {high}",
            hint="empty=0",
        )
    return number if number == number else math.nan  # this very NaN, as no other equals it: equal problems are one


def out_dtype(request: Request, dtype: str) -> str:
    if request.dtype is None:
        return dtype
    name = _dtype_name(request.dtype)
    kind = DTYPES.get(name)
    narrower = kind == "integer" and DTYPES[dtype] == "float"
    if not request.op.casts or kind in (None, "bool") or narrower:
        raise refuse_type(
            request.where,
            "this output dtype is not served",
            got=f"dtype={shown(request.dtype)} for an array of {dtype}",
            expected="a float dtype" if DTYPES[dtype] == "float" else "an integer or float dtype",
            hint='dtype="float32"',
        )
    return name


def _dtype_name(dtype: Any) -> str:
    """The name of a NumPy or torch dtype, a scalar type, or a string."""
    if isinstance(dtype, str):
        return dtype
    name = getattr(dtype, "name", None) or getattr(dtype, "__name__", None) or str(dtype)
    return {"float": "float64", "int": "int64"}.get(name, name.removeprefix("torch."))


def check_filter(where: str, scheme: Scheme) -> None:
    if not isinstance(scheme, Sliding) or max(scheme.window) > FILTER_LIMIT:
        raise refuse(
            where,
            "this filter is not served",
            got=f"window={scheme.window}"
            if isinstance(scheme, Sliding)
            else f"{type(scheme).__name__.lower()} windows",
            expected=f"sliding windows of 1 to {FILTER_LIMIT}",
            hint="blur_pool(x, 3, ...), or avg over these windows",
        )
