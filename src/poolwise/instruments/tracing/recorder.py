"""One run of a network, with everything noted: where elements come from, what operations cost, what stays in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from . import rules, sliding  # noqa: F401 - they fill the table
from .calls import Call, apply
from .costs import multiply_adds, nbytes, pool_operations, touched
from .memory import Alive, Memory
from .reach import Axis, Reach
from .result import Layer
from .walk import Frame, Walker, bound, short, strided

__all__ = ["Recorder", "Seen"]

Tensor = torch.Tensor
QUIET = frozenset(
    f"aten.{name}"
    for name in (
        "view", "_unsafe_view", "reshape", "_reshape_alias", "permute", "transpose", "t", "select", "slice", "unsqueeze",
        "squeeze", "expand", "unbind", "split", "split_with_sizes", "diagonal", "unfold", "alias", "detach", "lift_fresh",
        "unsafe_split", "unsafe_split_with_sizes", "as_strided", "view_as_real", "view_as_complex", "lift", "narrow",
    )
)  # fmt: skip
"""Operations that move no byte: no layers of their own."""
WRITERS = frozenset({"aten.copy", "aten.fill", "aten.zero"})
"""Operations that overwrite what they are given, and do not read it."""
LIGHT = frozenset(
    {"aten.clone", "aten._to_copy", "aten.copy", "aten.index", "aten.repeat", "aten.index_select", "aten.gather"}
)
KINDS = {
    "convolution": "conv",
    "addmm": "linear",
    "mm": "matmul",
    "bmm": "matmul",
    "baddbmm": "matmul",
    "_to_copy": "copy",
    "clone": "copy",
    "_scaled_dot_product_flash_attention_for_cpu": "attention",
    "_scaled_dot_product_flash_attention": "attention",
    "_scaled_dot_product_efficient_attention": "attention",
    "_scaled_dot_product_cudnn_attention": "attention",
    "linalg_vector_norm": "norm",
    "constant_pad_nd": "pad",
}


@dataclass(frozen=True)
class Seen:
    """One operation of the run, for a second run to follow."""

    name: str
    shapes: tuple[tuple[int, ...], ...]
    """Of its tensor arguments."""
    result: tuple[int, ...]
    asked: Any
    """The shape that a reshape was asked for."""
    pooled: int
    layer: int
    """How many layers there were before."""


@dataclass(eq=False)
class Row:
    """A layer that is being recorded."""

    name: str
    kind: str
    parameters: int = 0
    multiply_adds: int = 0
    pool_operations: int = 0
    bytes_moved: int = 0
    assumed: bool = False
    computes: bool = False
    since: int = 0
    names: set[str] = field(default_factory=set)


class Recorder(Walker):
    """Runs along with a model."""

    def __init__(self, model: Any, inputs: list[tuple[Tensor, Reach | None]]) -> None:
        super().__init__(model)
        self.memory = Memory()
        kept = [*model.parameters(), *model.buffers()]
        self.alive = Alive(tensor for tensor in kept if tensor.layout is torch.strided)
        for tensor, reach in inputs:
            self.memory.record(tensor, reach)
        self.alive.see(tensor for tensor, _ in inputs)
        self.layers: list[Layer] = []
        self.log: list[Seen] = []
        self.peeked = False
        self.unknown: set[str] = set()
        self._names: dict[str, int] = {}

    # Operations.

    def operate(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        a, name = bound(func, args, kwargs), short(func)
        shapes = tuple(tuple(tensor.shape) for tensor in strided(list(a.values())))
        call = Call(name, func, a, [], self.memory.read, args, kwargs)
        # An operation that writes in place changes what is known of its arguments: they are asked first.
        before = {id(tensor): self.memory.read(tensor) for tensor in strided(list(a.values()))}
        result = func(*args, **kwargs)
        outs = strided(result)
        call = Call(name, func, a, outs, lambda tensor: before.get(id(tensor)), args, kwargs)
        known = self._follow(call, before)
        if name == "aten._local_scalar_dense" and any(reach is not None for reach in before.values()):
            self.peeked = True
        self.alive.see(outs, self.count)
        if outs or func._schema.is_mutable:
            self._account(
                call, known, any(self.memory.read(tensor) is not None for tensor in outs or strided(args)), shapes
            )
        self.memory.forget()
        return result

    def _follow(self, call: Call, before: dict[int, Reach | None]) -> bool:
        written = [
            call.a[argument.name]
            for argument in call.func._schema.arguments
            if argument.alias_info is not None
            and argument.alias_info.is_write
            and isinstance(call.a[argument.name], Tensor)
        ]
        if call.name == "aten.as_strided":
            return True  # a view of known memory, which is looked through when it is read
        if written and not call.outs:
            call = Call(call.name, call.func, call.a, written, call.read, call.args, call.kwargs)
        reaches, known = apply(call)
        places = {id(out): reach for out, reach in zip(call.outs, reaches, strict=True)}
        if not known:
            self.unknown.add(call.name)
        for out in call.outs:
            if any(out is tensor for tensor in written):
                self.memory.write(out, places[id(out)])
            else:
                self.memory.record(out, places[id(out)])
        return known

    def _account(self, call: Call, known: bool, depends: bool, shapes: Any) -> None:
        adds, pooled = multiply_adds(call), pool_operations(call)
        quiet = call.name in QUIET or (not depends and not adds)
        asked = call.a.get("size") if call.name in ("aten.view", "aten._unsafe_view", "aten.reshape") else None
        result = tuple(call.outs[0].shape) if call.outs else ()
        self.log.append(Seen(call.name, shapes, result, asked, pooled, len(self.layers)))
        frame = self.stack[-1]
        if not frame.leaf and quiet:
            return
        row = frame.notes["row"] if frame.leaf else self._row(self._functional(call, frame), call)
        row.multiply_adds += adds
        row.pool_operations += pooled
        row.assumed |= not known
        row.names.add(call.name)
        if not quiet:
            read = [t for t in strided(list(call.a.values())) if not (call.name in WRITERS and t is call.a.get("self"))]
            row.bytes_moved += touched(read) + touched(call.outs)
        if not frame.leaf:
            self._close(row, call.outs[0] if call.outs else None)

    # Layers.

    def begin(self, frame: Frame) -> None:
        if frame.leaf:
            parameters = sum(p.numel() for p in frame.module.parameters())
            frame.notes["row"] = Row(frame.name, type(frame.module).__name__, parameters, since=self.count)

    def end(self, frame: Frame, result: Any) -> None:
        if frame.leaf:
            outs = strided(result)
            self._close(frame.notes["row"], outs[0] if outs else None)

    def _row(self, name: str, call: Call) -> Row:
        return Row(name, name.rpartition(".")[2], since=self.count - 1)

    def _functional(self, call: Call, frame: Frame) -> str:
        kind = call.name.rpartition(".")[2]
        if kind in ("convolution", "_convolution"):
            transposed = "_transpose" if call.a["transposed"] else ""
            kind = f"conv{transposed}{call.outs[0].ndim - 2}d"
        kind = KINDS.get(kind, kind).removeprefix("_").removeprefix("native_").removesuffix("_with_indices")
        return f"{frame.name}.{kind}" if frame.name else kind

    def _close(self, row: Row, out: Tensor | None) -> None:
        reach = None if out is None else self.memory.read(out)
        fields = _fields(reach)
        fresh = out is not None and self.alive.born(out) > row.since
        self._names[row.name] = number = self._names.get(row.name, 0) + 1
        self.layers.append(
            Layer(
                name=row.name if number == 1 else f"{row.name} ({number})", kind=row.kind,
                output=() if out is None else tuple(out.shape), multiply_adds=row.multiply_adds,
                pool_operations=row.pool_operations, parameters=row.parameters,
                output_bytes=0 if out is None else nbytes(out), bytes_moved=row.bytes_moved, assumed=row.assumed, fresh=fresh,
                counts=bool(row.multiply_adds or row.pool_operations or row.assumed or _matters(row.names)),
                reach=reach, **fields,
            )
        )  # fmt: skip


def _matters(names: set[str]) -> bool:
    """True for what puts maps together, or moves windows: not for what works on every element by itself."""
    if names & {"aten.add", "aten.mul"} == names and names:
        return True
    told = (
        "cat",
        "stack",
        "upsample",
        "pad",
        "pixel_",
        "roll",
        "flip",
        "col2im",
        "im2col",
        "grid_sampler",
        "unpool",
        "pool",
    )
    return any(word in name for name in names for word in told)


def _fields(reach: Reach | None) -> dict[str, Any]:
    """What a layer says of its reach."""
    if not reach or all(axis.nothing for axis in reach):
        return {"reduction": None, "receptive_field": None}
    grids = [axis.grid for axis in reach]
    jumps = [None if grid is None else _jump(grid.advance, grid.period) for grid in grids]
    mixed = any(axis.mixed and axis.even for axis in reach)
    return {
        "reduction": None if any(jump is None for jump in jumps) else tuple(jumps),
        "receptive_field": tuple(_field(axis) for axis in reach),
        "local_field": tuple(axis.padded_field() if axis.even else axis.field() for axis in reach) if mixed else None,
        "start": tuple(axis.start() for axis in reach),
    }


def _field(axis: Axis) -> int:
    return axis.padded_field() if axis.even and not axis.mixed else axis.field()


def _jump(advance: int, period: int) -> Any:
    from fractions import Fraction

    jump = Fraction(abs(advance), period)
    return int(jump) if jump.denominator == 1 else jump
