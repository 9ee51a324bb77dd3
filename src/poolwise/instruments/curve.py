"""Overfitting: errors on training and test images, and the gap between them, by the number of training images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..messages import refuse
from .intervals import Estimate, mean_interval
from .networks import as_images, as_labels, check_model, plain
from .training import errors, fit

__all__ = ["CurvePoint", "balanced_order", "learning_curve"]


@dataclass(frozen=True)
class CurvePoint:
    """Networks that were trained on the same number of images, one per seed. Errors are shares in [0, 1]."""

    size: int
    train: Estimate
    test: Estimate
    gap: Estimate
    """Test error less training error, network by network."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def balanced_order(labels: Any, seed: int = 0) -> np.ndarray:
    """A shuffle whose every beginning holds the classes as evenly as they last.

    Each class is shuffled, then the classes take turns; one that has run out is passed over.

    Parameters
    ----------
    labels : array, ``(n,)``
        Class numbers.
    seed : int

    Returns
    -------
    numpy.ndarray, ``(n,)``
        Image numbers.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.array([0, 0, 0, 1, 1, 2])
    >>> labels[balanced_order(labels)].tolist()
    [0, 1, 2, 0, 1, 0]
    """
    labels = plain(labels)
    random = np.random.default_rng(seed)
    order = random.permutation(len(labels))
    turn = np.empty(len(labels), np.int64)
    for each in np.unique(labels):
        mine = order[labels[order] == each]
        turn[mine] = np.arange(len(mine))
    place = np.empty(len(labels), np.int64)
    place[order] = np.arange(len(labels))
    return np.lexsort((place, labels, turn))


def learning_curve(
    factory: Callable[[int], Any],
    train: tuple[Any, Any],
    test: tuple[Any, Any],
    sizes: Sequence[int],
    seeds: Sequence[int],
    *,
    steps: int,
    batch: int,
    rate: float,
    tick: Callable[[], Any] | None = None,
) -> list[CurvePoint]:
    """Train new networks on ever more images and measure their errors: how much the gap closes is what overfitting is.

    For each size and seed ``factory(seed)`` is trained by `fit` on the first images of one fixed shuffle in which the
    classes take turns (`balanced_order`), so that smaller sets are parts of larger ones and all networks see the same
    images. Every network takes the same number of steps. Intervals are Student's, over seeds: they say how much the
    initial weights and the order of the images matter, not how another set of images would have done.

    Parameters
    ----------
    factory : callable
        Takes a seed, gives a new untrained model. torch is seeded with the same number before it is called.
    train, test : tuple
        Images ``(n, channels, *spatial)``, floats, and their class numbers ``(n,)``.
    sizes : sequence of int
        Numbers of training images, from 1 to all there are.
    seeds : sequence of int
        One network each; at least two for intervals.
    steps, batch, rate, tick
        As in `fit`.

    Returns
    -------
    list of CurvePoint
        In the order of `sizes`.

    Raises
    ------
    ValueError
        For sizes that the training images do not have, for no sizes or seeds, and as `fit`.

    References
    ----------
    Cortes, Jackel, Solla, Vapnik, Denker, "Learning curves: asymptotic values and rate of convergence", NeurIPS 1993.

    Examples
    --------
    >>> import torch
    >>> y = torch.arange(40) % 2
    >>> x = torch.randn(40, 1, 9, generator=torch.Generator().manual_seed(0)) + y[:, None, None]
    >>> def factory(seed):
    ...     return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 2))
    >>> small, large = learning_curve(factory, (x[:20], y[:20]), (x[20:], y[20:]), [4, 20], [0, 1],
    ...                               steps=50, batch=10, rate=0.05)
    >>> small.train.mean, small.gap.mean >= large.gap.mean
    (0.0, True)
    """
    import torch

    where = "learning_curve"
    total = len(train[1])
    bad = [size for size in sizes if not 1 <= size <= total]
    if bad or not len(sizes) or not len(seeds):
        raise refuse(
            where, "there is nothing to train on",
            got=f"sizes {list(sizes)} of {total} training images, {len(seeds)} seeds",
            expected=f"sizes from 1 to {total} and at least one seed", hint=f"sizes=[{total // 2}, {total}], seeds=[0, 1, 2]",
        )  # fmt: skip
    order = balanced_order(train[1])
    points = []
    for size in sizes:
        chosen = order[:size]
        found: list[tuple[float, float]] = []
        for seed in seeds:
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                model = factory(seed)
            check_model(where, model)
            x = as_images(where, model, train[0])[torch.from_numpy(chosen)]
            y = as_labels(where, x, plain(train[1])[chosen])
            fit(model, x, y, steps=steps, batch=batch, rate=rate, seed=seed, tick=tick)
            found.append((errors(model, x, y)[0], errors(model, *test)[0]))
        points.append(
            CurvePoint(
                size,
                train=mean_interval([error for error, _ in found]),
                test=mean_interval([error for _, error in found]),
                gap=mean_interval([after - before for before, after in found]),
            )
        )
    return points
