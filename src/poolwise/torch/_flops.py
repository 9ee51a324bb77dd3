"""What pooling costs, for torch's `FlopCounterMode`: its formulas for our operators come from here.

Nothing is registered here, and torch's counter is not imported: that takes 0.2 s of processor time, for it loads triton.
"""

from __future__ import annotations

import math

from ..problem import Problem

__all__ = ["backward_flops", "forward_flops"]


def forward_flops(problem: Problem) -> int:
    """Comparisons and arithmetic operations of a pooling call: what `poolwise.explain` lists as operations.

    ``planes * (real elements of all windows) * op.traits.flops``: padding costs nothing, and what shares work among
    windows (running sums, medians from histograms) counts as the definition does.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    int

    Examples
    --------
    >>> import poolwise as pw
    >>> forward_flops(pw.explain(pw.max_pool, (4, 5), (2, 2), padding=1, ceil_mode=True).steps[0].problem)
    20
    """
    return int(problem.planes * problem.windows.elements * problem.op.traits.flops)


def backward_flops(problem: Problem) -> int:
    """Operations of a call's gradient.

    Operators that pick an element add one number per output. Linear ones cost what they cost forward: the transposed map
    has as many terms. The others work on every window again and add one term per element.

    Parameters
    ----------
    problem : Problem

    Returns
    -------
    int

    Examples
    --------
    >>> import poolwise as pw
    >>> backward_flops(pw.explain(pw.max_pool, (4, 5), (2, 2), padding=1, ceil_mode=True).steps[0].problem)
    9
    """
    traits = problem.op.traits
    if traits.picks:
        return problem.planes * math.prod(problem.windows.shape)
    more = 0 if traits.linear else problem.planes * problem.windows.elements
    return forward_flops(problem) + more
