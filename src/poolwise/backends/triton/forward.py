"""The forward kernel. Imported late: this module needs triton.

It pools ``[outer, axis 0, axis 1, axis 2, inner]``, dense. Every lane has an output: lanes run over `inner` where there
is one (channels-last) and over the last axis otherwise, so that neighbours in memory are neighbours in a warp.

An axis is ``(G, S, D, K)``: nominal windows ``G + S*i + D*j``, ``0 <= j < K``, of which positions inside the axis are
real; or, where `LISTED`, rows ``(start, count)`` of a table. Both come from geometry. Elements are visited in scan
order with strict comparisons, so that the first of equal ones and the first NaN win; offsets count from the first
*real* element.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .elements import cast, divide, inside, lead, neutral, place, power, root, shares, window, wins

__all__ = ["pool"]


@triton.jit
def tap(
    x, carry, base, lane, start0, end0, start1, end1, start2, end2, stride0, stride1, stride2, real, t, b,
    D0: tl.constexpr, S1: tl.constexpr, K1: tl.constexpr, D1: tl.constexpr, K2: tl.constexpr, D2: tl.constexpr,
    CUT0: tl.constexpr, CUT1: tl.constexpr, CUT2: tl.constexpr,
    R2: tl.constexpr, CARRY: tl.constexpr,
):  # fmt: skip
    """Element t of every window (of window b of a block along axis 1), whether it is real, and its number in its row."""
    j0 = t // (K1 * K2)
    j1 = t // K2 % K1
    j2 = t % K2
    p0 = start0 + j0 * D0
    p1 = start1 + (b * S1 + j1 * D1)
    p2 = start2 + j2 * D2
    ok = real
    if CUT0:
        ok = ok & inside(p0, end0)
    if CUT1:
        ok = ok & inside(p1, end1)
    if CUT2:
        ok = ok & inside(p2, end2)
    at = (base + p0 * stride0 + p1 * stride1) + (p2 * stride2 + lane)
    number = j2 * R2
    if CARRY:
        number = number + tl.load(carry + at, mask=ok, other=0).to(tl.int32)
    return tl.load(x + at, mask=ok, other=0), ok, number


@triton.jit
def reduced(
    x, carry, base, lane, start0, end0, start1, end1, start2, end2, stride0, stride1, stride2, real, inverse, largest,
    best, number, guard, b: tl.constexpr,
    D0: tl.constexpr, K0: tl.constexpr, S1: tl.constexpr, D1: tl.constexpr, K1: tl.constexpr, D2: tl.constexpr,
    K2: tl.constexpr, CUT0: tl.constexpr, CUT1: tl.constexpr, CUT2: tl.constexpr,
    R0: tl.constexpr, R1: tl.constexpr, R2: tl.constexpr,
    OP: tl.constexpr, ACC: tl.constexpr, MINIMUM: tl.constexpr, LOW: tl.constexpr, SAVE: tl.constexpr,
    CARRY: tl.constexpr, GUARD: tl.constexpr, P: tl.constexpr, SCALED: tl.constexpr, POWER: tl.constexpr,
    UNROLL: tl.constexpr,
):  # fmt: skip
    """The elements of window b of a block: row by row, each row first by itself, so that blocks share rows."""
    if UNROLL:
        for r in tl.static_range(K0 * K1):
            for j in tl.static_range(K2):
                v, ok, this = tap(
                    x, carry, base, lane, start0, end0, start1, end1, start2, end2, stride0, stride1, stride2, real,
                    r * K2 + j, b, D0, S1, K1, D1, K2, D2, CUT0, CUT1, CUT2, R2, CARRY,
                )  # fmt: skip
                if j == 0:
                    row, row_number, row_guard = first_of(
                        number, guard, v, ok, this, inverse, largest, OP, ACC, MINIMUM, LOW, SAVE,
                        CUT0 or CUT1 or CUT2, GUARD, POWER, P, SCALED,
                    )  # fmt: skip
                else:
                    row, row_number, row_guard = joined(
                        row, row_number, row_guard, v, ok, this, inverse, largest, OP, ACC, MINIMUM, SAVE,
                        CUT0 or CUT1 or CUT2, GUARD, POWER, P, SCALED,
                    )  # fmt: skip
            if OP == 0:
                take = wins(row, best, MINIMUM)
                best = tl.where(take, row, best)
                if SAVE:
                    number = tl.where(take, row_number + (r // K1 * R0 + r % K1 * R1), number)
            else:
                best = best + row
                if GUARD:
                    guard = guard + row_guard
    else:
        for t in range(K0 * K1 * K2):
            v, ok, this = tap(
                x, carry, base, lane, start0, end0, start1, end1, start2, end2, stride0, stride1, stride2, real, t, b,
                D0, S1, K1, D1, K2, D2, CUT0, CUT1, CUT2, R2, CARRY,
            )  # fmt: skip
            best, number, guard = joined(
                best, number, guard, v, ok, this + (t // (K1 * K2) * R0 + t // K2 % K1 * R1), inverse, largest, OP,
                ACC, MINIMUM, SAVE, CUT0 or CUT1 or CUT2, GUARD, POWER, P, SCALED,
            )  # fmt: skip
    return best, number, guard


@triton.jit
def first_of(
    number, guard, v, ok, this, inverse, largest,
    OP: tl.constexpr, ACC: tl.constexpr, MINIMUM: tl.constexpr, LOW: tl.constexpr, SAVE: tl.constexpr,
    CUT: tl.constexpr, GUARD: tl.constexpr, POWER: tl.constexpr, P: tl.constexpr, SCALED: tl.constexpr,
):  # fmt: skip
    """A row of one element."""
    value = cast(v, ACC)
    row_number = number * 0 + this
    row_guard = guard * 0
    if OP == 0:
        if CUT:
            value = tl.where(ok, value, neutral(value * 0, MINIMUM, LOW))
    else:
        if POWER:
            value = power(value, largest, P, SCALED)
        if GUARD:
            row_guard = value * inverse
    return value, row_number, row_guard


@triton.jit
def outcome(
    b: tl.constexpr, x, carry, count0, count1, count2, base, lane, i0, i1, i2, start0, end0, start1, end1, start2, end2,
    stride0, stride1, stride2, outputs1, outputs2, real, zero, largest,
    D0: tl.constexpr, K0: tl.constexpr, S1: tl.constexpr, D1: tl.constexpr, K1: tl.constexpr, D2: tl.constexpr,
    K2: tl.constexpr, CUT0: tl.constexpr, CUT1: tl.constexpr, CUT2: tl.constexpr, VARY0: tl.constexpr,
    VARY1: tl.constexpr, VARY2: tl.constexpr, R0: tl.constexpr, R1: tl.constexpr, R2: tl.constexpr,
    OP: tl.constexpr, ACC: tl.constexpr, MINIMUM: tl.constexpr, LOW: tl.constexpr, SAVE: tl.constexpr,
    CARRY: tl.constexpr, N: tl.constexpr, EXACT: tl.constexpr, GUARD: tl.constexpr, P: tl.constexpr,
    SCALED: tl.constexpr, POWER: tl.constexpr, RESCALE: tl.constexpr, UNROLL: tl.constexpr,
):  # fmt: skip
    """Window b of a block: result, number and guard, the elements left out before it, n and its inverse, existence."""
    skipped = (lead(start0, D0) * R0 + lead(start1 + b * S1, D1) * R1 + lead(start2, D2) * R2).to(tl.int32)
    n, inverse = zero, zero
    if OP == 2 or RESCALE:
        n, inverse = shares(
            i0, i1 + b, i2, count0, count1, count2, outputs1, outputs2, zero + 1, N, EXACT, VARY0, VARY1, VARY2
        )
    best, number, guard = reduced(
        x, carry, base, lane, start0, end0, start1, end1, start2, end2, stride0, stride1, stride2, real, inverse,
        largest, neutral(zero, MINIMUM, LOW) if OP == 0 else zero, zero.to(tl.int32) + skipped, zero, b, D0, K0, S1, D1,
        K1, D2, K2, CUT0, CUT1, CUT2, R0, R1, R2, OP, ACC, MINIMUM, LOW, SAVE, CARRY, GUARD, P, SCALED, POWER, UNROLL,
    )  # fmt: skip
    return best, number, guard, skipped, n, inverse, real & (i1 + b < outputs1)


@triton.jit
def finish(
    y, offsets, at, found, largest,
    OP: tl.constexpr, SAVE: tl.constexpr, EXACT: tl.constexpr, GUARD: tl.constexpr, P: tl.constexpr,
    SCALED: tl.constexpr, ROOT: tl.constexpr, RESCALE: tl.constexpr,
):  # fmt: skip
    """Store one outcome of each lane."""
    best, number, guard, skipped, n, inverse, real = found
    if OP == 2:
        best = divide(best, guard, n, inverse, EXACT, GUARD)
    if ROOT:
        if RESCALE:
            best = best / n if EXACT else best * inverse
        best = root(best, largest, P, SCALED)
    tl.store(y + at, cast(best, y.dtype.element_ty), mask=real)
    if SAVE:
        tl.store(offsets + at, (number - skipped).to(offsets.dtype.element_ty), mask=real)


@triton.jit
def largest_of(
    x, base, lane, start0, end0, start1, end1, start2, end2, stride0, stride1, stride2, real, zero,
    D0: tl.constexpr, K0: tl.constexpr, S1: tl.constexpr, D1: tl.constexpr, K1: tl.constexpr, D2: tl.constexpr,
    K2: tl.constexpr, CUT0: tl.constexpr, CUT1: tl.constexpr, CUT2: tl.constexpr, R2: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The largest absolute value of each window, which powers are scaled by."""
    largest = zero
    for t in range(K0 * K1 * K2):
        v, _ok, _ = tap(
            x, x, base, lane, start0, end0, start1, end1, start2, end2, stride0, stride1, stride2, real, t, 0,
            D0, S1, K1, D1, K2, D2, CUT0, CUT1, CUT2, R2, False,
        )  # fmt: skip
        size = tl.abs(cast(v, ACC))
        largest = tl.where(wins(size, largest, False), size, largest)
    return largest


@triton.jit
def pool(
    x, y, offsets, carry, table0, table1, table2, count0, count1, count2,
    rows, lane_tiles, size0, size1, size2, outputs0, outputs1, outputs2, inner, blocks1, by0, by1, by2,
    G0: tl.constexpr, S0: tl.constexpr, D0: tl.constexpr, K0: tl.constexpr,
    G1: tl.constexpr, S1: tl.constexpr, D1: tl.constexpr, K1: tl.constexpr,
    G2: tl.constexpr, S2: tl.constexpr, D2: tl.constexpr, K2: tl.constexpr,
    LISTED0: tl.constexpr, LISTED1: tl.constexpr, LISTED2: tl.constexpr,
    CUT0: tl.constexpr, CUT1: tl.constexpr, CUT2: tl.constexpr,
    VARY0: tl.constexpr, VARY1: tl.constexpr, VARY2: tl.constexpr,
    R0: tl.constexpr, R1: tl.constexpr, R2: tl.constexpr,
    OP: tl.constexpr, ACC: tl.constexpr, MINIMUM: tl.constexpr, LOW: tl.constexpr,
    SAVE: tl.constexpr, CARRY: tl.constexpr, N: tl.constexpr, EXACT: tl.constexpr, GUARD: tl.constexpr,
    P: tl.constexpr, SCALED: tl.constexpr, POWER: tl.constexpr, ROOT: tl.constexpr,
    RESCALE: tl.constexpr,
    INNER: tl.constexpr, UNROLL: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr,
    B: tl.constexpr,
):  # fmt: skip
    """``OP`` 0 picks (max, min), 1 sums, 2 averages, 3 is a norm.

    Every lane owns B outputs in a column of axis 1: the rows that their windows share are loaded once, since equal
    loads with no store between them are merged by the compiler.
    """
    program = tl.program_id(0)
    if WIDE:  # addresses beyond 2**31 elements
        program = program.to(tl.int64)
    plane, i0, i1, i2, within, real = place(
        program, rows, lane_tiles, outputs0, blocks1, outputs2, inner, by0, by1, by2, S2 > 1, INNER, WIDE, ROWS, LANES
    )
    i1 = i1 * B
    step = outputs2 * inner
    at = ((plane * outputs0 + i0) * outputs1 + i1) * step + (i2 * inner + within)
    stride1 = plane * 0 + size2 * inner
    stride0 = stride1 * size1
    base = plane * (stride0 * size0)
    start0, end0 = window(i0, table0, outputs0, size0, G0, S0, D0, LISTED0)
    start1, end1 = window(i1, table1, outputs1, size1, G1, S1, D1, LISTED1)
    start2, end2 = window(i2, table2, outputs2, size2, G2, S2, D2, LISTED2)
    zero = tl.zeros((ROWS * LANES,), ACC)
    largest = zero
    if SCALED:
        largest = largest_of(
            x, base, within, start0, end0, start1, end1, start2, end2, stride0, stride1, inner, real, zero, D0, K0, S1,
            D1, K1, D2, K2, CUT0, CUT1, CUT2, R2, ACC,
        )  # fmt: skip
    first = outcome(
        0, x, carry, count0, count1, count2, base, within, i0, i1, i2, start0, end0, start1, end1, start2, end2, stride0, stride1,
        inner, outputs1, outputs2, real, zero, largest, D0, K0, S1, D1, K1, D2, K2, CUT0, CUT1, CUT2, VARY0, VARY1,
        VARY2, R0, R1, R2, OP, ACC, MINIMUM, LOW, SAVE, CARRY, N, EXACT, GUARD, P, SCALED, POWER, RESCALE, UNROLL,
    )  # fmt: skip
    if B > 1:
        second = outcome(
            1, x, carry, count0, count1, count2, base, within, i0, i1, i2, start0, end0, start1, end1, start2, end2, stride0, stride1,
            inner, outputs1, outputs2, real, zero, largest, D0, K0, S1, D1, K1, D2, K2, CUT0, CUT1, CUT2, VARY0, VARY1,
            VARY2, R0, R1, R2, OP, ACC, MINIMUM, LOW, SAVE, CARRY, N, EXACT, GUARD, P, SCALED, POWER, RESCALE, UNROLL,
        )  # fmt: skip
    if B > 2:
        third = outcome(
            2, x, carry, count0, count1, count2, base, within, i0, i1, i2, start0, end0, start1, end1, start2, end2, stride0, stride1,
            inner, outputs1, outputs2, real, zero, largest, D0, K0, S1, D1, K1, D2, K2, CUT0, CUT1, CUT2, VARY0, VARY1,
            VARY2, R0, R1, R2, OP, ACC, MINIMUM, LOW, SAVE, CARRY, N, EXACT, GUARD, P, SCALED, POWER, RESCALE, UNROLL,
        )  # fmt: skip
        fourth = outcome(
            3, x, carry, count0, count1, count2, base, within, i0, i1, i2, start0, end0, start1, end1, start2, end2, stride0, stride1,
            inner, outputs1, outputs2, real, zero, largest, D0, K0, S1, D1, K1, D2, K2, CUT0, CUT1, CUT2, VARY0, VARY1,
            VARY2, R0, R1, R2, OP, ACC, MINIMUM, LOW, SAVE, CARRY, N, EXACT, GUARD, P, SCALED, POWER, RESCALE, UNROLL,
        )  # fmt: skip
    finish(y, offsets, at, first, largest, OP, SAVE, EXACT, GUARD, P, SCALED, ROOT, RESCALE)
    if B > 1:
        finish(y, offsets, at + step, second, largest, OP, SAVE, EXACT, GUARD, P, SCALED, ROOT, RESCALE)
    if B > 2:
        finish(y, offsets, at + 2 * step, third, largest, OP, SAVE, EXACT, GUARD, P, SCALED, ROOT, RESCALE)
        finish(y, offsets, at + 3 * step, fourth, largest, OP, SAVE, EXACT, GUARD, P, SCALED, ROOT, RESCALE)


@triton.jit
def joined(
    best, number, guard, v, ok, this, inverse, largest,
    OP: tl.constexpr, ACC: tl.constexpr, MINIMUM: tl.constexpr, SAVE: tl.constexpr, CUT: tl.constexpr, GUARD: tl.constexpr, POWER: tl.constexpr, P: tl.constexpr,
    SCALED: tl.constexpr,
):  # fmt: skip
    """The running result with one more element."""
    value = cast(v, ACC)
    if OP == 0:
        take = wins(value, best, MINIMUM)
        if CUT:
            take = take & ok
        best = tl.where(take, value, best)
        if SAVE:
            number = tl.where(take, this, number)
    else:
        if POWER:
            value = power(value, largest, P, SCALED)
        best = best + value
        if GUARD:
            guard = guard + value * inverse
    return best, number, guard
