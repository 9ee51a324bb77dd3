"""What kernels are made of. Imported late: this module needs triton."""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["cast", "divide", "inside", "lead", "neutral", "over", "place", "power", "root", "shares", "window", "wins"]


@triton.jit
def cast(value, TO: tl.constexpr):
    """To a dtype; bfloat16 by way of float32, which Triton's interpreter needs."""
    if value.dtype == tl.bfloat16 or TO == tl.bfloat16:  # noqa: SIM300
        return value.to(tl.float32).to(TO)
    else:
        return value.to(TO)


@triton.jit
def over(n, d, packed, SAME: tl.constexpr, WIDE: tl.constexpr):
    """``n // d`` by a multiplication: `launch.packed` says with what. A division is 20 instructions.

    `SAME`: so many neighbours in n are equal, which the compiler cannot see behind the multiplication; it must know to
    load 16 bytes at a time.
    """
    if WIDE:
        return n // d
    else:
        high = tl.umulhi((n + n).to(tl.uint32), (packed >> 6).to(tl.uint32))
        quotient = high >> (packed & 63).to(tl.uint32)
        if SAME > 1:  # said of the shift itself: on the cast it would be folded away
            quotient = tl.max_constancy(quotient, [SAME])
        return quotient.to(tl.int32)


@triton.jit
def place(
    program, rows, lane_tiles, n0, n1, n2, inner, by0, by1, by2, FAR: tl.constexpr, INNER: tl.constexpr,
    WIDE: tl.constexpr, ROWS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """What a lane owns in ``[plane, n0, n1, n2, inner]``: all five, and whether it exists.

    The tile is one-dimensional: in two dimensions, loads at a stride of 2 were dealt out along the rows (16 cycles
    each on an H100, not 2). `FAR`: neighbouring lanes read far apart. Told that results are contiguous, the compiler
    would give each thread 4 or 16 of them (548 us for windows of 4 at a stride of 4, where 230 us do).
    """
    spot = tl.arange(0, ROWS * LANES)
    row = (program // lane_tiles) * ROWS + spot // LANES
    column = spot % LANES
    if FAR and not INNER:
        column = tl.max_contiguous(column, [1])
    lane = (program % lane_tiles) * LANES + column
    if INNER:
        above = over(row, n2, by2, LANES, WIDE)
        i2 = row - above * n2
        real = (row < rows) & (lane < inner)
        within = lane
    else:
        above = row
        i2 = lane
        real = (row < rows) & (lane < n2)
        within = lane * 0
    higher = over(above, n1, by1, LANES, WIDE)
    plane = over(higher, n0, by0, LANES, WIDE)
    return plane, higher - plane * n0, above - higher * n1, i2, within, real


@triton.jit
def window(i, table, outputs, size, G: tl.constexpr, S: tl.constexpr, D: tl.constexpr, LISTED: tl.constexpr):
    """First nominal position of window i, and one past the last that is real."""
    if LISTED:
        start = tl.load(table + i, mask=i < outputs, other=0)
        count = tl.load(table + outputs + i, mask=i < outputs, other=1)
        return start, start + (count - 1) * D + 1
    else:
        return G + i * S, size + i * 0


@triton.jit
def lead(start, D: tl.constexpr):
    """Nominal taps before the first real one."""
    return (tl.maximum(-start, 0) + (D - 1)) // D


@triton.jit
def inside(position, end):
    return (position >= 0) & (position < end)


@triton.jit
def neutral(zero, MINIMUM: tl.constexpr, LOW: tl.constexpr):
    """What never wins against an element: the far end of the type, which LOW says for signed integers."""
    if zero.dtype.is_floating():
        return zero + (float("inf") if MINIMUM else float("-inf"))
    elif zero.dtype.is_int_unsigned():
        # Not ~zero: that is an exclusive or with -1, which the interpreter of Triton 3.7 cannot put in an unsigned type.
        return zero - 1 if MINIMUM else zero
    else:
        return ~(zero + LOW) if MINIMUM else zero + LOW


@triton.jit
def wins(value, best, MINIMUM: tl.constexpr):
    """Value is ahead of best, which comes earlier: strictly beyond, or the first NaN."""
    if value.dtype.is_floating():
        beyond = ~(value >= best) if MINIMUM else ~(value <= best)
        return beyond & (best == best)
    else:
        return (value < best) if MINIMUM else (value > best)


@triton.jit
def power(value, largest, P: tl.constexpr, SCALED: tl.constexpr):
    """``|v|^p``; of v over the largest where powers would leave the range."""
    size = tl.abs(value)
    if SCALED:
        usable = (largest > 0) & (largest < float("inf"))
        size = size / tl.where(usable, largest, 1.0)
    if P == 1.0:
        term = size
    elif P == 2.0:
        term = size * size
    elif P == 3.0:
        term = size * size * size
    else:
        term = tl.where(size > 0, tl.exp(tl.log(tl.where(size > 0, size, 1.0)) * tl.full((1,), P, size.dtype)), size)
    return term


@triton.jit
def root(total, largest, P: tl.constexpr, SCALED: tl.constexpr):
    """``t^(1/p)``, scaled back."""
    size = total
    if P == 1.0:
        norm = size
    elif P == 2.0:
        norm = tl.sqrt(size)
    else:
        one = tl.full((1,), 1.0, size.dtype)
        exponent = one / tl.full((1,), P, size.dtype)
        norm = tl.where(size > 0, tl.exp(tl.log(tl.where(size > 0, size, 1.0)) * exponent), size)
    if SCALED:
        usable = (largest > 0) & (largest < float("inf"))
        norm = tl.where(usable | (largest == 0), norm * tl.where(usable, largest, 1.0), largest)
    return norm


@triton.jit
def divide(total, guard, n, inverse, EXACT: tl.constexpr, GUARD: tl.constexpr):
    """The mean. `guard` is the sum of quotients, finite where the sum of finite elements overflows."""
    mean = total / n if EXACT else total * inverse
    if GUARD:
        mean = tl.where(tl.abs(total) == float("inf"), guard, mean)
    return mean


@triton.jit
def shares(
    i0, i1, i2, count0, count1, count2, outputs1, outputs2, one,
    N: tl.constexpr, EXACT: tl.constexpr, VARY0: tl.constexpr, VARY1: tl.constexpr, VARY2: tl.constexpr,
):  # fmt: skip
    """What to divide by where `EXACT`, and its inverse. Tables hold counts, or inverses of them."""
    n = one * (N if EXACT else 1.0 / N)
    if VARY0:
        n = n * tl.load(count0 + i0).to(one.dtype)
    if VARY1:
        n = n * tl.load(count1 + i1, mask=i1 < outputs1, other=1).to(one.dtype)
    if VARY2:
        n = n * tl.load(count2 + i2, mask=i2 < outputs2, other=1).to(one.dtype)
    if EXACT:
        return n, 1.0 / n
    else:
        return n, n
