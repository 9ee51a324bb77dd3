"""95 % intervals: of a share over images, and of a mean over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Estimate", "mean_interval", "share_interval"]

Z = 1.959963984540054
"""Of the normal distribution, 97.5 % lie below."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % interval; the ends are `None` where there is only one value."""

    mean: float
    low: float | None
    high: float | None
    values: tuple[float, ...]


def share_interval(shares: np.ndarray) -> tuple[float, float]:
    """Wilson's 95 % interval for the mean of one share per image, each in [0, 1].

    Several comparisons of one image are not independent, so images are what is counted. Wilson's formula takes the
    variance of a yes or no, ``p (1 - p)``, which shares of several comparisons stay below; the number of images is
    therefore multiplied by ``p (1 - p)`` over the variance that was found (survey statistics' design effect). Unlike a
    bootstrap it never leaves [0, 1] and stays of use where all images agree: there the variance found says nothing and
    images count once.

    References
    ----------
    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927. Kish, "Survey sampling",
    1965. Dean, Pagano, "Evaluating confidence interval methods for binomial proportions in clustered surveys", 2015.

    Examples
    --------
    >>> import numpy as np
    >>> low, high = share_interval(np.ones(100))
    >>> round(low, 3), high
    (0.963, 1.0)
    """
    shares = np.asarray(shares, dtype=np.float64)
    count, share = len(shares), float(shares.mean())
    variance = float(shares.var(ddof=1)) if count > 1 else 0.0
    weight = count * max(1.0, share * (1 - share) / variance) if variance > 0 else float(count)
    middle = (share + Z * Z / (2 * weight)) / (1 + Z * Z / weight)
    half = Z / (1 + Z * Z / weight) * math.sqrt(share * (1 - share) / weight + Z * Z / (4 * weight * weight))
    # At the ends the formula gives the share itself, but for rounding.
    return (0.0 if share == 0 else max(0.0, middle - half)), (1.0 if share == 1 else min(1.0, middle + half))


def mean_interval(values: Sequence[float]) -> Estimate:
    """Student's 95 % interval of a mean over independent values (seeds). Needs SciPy for more than one value.

    Examples
    --------
    >>> found = mean_interval([0.1, 0.2, 0.3])
    >>> round(found.mean, 3), round(found.low, 3), round(found.high, 3)
    (0.2, -0.048, 0.448)
    """
    each = tuple(float(value) for value in values)
    mean = math.fsum(each) / len(each)
    if len(each) == 1:
        return Estimate(mean, None, None, each)
    from scipy.stats import t

    half = float(t.ppf(0.975, len(each) - 1)) * float(np.std(each, ddof=1)) / math.sqrt(len(each))
    return Estimate(mean, mean - half, mean + half, each)
