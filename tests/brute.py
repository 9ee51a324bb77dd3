"""Windows by brute force: every position is listed and looked at. Shares no formula with the library."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction

__all__ = ["Window", "adaptive", "fractional", "regions", "same_pads", "sliding"]


@dataclass(frozen=True)
class Window:
    """One output's window: the real positions that it sees, those on explicit padding, and all nominal ones."""

    taps: list[int]
    padded: int
    nominal: list[int]


def sliding(n: int, k: int, s: int, low: int, high: int, d: int, ceil_mode: bool) -> list[Window]:
    """Slide over the padded axis until a window sticks out: by anything (floor), or by a stride or more (ceil)."""
    windows: list[Window] = []
    while True:
        origin = len(windows) * s - low
        nominal = [origin + d * j for j in range(k)]
        overhang = nominal[-1] - (n + high - 1)
        if overhang > 0 and not (ceil_mode and overhang < s):
            break
        taps = [p for p in nominal if 0 <= p < n]
        padded = sum(-low <= p < 0 or n <= p < n + high for p in nominal)
        windows.append(Window(taps, padded, nominal))
    if ceil_mode and len(windows) > 1 and windows[-1].nominal[0] >= n:
        windows.pop()  # torch: one last window that starts beyond the input is left out
    return windows


def same_pads(n: int, k: int, s: int, d: int, lower: bool) -> tuple[int, int]:
    """The least padding for ceil(n / s) windows; the odd one after, or before."""
    outputs, total = len(range(0, n, s)), 0
    while len(sliding(n, k, s, 0, total, d, False)) < outputs:
        total += 1
    half = total // 2
    return (total - half, half) if lower else (half, total - half)


def adaptive(n: int, m: int) -> list[list[int]]:
    """Bin i holds every element that overlaps the i-th of m equal parts of the axis."""
    part = Fraction(n, m)
    return [[p for p in range(n) if p + 1 > i * part and p < (i + 1) * part] for i in range(m)]


def fractional(n: int, m: int, k: int, u: float) -> list[list[int]]:
    """torch's generate_intervals (FractionalMaxPooling.h), in double precision."""
    sequence = [0] * m
    if m > 1:
        alpha = (n - k) / (m - 1)
        for i in range(m - 1):
            sequence[i] = int((i + u) * alpha) - int(u * alpha)
    if m > 0:
        sequence[m - 1] = n - k
    return [list(range(start, start + k)) for start in sequence]


def regions(n: int, m: int, u: Fraction) -> list[list[int]]:
    """Graham's disjoint regions: bounds a_i = ceil(alpha (i + u)), counted from the first, the last at the end; exact."""
    alpha = Fraction(n, m)
    bounds = [math.ceil(alpha * (i + u)) - math.ceil(alpha * u) for i in range(m)] + [n]
    return [list(range(low, high)) for low, high in itertools.pairwise(bounds)]
