"""Break the library on purpose: the comparisons that the other tests rest on must go red."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import test_backends
import test_geometry
import test_ops
from cases import CASES, Case, Variant
from helpers import (
    Guarded,
    assert_forward,
    assert_gradient,
    assert_refused,
    assert_same_bits,
    assert_within,
    evaluate,
    expected_of,
)

import poolwise as pw
from poolwise import dispatch, problem
from poolwise.backends import generic
from poolwise.geometry import AxisWindows, Sliding, schemes, windows
from poolwise.numpy import NumpyFramework
from poolwise.ops import avg as avg_module
from poolwise.ops import max as max_module

Break = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture(autouse=True)
def fresh_caches() -> Iterator[None]:
    """A broken library must not be remembered, nor a whole one reused."""

    def clear() -> None:
        problem._problem.cache_clear()
        dispatch._plan.cache_clear()

    clear()
    yield
    clear()


def case_of(name: str) -> Case:
    return next(case for case in CASES if case.id == name)


def check_backend(op: str, case: str, options: dict[str, Any] | None = None, kind: str = "ties") -> None:
    """The comparison of test_backends, against answers of the whole library."""
    variant = Variant(op, options or {})
    for dtype in ("float32", "float64"):
        test_backends.assert_equals_reference(variant, case_of(case), dtype, kind, "generic", "numpy")


def answers(op: str, case: str, options: dict[str, Any] | None = None, kinds: tuple[str, ...] = ("ties",)) -> None:
    """Have the reference's answers computed before anything is broken."""
    for kind in kinds:
        for dtype in ("float32", "float64"):
            expected_of(Variant(op, options or {}).id, case, dtype, kind)


# Geometry against brute force.


def replace_columns(change: Callable[[np.ndarray, np.ndarray], None]) -> Break:
    def apply(monkeypatch: pytest.MonkeyPatch) -> None:
        whole = schemes._cut_windows

        def broken(origin: np.ndarray, size: int, *rest: int) -> np.ndarray:
            edge = whole(origin, size, *rest)
            change(edge, origin)
            return edge

        monkeypatch.setattr(schemes, "_cut_windows", broken)

    return apply


def start_off_by_one(edge: np.ndarray, origin: np.ndarray) -> None:
    edge[:, windows.START] = np.maximum(edge[:, windows.START] - 1, 0)


def dropped_tap(edge: np.ndarray, origin: np.ndarray) -> None:
    edge[:, windows.COUNT] -= edge[:, windows.COUNT] > 1


def padding_not_counted(edge: np.ndarray, origin: np.ndarray) -> None:
    edge[:, windows.PADDED] = 0


def shifted_whole_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Sliding.axis

    def broken(self: Sliding, size: int, *args: Any, **kwargs: Any) -> AxisWindows:
        axis = whole(self, size, *args, **kwargs)
        return dataclasses.replace(axis, base=max(axis.base - 1, 0)) if axis.base else axis

    monkeypatch.setattr(Sliding, "axis", broken)


GEOMETRY: dict[str, Break] = {
    "start off by one": replace_columns(start_off_by_one),
    "dropped tap": replace_columns(dropped_tap),
    "padding not counted": replace_columns(padding_not_counted),
    "shifted whole windows": shifted_whole_windows,
}


@pytest.mark.parametrize("name", GEOMETRY)
def test_broken_geometry_goes_red(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    test_geometry.assert_sliding(7, 3, 2, 1, 2, 1, False)
    GEOMETRY[name](monkeypatch)
    with pytest.raises(AssertionError):
        test_geometry.assert_sliding(7, 3, 2, 1, 2, 1, False)


def test_a_broken_inverse_goes_red(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AxisWindows, "outputs_seeing", lambda self, position: [])
    with pytest.raises(AssertionError):
        test_geometry.assert_sliding(7, 3, 2, 1, 2, 1, False)


# Definitions against outside oracles.


def swapped_divisor(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = windows.Windows.divisor
    monkeypatch.setattr(windows.Windows, "divisor", lambda self, count_padding: whole(self, not count_padding))


def ties_to_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    def select(xp: Any, taps: Any) -> Any:
        return taps.values.shape[-1] - 1 - xp.argmax(taps.values[..., ::-1], axis=-1)

    broken = dataclasses.replace(max_module.MAX, **max_module.picking(select))
    patch_operator(monkeypatch, broken)


def nan_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    def select(xp: Any, taps: Any) -> Any:
        return xp.argmax(xp.where(xp.isnan(taps.values), -xp.inf, taps.values), axis=-1)

    patch_operator(monkeypatch, dataclasses.replace(max_module.MAX, **max_module.picking(select)))


def patch_operator(monkeypatch: pytest.MonkeyPatch, op: Any) -> None:
    """Put a broken operator where its name leads."""
    monkeypatch.setitem(pw.ops.BY_NAME, op.name, op)


def scaled_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    def vjp(*args: Any) -> Any:
        return avg_module.vjp(*args) * 1.001

    patch_operator(monkeypatch, dataclasses.replace(avg_module.AVG, vjp=vjp))


def scaled_value(monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(*args: Any) -> Any:
        return avg_module.forward(*args) * 1.001

    patch_operator(monkeypatch, dataclasses.replace(avg_module.AVG, forward=forward))


PADDED = {"window": (3, 3), "stride": (2, 2), "padding": (1, 1)}
DEFINITIONS: dict[str, tuple[Break, Callable[[], None]]] = {
    "swapped divisor": (
        swapped_divisor,
        lambda: test_ops.test_avg_is_torchs(PADDED, True, None, np.random.default_rng(0)),
    ),
    "ties to the last": (ties_to_the_last, lambda: test_ops.test_ties_go_to_the_first_in_scan_order("max")),
    "ties to the last, torch": (
        ties_to_the_last,
        lambda: test_ops.test_max_is_torchs(PADDED, (1, 1), "ties", np.random.default_rng(0)),
    ),
    "NaN dropped": (nan_dropped, lambda: test_ops.test_nan_wins_at_every_position(Variant("max"), "float32")),
    "scaled value": (scaled_value, lambda: test_ops.test_avg_is_torchs(PADDED, False, None, np.random.default_rng(0))),
    "scaled gradient": (scaled_gradient, lambda: test_ops.test_vjp_three_ways(Variant("avg"), case_of("overlap"))),
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_broken_definitions_go_red(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    break_it, check = DEFINITIONS[name]
    check()
    break_it(monkeypatch)
    problem._problem.cache_clear()
    dispatch._plan.cache_clear()
    with pytest.raises(AssertionError):
        check()


# Backends against the reference.


def patch_kernel(name: str, change: Callable[[Any], Any]) -> Break:
    """Change what a method of the generic kernel returns."""

    def apply(monkeypatch: pytest.MonkeyPatch) -> None:
        whole = getattr(generic.GenericKernel, name)
        monkeypatch.setattr(
            generic.GenericKernel, name, lambda self, *args, **kwargs: change(whole(self, *args, **kwargs))
        )

    return apply


def bump_first(found: Any) -> Any:
    y, residual = found
    y[(0,) * y.ndim] = np.nextafter(y[(0,) * y.ndim], np.asarray(np.inf, y.dtype))
    return y, residual


def forget_last(found: Any) -> Any:
    """An output that was never written keeps the poison of its memory."""
    y, residual = found
    y[(-1,) * y.ndim] = np.nan
    return y, residual


def last_tap_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = windows.Windows.table

    def table(self: windows.Windows) -> tuple[np.ndarray, np.ndarray]:
        index, valid = whole(self)
        valid = valid.copy()
        valid[-1, 1:] = False
        return index, valid

    monkeypatch.setattr(windows.Windows, "table", table)


def input_written(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = generic.GenericKernel.forward

    def forward(self: Any, framework: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        x.flags.writeable = True
        x[(0,) * x.ndim] += 1
        return whole(self, framework, x, *args, **kwargs)

    monkeypatch.setattr(generic.GenericKernel, "forward", forward)


BACKENDS: dict[str, tuple[str, dict[str, Any], Break]] = {
    "last bit of a maximum": ("max", {}, patch_kernel("forward", bump_first)),
    "an output not written": ("avg", {}, patch_kernel("forward", forget_last)),
    "indices off by one": ("max", {}, patch_kernel("indices", lambda at: at + 1)),
    "dropped taps": ("sum", {}, last_tap_dropped),
    "max gradient scaled": ("max", {}, patch_kernel("backward", lambda gx: gx * gx.dtype.type(1.001))),
    "avg gradient scaled": ("avg", {}, patch_kernel("backward", lambda gx: gx * gx.dtype.type(1.001))),
    "lp gradient scaled": ("lp", {}, patch_kernel("backward", lambda gx: gx * gx.dtype.type(1.001))),
    "blur gradient scaled": ("blur", {}, patch_kernel("backward", lambda gx: gx * gx.dtype.type(1.001))),
    "median gradient scaled": ("median", {}, patch_kernel("backward", lambda gx: gx * gx.dtype.type(1.001))),
    "gradient shifted": ("avg", {}, patch_kernel("backward", lambda gx: np.roll(gx, 1, -1))),
    "padding counted or not": ("avg", {"count_include_pad": True}, swapped_divisor),
    "input written": ("max", {}, input_written),
}


@pytest.mark.parametrize("name", BACKENDS)
def test_broken_backends_go_red(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    op, options, break_it = BACKENDS[name]
    answers(op, "overlap", options)
    check_backend(op, "overlap", options)
    break_it(monkeypatch)
    with pytest.raises(AssertionError):
        check_backend(op, "overlap", options)


def test_poisoned_memory_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that writes nothing at all leaves NaN, not the zeros of fresh pages."""
    answers("sum", "overlap")
    monkeypatch.setattr(generic.GenericKernel, "_put", lambda self, *args: None)
    with pytest.raises(AssertionError):
        check_backend("sum", "overlap")
    y = pw.sum_pool(np.zeros((4, 4)), (2, 2), backend="generic")
    assert np.isnan(y).all()
    assert np.isnan(NumpyFramework().empty((3,), "float32", (0,), y)).all()


# The helpers themselves.


def test_helpers_that_compare_do_compare() -> None:
    one, other = np.array([1.0, 2.0]), np.array([1.0, np.nextafter(2.0, 3)])
    for wrong in (other, one.astype(np.float32), one[:1], np.array([1.0, np.nan])):
        with pytest.raises(AssertionError):
            assert_same_bits(wrong, one)
    with pytest.raises(AssertionError):
        assert_same_bits(np.array([-0.0]), np.array([0.0]))
    assert_same_bits(np.array([np.nan]), -np.array([np.nan]))
    assert_within(other, one, np.full(2, 1e-12))
    for wrong in (one + 1e-3, np.array([1.0, np.nan]), np.array([1.0, np.inf])):
        with pytest.raises(AssertionError):
            assert_within(wrong, one, np.full(2, 1e-6))
    with pytest.raises(AssertionError):
        assert_within(one, np.array([1.0, np.inf]), np.full(2, np.inf))


@pytest.mark.parametrize("op", [op.name for op in pw.OPS])
def test_tolerances_are_tight(op: str) -> None:
    """A relative error of 1e-4 in float32, anywhere, is outside of every tolerance, forward and backward."""
    found, x, y, _, gy, gx = evaluate(Variant(op), case_of("overlap"), "float32", "spread")
    assert_forward(found, x, y, y)
    assert_gradient(found, gy, gx.astype(np.float32), gx)
    at = np.unravel_index(np.abs(y).argmax(), y.shape)
    wrong = y.copy()
    wrong[at] *= np.float32(1.0001)
    with pytest.raises(AssertionError):
        assert_forward(found, x, wrong, y)
    at = np.unravel_index(np.abs(gx).argmax(), gx.shape)
    wrong = gx.astype(np.float32)
    wrong[at] *= np.float32(1.0001)
    with pytest.raises(AssertionError):
        assert_gradient(found, gy, wrong, gx)


def test_guarded_inputs_notice() -> None:
    base = np.zeros((4, 4), np.float32)
    guarded = Guarded(base[::2, ::2], "numpy")
    guarded.assert_unmodified()
    with pytest.raises(ValueError, match="read-only"):
        guarded.array[0, 0] = 1
    base[1, 1] = 1  # between the strides
    with pytest.raises(AssertionError):
        guarded.assert_unmodified()
    tensor = Guarded(np.zeros(3, np.float32), "torch")
    tensor.array[0] = 1
    with pytest.raises(AssertionError):
        tensor.assert_unmodified()


def test_the_refusal_helper_wants_four_lines() -> None:
    def bare() -> None:
        raise ValueError("no")

    def other() -> None:
        raise OverflowError("pool: too large.\n  got       x\n  expected  y\n  try       z")

    assert_refused(lambda: pw.max_pool(np.zeros(3), 0))
    for wrong in (bare, other):
        with pytest.raises((AssertionError, OverflowError)):
            assert_refused(wrong)
    with pytest.raises(pytest.fail.Exception):
        assert_refused(lambda: None)
