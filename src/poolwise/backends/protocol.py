"""What a backend is: a name, a reason why it cannot serve a problem, and a kernel where it can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from ..arrays import Framework
from ..problem import Problem

__all__ = ["Backend", "Kernel", "Residual"]

Array = Any


class Residual(NamedTuple):
    """What a forward pass keeps for the gradient, as `Traits.saves` of the operator says.

    ``"nothing"``: no arrays. ``"offsets"``: the offset of each answer inside its window. ``"input"``: input and
    output. `order` is the memory order of the input, which the gradient is given too; `like` is any array on
    the device.
    """

    arrays: tuple[Array, ...]
    order: tuple[int, ...]


class Kernel(Protocol):
    """An operator over the windows of one problem."""

    def forward(self, framework: Framework, x: Array, out: Array | None, save: bool) -> tuple[Array, Residual | None]:
        """The result (in `out` where given), and what the gradient needs if it is to be saved."""
        ...

    def shortcut(self, framework: Framework, x: Array) -> Callable[[Array], Array] | None:
        """A function that pools arrays of this shape, strides and dtype and checks nothing else about them, where the
        kernel has one."""
        ...

    def backward(self, framework: Framework, gy: Array, residual: Residual) -> Array:
        """The gradient at the input."""
        ...

    def indices(self, framework: Framework, residual: Residual) -> Array:
        """Flat positions per plane of the elements that were picked (int64)."""
        ...


class Backend(Protocol):
    """One way to compute."""

    name: str

    def why_not(self, problem: Problem, device: str) -> str | None:
        """`None` if it can serve the problem on this kind of device, otherwise the reason."""
        ...

    def kernel(self, problem: Problem) -> Kernel:
        """The kernel of a problem that it can serve."""
        ...
