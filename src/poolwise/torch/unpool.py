"""Max unpooling under torch's names."""

from __future__ import annotations

import operator
from typing import Any

import torch

from ..messages import refuse, refuse_type, shown
from ..spec import Ints
from ..unpool import Duplicates, max_unpool
from ._layer import Layer

__all__ = ["MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d"]

Tensor = torch.Tensor


class _MaxUnpool(Layer):
    shown = ("kernel_size", "stride", "padding")
    more = ("duplicates",)
    duplicates: Duplicates = "last"

    def __init__(
        self, kernel_size: Ints, stride: Ints | None = None, padding: Ints = 0, *, duplicates: Duplicates = "last"
    ) -> None:
        super().__init__()
        self.kernel_size = self._tuple(kernel_size)
        self.stride = self._tuple(kernel_size if stride is None else stride)
        self.padding = self._tuple(padding)
        self.duplicates = duplicates

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        return self._pool(input, indices, self.kernel_size, self.stride, self.padding, output_size, self.duplicates)

    @classmethod
    def _run(
        cls,
        input: Tensor,
        indices: Tensor,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Ints = 0,
        output_size: Any = None,
        duplicates: Duplicates = "last",
    ) -> Tensor:
        cls._check(input, "kernel_size", cls._tuple(kernel_size))
        stride = kernel_size if stride is None else stride
        sizes = cls._sizes(tuple(input.shape), *map(cls._tuple, (kernel_size, stride, padding)), output_size)
        y = max_unpool(input, indices, sizes, duplicates=duplicates)
        return y.contiguous(memory_format=_channels_last(input))

    @classmethod
    def _sizes(
        cls,
        shape: tuple[int, ...],
        kernel_size: tuple[int, ...],
        stride: tuple[int, ...],
        padding: tuple[int, ...],
        output_size: Any,
    ) -> tuple[int, ...]:
        """The lengths that were pooled: the shortest that could have been, or those given, which must be near them."""
        for name, value in (("stride", stride), ("padding", padding)):
            if len(value) != cls.spatial:
                raise refuse(
                    cls.__name__,
                    f"{name} has the wrong length",
                    got=f"{name}={shown(value)}",
                    expected=f"one number, or {cls.spatial}",
                    hint=f"{name}=1",
                )
        try:
            every = zip(shape[-cls.spatial :], kernel_size, stride, padding, strict=True)
            shortest = tuple((n - 1) * step + k - 2 * pad for n, k, step, pad in every)
            given = shortest if output_size is None else tuple(map(operator.index, output_size))
        except (TypeError, ValueError):
            raise refuse_type(
                cls.__name__,
                "these are not numbers of windows",
                got=f"kernel_size={kernel_size}, stride={stride}, padding={padding}, output_size={shown(output_size)}",
                expected="whole numbers, output_size a tuple of them",
                hint="those that the pooling had",
            ) from None
        given = given[2:] if len(given) == cls.spatial + 2 else given
        near = zip(given, shortest, stride, strict=False)
        if len(given) != cls.spatial or not (
            output_size is None or all(n - step < m < n + step for m, n, step in near)
        ):
            between = ", ".join(f"{n - step + 1} to {n + step - 1}" for n, step in zip(shortest, stride, strict=True))
            raise refuse(
                cls.__name__,
                "output_size is not what was pooled",
                got=f"output_size={shown(output_size)}",
                expected=f"{cls.spatial} or {cls.spatial + 2} numbers, the last {cls.spatial} of them {between}",
                hint=f"output_size={shortest}, or the shape of the tensor that was pooled",
            )
        return given


def _channels_last(x: Tensor) -> torch.memory_format:
    """The memory format of a result, as torch's: channels last where the input is that and nothing else."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    last = formats.get(x.ndim)
    if last is None or x.is_contiguous() or not x.is_contiguous(memory_format=last):
        return torch.contiguous_format
    return last


class MaxUnpool1d(_MaxUnpool):
    """Maxima of ``(N, C, L)`` or ``(C, L)`` back to where they were found; parameters as `torch.nn.MaxUnpool1d`.

    See `MaxUnpool2d`.
    """

    spatial = 1


class MaxUnpool2d(_MaxUnpool):
    """Maxima of ``(N, C, H, W)`` or ``(C, H, W)`` back to where they were found; parameters as `torch.nn.MaxUnpool2d`,
    the operation as `poolwise.max_unpool`, whose `duplicates` it takes by keyword.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> values, indices = pt.MaxPool2d(2, return_indices=True)(torch.tensor([[[3.0, 1.0], [4.0, 1.0]]]))
    >>> pt.MaxUnpool2d(2)(values, indices)
    tensor([[[0., 0.],
             [4., 0.]]])
    """

    spatial = 2


class MaxUnpool3d(_MaxUnpool):
    """Maxima of ``(N, C, D, H, W)`` or ``(C, D, H, W)`` back to where they were found; as `torch.nn.MaxUnpool3d`.

    See `MaxUnpool2d`.
    """

    spatial = 3
