"""Operation counts against windows that are walked one by one, and inside torch's own counter."""

from __future__ import annotations

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

from cases import CASES, VARIANTS, problem_of  # noqa: E402

import poolwise as pw  # noqa: E402
from poolwise.torch._flops import backward_flops  # noqa: E402

BY_OP = {variant.op: variant for variant in reversed(VARIANTS) if not variant.options}
PER_ELEMENT = {"max": 1, "min": 1, "avg": 1, "sum": 1, "lp": 3, "blur": 2, "median": 4}


SERVED = [(op, case) for op in PER_ELEMENT for case in CASES if case.serves(BY_OP[op])]


@pytest.mark.parametrize(("op", "case"), SERVED, ids=lambda value: getattr(value, "id", value))
def test_every_real_element_of_every_window_counts(op, case):
    problem = problem_of(case, BY_OP[op], "float32")
    elements, outputs = 0, 0
    for _, ranges in problem.windows.each():
        seen = 1
        for taps in ranges:
            seen *= len(taps)
        elements, outputs = elements + problem.planes * seen, outputs + problem.planes
    forward = PER_ELEMENT[op] * elements
    assert problem.operations == forward
    backward = {"max": outputs, "min": outputs, "lp": forward + elements, "median": forward + elements}
    assert backward_flops(problem) == backward.get(op, forward)


def test_explain_says_the_same():
    explanation = pw.explain(pw.lp_pool, (3, 9, 9), (3, 3), stride=2, padding=1)
    (call,) = explanation.as_dict()["calls"]
    # Windows of 2, 3, 3, 3 and 2 elements an axis, three operations for each in three planes.
    assert call["operations"] == explanation.steps[0].problem.operations == 3 * 3 * 13 * 13


def test_torchs_counter_counts_them():
    """A training step, and the layers' own names, in a counter that was made after this package was imported."""
    from torch.utils.flop_counter import FlopCounterMode

    problem = pw.explain(pw.max_pool, (2, 3, 8, 8), (3, 3), stride=2, padding=1).steps[0].problem
    x = torch.zeros(problem.shape, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        pw.max_pool(x, (3, 3), stride=2, padding=1).sum().backward()
        pw.max_pool(x.detach(), (3, 3), stride=2, padding=1)
    # Windows of 2, 3, 3 and 3 elements an axis: 11 * 11 comparisons a plane, and 4 * 4 gradients.
    assert counter.get_total_flops() == 2 * 6 * 11 * 11 + 6 * 4 * 4
    assert problem.operations + backward_flops(problem) == 6 * 11 * 11 + 6 * 4 * 4


def test_the_counter_is_not_loaded_with_the_layers():
    code = "import sys, poolwise.torch, poolwise.torch._flops; print('torch.utils.flop_counter' in sys.modules); import torch.utils.flop_counter as counter, torch; print(torch.ops.poolwise.pool in counter.flop_registry)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["False", "True"]
