"""What a trace finds: a layer, the network, and the network without its pooling strides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from ...messages import refuse

__all__ = ["Layer", "Trace", "Undecimated"]

Jump = int | Fraction


@dataclass(frozen=True)
class Layer:
    """One executed layer; all figures are for the batch that was traced."""

    name: str
    """The module's name, or its container's and the function; a further call of the same has a number behind it."""
    kind: str
    """The module's class, or the function."""
    output: tuple[int, ...]
    """Output shape, batch first."""
    reduction: tuple[Jump, ...] | None
    """Input elements from one output to the next, per axis (product of strides, a fraction after upsampling). `None`: no
    spatial axes are left, or the spacing varies."""
    receptive_field: tuple[int, ...] | None
    """Input elements that one output depends on, per axis: padding counted where windows slide evenly, as papers count;
    elsewhere the most that any output depends on. `None`: the output is no tensor, or depends on nothing."""
    multiply_adds: int
    """Of convolutions, matrix products and attention; taps on padding are counted, biases are not."""
    pool_operations: int
    """Of pooling: window elements, summed over all outputs."""
    parameters: int
    output_bytes: int
    start: tuple[int | None, ...] | None = None
    """Where the field of the first output begins, per axis; negative on padding. `None` where fields are not evenly spaced."""
    local_field: tuple[int, ...] | None = None
    """What windows alone see, where something global, as squeeze-and-excitation, lets every output see everything too."""
    bytes_moved: int = 0
    """Read and written by the layer's operations, weights too; views move nothing."""
    assumed: bool = False
    """True after an operation without an exact rule: it is taken to see everything that goes into it."""
    fresh: bool = True
    """False where the output lies in memory that was there before, as that of an in-place layer."""
    counts: bool = True
    """False for layers that only normalise, activate or rearrange."""
    reach: Any = field(default=None, compare=False, repr=False)
    """The exact dependence (`reach.Reach`); `box` reads it."""

    @property
    def sees_everything(self) -> bool:
        """True where some output depends on the whole of every axis."""
        return self.reach is not None and all(axis.field() >= axis.size for axis in self.reach)

    @property
    def single(self) -> bool:
        """True where one place is left, as after global pooling."""
        return bool(self.reach) and all(
            axis.grid is not None and self.output[axis.grid.dim] == 1 for axis in self.reach
        )

    def box(self, position: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """The input positions that one output can depend on, clipped to the input.

        Parameters
        ----------
        position : sequence of int
            One index for every dimension of the output; or one for each spatial dimension, which stands for all channels and
            the whole batch. Spatial are those along which the input's axes run, for `Conv2d` the last two.

        Returns
        -------
        tuple of (int, int)
            First position and one past the last, per axis of the input; ``(0, 0)`` where nothing is seen.

        Examples
        --------
        >>> import torch, poolwise.torch as pt
        >>> from poolwise.instruments import trace
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3, padding=1), pt.MaxPool2d(2))
        >>> trace(model, (1, 1, 8, 8)).layers[-1].box((0, 2))
        ((0, 3), (3, 7))
        """
        if self.reach is None:
            return ()
        index = self._index(tuple(int(i) for i in position))
        return tuple(_span(axis, index) for axis in self.reach)

    def _index(self, position: tuple[int, ...]) -> tuple[int | None, ...]:
        rank = len(self.output)
        dims = [axis.grid.dim for axis in self.reach if axis.grid is not None and not axis.grid.folded]
        space = dims if len(set(dims)) == len(self.reach) else list(range(2, rank))
        if len(position) == rank:
            space = list(range(rank))
        if len(position) != len(space) or not all(
            -self.output[d] <= i < self.output[d] for d, i in zip(space, position, strict=True)
        ):
            raise refuse(
                "box", f"layer {self.name} has no output there", got=f"position {position}",
                expected=f"an index into {tuple(self.output[d] for d in space)}, or into all of {self.output}",
                hint=f"{(0,) * len(space)}",
            )  # fmt: skip
        given = dict(zip(space, position, strict=True))
        return tuple(given[d] % self.output[d] if d in given else None for d in range(rank))


def _span(axis: Any, index: tuple[int | None, ...]) -> tuple[int, int]:
    ends = []
    for array in (axis.first, axis.last):
        for dim, i in enumerate(index):
            if i is not None and array.shape[dim] > 1:
                array = array.narrow(dim, i, 1)
        ends.append(int(array.min()))
    return (0, 0) if -ends[1] < ends[0] else (ends[0], 1 - ends[1])


@dataclass(frozen=True)
class Undecimated:
    """The same network with every pooling stride set to 1: what pooling saves it from."""

    multiply_adds: int
    pool_operations: int
    output_bytes: int
    """Of all layers' outputs."""
    before: tuple[int, int, int]
    """The same three figures of the network as it is, over the same layers."""
    strides: int
    """How many pooling strides were set to 1."""
    enlarged: tuple[str, ...] = ()
    """Linear layers that would need more inputs than they have."""
    stopped: str | None = None
    """Where the network cannot run so, and why; the figures are of the layers before."""


@dataclass(frozen=True)
class Trace:
    """The layers of a network in execution order."""

    input: tuple[int, ...]
    layers: tuple[Layer, ...]
    parameters: int
    peak_bytes: int = 0
    """The most that results, the input among them, hold at once while nothing is kept for a gradient."""
    undecimated: Undecimated | None = None
    notes: tuple[str, ...] = ()
    """What a reader of the figures should know."""

    @property
    def multiply_adds(self) -> int:
        """Of all layers."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def pool_operations(self) -> int:
        """Of all layers."""
        return sum(layer.pool_operations for layer in self.layers)

    @property
    def bytes_moved(self) -> int:
        """Of all layers."""
        return sum(layer.bytes_moved for layer in self.layers)

    @property
    def output_bytes(self) -> int:
        """Of all layers' outputs, those in memory that was there before left out."""
        return sum(layer.output_bytes for layer in self.layers if layer.fresh)

    def layer(self, name: str) -> Layer:
        """The layer of this name.

        Raises
        ------
        ValueError
            Where there is none.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        near = [layer.name for layer in self.layers if name and name in layer.name] or [
            layer.name for layer in self.layers
        ]
        raise refuse(
            "trace", "there is no such layer", got=repr(name), expected=f"one of {', '.join(near[:8])}, ...",
            hint="[layer.name for layer in found.layers]",
        )  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        totals = ("multiply_adds", "pool_operations", "parameters", "bytes_moved", "output_bytes", "peak_bytes")
        saved = self.undecimated
        return {
            "input": list(self.input),
            "layers": [_plain(layer) for layer in self.layers],
            **{name: getattr(self, name) for name in totals},
            "at_pooling_stride_1": None if saved is None else {name: getattr(saved, name) for name in vars(saved)},
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        from .text import table

        return table(self)


def _plain(layer: Layer) -> dict[str, Any]:
    found = {name: value for name, value in vars(layer).items() if name != "reach"}
    if layer.reduction is not None:
        found["reduction"] = [int(jump) if jump == int(jump) else float(jump) for jump in layer.reduction]
    return found | {"sees_everything": layer.sees_everything}
