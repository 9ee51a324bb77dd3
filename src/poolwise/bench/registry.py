"""The cells. Not a product of all axes but a choice; the tests say that no axis is forgotten.

Tags: ``headline`` (the picture), ``quick`` (a minute), ``full`` (only when everything is asked for).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from ..messages import refuse
from .case import Case

__all__ = ["PRESETS", "REGISTRY", "matches", "select", "sliding"]

PRESETS = ("quick", "default", "full")
BIG = (32, 64, 112, 112)  # 103 MB of float32
MIDDLE = (16, 64, 112, 112)  # 51 MB
BODY = (4, 64, 112, 112)  # 13 MB
WINDOWS = ("2/2", "3/2 p1", "3/1 p1", "5/1 p2")
BOTH = ("first", "last")


def sliding(
    op: str,
    windows: str,
    shape: tuple[int, ...],
    *tags: str,
    mode: str = "forward",
    dtype: str = "float32",
    layout: str = "first",
) -> Case:
    """A case from its windows as written: ``"3/2 p1 d2 ceil"``, ``"adaptive 7"`` or ``"global"``."""
    rank = len(shape) - 2
    words = windows.split()
    facts: dict[str, Any] = {"op": op, "mode": mode, "dtype": dtype, "layout": layout, "shape": shape}
    facts["tags"] = frozenset(tags)
    if words[0] == "global":
        return Case(kind="global", **facts)
    if words[0] == "adaptive":
        return Case(kind="adaptive", window=(int(words[1]),) * rank, **facts)
    window, stride = map(int, words[0].split("/"))
    numbers = {"p": 0, "d": 1} | {word[0]: int(word[1:]) for word in words[1:] if word != "ceil"}
    return Case(
        window=(window,) * rank,
        stride=(stride,) * rank,
        padding=(numbers["p"],) * rank,
        dilation=(numbers["d"],) * rank,
        ceil_mode="ceil" in words,
        **facts,
    )


def _values() -> Iterator[Case]:
    """The common windows of the combining operators, on arrays that no cache holds."""
    for op in ("max", "avg"):
        for windows in WINDOWS:
            shape = BIG if windows in ("2/2", "3/2 p1") else MIDDLE
            for layout in BOTH:
                yield sliding(op, windows, shape, "headline", layout=layout)
    for op in ("min", "sum"):
        for windows in WINDOWS:
            yield sliding(op, windows, MIDDLE, "headline")
        for windows in WINDOWS:
            yield sliding(op, windows, MIDDLE, *(() if windows == "2/2" else ("full",)), layout="last")
    for layout in BOTH:
        yield sliding("lp", "2/2", MIDDLE, "headline" if layout == "first" else "full", layout=layout)
    yield sliding("lp", "3/2 p1", MIDDLE)
    yield sliding("lp", "2/2", MIDDLE, "full", dtype="float64")
    for layout in BOTH:
        for windows in ("2/2", "3/2 p1"):
            yield sliding("max", windows, BODY, "quick", layout=layout)
        yield sliding("avg", "2/2", BODY, "quick", layout=layout)
    yield sliding("avg", "3/1 p1", BODY, "quick")


def _training() -> Iterator[Case]:
    """Positions, gradients and training steps."""
    for layout in BOTH:
        for windows in ("2/2", "3/2 p1", "3/1 p1"):
            shown = ("headline",) if windows != "3/1 p1" else ()
            yield sliding("max", windows, MIDDLE, *shown, mode="indices", layout=layout)
            yield sliding("max", windows, MIDDLE, *shown, mode="backward", layout=layout)
            yield sliding("avg", windows, MIDDLE, *shown, mode="backward", layout=layout)
        for op in ("max", "avg"):
            for windows in ("2/2", "3/2 p1"):
                yield sliding(op, windows, MIDDLE, mode="both", layout=layout)
    for op in ("min", "sum", "lp"):
        yield sliding(op, "2/2", MIDDLE, mode="backward")
    yield sliding("lp", "2/2", BODY, "full", mode="both")
    yield sliding("max", "2/2", BODY, mode="both", dtype="bfloat16")
    yield sliding("avg", "3/2 p1", BODY, mode="both", dtype="float16")
    yield sliding("max", "2/2", MIDDLE, mode="backward", dtype="float64")
    yield sliding("max", "2/2", BODY, mode="indices", dtype="uint8")
    yield sliding("max", "13/1 p6", BODY, "full", mode="indices")
    yield sliding("max", "2/2", BODY, "quick", mode="indices")
    yield sliding("max", "3/2 p1", BODY, "quick", mode="backward")
    yield sliding("max", "2/2", BODY, "quick", mode="both")


def _dtypes() -> Iterator[Case]:
    """Arrays of about 51 MB in every dtype."""
    shapes = {8: (8, 64, 112, 112), 4: MIDDLE, 2: BIG, 1: (64, 64, 112, 112)}
    sizes = {"float64": 8, "float16": 2, "bfloat16": 2, "uint8": 1, "int8": 1, "int32": 4}
    for dtype, size in sizes.items():
        for windows in ("2/2", "3/2 p1"):
            yield sliding("max", windows, shapes[size], dtype=dtype)
        yield sliding("max", "2/2", shapes[size], dtype=dtype, layout="last")
        if dtype not in ("int8", "int32"):
            for windows in ("2/2", "3/2 p1"):
                yield sliding("avg", windows, shapes[size], dtype=dtype)
            yield sliding(
                "avg", "2/2", shapes[size], *(() if dtype == "uint8" else ("full",)), dtype=dtype, layout="last"
            )
    yield sliding("sum", "2/2", MIDDLE, dtype="int32")
    for dtype in ("uint8", "bfloat16"):
        yield sliding("max", "2/2", BODY, "quick", dtype=dtype)


def _windows() -> Iterator[Case]:
    """Windows whose cost must not grow with their size, and the unusual ones."""
    maps = (1, 8, 512, 512)
    for op in ("max", "avg"):
        for windows in ("5/1 p2", "13/1 p6", "31/1 p15", "101/1 p50"):
            yield sliding(op, windows, maps, *(("quick",) if windows == "13/1 p6" else ()))
        yield sliding(op, "13/1 p6", maps, layout="last")
        yield sliding(op, "101/1 p50", maps, "full", layout="last")
        yield sliding(op, "3/2 p1 ceil", (8, 64, 112, 112))
        for layout in BOTH:
            yield sliding(op, "adaptive 7", MIDDLE, layout=layout)
            yield sliding(
                op, "adaptive 9", (16, 64, 113, 113), *(() if layout == "first" else ("full",)), layout=layout
            )
            yield sliding(op, "global", MIDDLE, "headline", layout=layout)
        yield sliding(op, "global", BODY, "quick")
        yield sliding(op, "adaptive 7", BODY, "quick")
    yield sliding("min", "31/1 p15", maps, "full")
    yield sliding("sum", "31/1 p15", maps, "full")
    for layout in BOTH:
        yield sliding("max", "3/3", MIDDLE, layout=layout)
    yield sliding("max", "4/4", MIDDLE)
    yield sliding("avg", "3/3", MIDDLE)
    yield sliding("max", "3/3", MIDDLE, mode="indices")
    yield sliding("max", "3/3", MIDDLE, mode="backward")
    for windows in ("3/1 p1 d2", "3/2 p1 d2"):
        yield sliding("max", windows, (8, 64, 112, 112))
    yield sliding("max", "3/1 p1 d2", (8, 64, 112, 112), layout="last")
    for dtype in ("float16", "bfloat16"):
        yield sliding("avg", "global", BIG, dtype=dtype)


def _ordered_and_weighted() -> Iterator[Case]:
    """Medians and blurs."""
    maps = (8, 16, 112, 112)
    for windows in ("3/3", "3/1", "3/2"):
        yield sliding("median", windows, maps, *(("quick",) if windows == "3/3" else ()))
    yield sliding("median", "3/3", maps, layout="last")
    yield sliding("median", "3/1", maps, dtype="uint8")
    for dtype in ("uint8", "float32"):
        yield sliding("median", "31/1", (1, 1, 384, 384), dtype=dtype)
    for windows in ("3/2 p1", "5/2 p2"):
        for layout in BOTH:
            tags = ("quick",) if windows == "3/2 p1" and layout == "first" else ()
            yield sliding("blur", windows, BODY, *tags, layout=layout)


def _ranks() -> Iterator[Case]:
    """One and three spatial axes."""
    line, volume = (32, 64, 8192), (4, 32, 48, 64, 64)
    for op, windows in (("max", "2/2"), ("max", "3/2 p1"), ("avg", "2/2"), ("max", "31/1 p15")):
        yield sliding(op, windows, line)
    yield sliding("max", "2/2", line, layout="last")
    yield sliding("max", "4/4", line)
    for op, windows in (("max", "2/2"), ("max", "3/2 p1"), ("avg", "2/2"), ("avg", "3/1 p1")):
        yield sliding(op, windows, volume)
    for op in ("max", "avg"):
        yield sliding(op, "2/2", volume, layout="last")


def _shapes() -> Iterator[Case]:
    """From a few kilobytes to one large image, and widths that no vector divides."""
    for op in ("max", "avg"):
        for shape in ((1, 16, 8, 8), (1, 64, 56, 56), (8, 64, 56, 56)):
            for layout in BOTH:
                yield sliding(op, "2/2", shape, *(("quick",) if layout == "first" else ()), layout=layout)
    for windows in ("3/2 p1", "3/1 p1"):
        yield sliding("max", windows, (1, 64, 56, 56))
    yield sliding("max", "2/2", (1, 16, 8, 8), mode="both")
    yield sliding("max", "2/2", (64, 256, 7, 7))
    yield sliding("avg", "3/1 p1", (64, 256, 7, 7))
    yield sliding("max", "3/2 p1", (64, 64, 13, 13))
    yield sliding("max", "2/2", (64, 64, 13, 13), layout="last")
    for op in ("max", "avg"):
        yield sliding(op, "2/2", (8, 64, 113, 113))
    yield sliding("max", "3/2 p1", (8, 61, 113, 127))
    yield sliding("max", "3/1 p1", (8, 13, 131, 127), layout="last")
    image = (1, 1, 8192, 8192)
    yield sliding("max", "2/2", image, "headline")
    yield sliding("avg", "2/2", image)
    yield sliding("max", "3/1 p1", image)
    yield sliding("max", "2/2", image, dtype="uint8")
    for op in ("max", "avg"):
        yield sliding(op, "2/2", (1, 3, 4096, 4096), dtype="uint8", layout="last")


@lru_cache(maxsize=1)
def _registry() -> tuple[Case, ...]:
    parts = (_values, _training, _dtypes, _windows, _ordered_and_weighted, _ranks, _shapes)
    return tuple(case for part in parts for case in part())


REGISTRY = _registry()


def matches(words: frozenset[str], only: str) -> bool:
    """Whether a case's words meet a filter: ``"max|min,2/2,!dilated"``, all terms, either word, not this one."""
    for term in filter(None, (term.strip() for term in only.split(","))):
        refused = term.startswith("!")
        if bool(words & set(term.lstrip("!").split("|"))) is refused:
            return False
    return True


def select(preset: str = "default", only: str | None = None) -> list[Case]:
    """The cells of a preset that a filter leaves: words that all must be there, ``a|b`` for either, ``!a`` for none.

    >>> [case.name for case in select("full", "max,global,last")]
    ['max global forward float32 last 16x64x112x112']
    """
    cells = [
        case
        for case in REGISTRY
        if preset == "full"
        or (preset == "quick" and "quick" in case.tags)
        or (preset == "default" and "full" not in case.tags)
    ]
    chosen = [case for case in cells if matches(case.words, only or "")]
    if not chosen:
        raise refuse(
            "bench",
            "no cell has all of these words",
            got=f"--only {only} in the {preset} preset",
            expected="words of the names that --list prints, with commas between them, a|b for either, !a for none",
            hint="--full --only 'max|avg,2/2,float32'",
        )
    return chosen
