"""The backward kernel of small evenly spaced windows. Imported late: this module needs triton.

An input position is ``S*q + r``. For one phase r, which outputs see it and as which element is known at compile time: the
tests of the general kernel become comparisons with constants. All phases of a block are computed side by side before
any is stored, and the compiler merges their equal loads: a 3 x 3 window at a stride of 2 loads 4 gradients for 4
elements, not 16.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .elements import cast, lead, over, place

__all__ = ["spread_phases"]


@triton.jit
def phase(
    k: tl.constexpr, gy, offsets, base, within, inner, q0, q1, q2, real, stride0, stride1, outputs0, outputs1, outputs2,
    count0, count1, count2,
    G0: tl.constexpr, S0: tl.constexpr, K0: tl.constexpr, F0: tl.constexpr,
    G1: tl.constexpr, S1: tl.constexpr, K1: tl.constexpr, F1: tl.constexpr,
    G2: tl.constexpr, S2: tl.constexpr, K2: tl.constexpr, F2: tl.constexpr,
    VARY0: tl.constexpr, VARY1: tl.constexpr, VARY2: tl.constexpr,
    R0: tl.constexpr, R1: tl.constexpr, R2: tl.constexpr,
    OP: tl.constexpr, ACC: tl.constexpr, N: tl.constexpr, INVERT: tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    """The gradient at phase k of every block: the outputs that see it, in scan order."""
    e0: tl.constexpr = k // (F1 * F2) - G0
    e1: tl.constexpr = k // F2 % F1 - G1
    e2: tl.constexpr = k % F2 - G2
    U0: tl.constexpr = (K0 - e0 % S0 + S0 - 1) // S0
    U1: tl.constexpr = (K1 - e1 % S1 + S1 - 1) // S1
    U2: tl.constexpr = (K2 - e2 % S2 + S2 - 1) // S2
    total = tl.zeros((SIZE,), ACC)
    for t in tl.static_range(U0 * U1 * U2):
        u0 = U0 - 1 - t // (U1 * U2)
        u1 = U1 - 1 - t // U2 % U1
        u2 = U2 - 1 - t % U2
        o0 = q0 * (F0 // S0) + (e0 // S0 - u0)
        o1 = q1 * (F1 // S1) + (e1 // S1 - u1)
        o2 = q2 * (F2 // S2) + (e2 // S2 - u2)
        ok0 = (o0 >= 0) & (o0 < outputs0)
        ok1 = (o1 >= 0) & (o1 < outputs1)
        ok2 = (o2 >= 0) & (o2 < outputs2)
        ok = (real & ok0) & (ok1 & ok2)
        at = (base + o0 * stride0 + o1 * stride1) + (o2 * inner + within)
        g = cast(tl.load(gy + at, mask=ok, other=0), ACC)
        if OP == 0:
            number = tl.load(offsets + at, mask=ok, other=0).to(tl.int32)
            skipped = o0 * 0
            if G0 < 0:
                skipped = skipped + lead(G0 + S0 * o0, 1) * R0
            if G1 < 0:
                skipped = skipped + lead(G1 + S1 * o1, 1) * R1
            if G2 < 0:
                skipped = skipped + lead(G2 + S2 * o2, 1) * R2
            wanted = (e0 % S0 + S0 * u0) * R0 + (e1 % S1 + S1 * u1) * R1 + (e2 % S2 + S2 * u2) * R2
            g = tl.where(number + skipped.to(tl.int32) == wanted, g, 0.0)
        if VARY0:
            g = g * tl.load(count0 + o0, mask=ok0, other=1).to(ACC)
        if VARY1:
            g = g * tl.load(count1 + o1, mask=ok1, other=1).to(ACC)
        if VARY2:
            g = g * tl.load(count2 + o2, mask=ok2, other=1).to(ACC)
        total = total + g
    if N != 1:
        total = total * INVERT
    return total


@triton.jit
def store_one(
    gx, total, k: tl.constexpr, plane, q0, q1, q2, within, real, size0, size1, size2, inner,
    F0: tl.constexpr, F1: tl.constexpr, F2: tl.constexpr,
):  # fmt: skip
    i0 = q0 * F0 + k // (F1 * F2)
    i1 = q1 * F1 + k // F2 % F1
    i2 = q2 * F2 + k % F2
    ok = (real & (i0 < size0)) & ((i1 < size1) & (i2 < size2))
    at = ((plane * size0 + i0) * size1 + i1) * (size2 * inner) + (i2 * inner + within)
    tl.store(gx + at, cast(total, gx.dtype.element_ty), mask=ok)


@triton.jit
def store_two(
    gx, even, odd, k: tl.constexpr, program, rows, lane_tiles, blocks0, blocks1, by0, by1, size0, size1, size2,
    WIDE: tl.constexpr, F0: tl.constexpr, F1: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Neighbours along the last axis, interleaved: stores of 16 bytes, not every other element."""
    spot = tl.arange(0, 2 * ROWS * LANES)
    row = (program // lane_tiles) * ROWS + spot // (2 * LANES)
    i2 = (program % lane_tiles) * (2 * LANES) + spot % (2 * LANES)
    higher = over(row, blocks1, by1, 2 * LANES, WIDE)
    plane = over(higher, blocks0, by0, 2 * LANES, WIDE)
    i1 = (row - higher * blocks1) * F1 + k // 2 % F1
    i0 = (higher - plane * blocks0) * F0 + k // (2 * F1)
    ok = ((row < rows) & (i0 < size0)) & ((i1 < size1) & (i2 < size2))
    at = ((plane * size0 + i0) * size1 + i1) * size2 + i2
    both = tl.reshape(tl.join(even, odd), (2 * ROWS * LANES,))
    tl.store(gx + at, cast(both, gx.dtype.element_ty), mask=ok)


@triton.jit
def four(
    k: tl.constexpr, gy, offsets, base, within, inner, q0, q1, q2, real, stride0, stride1, outputs0, outputs1, outputs2,
    count0, count1, count2,
    G0: tl.constexpr, S0: tl.constexpr, K0: tl.constexpr, F0: tl.constexpr,
    G1: tl.constexpr, S1: tl.constexpr, K1: tl.constexpr, F1: tl.constexpr,
    G2: tl.constexpr, S2: tl.constexpr, K2: tl.constexpr, F2: tl.constexpr,
    VARY0: tl.constexpr, VARY1: tl.constexpr, VARY2: tl.constexpr,
    R0: tl.constexpr, R1: tl.constexpr, R2: tl.constexpr,
    OP: tl.constexpr, ACC: tl.constexpr, N: tl.constexpr, INVERT: tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    """The gradients at phases k to k + 3, as many as there are."""
    PHASES: tl.constexpr = F0 * F1 * F2
    first = phase(
        k, gy, offsets, base, within, inner, q0, q1, q2, real, stride0, stride1, outputs0, outputs1, outputs2, count0,
        count1, count2, G0, S0, K0, F0, G1, S1, K1, F1, G2, S2, K2, F2, VARY0, VARY1, VARY2, R0, R1, R2, OP, ACC, N,
        INVERT, SIZE,
    )  # fmt: skip
    second, third, fourth = first, first, first
    if k + 1 < PHASES:
        second = phase(
            k + 1, gy, offsets, base, within, inner, q0, q1, q2, real, stride0, stride1, outputs0, outputs1, outputs2, count0,
            count1, count2, G0, S0, K0, F0, G1, S1, K1, F1, G2, S2, K2, F2, VARY0, VARY1, VARY2, R0, R1, R2, OP, ACC, N,
            INVERT, SIZE,
        )  # fmt: skip
    if k + 2 < PHASES:
        third = phase(
            k + 2, gy, offsets, base, within, inner, q0, q1, q2, real, stride0, stride1, outputs0, outputs1, outputs2, count0,
            count1, count2, G0, S0, K0, F0, G1, S1, K1, F1, G2, S2, K2, F2, VARY0, VARY1, VARY2, R0, R1, R2, OP, ACC, N,
            INVERT, SIZE,
        )  # fmt: skip
    if k + 3 < PHASES:
        fourth = phase(
            k + 3, gy, offsets, base, within, inner, q0, q1, q2, real, stride0, stride1, outputs0, outputs1, outputs2, count0,
            count1, count2, G0, S0, K0, F0, G1, S1, K1, F1, G2, S2, K2, F2, VARY0, VARY1, VARY2, R0, R1, R2, OP, ACC, N,
            INVERT, SIZE,
        )  # fmt: skip
    return first, second, third, fourth


@triton.jit
def store_four(
    gx, totals, k: tl.constexpr, program, rows, lane_tiles, blocks0, blocks1, by0, by1, size0, size1, size2, plane, q0, q1,
    q2, within, real, inner, INNER: tl.constexpr, WIDE: tl.constexpr, F0: tl.constexpr, F1: tl.constexpr,
    F2: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Store phases k to k + 3, as many as there are; neighbours along the last axis together."""
    PHASES: tl.constexpr = F0 * F1 * F2
    first, second, third, fourth = totals
    if INNER or F2 == 1:
        store_one(gx, first, k, plane, q0, q1, q2, within, real, size0, size1, size2, inner, F0, F1, F2)
        if k + 1 < PHASES:
            store_one(gx, second, k + 1, plane, q0, q1, q2, within, real, size0, size1, size2, inner, F0, F1, F2)
        if k + 2 < PHASES:
            store_one(gx, third, k + 2, plane, q0, q1, q2, within, real, size0, size1, size2, inner, F0, F1, F2)
        if k + 3 < PHASES:
            store_one(gx, fourth, k + 3, plane, q0, q1, q2, within, real, size0, size1, size2, inner, F0, F1, F2)
    else:
        store_two(
            gx, first, second, k, program, rows, lane_tiles, blocks0, blocks1, by0, by1, size0, size1, size2, WIDE, F0, F1,
            ROWS, LANES,
        )  # fmt: skip
        if k + 2 < PHASES:
            store_two(
                gx, third, fourth, k + 2, program, rows, lane_tiles, blocks0, blocks1, by0, by1, size0, size1, size2, WIDE,
                F0, F1, ROWS, LANES,
            )  # fmt: skip


@triton.jit
def spread_phases(
    gy, gx, offsets, rest, x, y, count0, count1, count2,
    rows, lane_tiles, size0, size1, size2, outputs0, outputs1, outputs2, inner, blocks0, blocks1, blocks2, by0, by1, by2,
    G0: tl.constexpr, S0: tl.constexpr, K0: tl.constexpr, F0: tl.constexpr,
    G1: tl.constexpr, S1: tl.constexpr, K1: tl.constexpr, F1: tl.constexpr,
    G2: tl.constexpr, S2: tl.constexpr, K2: tl.constexpr, F2: tl.constexpr,
    VARY0: tl.constexpr, VARY1: tl.constexpr, VARY2: tl.constexpr,
    R0: tl.constexpr, R1: tl.constexpr, R2: tl.constexpr,
    OP: tl.constexpr, ACC: tl.constexpr, N: tl.constexpr, INVERT: tl.constexpr,
    INNER: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """As `spread`, for up to 8 phases: F positions per axis and block."""
    program = tl.program_id(0)
    if WIDE:  # addresses beyond 2**31 elements
        program = program.to(tl.int64)
    plane, q0, q1, q2, within, real = place(
        program, rows, lane_tiles, blocks0, blocks1, blocks2, inner, by0, by1, by2, False, INNER, WIDE, ROWS, LANES
    )
    stride1 = plane * 0 + outputs2 * inner
    stride0 = stride1 * outputs1
    base = plane * (stride0 * outputs0)
    SIZE: tl.constexpr = ROWS * LANES
    low = four(
        0, gy, offsets, base, within, inner, q0, q1, q2, real, stride0, stride1, outputs0, outputs1, outputs2, count0,
        count1, count2, G0, S0, K0, F0, G1, S1, K1, F1, G2, S2, K2, F2, VARY0, VARY1, VARY2, R0, R1, R2, OP, ACC, N,
        INVERT, SIZE,
    )  # fmt: skip
    if F0 * F1 * F2 > 4:
        high = four(
            4, gy, offsets, base, within, inner, q0, q1, q2, real, stride0, stride1, outputs0, outputs1, outputs2, count0,
            count1, count2, G0, S0, K0, F0, G1, S1, K1, F1, G2, S2, K2, F2, VARY0, VARY1, VARY2, R0, R1, R2, OP, ACC, N,
            INVERT, SIZE,
        )  # fmt: skip
    store_four(
        gx, low, 0, program, rows, lane_tiles, blocks0, blocks1, by0, by1, size0, size1, size2, plane, q0, q1, q2, within,
        real, inner, INNER, WIDE, F0, F1, F2, ROWS, LANES,
    )  # fmt: skip
    if F0 * F1 * F2 > 4:
        store_four(
            gx, high, 4, program, rows, lane_tiles, blocks0, blocks1, by0, by1, size0, size1, size2, plane, q0, q1, q2,
            within, real, inner, INNER, WIDE, F0, F1, F2, ROWS, LANES,
        )  # fmt: skip
