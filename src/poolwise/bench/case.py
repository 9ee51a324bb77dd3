"""One cell of the benchmark: an operator over some windows of one array, and which way it is run."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from ..geometry import Adaptive, Global, Scheme, Sliding, offset_dtype

__all__ = ["BYTES", "EXACT", "FLOATS", "Case"]

BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int32": 4, "int8": 1, "uint8": 1}
FLOATS = ("float64", "float32", "float16", "bfloat16")
EXACT = ("max", "min", "median")
"""Operators that answer with one of the elements: every correct library gives the same value."""

MODES = ("forward", "indices", "backward", "both")
LARGE, SMALL = 32 << 20, 1 << 20
"""Input and output together: above, an array cannot stay in a core's caches; below, a call is mostly overhead."""


@dataclass(frozen=True)
class Case:
    """What is computed. `shape` is ``(batch, channels, *spatial)`` whatever the memory layout.

    `kind` is ``"sliding"``, ``"adaptive"`` (then `window` holds the output sizes) or ``"global"``; `mode` one of
    ``forward``, ``indices`` (values and positions), ``backward`` (the gradient alone), ``both`` (a training step);
    `layout` is ``"first"`` or ``"last"``: where the channels lie.
    """

    op: str
    mode: str
    dtype: str
    layout: str
    shape: tuple[int, ...]
    kind: str = "sliding"
    window: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    ceil_mode: bool = False
    tags: frozenset[str] = frozenset()

    @property
    def spatial(self) -> tuple[int, ...]:
        """Lengths of the pooled axes."""
        return self.shape[2:]

    @property
    def axes(self) -> tuple[int, ...]:
        """The pooled axes, by position."""
        return tuple(range(2, len(self.shape)))

    @cached_property
    def scheme(self) -> Scheme:
        """The windows, in the package's own words."""
        if self.kind == "global":
            return Global()
        if self.kind == "adaptive":
            return Adaptive(self.window)
        pads = tuple((pad, pad) for pad in self.padding)
        return Sliding(self.window, self.stride, pads, self.dilation, self.ceil_mode)

    @cached_property
    def outputs(self) -> tuple[int, ...]:
        """Lengths of the pooled axes of the result."""
        return tuple(len(self.scheme.axis(size, index)) for index, size in enumerate(self.spatial))

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        return (*self.shape[:2], *self.outputs)

    @property
    def elements(self) -> int:
        """Elements of a whole window: what a naive library pays per output."""
        if self.kind == "sliding":
            return math.prod(self.window)
        return math.prod(-(-n // m) for n, m in zip(self.spatial, self.outputs, strict=True))

    @property
    def plain(self) -> bool:
        """Regions side by side that cover the array, up to a dropped tail: a reshape can express them."""
        return self.kind == "sliding" and not self.ceil_mode and self.window == self.stride and not any(self.padding)

    @property
    def reads_only(self) -> bool:
        """So little is written that reading is the limit."""
        return self.kind != "sliding" and self.mode == "forward"

    @property
    def bytes_in(self) -> int:
        """Of the input array."""
        return math.prod(self.shape) * BYTES[self.dtype]

    @property
    def bytes_out(self) -> int:
        """Of the result."""
        return math.prod(self.out_shape) * BYTES[self.dtype]

    @property
    def result_bytes(self) -> int:
        """Of everything that a call hands back."""
        given = {"forward": self.bytes_out, "indices": self.bytes_out + 8 * math.prod(self.out_shape)}
        return given.get(self.mode, self.bytes_in + (self.bytes_out if self.mode == "both" else 0))

    @property
    def traffic(self) -> int:
        """Bytes that cannot be avoided: every input and every result once, positions where they are kept.

        `indices` writes torch's int64; a gradient of max or min reads one compact offset per output; that of Lp
        reads input and result again.
        """
        forward = self.bytes_in + self.bytes_out
        if self.mode == "forward":
            return forward
        if self.mode == "indices":
            return forward + 8 * math.prod(self.out_shape)
        extra = {"lp": forward}.get(self.op, 0)
        if self.op in EXACT:
            whole = self.window if self.kind == "sliding" else self.spatial
            kept = {"uint8": 1, "uint16": 2, "int32": 4}.get(offset_dtype(whole), 8)
            extra = math.prod(self.out_shape) * kept
        backward = forward + extra
        if self.mode == "backward":
            return backward
        return forward + backward + (extra if self.op in EXACT else 0)

    @property
    def size(self) -> str:
        """``small``, ``medium`` or ``large``."""
        total = self.bytes_in + self.bytes_out
        return "large" if total >= LARGE else "small" if total < SMALL else "medium"

    @property
    def windows(self) -> str:
        """``2/2``, ``3/2 p1``, ``adaptive 7``, ``global``: windows as a person writes them."""
        if self.kind == "global":
            return "global"
        if self.kind == "adaptive":
            return f"adaptive {_brief(self.window)}"
        words = [f"{_brief(self.window)}/{_brief(self.stride)}"]
        words += [f"p{_brief(self.padding)}"] if any(self.padding) else []
        words += [f"d{_brief(self.dilation)}"] if set(self.dilation) != {1} else []
        words += ["ceil"] if self.ceil_mode else []
        return " ".join(words)

    @property
    def name(self) -> str:
        """Unique in the registry; its words are what ``--only`` matches."""
        shape = "x".join(map(str, self.shape))
        return f"{self.op} {self.windows} {self.mode} {self.dtype} {self.layout} {shape}"

    @property
    def words(self) -> frozenset[str]:
        """Everything that a filter may name."""
        more = {f"{len(self.spatial)}d", self.size, f"channels-{self.layout}", self.kind}
        more |= {"dilated"} if set(self.dilation) - {1} else set()
        return frozenset(self.name.split()) | more | self.tags

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        facts = asdict(self)
        facts["tags"] = sorted(self.tags)
        return {"name": self.name, "windows": self.windows, "size": self.size, **facts}


def _brief(numbers: tuple[int, ...]) -> str:
    return str(numbers[0]) if len(set(numbers)) == 1 else "x".join(map(str, numbers))
