"""What a linear classifier can read off a layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..messages import refuse
from ..recipes import adaptive_avg_pool
from .networks import as_images, as_labels, maps, module_named, plain

__all__ = ["linear_probe"]

GRID = 4
"""Positions per axis that a probe is given of a map."""
PIXELS = 32
"""Positions per axis that a probe is given of the images themselves."""
DECAYS = (1.0, 0.1, 0.01, 0.001)
"""Weight decays that a probe chooses from, strongest first."""


def linear_probe(
    model: Any, layer: str | None, train: tuple[Any, Any], test: tuple[Any, Any], seed: int = 0, batch: int = 128
) -> float:
    """Accuracy of a linear classifier on a layer's output: how much of the classes can be read there without more layers.

    Maps are first averaged to at most 4 positions per axis (`adaptive_avg_pool`), so that early depths, with their large
    maps, do not win by their number of features; ``layer=None`` takes the pixels themselves, averaged to at most 32 per
    axis. Features are standardised by the training images. The classifier is multinomial logistic regression with weight
    decay (of 1, 0.1, 0.01 and 0.001 the one that does best on a fifth of the training images, drawn from the seed and
    held out), refitted on all of them. Test images choose nothing.

    Parameters
    ----------
    model : torch.nn.Module
        Run in evaluation mode and left as it was; none of its weights change.
    layer : str or None
        Name of a module.
    train, test : tuple
        Images ``(n, channels, *spatial)`` and their class numbers ``(n,)``.
    seed : int
    batch : int
        Images per call of the model.

    Returns
    -------
    float
        Share of the test images that are classified rightly.

    Raises
    ------
    ValueError
        For layers that do not exist, and for images and labels that do not fit.

    References
    ----------
    Alain, Bengio, "Understanding intermediate layers using linear classifier probes", ICLR workshop 2017.

    Examples
    --------
    >>> import torch
    >>> y = torch.arange(40) % 2
    >>> x = (2.0 * y - 1)[:, None, None, None] * torch.ones(40, 1, 2, 2)
    >>> linear_probe(torch.nn.Identity(), None, (x, y), (x, y))
    1.0
    """
    where = "linear_probe"
    xs = [as_images(where, model, part[0]) for part in (train, test)]
    ys = [as_labels(where, x, part[1]) for x, part in zip(xs, (train, test), strict=True)]
    if layer is not None:
        module_named(where, model, layer)
    first, second = (_features(where, model, layer, x, batch) for x in xs)
    if first.shape[1] != second.shape[1] or not np.isfinite(first).all() or not np.isfinite(second).all():
        raise refuse(
            where, "features cannot be compared", got=f"{first.shape[1]} and {second.shape[1]} features, or not finite",
            expected="as many finite numbers for each image", hint="train and test images of one size",
        )  # fmt: skip
    middle, spread = first.mean(0, dtype=np.float64), first.std(0, dtype=np.float64)
    # A feature that varies by no more than rounding says nothing, and must not become noise divided by nearly nothing.
    keep = spread > 1e-6 * np.abs(middle)
    first, second = ((part[:, keep] - middle[keep]) / spread[keep] for part in (first, second))
    return _logistic(first, plain(ys[0]), second, plain(ys[1]), seed)


def _features(where: str, model: Any, layer: str | None, x: Any, batch: int) -> np.ndarray:
    """``(n, features)`` float32."""
    if layer is None:
        return _flat(x, PIXELS)
    return np.concatenate([_flat(part[layer], GRID) for part in maps(where, model, x, [layer], batch)])


def _flat(y: Any, grid: int) -> np.ndarray:
    """A map averaged to a grid of at most so many positions per axis, as one row of features for each image."""
    sizes = tuple(y.shape[2:])
    if any(size > grid for size in sizes):
        y = adaptive_avg_pool(y, tuple(min(size, grid) for size in sizes))
    return plain(y.float()).reshape(len(y), -1)


def _logistic(x: np.ndarray, y: np.ndarray, test_x: np.ndarray, test_y: np.ndarray, seed: int) -> float:
    """Test accuracy of logistic regression whose weight decay a held-out fifth chooses."""
    classes = int(max(y.max(), test_y.max())) + 1
    order = np.random.default_rng(seed).permutation(len(y))
    held, rest = order[: len(y) // 5], order[len(y) // 5 :]
    best, decay, start, weights = -1.0, DECAYS[0], None, None
    for each in DECAYS if len(held) else ():
        weights = _solve(x[rest], y[rest], classes, each, weights)  # from the last one's weights: fewer steps
        right = _accuracy(x[held], y[held], weights)
        if right > best:
            best, decay, start = right, each, weights
    return _accuracy(test_x, test_y, _solve(x, y, classes, decay, start))


def _accuracy(x: np.ndarray, y: np.ndarray, weights: Any) -> float:
    weight, bias = plain(weights)[:-1], plain(weights)[-1]
    return float(((x @ weight + bias).argmax(1) == y).mean())


def _solve(x: np.ndarray, y: np.ndarray, classes: int, decay: float, start: Any) -> Any:
    """Weights and, in the last row, biases that minimise mean cross-entropy + decay / 2 * sum of squared weights."""
    import torch

    data, labels = torch.from_numpy(np.ascontiguousarray(x, np.float32)), torch.from_numpy(y)
    weights = torch.zeros(x.shape[1] + 1, classes) if start is None else start.detach().clone()
    weights.requires_grad_()
    # Weights of features that say the same are one direction to the optimiser: a hundred steps are plenty.
    optimizer = torch.optim.LBFGS(
        [weights], max_iter=100, history_size=10, line_search_fn="strong_wolfe", tolerance_change=1e-6
    )

    def loss() -> Any:
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(torch.addmm(weights[-1], data, weights[:-1]), labels)
        value = value + decay / 2 * weights[:-1].square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    return weights
