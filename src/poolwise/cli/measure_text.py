"""The results of ``poolwise measure`` as lines for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["lines"]

Table = tuple[list[str], list[list[str]]]


def lines(found: dict[str, Any]) -> Iterator[str]:
    """A table for each measure."""
    data = found["data"]
    trained = f", trained for {found['steps']} steps" if found["steps"] else ""
    yield f"{found['model']}{trained}: {found['parameters']:,} parameters, {data['name']}"
    yield (
        f"errors: {found['train_error']:.1%} of {data['train']:,} training images, "
        f"{found['test_error']:.1%} of {data['test']:,} test images"
    )
    for name, table in TABLES.items():
        if name in found:
            yield ""
            yield from _aligned(*table(found[name]))


def _field_table(found: dict[str, Any]) -> Table:
    after, before = found["after"], found["before"] or {}
    rows = []
    for layer, each in after.items():
        theoretical = "not known" if each["theoretical"] is None else " x ".join(map(str, each["theoretical"]))
        first = f"{before[layer]['side']:.1f}" if layer in before else "-"
        rows.append([layer, theoretical, first, f"{each['side']:.1f}", f"{each['share']:.0%}"])
    return ["receptive field, pixels", "theoretical", "before", "effective", "share"], rows


def _shift_table(found: dict[str, Any]) -> Table:
    layers, alone = found.values()
    shifts = list(next(iter(alone.values())))
    rows = [
        [name, *("-" if each[shift] is None else f"{each[shift]:.3f}" for shift in shifts)]
        for name, each in {**layers, **{f"{name}, 3 x 3 alone": each for name, each in alone.items()}}.items()
    ]
    return ["change of maps, shift by", *map(str, shifts)], rows


def _consistency_table(found: dict[str, Any]) -> Table:
    shifts = list(found["crops"])
    rows = [
        [name, *(f"{each['share']:.1%} ({each['low']:.1%} to {each['high']:.1%})" for each in by_shift.values())]
        for name, by_shift in found.items()
    ]
    return ["same answer, shift by", *map(str, shifts)], rows


def _feature_table(found: dict[str, Any]) -> Table:
    before = found["before"] or {}
    rows = [
        [layer, f"{before[layer]:.1%}" if layer in before else "-", f"{accuracy:.1%}"]
        for layer, accuracy in found["after"].items()
    ]
    return ["linear probe", "before", "accuracy"], rows


def _curve_table(found: list[dict[str, Any]]) -> Table:
    def each(value: dict[str, Any]) -> str:
        ends = "" if value["low"] is None else f" ({value['low']:.1%} to {value['high']:.1%})"
        return f"{value['mean']:.1%}{ends}"

    rows = [[f"{point['size']:,}", *(each(point[name]) for name in ("train", "test", "gap"))] for point in found]
    return ["training images", "training error", "test error", "gap"], rows


TABLES: dict[str, Callable[[Any], Table]] = {
    "field": _field_table,
    "shifts": _shift_table,
    "consistency": _consistency_table,
    "features": _feature_table,
    "overfitting": _curve_table,
}


def _aligned(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for first, *rest in (head, *rows):
        yield "  ".join([first.ljust(widths[0]), *(cell.rjust(n) for cell, n in zip(rest, widths[1:], strict=True))])
