"""What the tests pool: every operator with parameters that matter, over small awkward window problems."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import poolwise as pw
from poolwise.problem import Problem
from poolwise.spec import DTYPES, PoolOp

__all__ = ["CASES", "FLOAT_DTYPES", "VARIANTS", "Case", "Variant", "dtypes_of", "pairs", "problem_of"]

FLOAT_DTYPES = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True)
class Variant:
    """An operator and its options."""

    op: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return "-".join([self.op, *(f"{name}={value}" for name, value in self.options.items())])

    @property
    def operator(self) -> PoolOp:
        return next(op for op in pw.OPS if op.name == self.op)


@dataclass(frozen=True)
class Case:
    """One window problem: an array's shape and the call that pools it."""

    id: str
    shape: tuple[int, ...]
    options: dict[str, Any]
    verb: str = "pool"

    def call(self, variant: Variant) -> tuple[Callable[..., Any], dict[str, Any]]:
        """The public function and the keywords that pool with this operator."""
        return getattr(pw, self.verb), {"op": variant.op, **self.options, **variant.options}

    def serves(self, variant: Variant) -> bool:
        """Weighted operators have sliding windows and borders of their own; options may need the sliding verb."""
        if variant.op == "blur":
            return self.verb == "pool" and "empty" not in self.options
        sliding_only = {"count_include_pad", "border"} & set(variant.options)
        return self.verb == "pool" or not sliding_only


VARIANTS = (
    *(Variant(op.name) for op in pw.OPS),
    Variant("avg", {"count_include_pad": True}),
    Variant("avg", {"divisor": 3}),
    Variant("avg", {"divisor": -2}),
    Variant("lp", {"p": 1.0}),
    Variant("lp", {"p": 3.0}),
    Variant("lp", {"p": 1.5}),
    Variant("lp", {"p": float("inf")}),
    Variant("lp", {"p": 1, "signed": True}),
    Variant("lp", {"p": 3, "rescale": True}),
    Variant("blur", {"border": "replicate"}),
    Variant("blur", {"border": "circular"}),
    Variant("blur", {"border": "zeros"}),
    Variant("blur", {"border": "zeros", "count_include_pad": True}),
)

CASES = (
    Case("plain", (2, 7, 6), {"window": (2, 2)}),
    Case("overlap", (2, 7, 11), {"window": (3, 3), "stride": 2, "padding": 1}),
    Case("prime", (2, 13, 11), {"window": (3, 5), "stride": (2, 3)}),
    Case("asymmetric-pads", (2, 5, 7), {"window": (3, 2), "stride": (1, 2), "padding": ((2, 0), (0, 1))}),
    Case("dilated", (2, 9, 7), {"window": (3, 2), "stride": (1, 2), "padding": (2, 1), "dilation": (2, 3)}),
    Case("dilated-over-the-edge", (2, 3, 4), {"window": 3, "stride": 1, "padding": 2, "dilation": 2, "axes": (1, 2)}),
    Case("ceil", (2, 8, 6), {"window": (3, 3), "stride": 2, "ceil_mode": True}),
    Case("ceil-padded", (2, 8, 7), {"window": (3, 3), "padding": 1, "ceil_mode": True}),
    Case("gaps", (2, 11, 8), {"window": (2, 1), "stride": (3, 2)}),
    Case("same", (2, 7, 8), {"window": (3, 4), "stride": 2, "padding": "same"}),
    Case("same-lower", (2, 7, 8), {"window": (2, 4), "stride": (1, 3), "padding": "same_lower"}),
    Case("identity", (2, 3, 4), {"window": (1, 1)}),
    Case("strip", (2, 1, 9), {"window": (1, 5), "stride": (1, 2)}),
    Case("whole", (2, 5, 3), {"window": (5, 3)}),
    Case("wide-offsets", (1, 19, 18), {"window": (17, 17), "stride": (1, 1), "padding": (1, 0)}),
    Case("sees-padding-only", (2, 3, 4), {"window": (2, 2), "stride": 1, "padding": 3, "empty": 2}),
    Case(
        "sees-nothing", (2, 2, 3), {"window": (3, 1), "stride": 3, "padding": (1, (2, 1)), "axes": (2, 1), "empty": 3}
    ),
    Case("backwards", (2, 2, 3), {"window": (2, 2), "stride": (2, 1), "padding": (2, 0), "dilation": (3, 1)}),
    Case("backwards-rows", (3, 3), {"window": (2,), "stride": 1, "padding": 1, "dilation": 3}),
    Case("adaptive-divides", (2, 6, 8), {"output_size": (3, 2)}, "adaptive_pool"),
    Case("adaptive", (2, 7, 5), {"output_size": (3, 4)}, "adaptive_pool"),
    Case("adaptive-more", (2, 4, 7), {"output_size": (9, 2)}, "adaptive_pool"),
    Case("adaptive-none", (2, 4, 5), {"output_size": (None, 3)}, "adaptive_pool"),
    Case("global", (2, 5, 7), {"axes": (1, 2)}, "global_pool"),
    Case("fractional", (2, 9, 8), {"output_size": (5, 4), "window": (2, 3), "draws": (0.3, 0.71)}, "fractional_pool"),
    Case("fractional-regions", (2, 9, 8), {"output_size": (6, 5), "draws": (0.9, 0.05)}, "fractional_pool"),
    Case("1d", (3, 17), {"window": (4,), "stride": 3, "padding": ((1, 2),)}),
    Case("3d", (1, 5, 4, 6), {"window": (2, 3, 2), "stride": (2, 1, 2), "padding": (1, 1, 0)}),
    Case("4d", (3, 4, 3, 5), {"window": (2, 2, 2, 2), "stride": (1, 2, 1, 2)}),
    Case("channels-last", (5, 7, 3), {"window": (3, 2), "stride": 2, "padding": (1, 0), "axes": (0, 1)}),
    Case("apart", (5, 3, 7), {"window": (2, 3), "stride": (2, 1), "padding": ((0, 1), (1, 0)), "axes": (0, 2)}),
    Case("unsorted", (5, 3, 7), {"window": (3, 2), "stride": (1, 2), "axes": (-1, 0)}),
)


def pairs() -> list[tuple[Variant, Case]]:
    """Every operator over every window problem that it serves. Options of an operator meet a few problems only."""
    few = {"overlap", "ceil-padded", "dilated", "1d", "channels-last", "adaptive", "same", "whole"}
    return [(v, c) for v in VARIANTS for c in CASES if c.serves(v) and (not v.options or c.id in few)]


def dtypes_of(variant: Variant) -> tuple[str, ...]:
    """The dtypes that an operator pools, those of NumPy's own kinds first."""
    return tuple(name for name in DTYPES if name in variant.operator.wide)


def problem_of(case: Case, variant: Variant, dtype: str, **more: Any) -> Problem:
    """The checked problem behind a call, without running it."""
    function, options = case.call(variant)
    x = np.broadcast_to(np.zeros((), numpy_dtype(dtype)), case.shape)
    return pw.explain(function, x, **options, **more).steps[0].problem


def numpy_dtype(name: str) -> np.dtype:
    """A dtype by name, bfloat16 included."""
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)
