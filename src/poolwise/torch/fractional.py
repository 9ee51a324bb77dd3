"""Fractional max pooling under torch's names: each plane has windows of its own, from random samples of its own."""

from __future__ import annotations

import math
import operator
from typing import Any

import torch

from ..messages import refuse, refuse_type, shown
from ..ops.max import max_pool_with_indices
from ..spec import Ints
from ._layer import Layer, as_torch

__all__ = ["FractionalMaxPool1d", "FractionalMaxPool2d", "FractionalMaxPool3d"]

Tensor = torch.Tensor
SIGNED = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}
"""torch can gather none of these; their bits it can."""


class _FractionalMaxPool(Layer):
    shown = ("kernel_size", "output_size", "output_ratio")

    def __init__(
        self,
        kernel_size: Ints,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = self._tuple(kernel_size)
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)
        self.output_size = None if output_size is None else self._tuple(output_size)
        self.output_ratio = None if output_ratio is None else self._tuple(output_ratio)
        if (output_size is None) == (output_ratio is None):
            raise as_torch(_no_size(type(self).__name__, output_size, output_ratio))
        ratios = self.output_ratio or ()
        if not all(isinstance(ratio, (int, float)) and 0 < ratio < 1 for ratio in ratios):
            raise as_torch(
                refuse(
                    type(self).__name__,
                    "output_ratio is out of range",
                    got=f"output_ratio={shown(output_ratio)}",
                    expected="numbers between 0 and 1",
                    hint="output_ratio=0.5",
                )
            )

    def forward(self, input: Tensor) -> Any:
        sizes = self.kernel_size, self.output_size, self.output_ratio
        return self._pool(input, *sizes, self.return_indices, self._random_samples)

    @classmethod
    def _run(
        cls,
        input: Tensor,
        kernel_size: Ints,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> Any:
        kernel_size = cls._each(kernel_size)
        cls._check(input, "kernel_size", kernel_size)
        lengths = tuple(input.shape[-cls.spatial :])
        if output_size is None:
            if output_ratio is None:
                raise _no_size(cls.__name__, output_size, output_ratio)
            ratios = cls._tuple(output_ratio)
            cls._check(input, "output_ratio", ratios)
            output_size = tuple(int(n * ratio) for n, ratio in zip(lengths, ratios, strict=True))
        outputs = cls._each(output_size)
        cls._check(input, "output_size", outputs)
        windows, outputs = cls._whole(kernel_size, outputs)
        if any(m + k - 1 > n for n, m, k in zip(lengths, outputs, windows, strict=True)) or 0 in input.shape[1:]:
            raise refuse(
                cls.__name__,
                "so many windows do not fit",
                got=f"kernel_size={windows}, output_size={outputs} of a tensor of shape {tuple(input.shape)}",
                expected="output_size + kernel_size - 1 <= length on every axis, and no axis but the batch empty",
                hint="a smaller output_size or kernel_size",
            )
        samples = cls._samples(input, _random_samples)
        flat = _positions(samples, lengths, windows, outputs)
        return _pooled(input, flat, windows, outputs, return_indices)

    @classmethod
    def _whole(cls, *sizes: Any) -> list[tuple[int, ...]]:
        got = "kernel_size={}, output_size={}".format(*map(shown, sizes))
        words = {"got": got, "expected": "whole numbers above 0", "hint": "kernel_size=2, output_size=3"}
        if any(isinstance(n, bool) or not hasattr(n, "__index__") for size in sizes for n in size):
            raise refuse_type(cls.__name__, "sizes are not whole numbers", **words)
        found = [tuple(map(operator.index, size)) for size in sizes]
        if min(map(min, found)) < 1:
            raise refuse(cls.__name__, "sizes are out of range", **words)
        return found

    @classmethod
    def _samples(cls, x: Tensor, given: Tensor | None) -> Tensor:
        """One uniform draw per plane and pooled axis, ``(planes, spatial)``: drawn as torch draws them, or given."""
        batch = 1 if x.ndim == cls.spatial + 1 else x.shape[0]
        shape = batch, x.shape[-cls.spatial - 1], cls.spatial
        dtype = x.dtype if x.is_floating_point() else torch.float32
        if given is None:
            given = torch.rand(shape, dtype=dtype, device=x.device)
        elif not isinstance(given, torch.Tensor) or given.dtype != dtype or given.device != x.device:
            raise refuse_type(
                cls.__name__,
                "_random_samples are of another kind than the input",
                got=f"{given.dtype} on {given.device}" if isinstance(given, torch.Tensor) else shown(given),
                expected=f"a tensor of {dtype} on {x.device}",
                hint="_random_samples.to(input)",
            )
        elif given.shape[1:] != shape[1:] or len(given) < batch:
            raise refuse(
                cls.__name__,
                "_random_samples do not fit the input",
                got=f"a tensor of shape {tuple(given.shape)}",
                expected=f"shape {shape}",
                hint="torch.rand of that shape",
            )
        # torch reads those of two axes last axis first, those of three first axis first.
        given = given[:batch].reshape(-1, cls.spatial)
        return given.flip(-1) if cls.spatial == 2 else given


def _no_size(where: str, output_size: Any, output_ratio: Any) -> ValueError:
    return refuse(
        where,
        "the output's size is not said, or twice",
        got=f"output_size={shown(output_size)}, output_ratio={shown(output_ratio)}",
        expected="exactly one of them",
        hint="output_ratio=0.5",
    )


def _positions(samples: Tensor, lengths: tuple[int, ...], windows: tuple[int, ...], outputs: tuple[int, ...]) -> Tensor:
    """Flat positions in the plane that the windows see, ``(planes, taps)``: along each axis window after window.

    `poolwise.geometry` has these windows for draws that are float64. torch computes in the samples' own dtype (on a GPU
    in float32 at least), and some windows start elsewhere then: here it is the same operations in the same dtype.
    """
    if samples.is_cuda and samples.element_size() < 4:
        samples = samples.float()
    flat = torch.zeros((len(samples), 1), dtype=torch.int64, device=samples.device)
    for axis, (n, k, m) in enumerate(zip(lengths, windows, outputs, strict=True)):
        first = torch.zeros((len(samples), 0), dtype=torch.int64, device=samples.device)
        if m > 1:
            room, steps = torch.tensor([n - k, m - 1], device=samples.device).to(samples.dtype)
            alpha, draw = room / steps, samples[:, axis, None]
            number = torch.arange(m - 1, device=samples.device).to(samples.dtype)
            first = ((number + draw) * alpha).to(torch.int64) - (draw * alpha).to(torch.int64)
        last = torch.full((len(samples), 1), n - k, device=samples.device)
        start = torch.cat([first, last], 1).clamp(0, n - k)  # samples may be any numbers: what they read is not
        seen = (start[:, :, None] + torch.arange(k, device=samples.device)).flatten(1)
        flat = (flat[:, :, None] * n + seen[:, None, :]).flatten(1)
    return flat


def _pooled(x: Tensor, flat: Tensor, windows: tuple[int, ...], outputs: tuple[int, ...], indices: bool) -> Any:
    """The largest of each window, laid side by side. Values are gathered, so that all of torch's autograd applies."""
    lead = x.shape[: x.ndim - len(windows)]
    planes = x.reshape(math.prod(lead), math.prod(x.shape[len(lead) :]))
    with torch.no_grad():
        laid = [m * k for m, k in zip(outputs, windows, strict=True)]
        taps = _gather(planes.detach(), flat).reshape(len(planes), *laid)
        chosen = max_pool_with_indices(taps, windows)[1]
        found = flat.gather(1, chosen.flatten(1))
    y = _gather(planes, found).reshape(*lead, *outputs)
    return (y, found.reshape(y.shape)) if indices else y


def _gather(planes: Tensor, at: Tensor) -> Tensor:
    signed = SIGNED.get(planes.dtype)
    return planes.gather(1, at) if signed is None else planes.view(signed).gather(1, at).view(planes.dtype)


class FractionalMaxPool1d(_FractionalMaxPool):
    """Max pooling of ``(N, C, L)`` or ``(C, L)`` over windows at random, fractional strides; see `FractionalMaxPool2d`."""

    spatial = 1


class FractionalMaxPool2d(_FractionalMaxPool):
    """Max pooling of ``(N, C, H, W)`` or ``(C, H, W)`` over windows at random, fractional strides.

    Parameters as `torch.nn.FractionalMaxPool2d`, and the same results after the same `torch.manual_seed`. The
    operator of one draw for all planes is `poolwise.fractional_pool`.

    References
    ----------
    Graham, "Fractional max-pooling", arXiv 1412.6071, 2014.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> pt.FractionalMaxPool2d(2, output_ratio=0.7)(torch.zeros(1, 8, 30, 20)).shape
    torch.Size([1, 8, 21, 14])
    """

    spatial = 2
    shown = ()  # as torch's layer, which shows nothing


class FractionalMaxPool3d(_FractionalMaxPool):
    """Max pooling of ``(N, C, D, H, W)`` or ``(C, D, H, W)`` over windows at random, fractional strides.

    Parameters as `torch.nn.FractionalMaxPool3d`; see `FractionalMaxPool2d`.
    """

    spatial = 3
    shown = ()
