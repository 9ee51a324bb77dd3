"""Gradients of medians. Imported late: this module needs triton.

First every output finds the numbers of its two middle elements in its window, in two passes over it: the result lies
between them, so that what is below it, equal and above says which they are. Then every element gathers from the outputs
that see it, in increasing order: no atomics, the same bits on every run.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .backward import seeing
from .elements import cast, lead, window
from .median import spot, tap

__all__ = ["middles", "middles_spread"]


@triton.jit
def compared(
    r, j, count, smaller, below, at_below, above, at_above, at_nan, pivot, x, base, within, inner, start0, end0, start1, end1,
    start2, end2, stride0, stride1, real, D0: tl.constexpr, D1: tl.constexpr, K1: tl.constexpr, D2: tl.constexpr,
    CUT: tl.constexpr, ACC: tl.constexpr, R0: tl.constexpr, R1: tl.constexpr, R2: tl.constexpr,
):  # fmt: skip
    """How many elements there are and are smaller, the last of the largest below, the first of the smallest above."""
    value, ok = tap(
        x, base, within, inner, start0, end0, start1, end1, start2, end2, stride0, stride1, real, r, j, D0, K1, D1, D2, CUT, ACC,
    )  # fmt: skip
    number = r // K1 * R0 + r % K1 * R1 + j * R2
    count += ok.to(tl.int32)
    less = ok & (value < pivot)
    smaller += less.to(tl.int32)
    larger = less & (value >= below)
    below = tl.where(larger, value, below)
    at_below = tl.where(larger, number, at_below)
    nearer = ok & (value > pivot) & ((value < above) | (at_above < 0))
    above = tl.where(nearer, value, above)
    at_above = tl.where(nearer, number, at_above)
    at_nan = tl.where(ok & (value != value) & (at_nan < 0), number, at_nan)
    return count, smaller, below, at_below, above, at_above, at_nan


@triton.jit
def equal(
    r, j, seen, at_low, at_high, low, high, pivot, x, base, within, inner, start0, end0, start1, end1,
    start2, end2, stride0, stride1, real, D0: tl.constexpr, D1: tl.constexpr, K1: tl.constexpr, D2: tl.constexpr,
    CUT: tl.constexpr, ACC: tl.constexpr, R0: tl.constexpr, R1: tl.constexpr, R2: tl.constexpr,
):  # fmt: skip
    """Of the elements equal to the result, those at the ranks `low` and `high` among them."""
    value, ok = tap(
        x, base, within, inner, start0, end0, start1, end1, start2, end2, stride0, stride1, real, r, j, D0, K1, D1, D2, CUT, ACC,
    )  # fmt: skip
    number = r // K1 * R0 + r % K1 * R1 + j * R2
    same = ok & (value == pivot)
    at_low = tl.where(same & (seen == low), number, at_low)
    at_high = tl.where(same & (seen == high), number, at_high)
    return seen + same.to(tl.int32), at_low, at_high


@triton.jit
def middles(
    gy, copy, offsets, pairs, x, y, table0, table1, table2,
    rows, lane_tiles, size0, size1, size2, outputs0, outputs1, outputs2, between0, between1, inner, by0, by1, by2,
    G0: tl.constexpr, S0: tl.constexpr, D0: tl.constexpr, K0: tl.constexpr,
    G1: tl.constexpr, S1: tl.constexpr, D1: tl.constexpr, K1: tl.constexpr,
    G2: tl.constexpr, S2: tl.constexpr, D2: tl.constexpr, K2: tl.constexpr,
    LISTED0: tl.constexpr, LISTED1: tl.constexpr, LISTED2: tl.constexpr, CUT: tl.constexpr, ACC: tl.constexpr,
    R0: tl.constexpr, R1: tl.constexpr, R2: tl.constexpr, TAPS: tl.constexpr, PAIR: tl.constexpr,
    DEEP: tl.constexpr, INNER: tl.constexpr, UNROLL: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr,
    LANES: tl.constexpr,
):  # fmt: skip
    """Both numbers as the digits of one, and a copy of the gradient for the next kernel."""
    program = tl.program_id(0)
    if WIDE:  # addresses beyond 2**31 elements
        program = program.to(tl.int64)
    i0, i1, i2, within, real, own, base, stride0, stride1 = spot(
        program, rows, lane_tiles, outputs0, between0, outputs1, between1, outputs2, size0, size1, size2, inner, by0,
        by1, by2, S2 > 1, DEEP, INNER, WIDE, ROWS, LANES,
    )  # fmt: skip
    start0, end0 = window(i0, table0, outputs0, size0, G0, S0, D0, LISTED0)
    start1, end1 = window(i1, table1, outputs1, size1, G1, S1, D1, LISTED1)
    start2, end2 = window(i2, table2, outputs2, size2, G2, S2, D2, LISTED2)
    skipped = (lead(start0, D0) * R0 + lead(start1, D1) * R1 + lead(start2, D2) * R2).to(tl.int32)
    pivot = cast(tl.load(y + own, mask=real, other=0), ACC)
    # No number among numbers is the mean of both infinities, which have 0 between them.
    pivot = tl.where(pivot == pivot, pivot, 0.0)
    below = tl.full((ROWS * LANES,), float("-inf"), ACC)
    above = tl.full((ROWS * LANES,), float("inf"), ACC)
    count = tl.zeros((ROWS * LANES,), tl.int32)
    smaller, at_below = count, count
    at_above, at_nan = count - 1, count - 1
    if UNROLL:
        for t in tl.static_range(K0 * K1 * K2):
            count, smaller, below, at_below, above, at_above, at_nan = compared(
                t // K2, t % K2, count, smaller, below, at_below, above, at_above, at_nan, pivot, x, base, within, inner, start0,
                end0, start1, end1, start2, end2, stride0, stride1, real, D0, D1, K1, D2, CUT, ACC, R0, R1, R2,
            )  # fmt: skip
    else:
        for r in range(K0 * K1):
            for j in range(K2):
                count, smaller, below, at_below, above, at_above, at_nan = compared(
                    r, j, count, smaller, below, at_below, above, at_above, at_nan, pivot, x, base, within, inner, start0, end0,
                    start1, end1, start2, end2, stride0, stride1, real, D0, D1, K1, D2, CUT, ACC, R0, R1, R2,
                )  # fmt: skip
    low = (count - 1) // 2 - smaller
    high = count // 2 - smaller
    seen = count * 0
    at_low, at_high = at_below, at_above
    if UNROLL:
        for t in tl.static_range(K0 * K1 * K2):
            seen, at_low, at_high = equal(
                t // K2, t % K2, seen, at_low, at_high, low, high, pivot, x, base, within, inner, start0, end0, start1, end1,
                start2, end2, stride0, stride1, real, D0, D1, K1, D2, CUT, ACC, R0, R1, R2,
            )  # fmt: skip
    else:
        for r in range(K0 * K1):
            for j in range(K2):
                seen, at_low, at_high = equal(
                    r, j, seen, at_low, at_high, low, high, pivot, x, base, within, inner, start0, end0, start1, end1, start2,
                    end2, stride0, stride1, real, D0, D1, K1, D2, CUT, ACC, R0, R1, R2,
                )  # fmt: skip
    at_low = tl.where(at_nan < 0, at_low, at_nan) - skipped
    at_high = tl.where(at_nan < 0, at_high, at_nan) - skipped
    pair = at_low.to(PAIR) * TAPS + at_high.to(PAIR)
    tl.store(pairs + own, pair.to(pairs.dtype.element_ty), mask=real)
    tl.store(copy + own, tl.load(gy + own, mask=real, other=0), mask=real)


@triton.jit
def halves(
    total, t, gy, pairs, base, within, inner, i0, i1, i2, real, table0, table1, table2,
    size0, size1, size2, outputs0, outputs1, outputs2, stride0, stride1,
    G0: tl.constexpr, S0: tl.constexpr, D0: tl.constexpr, K0: tl.constexpr,
    G1: tl.constexpr, S1: tl.constexpr, D1: tl.constexpr, K1: tl.constexpr,
    G2: tl.constexpr, S2: tl.constexpr, D2: tl.constexpr, K2: tl.constexpr,
    LISTED0: tl.constexpr, LISTED1: tl.constexpr, LISTED2: tl.constexpr,
    C0: tl.constexpr, C1: tl.constexpr, C2: tl.constexpr, ACC: tl.constexpr,
    R0: tl.constexpr, R1: tl.constexpr, R2: tl.constexpr, TAPS: tl.constexpr, PAIR: tl.constexpr,
):  # fmt: skip
    """The running gradient with the share of one more output."""
    o0, d0, ok0 = seeing(i0, t // (C1 * C2), table0, outputs0, size0, G0, S0, D0, K0, LISTED0, C0)
    o1, d1, ok1 = seeing(i1, t // C2 % C1, table1, outputs1, size1, G1, S1, D1, K1, LISTED1, C1)
    o2, d2, ok2 = seeing(i2, t % C2, table2, outputs2, size2, G2, S2, D2, K2, LISTED2, C2)
    ok = (real & ok0) & (ok1 & ok2)
    at = (base + o0 * stride0 + o1 * stride1) + (o2 * inner + within)
    g = cast(tl.load(gy + at, mask=ok, other=0), ACC)
    pair = tl.load(pairs + at, mask=ok, other=0).to(PAIR)
    number = (d0 * R0 + d1 * R1 + d2 * R2).to(PAIR)
    low = pair // TAPS
    lower = ok & (low == number)
    upper = ok & (pair - low * TAPS == number)
    return total + tl.where(lower & upper, g, tl.where(lower | upper, g * 0.5, 0.0))


@triton.jit
def middles_spread(
    gy, gx, pairs, rest, x, y, table0, table1, table2,
    rows, lane_tiles, size0, size1, size2, outputs0, outputs1, outputs2, between0, between1, inner, by0, by1, by2,
    G0: tl.constexpr, S0: tl.constexpr, D0: tl.constexpr, K0: tl.constexpr,
    G1: tl.constexpr, S1: tl.constexpr, D1: tl.constexpr, K1: tl.constexpr,
    G2: tl.constexpr, S2: tl.constexpr, D2: tl.constexpr, K2: tl.constexpr,
    LISTED0: tl.constexpr, LISTED1: tl.constexpr, LISTED2: tl.constexpr,
    C0: tl.constexpr, C1: tl.constexpr, C2: tl.constexpr, ACC: tl.constexpr,
    R0: tl.constexpr, R1: tl.constexpr, R2: tl.constexpr, TAPS: tl.constexpr, PAIR: tl.constexpr,
    DEEP: tl.constexpr, INNER: tl.constexpr, UNROLL: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr,
    LANES: tl.constexpr,
):  # fmt: skip
    """The gradient at the input: of every output half to each of its two numbers, all of it where they are one."""
    program = tl.program_id(0)
    if WIDE:  # addresses beyond 2**31 elements
        program = program.to(tl.int64)
    i0, i1, i2, within, real, own, base, stride0, stride1 = spot(
        program, rows, lane_tiles, size0, between0, size1, between1, size2, outputs0, outputs1, outputs2, inner, by0,
        by1, by2, False, DEEP, INNER, WIDE, ROWS, LANES,
    )  # fmt: skip
    total = tl.zeros((ROWS * LANES,), ACC)
    if UNROLL:
        for t in tl.static_range(C0 * C1 * C2):
            total = halves(
                total, t, gy, pairs, base, within, inner, i0, i1, i2, real, table0, table1, table2, size0, size1, size2,
                outputs0, outputs1, outputs2, stride0, stride1, G0, S0, D0, K0, G1, S1, D1, K1, G2, S2, D2, K2, LISTED0,
                LISTED1, LISTED2, C0, C1, C2, ACC, R0, R1, R2, TAPS, PAIR,
            )  # fmt: skip
    else:
        for t in range(C0 * C1 * C2):
            total = halves(
                total, t, gy, pairs, base, within, inner, i0, i1, i2, real, table0, table1, table2, size0, size1, size2,
                outputs0, outputs1, outputs2, stride0, stride1, G0, S0, D0, K0, G1, S1, D1, K1, G2, S2, D2, K2, LISTED0,
                LISTED1, LISTED2, C0, C1, C2, ACC, R0, R1, R2, TAPS, PAIR,
            )  # fmt: skip
    tl.store(gx + own, cast(total, gx.dtype.element_ty), mask=real)
