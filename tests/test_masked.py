"""Masked pooling against windows listed one by one, in plain NumPy and plain torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from cases import CASES, VARIANTS, Case, Variant, dtypes_of, numpy_dtype, pairs, problem_of
from helpers import (
    Guarded,
    assert_refused,
    assert_same_bits,
    assert_within,
    distinct,
    exact,
    magnitude,
    sample,
    seeded,
    to_framework,
    to_numpy,
)
from oracles import directional_difference
from tolerances import allowed

import poolwise as pw
from poolwise import execute
from poolwise.masked.compose import recipe_of
from poolwise.spec import FLOATS, INTEGERS, Params, PoolOp

Array = Any
SERVED = [(v, c) for v, c in pairs() if not v.options.get("rescale")]
FEW = ("overlap", "adaptive", "channels-last", "ceil-padded", "global", "fractional")


def options_of(variant: Variant, case: Case) -> tuple[Callable[..., Any], dict[str, Any], float | None]:
    """The function to mask, its keywords, and the value of windows without elements."""
    function, options = case.call(variant)
    empty = options.pop("empty", None)
    return function, options, empty


def some_mask(rng: np.random.Generator, case: Case, axes: tuple[int, ...], kind: str) -> np.ndarray:
    """Half of the elements, in clumps that leave windows empty; for all planes alike or each its own."""
    lengths = {
        "own": case.shape,
        "shared": tuple(n if axis in axes else 1 for axis, n in enumerate(case.shape)),
        "pooled": tuple(case.shape[axis] for axis in axes),
        "none": case.shape,
    }[kind]
    mask = rng.random(lengths) < (0.0 if kind == "none" else 0.5)
    if kind != "none" and mask.ndim:
        mask[..., : mask.shape[-1] // 3] &= rng.random((*lengths[:-1], 1)) < 0.4
    return mask


def full(mask: np.ndarray, shape: tuple[int, ...], axes: tuple[int, ...]) -> np.ndarray:
    """The mask with every axis of the array in full."""
    if mask.ndim != len(shape):
        mask = mask.reshape([shape[axis] if axis in axes else 1 for axis in range(len(shape))])
    return np.broadcast_to(mask, shape)


def positions(problem: Any) -> Iterator[tuple[tuple[int, ...], list[tuple[int, ...]], list[Fraction], int]]:
    """Per output: where its elements are, their weights, and how many positions lie on explicit padding."""
    axes = problem.windows.axes
    padded = problem.windows.divisor(True) - problem.windows.divisor(False)
    if problem.op.name != "blur":
        for index, ranges in problem.windows.each():
            at = list(itertools.product(*ranges))
            yield index, at, [Fraction(1)] * len(at), int(padded[index])
        return
    rows = [[Fraction(math.comb(a.window - 1, j), 2 ** (a.window - 1)) for j in range(a.window)] for a in axes]
    weights = [math.prod(taps) for taps in itertools.product(*rows)]
    tables = [axis.positions(problem.border) for axis in axes]
    for index in np.ndindex(*problem.windows.shape):
        nominal = list(itertools.product(*(table[i].tolist() for table, i in zip(tables, index, strict=True))))
        real = [number for number, at in enumerate(nominal) if min(at) >= 0]
        yield index, [nominal[number] for number in real], [weights[number] for number in real], 0


def answer(problem: Any, values: list[Any], weights: list[Fraction], beyond: Any) -> Any:
    """What a window gives that holds these elements, `beyond` the weight of what counts as zeros."""
    name, params = problem.op.name, problem.params
    if name in ("max", "min"):
        nan = [v for v in values if v != v]
        return nan[0] if nan else (max if name == "max" else min)(values)
    whole = not problem.dtype.startswith(("float", "bfloat"))
    if whole and name == "median":
        ordered, n = sorted(int(v) for v in values), len(values)
        return round(Fraction(ordered[(n - 1) // 2] + ordered[n // 2], 2))
    if whole:
        total = Fraction(
            sum(int(v) for v in values), 1 if name == "sum" else params.divisor or len(values) + int(beyond)
        )
        return float(total) if problem.out_dtype.startswith("float") else round(total)
    wide = np.array(values).astype(np.longdouble)
    if name == "sum":
        return wide.sum()
    if name == "avg":
        return wide.sum() / (params.divisor or len(values) + int(beyond))
    if name == "median":
        return np.median(wide)
    if name == "blur":
        share = np.array([float(w) for w in weights], np.longdouble)
        return (wide * share).sum() / (share.sum() + np.longdouble(float(beyond)))
    p = params.p
    if math.isinf(p):
        return np.abs(wide).max()
    if not params.signed:
        return (np.abs(wide) ** np.longdouble(p)).sum() ** (1 / np.longdouble(p))
    total = (np.sign(wide) * np.abs(wide) ** np.longdouble(p)).sum()
    return np.sign(total) * np.abs(total) ** (1 / np.longdouble(p))


def brute(problem: Any, x: np.ndarray, present: np.ndarray, fill: float) -> np.ndarray:
    """Every window of every plane, looked at by itself."""
    y = np.empty(problem.out_shape, object)
    n = x.ndim - len(problem.axes)
    source, there, target = (np.moveaxis(a, problem.axes, range(n, x.ndim)) for a in (x, present, y))
    for index, at, weights, padded in positions(problem):
        for plane in np.ndindex(*source.shape[:n]):
            kept = [(source[plane + p], w) for p, w in zip(at, weights, strict=True) if there[plane + p]]
            beyond: Any = padded if problem.count_include_pad else 0
            if problem.op.name == "blur" and problem.count_include_pad:
                beyond = 1 - sum(weights)
            values = [v for v, _ in kept]
            target[plane + index] = answer(problem, values, [w for _, w in kept], beyond) if kept else fill
    if problem.out_dtype.startswith(("float", "bfloat")) and not problem.op.traits.picks:
        return y.astype(np.longdouble)
    return y.astype(numpy_dtype(problem.out_dtype))


def assert_masked(problem: Any, x: np.ndarray, got: Array, expected: np.ndarray) -> None:
    """As unmasked: bits, or the table of tolerances. A blur in float64 loses what it subtracts."""
    assert to_numpy(got).dtype.name == problem.out_dtype
    if exact(problem):
        assert_same_bits(got, expected)
        return
    taps, size = magnitude(problem, x)
    error = allowed(problem.op.name, problem.out_dtype, expected, taps, size)
    if problem.op.name == "blur" and recipe_of(problem) is not None:
        error = error + 2.0 ** (sum(axis.window - 1 for axis in problem.windows.axes) - 52) * size * taps
    assert_within(got, expected, error)


def poisoned(x: np.ndarray, present: np.ndarray) -> np.ndarray:
    """The array with rubbish where elements do not count."""
    if x.dtype == bool or np.issubdtype(x.dtype, np.integer):
        rubbish = np.where(np.arange(x.size).reshape(x.shape) % 2, ~x, x)
        return np.where(present, x, rubbish).astype(x.dtype)
    rubbish = np.array([np.nan, np.inf, -np.inf, 1e4], x.dtype)[np.arange(x.size).reshape(x.shape) % 4]
    return np.where(present, x, rubbish).astype(x.dtype)


def run_case(variant: Variant, case: Case, dtype: str, framework: str, kind: str, mask_kind: str, nan: str) -> None:
    rng = seeded(variant.id, case.id, dtype, kind, mask_kind)
    problem = problem_of(case, variant, dtype)
    function, options, empty = options_of(variant, case)
    floating = dtype in FLOATS
    mask = some_mask(rng, case, problem.axes, mask_kind)
    present = full(mask, case.shape, problem.axes)
    x = sample(rng, case.shape, dtype, kind)
    if not floating and (variant.op == "sum" or "divisor" in variant.options):  # results that fit the dtype
        x = x % np.asarray(2, x.dtype)
    x = poisoned(x, present)
    if nan == "omit" and floating:
        present = present & ~np.isnan(x)
    if not floating and empty is None:
        empty = 1
    with np.errstate(all="ignore"):
        expected = brute(problem, x, present, math.nan if empty is None else empty)
    source, masking = Guarded(x, framework), Guarded(mask, framework)
    got = pw.masked_pool(function, source.array, mask=masking.array, nan=nan, empty=empty, **options)
    source.assert_unmodified()
    masking.assert_unmodified()
    assert_masked(problem, np.where(present, x, 0).astype(x.dtype), got, expected)


@pytest.mark.parametrize(("variant", "case"), SERVED, ids=lambda value: value.id)
def test_every_operator_over_every_windows(variant: Variant, case: Case, framework: str) -> None:
    number = next(i for i, (v, c) in enumerate(SERVED) if v is variant and c is case)
    mask_kind = ("own", "shared", "pooled")[number % 3]
    run_case(variant, case, "float32", framework, "spread", mask_kind, "propagate")


@pytest.mark.parametrize("case_id", FEW[1:3])
@pytest.mark.parametrize(("variant", "dtype"), [(v, d) for v in VARIANTS[:9] for d in dtypes_of(v)], ids=str)
def test_every_dtype(variant: Variant, case_id: str, dtype: str, framework: str) -> None:
    case = next(c for c in CASES if c.id == case_id)
    if not case.serves(variant):
        return
    run_case(variant, case, dtype, framework, "spread", "own", "propagate")
    run_case(variant, case, dtype, framework, "ties", "shared", "omit")


@pytest.mark.parametrize("case_id", FEW)
@pytest.mark.parametrize("op", [op.name for op in pw.OPS])
@pytest.mark.parametrize("mask_kind", ["own", "pooled", "none"])
def test_special_values(op: str, case_id: str, mask_kind: str, framework: str) -> None:
    """NaN that counts wins or is left out, infinities are values, masks may leave nothing."""
    variant, case = Variant(op), next(c for c in CASES if c.id == case_id)
    if not case.serves(variant):
        return
    for nan in ("propagate", "omit"):
        run_case(variant, case, "float32", framework, "special", mask_kind, nan)
        run_case(variant, case, "float64", framework, "ties", mask_kind, nan)


@pytest.mark.parametrize("case_id", FEW[:3])
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda value: value.id)
def test_gathered_is_the_same(variant: Variant, case_id: str, framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What operators that are not composed run on serves all of them, planes and rows of outputs cut into chunks too."""
    case = next(c for c in CASES if c.id == case_id)
    if not case.serves(variant) or variant.options.get("rescale"):
        return
    monkeypatch.setattr("poolwise.masked.verb.recipe_of", lambda problem: None)
    run_case(variant, case, "float32", framework, "spread", "own", "omit")
    monkeypatch.setattr("poolwise.backends.generic.CHUNK_ELEMENTS", 50)
    run_case(variant, case, "float32", framework, "spread", "shared", "propagate")


def torch_brute(problem: Any, x: torch.Tensor, present: np.ndarray, fill: float) -> torch.Tensor:
    """One plane at a time in torch's own operations, whose autograd is the gradient."""
    n, name = x.ndim - len(problem.axes), problem.op.name
    source = x.movedim(problem.axes, tuple(range(n, x.ndim)))
    there = np.moveaxis(present, problem.axes, range(n, x.ndim))
    found = torch.zeros([*source.shape[:n], *problem.windows.shape], dtype=x.dtype).tolist()
    parts = []
    for plane in np.ndindex(*source.shape[:n]):
        for _, at, weights, padded in positions(problem):
            kept = [(source[plane + p], float(w)) for p, w in zip(at, weights, strict=True) if there[plane + p]]
            if not kept:
                parts.append(torch.tensor(fill, dtype=x.dtype))
                continue
            v = torch.stack([value for value, _ in kept])
            w = torch.tensor([weight for _, weight in kept], dtype=x.dtype)
            n_counted = len(kept) + (padded if problem.count_include_pad else 0)
            parts.append(
                {
                    "max": lambda v=v: v[torch.argmax(v)],
                    "min": lambda v=v: v[torch.argmin(v)],
                    "sum": v.sum,
                    "avg": lambda v=v, n=n_counted: v.sum() / n,
                    "lp": lambda v=v: (v.abs() ** problem.params.p).sum() ** (1 / problem.params.p),
                    "blur": lambda v=v, w=w: (v * w).sum() / w.sum(),
                    "median": lambda v=v: torch.sort(v)[0][[(len(v) - 1) // 2, len(v) // 2]].mean(),
                }[name]()
            )
    assert len(parts) == np.size(found)
    y = torch.stack(parts).reshape([*source.shape[:n], *problem.windows.shape])
    return y.movedim(tuple(range(n, x.ndim)), problem.axes)


@pytest.mark.parametrize("case_id", FEW[:4])
@pytest.mark.parametrize("variant", [*VARIANTS[:8], Variant("lp", {"p": 3.0})], ids=lambda value: value.id)
def test_gradient(variant: Variant, case_id: str) -> None:
    """That of a brute force in torch; exactly 0 where an element does not count, whatever it is."""
    case = next(c for c in CASES if c.id == case_id)
    if not case.serves(variant):
        return
    rng = seeded(variant.id, case_id)
    problem = problem_of(case, variant, "float64")
    function, options, _ = options_of(variant, case)
    mask = some_mask(rng, case, problem.axes, "own")
    clean = distinct(rng, case.shape)
    rough = torch.tensor(poisoned(clean, mask), requires_grad=True)
    plain = torch.tensor(clean, requires_grad=True)
    y = pw.masked_pool(function, rough, mask=torch.from_numpy(mask), **options)
    expected = torch_brute(problem, plain, mask, math.nan)
    torch.testing.assert_close(y, expected, equal_nan=True, rtol=1e-12, atol=1e-12)
    gy = torch.from_numpy(rng.standard_normal(problem.out_shape))
    (got,) = torch.autograd.grad(y, rough, gy)
    (wanted,) = torch.autograd.grad(expected, plain, gy)
    torch.testing.assert_close(got, wanted, rtol=1e-11, atol=1e-11)
    assert (got[torch.from_numpy(~mask)] == 0).all()
    assert mask.any() and not mask.all()


@pytest.mark.parametrize("variant", [*VARIANTS[:7], Variant("lp", {"p": 3.0})], ids=lambda value: value.id)
def test_gradcheck(variant: Variant) -> None:
    case = next(c for c in CASES if c.id == "overlap")
    rng = seeded(variant.id)
    function, options, _ = options_of(variant, case)
    mask = torch.from_numpy(some_mask(rng, case, (1, 2), "own"))
    x = torch.tensor(distinct(rng, case.shape), requires_grad=True)

    def call(x: torch.Tensor) -> torch.Tensor:
        return pw.masked_pool(function, x, mask=mask, empty=2.0, **options)

    assert torch.autograd.gradcheck(call, (x,))
    assert torch.autograd.gradgradcheck(call, (x,))


@pytest.mark.parametrize(("op", "worst"), [("max", -math.inf), ("min", math.inf)])
def test_only_the_worst_counts(op: str, worst: float, framework: str) -> None:
    """A window of -inf alone is not an empty one, and the first that counts has the gradient."""
    x = np.array([5.0, worst, worst, worst, 1.0, worst])
    mask = np.array([False, True, True, False, False, False])
    pool = getattr(pw, f"{op}_pool")
    y = pw.masked_pool(pool, to_framework(x, framework), 3, mask=to_framework(mask, framework))
    np.testing.assert_array_equal(to_numpy(y), [worst, np.nan])
    if framework == "torch":
        leaf = torch.tensor(x, requires_grad=True)
        y = pw.masked_pool(pool, leaf, 3, mask=torch.from_numpy(mask), empty=0)
        y.backward(torch.tensor([2.0, 3.0]))
        np.testing.assert_array_equal(leaf.grad.numpy(), [0, 2, 0, 0, 0, 0])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("verb", ["avg", "blur", "lp", "median"])
def test_means_of_large_elements_are_finite(verb: str, dtype: str, framework: str) -> None:
    largest = {"float16": 65504.0, "bfloat16": 2.0**127, "float32": 3e38, "float64": 1.7e308}[dtype]
    x = np.full((1, 9), largest).astype(numpy_dtype(dtype))
    if verb == "lp":
        x = x / np.asarray(4, x.dtype)
    mask = np.array([[1, 1, 1, 1, 1, 1, 0, 0, 1]], bool)
    options = {"padding": 0} if verb == "blur" else {}
    y = pw.masked_pool(
        pw.pool, to_framework(x, framework), verb, (1, 3), stride=3, mask=to_framework(mask, framework), **options
    )
    expected = x[:, ::3] if verb != "lp" else x[:, ::3].astype(np.longdouble) * np.sqrt([3, 3, 1])
    np.testing.assert_allclose(to_numpy(y).astype(np.longdouble), expected.astype(np.longdouble), rtol=4e-3)
    assert np.isfinite(to_numpy(y).astype(np.float64)).all()


def test_a_mask_of_true_changes_nothing(framework: str) -> None:
    rng = seeded("true")
    x = rng.standard_normal((2, 3, 9, 8)).astype(np.float32)
    for op in ("max", "min", "sum", "lp", "median", "avg"):
        options = {"window": (3, 3), "stride": 2, "padding": 1}
        plain = pw.pool(to_framework(x, framework), op, **options)
        for lengths in ((2, 1, 9, 8), (1, 1, 1, 1), (9, 8), (2, 3, 9, 8)):
            mask = to_framework(np.ones(lengths, bool), framework)
            assert_same_bits(
                pw.masked_pool(pw.pool, to_framework(x, framework), op, mask=mask, **options), to_numpy(plain)
            )
        nan = pw.masked_pool(pw.pool, to_framework(x, framework), op, nan="omit", **options)
        assert_same_bits(nan, to_numpy(plain))


@pytest.mark.parametrize("dtype", ["int64", "uint64", "int32", "uint8"])
def test_averages_of_integers_are_exact(dtype: str, framework: str) -> None:
    """At the ends of the dtype, in it and in float64; halves to even."""
    info = np.iinfo(dtype)
    x = np.array([info.max, info.max, info.min, info.max, info.max - 1, info.max, 1, 2, 9], dtype)
    mask = np.array([1, 1, 0, 1, 1, 0, 1, 1, 0], bool)
    arrays = to_framework(x, framework), {"mask": to_framework(mask, framework)}
    pairs_kept = [[int(v) for v, m in zip(x[i : i + 3], mask[i : i + 3], strict=True) if m] for i in (0, 3, 6)]
    y = pw.masked_pool(pw.avg_pool, arrays[0], 3, empty=0, **arrays[1])
    assert [int(v) for v in to_numpy(y)] == [round(Fraction(sum(kept), 2)) for kept in pairs_kept]
    y = pw.masked_pool(pw.avg_pool, arrays[0], 3, dtype="float64", **arrays[1])
    assert to_numpy(y).tolist() == [float(Fraction(sum(kept), 2)) for kept in pairs_kept]


def test_sums_that_do_not_fit_are_refused(framework: str) -> None:
    x, mask = np.array([200, 100, 9, 250], np.uint8), np.array([True, True, False, True])
    arrays = to_framework(x, framework), to_framework(mask, framework)
    assert_refused(lambda: pw.masked_pool(pw.sum_pool, arrays[0], 2, mask=arrays[1], empty=0))
    y = pw.masked_pool(pw.sum_pool, arrays[0], 2, mask=arrays[1], empty=0, dtype="int64")
    assert to_numpy(y).tolist() == [300, 250]


def test_dtype_of_averages(framework: str) -> None:
    x, mask = np.array([1.5, 2.5, np.nan, 7.0], np.float32), np.array([True, True, False, True])
    for dtype in ("float16", "float32", "float64"):
        y = pw.masked_pool(pw.avg_pool, to_framework(x, framework), 2, mask=to_framework(mask, framework), dtype=dtype)
        assert_same_bits(y, np.array([2.0, 7.0], dtype))


def test_more_elements_than_float32_counts() -> None:
    """One more counts than an even number, which float32 would round to."""
    x = np.ones((1 << 24) + 4)
    mask = np.ones(x.shape, bool)
    mask[5] = False
    assert pw.masked_pool(pw.global_avg_pool, x, mask=mask).tolist() == [1.0]


def first_and_mean(xp: Any, taps: Any, params: Params) -> Array:
    """An operator that leans on what taps promise: the first is valid, `divisor` counts them."""
    v = xp.where(taps.valid, taps.values, xp.zeros_like(taps.values))
    return taps.values[..., 0] + xp.sum(v, axis=-1) / xp.astype(taps.divisor, v.dtype)


OWN = PoolOp(
    name="own", summary="the first element plus the mean", family="combine", forward=first_and_mean,
    vjp=lambda xp, taps, params, y, gy: taps.values, wide=FLOATS,
)  # fmt: skip


def test_an_operator_of_ones_own(framework: str) -> None:
    x, mask = np.array([9.0, 2.0, 4.0, 1.0, np.inf, np.nan, 5.0, 6.0, 7.0]), np.array([0, 1, 1, 1, 0, 0, 0, 0, 0], bool)
    arrays = to_framework(x, framework), to_framework(mask, framework)
    y = pw.masked_pool(pw.pool, arrays[0], OWN, 3, mask=arrays[1], empty=-1)
    np.testing.assert_array_equal(to_numpy(y), [5.0, 2.0, -1.0])


@pytest.mark.parametrize("layout", ["channels last", "reversed", "broadcast", "C"])
@pytest.mark.parametrize("op", ["max", "avg", "lp", "blur"])
def test_layouts(op: str, layout: str, framework: str) -> None:
    """Any strides in; memory order as of the plain pooling out."""
    rng = seeded(layout, op)
    x = rng.standard_normal((2, 4, 9, 8)).astype(np.float32)
    if layout == "channels last":
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    elif layout == "reversed" and framework == "numpy":
        x = x[..., ::-1]
    elif layout == "broadcast":
        x = np.broadcast_to(x[:, :1], x.shape)
    mask = rng.random((2, 1, 9, 8)) < 0.6
    options = {"window": (3, 3), "stride": 2, "padding": 1}
    arrays = to_framework(x, framework), to_framework(mask, framework)
    y = pw.masked_pool(pw.pool, arrays[0], op, mask=arrays[1], **options)
    plain = pw.masked_pool(pw.pool, to_framework(np.ascontiguousarray(x), framework), op, mask=arrays[1], **options)
    assert_same_bits(y, to_numpy(plain))
    if layout != "broadcast":
        assert to_numpy(y).strides == to_numpy(pw.pool(arrays[0], op, **options)).strides


def test_empty_arrays(framework: str) -> None:
    for op in ("max", "avg", "median", "blur", "lp"):
        x, mask = to_framework(np.ones((0, 3, 4, 4), np.float32), framework), np.ones((1, 1, 4, 4), bool)
        y = pw.masked_pool(pw.pool, x, op, (2, 2), stride=2, padding=0, mask=to_framework(mask, framework))
        assert tuple(y.shape) == (0, 3, 2, 2)


def test_backends_that_are_insisted_on(backend: str, framework: str) -> None:
    x, mask = np.arange(8.0), np.arange(8) % 3 > 0
    arrays = to_framework(x, framework), to_framework(mask, framework)
    for op in ("max", "avg", "blur"):
        y = pw.masked_pool(pw.pool, arrays[0], op, 2, stride=2, padding=0, mask=arrays[1], backend=backend)
        np.testing.assert_array_equal(to_numpy(y), to_numpy(pw.masked_pool(
            pw.pool, arrays[0], op, 2, stride=2, padding=0, mask=arrays[1])))  # fmt: skip
    if backend == "cpu":
        assert_refused(lambda: pw.masked_pool(pw.median_pool, arrays[0], 2, mask=arrays[1], backend=backend))


IMAGE, MASK = np.ones((2, 3, 8)), np.ones((2, 1, 8), bool)
BAD: dict[str, Callable[[], Any]] = {
    "not a pooling": lambda: pw.masked_pool(np.max, IMAGE, 2, mask=MASK),
    "two poolings": lambda: pw.masked_pool(pw.max_blur_pool, IMAGE, (2,), mask=MASK),
    "no function": lambda: pw.masked_pool(IMAGE, "max", (2,), mask=MASK),
    "indices": lambda: pw.masked_pool(pw.max_pool_with_indices, IMAGE, (2,), mask=MASK),
    "out": lambda: pw.masked_pool(pw.max_pool, IMAGE, (2,), mask=MASK, out=np.empty((2, 3, 4))),
    "an axis short": lambda: pw.masked_pool(pw.max_pool, IMAGE, (2,), mask=MASK[:, 0]),
    "an axis short that would broadcast": lambda: pw.masked_pool(pw.max_pool, np.ones((3, 3, 8)), (2,), mask=np.ones((3, 8), bool)),
    "too long": lambda: pw.masked_pool(pw.max_pool, IMAGE, (2,), mask=np.ones((2, 2, 8), bool)),
    "too many axes": lambda: pw.masked_pool(pw.max_pool, IMAGE, (2,), mask=MASK[None]),
    "pooled axes of another length": lambda: pw.masked_pool(pw.max_pool, IMAGE, (2,), mask=np.ones(7, bool)),
    "floats": lambda: pw.masked_pool(pw.max_pool, IMAGE, (2,), mask=MASK.astype(float)),
    "bytes": lambda: pw.masked_pool(pw.max_pool, IMAGE, (2,), mask=MASK.view(np.uint8)),
    "a list": lambda: pw.masked_pool(pw.max_pool, IMAGE[0, 0], 2, mask=[True] * 8),
    "a bool": lambda: pw.masked_pool(pw.max_pool, IMAGE, (2,), mask=True),
    "a masked mask": lambda: pw.masked_pool(pw.max_pool, IMAGE, (2,), mask=np.ma.array(MASK)),
    "of another framework": lambda: pw.masked_pool(pw.max_pool, IMAGE, (2,), mask=torch.from_numpy(MASK)),
    "on another device": lambda: pw.masked_pool(pw.max_pool, torch.ones(8), 2, mask=torch.ones(8, dtype=torch.bool, device="meta")),
    "unknown nan": lambda: pw.masked_pool(pw.max_pool, IMAGE, (2,), nan="ignore"),
    "nan of no text": lambda: pw.masked_pool(pw.max_pool, IMAGE, (2,), nan=True),
    "integers without empty": lambda: pw.masked_pool(pw.max_pool, IMAGE.astype(int), (2,), mask=MASK),
    "an integer average": lambda: pw.masked_pool(pw.avg_pool, IMAGE.astype(int), (2,), mask=MASK),
    "empty that does not fit": lambda: pw.masked_pool(pw.max_pool, IMAGE.astype(np.uint8), (2,), mask=MASK, empty=300),
    "windows on padding only": lambda: pw.masked_pool(pw.max_pool, IMAGE, (2,), padding=2, mask=MASK),
    "rescale": lambda: pw.masked_pool(pw.pool, IMAGE, "lp", (2,), rescale=True, mask=MASK),
    "unknown backend": lambda: pw.masked_pool(pw.max_pool, IMAGE, (2,), mask=MASK, backend="fpga"),
    "no axes": lambda: pw.masked_pool(pw.global_max_pool, IMAGE, mask=MASK),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_refusals(name: str) -> None:
    assert_refused(BAD[name])


def test_integers_need_no_empty_where_no_element_can_be_missing() -> None:
    x = np.arange(6)
    assert pw.masked_pool(pw.max_pool, x, 2, nan="omit").tolist() == [1, 3, 5]
    assert pw.masked_pool(pw.max_pool, x, 2).tolist() == [1, 3, 5]


def test_functions_of_every_kind() -> None:
    """Named functions and verbs, windows given by position or by keyword."""
    x, mask = np.array([[1.0, 2.0, 3.0, 40.0]]), np.array([[True, True, True, False]])
    assert pw.masked_pool(pw.avg_pool, x, (1, 2), mask=mask).tolist() == [[1.5, 3.0]]
    assert pw.masked_pool(pw.pool, x, op="avg", window=(1, 2), mask=mask).tolist() == [[1.5, 3.0]]
    assert pw.masked_pool(pw.adaptive_avg_pool, x, (1, 2), mask=mask).tolist() == [[1.5, 3.0]]
    assert pw.masked_pool(pw.adaptive_pool, x, "sum", (None, 1), mask=mask).tolist() == [[6.0]]
    assert pw.masked_pool(pw.global_max_pool, x, axes=(0, 1), mask=mask).tolist() == [[3.0]]
    assert pw.masked_pool(pw.fractional_pool, x, "max", (1, 2), draws=0.3, mask=mask).shape == (1, 2)


def test_calls_are_explained_and_not_remembered() -> None:
    x, mask = np.ones((1, 2, 8, 8), np.float32), np.ones((1, 1, 8, 8), bool)
    explained = pw.explain(lambda x: pw.masked_pool(pw.avg_pool, x, (2, 2), mask=mask), x).as_dict()["calls"]
    assert {call["operator"] for call in explained} == {"sum", "avg"}
    explained = pw.explain(lambda x: pw.masked_pool(pw.median_pool, x, (2, 2), mask=mask), x).as_dict()["calls"]
    assert [(call["operator"], call["backend"]) for call in explained] == [("median", "generic")]
    assert_refused(lambda: pw.vjp(lambda x: pw.masked_pool(pw.median_pool, x, (2, 2), mask=mask), x))
    execute._shortcuts.clear()
    for lengths in (mask, ~mask):
        y = pw.masked_pool(pw.max_pool, x, (2, 2), mask=lengths)
    assert np.isnan(y).all()


def test_vmap_and_func_grad() -> None:
    """Under torch's transforms, where no element can be looked at."""
    x = torch.tensor([[1.0, -math.inf, 3.0, 4.0], [5.0, 6.0, math.nan, 2.0]])
    mask = torch.tensor([[True, True, False, True], [False, True, True, True]])

    def total(x: torch.Tensor, mask: torch.Tensor, op: str) -> torch.Tensor:
        return pw.masked_pool(pw.pool, x, op, 2, mask=mask, nan="omit", empty=0).sum()

    for op in ("max", "avg", "median", "lp"):
        if op != "max":
            x = x.nan_to_num(neginf=1.0).where(~x.isnan(), torch.nan)
        mapped = torch.func.vmap(torch.func.grad(lambda x, m, op=op: total(x, m, op)))(x, mask)
        for row, m, got in zip(x, mask, mapped, strict=True):
            leaf = row.clone().requires_grad_()
            total(leaf, m, op).backward()
            torch.testing.assert_close(got, leaf.grad)


def test_only_minus_infinity_counts_under_vmap() -> None:
    """Whether any window is such cannot be asked there; the gradient is right all the same."""
    x = torch.tensor([[5.0, -math.inf], [1.0, 2.0]])
    mask = torch.tensor([[False, True], [True, True]])

    def largest(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return pw.masked_pool(pw.max_pool, x, 2, mask=mask, empty=0).sum()

    mapped = torch.func.vmap(torch.func.grad(largest))(x, mask)
    np.testing.assert_array_equal(mapped.numpy(), [[0, 1], [0, 1]])


def test_an_operator_of_ones_own_has_a_gradient() -> None:
    """Of what does not count nothing is met, not even by an operator whose slope there would be NaN."""
    root = PoolOp(
        name="root", summary="the sum of square roots", family="combine", wide=FLOATS,
        forward=lambda xp, taps, params: xp.sum(xp.where(taps.valid, taps.values**0.5, xp.zeros_like(taps.values)), axis=-1),
        vjp=lambda xp, taps, params, y, gy: gy[..., None] / (2 * taps.values**0.5),
    )  # fmt: skip
    x = torch.tensor([4.0, -1.0, math.nan, 16.0, 9.0, 1.0], requires_grad=True)
    mask = torch.tensor([True, False, False, True, True, False])
    with np.errstate(all="ignore"):
        y = pw.masked_pool(pw.pool, x, root, 2, mask=mask, empty=0)
    y.sum().backward()
    np.testing.assert_array_equal(y.detach().numpy(), [2.0, 4.0, 3.0])
    np.testing.assert_allclose(x.grad.numpy(), [1 / 4, 0, 0, 1 / 8, 1 / 6, 0], rtol=1e-6)


def test_numpy_gradient_by_differences() -> None:
    """The chain behind a masked mean, end to end, along a direction."""
    rng = seeded("direction")
    x, d, gy = (rng.standard_normal(n) for n in (9, 9, 3))
    mask = torch.tensor([1, 1, 0, 1, 0, 0, 1, 1, 1], dtype=torch.bool)
    leaf = torch.tensor(x, requires_grad=True)
    pw.masked_pool(pw.avg_pool, leaf, 3, mask=mask).backward(torch.tensor(gy))
    slope = directional_difference(lambda x: pw.masked_pool(pw.avg_pool, x, 3, mask=mask.numpy()), x, gy, d, 1e-4)
    assert abs(slope - float((leaf.grad.numpy() * d).sum())) < 1e-9


def test_what_is_composed() -> None:
    """`recipe_of` says which calls are composed: every one that a kernel makes quick, but for exactness."""
    cases = {case.id: case for case in CASES}
    for op in ("max", "min", "sum", "lp", "avg", "blur"):
        assert recipe_of(problem_of(cases["overlap"], Variant(op), "float32")) is not None
    for dtype in INTEGERS:
        composed = recipe_of(problem_of(cases["overlap"], Variant("avg"), dtype)) is not None
        assert composed == (dtype not in ("int64", "uint64"))
    assert recipe_of(problem_of(cases["wide-offsets"], Variant("blur"), "float32")) is None
    assert recipe_of(problem_of(cases["overlap"], Variant("median"), "float32")) is None
