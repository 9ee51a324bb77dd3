"""Kernels of medians. Imported late: this module needs triton.

Small windows are held in registers: of a set that is just large enough, the smallest and the largest element cannot be in
the middle, so both are forgotten and the next one is taken in, until one or two are left. Large windows are read again and
again: a pivot halves the range of bits between two elements, and the range shrinks to elements that there are, so that
it ends after as many passes as the type has bits, mostly after half of them. Neither orders -0 and +0, which are ranked
in scan order: where a middle is zero and the window holds -0, zeros are counted.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .elements import cast, inside, neutral, place, window

__all__ = ["median_large", "median_small", "spot", "tap"]


@triton.jit
def spot(
    program, rows, lane_tiles, n0, between0, n1, between1, n2, m0, m1, m2, inner, by0, by1, by2,
    FAR: tl.constexpr, DEEP: tl.constexpr, INNER: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr,
    LANES: tl.constexpr,
):  # fmt: skip
    """What a lane owns of ``[outer, n0, between0, n1, between1, n2, inner]``, whether it exists, its address, and in
    ``[outer, m0, between0, m1, between1, m2, inner]`` where its plane starts and the strides of the first two axes.

    `DEEP`: there are axes that are not pooled between those that are.
    """
    if DEEP:
        plane, i1, j1, i2, within, real = place(
            program, rows, lane_tiles, n1, between1, n2, inner, by0, by1, by2, FAR, INNER, WIDE, ROWS, LANES
        )
        j0 = plane % between0
        plane = plane // between0
        i0 = plane % n0
        plane = plane // n0
    else:
        plane, i0, i1, i2, within, real = place(
            program, rows, lane_tiles, n0, n1, n2, inner, by0, by1, by2, FAR, INNER, WIDE, ROWS, LANES
        )
        j0 = 0
        j1 = 0
    own = (((plane * n0 + i0) * between0 + j0) * n1 + i1) * between1 + j1
    own = own * (n2 * inner) + (i2 * inner + within)
    stride1 = (plane * 0 + m2 * inner) * between1
    stride0 = stride1 * m1 * between0
    base = plane * (stride0 * m0) + (j0 * m1 * stride1 + j1 * m2 * inner)
    return i0, i1, i2, within, real, own, base, stride0, stride1


@triton.jit
def tap(
    x, base, within, inner, start0, end0, start1, end1, start2, end2, stride0, stride1, real, r, j,
    D0: tl.constexpr, K1: tl.constexpr, D1: tl.constexpr, D2: tl.constexpr, CUT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Element j of row r of every window, and whether it is there."""
    p0 = start0 + r // K1 * D0
    p1 = start1 + r % K1 * D1
    p2 = start2 + j * D2
    ok = real
    if CUT:
        ok = (ok & inside(p0, end0)) & (inside(p1, end1) & inside(p2, end2))
    at = (base + p0 * stride0 + p1 * stride1) + (p2 * inner + within)
    return cast(tl.load(x + at, mask=ok, other=0), ACC), ok


@triton.jit
def negative_zero(value):
    """Where the value is -0."""
    if value.dtype.is_floating():
        return (value == 0) & (bits_of(value) < 0)
    else:
        return value != value


@triton.jit
def bits_of(value):
    if value.dtype.primitive_bitwidth == 64:
        return value.to(tl.int64, bitcast=True)
    else:
        return value.to(tl.int32, bitcast=True)


@triton.jit
def ordered(bits):
    """Bits of a float to integers in its order, and back: the map is its own inverse."""
    if bits.dtype.primitive_bitwidth == 64:
        return bits ^ ((bits >> 63) & 0x7FFFFFFFFFFFFFFF)
    else:
        return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@triton.jit
def halfway(low, high):
    """The floor of the mean, which leaves no type."""
    return (low & high) + ((low ^ high) >> 1)


@triton.jit
def pivot_of(low, high):
    """An element not below low and, where it is below high, not high itself."""
    if low.dtype.is_floating():
        # Both zeros become -0: the elements next to zero have a pivot between them and it.
        a = tl.where(low == 0, -1, ordered(bits_of(low)))
        b = tl.where(high == 0, -1, ordered(bits_of(high)))
        return ordered(halfway(a, b)).to(low.dtype, bitcast=True)
    else:
        return halfway(low, high)


@triton.jit
def mean(low, high):
    """Of the two in the middle, as the definition has it; of integers rounded half to even."""
    if low.dtype.is_floating():
        total = low + high
        return tl.where(tl.abs(total) == float("inf"), low * 0.5 + high * 0.5, total * 0.5)
    else:
        floor = halfway(low, high)
        return floor + ((low ^ high) & floor & 1)


@triton.jit
def without_ends(values, S: tl.constexpr):
    """The S values but the smallest and the largest; if there are two, those in order."""
    H: tl.constexpr = S // 2
    for i in tl.static_range(H):
        low = tl.minimum(values[i], values[S - 1 - i])
        high = tl.maximum(values[i], values[S - 1 - i])
        values = values[:i] + (low,) + values[i + 1 : S - 1 - i] + (high,) + values[S - i :]  # noqa: RUF005
    for i in tl.static_range(1, S - H):
        low = tl.minimum(values[0], values[i])
        high = tl.maximum(values[0], values[i])
        values = (low,) + values[1:i] + (high,) + values[i + 1 :]  # noqa: RUF005
    for i in tl.static_range(H, S - 1):
        low = tl.minimum(values[i], values[S - 1])
        high = tl.maximum(values[i], values[S - 1])
        values = values[:i] + (low,) + values[i + 1 : S - 1] + (high,)  # noqa: RUF005
    return values


@triton.jit
def zeros_ranked(
    result, low, high, count, minus, x, base, within, inner, start0, end0, start1, end1, start2, end2, stride0, stride1, real,
    D0: tl.constexpr, K0: tl.constexpr, D1: tl.constexpr, K1: tl.constexpr, D2: tl.constexpr, K2: tl.constexpr,
    CUT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """The result with the sign that zeros in the middle have when they are ranked in scan order."""
    asked = minus & (low == 0) & (high == 0)
    rows = tl.max(asked.to(tl.int32), 0) * (K0 * K1)
    below = count * 0
    r = 0
    while r < rows:  # not range(rows), which Triton 3.6's interpreter does not take
        for j in range(K2):
            value, ok = tap(
                x, base, within, inner, start0, end0, start1, end1, start2, end2, stride0, stride1, real, r, j, D0, K1,
                D1, D2, CUT, ACC,
            )  # fmt: skip
            below += (ok & (value < 0)).to(tl.int32)
        r += 1
    first = (count - 1) // 2 - below
    second = count // 2 - below
    seen = count * 0
    both = count * 0
    r = 0
    while r < rows:
        for j in range(K2):
            value, ok = tap(
                x, base, within, inner, start0, end0, start1, end1, start2, end2, stride0, stride1, real, r, j, D0, K1,
                D1, D2, CUT, ACC,
            )  # fmt: skip
            negative = ok & negative_zero(value)
            both += (negative & (seen == first)).to(tl.int32) + (negative & (seen == second)).to(tl.int32)
            seen += (ok & (value == 0)).to(tl.int32)
        r += 1
    zero = tl.zeros(count.shape, ACC)
    # A product: to Triton 3.6 the constant -0.0 is one that equals 0, so 0.
    return tl.where(asked, tl.where(both == 2, zero * -1.0, zero), result)


@triton.jit
def taken(value, ok, more, minus, undefined, lowest, highest, CUT: tl.constexpr):
    """An element as it enters the set, or the type's ends by turns in place of those that are not there: they leave the
    middle where it was, but for one end too many where an odd number is missing, which `more` says."""
    if value.dtype.is_floating():
        minus = minus | (ok & negative_zero(value))
        undefined = undefined | (ok & (value != value))
    if CUT:
        value = tl.where(ok, value, tl.where(more, lowest, highest))
        more = more ^ ~ok
    return value, more, minus, undefined


@triton.jit
def median_small(
    x, y, offsets, carry, table0, table1, table2,
    rows, lane_tiles, size0, size1, size2, outputs0, outputs1, outputs2, between0, between1, inner, by0, by1, by2,
    G0: tl.constexpr, S0: tl.constexpr, D0: tl.constexpr, K0: tl.constexpr,
    G1: tl.constexpr, S1: tl.constexpr, D1: tl.constexpr, K1: tl.constexpr,
    G2: tl.constexpr, S2: tl.constexpr, D2: tl.constexpr, K2: tl.constexpr,
    LISTED0: tl.constexpr, LISTED1: tl.constexpr, LISTED2: tl.constexpr, CUT: tl.constexpr, ACC: tl.constexpr,
    LOW: tl.constexpr, DEEP: tl.constexpr, INNER: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr,
    LANES: tl.constexpr,
):  # fmt: skip
    """Windows that registers hold half of."""
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
    K: tl.constexpr = K0 * K1 * K2
    # An odd number of elements, some of which are missing: one more that is not there makes two in the middle.
    N: tl.constexpr = K + K % 2 if CUT else K
    HELD: tl.constexpr = N // 2 + 2 if N > 3 else N
    zero = tl.zeros((ROWS * LANES,), ACC)
    lowest, highest = neutral(zero, False, LOW), neutral(zero, True, LOW)
    more = zero != zero
    minus, undefined = more, more
    count = tl.zeros((ROWS * LANES,), tl.int32)
    for t in tl.static_range(N):
        value, ok = highest, more & ~more
        if t < K:
            value, ok = tap(
                x, base, within, inner, start0, end0, start1, end1, start2, end2, stride0, stride1, real, t // K2, t % K2, D0, K1,
                D1, D2, CUT, ACC,
            )  # fmt: skip
        value, more, minus, undefined = taken(value, ok, more, minus, undefined, lowest, highest, CUT)
        count += ok.to(tl.int32)
        if t == 0:
            values = (value,)
        elif t < HELD:
            values = values + (value,)  # noqa: RUF005
        else:
            values = without_ends(values, HELD + HELD - t)
            values = values[1 : HELD + HELD - t - 1] + (value,)  # noqa: RUF005
    LEFT: tl.constexpr = HELD + HELD - N
    values = without_ends(values, LEFT)
    low = values[(LEFT - 1) // 2]
    high = values[LEFT // 2]
    if LEFT == 4:
        low, high = tl.minimum(low, high), tl.maximum(low, high)
    if CUT:
        high = tl.where(more, low, high)
    result = mean(low, high)
    if zero.dtype.is_floating():
        result = zeros_ranked(
            result, low, high, count, minus, x, base, within, inner, start0, end0, start1, end1, start2, end2, stride0,
            stride1, real, D0, K0, D1, K1, D2, K2, CUT, ACC,
        )  # fmt: skip
        result = tl.where(undefined, float("nan"), result)
    tl.store(y + own, cast(result, y.dtype.element_ty), mask=real)


@triton.jit
def parted(
    pivot, below, above, count, x, base, within, inner, start0, end0, start1, end1, start2, end2, stride0, stride1, real,
    D0: tl.constexpr, K0: tl.constexpr, D1: tl.constexpr, K1: tl.constexpr, D2: tl.constexpr, K2: tl.constexpr,
    CUT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """How many elements are not above the pivot, the largest of those, and the smallest of the others."""
    under = count * 0
    for r in range(K0 * K1):
        for j in range(K2):
            value, ok = tap(
                x, base, within, inner, start0, end0, start1, end1, start2, end2, stride0, stride1, real, r, j, D0, K1,
                D1, D2, CUT, ACC,
            )  # fmt: skip
            less = ok & (value <= pivot)
            under += less.to(tl.int32)
            below = tl.where(less & (value > below), value, below)
            above = tl.where(ok & (value > pivot) & (value < above), value, above)
    return under, below, above


@triton.jit
def median_large(
    x, y, offsets, carry, table0, table1, table2,
    rows, lane_tiles, size0, size1, size2, outputs0, outputs1, outputs2, between0, between1, inner, by0, by1, by2,
    G0: tl.constexpr, S0: tl.constexpr, D0: tl.constexpr, K0: tl.constexpr,
    G1: tl.constexpr, S1: tl.constexpr, D1: tl.constexpr, K1: tl.constexpr,
    G2: tl.constexpr, S2: tl.constexpr, D2: tl.constexpr, K2: tl.constexpr,
    LISTED0: tl.constexpr, LISTED1: tl.constexpr, LISTED2: tl.constexpr, CUT: tl.constexpr, ACC: tl.constexpr,
    LOW: tl.constexpr, DEEP: tl.constexpr, INNER: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr,
    LANES: tl.constexpr,
):  # fmt: skip
    """Windows of any size: the lower middle lies between two elements, which pass by pass come closer."""
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
    zero = tl.zeros((ROWS * LANES,), ACC)
    low, high = neutral(zero, True, LOW), neutral(zero, False, LOW)
    minus = zero != zero
    undefined = minus
    count = tl.zeros((ROWS * LANES,), tl.int32)
    for r in range(K0 * K1):
        for j in range(K2):
            value, ok = tap(
                x, base, within, inner, start0, end0, start1, end1, start2, end2, stride0, stride1, real, r, j, D0, K1,
                D1, D2, CUT, ACC,
            )  # fmt: skip
            low = tl.where(ok & (value < low), value, low)
            high = tl.where(ok & (value > high), value, high)
            count += ok.to(tl.int32)
            _, _, minus, undefined = taken(value, ok, minus, minus, undefined, low, high, False)
    low = tl.where(undefined, zero, low)
    high = tl.where(undefined, zero, high)
    rank = (count - 1) // 2
    left = tl.max((low < high).to(tl.int32), 0)
    while left > 0:
        under, below, above = parted(
            pivot_of(low, high), low, high, count, x, base, within, inner, start0, end0, start1, end1, start2, end2, stride0,
            stride1, real, D0, K0, D1, K1, D2, K2, CUT, ACC,
        )  # fmt: skip
        take = under > rank
        high = tl.where(take, below, high)
        low = tl.where(take, low, above)
        left = tl.max((low < high).to(tl.int32), 0)
    # The upper middle is the same, or the next larger one.
    under, _, above = parted(
        low, low, neutral(zero, True, LOW), count, x, base, within, inner, start0, end0, start1, end1, start2, end2, stride0,
        stride1, real, D0, K0, D1, K1, D2, K2, CUT, ACC,
    )  # fmt: skip
    high = tl.where(under > count // 2, low, above)
    result = mean(low, high)
    if zero.dtype.is_floating():
        result = zeros_ranked(
            result, low, high, count, minus, x, base, within, inner, start0, end0, start1, end1, start2, end2, stride0,
            stride1, real, D0, K0, D1, K1, D2, K2, CUT, ACC,
        )  # fmt: skip
        result = tl.where(undefined, float("nan"), result)
    tl.store(y + own, cast(result, y.dtype.element_ty), mask=real)
