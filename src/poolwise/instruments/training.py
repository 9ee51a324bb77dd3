"""Train a network from a seed, and count its mistakes: the same way wherever networks are compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from ..messages import refuse
from .networks import as_images, as_labels, evaluating, scores

__all__ = ["errors", "fit"]


def fit(
    model: Any,
    x: Any,
    y: Any,
    *,
    steps: int,
    batch: int,
    rate: float,
    seed: int,
    tick: Callable[[], Any] | None = None,
) -> list[float]:
    """Train a classifier in place: Adam, cross-entropy, a rate that falls to 0 along a cosine.

    Batches are drawn epoch by epoch from the seed; what is left of an epoch that does not fill a batch is dropped, so
    that every step costs the same. The seed decides dropout too; torch's own generators are left as they were. The
    initial weights are the caller's: seed torch before the model is made.

    Parameters
    ----------
    model : torch.nn.Module
        Gives ``(n, classes)`` scores. Trained in training mode; each module's mode is put back.
    x : torch.Tensor or numpy.ndarray, ``(n, channels, *spatial)``
        Floats.
    y : torch.Tensor or numpy.ndarray, ``(n,)``
        Class numbers.
    steps : int
        Optimizer steps.
    batch : int
        Images per step; all of them where there are fewer.
    rate : float
        Adam's learning rate at the start.
    seed : int
    tick : callable, optional
        Called after every step.

    Returns
    -------
    list of float
        The loss of every step.

    Raises
    ------
    ValueError
        For images, labels or numbers that do not fit, and when the loss is no longer finite.

    References
    ----------
    Kingma, Ba, "Adam: a method for stochastic optimization", ICLR 2015. Loshchilov, Hutter, "SGDR: stochastic gradient
    descent with warm restarts", ICLR 2017 (the cosine, without restarts).

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> _ = torch.manual_seed(0)
    >>> y = torch.arange(40) % 2
    >>> x = y[:, None, None, None] * torch.ones(40, 1, 4, 4)
    >>> model = torch.nn.Sequential(pt.AvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(1, 2))
    >>> losses = fit(model, x, y, steps=60, batch=20, rate=0.1, seed=0)
    >>> len(losses), losses[-1] < losses[0], errors(model, x, y)[0]
    (60, True, 0.0)
    """
    import torch

    x = as_images("fit", model, x)
    y = as_labels("fit", x, y)
    _check_numbers(steps, batch, rate)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    modes = [(module, module.training) for module in model.modules()]
    losses: list[float] = []
    try:
        with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
            torch.manual_seed(seed)
            model.train()
            for chosen in _batches(len(x), batch, steps, seed):
                answer = scores("fit", model, x[chosen])
                if not losses:
                    _check_classes("fit", answer, y)
                loss = torch.nn.functional.cross_entropy(answer, y[chosen])
                losses.append(float(loss.detach()))
                if not math.isfinite(losses[-1]):
                    raise refuse(
                        "fit", "training diverged", got=f"loss {losses[-1]} at step {len(losses)}",
                        expected="a finite loss", hint=f"a smaller rate than {rate:g}",
                    )  # fmt: skip
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                if tick is not None:
                    tick()
    finally:
        for module, training in modes:
            module.training = training
    return losses


def errors(model: Any, x: Any, y: Any, batch: int = 128) -> tuple[float, float]:
    """Share of images that are classified wrongly, and the mean cross-entropy, in evaluation mode.

    Parameters
    ----------
    model : torch.nn.Module
        Gives ``(n, classes)`` scores. Every module is left in the mode in which it was.
    x : torch.Tensor or numpy.ndarray, ``(n, channels, *spatial)``
    y : torch.Tensor or numpy.ndarray, ``(n,)``
    batch : int
        Images per call of the model.

    Returns
    -------
    tuple of float
        ``(error, loss)``: the error in [0, 1], the loss in nats.

    Raises
    ------
    ValueError
        For images or labels that do not fit the model.

    Examples
    --------
    >>> import torch
    >>> errors(torch.nn.Flatten(), torch.eye(2)[:, :, None], torch.tensor([0, 0]))[0]
    0.5
    """
    import torch

    x = as_images("errors", model, x)
    y = as_labels("errors", x, y)
    wrong, total = 0, 0.0
    with evaluating(model), torch.no_grad():
        for images, labels in zip(x.split(batch), y.split(batch), strict=True):
            answer = scores("errors", model, images)
            _check_classes("errors", answer, y)
            wrong += int((answer.argmax(1) != labels).sum())
            total += float(torch.nn.functional.cross_entropy(answer, labels, reduction="sum"))
    return wrong / len(x), total / len(x)


def _batches(count: int, batch: int, steps: int, seed: int) -> Iterator[Any]:
    """The image numbers of each step: whole batches of one epoch's shuffle after another's."""
    import torch

    order = torch.Generator().manual_seed(seed)
    batch, done = min(batch, count), 0
    while True:
        for chosen in torch.randperm(count, generator=order)[: count // batch * batch].split(batch):
            if done == steps:
                return
            done += 1
            yield chosen


def _check_numbers(steps: int, batch: int, rate: float) -> None:
    if not (isinstance(steps, int) and isinstance(batch, int) and steps > 0 and batch > 0 and 0 < rate < math.inf):
        raise refuse(
            "fit", "training cannot go on like this", got=f"steps={steps!r}, batch={batch!r}, rate={rate!r}",
            expected="whole steps and batch from 1, a rate above 0", hint="steps=300, batch=64, rate=0.001",
        )  # fmt: skip


def _check_classes(where: str, answer: Any, y: Any) -> None:
    if int(y.max()) >= answer.shape[1]:
        raise refuse(
            where, "there are more classes than the model has scores",
            got=f"label {int(y.max())} for {answer.shape[1]} scores", expected=f"labels below {answer.shape[1]}",
            hint="a last layer with one output per class",
        )  # fmt: skip
