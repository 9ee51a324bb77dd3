"""The family that a study compares: the ways of reducing resolution, as one table.

All have the same trunk: stages of a 3 x 3 convolution (padding 1, no bias), batch norm and ReLU, with the resolution
halved after every stage but the last; then a global average and a linear layer, which are common to all, so that "no
pooling" means none between convolutions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..messages import refuse

__all__ = ["BY_NAME", "WAYS", "Way", "chosen", "reductions"]


@dataclass(frozen=True)
class Way:
    """How one variant halves the resolution after a stage."""

    name: str
    title: str
    family: str = "main"
    reduces: str = "pooling"
    pools: tuple[tuple[str, dict[str, Any]], ...] = ()
    """Layers of `poolwise.study.nets` or `poolwise.torch`, one after the other, and their arguments."""
    stride: int = 1
    """Of the stage's own convolution."""
    extra: int | None = None
    """Stride of one more convolution (with batch norm and ReLU) before the pooling layers."""


OVERLAPPING = {"kernel_size": 3, "stride": 2, "padding": 1}

WAYS = (
    Way("max2", "max, 2 x 2", pools=(("MaxPool2d", {"kernel_size": 2}),)),
    Way("max3", "max, overlapping 3 x 3", pools=(("MaxPool2d", OVERLAPPING),)),
    Way("avg2", "average, 2 x 2", pools=(("AvgPool2d", {"kernel_size": 2}),)),
    # Means of the elements that exist: with padding counted, the border would be darker than the rest.
    Way("avg3", "average, overlapping 3 x 3", pools=(("AvgPool2d", {**OVERLAPPING, "count_include_pad": False}),)),
    Way("lp2", "power average (root of squares), 2 x 2", pools=(("LPPool2d", {"norm_type": 2, "kernel_size": 2}),)),
    Way("blur", "blur 3 x 3 (1 2 1), every second", pools=(("BlurPool2d", {"kernel_size": 3}),)),
    Way("maxblur", "max 2 x 2 everywhere, then blur", pools=(("MaxBlurPool2d", {"kernel_size": 2}),)),
    Way("median3", "median, overlapping 3 x 3", pools=(("MedianPool2d", OVERLAPPING),)),
    # By about the root of two, twice: as fractional as in Graham 2014, and the next convolution sees maps as large as
    # everybody's. One pooling by exactly two would be plain 2 x 2 max pooling.
    Way("fractional", "fractional max, twice by 1.41", pools=(("FractionalRoot2", {}), ("FractionalRoot2", {}))),
    Way("none", "no reduction (stride 1)", reduces="nothing"),
    Way("strided", "strided convolution", reduces="convolution", stride=2),
    Way("allconv", "one more convolution, strided", family="extra", reduces="convolution", extra=2),
    # Springenberg et al. 2015: an added convolution is an added layer. Only this control has it too, and pools.
    Way(
        "convpool",
        "one more convolution, then max 2 x 2",
        family="extra",
        pools=(("MaxPool2d", {"kernel_size": 2}),),
        extra=1,
    ),
)
BY_NAME = {way.name: way for way in WAYS}

WIDTHS = (16, 32, 64, 64)
"""Channels of the stages."""
THREE_FROM = 48
"""Images with sides from here on are halved three times, smaller ones twice: the last maps are 2 to 8 positions wide."""
SIDES = (8, 128)


def reductions(height: int, width: int) -> int:
    """How often images of this size are halved.

    Raises
    ------
    ValueError
        For sides that do not halve evenly that often: windows of two and of three would give maps of different sizes.

    Examples
    --------
    >>> reductions(28, 28), reductions(64, 64)
    (2, 3)
    """
    times = 3 if min(height, width) >= THREE_FROM else 2
    least, most = SIDES
    if not all(least <= side <= most and side % 2**times == 0 for side in (height, width)):
        near = min(max(min(height, width) >> times << times, least), most)
        raise refuse(
            "study", "images of this size do not fit the networks", got=f"{height} x {width} pixels",
            expected=f"sides from {least} to {most} that divide by {2**times}", hint=f"--image-size {near}",
        )  # fmt: skip
    return times


def chosen(names: Sequence[str]) -> tuple[Way, ...]:
    """Variants by name, in the table's order.

    Raises
    ------
    ValueError
        For a name that is not in the table.
    """
    unknown = [name for name in names if name not in BY_NAME]
    if unknown or not names:
        raise refuse(
            "study", "there is no such variant" if unknown else "no variant is named", got=", ".join(unknown) or "none",
            expected=", ".join(BY_NAME), hint="--variants max2,avg2",
        )  # fmt: skip
    return tuple(way for way in WAYS if way.name in names)
