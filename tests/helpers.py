"""Arrays for tests, and comparisons that fail loudly. Helpers that check are named ``assert_*`` and return nothing."""

from __future__ import annotations

import contextlib
import functools
import re
import warnings
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from cases import Case, Variant, numpy_dtype, problem_of
from tolerances import allowed, allowed_gradient

from poolwise import reference

Array = Any


def seeded(*key: object) -> np.random.Generator:
    """A generator for one test, from the run's seed and a name."""
    return np.random.default_rng([SEED, zlib.crc32(repr(key).encode())])


SEED = 0
"""Set from ``--seed`` by conftest."""


def sample(rng: np.random.Generator, shape: tuple[int, ...], dtype: str, kind: str = "ties") -> np.ndarray:
    """Values of a dtype: ``"ties"`` few distinct ones, ``"spread"`` random ones, ``"special"`` with NaN, inf and -0."""
    to = numpy_dtype(dtype)
    if dtype == "bool":
        return rng.random(shape) < 0.5
    if np.issubdtype(to, np.integer):
        info = np.iinfo(to)
        low, high = (max(info.min, -3), 4) if kind == "ties" else (info.min, info.max)
        return rng.integers(low, high, shape, dtype=to, endpoint=kind != "ties")
    if kind == "ties":
        return rng.integers(-3, 4, shape).astype(to)
    values = rng.standard_normal(shape) * 10.0 ** rng.integers(-1, 2, shape)
    if kind == "special":
        pick = rng.integers(0, 12, shape)
        for number, value in enumerate((np.nan, np.inf, -np.inf, 0.0, -0.0)):
            values = np.where(pick == number, value, values)
    return values.astype(to)


def distinct(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Different float64 values, none near 0 or another: finite differences do not cross a tie."""
    count = int(np.prod(shape))
    values = (rng.permutation(count) + 1.0) * rng.choice([-1.0, 1.0], count)
    return values.reshape(shape) / 4


def to_framework(x: np.ndarray, framework: str) -> Array:
    """The same memory as an array of a framework."""
    if framework == "numpy":
        return x
    import torch

    with warnings_off():
        if x.dtype.name == "bfloat16":
            return torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)
        return torch.from_numpy(x)


def to_numpy(x: Array) -> np.ndarray:
    """Back again."""
    if isinstance(x, np.ndarray):
        return x
    import torch

    x = x.detach()
    if x.dtype == torch.bfloat16:
        return x.view(torch.int16).numpy().view(numpy_dtype("bfloat16"))
    return x.numpy()


@contextlib.contextmanager
def warnings_off() -> Iterator[None]:
    """torch warns of read-only NumPy memory, which here is the point."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        yield


class Guarded:
    """An input that is read-only while in use and compared afterwards, byte by byte, gaps between strides included."""

    def __init__(self, x: np.ndarray, framework: str) -> None:
        base = x
        while isinstance(base.base, np.ndarray):
            base = base.base
        self.base, self.before = base, base.tobytes()
        if framework == "numpy":
            x = x.view()
            x.flags.writeable = False
        self.array = to_framework(x, framework)

    def assert_unmodified(self) -> None:
        assert self.base.tobytes() == self.before, "an input was modified"


def bits(x: np.ndarray) -> np.ndarray:
    """The bits as unsigned integers, NaN made one pattern: only its place is compared."""
    x = np.ascontiguousarray(x)
    if x.dtype == bool or np.issubdtype(x.dtype, np.integer):
        return x
    pattern = x.view(f"u{x.itemsize}").copy()
    pattern[np.isnan(x)] = np.iinfo(pattern.dtype).max
    return pattern


def assert_same_bits(got: Array, expected: np.ndarray, what: str = "") -> None:
    """Equal shape, dtype and bits, signs of zeros included."""
    got = to_numpy(got)
    assert got.shape == expected.shape, f"{what}: shape {got.shape}, expected {expected.shape}"
    assert got.dtype == expected.dtype, f"{what}: dtype {got.dtype}, expected {expected.dtype}"
    wrong = bits(got) != bits(expected)
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise AssertionError(
            f"{what}: {wrong.sum()} of {wrong.size} differ, first at {at}: {got[at]!r}, not {expected[at]!r}"
        )


def assert_within(got: Array, expected: np.ndarray, error: np.ndarray, what: str = "") -> None:
    """Equal up to `error`; NaN and infinities in the same places."""
    got = to_numpy(got).astype(np.longdouble)
    assert got.shape == expected.shape, f"{what}: shape {got.shape}, expected {expected.shape}"
    expected = expected.astype(np.longdouble)
    same = (got == expected) | (np.isnan(got) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        near = np.isfinite(got) & np.isfinite(expected) & (np.abs(got - expected) <= error)
    wrong = ~(same | near)
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        off = float(abs(got[at] - expected[at]))
        raise AssertionError(
            f"{what}: {wrong.sum()} of {wrong.size} differ, first at {at}: {got[at]!r}, not {expected[at]!r} "
            f"(off by {off:.3g}, allowed {float(np.broadcast_to(error, got.shape)[at]):.3g})"
        )


def exact(problem: Any) -> bool:
    """True where a backend must have the reference's bits."""
    return problem.op.traits.picks or not problem.out_dtype.startswith(("float", "bfloat"))


def magnitude(problem: Any, x: np.ndarray) -> tuple[int, float]:
    """Terms per result, and the size that one of them may have in it."""
    taps = max(int(np.prod(problem.windows.radix)), int(np.prod([axis.window for axis in problem.windows.axes])))
    finite = np.abs(x.astype(np.float64))
    largest = float(finite[np.isfinite(finite)].max(initial=0.0))
    if problem.op.name == "sum":
        return taps, largest
    if problem.op.name == "avg" and getattr(problem.params, "divisor", None):
        return taps, largest / abs(problem.params.divisor)
    return taps, largest / taps  # a mean of some kind, or a norm: the sum of its terms is no larger than that


def assert_forward(problem: Any, x: np.ndarray, got: Array, expected: np.ndarray, what: str = "") -> None:
    """A forward result is the reference's, to the bit or within the table of tolerances."""
    assert to_numpy(got).dtype.name == problem.out_dtype, f"{what}: dtype {to_numpy(got).dtype}"
    if exact(problem):
        assert_same_bits(got, expected, what)
        return
    taps, size = magnitude(problem, x)
    assert_within(got, expected, allowed(problem.op.name, problem.out_dtype, expected, taps, size), what)


def assert_gradient(problem: Any, gy: np.ndarray, got: Array, expected: np.ndarray, what: str = "") -> None:
    """A gradient is the reference's within the table of tolerances."""
    assert to_numpy(got).dtype.name == problem.dtype, f"{what}: dtype {to_numpy(got).dtype}"
    seen = int(np.prod([max(windows_that_see(axis)) for axis in problem.windows.axes]))
    # The slope of a norm is at most 1 for p >= 1, and (p - 1) powers of a rounded ratio.
    p = getattr(problem.params, "p", 1.0)
    size = float(np.abs(gy.astype(np.float64)).max(initial=0.0)) * (1 + abs(p - 1) if np.isfinite(p) else 1)
    seen = seen * (max(axis.window for axis in problem.windows.axes) if problem.op.name == "blur" else 1)
    error = allowed_gradient(problem.op.name, problem.dtype, expected, seen, size)
    assert_within(got, expected, error, what)


def windows_that_see(axis: Any) -> list[int]:
    """Per input position, how many windows hold it."""
    seen = [0] * axis.size
    for output in range(len(axis)):
        for position in axis.taps(output):
            seen[position] += 1
    return [max(count, axis.window if len(axis.edge) else 1) for count in seen] or [1]


@functools.cache
def expected_of(variant_id: str, case_id: str, dtype: str, kind: str) -> tuple[Any, ...]:
    """The problem, an input and what the reference makes of it: ``(problem, x, y, chosen, gy, gx)``."""
    from cases import CASES, VARIANTS

    variant = next(v for v in VARIANTS if v.id == variant_id)
    case = next(c for c in CASES if c.id == case_id)
    return evaluate(variant, case, dtype, kind)


def evaluate(variant: Variant, case: Case, dtype: str, kind: str) -> tuple[Any, ...]:
    """The reference's answers, uncached."""
    rng = seeded(variant.id, case.id, dtype, kind)
    problem = problem_of(case, variant, dtype)
    x = sample(rng, case.shape, dtype, kind)
    if variant.op == "sum" and not dtype.startswith(("float", "bfloat")):
        # Integer sums that do not fit are refused; these fit. `test_ops.py` has those that do not.
        x = sample(rng, case.shape, dtype, "ties") % np.asarray(2, x.dtype)
    with np.errstate(all="ignore"):
        y = reference.forward(problem, x)
        chosen = None
        if problem.op.select is not None and not problem.windows.any_empty:
            chosen = reference.select(problem, x)
        gy = gx = None
        if dtype.startswith(("float", "bfloat")):
            gy = sample(rng, problem.out_shape, dtype, "spread")
            gx = reference.vjp(problem, x, gy)
    return problem, x, y, chosen, gy, gx


FOUR_LINES = re.compile(r"\A[^\n]+: [^\n]+\.\n  got       [^\n]+\n  expected  [^\n]+\n  try       [^\n]+\Z")


def assert_refused(call: Callable[[], Any], kinds: tuple[type[Exception], ...] = (ValueError, TypeError)) -> Exception:
    """The call raises one of exactly these, and its message has the four lines.

    The layers' errors, each of which is one of them and torch's RuntimeError as well, count as these.
    """
    with pytest.raises(kinds) as caught:
        call()
    error = caught.value
    torchs = type(error).__name__ in ("TorchPoolError", "TorchPoolTypeError") and isinstance(error, RuntimeError)
    assert type(error) in kinds or torchs, f"{type(error).__name__}, a subclass, was raised: {error}"
    assert FOUR_LINES.match(str(error)), f"not the four-part message: {error}"
    return error
