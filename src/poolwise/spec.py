"""What an operator declares: the vocabulary of ``ops/<name>.py``.

An operator is a value (`PoolOp`). Its definition is array-API text over gathered windows (`Taps`), so that the
same lines run in NumPy as the specification and in any other framework as an always-there fallback.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Literal, NamedTuple, TypeVar

__all__ = [
    "ASKS",
    "Finds",
    "Params",
    "PoolOp",
    "Request",
    "Taps",
    "Traits",
    "WindowArgs",
    "install_runner",
    "itemsize",
    "pooling",
]

Array = Any
Ask = Callable[..., Any]
Function = TypeVar("Function", bound=Ask)
Ints = int | Sequence[int]
Padding = int | str | Sequence[int] | Sequence[tuple[int, int]]
Border = Literal["reflect", "replicate", "circular", "zeros"]
Finds = Literal["indices", "offsets"] | None
"""What a call returns beside the values of an operator that picks: torch's flat positions per plane, numbers inside the
windows, or nothing."""

DTYPES = {
    "bool": "bool",
    **dict.fromkeys(("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"), "integer"),
    **dict.fromkeys(("float16", "bfloat16", "float32", "float64"), "float"),
}
"""Every dtype that pools, and its kind."""

ITEMSIZE = {"bool": 1, "bfloat16": 2}
HALF = ("float16", "bfloat16")
EVERY_DTYPE = {name: "float32" if name in HALF else name for name in DTYPES}
EVERY_DTYPE |= {"bool": "uint8", "uint16": "int32", "uint32": "int64"}
"""Wide dtypes of operators that only compare: each dtype itself, or one that holds it exactly where frameworks cannot
sort or compare it (torch has no order on uint16 and uint32)."""
FLOATS = {"float16": "float32", "bfloat16": "float32", "float32": "float64", "float64": "float64"}
"""Wide dtypes of sums: float32 adds up in float64, so that no finite input overflows."""
INTEGERS = {name: "uint64" if name == "uint64" else "int64" for name, kind in DTYPES.items() if kind == "integer"}
"""Wide dtypes of exact integer sums."""


def itemsize(dtype: str) -> int:
    """Bytes per element."""
    return ITEMSIZE.get(dtype) or int(dtype.lstrip("uintfloa")) // 8


@dataclass(frozen=True)
class Params:
    """Parameters of an operator that has none; the others subclass it. Values are hashable."""


@dataclass(frozen=True)
class Taps:
    """The elements of windows, gathered.

    `values` is ``[..., outputs, taps]`` in the operator's wide dtype; the rest is ``[outputs, taps]`` or
    ``[outputs]`` and broadcasts against it. Where `valid` is false the value is meaningless. The first tap of a
    window that sees anything is valid, except on a border of zeros.
    """

    values: Array
    valid: Array
    count: Array
    """Real elements per window ``[outputs]``."""
    divisor: Array
    """What an average divides by ``[outputs]``: `count`, or with explicit padding counted."""
    weight: Array | None
    """Weight per tap ``[outputs, taps]`` for the weighted family, zero where invalid."""
    whole: int
    """Elements of a window that no edge cuts."""
    rounds: bool
    """True where the output dtype is an integer, so that an average must round."""


@dataclass(frozen=True)
class Traits:
    """What may be relied on; each is held by a test of its own."""

    linear: bool = False
    """``f(a*x + b*y) == a*f(x) + b*f(y)`` up to rounding."""
    picks: bool = False
    """Every output is one of its window's elements."""
    saves: Literal["nothing", "offsets", "input"] = "input"
    """What the gradient needs besides shapes: nothing, one offset per output, or input and output."""
    flops: float = 1.0
    """Comparisons or arithmetic operations per window element, for cost models."""


@dataclass(frozen=True, eq=False)
class PoolOp:
    """A pooling operator."""

    name: str
    """The stem: file, rows of backends, test ids, and ``<name>_pool``."""
    summary: str
    family: Literal["combine", "weighted", "ordered"]
    forward: Callable[[Any, Taps, Any], Array]
    """``(xp, taps, params) -> [..., outputs]``."""
    vjp: Callable[[Any, Taps, Any, Array, Array], Array]
    """``(xp, taps, params, y, gy) -> [..., outputs, taps]``: the gradient for each tap; anything where invalid."""
    wide: dict[str, str]
    """Input dtype to the dtype in which the definition computes; a dtype that is missing is refused."""
    params: type[Params] = Params
    select: Callable[[Any, Taps], Array] | None = None
    """``(xp, taps) -> [..., outputs]``: the tap that is the answer, for operators that pick one."""
    weights: Callable[[tuple[int, ...]], Array] | None = None
    """Weight per position of a nominal window, C order, for the weighted family. Such windows have borders."""
    casts: bool = False
    """True where ``dtype=`` may name another output dtype."""
    traits: Traits = field(default_factory=Traits)

    def __repr__(self) -> str:
        return f"<poolwise operator {self.name!r}: {self.summary}>"


class WindowArgs(NamedTuple):
    """Window arguments as the user typed them, by scheme; `poolwise.arguments` checks and resolves them."""

    scheme: Literal["sliding", "adaptive", "global", "fractional"]
    window: Any = None
    stride: Any = None
    padding: Any = 0
    dilation: Any = 1
    ceil_mode: Any = False
    output_size: Any = None
    draws: Any = None


class Request(NamedTuple):
    """One pooling call before any array is looked at; every public function returns one to `pooling`."""

    where: str
    """The public function's name, for errors."""
    op: PoolOp
    windows: WindowArgs
    params: Params = Params()
    axes: Any = None
    count_include_pad: Any = False
    border: Any = None
    dtype: Any = None
    empty: Any = None
    backend: Any = None
    finds: Finds = None
    """What comes with the values, as ``(y, found)``."""


Runner = Callable[[int, tuple[Any, ...], dict[str, Any]], Any]

ASKS: list[Ask] = []
"""What every public function asks for; runners are given the number of one, which stays a constant wherever calls are
traced."""


def _no_runner(number: int, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    raise RuntimeError("poolwise is not fully imported: nothing runs its operators yet")


_runner: Runner = _no_runner


def install_runner(runner: Runner) -> None:
    """Say who runs requests. Operators know nothing of backends; `poolwise.execute` installs itself here."""
    global _runner
    _runner = runner


def pooling(ask: Function) -> Function:
    """A public pooling function, from one that only says what is asked for: it returns a `Request`, to be run.

    Its first parameter is the array, its parameter `out`, if it has one, the array to write to. What it says may depend
    on the arguments and on the array's type, number of axes and dtype, on nothing else: a call that was made before is
    run without asking again, and where calls are traced, the array that it is asked with has other lengths.
    """
    number = len(ASKS)
    ASKS.append(ask)

    @wraps(ask)
    def call(*args: Any, **options: Any) -> Any:
        return _runner(number, args, options)

    return call  # type: ignore[return-value]
