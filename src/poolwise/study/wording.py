"""Numbers as people read them. Nothing else in the study formats one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .statistics import FEWEST_SEEDS, Difference, Estimate, Verdict

__all__ = [
    "MARKS",
    "UNITS",
    "among",
    "count",
    "estimated",
    "interval",
    "level",
    "listed",
    "plural",
    "probability",
    "times",
    "verdict_line",
]

MINUS = "\u2212"


@dataclass(frozen=True)
class Unit:
    """How a number of a kind is written."""

    scale: float
    level: str
    """After a value."""
    step: str
    """After a difference."""
    digits: int


UNITS = {
    "share": Unit(100, " %", " points", 1),
    "points": Unit(100, " points", " points", 1),
    "pixels": Unit(1, " px", " px", 1),
    "relative": Unit(1, "", "", 2),
    "count": Unit(1, "", "", 0),
    "bytes": Unit(1, " bytes", " bytes", 0),
    "ms": Unit(1, " ms", " ms", 1),
}

MARKS = {
    Verdict.HELD: "\u2713",
    Verdict.IN_PART: "\u25d0",
    Verdict.HELD_NOT: "\u2717",
    Verdict.NOT_SHOWN: "=",
    Verdict.NOT_MEASURED: "?",
}


def _number(value: float, digits: int, *, sign: bool = False) -> str:
    if not math.isfinite(value):
        return "\u2013"
    rounded = round(value, digits) + 0.0  # no negative zero
    text = f"{abs(rounded):,.{digits}f}"
    return f"{MINUS if rounded < 0 else '+' if sign and rounded > 0 else ''}{text}"


def _digits(unit: Unit, *halves: float | None) -> int:
    """One more digit where intervals are narrow."""
    known = [abs(half) * unit.scale for half in halves if half is not None]
    return unit.digits + 1 if unit.digits and known and max(known) < 3 * 10.0 ** (-unit.digits) else unit.digits


def level(value: float, unit: str, *, half: float | None = None) -> str:
    """``12.3 %``."""
    rule = UNITS[unit]
    return _number(value * rule.scale, _digits(rule, half)) + rule.level


def estimated(found: Estimate | None, unit: str) -> str:
    """``12.3 % (11.9 to 12.7)``; the mean alone from fewer seeds."""
    if found is None:
        return "\u2013"
    half = None if found.high is None else found.high - found.mean
    text = level(found.mean, unit, half=half)
    if found.low is None or found.high is None:
        return text
    digits, scale = _digits(UNITS[unit], half), UNITS[unit].scale
    return f"{text} ({_number(found.low * scale, digits)} to {_number(found.high * scale, digits)})"


def step(found: Difference, unit: str, *, absolute: bool = False) -> str:
    """``+1.2 points``."""
    rule = UNITS[unit]
    value = abs(found.mean) if absolute else found.mean
    return _number(value * rule.scale, _digits(rule, found.high - found.mean), sign=not absolute) + rule.step


def interval(found: Difference, unit: str, *, absolute: bool = False) -> str:
    """``-1.4 to +0.6``; of the size where the sign is told in words."""
    rule = UNITS[unit]
    digits = _digits(rule, found.high - found.mean)
    ends = [found.low * rule.scale, found.high * rule.scale]
    if absolute and found.mean < 0:
        ends = [-ends[1], -ends[0]]
    return " to ".join(_number(end, digits, sign=not absolute) for end in ends)


def among(found: Difference | None, unit: str, sides: tuple[str, str], less: str, more: str) -> str:
    """What a comparison says: ``4.2 points smaller with A than with B (3.0 to 5.4; ...)``, or that it shows nothing."""
    if found is None:
        return f"not compared, fewer than {FEWEST_SEEDS} seeds in common"
    if not found.sign:
        return (
            f"no difference shown ({sides[0]} minus {sides[1]}: {step(found, unit)}, interval {interval(found, unit)}; "
            f"{plural(found.n, 'seed')})"
        )
    word = more if found.sign > 0 else less
    return (
        f"{step(found, unit, absolute=True)} {word} {sides[0]} than {sides[1]} (interval {interval(found, unit, absolute=True)}; "
        f"{plural(found.n, 'seed')}; {times(found.effect)} the spread between seeds)"
    )


def times(ratio: float) -> str:
    """``3.1 times``."""
    return f"{_number(ratio, 0 if ratio >= 10 else 1 if ratio >= 0.95 else 2)} times"


def count(value: float) -> str:
    """``1.2 million``."""
    for scale, word in ((1e9, " billion"), (1e6, " million"), (1e3, " thousand")):
        if value >= scale:
            return f"{value / scale:.{2 if value < 10 * scale else 1 if value < 100 * scale else 0}f}{word}"
    return f"{value:.0f}"


def probability(p: float) -> str:
    """Corrected p-values, none written as zero."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def plural(number: int, word: str) -> str:
    """``1 seed``, ``5 seeds``."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def listed(names: Sequence[str], last: str = "and") -> str:
    """``a, b and c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}" if names else "none"


def verdict_line(verdict: Verdict) -> str:
    """Mark and words: colour alone says nothing."""
    return f"{MARKS[verdict]} {verdict.value}"


def counted(value: float, unit: str) -> str:
    """A number that was counted or timed."""
    if unit == "bytes":
        for scale, word in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
            if value >= scale:
                return f"{value / scale:.1f} {word}"
        return f"{value:.0f} bytes"
    return count(value) if unit == "count" else level(value, unit)
