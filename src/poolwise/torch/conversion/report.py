"""What a conversion did: a row per pooling layer or call, and how the example compared."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Report", "Row"]


@dataclass
class Row:
    """One layer, or one function that a module calls."""

    name: str
    """Where it is, as `named_modules` spells it; the first of its names."""
    old: str
    new: str | None = None
    """What stands there now, or None where it was left."""
    reason: str | None = None
    """Why it was left."""
    also: tuple[str, ...] = ()
    """Further names of the same layer."""
    notes: list[str] = field(default_factory=list)
    torch_ms: float | None = None
    """Median of the layer's calls in one run of the example; with its gradient where the layer is in training mode."""
    poolwise_ms: float | None = None

    @property
    def replaced(self) -> bool:
        """True where something else stands there now."""
        return self.new is not None

    def _line(self) -> tuple[str, ...]:
        times = ("", "")
        if self.torch_ms is not None and self.poolwise_ms is not None:
            times = f"{self.torch_ms:.3f}", f"{self.poolwise_ms:.3f}"
        what = self.new or f"kept: {self.reason}"
        also = [f"also {', '.join(self.also)}"] if self.also else []
        return self.name or "(the model itself)", self.old, *times, "; ".join([what, *also, *self.notes])


@dataclass
class Report:
    """What was replaced, what was not and why. `print` shows a table; `as_dict` is for JSON."""

    rows: list[Row] = field(default_factory=list)
    checked: str | None = None
    """What the example showed; None without one."""
    equal: bool | None = None
    """True where the outputs on the example have the same bits, False where they are equal up to rounding, or where
    operators were exchanged and only their shapes can be; None without an example."""

    @property
    def replaced(self) -> list[Row]:
        """Rows of what was replaced."""
        return [row for row in self.rows if row.replaced]

    @property
    def kept(self) -> list[Row]:
        """Rows of what was left as it was, each with its reason."""
        return [row for row in self.rows if not row.replaced]

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"replaced": len(self.replaced), "kept": len(self.kept), "checked": self.checked, "equal": self.equal,
                "rows": [asdict(row) for row in self.rows]}  # fmt: skip

    def __str__(self) -> str:
        lines = [("layer", "was", "torch ms", "poolwise ms", "is"), *(row._line() for row in self.rows)]
        if not any(line[2] for line in lines[1:]):
            lines = [(*line[:2], line[4]) for line in lines]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        text.append(
            f"{len(self.replaced)} replaced, {len(self.kept)} kept; {self.checked or 'not checked: no example'}"
        )
        return "\n".join(text)
