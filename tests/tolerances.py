"""The one table of tolerances: how far each operator may be from the reference, per dtype, and why.

Operators that answer with an element (max, min, and the median of an odd number) have no tolerance: bits. For the others
an error bound has two parts:

    |got - expected| <= ULPS * ulp(expected) + WIDE * taps * eps(wide) * magnitude

the last rounding, in units of the result's own last place, and what was lost while adding up in the wider dtype, which
grows with the number of terms and their size, not with the result (terms may cancel).
"""

from __future__ import annotations

import numpy as np

__all__ = ["FORWARD_ULPS", "GRADIENT_ULPS", "WIDE_TERMS", "allowed", "spacing"]

HALF_ULP = 0.5 + 1e-3
"""One correct rounding, with slack for the reference's own in 64 bits of mantissa."""

FORWARD_ULPS: dict[tuple[str, str], float] = {
    # Sums of half types are exact in float64 or nearly so in float32; one rounding to the half type follows. Rounding
    # first to float32 and then to half may miss a tie: one ulp.
    ("avg", "float16"): 1.0,
    ("avg", "bfloat16"): 1.0,
    ("sum", "float16"): 1.0,
    ("sum", "bfloat16"): 1.0,
    # float32 adds up in float64: one rounding, hardly ever a double one.
    ("avg", "float32"): HALF_ULP,
    ("sum", "float32"): HALF_ULP,
    # float64 adds up in float64: the quotient's rounding on top of the sum's error.
    ("avg", "float64"): 1.0,
    ("sum", "float64"): 1.0,
    # A power, a sum and a root, each within an ulp of the wide dtype; then one rounding.
    ("lp", "float16"): 1.0,
    ("lp", "bfloat16"): 1.0,
    ("lp", "float32"): 2.0,
    ("lp", "float64"): 8.0,
    # A first element plus a weighted mean of differences: three roundings of the wide dtype.
    ("blur", "float16"): 1.0,
    ("blur", "bfloat16"): 1.0,
    ("blur", "float32"): 1.0,
    ("blur", "float64"): 4.0,
    # The mean of two elements of the dtype: one rounding; in float32 before half types, two.
    ("median", "float16"): 1.0,
    ("median", "bfloat16"): 1.0,
    ("median", "float32"): HALF_ULP,
    ("median", "float64"): HALF_ULP,
}

WIDE_TERMS = 2.0
"""Errors per term of a sum, in units of the wide dtype: one for the term, one for the addition."""

GRADIENT_ULPS: dict[str, float] = {
    # Each input element sums one term per window that sees it, each rounded once, in the accumulation dtype.
    "max": 1.0,
    "min": 1.0,
    "sum": 1.0,
    "avg": 2.0,  # and a division per term
    "median": 1.0,
    "blur": 3.0,  # a weight and a division per term
    "lp": 8.0,  # a quotient and a power of the *rounded* output; times |p - 1|, see `allowed_slope`
}

WIDE = {"float16": "float32", "bfloat16": "float32", "float32": "float64", "float64": "float64"}
EPS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}
TINY = {"float16": 2.0**-24, "bfloat16": 2.0**-133, "float32": 2.0**-149, "float64": 2.0**-1074}
LOWEST_NORMAL = {"float16": 2.0**-14, "bfloat16": 2.0**-126, "float32": 2.0**-126, "float64": 2.0**-1022}


def spacing(value: np.ndarray, dtype: str) -> np.ndarray:
    """One unit in the last place of the dtype at each value, in the widest float."""
    size = np.abs(value.astype(np.longdouble))
    size = np.where(np.isfinite(size), np.maximum(size, LOWEST_NORMAL[dtype]), 1.0)
    _, exponent = np.frexp(size)
    return np.ldexp(np.longdouble(EPS[dtype]), exponent - 1)


def allowed(op: str, dtype: str, expected: np.ndarray, taps: int, magnitude: float) -> np.ndarray:
    """The largest error of a forward result: see the formula above."""
    ulps = FORWARD_ULPS[op, dtype] * spacing(expected, dtype)
    return ulps + WIDE_TERMS * taps * EPS[WIDE[dtype]] * magnitude


def allowed_gradient(op: str, dtype: str, expected: np.ndarray, seen: int, magnitude: float) -> np.ndarray:
    """The largest error of a gradient: `seen` windows of at most `magnitude` each meet in one element."""
    # Half types add their terms up in float32, so their own precision enters once, with the result.
    precision = EPS["float32"] if dtype in ("float16", "bfloat16") else EPS[dtype]
    terms = EPS[dtype] if op == "lp" else precision
    return spacing(expected, dtype) + GRADIENT_ULPS[op] * seen * terms * magnitude
