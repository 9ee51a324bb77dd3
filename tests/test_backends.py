"""Every operator on every backend equals the reference: values, indices, gradients, layouts, threads."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import numpy as np
import pytest
from cases import CASES, FLOAT_DTYPES, Case, Variant, dtypes_of, numpy_dtype, pairs, problem_of
from helpers import (
    Guarded,
    assert_forward,
    assert_gradient,
    assert_refused,
    assert_same_bits,
    evaluate,
    expected_of,
    sample,
    seeded,
    to_framework,
    to_numpy,
)

import poolwise as pw
from poolwise import reference
from poolwise.backends import BACKENDS, cpu, generic

PAIRS = pairs()
FEW = ("overlap", "adaptive", "ceil-padded", "1d", "channels-last", "backwards", "backwards-rows")
SWEEP = [(v, c) for v, c in PAIRS if not v.options and c.id in FEW]


def can_serve(backend: str, problem: Any) -> bool:
    return next(b for b in BACKENDS if b.name == backend).why_not(problem, "cpu") is None


def assert_equals_reference(
    variant: Variant, case: Case, dtype: str, kind: str, backend: str, framework: str, cached: bool = True
) -> None:
    """Forward, forward with indices, and backward with a random cotangent; the input is read-only and unchanged."""
    found = expected_of(variant.id, case.id, dtype, kind) if cached else evaluate(variant, case, dtype, kind)
    problem, x, y, chosen, gy, gx = found
    what = f"{variant.id} {case.id} {dtype} {kind} {backend} {framework}"
    function, options = case.call(variant)
    guarded = Guarded(x.copy(), framework)
    if not can_serve(backend, problem):
        error = assert_refused(lambda: function(guarded.array, backend=backend, **options), (ValueError,))
        assert f"backend '{backend}' cannot run this" in str(error)
        return
    assert_forward(problem, x, function(guarded.array, backend=backend, **options), y, what)
    if chosen is not None and variant.op == "max" and case.verb == "pool":
        rest = {name: value for name, value in options.items() if name != "op"}
        values, indices = pw.max_pool_with_indices(guarded.array, backend=backend, **rest)
        assert_forward(problem, x, values, y, f"{what} with indices")
        assert_same_bits(indices, chosen, f"{what} indices")
    if gx is not None:
        given = Guarded(gy.copy(), framework)
        again, pullback = pw.vjp(function, guarded.array, backend=backend, **options)
        assert_forward(problem, x, again, y, f"{what} before the gradient")
        assert_gradient(problem, gy, pullback(given.array), gx, f"{what} gradient")
        given.assert_unmodified()
    guarded.assert_unmodified()


@pytest.mark.parametrize("variant,case", PAIRS, ids=lambda value: value.id)
def test_equals_the_reference(variant: Variant, case: Case, backend: str) -> None:
    """Every operator over every window problem, float32 and float64, in NumPy and torch."""
    for dtype in ("float32", "float64"):
        for framework in ("numpy", "torch"):
            assert_equals_reference(variant, case, dtype, "ties", backend, framework)
    assert_equals_reference(variant, case, "float32", "spread", backend, "numpy")


@pytest.mark.parametrize("variant,case", SWEEP, ids=lambda value: value.id)
def test_equals_the_reference_for_every_dtype(variant: Variant, case: Case, backend: str, framework: str) -> None:
    for dtype in dtypes_of(variant):
        assert_equals_reference(variant, case, dtype, "ties", backend, framework)
        assert_equals_reference(variant, case, dtype, "spread", backend, framework)


@pytest.mark.parametrize("variant,case", SWEEP, ids=lambda value: value.id)
@pytest.mark.parametrize("dtype", FLOAT_DTYPES)
def test_special_values(variant: Variant, case: Case, dtype: str, backend: str, framework: str) -> None:
    """NaN, infinities and signed zeros all over the input: forward and indices."""
    problem, x, y, chosen, _, _ = expected_of(variant.id, case.id, dtype, "special")
    if not can_serve(backend, problem):
        return
    function, options = case.call(variant)
    assert_forward(problem, x, function(to_framework(x, framework), backend=backend, **options), y)
    if chosen is not None and variant.op == "max" and case.verb == "pool":
        rest = {name: value for name, value in options.items() if name != "op"}
        assert_same_bits(pw.max_pool_with_indices(to_framework(x, framework), backend=backend, **rest)[1], chosen)


def test_nan_at_every_position_of_long_windows(backend: str) -> None:
    """Wide enough for vector bodies and scalar tails, in every position, for every channel."""
    for size in (2, 3, 5, 8, 16, 33):
        x = np.tile(np.arange(size, dtype=np.float32), (size + 1, 4))
        for at in range(size):
            x[at, at::size] = np.nan
        y, indices = pw.max_pool_with_indices(x, (1, size), backend=backend)
        assert np.isnan(y[:-1]).all() and (y[-1] == size - 1).all()
        rows = np.arange(size)[:, None]  # row r has its NaN at position r of every window
        assert (indices[:-1] == rows * x.shape[1] + rows + size * np.arange(4)).all()
        for op in ("avg", "sum", "lp", "min"):
            y = pw.pool(x, op, (1, size), backend=backend)
            assert np.isnan(y[:-1]).all() and np.isfinite(y[-1]).all(), op


# Memory layouts.


def layouts(x: np.ndarray) -> dict[str, np.ndarray]:
    """The same values in every kind of memory."""
    padded = np.zeros([2 * n + 1 for n in x.shape], x.dtype)
    strided = padded[tuple(slice(1, 2 * n + 1, 2) for n in x.shape)]
    strided[...] = x
    permuted = np.ascontiguousarray(np.moveaxis(x, 1, 0))
    return {
        "c": x,
        "fortran": np.asfortranarray(x),
        "channels-last": np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1),
        "permuted": np.moveaxis(permuted, 0, 1),
        "strided": strided,
        "reversed": np.ascontiguousarray(x[..., ::-1, ::-1])[..., ::-1, ::-1],
        "batch-reversed": np.ascontiguousarray(x[::-1])[::-1],
        "rows": np.ascontiguousarray(np.concatenate([x, x], axis=-2))[..., : x.shape[-2], :],
    }


LAYOUT_OPS = ("max", "min", "avg", "sum", "lp", "blur", "median")


@pytest.mark.parametrize("op", LAYOUT_OPS)
@pytest.mark.parametrize("channels", [1, 3, 5, 19])
def test_layouts(op: str, channels: int, backend: str, framework: str, rng: np.random.Generator) -> None:
    """Every memory layout gives the same bits as C order, forward and backward."""
    x = sample(rng, (2, channels, 7, 6), "float32", "spread")
    options = {"window": (3, 2), "stride": 2, "padding": (1, 0)}
    problem = problem_of(Case("", x.shape, options), Variant(op), "float32")
    if not can_serve(backend, problem):
        return
    y, gx = None, None
    gy = sample(rng, problem.out_shape, "float32", "spread")
    for name, array in layouts(x).items():
        if framework == "torch" and any(stride < 0 for stride in array.strides):
            continue
        guarded = Guarded(array, framework)
        got, pullback = pw.vjp(pw.pool, guarded.array, op, backend=backend, **options)
        gradient = pullback(to_framework(gy, framework))
        if y is None:
            y, gx = to_numpy(got).copy(), to_numpy(gradient).copy()
            expected = reference.forward(problem, x)
            assert_forward(problem, x, got, expected, name)
            assert_gradient(problem, gy, gradient, reference.vjp(problem, x, gy), name)
        assert_same_bits(got, y, f"{op} {name}")
        assert_same_bits(gradient, gx, f"{op} {name} gradient")
        strided_gy = layouts(np.ascontiguousarray(gy))["strided"]
        assert_same_bits(pullback(to_framework(strided_gy, framework)), gx, f"{op} {name} strided cotangent")
        guarded.assert_unmodified()


@pytest.mark.parametrize("op", LAYOUT_OPS)
def test_results_keep_the_memory_order(op: str, backend: str, rng: np.random.Generator) -> None:
    """Channels-last in, channels-last out, forward and backward."""
    x = layouts(sample(rng, (2, 5, 6, 4), "float32"))["channels-last"]
    problem = problem_of(Case("", x.shape, {"window": (2, 2)}), Variant(op), "float32")
    if not can_serve(backend, problem):
        return
    y, pullback = pw.vjp(pw.pool, x, op, (2, 2), backend=backend)
    gx = pullback(np.ascontiguousarray(y))
    for result in (y, gx):
        assert np.moveaxis(result, 1, -1).flags.c_contiguous, "not channels-last"


@pytest.mark.parametrize("op", LAYOUT_OPS)
def test_broadcast_inputs(op: str, backend: str, framework: str, rng: np.random.Generator) -> None:
    """Zero strides: repeated batches, channels, rows."""
    row = sample(rng, (1, 1, 1, 6), "float32", "spread")
    problem = problem_of(Case("", (2, 3, 4, 6), {"window": (2, 2)}), Variant(op), "float32")
    if not can_serve(backend, problem):
        return
    x = to_framework(row, framework)
    x = np.broadcast_to(x, (2, 3, 4, 6)) if framework == "numpy" else x.expand(2, 3, 4, 6)
    got = pw.pool(x, op, (2, 2), backend=backend)
    assert_same_bits(got, to_numpy(pw.pool(to_framework(to_numpy(x).copy(), framework), op, (2, 2), backend=backend)))


@pytest.mark.parametrize("spatial", [1, 2, 3, 4])
@pytest.mark.parametrize("op", LAYOUT_OPS)
def test_any_number_of_axes(spatial: int, op: str, backend: str, rng: np.random.Generator) -> None:
    """1 to 4 pooled axes, at the end, at the front and with others between, equal the same windows on moved axes."""
    shape = (5, 4, 3, 6)[:spatial]
    options = {"window": (2, 3, 2, 2)[:spatial], "stride": (1, 2, 1, 2)[:spatial], "padding": (1, 0, 1, 0)[:spatial]}
    x = sample(rng, (2, *shape, 3), "float64", "spread")
    front = problem_of(Case("", x.shape, {**options, "axes": tuple(range(1, spatial + 1))}), Variant(op), "float64")
    if not can_serve(backend, front):
        return
    axes = tuple(range(1, spatial + 1))
    got = pw.pool(x, op, axes=axes, backend=backend, **options)
    assert_forward(front, x, got, reference.forward(front, x))
    last = np.ascontiguousarray(np.moveaxis(x, -1, 1))
    assert_same_bits(np.moveaxis(got, -1, 1), pw.pool(last, op, backend=backend, **options), "axes at the end")


@pytest.mark.parametrize("axes", [(0, 2), (2, 0), (1, 3), (3, 0), (-1, -3), (0, 3)])
@pytest.mark.parametrize("op", LAYOUT_OPS)
def test_axes_apart_and_unsorted(axes: tuple[int, int], op: str, backend: str, rng: np.random.Generator) -> None:
    x = sample(rng, (5, 4, 6, 3), "float32", "spread")
    options = {"window": (2, 3), "stride": (1, 2), "padding": ((1, 0), (0, 1))}
    moved = np.ascontiguousarray(np.moveaxis(x, axes, (-2, -1)))
    if not can_serve(backend, problem_of(Case("", moved.shape, options), Variant(op), "float32")):
        return
    ordered = sorted(axis % 4 for axis in axes) == [axis % 4 for axis in axes]
    got = pw.pool(x, op, axes=axes, backend=backend, **options)
    expected = pw.pool(moved, op, backend=backend, **options)
    if ordered:
        assert_same_bits(np.moveaxis(got, axes, (-2, -1)), expected)
    else:  # windows are scanned in the order of the array's axes, not of the arguments: sums differ in rounding
        np.testing.assert_allclose(np.moveaxis(got, axes, (-2, -1)), expected, rtol=1e-6)


@pytest.mark.parametrize("op", LAYOUT_OPS)
def test_axes_of_length_one(op: str, backend: str, rng: np.random.Generator) -> None:
    for shape in ((1, 1, 5, 1), (1, 3, 1, 7), (2, 1, 1, 1), (1, 1, 1, 1)):
        x = sample(rng, shape, "float32", "spread")
        problem = problem_of(
            Case("", shape, {"window": (2, 2), "stride": 1, "padding": "same"}), Variant(op), "float32"
        )
        if not can_serve(backend, problem):
            return
        for array in (x, np.asfortranarray(x), np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)):
            got = pw.pool(array, op, (2, 2), stride=1, padding="same", backend=backend)
            assert_forward(problem, x, got, reference.forward(problem, x), f"{shape}")


# out=, empty batches, threads, processes.


@pytest.mark.parametrize("op", [op for op in LAYOUT_OPS if op != "blur"])
def test_out(op: str, backend: str, framework: str, rng: np.random.Generator) -> None:
    x = sample(rng, (2, 3, 6, 4), "float32", "spread")
    if not can_serve(backend, problem_of(Case("", x.shape, {"window": (2, 2)}), Variant(op), "float32")):
        return
    given = to_framework(x, framework)
    expected = pw.pool(given, op, (2, 2), backend=backend)
    out = to_framework(np.full(tuple(expected.shape), np.nan, np.float32), framework)
    assert pw.pool(given, op, (2, 2), out=out, backend=backend) is out
    assert_same_bits(out, to_numpy(expected))


@pytest.mark.parametrize("op", LAYOUT_OPS)
@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4), (0, 0, 4, 4)])
def test_empty_batches(op: str, shape: tuple[int, ...], backend: str, framework: str) -> None:
    """Nothing in, nothing out, of the right shape, and a gradient of the right shape."""
    if not can_serve(backend, problem_of(Case("", (1, 1, 4, 4), {"window": (2, 2)}), Variant(op), "float32")):
        return
    x = to_framework(np.zeros(shape, np.float32), framework)
    y, pullback = pw.vjp(pw.pool, x, op, (2, 2), backend=backend)
    assert tuple(y.shape) == (*shape[:2], 2, 2)
    assert tuple(pullback(y).shape) == shape
    if op == "max":
        values, indices = pw.max_pool_with_indices(x, (2, 2), backend=backend)
        assert tuple(values.shape) == tuple(indices.shape) == (*shape[:2], 2, 2)
        assert tuple(pw.max_unpool(values, indices, (4, 4)).shape) == shape


@pytest.mark.parametrize("op", LAYOUT_OPS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "int64"])
def test_any_number_of_threads_gives_the_same_bits(op: str, dtype: str, backend: str, rng: np.random.Generator) -> None:
    """Large enough to be split: planes, rows, and one plane alone."""
    for shape, options in [
        ((7, 61, 67), {"window": (3, 3), "stride": 2, "padding": 1}),
        ((1, 301, 203), {"window": (5, 4), "stride": (2, 3)}),
        ((1, 200, 300), {"window": (200, 300)}),
        ((63, 65, 11), {"window": (2, 3), "stride": 1, "axes": (0, 1)}),
    ]:
        if dtype not in dtypes_of(Variant(op)):
            return
        problem = problem_of(Case("", shape, options), Variant(op), dtype)
        if not can_serve(backend, problem):
            return
        x = sample(rng, shape, dtype, "ties")
        results = []
        for threads in (1, 2, 5):
            pw.set_num_threads(threads)
            if dtype == "int64":
                results.append((pw.pool(x, op, backend=backend, **options),))
                continue
            y, pullback = pw.vjp(pw.pool, x, op, backend=backend, **options)
            gy = sample(seeded("gy"), y.shape, dtype, "spread")
            results.append((y, pullback(gy)))
        for other in results[1:]:
            for one, two in zip(results[0], other, strict=True):
                assert_same_bits(two, one, f"{op} {shape}")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_computes(backend: str) -> None:
    """As a data loader's worker does, after the parent has used several threads; a child that hangs is killed."""
    pw.set_num_threads(3)
    x = np.arange(4 * 300 * 300, dtype=np.float32).reshape(4, 300, 300)
    expected = pw.max_pool(x, (3, 3), backend=backend)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if np.array_equal(pw.max_pool(x, (3, 3), backend=backend), expected) else 2
        finally:
            os._exit(code)
    deadline = time.monotonic() + 20
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the forked child hangs")
        time.sleep(0.01)
    assert os.waitstatus_to_exitcode(status) == 0
    assert_same_bits(pw.max_pool(x, (3, 3), backend=backend), expected, "the parent afterwards")


def test_concurrent_calls(backend: str, rng: np.random.Generator) -> None:
    """Eight threads pool different problems at once, and first uses of a problem meet."""
    pw.set_num_threads(2)
    inputs = [rng.standard_normal((2, 40 + n, 50)).astype(np.float32) for n in range(4)]
    expected = [pw.max_pool(x, (3, 2), stride=(2, 1 + n), backend="generic") for n, x in enumerate(inputs)]
    failures: list[BaseException] = []
    start = threading.Barrier(8)

    def work(which: int) -> None:
        try:
            start.wait(10)
            for _ in range(20):
                n = which % 4
                assert_same_bits(pw.max_pool(inputs[n], (3, 2), stride=(2, 1 + n), backend=backend), expected[n])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads), "a call hangs"
    assert not failures, failures[0]


@pytest.mark.parametrize("variant,case", [(v, c) for v, c in PAIRS if not v.options], ids=lambda value: value.id)
def test_chunks_do_not_show(variant: Variant, case: Case, framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The generic backend's chunks of planes and rows, made tiny, give the bits of one chunk."""
    _, x, *_, gy, _ = expected_of(variant.id, case.id, "float32", "spread")
    function, options = case.call(variant)

    def run() -> list[np.ndarray]:
        y, pullback = pw.vjp(function, to_framework(x, framework), backend="generic", **options)
        results = [to_numpy(y).copy(), to_numpy(pullback(to_framework(gy, framework))).copy()]
        if variant.op == "max" and case.verb == "pool" and "empty" not in options:
            rest = {name: value for name, value in options.items() if name != "op"}
            indices = pw.max_pool_with_indices(to_framework(x, framework), backend="generic", **rest)[1]
            results.append(to_numpy(indices).copy())
        return results

    whole = run()
    for elements in (1, 50):
        monkeypatch.setattr(generic, "CHUNK_ELEMENTS", elements)
        parts = run()
        for name, part, one in zip(("values", "gradient", "indices"), parts, whole, strict=False):
            if name == "gradient":  # rows of windows add up in another order
                np.testing.assert_allclose(part, one, rtol=1e-5, atol=1e-5)
            else:
                assert_same_bits(part, one, f"{name} in chunks of {elements}")


# Choice of backend.


def test_backends_are_chosen_in_order_with_reasons() -> None:
    # No kernel computes the value of a window that sees padding only.
    facts = pw.explain(pw.median_pool, (8, 8), (2, 2), stride=1, padding=2, empty=0).as_dict()["calls"][0]
    assert facts["backend"] == "generic"
    assert list(facts["rejected"]) == [b.name for b in BACKENDS if b.name != "generic"]
    assert all(facts["rejected"].values()), "a rejection without a reason"
    text = str(pw.explain(pw.max_blur_pool, (8, 8), (2, 2)))
    assert "max_pool" in text and "blur_pool" in text


def test_max_is_served_by_the_kernels_where_they_are_built() -> None:
    facts = pw.explain(pw.max_pool, (8, 8), (2, 2)).as_dict()["calls"][0]
    assert facts["backend"] == ("cpu" if cpu._core is not None else "generic")


def test_an_insisted_backend_that_cannot_run_says_why(backend: str) -> None:
    options = {"window": (2, 2), "stride": 1, "padding": 2, "empty": 0}
    problem = problem_of(Case("", (4, 4), options), Variant("median"), "float32")
    if can_serve(backend, problem):
        return
    x = np.zeros((4, 4), np.float32)
    error = assert_refused(lambda: pw.median_pool(x, backend=backend, **options), (ValueError,))
    assert "padding only" in str(error) or "no kernel for median" in str(error)


def test_num_threads() -> None:
    pw.set_num_threads(3)
    assert pw.get_num_threads() == 3
    pw.set_num_threads(None)
    assert pw.get_num_threads() >= 1
    for wrong in (0, -1, True, 2.0, "2"):
        with pytest.raises((ValueError, TypeError)):
            pw.set_num_threads(wrong)


def test_every_case_is_small_and_every_operator_meets_it() -> None:
    """The table itself: ids are unique, and every operator runs over sliding, adaptive, global and fractional windows."""
    assert len({case.id for case in CASES}) == len(CASES)
    assert all(np.prod(case.shape) <= 400 for case in CASES)
    for op in pw.OPS:
        verbs = {case.verb for variant, case in PAIRS if variant.op == op.name}
        assert verbs == ({"pool"} if op.weights else {"pool", "adaptive_pool", "global_pool", "fractional_pool"}), op
    assert numpy_dtype("bfloat16").itemsize == 2
