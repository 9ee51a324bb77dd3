"""One network, one batch: converted, compared with what it was, and timed beside it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ...torch import convert
from ...torch.conversion.layers import family_of
from .. import memory
from ..machine import Others
from ..peers.base import Task
from ..timing import Plan, calibrate, interleave
from .models import NETWORKS, Network

__all__ = ["JOBS", "RELU", "Job", "measure", "step"]

Facts = dict[str, Any]
Tensor = torch.Tensor
BEFORE, AFTER, RELU = "torch", "poolwise", "poolwise, ReLU after max"
CLOSE = 1e-3
"""Outputs and gradients of a whole network: the largest difference as a share of the largest element."""


@dataclass(frozen=True)
class Job:
    """What is timed: inference, or a training step (forward, backward, gradient descent)."""

    network: Network
    work: str
    batch: int
    quick: bool = False

    @property
    def name(self) -> str:
        """As `--only` sees it."""
        return f"{self.network.name} {self.work} batch {self.batch}"


def _jobs() -> Iterator[Job]:
    for network in NETWORKS:
        batches = (1,) if "U-Net" in network.name else (1, 8)
        yield from (Job(network, "inference", batch, batch == 1 and network.parameters < 10**7) for batch in batches)
    trained = {"SqueezeNet 1.1": 8, "ResNet-18": 8, "VGG16": 2, "U-Net": 1, "U-Net of width 16": 2}
    few = ("SqueezeNet 1.1", "U-Net of width 16")
    yield from (Job(n, "training", trained[n.name], n.name in few) for n in NETWORKS if n.name in trained)


JOBS = tuple(_jobs())


def step(model: nn.Module, x: Tensor, work: str) -> Callable[[], Any]:
    """A call that does the work once. All contenders hold the same parameters, so none runs ahead of the others."""
    if work == "inference":

        def infer() -> Tensor:
            with torch.no_grad():
                return model(x)

        return infer
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)

    def train() -> Tensor:
        optimizer.zero_grad()
        y = model(x)
        loss = y.square().mean()
        loss.backward()
        optimizer.step()
        return loss

    return train


def _contenders(job: Job, x: Tensor) -> tuple[dict[str, nn.Module], Facts]:
    """The network, and copies with pooling from this package that share its parameters."""
    torch.manual_seed(0)
    model = job.network.build().train(job.work == "training")
    shared = {id(parameter): parameter for parameter in model.parameters()}
    after, report = convert(copy.deepcopy(model, dict(shared)), inplace=True, example=x)
    moved, moved_report = convert(
        copy.deepcopy(model, dict(shared)), inplace=True, example=x, relu_after_max=True, pools=_gained(report)
    )
    facts = {"report": report.as_dict(), "relu_report": moved_report.as_dict()}
    if not any("ReLU" in row.old for row in moved_report.replaced):
        return {BEFORE: model, AFTER: after}, facts
    return {BEFORE: model, AFTER: after, RELU: moved}, facts


def _gained(report: Any) -> list[str]:
    """Families of which a layer was replaced."""
    named = (family_of(row.new.rsplit(".", 1)[-1]) for row in report.replaced if row.new)
    return sorted({found[0] for found in named if found is not None})


def _differ(contenders: dict[str, nn.Module], x: Tensor, work: str) -> str | None:
    """Which contender's outputs or gradients are not the first one's, or None."""
    first: list[Tensor] = []
    for name, model in contenders.items():
        found = _results(model, x, work)
        first = first or found
        for a, b in zip(first, found, strict=True):
            apart = float((a - b).abs().max())
            if not apart <= CLOSE * float(a.abs().max()):
                return f"{name}: {apart:.3g} apart where the largest is {float(a.abs().max()):.3g}"
    return None


def _results(model: nn.Module, x: Tensor, work: str) -> list[Tensor]:
    if work == "inference":
        with torch.no_grad():
            return [model(x)]
    torch.manual_seed(0)  # dropout
    y = model(x)
    gradients = torch.autograd.grad(y.square().mean(), list(model.parameters()))
    return [y.detach(), *gradients]


@contextmanager
def _inside(layers: list[nn.Module], inside: list[int]) -> Iterator[None]:
    handles = [layer.register_forward_pre_hook(lambda *_: inside.append(1)) for layer in layers]
    handles += [layer.register_forward_hook(lambda *_: inside.clear()) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _saved(model: nn.Module, x: Tensor) -> tuple[int, int]:
    """Bytes that a forward pass keeps for the backward one, and those of them that nothing but pooling layers keeps.

    Memory counts once, however many keep it; parameters do not count.
    """
    inside: list[int] = []
    kept: dict[int, tuple[int, list[bool]]] = {}
    alive = []
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def pack(t: Tensor) -> Tensor:
        storage = t.untyped_storage()
        if storage.data_ptr() not in own:
            kept.setdefault(storage.data_ptr(), (storage.nbytes(), []))[1].append(bool(inside))
            alive.append(t)  # an address stays one tensor's
        return t

    pools = [layer for layer in model.modules() if family_of(type(layer).__name__) is not None]
    with _inside(pools, inside), torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = model(x)
    del y
    return sum(size for size, _ in kept.values()), sum(size for size, who in kept.values() if all(who))


def measure(job: Job, plan: Plan, weigh: bool = True) -> Facts:
    """Times, ratios and memory of one job as plain values; `status` says why there are none.

    `free_pooling` is what the ratio would be if pooling took no time, going by torch's layers timed alone, where their
    input is warmer than in the network; `fastest_ratios` compare each contender's fastest
    round, on which other programs weigh least.
    """
    x = torch.randn(job.batch, *job.network.image, generator=torch.Generator().manual_seed(1))
    facts: Facts = {"name": job.name, "network": job.network.name, "work": job.work, "batch": job.batch, "status": "ok"}
    try:
        contenders, said = _contenders(job, x)
    except ValueError as error:  # the example's outputs differ
        return {**facts, "status": "mismatch", "reason": str(error).splitlines()[0]}
    facts |= said
    wrong = _differ(contenders, x, job.work)
    if wrong is not None:
        return {**facts, "status": "mismatch", "reason": wrong}
    tasks = {
        name: Task(name, step(model, x, job.work), lambda y: (y.detach().numpy(),))
        for name, model in contenders.items()
    }
    others = Others()
    timings = interleave(tasks, {name: calibrate(task) for name, task in tasks.items()}, plan)
    facts["others_cpu"] = others.share()
    facts["contenders"] = {name: timing.as_dict() for name, timing in timings.items()}
    facts["ratios"] = {name: timings[BEFORE].median / timings[name].median for name in tasks if name != BEFORE}
    facts["fastest_ratios"] = {name: timings[BEFORE].fastest / timings[name].fastest for name in facts["ratios"]}
    pools, whole = sum(row["torch_ms"] or 0.0 for row in facts["report"]["rows"]), timings[BEFORE].median * 1e3
    facts["free_pooling"] = whole / (whole - pools) if pools < whole else None
    if job.work == "training":
        for name, model in contenders.items():
            entry = facts["contenders"][name]
            entry["saved_bytes"], entry["saved_by_pooling_bytes"] = _saved(model, x)
            if weigh and memory.available() is None:
                entry["peak_bytes"] = memory.peak(tasks[name])
    return facts
