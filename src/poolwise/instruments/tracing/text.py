"""A trace as text: one line a layer, then what it adds up to and what pooling saved."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from .result import Layer, Trace

__all__ = ["HEADS", "WHAT_COLUMNS_ARE", "cells", "figure", "findings", "hidden", "left_out", "rows", "shown", "table"]

HEADS = ("layer", "output", "step", "sees", "from", "MACs", "pools", "moves", "memory")
WHAT_COLUMNS_ARE = (
    "step: input elements from one output to the next. sees: receptive field, padding counted; all: the whole input, with "
    "what windows alone see in brackets. ~: an operation without a rule, taken to see everything. from: where the first "
    "output's field begins; below 0 is padding. MACs: multiply-adds. pools: window elements that are pooled. moves: bytes "
    "read and written. memory: bytes of the output."
)
WIDTH = 80
LEAST_NAME, MOST_NAME = 12, 26
"""Characters of a layer's name; of a longer one the middle is left out. Where the screen is narrow it is names that give
way, never figures."""


def figure(number: float) -> str:
    """Three digits and a letter.

    >>> figure(0), figure(999), figure(1_234_567), figure(4_089_184_256)
    ('0', '999', '1.23M', '4.09G')
    """
    if number < 1000:
        return f"{number:.0f}"
    for unit in "kMGTPE":
        number /= 1000
        if number < 999.5:
            digits = 2 if number < 9.995 else 1 if number < 99.95 else 0
            return f"{number:.{digits}f}{unit}"
    return f"{number:.3g}"


def _each(values: Any) -> str:
    """One number where the axes agree."""
    texts = [str(value) if isinstance(value, (int, str, Fraction)) else f"{value:g}" for value in values]
    return texts[0] if len(set(texts)) == 1 else "x".join(texts)


def _first(layer: Layer) -> str:
    """Where the first output's field begins, where outputs have fields of their own."""
    known = layer.reduction and layer.start and None not in layer.start and not layer.single
    return _each(layer.start) if known else "-"


def cells(layer: Layer) -> tuple[str, ...]:
    """A layer's line."""
    sees = "-"
    if layer.receptive_field:
        plain = layer.reduction is not None and layer.local_field is None and not layer.single
        sees = "all" if layer.sees_everything and not plain else _each(layer.receptive_field)
        sees += f" ({_each(layer.local_field)})" if layer.local_field and not layer.single else ""
        sees = ("~" if layer.assumed else "") + sees
    return (
        layer.name, "x".join(map(str, layer.output[1:])) or "-", _each(layer.reduction) if layer.reduction else "-", sees,
        _first(layer), figure(layer.multiply_adds) if layer.multiply_adds else "-",
        figure(layer.pool_operations) if layer.pool_operations else "-", figure(layer.bytes_moved),
        figure(layer.output_bytes),
    )  # fmt: skip


def rows(layers: Sequence[Layer], width: int) -> list[tuple[str, ...]]:
    """The layers' lines, for a table of so many characters with one space between its columns."""
    lines = [cells(layer) for layer in layers]
    others = sum(1 + max(len(line[column]) for line in [HEADS, *lines]) for column in range(1, len(HEADS)))
    most = min(max(width - others, LEAST_NAME), MOST_NAME)
    return [(_short(name, most), *rest) for name, *rest in lines]


def _short(name: str, most: int) -> str:
    if len(name) <= most:
        return name
    end = (most - 2) * 2 // 3  # the end says which layer it is, the beginning where
    return f"{name[: most - 2 - end]}..{name[-end:]}"


def shown(found: Trace, everything: bool = False) -> list[Layer]:
    """Layers that compute, pool, or put maps together; or all of them."""
    return [layer for layer in found.layers if everything or layer.counts]


def hidden(found: Trace) -> int:
    """How many are left out otherwise: they normalise, activate or rearrange."""
    return sum(not layer.counts for layer in found.layers)


def left_out(found: Trace) -> str:
    """A sentence about them."""
    number = hidden(found)
    return f"{number} layer{'s' * (number != 1)} that only normalise, activate or rearrange"


def findings(found: Trace) -> list[str]:
    """What it adds up to, in sentences."""
    lines = [
        f"In all {found.multiply_adds:,} multiply-adds and {found.pool_operations:,} pooling operations on an input of "
        f"{' x '.join(map(str, found.input))}, {found.parameters:,} parameters.",
        f"Memory: {figure(found.bytes_moved)} bytes read and written, {figure(found.output_bytes)} in outputs, "
        f"{figure(found.peak_bytes)} at once.",
    ]
    return lines + _saved(found) + [f"Note: {note}." for note in found.notes]


def _saved(found: Trace) -> list[str]:
    saved = found.undecimated
    if saved is None:
        return []
    if not saved.strides:
        if saved.stopped:
            return [f"With every pooling stride at 1 nothing can be said: it stops at {saved.stopped}."]
        return ["No pooling stride is larger than 1: pooling saves nothing here."]
    up_to = " up to there" if saved.stopped else ""
    lines = []
    if saved.stopped:
        lines.append(f"With every pooling stride at 1 the network does not run through. It stops at {saved.stopped}.")
    else:
        lines.append("What pooling saved: with every pooling stride at 1 it would take")
    figures = (saved.multiply_adds, saved.pool_operations, saved.output_bytes)
    for what, now, then in zip(
        ("multiply-adds", "pooling operations", "bytes in outputs"), saved.before, figures, strict=True
    ):
        times = f", {then / now:.1f} times as many" if now else ""
        lines.append(f"  {then:,} {what}{up_to} instead of {now:,}{times}")
    if saved.enlarged:
        lines.append(f"  counted with as many inputs as they would then need: {', '.join(saved.enlarged)}")
    return lines


def table(found: Trace, everything: bool = False) -> str:
    """The whole, in plain text."""
    all_rows = [HEADS, *rows(shown(found, everything), WIDTH)]
    widths = [max(len(row[column]) for row in all_rows) for column in range(len(HEADS))]
    lines = []
    for row in all_rows:
        parts = [
            text.ljust(width) if column < 2 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(" ".join(parts).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    if not everything and hidden(found):
        lines.append(f"(left out: {left_out(found)})")
    return "\n".join([*lines, "", *findings(found)])
