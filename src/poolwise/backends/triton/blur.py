"""The kernel of blurs and of their gradients: weighted sums over listed elements. Imported late: this needs triton.

Forward, result i reads ``G + S*i + D*j`` with weight j. Backward, element i gathers from the outputs that see it, in
increasing order, each with the weight that it saw the element with: no atomics, the same bits on every run. Results
``first <= i < last`` are such on every axis; the others, which borders fold or cut, read positions and shares off a table.
All of it comes from geometry and from the operator's weights.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .elements import cast, place

__all__ = ["blur", "blur_back"]


@triton.jit
def entry(
    i, t, size, outputs, positions, shares, weights, first, last, edges,
    G: tl.constexpr, S: tl.constexpr, D: tl.constexpr, K: tl.constexpr, T: tl.constexpr, EDGED: tl.constexpr,
    BACK: tl.constexpr,
):  # fmt: skip
    """Where entry t of result i lies, its share, and whether there is one.

    `size` counts what is read, `outputs` the results. Entries that there are come first on a table, not so backward.
    """
    if K == 1 and S == 1 and G == 0 and not EDGED:
        at = i
        ok = i < outputs
        share = tl.full((1,), 1.0, weights.dtype.element_ty)
    elif BACK:
        at = (i - G) // S - (T - 1 - t)
        beyond = (i - G) - at * S
        ok = (beyond >= 0) & (beyond <= D * (K - 1)) & (at >= 0) & (at < size)
        if D > 1:
            ok = ok & (beyond % D == 0)
        share = tl.load(weights + beyond // D, mask=ok, other=0)
    else:
        at = G + i * S + t * D
        ok = i < outputs
        share = tl.load(weights + t)
    if EDGED:
        regular = (i >= first) & (i < last)
        listed = (i < outputs) & ~regular
        row = tl.where(i < first, i, i - (last - first)) + t * edges
        at = tl.where(regular, at, tl.load(positions + row, mask=listed, other=-1))
        share = tl.where(regular, share, tl.load(shares + row, mask=listed, other=0))
        ok = tl.where(regular, ok, at >= 0)
    return at, share, ok


@triton.jit
def weighed(
    t, x, base, i0, i1, i2, within, real, shift, size0, size1, size2, outputs0, outputs1, outputs2,
    stride0, stride1, inner,
    positions0, positions1, positions2, shares0, shares1, shares2, weights0, weights1, weights2,
    first0, first1, first2, last0, last1, last2, edges0, edges1, edges2,
    G0: tl.constexpr, S0: tl.constexpr, D0: tl.constexpr, K0: tl.constexpr, T0: tl.constexpr, EDGED0: tl.constexpr,
    G1: tl.constexpr, S1: tl.constexpr, D1: tl.constexpr, K1: tl.constexpr, T1: tl.constexpr, EDGED1: tl.constexpr,
    G2: tl.constexpr, S2: tl.constexpr, D2: tl.constexpr, K2: tl.constexpr, T2: tl.constexpr, EDGED2: tl.constexpr,
    ACC: tl.constexpr, SHIFT: tl.constexpr, BACK: tl.constexpr,
):  # fmt: skip
    """Entry t's element, its difference from `shift` and its share; zeros where there is none."""
    p0, s0, ok0 = entry(
        i0, t // (T1 * T2), size0, outputs0, positions0, shares0, weights0, first0, last0, edges0, G0, S0, D0, K0, T0,
        EDGED0, BACK,
    )  # fmt: skip
    p1, s1, ok1 = entry(
        i1, t // T2 % T1, size1, outputs1, positions1, shares1, weights1, first1, last1, edges1, G1, S1, D1, K1, T1,
        EDGED1, BACK,
    )  # fmt: skip
    p2, s2, ok2 = entry(
        i2, t % T2, size2, outputs2, positions2, shares2, weights2, first2, last2, edges2, G2, S2, D2, K2, T2,
        EDGED2, BACK,
    )  # fmt: skip
    ok = (real & ok0) & (ok1 & ok2)
    at = (base + p0 * stride0 + p1 * stride1) + (p2 * inner + within)
    value = cast(tl.load(x + at, mask=ok, other=0), ACC)
    apart = value
    if SHIFT:
        apart = tl.where(ok, value - shift, 0.0)
    return value, apart, (s0 * s1) * s2


@triton.jit
def sums(
    program, x, y, positions0, positions1, positions2, shares0, shares1, shares2, weights0, weights1, weights2,
    inside0, inside1, inside2,
    rows, lane_tiles, size0, size1, size2, outputs0, outputs1, outputs2, inner, by0, by1, by2,
    first0, first1, first2, last0, last1, last2, edges0, edges1, edges2,
    G0: tl.constexpr, S0: tl.constexpr, D0: tl.constexpr, K0: tl.constexpr, T0: tl.constexpr, EDGED0: tl.constexpr,
    G1: tl.constexpr, S1: tl.constexpr, D1: tl.constexpr, K1: tl.constexpr, T1: tl.constexpr, EDGED1: tl.constexpr,
    G2: tl.constexpr, S2: tl.constexpr, D2: tl.constexpr, K2: tl.constexpr, T2: tl.constexpr, EDGED2: tl.constexpr,
    ACC: tl.constexpr, SHIFT: tl.constexpr, LOSES: tl.constexpr, BACK: tl.constexpr,
    INNER: tl.constexpr, UNROLL: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """One result a lane.

    With `SHIFT` it is the first element plus the weighted differences from it: equal elements come back to the bit where
    their products with the weights are rounded. `LOSES`: padding keeps a part of the weight.
    """
    if WIDE:  # addresses beyond 2**31 elements
        program = program.to(tl.int64)
    plane, i0, i1, i2, within, real = place(
        program, rows, lane_tiles, outputs0, outputs1, outputs2, inner, by0, by1, by2, S2 > 1 and not BACK, INNER, WIDE,
        ROWS, LANES,
    )  # fmt: skip
    result = ((plane * outputs0 + i0) * outputs1 + i1) * (outputs2 * inner) + (i2 * inner + within)
    stride1 = plane * 0 + size2 * inner
    stride0 = stride1 * size1
    base = plane * (stride0 * size0)
    total = tl.zeros((ROWS * LANES,), ACC)
    plain = total
    shift = total
    if SHIFT:
        shift, _, _ = weighed(
            0, x, base, i0, i1, i2, within, real, total, size0, size1, size2, outputs0, outputs1, outputs2, stride0,
            stride1, inner, positions0, positions1, positions2, shares0, shares1, shares2, weights0, weights1, weights2,
            first0, first1, first2, last0, last1, last2, edges0, edges1, edges2, G0, S0, D0, K0, T0, EDGED0, G1, S1, D1,
            K1, T1, EDGED1, G2, S2, D2, K2, T2, EDGED2, ACC, False, BACK,
        )  # fmt: skip
    if UNROLL:
        for t in tl.static_range(T0 * T1 * T2):
            value, apart, share = weighed(
                t, x, base, i0, i1, i2, within, real, shift, size0, size1, size2, outputs0, outputs1, outputs2, stride0,
                stride1, inner, positions0, positions1, positions2, shares0, shares1, shares2, weights0, weights1,
                weights2, first0, first1, first2, last0, last1, last2, edges0, edges1, edges2, G0, S0, D0, K0, T0,
                EDGED0, G1, S1, D1, K1, T1, EDGED1, G2, S2, D2, K2, T2, EDGED2, ACC, SHIFT, BACK,
            )  # fmt: skip
            total += apart * share
            if SHIFT:
                plain += value * share
    else:
        for t in range(T0 * T1 * T2):
            value, apart, share = weighed(
                t, x, base, i0, i1, i2, within, real, shift, size0, size1, size2, outputs0, outputs1, outputs2, stride0,
                stride1, inner, positions0, positions1, positions2, shares0, shares1, shares2, weights0, weights1,
                weights2, first0, first1, first2, last0, last1, last2, edges0, edges1, edges2, G0, S0, D0, K0, T0,
                EDGED0, G1, S1, D1, K1, T1, EDGED1, G2, S2, D2, K2, T2, EDGED2, ACC, SHIFT, BACK,
            )  # fmt: skip
            total += apart * share
            if SHIFT:
                plain += value * share
    if SHIFT:
        if LOSES:
            kept = tl.load(inside0 + i0) * tl.load(inside1 + i1)
            shift = shift * (kept * tl.load(inside2 + i2, mask=i2 < outputs2, other=1))
        total = shift + total
        # Differences of infinities, and of numbers far apart, are no numbers where the sum is one.
        total = tl.where(tl.abs(total) < float("inf"), total, plain)
    tl.store(y + result, cast(total, y.dtype.element_ty), mask=real)


@triton.jit
def blur(
    x, y, offsets, carry, positions0, positions1, positions2, shares0, shares1, shares2, weights0, weights1, weights2,
    inside0, inside1, inside2,
    rows, lane_tiles, size0, size1, size2, outputs0, outputs1, outputs2, inner, by0, by1, by2,
    first0, first1, first2, last0, last1, last2, edges0, edges1, edges2,
    G0: tl.constexpr, S0: tl.constexpr, D0: tl.constexpr, K0: tl.constexpr, T0: tl.constexpr, EDGED0: tl.constexpr,
    G1: tl.constexpr, S1: tl.constexpr, D1: tl.constexpr, K1: tl.constexpr, T1: tl.constexpr, EDGED1: tl.constexpr,
    G2: tl.constexpr, S2: tl.constexpr, D2: tl.constexpr, K2: tl.constexpr, T2: tl.constexpr, EDGED2: tl.constexpr,
    ACC: tl.constexpr, SHIFT: tl.constexpr, LOSES: tl.constexpr,
    INNER: tl.constexpr, UNROLL: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Forward: every lane owns an output."""
    sums(
        tl.program_id(0), x, y, positions0, positions1, positions2, shares0, shares1, shares2, weights0, weights1,
        weights2, inside0, inside1, inside2, rows, lane_tiles, size0, size1, size2, outputs0, outputs1, outputs2, inner, by0, by1, by2,
        first0, first1, first2, last0, last1, last2, edges0, edges1, edges2, G0, S0, D0, K0, T0, EDGED0, G1, S1, D1,
        K1, T1, EDGED1, G2, S2, D2, K2, T2, EDGED2, ACC, SHIFT, LOSES, False, INNER, UNROLL, WIDE, ROWS, LANES,
    )  # fmt: skip


@triton.jit
def blur_back(
    gy, gx, offsets, rest, x, y, positions0, positions1, positions2, shares0, shares1, shares2,
    weights0, weights1, weights2, inside0, inside1, inside2,
    rows, lane_tiles, size0, size1, size2, outputs0, outputs1, outputs2, inner, by0, by1, by2,
    first0, first1, first2, last0, last1, last2, edges0, edges1, edges2,
    G0: tl.constexpr, S0: tl.constexpr, D0: tl.constexpr, K0: tl.constexpr, T0: tl.constexpr, EDGED0: tl.constexpr,
    G1: tl.constexpr, S1: tl.constexpr, D1: tl.constexpr, K1: tl.constexpr, T1: tl.constexpr, EDGED1: tl.constexpr,
    G2: tl.constexpr, S2: tl.constexpr, D2: tl.constexpr, K2: tl.constexpr, T2: tl.constexpr, EDGED2: tl.constexpr,
    ACC: tl.constexpr, SHIFT: tl.constexpr, LOSES: tl.constexpr,
    INNER: tl.constexpr, UNROLL: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Backward: every lane owns an element of the input. Outputs are what is read: their number is `size`."""
    sums(
        tl.program_id(0), gy, gx, positions0, positions1, positions2, shares0, shares1, shares2, weights0, weights1,
        weights2, inside0, inside1, inside2, rows, lane_tiles, size0, size1, size2, outputs0, outputs1, outputs2, inner, by0, by1, by2,
        first0, first1, first2, last0, last1, last2, edges0, edges1, edges2, G0, S0, D0, K0, T0, EDGED0, G1, S1, D1,
        K1, T1, EDGED1, G2, S2, D2, K2, T2, EDGED2, ACC, SHIFT, LOSES, True, INNER, UNROLL, WIDE, ROWS, LANES,
    )  # fmt: skip
