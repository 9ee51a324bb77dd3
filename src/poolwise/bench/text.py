"""What a run says on a terminal: a line per cell as it is done, then the summary. Plain text, no wider than a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .summary import BUSY

__all__ = ["HEADER", "cell_line", "summary_lines", "table"]

Facts = dict[str, Any]
HEADER = f"{'cell':<66} {'ms':>9} {'x torch':>8} {'x best':>8}  {'best peer':<19} {'of copy':>7} {'of fresh':>8} {'extra':>8}"


def _number(value: float | None, digits: int = 2) -> str:
    if value is None:
        return "-"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.{digits}f}" if abs(value) >= 0.1 else f"{value:.2g}"


def cell_line(cell: Facts) -> str:
    """Time, ratios to torch in the same layout and to the best peer, share of the limit, memory beside the result."""
    if cell["status"] != "ok":
        return f"{cell['name']:<66} no number: {cell['status']}: {cell['reason']}"
    ours, ratios = cell["ours"], cell["ratios"]
    extra = "-"
    if "peak_bytes" in ours:
        written = cell["result_bytes"]
        extra = f"{max(ours['peak_bytes'] - written, 0) / 2**20:.1f} MB"
    of = ratios["limit"]
    mark = "r" if ratios["read"] is not None else " "
    line = (
        f"{cell['name']:<66} {ours['median_ms']:>9.3f} {_number(ratios['torch']):>8} {_number(ratios['best']):>8}  "
        f"{ratios['best_peer'] or '-':<19} {_number(of):>6}{mark} {_number(ratios['fresh_copy']):>8} {extra:>8}"
    )
    wrong = [name for name, entry in cell["peers"].items() if entry["status"] == "mismatch"]
    notes = [f"backend {cell['backend']}"] if "cpu" not in cell["backend"] else []
    notes += [f"wrong: {', '.join(wrong)}"] if wrong else []
    notes += ["noisy"] if cell["noisy"] else []
    notes += [f"others used {cell['others_cpu']:.0%} of the CPUs"] if (cell["others_cpu"] or 0) > BUSY else []
    return line + (f"  [{'; '.join(notes)}]" if notes else "")


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows in columns, the first column left, the others right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(text.rjust(width) if column else text.ljust(width) for column, (text, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    ]


def _warnings(report: Facts) -> Iterator[str]:
    summary = report["summary"]
    if summary["busy"]:
        yield (
            f"NOT TO BE TRUSTED: other programs kept the CPUs busy in {summary['busy']} of {summary['timed']} cells; "
            "pools that spin (torch, ONNX Runtime) suffer from that most. Run it on an idle machine."
        )
    if summary["noisy"]:
        yield f"{summary['noisy']} cells are noisy: their quartiles are more than 20 % of the median apart."
    if summary["not_compiled"]:
        yield f"{summary['not_compiled']} cells ran without a compiled kernel (backend generic)."
    for name, reason in report["missing"].items():
        yield f"missing: {name}: {reason}"


def summary_lines(report: Facts) -> Iterator[str]:
    """Warnings, means, lost cells, wrong answers, targets, small calls."""
    summary = report["summary"]
    yield from _warnings(report)
    rows = [("geometric means", "cells", "x torch", "x best peer", "of the limit")]
    for name, group in summary["groups"].items():
        rows.append((name, str(group["cells"]), *(_number(group[key]) for key in ("torch", "best", "limit"))))
    yield ""
    yield from table(rows)
    worst = summary["worst"]
    if worst:
        yield f"\nworst cell: {worst['name']}: {_number(worst['ratio'])} x {worst['peer']}"
    yield f"cells lost: {len(summary['lost'])} of {summary['timed']}"
    for cell in summary["lost"]:
        yield (
            f"  {_number(cell['ratio'])} x {cell['peer']} ({cell['way']}): {cell['name']}, "
            f"{cell['ours_ms']:.3f} ms against {cell['peer_ms']:.3f} ms, {_number(cell['limit'])} of the limit"
        )
    for entry in summary["without_numbers"]:
        yield f"no number: {entry['name']}: {entry['status']}: {entry['reason']}"
    for entry in summary["wrong_peers"]:
        yield f"wrong answer: {entry['peer']}, {entry['name']}: {entry['reason']}"
    yield ""
    rows = [("target", "bound", "got", "cells", "")]
    for entry in summary["targets"]:
        word = {True: "met", False: "MISSED", None: "not measured"}[entry["met"]]
        missed = f" ({len(entry['missed'])} cells)" if entry["missed"] else ""
        rows.append(
            (entry["target"], _number(entry["bound"]), _number(entry["got"]), str(entry["cells"]), word + missed)
        )
    yield from table(rows)
    if report["small_calls"]:
        yield "\na call on (1, 16, 8, 8), microseconds (median, fastest)"
        yield from table(
            [("", "median", "fastest")]
            + [(c["name"], _number(c["median_us"]), _number(c["min_us"])) for c in report["small_calls"]]
        )
