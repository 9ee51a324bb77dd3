"""Compiled medians and blurs: larger arrays than the table of cases has, every way that a median is found, bits."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from cases import Case, Variant, dtypes_of, numpy_dtype, problem_of
from helpers import assert_gradient, assert_same_bits, assert_within, sample, seeded
from tolerances import allowed

import poolwise as pw
from poolwise import reference
from poolwise.backends import cpu

core = pytest.importorskip("poolwise._core", reason="the compiled kernels are not built")


@pytest.fixture(autouse=True)
def share_small_calls() -> Iterator[None]:
    core.set_worth_sharing(0.0)
    yield
    core.set_worth_sharing(100e-6)


def same_for_threads(call: Any) -> Any:
    """The result, which must be the same for any number of threads."""
    results = []
    for threads in (1, 2, 5):
        pw.set_num_threads(threads)
        results.append(call())
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert_same_bits(a, b, "threads")
    return results[0]


def stable_median(x: np.ndarray, windows: Any) -> np.ndarray:
    """The definition, element by element: stable ranks (so the sign of a zero is known), the first NaN."""
    y = np.empty((*x.shape[: -len(windows.axes)], *windows.shape), x.dtype)
    for index, ranges in windows.each():
        part = x[(..., *np.ix_(*ranges))].reshape(*x.shape[: -len(windows.axes)], -1)
        order = np.argsort(part, axis=-1, kind="stable")
        n = part.shape[-1]
        low, high = (np.take_along_axis(part, order[..., k : k + 1], -1)[..., 0] for k in ((n - 1) // 2, n // 2))
        if np.issubdtype(x.dtype, np.integer) or x.dtype == bool:
            halves = [int(a) + int(b) for a, b in zip(low.ravel(), high.ravel(), strict=True)]
            value = (
                np.array([h // 2 + (h % 2 and h // 2 % 2) for h in halves], object).reshape(low.shape).astype(x.dtype)
            )
        else:
            wide = np.longdouble if x.dtype.itemsize > 2 else np.float64
            with np.errstate(all="ignore"):
                value = ((low.astype(wide) + high.astype(wide)) / 2).astype(x.dtype)
                value = np.where(np.isnan(part).any(-1), np.array(np.nan, x.dtype), value)
        y[(..., *index)] = value
    return y


SHAPES: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "3x3": ((2, 37, 70), {"window": (3, 3), "stride": 1, "padding": 1}),
    "3x3/2": ((2, 30, 141), {"window": (3, 3), "stride": 2, "padding": 1}),
    "5x5": ((1, 21, 90), {"window": (5, 5), "stride": 1, "padding": 2}),
    "2x2": ((3, 18, 75), {"window": (2, 2)}),
    "dilated": ((1, 20, 60), {"window": (3, 4), "stride": (1, 3), "padding": (1, 2), "dilation": (2, 2)}),
    "7x7": ((1, 15, 80), {"window": (7, 7), "stride": 1, "padding": 3}),
    "small planes": ((40, 7, 7), {"window": (3, 3), "stride": 1, "padding": 1}),
    "3d": ((1, 6, 9, 40), {"window": (3, 3, 3), "stride": 1, "padding": 1}),
    "1d": ((2, 500), {"window": (9,), "stride": 1, "padding": ((4, 4),)}),
    "1d large": ((2, 900), {"window": (201,), "stride": 1, "padding": ((100, 100),)}),
    "13x15": ((1, 40, 61), {"window": (13, 15), "stride": 1, "padding": (6, 7)}),
    "strides in large": ((2, 43, 50), {"window": (14, 11), "stride": (3, 2), "padding": (3, 5)}),
    "large dilated": ((1, 50, 64), {"window": (9, 11), "stride": (1, 2), "padding": (4, 4), "dilation": (3, 2)}),
    "large apart": ((1, 60, 55), {"window": (12, 10)}),
    "large 3d": ((1, 8, 14, 30), {"window": (4, 5, 9), "stride": 1, "padding": (2, 2, 4)}),
    "columns in twos": ((2, 7, 150), {"window": (3, 3), "stride": 2, "padding": 1}),
    "columns in threes": ((2, 6, 212), {"window": (2, 3), "stride": (2, 3)}),
    "few columns in threes": ((2, 6, 61), {"window": (2, 3), "stride": (2, 3)}),
    "some small planes": ((11, 9, 9), {"window": (3, 3), "stride": 2, "padding": 1}),
    "channels-last": ((19, 40, 5), {"window": (3, 3), "stride": 1, "padding": 1, "axes": (0, 1)}),
    "channels-last large": ((19, 40, 3), {"window": (9, 9), "stride": 1, "padding": 4, "axes": (0, 1)}),
}


@pytest.mark.parametrize("kind", ["ties", "spread", "special"])
@pytest.mark.parametrize("name", SHAPES)
def test_medians_have_the_definitions_bits(name: str, kind: str) -> None:
    shape, options = SHAPES[name]
    for dtype in dtypes_of(Variant("median")):
        if dtype == "bfloat16":
            continue  # NumPy's sort does not take it; the table of cases has it
        x = sample(seeded(name, dtype, kind), shape, dtype, kind)
        problem = problem_of(Case("", shape, options), Variant("median"), dtype)
        assert cpu.CPU.why_not(problem, "cpu") is None
        axes = tuple(range(x.ndim - len(problem.axes), x.ndim))
        moved = stable_median(np.moveaxis(x, problem.axes, axes), problem.windows)
        (y,) = same_for_threads(lambda x=x: (pw.median_pool(x, backend="cpu", **options),))
        assert_same_bits(np.moveaxis(y, problem.axes, axes), moved, f"{name} {dtype}")


@pytest.mark.parametrize("size", [3, 5, 9, 31])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "uint16"])
def test_medians_are_scipys(size: int, dtype: str) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    x = sample(seeded(size, dtype), (1, 90, 700), dtype, "spread")[0]
    inside = (slice(size // 2, -(size // 2)),) * 2
    y = pw.median_pool(x, (size, size), stride=1, padding=size // 2, backend="cpu")
    assert_same_bits(y[inside], ndimage.median_filter(x, size)[inside])


@pytest.mark.parametrize("shape,window", [((2, 150, 210), 41), ((1, 300, 1100), 17), ((1, 70, 66), 61)])
def test_large_medians_agree_between_the_ways_to_find_them(shape: tuple[int, ...], window: int) -> None:
    """Bytes by histograms, the same numbers as int16 by ranks."""
    options = {"window": (window, window), "stride": 1, "padding": window // 2, "backend": "cpu"}
    for top in (256, 7):
        x = seeded(shape, top).integers(0, top, shape).astype(np.uint8)
        (y,) = same_for_threads(lambda x=x: (pw.median_pool(x, **options),))
        assert_same_bits(y.astype(np.int16), pw.median_pool(x.astype(np.int16), **options))
        assert_same_bits((y.astype(np.int16) - 128).astype(np.int8), pw.median_pool((x ^ 128).view(np.int8), **options))


@pytest.mark.parametrize("name", [n for n in SHAPES if n not in ("large 3d",)])
def test_gradients_of_medians(name: str) -> None:
    shape, options = SHAPES[name]
    shape = (1, *shape[1:]) if "axes" not in options else shape
    for dtype, kind in (("float32", "ties"), ("float64", "spread"), ("float16", "special"), ("bfloat16", "ties")):
        rng = seeded(name, dtype)
        x = sample(rng, shape, dtype, kind)
        problem = problem_of(Case("", shape, options), Variant("median"), dtype)
        gy = sample(rng, problem.out_shape, dtype, "spread")

        def both(x: np.ndarray = x, gy: np.ndarray = gy) -> tuple[np.ndarray, np.ndarray]:
            y, pullback = pw.vjp(pw.median_pool, x, backend="cpu", **options)
            return y, pullback(gy)

        _, gx = same_for_threads(both)
        _, pullback = pw.vjp(pw.median_pool, x, backend="generic", **options)
        assert_gradient(problem, gy, gx, pullback(gy).astype(np.longdouble), f"{name} {dtype}")


BLURS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "3/2": ((2, 31, 75), {"window": (3, 3), "stride": 2, "padding": 1}),
    "5/2": ((1, 20, 80), {"window": (5, 5), "stride": 2, "padding": 2}),
    "4/1": ((1, 9, 130), {"window": (4, 4), "stride": 1, "padding": ((1, 2), (1, 2))}),
    "7/3": ((1, 23, 100), {"window": (7, 7), "stride": 3, "padding": 3}),
    "apart": ((1, 12, 90), {"window": (2, 3), "stride": (3, 7), "padding": (1, 1)}),
    "dilated": ((1, 14, 60), {"window": (3, 5), "stride": (1, 2), "dilation": (2, 3), "padding": (2, 6)}),
    "small planes": ((37, 7, 5), {"window": (3, 3), "stride": 1, "padding": 1}),
    "many small planes": ((150, 8, 6), {"window": (3, 4), "stride": 2, "padding": (1, 2)}),
    "rows": ((2, 900), {"window": (5,), "stride": 2, "padding": ((2, 2),)}),
    "long": ((1, 30000), {"window": (33,), "stride": 3, "padding": ((16, 16),)}),
    "3d": ((1, 6, 7, 30), {"window": (3, 4, 3), "stride": (1, 2, 2), "padding": 1}),
    "channels-last": ((13, 21, 6), {"window": (3, 3), "stride": 2, "padding": 1, "axes": (0, 1)}),
    "channels between": ((9, 4, 30), {"window": (3, 5), "stride": 2, "padding": (1, 2), "axes": (0, 2)}),
}


@pytest.mark.parametrize("border", ["reflect", "replicate", "circular", "zeros", "counted"])
@pytest.mark.parametrize("name", BLURS)
def test_blurs_are_the_references(name: str, border: str) -> None:
    shape, options = BLURS[name]
    options = {
        **options,
        "border": "zeros" if border == "counted" else border,
        "count_include_pad": border == "counted",
    }
    shape = (*shape[:-1], 700) if name == "long" and border != "reflect" else shape
    for dtype in ("float32", "float64", "float16", "bfloat16"):
        if name == "long" and dtype != "float32":
            continue
        rng = seeded(name, dtype, border)
        x = sample(rng, shape, dtype, "spread")
        problem = problem_of(Case("", shape, options), Variant("blur"), dtype)
        assert cpu.CPU.why_not(problem, "cpu") is None
        gy = sample(rng, problem.out_shape, dtype, "spread")

        def both(x: np.ndarray = x, gy: np.ndarray = gy) -> tuple[np.ndarray, np.ndarray]:
            y, pullback = pw.vjp(pw.pool, x, "blur", backend="cpu", **options)
            return y, pullback(gy)

        y, gx = same_for_threads(both)
        taps = int(np.prod([axis.window for axis in problem.windows.axes]))
        expected = pw.pool(x.astype(np.float64), "blur", backend="generic", **options).astype(np.longdouble)
        with np.errstate(over="ignore"):
            rounded = expected.astype(np.float64).astype(numpy_dtype(dtype))
        error = allowed("blur", dtype, rounded, taps, float(np.abs(x.astype(np.float64)).max()) / taps)
        assert_within(y, expected, error, f"{name} {border} {dtype}")
        _, pullback = pw.vjp(pw.pool, x.astype(np.float64), "blur", backend="generic", **options)
        assert_gradient(
            problem, gy, gx, pullback(gy.astype(np.float64)).astype(np.longdouble), f"{name} {border} {dtype}"
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_blurs_of_numbers_far_apart(dtype: str) -> None:
    """NaN, infinities and numbers whose difference overflows are where the definition has them."""
    for name in ("3/2", "5/2", "channels-last", "3d"):
        shape, options = BLURS[name]
        rng = seeded(name, dtype)
        x = sample(rng, shape, dtype, "special")
        x[rng.random(shape) < 0.1] = np.finfo(dtype).max
        x[rng.random(shape) < 0.1] = np.finfo(dtype).min
        problem = problem_of(Case("", shape, options), Variant("blur"), dtype)
        with np.errstate(all="ignore"):
            expected = reference.forward(problem, x)
        y = pw.pool(x, "blur", backend="cpu", **options)
        np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
        np.testing.assert_allclose(
            y, expected, rtol=1e-6 if dtype == "float32" else 1e-13, atol=np.finfo(dtype).max * 1e-15
        )


def test_every_instruction_set_gives_the_same_bits() -> None:
    code = """
import hashlib, numpy as np, poolwise as pw
from poolwise import _core
rng, digest = np.random.default_rng(3), hashlib.sha256()
for dtype in ("uint8", "int16", "int32", "int64", "float16", "float32", "float64"):
    for shape, window, stride in (((2, 17, 93), 3, 1), ((2, 19, 41), 5, 1), ((1, 30, 31), 7, 2), ((1, 40, 50), 15, 1)):
        x = (rng.standard_normal(shape) * 50).astype(dtype)
        options = {"window": (window, window), "stride": stride, "padding": window // 2, "backend": "cpu"}
        for op in ("median", "blur") if dtype.startswith("float") else ("median",):
            results = [pw.pool(x, op, **options)]
            if dtype.startswith("float"):
                results.append(pw.vjp(pw.pool, x, op, **options)[1](results[0]))
            for result in results:
                digest.update(result.tobytes())
print(_core.isa(), digest.hexdigest())
"""
    found = set()
    for isa in core.isa_available():
        env = {**os.environ, "POOLWISE_ISA": isa}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and done.stdout.startswith(isa), done.stderr
        found.add(done.stdout.split()[1])
    assert len(found) == 1 and len(found.pop()) == len(hashlib.sha256().hexdigest())


def test_refuses_filters_that_do_not_fit() -> None:
    axis = (9, 1, 5, 1, 2, 3, 1, 4, 1, np.array([[0, 2, 1], [7, 2, 1]], np.int64).tobytes(), 3, 1)
    weights, edge = np.array([0.25, 0.5, 0.25]), np.array([[1, 0, 1], [7, 8, 7]], np.int64)

    def make(*filters: tuple[np.ndarray, np.ndarray]) -> Any:
        packed = [(w.tobytes(), e.tobytes()) for w, e in filters]
        return core.Kernel("blur", "float32", "float32", [(1, 9)], [axis], (1, 1), filters=packed)

    make((weights, edge))
    outside = np.where(edge == 8, 9, edge)
    for wrong in (
        [],
        [(weights, edge), (weights, edge)],
        [(weights[:2], edge)],
        [(weights, edge[:1])],
        [(weights, outside)],
        [(weights, edge - 3)],
        [(-weights, edge)],
        [(weights * np.nan, edge)],
        [(weights * 0, edge)],
        [(weights, edge * 0 - 1)],
    ):
        with pytest.raises(ValueError, match="poolwise kernel"):
            make(*wrong)
