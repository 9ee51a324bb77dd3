"""The forward kernel of long windows that are few. Imported late: this module needs triton."""

from __future__ import annotations

import triton
import triton.language as tl

from .elements import cast, divide, inside, lead, neutral, over, power, root, shares, window, wins

__all__ = ["pool_long"]


@triton.jit
def ahead(a, i, b, k):
    """The larger of two numbered elements; the first NaN, then the first of equals."""
    later = i > k
    nan_a, nan_b = a != a, b != b
    first = (nan_a & nan_b) | (a == b)
    swap = tl.where(first, later, (nan_b | (b > a)) & ~nan_a)
    return tl.where(swap, b, a), tl.where(swap, k, i)


@triton.jit
def behind(a, i, b, k):
    """As `ahead`, the smaller."""
    later = i > k
    nan_a, nan_b = a != a, b != b
    first = (nan_a & nan_b) | (a == b)
    swap = tl.where(first, later, (nan_b | (b < a)) & ~nan_a)
    return tl.where(swap, b, a), tl.where(swap, k, i)


@triton.jit
def pool_long(
    x, y, offsets, carry, table, count, rows, lane_tiles, size, outputs, inner, by,
    G: tl.constexpr, S: tl.constexpr, D: tl.constexpr, K: tl.constexpr,
    LISTED: tl.constexpr, CUT: tl.constexpr, VARY: tl.constexpr, R: tl.constexpr,
    OP: tl.constexpr, ACC: tl.constexpr, MINIMUM: tl.constexpr, LOW: tl.constexpr,
    SAVE: tl.constexpr, CARRY: tl.constexpr, N: tl.constexpr, EXACT: tl.constexpr, GUARD: tl.constexpr,
    P: tl.constexpr, POWER: tl.constexpr, ROOT: tl.constexpr,
    WIDE: tl.constexpr, ROWS: tl.constexpr, TAPS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """One axis. A tile is rows of outputs x taps x `inner`."""
    program = tl.program_id(0)
    if WIDE:  # addresses beyond 2**31 elements
        program = program.to(tl.int64)
    row = (program // lane_tiles) * ROWS + tl.arange(0, ROWS)[:, None, None]
    lane = (program % lane_tiles) * LANES + tl.arange(0, LANES)[None, None, :]
    j = tl.arange(0, TAPS)[None, :, None]
    above = over(row, outputs, by, 1, WIDE)
    i = row - above * outputs
    start, end = window(i, table, outputs, size, G, S, D, LISTED)
    skipped = lead(start, D) * R
    base = above * (size + row * 0) * inner + lane
    real = (row < rows) & (lane < inner)
    zero = tl.zeros((ROWS, TAPS, LANES), ACC)
    best = neutral(zero, MINIMUM, LOW) if OP == 0 else zero
    # Lanes that see nothing must lose every tie.
    number = tl.full((ROWS, TAPS, LANES), 2147483647, tl.int32)
    n, inverse = shares(
        i, i, i, count, count, count, outputs, outputs, tl.full((1, 1, 1), 1.0, ACC), N, EXACT, VARY, 0, 0
    )
    guard = zero
    for chunk in range(0, K, TAPS):
        at = start + (j + chunk) * D
        ok = real & (j + chunk < K)
        if CUT:
            ok = ok & inside(at, end)
        value = cast(tl.load(x + (base + at * inner), mask=ok, other=0), ACC)
        if OP == 0:
            take = (wins(value, best, MINIMUM) | (number == 2147483647)) & ok
            best = tl.where(take, value, best)
            this = (j + chunk).to(tl.int32) * R
            if CARRY:
                this = this + tl.load(carry + (base + at * inner), mask=ok, other=0).to(tl.int32)
            number = tl.where(take, this, number)
        else:
            if POWER:
                value = power(value, value, P, False)
            best = best + value
            if GUARD:
                guard = guard + value * inverse
    result = row * inner + lane
    if OP == 0:
        value, picked = tl.reduce((best, number), 1, behind if MINIMUM else ahead)
        total = tl.expand_dims(value, 1)
        if SAVE:
            number = tl.expand_dims(picked, 1) - skipped.to(tl.int32)
            tl.store(offsets + result, number.to(offsets.dtype.element_ty), mask=real)
    else:
        total = tl.expand_dims(tl.sum(best, 1), 1)
        if GUARD:
            guard = tl.expand_dims(tl.sum(guard, 1), 1)
        if OP == 2:
            total = divide(total, guard, n, inverse, EXACT, GUARD)
        if ROOT:
            total = root(total, total, P, False)
    tl.store(y + result, cast(total, y.dtype.element_ty), mask=real)
