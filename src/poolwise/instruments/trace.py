"""Layer by layer: shapes, reduction, receptive field and cost of a chain of torch layers.

Where windows lie is never worked out here: pooling layers say it themselves (`poolwise.explain`), convolutions are
`geometry.Sliding`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..geometry import AxisWindows, Sliding, Windows, receptive_field
from ..messages import refuse, refuse_type, shown
from ..verbs import adaptive_pool, pool
from ..watch import explain

__all__ = ["Layer", "Trace", "trace", "undecimated"]

Spans = list[tuple[int, int, int]]
"""Along one axis, ``(window, stride, dilation)`` of each layer so far: what `geometry.receptive_field` takes."""

POINTWISE = frozenset(
    {
        "ReLU",
        "ReLU6",
        "LeakyReLU",
        "PReLU",
        "ELU",
        "SELU",
        "CELU",
        "GELU",
        "SiLU",
        "Mish",
        "Sigmoid",
        "Tanh",
        "Softplus",
    }
    | {"Hardswish", "Hardsigmoid", "Hardtanh", "Identity", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d"}
    | {"AlphaDropout", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d"}
)
"""torch layers through which an output position sees one input position (batch norm uses its stored statistics)."""


@dataclass(frozen=True)
class Layer:
    """One executed layer; all figures are for the batch that was traced."""

    name: str
    kind: str
    output: tuple[int, ...]
    """Output shape, batch first."""
    reduction: tuple[int, ...] | None
    """Input elements from one output to the next, per axis (product of strides). `None`: no spatial axes are left,
    or the spacing varies."""
    receptive_field: tuple[int, ...] | None
    """Input elements that one output depends on, per axis, padding counted. `None`: all of them, or it varies."""
    multiply_adds: int
    """Of convolutions and linear layers; taps on padding are counted, biases are not."""
    pool_operations: int
    """Of pooling layers: window elements, summed over all outputs."""
    parameters: int
    output_bytes: int


@dataclass(frozen=True)
class Trace:
    """The layers of a network in execution order."""

    input: tuple[int, ...]
    layers: tuple[Layer, ...]

    @property
    def multiply_adds(self) -> int:
        """Of all layers."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def pool_operations(self) -> int:
        """Of all layers."""
        return sum(layer.pool_operations for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Of all layers."""
        return sum(layer.parameters for layer in self.layers)

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        totals = {name: getattr(self, name) for name in ("multiply_adds", "pool_operations", "parameters")}
        return {"input": list(self.input), "layers": [asdict(layer) for layer in self.layers], **totals}


def trace(model: Any, input_shape: Sequence[int]) -> Trace:
    """Run a chain of torch layers once, on zeros, and say what each layer does.

    Parameters
    ----------
    model : torch.nn.Module
        Convolutions, poolings (torch's or `poolwise.torch`'s), activations, batch norm, flatten and linear layers, each
        of them fed with the output of the one before. It is run in evaluation mode and left as it was.
    input_shape : sequence of int
        ``(N, C, *spatial)``.

    Returns
    -------
    Trace

    Raises
    ------
    ValueError
        For a layer whose windows are not known, and where the layers are not a chain.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 6, 5), pt.AvgPool2d(2), torch.nn.Conv2d(6, 16, 5), pt.AvgPool2d(2))
    >>> trace(model, (1, 1, 32, 32)).layers[-1].receptive_field
    (16, 16)
    """
    import torch

    if not isinstance(model, torch.nn.Module):
        raise refuse_type(
            "trace", "this is not a torch model", got=type(model).__name__, expected="a torch.nn.Module",
            hint="torch.nn.Sequential(...)",
        )  # fmt: skip
    shape = tuple(int(n) for n in input_shape)
    first = next((p for p in model.parameters()), torch.zeros(0))
    x = torch.zeros(shape, dtype=first.dtype, device=first.device)
    recorder = _Recorder(x)
    leaves = [(name or type(model).__name__, leaf) for name, leaf in model.named_modules() if not any(leaf.children())]
    handles = [leaf.register_forward_hook(recorder.hook(name)) for name, leaf in leaves]
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.no_grad():
            y = model(x)
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training
    if y is not recorder.last:
        raise _not_a_chain("the model's result", y)
    return Trace(shape, tuple(recorder.layers))


def undecimated(model: Any) -> Any:
    """A copy of a torch model whose sliding pooling layers have stride 1: the net that pooling saves us from."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if _is_pooling(module) and hasattr(module, "stride"):
            module.stride = 1
    return model


class _Recorder:
    """Follows one tensor through the layers."""

    def __init__(self, x: Any) -> None:
        self.last = x
        self.layers: list[Layer] = []
        self.axes: list[Spans] | None = [[] for _ in x.shape[2:]]

    def hook(self, name: str) -> Any:
        """The forward hook of one layer."""

        def record(module: Any, args: tuple[Any, ...], y: Any) -> None:
            if len(args) != 1 or args[0] is not self.last:
                raise _not_a_chain(f"layer {name}", args[0] if args else None)
            self.layers.append(self._layer(name, module, args[0], y))
            self.last = y

        return record

    def _layer(self, name: str, module: Any, x: Any, y: Any) -> Layer:
        # A class of the user's own may do anything, whatever its name.
        kind = type(module).__name__ if type(module).__module__.startswith(("torch.nn.", "poolwise.")) else None
        multiply_adds, pool_operations = 0, 0
        if not hasattr(y, "shape"):
            raise _unknown(name, module)
        if _is_pooling(module):
            steps = _pooling(module, x)
            pool_operations = sum(problem.planes * problem.windows.elements for problem in steps)
            for problem in steps:
                self._extend(problem.windows)
            expected = steps[-1].out_shape
        elif kind in ("Conv1d", "Conv2d", "Conv3d"):
            windows = _convolution(module, x.shape[2:])
            self._extend(windows)
            expected = (x.shape[0], module.out_channels, *windows.shape)
            taps = math.prod(module.kernel_size) * (module.in_channels // module.groups)
            multiply_adds = math.prod(expected) * taps
        elif kind == "Linear":
            expected = (*x.shape[:-1], module.out_features)
            multiply_adds = math.prod(expected) * module.in_features
            self.axes = None
        elif kind == "Flatten":
            expected = tuple(y.shape)
            self.axes = None
        elif kind in POINTWISE or (kind in ("Softmax", "LogSoftmax") and module.dim == 1):
            expected = tuple(x.shape)
        else:
            raise _unknown(name, module)
        if tuple(y.shape) != tuple(expected):
            raise _unknown(name, module)
        reach = None if self.axes is None or not self.axes else [receptive_field(spans) for spans in self.axes]
        return Layer(
            name=name,
            kind=str(kind),
            output=tuple(y.shape),
            reduction=None if reach is None else tuple(jump for _, jump in reach),
            receptive_field=None if reach is None else tuple(field for field, _ in reach),
            multiply_adds=multiply_adds,
            pool_operations=pool_operations,
            parameters=sum(p.numel() for p in module.parameters()),
            output_bytes=y.numel() * y.element_size(),
        )

    def _extend(self, windows: Windows) -> None:
        # Unevenly spaced windows (adaptive bins that do not divide the axis) have neither a reduction nor a receptive
        # field of their own, and nor has anything after them.
        if self.axes is None or not all(map(_evenly_spaced, windows.axes)):
            self.axes = None
            return
        for spans, axis in zip(self.axes, windows.axes, strict=True):
            spans.append((axis.window, axis.stride, axis.step))


def _evenly_spaced(axis: AxisWindows) -> bool:
    if axis.last > axis.first:
        return True
    return bool((axis.origin[1:] - axis.origin[:-1] == axis.stride).all())


def _is_pooling(module: Any) -> bool:
    import torch

    from .. import torch as layers

    ours = tuple(getattr(layers, name) for name in layers.__all__ if isinstance(getattr(layers, name), type))
    return isinstance(module, ours + _torch_pooling(torch.nn))


def _torch_pooling(nn: Any) -> tuple[type, ...]:
    names = ("MaxPool", "AvgPool", "LPPool", "AdaptiveMaxPool", "AdaptiveAvgPool")
    return tuple(getattr(nn, f"{name}{n}d") for name in names for n in (1, 2, 3))


def _pooling(module: Any, x: Any) -> list[Any]:
    """The problems that a pooling layer poses: one, or two for blurred maxima."""
    import torch

    if not isinstance(module, _torch_pooling(torch.nn)):
        # Its `forward`, for calling the layer would come back here through its hook.
        return [plan.problem for plan in explain(module.forward, x).steps]
    n, shape = int(type(module).__name__[-2]), tuple(x.shape)

    def each(value: Any) -> tuple[Any, ...]:
        return tuple(value) if hasattr(value, "__len__") else (value,) * n

    if hasattr(module, "output_size"):
        return [plan.problem for plan in explain(adaptive_pool, shape, "max", each(module.output_size)).steps]
    explanation = explain(
        pool, shape, "max", each(module.kernel_size), stride=each(module.stride or module.kernel_size),
        padding=each(getattr(module, "padding", 0)), dilation=each(getattr(module, "dilation", 1)),
        ceil_mode=module.ceil_mode, empty=0,
    )  # fmt: skip
    return [plan.problem for plan in explanation.steps]


def _convolution(module: Any, sizes: Sequence[int]) -> Windows:
    padding = module.padding if isinstance(module.padding, str) else tuple((p, p) for p in module.padding)
    scheme = Sliding(tuple(module.kernel_size), tuple(module.stride), padding, tuple(module.dilation))
    return Windows(tuple(scheme.axis(n, i, where="trace", axis=i + 2) for i, n in enumerate(sizes)))


def _unknown(name: str, module: Any) -> ValueError:
    return refuse(
        "trace",
        "a layer's windows are not known",
        got=f"layer {name}: {shown(module)}",
        expected="convolution, pooling, activation, batch norm, dropout, flatten or linear layers",
        hint="trace the parts of the model before and after it",
    )


def _not_a_chain(what: str, value: Any) -> ValueError:
    return refuse(
        "trace",
        "the layers are not a chain",
        got=f"{what}, a tensor of shape {tuple(getattr(value, 'shape', ()))} that no layer's output is",
        expected="every layer to take the output of the one before",
        hint="nn.Flatten and nn.ReLU layers in place of functions; branches one at a time",
    )
