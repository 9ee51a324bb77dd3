"""What the layers share: windows and operators as torch modules. The number of spatial axes is a class attribute."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Iterable
from functools import cache, partial, wraps
from typing import Any, Literal, TypeVar

import torch

from ..masked.verb import Missing, pool_masked
from ..messages import refuse, refuse_type, shown
from ..spec import Finds, Ints, Padding, PoolOp, Request, WindowArgs, pooling

__all__ = [
    "AdaptiveLayer",
    "CountingLayer",
    "Layer",
    "Output",
    "SlidingLayer",
    "TorchPoolError",
    "TorchPoolTypeError",
    "as_torch",
    "finds_of",
    "torch_errors",
    "with_axes",
]

Tensor = torch.Tensor
Function = TypeVar("Function", bound=Callable[..., Any])
Output = Literal["values", "values_and_offsets"]


class TorchPoolError(ValueError, RuntimeError):
    """What a layer or function under a torch name raises for a value: torch raises either of the two."""


class TorchPoolTypeError(TypeError, RuntimeError):
    """The same for a type: torch raises a TypeError for arguments, a RuntimeError for dtypes."""


def as_torch(error: Exception) -> Exception:
    """An error with the same text that is of torch's kind too."""
    return (TorchPoolTypeError if isinstance(error, TypeError) else TorchPoolError)(str(error))


def torch_errors(function: Function) -> Function:
    """The function, its refusals such that code written for torch's errors catches them."""

    @wraps(function)
    def call(*args: Any) -> Any:
        try:
            return function(*args)
        except (ValueError, TypeError) as error:
            if isinstance(error, RuntimeError):
                raise
            raise as_torch(error).with_traceback(error.__traceback__) from None

    return call  # type: ignore[return-value]


def finds_of(where: str, return_indices: bool, output: Output) -> Finds:
    """What a max layer is to find beside values."""
    if not (isinstance(output, str) and output in ("values", "values_and_offsets")):
        raise refuse(
            where,
            "output is unknown",
            got=f"output={shown(output)}",
            expected="'values' or 'values_and_offsets'",
            hint='output="values_and_offsets"',
        )
    if output == "values":
        return "indices" if return_indices else None
    if return_indices:
        raise refuse(
            where,
            "indices and offsets are asked for at once",
            got=f"return_indices={shown(return_indices)}, output={output!r}",
            expected="one of the two",
            hint="return_indices=True alone, for torch's int64 positions",
        )
    return "offsets"


class Layer(torch.nn.Module):
    """What all layers share: the number of spatial axes, and a line that describes them.

    A layer that is one pooling call says it in `_ask`, from the tensor and the layer's attributes, and makes it with
    `_pool`, which takes the same: see `poolwise.spec.pooling`. One that is more than a pooling call does it in `_run`,
    of which `_pool` is made then. The functions of `poolwise.torch.functional` call the same `_pool`.
    """

    spatial: int
    shown: tuple[str, ...]
    more: tuple[str, ...] = ()
    """Parameters that torch's layer does not have or show, shown where they are not the class's default."""
    _pool: Callable[..., Any]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if hasattr(cls, "_ask"):
            cls._pool = staticmethod(torch_errors(pooling(cls._ask)))
        elif hasattr(cls, "_run"):
            cls._pool = staticmethod(torch_errors(cls._run))

    def extra_repr(self) -> str:
        more = [name for name in self.more if getattr(self, name) != getattr(type(self), name)]
        return ", ".join(f"{name}={getattr(self, name)}" for name in (*self.shown, *more))

    def __prepare_scriptable__(self) -> Any:
        """What torch.jit.script asks modules for; without it, its error is about lines of this file."""
        name = type(self).__name__
        torchs = f"torch.nn.{name}" if hasattr(torch.nn, name) else "a torch module"
        raise as_torch(
            refuse(
                name,
                "torch.jit.script cannot compile this layer",
                got="a layer that runs poolwise's kernels, of which TorchScript knows nothing",
                expected="a module whose forward is TorchScript",
                hint=f"torch.compile or torch.export, or {torchs} in the copy of the model that is scripted",
            )
        )

    @classmethod
    def _each(cls, value: Any) -> Any:
        """One entry per spatial axis, read as torch reads them: a single one stands for all, alone or in a tuple."""
        if isinstance(value, (tuple, list)):
            return tuple(value) * cls.spatial if len(value) == 1 else tuple(value)
        return (value,) * cls.spatial

    @classmethod
    def _tuple(cls, value: Any) -> tuple[Any, ...]:
        """What torch's layers keep as a tuple; its length is looked at in calls."""
        several = isinstance(value, Iterable) and not isinstance(value, (str, bytes, torch.Tensor))
        return tuple(value) if several else (value,) * cls.spatial

    @classmethod
    def _check(cls, x: Tensor, name: str, value: Any) -> None:
        if not isinstance(x, torch.Tensor):
            raise refuse_type(
                cls.__name__,
                "this is not a tensor",
                got=f"an object of type {type(x).__module__}.{type(x).__qualname__}",
                expected="a torch tensor",
                hint="torch.as_tensor(x), or poolwise's functions for NumPy arrays",
            )
        if x.ndim not in (cls.spatial + 1, cls.spatial + 2):
            raise refuse(
                cls.__name__,
                "the input has the wrong number of axes",
                got=f"a tensor of shape {tuple(x.shape)}",
                expected=f"(N, C, *spatial) or (C, *spatial) with {cls.spatial} spatial axes",
                hint="x.unsqueeze(0) to add a batch axis",
            )
        if isinstance(value, (tuple, list)) and len(value) != cls.spatial:
            raise refuse(
                cls.__name__,
                f"{name} has the wrong length",
                got=f"{name}={shown(value)}",
                expected=f"one number, or {cls.spatial}",
                hint=f"{name}=2",
            )


class CountingLayer(Layer):
    """One pooling call, of all elements, or of those that count: ``layer(x, mask=m)``, ``nan="omit"``.

    The last argument of its `_ask` is `empty`. Each layer calls `_pool` itself, unless a mask is given or NaN left out: to
    collect the arguments elsewhere takes 4 % of a small call.
    """

    nan: Missing = "propagate"
    empty: float | None = None
    more = ("nan", "empty")
    _masked: Callable[..., Any]

    def __init__(self, nan: Missing, empty: float | None) -> None:
        super().__init__()
        self.nan = nan
        self.empty = empty

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._masked = staticmethod(torch_errors(cls._run_masked))

    @classmethod
    def _masking(cls, mask: Tensor | None, nan: Missing) -> Callable[..., Any]:
        """What takes the place of `_pool` where some elements may not count."""
        return partial(cls._masked, mask, nan)

    @classmethod
    def _run_masked(cls, mask: Tensor | None, nan: Missing, input: Tensor, *arguments: Any) -> Any:
        request = cls._ask(input, *arguments)
        if mask is not None or input.is_floating_point():
            request = cls._counted(input, request, arguments[-1])
        return pool_masked(request, input, mask, nan)

    @classmethod
    def _counted(cls, input: Tensor, request: Request, empty: float | None) -> Request:
        """The request where some elements may not count: of windows without any, `empty` decides, not torch's padding."""
        return request._replace(empty=math.nan if empty is None and input.is_floating_point() else empty)


class SlidingLayer(CountingLayer):
    """Windows of one size at a constant stride."""

    op: PoolOp
    kernel_size: Ints
    stride: Ints | None
    padding: Padding | None = 0
    dilation: Ints = 1
    ceil_mode: bool = False
    any_padding: bool = False
    centres: bool = False
    """True where padding=None stands for as much as centres the window."""

    def __init__(
        self,
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Padding | None = 0,
        dilation: Ints = 1,
        ceil_mode: bool = False,
        any_padding: bool = False,
        *,
        nan: Missing = "propagate",
        empty: float | None = None,
    ) -> None:
        super().__init__(nan, empty)
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.ceil_mode = ceil_mode
        self.any_padding = any_padding

    @classmethod
    def _limit_padding(cls, kernel_size: Ints, padding: Padding, dilation: Ints) -> None:
        """As torch's layers: padding beyond half of the window is refused there as a mistake."""
        if isinstance(padding, str):
            return
        for window, pad, step in zip(*map(cls._each, (kernel_size, padding, dilation)), strict=False):
            try:
                window, step = operator.index(window), operator.index(step)
                most = max(map(operator.index, pad if isinstance(pad, (tuple, list)) else (pad,)))
            except (TypeError, ValueError):
                return  # not numbers: the request says so
            span = step * (window - 1) + 1
            if window > 0 < step and 2 * most > span:
                raise refuse(
                    cls.__name__,
                    "padding is more than half of the window",
                    got=f"padding={shown(pad)} for a window of {window}, dilation {step}",
                    expected=f"at most {span // 2}, as torch",
                    hint="less padding, or any_padding=True, which allows all",
                )

    @classmethod
    def _request(
        cls,
        x: Tensor,
        kernel_size: Ints,
        stride: Ints | None,
        padding: Padding | None,
        dilation: Ints = 1,
        ceil_mode: bool = False,
        any_padding: bool = True,
        params: Any = None,
        **options: Any,
    ) -> Request:
        kernel_size = cls._each(kernel_size)
        cls._check(x, "kernel_size", kernel_size)
        if padding is None and not cls.centres:
            raise refuse_type(
                cls.__name__,
                "padding is not said",
                got="padding=None",
                expected='an int, one per axis, a (low, high) pair per axis, or "same"',
                hint="padding=0",
            )
        if not any_padding:
            cls._limit_padding(kernel_size, padding, dilation)
        stride = None if stride is None or stride in ((), []) else cls._each(stride)
        pads = padding if isinstance(padding, str) or padding is None else cls._each(padding)
        args = WindowArgs("sliding", kernel_size, stride, pads, cls._each(dilation), ceil_mode)
        return Request(cls.__name__, cls.op, args, cls.op.params() if params is None else params, **options)


class AdaptiveLayer(CountingLayer):
    """A given number of bins per axis."""

    op: PoolOp
    shown: tuple[str, ...] = ("output_size",)

    def __init__(self, output_size: Any, nan: Missing, empty: float | None) -> None:
        super().__init__(nan, empty)
        self.output_size = output_size

    @classmethod
    def _ask(cls, input: Tensor, output_size: Any, empty: float | None, finds: Finds = None) -> Request:
        cls._check(input, "output_size", output_size)
        sizes = output_size if isinstance(output_size, (tuple, list)) else cls._each(output_size)
        args = WindowArgs("adaptive", output_size=sizes)
        return Request(cls.__name__, cls.op, args, cls.op.params(), empty=empty, finds=finds)


@cache
def with_axes(layer: type[Layer], spatial: int) -> type[Layer]:
    """The layer of the same kind as one of three axes, for another number of axes; made where there is none."""
    name = layer.__name__.replace("3d", f"{spatial}d")
    existing = getattr(sys.modules[layer.__module__], name, None)
    if existing is not None:
        return existing
    about = f"`{layer.__name__}` with {spatial} spatial axes: ``(N, C, *spatial)`` or ``(C, *spatial)``."
    # Its module is one that finds it by name, as pickle does.
    return type(name, layer.__bases__, {"spatial": spatial, "__doc__": about, "__module__": __package__})
