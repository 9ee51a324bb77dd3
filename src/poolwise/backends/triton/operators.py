"""From a problem to launches: which file has them, by operator."""

from __future__ import annotations

from ...problem import Problem
from . import stages, stages_back
from .layout import Layout
from .stages import Stage
from .stages_blur import blur_backward_stages, blur_forward_stages
from .stages_median import median_backward_stages, median_forward_stages

__all__ = ["backward_stages", "forward_stages"]

FORWARD = {"blur": blur_forward_stages, "median": median_forward_stages}
BACKWARD = {"blur": blur_backward_stages, "median": median_backward_stages}
"""Operators that have launches of their own; the others share theirs."""


def forward_stages(problem: Problem, layout: Layout, save: bool) -> tuple[Stage, ...]:
    """The launches of a forward pass, in order."""
    own = FORWARD.get(problem.op.name)
    return own(problem, layout) if own else stages.forward_stages(problem, layout, save)


def backward_stages(problem: Problem, layout: Layout) -> tuple[Stage, ...]:
    """The launches of a backward pass, in order."""
    return BACKWARD.get(problem.op.name, stages_back.backward_stages)(problem, layout)
