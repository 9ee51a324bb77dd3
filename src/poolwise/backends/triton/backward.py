"""Backward kernels in gather form. Imported late: this module needs triton.

Every lane owns an input element and walks the outputs that may see it, in scan order: no atomics, the same bits on
every run. The axes are those of the forward kernels; where `LISTED`, a table holds, per input position, the outputs
that see it and the position's number in each.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .elements import cast, lead, place

__all__ = ["flat_indices", "spread"]


@triton.jit
def seeing(
    i, t, table, outputs, size,
    G: tl.constexpr, S: tl.constexpr, D: tl.constexpr, K: tl.constexpr, LISTED: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """Candidate t of the outputs that see position i, the number of i in its window, and whether it does see it.

    Candidates come in increasing order: later ones start later.
    """
    if LISTED:
        output = tl.load(table + (t * size + i), mask=i < size, other=-1)
        digit = tl.load(table + ((C + t) * size + i), mask=i < size, other=0)
        return output, digit, output >= 0
    else:
        output = (i - G) // S - (C - 1 - t)
        start = G + output * S
        beyond = i - start
        ok = (output >= 0) & (output < outputs)
        if C > 1 or S > D * (K - 1) + 1:
            ok = ok & (beyond <= D * (K - 1))
        if D > 1:
            ok = ok & (beyond % D == 0)
        digit = beyond // D
        if G < 0:
            digit = digit - lead(start, D)
        return output, digit, ok


@triton.jit
def slope(value, norm, P: tl.constexpr):
    """``sign(x) (|x|/y)^(p-1)``; 0 where x or the norm is 0, the ratio of two infinities is 1."""
    size = tl.abs(value)
    norm = tl.abs(norm)
    live = (norm > 0) & (size > 0)
    infinite = (size == float("inf")) & (norm == float("inf"))
    plain = live & ~infinite
    ratio = tl.where(plain, size, 1.0) / tl.where(plain, norm, 1.0)
    if P == 1.0:
        power = tl.where(live, 1.0, 0.0).to(size.dtype)
    elif P == 2.0:
        power = ratio
    elif P == 3.0:
        power = ratio * ratio
    else:
        exponent = tl.full((1,), P, size.dtype) - 1.0
        power = tl.where(ratio > 0, tl.exp(tl.log(tl.where(ratio > 0, ratio, 1.0)) * exponent), ratio)
        if P < 1.0:
            power = tl.where(ratio == 0, float("inf"), power)
    power = tl.where(value < 0, -power, power)
    undefined = (size != size) | (norm != norm)
    return tl.where(live, power, tl.where(undefined, float("nan"), 0.0))


@triton.jit
def spread(
    gy, gx, offsets, rest, x, y, table0, table1, table2, count0, count1, count2,
    rows, lane_tiles, size0, size1, size2, outputs0, outputs1, outputs2, inner, by0, by1, by2,
    G0: tl.constexpr, S0: tl.constexpr, D0: tl.constexpr, K0: tl.constexpr,
    G1: tl.constexpr, S1: tl.constexpr, D1: tl.constexpr, K1: tl.constexpr,
    G2: tl.constexpr, S2: tl.constexpr, D2: tl.constexpr, K2: tl.constexpr,
    LISTED0: tl.constexpr, LISTED1: tl.constexpr, LISTED2: tl.constexpr,
    C0: tl.constexpr, C1: tl.constexpr, C2: tl.constexpr,
    VARY0: tl.constexpr, VARY1: tl.constexpr, VARY2: tl.constexpr,
    R0: tl.constexpr, R1: tl.constexpr, R2: tl.constexpr, REST: tl.constexpr,
    OP: tl.constexpr, ACC: tl.constexpr, N: tl.constexpr, MORE: tl.constexpr,
    P: tl.constexpr, INVERT: tl.constexpr,
    INNER: tl.constexpr, UNROLL: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """The gradient at the input. ``OP`` 0 routes by offsets, 1 spreads, 2 spreads over n, 3 is a norm's.

    With `MORE`, offsets are numbers whose leading digit (over `REST`) belongs to this axis; the rest of the
    picked one is stored for the next.
    """
    program = tl.program_id(0)
    if WIDE:  # addresses beyond 2**31 elements
        program = program.to(tl.int64)
    plane, i0, i1, i2, within, real = place(
        program, rows, lane_tiles, size0, size1, size2, inner, by0, by1, by2, False, INNER, WIDE, ROWS, LANES
    )
    result = ((plane * size0 + i0) * size1 + i1) * (size2 * inner) + (i2 * inner + within)
    stride1 = plane * 0 + outputs2 * inner
    stride0 = stride1 * outputs1
    base = plane * (stride0 * outputs0)
    total = tl.zeros((ROWS * LANES,), ACC)
    kept = tl.zeros((ROWS * LANES,), tl.int32) + REST  # no element's number: nothing was picked here
    value = tl.zeros((ROWS * LANES,), ACC)
    if OP == 3:
        value = cast(tl.load(x + result, mask=real, other=0), ACC)
    if UNROLL:
        for t in tl.static_range(C0 * C1 * C2):
            total, kept = shared(
                total, kept, value, t, gy, offsets, y, base, within, i0, i1, i2, real,
                table0, table1, table2, count0, count1, count2,
                size0, size1, size2, outputs0, outputs1, outputs2, stride0, stride1, inner,
                G0, S0, D0, K0, G1, S1, D1, K1, G2, S2, D2, K2, LISTED0, LISTED1, LISTED2, C0, C1, C2,
                VARY0, VARY1, VARY2, R0, R1, R2, REST, OP, ACC, MORE, P,
            )  # fmt: skip
    else:
        for t in range(C0 * C1 * C2):
            total, kept = shared(
                total, kept, value, t, gy, offsets, y, base, within, i0, i1, i2, real,
                table0, table1, table2, count0, count1, count2,
                size0, size1, size2, outputs0, outputs1, outputs2, stride0, stride1, inner,
                G0, S0, D0, K0, G1, S1, D1, K1, G2, S2, D2, K2, LISTED0, LISTED1, LISTED2, C0, C1, C2,
                VARY0, VARY1, VARY2, R0, R1, R2, REST, OP, ACC, MORE, P,
            )  # fmt: skip
    if N != 1:
        total = total * (1.0 / N) if INVERT else total * N
    tl.store(gx + result, cast(total, gx.dtype.element_ty), mask=real)
    if MORE:
        tl.store(rest + result, kept.to(rest.dtype.element_ty), mask=real)


@triton.jit
def shared(
    total, kept, value, t, gy, offsets, y, base, within, i0, i1, i2, real,
    table0, table1, table2, count0, count1, count2,
    size0, size1, size2, outputs0, outputs1, outputs2, stride0, stride1, inner,
    G0: tl.constexpr, S0: tl.constexpr, D0: tl.constexpr, K0: tl.constexpr,
    G1: tl.constexpr, S1: tl.constexpr, D1: tl.constexpr, K1: tl.constexpr,
    G2: tl.constexpr, S2: tl.constexpr, D2: tl.constexpr, K2: tl.constexpr,
    LISTED0: tl.constexpr, LISTED1: tl.constexpr, LISTED2: tl.constexpr,
    C0: tl.constexpr, C1: tl.constexpr, C2: tl.constexpr,
    VARY0: tl.constexpr, VARY1: tl.constexpr, VARY2: tl.constexpr,
    R0: tl.constexpr, R1: tl.constexpr, R2: tl.constexpr, REST: tl.constexpr,
    OP: tl.constexpr, ACC: tl.constexpr, MORE: tl.constexpr, P: tl.constexpr,
):  # fmt: skip
    """The running gradient with the share of one more output."""
    o0, d0, ok0 = seeing(i0, t // (C1 * C2), table0, outputs0, size0, G0, S0, D0, K0, LISTED0, C0)
    o1, d1, ok1 = seeing(i1, t // C2 % C1, table1, outputs1, size1, G1, S1, D1, K1, LISTED1, C1)
    o2, d2, ok2 = seeing(i2, t % C2, table2, outputs2, size2, G2, S2, D2, K2, LISTED2, C2)
    ok = (real & ok0) & (ok1 & ok2)
    at = (base + o0 * stride0 + o1 * stride1) + (o2 * inner + within)
    g = cast(tl.load(gy + at, mask=ok, other=0), ACC)
    if OP == 0:
        number = tl.load(offsets + at, mask=ok, other=0).to(tl.int32)
        digit = number // REST if MORE else number
        mine = ok & (digit == (d0 * R0 + d1 * R1 + d2 * R2))
        g = tl.where(mine, g, 0.0)
        if MORE:
            kept = tl.where(mine, number - digit * REST, kept)
    if VARY0:
        g = g * tl.load(count0 + o0, mask=ok0, other=1).to(ACC)
    if VARY1:
        g = g * tl.load(count1 + o1, mask=ok1, other=1).to(ACC)
    if VARY2:
        g = g * tl.load(count2 + o2, mask=ok2, other=1).to(ACC)
    if OP == 3:
        norm = cast(tl.load(y + at, mask=ok, other=0), ACC)
        g = tl.where(ok, g * slope(value, norm, P), 0.0)
    return total + g, kept


@triton.jit
def flat_indices(
    offsets, flat, start0, start1, start2, rows, lane_tiles, outputs0, outputs1, outputs2, inner,
    STEP0: tl.constexpr, STEP1: tl.constexpr, STEP2: tl.constexpr,
    R0: tl.constexpr, R1: tl.constexpr, R2: tl.constexpr, stride0, stride1, stride2,
    WIDE: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Offsets inside the windows to flat positions in a plane. Rows run over all outputs, lanes over `inner`."""
    program = tl.program_id(0)
    if WIDE:
        program = program.to(tl.int64)
    spot = tl.arange(0, ROWS * LANES)
    row = (program // lane_tiles) * ROWS + spot // LANES
    lane = (program % lane_tiles) * LANES + spot % LANES
    real = (row < rows) & (lane < inner)
    number = tl.load(offsets + (row * inner + lane), mask=real, other=0).to(tl.int64)
    i2 = row % outputs2
    i1 = row // outputs2 % outputs1
    i0 = row // outputs2 // outputs1 % outputs0
    d0 = number // R0
    number -= d0 * R0
    d1 = number // R1
    d2 = number - d1 * R1
    at = (tl.load(start0 + i0).to(tl.int64) + d0 * STEP0) * stride0
    at += (tl.load(start1 + i1).to(tl.int64) + d1 * STEP1) * stride1
    at += (tl.load(start2 + i2).to(tl.int64) + d2 * STEP2) * stride2
    tl.store(flat + (row * inner + lane), at, mask=real)
