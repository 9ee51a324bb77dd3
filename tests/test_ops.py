"""Every operator's definition against outside oracles, its gradient against two other derivations, its traits as laws."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import oracles
import pytest
import torch
from cases import CASES, FLOAT_DTYPES, VARIANTS, Case, Variant, dtypes_of, numpy_dtype, pairs, problem_of
from helpers import assert_refused, assert_same_bits, bits, distinct, expected_of, sample, seeded, to_numpy
from scipy import ndimage

import poolwise as pw
from poolwise import reference
from poolwise.arrays import framework_of
from poolwise.backends.generic import GenericKernel

PLAIN = [variant for variant in VARIANTS if not variant.options]
PICKING = [op.name for op in pw.OPS if op.traits.picks]


def define(variant: Variant, case: Case, x: np.ndarray, **more: Any) -> np.ndarray:
    """The reference's answer."""
    return reference.forward(problem_of(case, variant, x.dtype.name, **more), x)


def one_window(op: str, values: list, dtype: str = "float64", **options: Any) -> np.ndarray:
    """An operator over one window that holds these values."""
    x = np.array(values, dtype=numpy_dtype(dtype))
    case = Case("one", x.shape, {"window": x.shape[:1], "padding": 0} if op == "blur" else {"window": x.shape[:1]})
    return define(Variant(op, options), case, x)[0]


# Outside oracles.

SLIDING_2D = [
    {"window": (2, 2)},
    {"window": (3, 3), "stride": (2, 2), "padding": (1, 1)},
    {"window": (3, 2), "stride": (1, 3), "padding": (1, 0)},
    {"window": (2, 3), "stride": (3, 2), "padding": (0, 1), "ceil_mode": True},
    {"window": (3, 3), "stride": (3, 3), "padding": (1, 1), "ceil_mode": True},
]


def torch_options(options: dict[str, Any]) -> dict[str, Any]:
    return {{"window": "kernel_size"}.get(name, name): value for name, value in options.items() if name != "window"}


@pytest.mark.parametrize("options", SLIDING_2D, ids=range(len(SLIDING_2D)))
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1)])
@pytest.mark.parametrize("kind", ["ties", "spread"])
def test_max_is_torchs(options: dict[str, Any], dilation: tuple[int, int], kind: str, rng: np.random.Generator) -> None:
    options = {**options, "dilation": dilation}
    x = sample(rng, (1, 2, 8, 7), "float64", kind)
    values, indices = oracles.torch_max(x, options["window"], **torch_options(options))
    problem = problem_of(Case("", x.shape, options), Variant("max"), "float64")
    assert_same_bits(reference.forward(problem, x), values)
    assert_same_bits(reference.select(problem, x), indices)
    # A minimum is the maximum of the negated, with the same place.
    problem = problem_of(Case("", x.shape, options), Variant("min"), "float64")
    assert np.array_equal(reference.forward(problem, -x), -values)
    assert_same_bits(reference.select(problem, -x), indices)


@pytest.mark.parametrize("options", SLIDING_2D, ids=range(len(SLIDING_2D)))
@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("divisor", [None, 3])
def test_avg_is_torchs(options: dict[str, Any], include: bool, divisor: int | None, rng: np.random.Generator) -> None:
    x = sample(rng, (1, 2, 8, 7), "float64", "spread")
    theirs = {**torch_options(options), "count_include_pad": include, "divisor_override": divisor}
    expected = oracles.torch_avg(x, options["window"], **theirs)
    ours = Variant("avg", {"count_include_pad": include, **({"divisor": divisor} if divisor else {})})
    np.testing.assert_allclose(define(ours, Case("", x.shape, options), x), expected, rtol=1e-12)
    if divisor is None and not options.get("padding") and not options.get("ceil_mode"):
        total = define(Variant("sum"), Case("", x.shape, options), x)
        np.testing.assert_allclose(total, expected * np.prod(options["window"]), rtol=1e-12)


@pytest.mark.parametrize("size", [(1, 1), (3, 4), (8, 7), (9, 5), (16, 2)])
def test_adaptive_is_torchs(size: tuple[int, int], rng: np.random.Generator) -> None:
    x = sample(rng, (1, 2, 8, 7), "float64", "ties")
    case = Case("", x.shape, {"output_size": size}, "adaptive_pool")
    mean = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(x), size).numpy()
    np.testing.assert_allclose(define(Variant("avg"), case, x), mean, rtol=1e-12, atol=1e-15)
    largest, at = torch.nn.functional.adaptive_max_pool2d(torch.from_numpy(x), size, return_indices=True)
    problem = problem_of(case, Variant("max"), "float64")
    assert_same_bits(reference.forward(problem, x), largest.numpy())
    assert_same_bits(reference.select(problem, x), at.numpy())


def test_fractional_max_is_torchs(rng: np.random.Generator) -> None:
    """torch's random samples are ``(n, c, [width, height])``."""
    for _ in range(20):
        x = sample(rng, (1, 1, 11, 13), "float64", "spread")
        u = rng.random(2)
        size, window = (int(rng.integers(1, 9)), int(rng.integers(1, 9))), (3, 2)
        samples = torch.tensor(u[::-1].copy()).reshape(1, 1, 2)
        largest, at = torch.nn.functional.fractional_max_pool2d(
            torch.from_numpy(x), window, output_size=size, return_indices=True, _random_samples=samples
        )
        options = {"output_size": size, "window": window, "draws": tuple(u)}
        problem = problem_of(Case("", x.shape, options, "fractional_pool"), Variant("max"), "float64")
        assert_same_bits(reference.forward(problem, x), largest.numpy())
        assert_same_bits(reference.select(problem, x), at.numpy())


@pytest.mark.parametrize("window", [(3, 3), (5, 1), (3, 5)])
def test_min_median_max_are_scipys(window: tuple[int, int], rng: np.random.Generator) -> None:
    """Stride 1, away from the border; SciPy has no padding that is left out."""
    x = sample(rng, (9, 8), "float64", "ties")
    inner = tuple(slice(k // 2, n - k // 2) for n, k in zip(x.shape, window, strict=True))
    for op in ("min", "median", "max"):
        got = define(Variant(op), Case("", x.shape, {"window": window, "stride": 1}), x)
        assert np.array_equal(got, oracles.scipy_filter(op, x, window, "nearest")[inner])


@pytest.mark.parametrize("border,mode", [("reflect", "mirror"), ("replicate", "nearest"), ("circular", "wrap")])
@pytest.mark.parametrize("size", [3, 5, 7])
def test_blur_is_scipys_correlation(border: str, mode: str, size: int, rng: np.random.Generator) -> None:
    x = sample(rng, (9, 8), "float64", "spread")
    row = np.array([1.0])
    for _ in range(size - 1):
        row = np.convolve(row, [0.5, 0.5])
    expected = ndimage.correlate(x, np.outer(row, row), mode=mode)
    options = {"window": (size, size), "stride": 1, "padding": size // 2}
    np.testing.assert_allclose(
        define(Variant("blur", {"border": border}), Case("", x.shape, options), x), expected, atol=1e-12
    )


def test_blur_zeros_is_the_zero_padded_convolution_over_its_weights(rng: np.random.Generator) -> None:
    x = sample(rng, (7, 6), "float64", "spread")
    weights = np.outer([1, 2, 1], [1, 2, 1]) / 16
    dark = ndimage.correlate(x, weights, mode="constant")
    inside = ndimage.correlate(np.ones_like(x), weights, mode="constant")
    case = Case("", x.shape, {"window": (3, 3), "stride": 1, "padding": 1})
    kept = define(Variant("blur", {"border": "zeros", "count_include_pad": True}), case, x)
    np.testing.assert_allclose(kept, dark, atol=1e-13)
    np.testing.assert_allclose(define(Variant("blur", {"border": "zeros"}), case, x), dark / inside, atol=1e-13)


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0, np.inf])
def test_lp_is_numpys_norm(p: float, rng: np.random.Generator) -> None:
    x = sample(rng, (9, 8), "float64", "spread")
    got = define(Variant("lp", {"p": p}), Case("", x.shape, {"window": (3, 2)}), x)
    for i, j in np.ndindex(*got.shape):
        assert got[i, j] == pytest.approx(np.linalg.norm(x[3 * i : 3 * i + 3, 2 * j : 2 * j + 2].ravel(), p), rel=1e-13)


@pytest.mark.parametrize(
    "op,options,values,expected",
    [
        ("max", {}, [3, 1, 4, 1, 5], 5),
        ("min", {}, [3, 1, 4, 1, 5], 1),
        ("avg", {}, [3, 1, 4, 1, 5], 2.8),
        ("sum", {}, [3, 1, 4, 1, 5], 14),
        ("median", {}, [3, 1, 4, 1, 5], 3),
        ("median", {}, [4, 1, 3, 2], 2.5),
        ("lp", {"p": 2}, [3, -4], 5),
        ("lp", {"p": 1}, [3, -4], 7),
        ("lp", {"p": 3}, [3, 4, 5], 6),  # 27 + 64 + 125 = 216
        ("lp", {"p": 0.5}, [4, 9], 25),  # (2 + 3)**2
        ("blur", {}, [4, 0, 8], 3),  # (4 + 2*0 + 8) / 4
        ("blur", {}, [16, 0, 0, 0, 32], 3),  # 1 4 6 4 1 over 16
    ],
)
def test_worked_examples(op: str, options: dict[str, Any], values: list, expected: float) -> None:
    assert one_window(op, values, **options) == pytest.approx(expected, rel=1e-15)


# Gradients: the definition's vjp against finite differences, and against torch's derivative of the definition.

KINKED = ("max", "min", "median", "lp")


@pytest.mark.parametrize("variant,case", pairs(), ids=lambda value: value.id)
def test_vjp_three_ways(variant: Variant, case: Case) -> None:
    """`reference.vjp` == finite differences == autodiff of the definition, for random cotangents."""
    rng = seeded("vjp", variant.id, case.id)
    problem = problem_of(case, variant, "float64")
    x = distinct(rng, case.shape) if variant.op in KINKED else rng.standard_normal(case.shape)
    gy = rng.standard_normal(problem.out_shape)
    gradient = reference.vjp(problem, x, gy).astype(np.float64)
    tensor = torch.tensor(x, requires_grad=True)
    kernel = GenericKernel(problem)
    y = kernel.differentiable_forward(framework_of(tensor, "test"), tensor)
    np.testing.assert_allclose(to_numpy(y), reference.forward(problem, x), rtol=1e-12, atol=1e-13)
    (traced,) = torch.autograd.grad(y, tensor, torch.from_numpy(gy))
    np.testing.assert_allclose(gradient, traced.numpy(), rtol=1e-9, atol=1e-11)
    for _ in range(4):
        direction = rng.uniform(-1, 1, case.shape)
        slope = oracles.directional_difference(lambda at: reference.forward(problem, at), x, gy, direction, 2**-14)
        size = float(np.abs(gy).sum()) * max(problem.windows.radix)
        assert float((gradient * direction).sum()) == pytest.approx(slope, abs=1e-7 * size)


# Traits as laws.


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v.operator.traits.linear], ids=lambda v: v.id)
def test_linear_operators_are_linear(variant: Variant, rng: np.random.Generator) -> None:
    case = next(case for case in CASES if case.id == "overlap")
    x, y = rng.standard_normal((2, *case.shape))
    left = define(variant, case, 2 * x - 3 * y)
    np.testing.assert_allclose(left, 2 * define(variant, case, x) - 3 * define(variant, case, y), atol=1e-12)


@pytest.mark.parametrize("variant", PLAIN, ids=lambda v: v.id)
def test_operators_that_do_not_claim_linearity_are_not(variant: Variant, rng: np.random.Generator) -> None:
    if variant.operator.traits.linear:
        return
    case = next(case for case in CASES if case.id == "overlap")
    x, y = rng.standard_normal((2, *case.shape))
    assert not np.allclose(define(variant, case, x + y), define(variant, case, x) + define(variant, case, y))


@pytest.mark.parametrize("variant", PLAIN, ids=lambda v: v.id)
def test_picking_operators_pick(variant: Variant, rng: np.random.Generator) -> None:
    """Every output is an element of its window where `picks` says so, and the chosen one."""
    case = next(case for case in CASES if case.id == "overlap")
    x = rng.standard_normal(case.shape)
    problem = problem_of(case, variant, "float64")
    y = reference.forward(problem, x)
    inside = [y[0][index] in x[0][np.ix_(*(list(taps) for taps in ranges))] for index, ranges in problem.windows.each()]
    if variant.operator.traits.picks:
        assert all(inside)
        chosen = reference.select(problem, x)
        planes = [plane.reshape(-1)[at] for plane, at in zip(x, chosen, strict=True)]
        assert_same_bits(np.stack(planes), y)
    else:
        assert not all(inside)
    assert (variant.operator.select is not None) == variant.operator.traits.picks


@pytest.mark.parametrize("variant", PLAIN, ids=lambda v: v.id)
def test_what_the_gradient_saves_is_enough(variant: Variant, rng: np.random.Generator) -> None:
    """An operator that saves nothing has the same gradient everywhere; one that saves offsets, wherever they agree."""
    case = next(case for case in CASES if case.id == "overlap")
    problem = problem_of(case, variant, "float64")
    x, gy = rng.standard_normal(case.shape), rng.standard_normal(problem.out_shape)
    gradient = reference.vjp(problem, x, gy)
    saves = variant.operator.traits.saves
    if saves == "nothing":
        np.testing.assert_allclose(gradient, reference.vjp(problem, rng.standard_normal(case.shape), gy))
    elif saves == "offsets":
        np.testing.assert_allclose(gradient, reference.vjp(problem, 5 * x + 2, gy))


# Ties, NaN, infinities, zeros, subnormals.


@pytest.mark.parametrize("op", PICKING)
def test_ties_go_to_the_first_in_scan_order(op: str) -> None:
    x = np.ones((3, 3))
    case = Case("", (3, 3), {"window": (3, 3)})
    problem = problem_of(case, Variant(op), "float64")
    assert reference.select(problem, x)[0, 0] == 0
    assert reference.vjp(problem, x, np.array([[7.0]]))[0, 0] == 7
    x[0, 0] = -2 if op == "max" else 2
    assert reference.select(problem, x)[0, 0] == 1


@pytest.mark.parametrize("op", PICKING)
@pytest.mark.parametrize("zeros", [(0.0, -0.0), (-0.0, 0.0)])
def test_signed_zeros_are_equal(op: str, zeros: tuple[float, float]) -> None:
    """The first of the two zeros wins, with its sign."""
    values = np.array([*zeros, *zeros])
    assert_same_bits(np.array([one_window(op, values.tolist())]), values[:1])


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v.op != "blur"], ids=lambda v: v.id)
@pytest.mark.parametrize("dtype", FLOAT_DTYPES)
def test_nan_wins_at_every_position(variant: Variant, dtype: str) -> None:
    case = Case("", (3, 3), {"window": (3, 3)})
    for at in range(9):
        for other in (1.0, np.inf, -np.inf):
            x = np.full(9, other).astype(numpy_dtype(dtype))
            x[at] = np.nan
            with np.errstate(all="ignore"):
                assert np.isnan(define(variant, case, x.reshape(3, 3))[0, 0])
            if variant.op in PICKING:
                assert reference.select(problem_of(case, variant, dtype), x.reshape(3, 3))[0, 0] == at


def test_the_first_of_several_nans_is_chosen() -> None:
    problem = problem_of(Case("", (5,), {"window": 5}), Variant("max"), "float64")
    assert reference.select(problem, np.array([9.0, np.nan, 1.0, np.nan, 2.0]))[0] == 1


@pytest.mark.parametrize("op,fill", [("max", -np.inf), ("min", np.inf)])
def test_infinite_windows(op: str, fill: float) -> None:
    """A window of only -inf has the value -inf and an index inside the window."""
    x = np.full((5, 5), fill)
    problem = problem_of(Case("", x.shape, {"window": (2, 2), "stride": 1, "padding": 1}), Variant(op), "float64")
    assert (reference.forward(problem, x) == fill).all()
    chosen = reference.select(problem, x)
    for index, (rows, columns) in problem.windows.each():
        assert chosen[index] == rows[0] * 5 + columns[0]


def test_infinities_in_sums() -> None:
    with np.errstate(all="ignore"):
        for op in ("avg", "sum"):
            assert one_window(op, [np.inf, 1.0]) == np.inf
            assert one_window(op, [-np.inf, 1.0]) == -np.inf
            assert np.isnan(one_window(op, [np.inf, -np.inf]))
        assert one_window("lp", [np.inf, -np.inf, 2.0]) == np.inf
        assert one_window("median", [np.inf, 1.0, -np.inf]) == 1
        assert one_window("median", [np.inf, 1.0]) == np.inf
        assert np.isnan(one_window("median", [np.inf, -np.inf]))
        assert one_window("blur", [np.inf, 1.0, 1.0]) == np.inf


@pytest.mark.parametrize("variant", PLAIN, ids=lambda v: v.id)
@pytest.mark.parametrize("dtype", FLOAT_DTYPES)
def test_subnormals_survive(variant: Variant, dtype: str) -> None:
    tiny = {"float16": 2.0**-24, "bfloat16": 2.0**-133, "float32": 2.0**-149, "float64": 2.0**-1074}[dtype]
    got = float(one_window(variant.op, [4 * tiny] * 4, dtype))
    assert got == {"sum": 16, "lp": 8}.get(variant.op, 4) * tiny


@pytest.mark.parametrize("dtype,large", [("float16", 6e4), ("bfloat16", 3e38), ("float32", 3e38), ("float64", 1.7e308)])
@pytest.mark.parametrize("op", ["avg", "blur", "median"])
def test_means_of_finite_values_are_finite(dtype: str, large: float, op: str) -> None:
    values = np.full(4, large).astype(numpy_dtype(dtype))
    assert_same_bits(np.array([one_window(op, values.tolist(), dtype)], dtype=values.dtype), values[:1])


@pytest.mark.filterwarnings("ignore:invalid value", "ignore:overflow")
@pytest.mark.parametrize("op", ["avg", "sum"])
def test_sums_that_leave_the_range_on_both_sides_come_back(op: str) -> None:
    values = [1.7e308, -1.7e308] * 16
    assert float(one_window(op, values, "float64")) == 0
    assert np.isnan(float(one_window(op, [*values, np.inf, -np.inf], "float64")))
    assert float(one_window(op, [*values, -np.inf], "float64")) == -np.inf


# Integers, exactly.


@pytest.mark.parametrize("dtype", [d for d in dtypes_of(Variant("avg")) if not d.startswith(("float", "bfloat"))])
def test_integer_averages_are_exact(dtype: str, rng: np.random.Generator) -> None:
    info = np.iinfo(dtype)
    extremes = [info.min, info.min + 1, info.max - 1, info.max]
    for size in (1, 2, 3, 4, 7, 12):
        windows = [sample(rng, (size,), dtype, "spread").tolist() for _ in range(20)]
        windows += [[int(v) for v in rng.choice(np.array(extremes, dtype), size)] for _ in range(20)]
        x = np.array(windows, dtype)
        got = define(Variant("avg"), Case("", x.shape, {"window": (size,)}), x)
        assert got[:, 0].tolist() == [oracles.exact_mean(values) for values in windows], size


def test_integer_averages_round_half_to_even() -> None:
    assert [int(one_window("avg", v, "int32")) for v in ([0, 1], [1, 2], [2, 3], [-1, 0], [-1, -2])] == [0, 2, 2, 0, -2]


@pytest.mark.parametrize("divisor", [2, 3, -2, -3, 7])
def test_integer_averages_over_a_given_divisor(divisor: int, rng: np.random.Generator) -> None:
    x = rng.integers(-50, 50, (40, 3))
    got = define(Variant("avg", {"divisor": divisor}), Case("", x.shape, {"window": (3,)}), x)
    assert got[:, 0].tolist() == [round(Fraction(int(row.sum()), divisor)) for row in x]


def test_integer_medians_round_half_to_even(rng: np.random.Generator) -> None:
    x = sample(rng, (60, 4), "int64", "spread")
    got = define(Variant("median"), Case("", x.shape, {"window": (4,)}), x)
    middle = [sorted(row)[1:3] for row in x.tolist()]
    assert got[:, 0].tolist() == [oracles.exact_mean(pair) for pair in middle]


@pytest.mark.parametrize("backend", ["generic", None])
@pytest.mark.parametrize("array", [np.asarray, torch.tensor])
def test_sums_that_do_not_fit_are_refused(array: Any, backend: str | None, rng: np.random.Generator) -> None:
    fits = [([2**62, 2**62 - 1], "int64"), ([-(2**62), -(2**62)], "int64"), ([100, 27], "int8"), ([-100, -28], "int8")]
    over = [([2**62, 2**62], "int64"), ([-(2**62), -(2**62) - 1], "int64"), ([100, 28], "int8"), ([-100, -29], "int8")]
    over += [([2**63 - 1, 2**63 - 1, 2], "int64"), ([-(2**63)] * 4, "int64"), ([255, 1], "uint8")]
    for values, dtype in fits:
        x = array(np.array(values, dtype))
        assert int(pw.sum_pool(x, len(values), backend=backend)[0]) == sum(values)
    for values, dtype in over:
        x = array(np.array(values, dtype))
        n = len(values)
        assert_refused(lambda x=x, n=n: pw.sum_pool(x, n, backend=backend), (ValueError,))
        assert float(pw.sum_pool(x, len(values), dtype="float64", backend=backend)[0]) == pytest.approx(sum(values))


def test_unsigned_sums_at_the_limit() -> None:
    x = np.array([2**64 - 2, 1], np.uint64)
    assert int(pw.sum_pool(x, 2)[0]) == 2**64 - 1
    assert_refused(lambda: pw.sum_pool(x + np.uint64(1), 2), (ValueError,))


# Lp over the whole exponent range.


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 3.0, 7.5])
@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e300])
def test_lp_is_scaled(p: float, scale: float) -> None:
    values = np.array([1.0, -2.0, 3.0, 0.5])
    expected = float(sum(abs(v) ** p for v in values.tolist()) ** (1 / p))
    got = float(one_window("lp", (values * scale).tolist(), p=p))
    assert got / scale == pytest.approx(expected, rel=1e-13)
    problem = problem_of(Case("", (4,), {"window": 4}), Variant("lp", {"p": p}), "float64")
    slope = reference.vjp(problem, values * scale, np.ones(1)).astype(float)
    np.testing.assert_allclose(slope, np.sign(values) * (np.abs(values) / expected) ** (p - 1), rtol=1e-12)


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0, 3.5, np.inf])
def test_lp_gradient_is_zero_where_the_norm_is(p: float) -> None:
    problem = problem_of(Case("", (4,), {"window": 2}), Variant("lp", {"p": p}), "float64")
    gradient = reference.vjp(problem, np.array([0.0, -0.0, 0.0, -3.0]), np.ones(2))
    assert gradient.tolist() == [0, 0, 0, -1]


def test_lp_infinity_goes_to_the_first_of_the_largest() -> None:
    problem = problem_of(Case("", (4,), {"window": 4}), Variant("lp", {"p": float("inf")}), "float64")
    assert reference.vjp(problem, np.array([1.0, -3.0, 3.0, -3.0]), np.ones(1)).tolist() == [0, -1, 0, 0]


# Blur: constant images, to the bit.


@pytest.mark.parametrize("border", ["reflect", "replicate", "circular", "zeros"])
@pytest.mark.parametrize("dtype", FLOAT_DTYPES)
@pytest.mark.parametrize("framework", ["numpy", "torch"])
def test_blur_keeps_constants(border: str, dtype: str, framework: str, rng: np.random.Generator) -> None:
    from helpers import to_framework

    for window, padding in itertools.product([(2, 2), (3, 5), (4, 7)], [None, 0, "same", (1, (1, 0))]):
        for value in (*rng.standard_normal(3), 1e-30, -0.0, 3e4):
            x = np.full((9, 8), value).astype(numpy_dtype(dtype))
            y = to_numpy(pw.blur_pool(to_framework(x, framework), window, padding=padding, border=border))
            if value == 0:
                assert (y == 0).all()
            else:
                assert_same_bits(y, np.full(y.shape, x[0, 0], x.dtype), f"{window} {padding} {value}")


# Dtypes of results.


@pytest.mark.parametrize("variant", PLAIN, ids=lambda v: v.id)
def test_dtype_out_is_dtype_in(variant: Variant, framework: str) -> None:
    from helpers import to_framework

    for dtype in dtypes_of(variant):
        y = pw.pool(to_framework(np.ones((4, 4), numpy_dtype(dtype)), framework), variant.op, (2, 2))
        assert to_numpy(y).dtype == numpy_dtype(dtype), dtype


@pytest.mark.parametrize("op", ["avg", "sum"])
def test_dtype_decides(op: str, framework: str) -> None:
    from helpers import to_framework

    for source, result in itertools.product(dtypes_of(Variant(op)), dtypes_of(Variant(op))):
        x = to_framework(np.array([1, 2, 4, 4]).astype(numpy_dtype(source)), framework)
        narrower = source.startswith(("float", "bfloat")) and not result.startswith(("float", "bfloat"))
        if narrower:
            assert_refused(lambda x=x, result=result: pw.pool(x, op, 2, dtype=result), (TypeError,))
            continue
        y = to_numpy(pw.pool(x, op, 2, dtype=result))
        assert y.dtype == numpy_dtype(result)
        integers = not result.startswith(("float", "bfloat"))
        expected = [3, 8] if op == "sum" else [2 if integers else 1.5, 4]
        assert y.astype(float).tolist() == expected, (source, result)
        given = numpy_dtype(result) if framework == "numpy" else getattr(torch, result)
        assert_same_bits(pw.pool(x, op, 2, dtype=given), y)


def test_picking_and_bool() -> None:
    x = np.array([[True, False], [False, False]])
    assert pw.max_pool(x, (1, 2)).tolist() == [[True], [False]]
    assert pw.min_pool(x, (1, 2)).tolist() == [[False], [False]]
    assert pw.max_pool(x, (2, 2)).dtype == bool
    for function in (pw.avg_pool, pw.sum_pool, pw.lp_pool, pw.blur_pool):
        assert_refused(lambda function=function: function(x, (2, 2)), (TypeError,))


# Named recipes are what they say.


def test_recipes_are_operators_over_windows(rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 7, 9))
    assert_same_bits(pw.adaptive_max_pool(x, (3, 4)), pw.adaptive_pool(x, "max", (3, 4)))
    assert_same_bits(pw.adaptive_avg_pool(x, (3, 4)), pw.adaptive_pool(x, "avg", (3, 4)))
    assert_same_bits(pw.global_max_pool(x, axes=(1, 2)), x.max((1, 2), keepdims=True))
    np.testing.assert_allclose(pw.global_avg_pool(x, axes=(1, 2)), x.mean((1, 2), keepdims=True), rtol=1e-14)
    for op in ("max", "min", "avg", "sum", "lp", "blur", "median"):
        stride = {"stride": 2} if op == "blur" else {}
        padding = {"padding": (0, 1)} if op == "blur" else {}
        got = getattr(pw, f"{op}_pool")(x, (2, 3), **stride, **padding)
        assert_same_bits(got, pw.pool(x, op, (2, 3), **stride, **padding), op)
    peaks = pw.max_pool(x, (2, 2), stride=1)
    assert_same_bits(pw.max_blur_pool(x, (2, 2)), pw.blur_pool(peaks, (3, 3)))
    values, indices = pw.max_pool_with_indices(x, (2, 3))
    assert_same_bits(values, pw.max_pool(x, (2, 3)))
    assert np.array_equal(x.reshape(2, -1)[np.arange(2)[:, None], indices.reshape(2, -1)].reshape(values.shape), values)


def test_expected_answers_are_cached_by_value() -> None:
    """The shared table of answers gives the same arrays again: a test that writes into them would show here."""
    first = expected_of("max", "plain", "float32", "ties")
    assert np.array_equal(bits(first[2]), bits(reference.forward(first[0], first[1])))
