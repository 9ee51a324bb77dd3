"""The same network with every pooling stride set to 1, followed without computing anything.

Strides are changed where an operation reaches the dispatcher, so that pooling layers, pooling functions and torch's own are
all met. Lengths that a network was written for no longer fit: a reshape to fixed lengths is done by the meaning that it had in
the network as it is (these dimensions become one), and a matrix product that then has more inputs is counted with those it
would need. Whatever else does not fit ends the run, and the figures end there too.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map

from ...geometry import Sliding
from ...torch._text import decode, encode
from .calls import Call
from .costs import multiply_adds, nbytes
from .movement import groups
from .recorder import Recorder, Seen
from .result import Undecimated
from .sliding import counted
from .walk import Walker, bound, short, strided

__all__ = ["run"]

POOLS = {
    f"aten.{kind}_pool{n}d{more}": n for kind in ("max", "avg") for n in (1, 2, 3) for more in ("", "_with_indices")
}
OURS = ("poolwise.pool", "poolwise.pool_with_offsets", "poolwise.indices")
RESHAPES = ("aten.view", "aten._unsafe_view", "aten.reshape")
PRODUCTS = {"aten.mm": ("self", "mat2"), "aten.addmm": ("mat1", "mat2")}


class _StoppedError(Exception):
    """The network cannot be followed further."""


def run(model: Any, args: Any, kwargs: Any, recorder: Recorder) -> Undecimated:
    """Follow the network once more; `recorder` has followed it as it is."""
    follower = _Follower(model, recorder.log)
    stopped, layers = None, recorder.layers
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    try:
        with _quiet(), fake:
            args, kwargs = tree_map(lambda x: fake.from_tensor(x) if isinstance(x, torch.Tensor) else x, (args, kwargs))
            with follower.hooked(), follower:
                model(*args, **kwargs)
    except Exception as error:  # whatever it is, it says why the network does not run so
        lines = str(error).strip().splitlines() or [type(error).__name__]
        stopped = f"{follower.where()}: {' '.join(lines[0].split())[:200]}"
        layers = layers[: follower.layer]  # the one that fails may have begun
    costs = [follower.costs.get(number, (0, 0, layer.output_bytes)) for number, layer in enumerate(layers)]
    fresh = [layer.fresh for layer in layers]
    return Undecimated(
        multiply_adds=sum(cost[0] for cost in costs), pool_operations=sum(cost[1] for cost in costs),
        output_bytes=sum(cost[2] for cost, new in zip(costs, fresh, strict=True) if new),
        before=(
            sum(layer.multiply_adds for layer in layers), sum(layer.pool_operations for layer in layers),
            sum(layer.output_bytes for layer in layers if layer.fresh),
        ),
        strides=follower.strides, enlarged=tuple(dict.fromkeys(follower.enlarged)), stopped=stopped,
    )  # fmt: skip


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch logs what does not fit, with its traceback, before it says so."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


class _Follower(Walker):
    """Does what the network does, on tensors without memory, beside the log of the run before."""

    def __init__(self, model: Any, log: list[Seen]) -> None:
        super().__init__(model)
        self.log = log
        self.layer = 0
        self.costs: dict[int, tuple[int, int, int]] = {}
        """Multiply-adds, window elements and bytes of the last result, by the layer's number."""
        self.strides = 0
        self.enlarged: list[str] = []
        self._at = 0

    def operate(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        name = short(func)
        outs_known = self._at < len(self.log)
        seen = self.log[self._at] if outs_known else None
        if seen is None or seen.name != name:
            if func._schema.is_mutable or any(argument for argument in func._schema.returns):
                raise _StoppedError(f"it runs other operations than with its strides ({name.partition('.')[2]})")
            return func(*args, **kwargs)
        self._at += 1
        self.layer = seen.layer
        a = bound(func, args, kwargs)
        a = self._slower(name, a)
        call, result = self._done(seen, func, name, a)
        adds, pooled, _ = self.costs.get(seen.layer, (0, 0, 0))
        elements = counted(call)
        if elements is None:
            elements = int(a["self"].numel()) if seen.pooled else 0
        adds += call.kwargs["adds"] if "adds" in call.kwargs else multiply_adds(call)
        size = nbytes(call.outs[0]) if call.outs else 0
        self.costs[seen.layer] = (adds, pooled + elements, size)
        return result

    def _slower(self, name: str, a: dict[str, Any]) -> dict[str, Any]:
        """The arguments, with a pooling's stride set to 1."""
        if name in POOLS:
            stride = a.get("stride") or a["kernel_size"]
            self.strides += any(n != 1 for n in stride)
            return a | {"stride": [1] * POOLS[name]}
        if name in OURS:
            pooling, backend = decode(a["pooling"])
            if isinstance(pooling.scheme, Sliding):
                ones = (1,) * len(pooling.scheme.stride)
                self.strides += pooling.scheme.stride != ones and name != "poolwise.indices"
                slow = replace(pooling, scheme=replace(pooling.scheme, stride=ones))
                return a | {"pooling": encode(slow, backend)}
        return a

    def _done(self, seen: Seen, func: Any, name: str, a: dict[str, Any]) -> tuple[Call, Any]:
        if name in RESHAPES and "size" in a:
            a = a | {"size": _meant(seen, tuple(a["self"].shape), list(a["size"]))}
        if name in PRODUCTS:
            left, right = (a[argument] for argument in PRODUCTS[name])
            if left.shape[1] != right.shape[0]:
                self.enlarged.append(self.where())
                result = left.new_empty((left.shape[0], right.shape[1]))
                adds = math.prod(left.shape) * right.shape[1]
                return Call(name, func, a, [result], _constant, (), {"adds": adds}), result
        args, kwargs = _split(func, a)
        result = func(*args, **kwargs)
        return Call(name, func, a, strided(result), _constant, args, kwargs), result


def _constant(tensor: Any) -> None:
    """Nothing is known here of what depends on what."""


def _split(func: Any, a: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """As the operation takes them: by position, and by name those that must be."""
    plain = [argument.name for argument in func._schema.arguments if not argument.kwarg_only]
    named = {argument.name for argument in func._schema.arguments if argument.kwarg_only}
    return tuple(a[name] for name in plain), {name: a[name] for name in named}


def _meant(seen: Seen, shape: tuple[int, ...], asked: list[Any]) -> list[int]:
    """The lengths that a reshape is to give here: those it asks for, unless they are written into the network."""
    before = seen.shapes[0]
    if before == shape or asked != list(seen.asked):
        return asked
    lengths = list(seen.result)
    for ins, outs in groups(before, seen.result):
        if [before[d] for d in ins] == [shape[d] for d in ins]:
            continue
        wide = [d for d in outs if seen.result[d] > 1] or outs[-1:]
        if len(wide) != 1:
            return asked
        lengths[wide[0]] = math.prod(shape[d] for d in ins)
    return lengths
