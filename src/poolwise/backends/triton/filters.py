"""From a blur or a median to launches: which file has them."""

from __future__ import annotations

from ...problem import Problem
from .layout import Layout
from .stages import Stage
from .stages_blur import blur_backward_stages, blur_forward_stages
from .stages_median import median_backward_stages, median_forward_stages

__all__ = ["backward_filters", "forward_filters"]

FORWARD = {"blur": blur_forward_stages, "median": median_forward_stages}
BACKWARD = {"blur": blur_backward_stages, "median": median_backward_stages}


def forward_filters(problem: Problem, layout: Layout) -> tuple[Stage, ...]:
    """The launches of a forward pass, in order."""
    return FORWARD[problem.op.name](problem, layout)


def backward_filters(problem: Problem, layout: Layout) -> tuple[Stage, ...]:
    """The launches of a backward pass, in order."""
    return BACKWARD[problem.op.name](problem, layout)
