"""Outside answers: torch, SciPy and NumPy asked the same question."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

__all__ = ["directional_difference", "exact_mean", "scipy_filter", "torch_avg", "torch_max"]


def torch_max(x: np.ndarray, window: tuple[int, ...], **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Values and flat indices of torch's max pooling over the last axes of ``(N, C, *spatial)``."""
    pool: Callable[..., Any] = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)[len(window) - 1]
    values, indices = pool(torch.from_numpy(x), window, return_indices=True, **options)
    return values.numpy(), indices.numpy()


def torch_avg(x: np.ndarray, window: tuple[int, ...], **options: Any) -> np.ndarray:
    """torch's average pooling over the last axes of ``(N, C, *spatial)``."""
    pool: Callable[..., Any] = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)[len(window) - 1]
    return pool(torch.from_numpy(x), window, **options).numpy()


def scipy_filter(name: str, x: np.ndarray, window: tuple[int, ...], mode: str) -> np.ndarray:
    """SciPy's sliding median, minimum, maximum or mean, stride 1, a border in SciPy's words."""
    filters = {
        "median": ndimage.median_filter,
        "min": ndimage.minimum_filter,
        "max": ndimage.maximum_filter,
        "avg": ndimage.uniform_filter,
    }
    return filters[name](x, size=window, mode=mode)


def exact_mean(values: list[int]) -> int:
    """The mean of integers, rounded half to even, in exact arithmetic."""
    return round(Fraction(sum(values), len(values)))


def directional_difference(
    f: Callable[[np.ndarray], np.ndarray], x: np.ndarray, gy: np.ndarray, direction: np.ndarray, step: float
) -> float:
    """The derivative of ``sum(gy * f(x))`` along a direction, by a central difference."""
    return float((gy * (f(x + step * direction) - f(x - step * direction))).sum() / (2 * step))
