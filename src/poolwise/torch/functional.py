"""The pooling functions of `torch.nn.functional`: same names, parameters, order and defaults.

What they do is said at the layers of `poolwise.torch`, of which they also take the parameters that torch does not have,
by keyword. Any number of axes has its names: `max_pool4d` is made when it is first asked for.

Examples
--------
>>> import torch, poolwise.torch.functional as F
>>> F.max_pool2d(torch.arange(16.0).reshape(1, 4, 4), 2)
tensor([[[ 5.,  7.],
         [13., 15.]]])
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch

from ..spec import Ints, Padding
from ..unpool import Duplicates
from ._layer import Layer, Missing, Output, with_axes
from .adaptive import AdaptiveAvgPool3d, AdaptiveMaxPool3d
from .fractional import FractionalMaxPool3d
from .sliding import AvgPool3d, LPPool3d, MaxPool3d
from .unpool import MaxUnpool3d

Tensor = torch.Tensor
Function = Callable[..., Any]
MOST_AXES = 16
"""As many as the compiled kernels take."""


def _max(layer: type[Layer], always: bool = False) -> Function:
    def max_pool(
        input: Tensor,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Padding = 0,
        dilation: Ints = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
        *,
        any_padding: bool = False,
        output: Output = "values",
        mask: Tensor | None = None,
        nan: Missing = "propagate",
        empty: float | None = None,
    ) -> Any:
        indices = always or return_indices
        pool = layer._pool if mask is None and nan == "propagate" else layer._masking(mask, nan)
        return pool(input, kernel_size, stride, padding, dilation, ceil_mode, indices, any_padding, output, empty)

    return max_pool


def _avg1d(layer: type[Layer]) -> Function:
    def avg_pool(
        input: Tensor,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        *,
        divisor_override: int | None = None,
        dilation: Ints = 1,
        any_padding: bool = False,
        mask: Tensor | None = None,
        nan: Missing = "propagate",
        empty: float | None = None,
    ) -> Tensor:
        windows, counted = (kernel_size, stride, padding, ceil_mode), (count_include_pad, divisor_override)
        pool = layer._pool if mask is None and nan == "propagate" else layer._masking(mask, nan)
        return pool(input, *windows, *counted, dilation, any_padding, empty)

    return avg_pool


def _avg(layer: type[Layer]) -> Function:
    if layer.spatial == 1:  # which has no divisor_override in torch
        return _avg1d(layer)

    def avg_pool(
        input: Tensor,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
        *,
        dilation: Ints = 1,
        any_padding: bool = False,
        mask: Tensor | None = None,
        nan: Missing = "propagate",
        empty: float | None = None,
    ) -> Tensor:
        windows, counted = (kernel_size, stride, padding, ceil_mode), (count_include_pad, divisor_override)
        pool = layer._pool if mask is None and nan == "propagate" else layer._masking(mask, nan)
        return pool(input, *windows, *counted, dilation, any_padding, empty)

    return avg_pool


def _lp(layer: type[Layer]) -> Function:
    def lp_pool(
        input: Tensor,
        norm_type: float,
        kernel_size: Ints,
        stride: Ints | None = None,
        ceil_mode: bool = False,
        *,
        padding: Padding = 0,
        dilation: Ints = 1,
        any_padding: bool = False,
        mask: Tensor | None = None,
        nan: Missing = "propagate",
        empty: float | None = None,
    ) -> Tensor:
        windows = kernel_size, stride, ceil_mode, padding, dilation, any_padding
        pool = layer._pool if mask is None and nan == "propagate" else layer._masking(mask, nan)
        return pool(input, norm_type, *windows, empty)

    return lp_pool


def _adaptive_avg(layer: type[Layer]) -> Function:
    def adaptive_avg_pool(
        input: Tensor,
        output_size: Any,
        *,
        mask: Tensor | None = None,
        nan: Missing = "propagate",
        empty: float | None = None,
    ) -> Tensor:
        pool = layer._pool if mask is None and nan == "propagate" else layer._masking(mask, nan)
        return pool(input, output_size, empty)

    return adaptive_avg_pool


def _adaptive_max(layer: type[Layer], always: bool = False) -> Function:
    def adaptive_max_pool(
        input: Tensor,
        output_size: Any,
        return_indices: bool = False,
        *,
        output: Output = "values",
        mask: Tensor | None = None,
        nan: Missing = "propagate",
        empty: float | None = None,
    ) -> Any:
        pool = layer._pool if mask is None and nan == "propagate" else layer._masking(mask, nan)
        return pool(input, output_size, always or return_indices, output, empty)

    return adaptive_max_pool


def _fractional(layer: type[Layer], always: bool = False) -> Function:
    def fractional_max_pool(
        input: Tensor,
        kernel_size: Ints,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> Any:
        indices = always or return_indices
        return layer._pool(input, kernel_size, output_size, output_ratio, indices, _random_samples)

    return fractional_max_pool


def _unpool(layer: type[Layer]) -> Function:
    def max_unpool(
        input: Tensor,
        indices: Tensor,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Ints = 0,
        output_size: Any = None,
        *,
        duplicates: Duplicates = "last",
    ) -> Tensor:
        return layer._pool(input, indices, kernel_size, stride, padding, output_size, duplicates)

    return max_unpool


FAMILIES: dict[str, tuple[Function, type[Layer]]] = {
    "adaptive_avg_pool": (_adaptive_avg, AdaptiveAvgPool3d),
    "adaptive_max_pool": (_adaptive_max, AdaptiveMaxPool3d),
    "avg_pool": (_avg, AvgPool3d),
    "fractional_max_pool": (_fractional, FractionalMaxPool3d),
    "lp_pool": (_lp, LPPool3d),
    "max_pool": (_max, MaxPool3d),
    "max_unpool": (_unpool, MaxUnpool3d),
}
"""By the stem of the name: what makes the function of a layer, and the layer of three axes."""
WITH_INDICES = ("adaptive_max_pool", "fractional_max_pool", "max_pool")


def _make(stem: str, spatial: int, with_indices: bool) -> Function:
    make, layer = FAMILIES[stem]
    layer = with_axes(layer, spatial)
    function = make(layer, True) if with_indices else make(layer)
    function.__name__ = function.__qualname__ = f"{stem}{spatial}d" + "_with_indices" * with_indices
    about = "``(values, indices)`` of" if with_indices else "As"
    shape = "the size that was pooled" if stem == "max_unpool" else "the outputs"
    function.__doc__ = (
        f"{about} `poolwise.torch.{layer.__name__}`, whose parameters these are, in the order of torch's function.\n\n"
        f"    Shapes: ``(N, C, *spatial)`` or ``(C, *spatial)`` with {spatial} spatial axes, which become {shape}.\n    "
    )
    return function


__all__ = [f"{stem}{n}d" for stem in FAMILIES for n in (1, 2, 3)]
__all__ += [f"{stem}{n}d_with_indices" for stem in WITH_INDICES for n in (1, 2, 3)]


def __getattr__(name: str) -> Function:
    """The function of this name, for any number of axes; made once."""
    found = re.fullmatch(r"(\w+?)(\d{1,2})d(_with_indices)?", name)
    stems = WITH_INDICES if found and found[3] else FAMILIES
    if found is None or found[1] not in stems or not 1 <= int(found[2]) <= MOST_AXES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    function = globals()[name] = _make(found[1], int(found[2]), bool(found[3]))
    return function


for _name in __all__:
    __getattr__(_name)
