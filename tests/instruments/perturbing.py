"""Which input positions an output depends on, found by changing the input one row at a time and looking what moves."""

from __future__ import annotations

import torch

from poolwise.instruments import Trace, trace
from poolwise.instruments.tracing.reach import NOTHING

LARGE = 1e4


def observable(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """In double precision with positive weights, so that nothing cancels and no activation is stuck at zero."""
    torch.manual_seed(seed)
    model = model.double().eval()
    for parameter in model.parameters():
        parameter.data.uniform_(0.5, 1.5).div_(max(parameter[0].numel(), 1) if parameter.ndim > 1 else 1)
    return model


def observed(model: torch.nn.Module, shape: tuple[int, ...]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """First and last row of the input that changes each output element, per axis."""
    torch.manual_seed(1)
    x = torch.rand(shape, dtype=torch.float64) + 0.5
    with torch.no_grad():
        before = model(x)
        found = []
        for dim in range(2, len(shape)):
            first = torch.full(before.shape, NOTHING, dtype=torch.int64)
            last = torch.full(before.shape, -NOTHING, dtype=torch.int64)
            for i in range(shape[dim]):
                changed = torch.zeros(before.shape, dtype=torch.bool)
                for change in (LARGE, -0.4):
                    other = x.clone()
                    row = other.select(dim, i)
                    row += change * (1 + torch.rand(row.shape, dtype=torch.float64))
                    changed |= model(other) != before
                first = torch.where(changed & (first == NOTHING), i, first)
                last = torch.where(changed, i, last)
            found.append((first, last))
    return found


def check(model: torch.nn.Module, shape: tuple[int, ...]) -> Trace:
    """A model's trace, after the reach of its output was compared with what perturbing shows."""
    model = observable(model)
    seen = trace(model, torch.rand(shape, dtype=torch.float64) + 0.5)
    layer = seen.layers[-1]
    for axis, (first, last) in zip(layer.reach, observed(model, shape), strict=True):
        assert torch.equal(axis.first.expand(layer.output), first), layer.name
        assert torch.equal((-axis.last).expand(layer.output), last), layer.name
    return seen
