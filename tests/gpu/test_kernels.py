"""Every Triton kernel equals the reference: values, offsets, indices, gradients, layouts. Interpreter or GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import CASES, VARIANTS, Case, Variant, dtypes_of, pairs
from helpers import assert_forward, assert_gradient, assert_same_bits, bits, expected_of, sample, to_framework, to_numpy

import poolwise as pw
from poolwise.arrays import memory_order
from poolwise.backends.generic import GenericKernel
from poolwise.backends.triton import TRITON
from poolwise.dispatch import plan

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from poolwise.torch._framework import TORCH  # noqa: E402

SERVED = ("max", "min", "avg", "sum", "lp", "blur", "median")
PAIRS = [(v, c) for v, c in pairs() if v.op in SERVED]
FEW = [(v, c) for v, c in PAIRS if not v.options and c.id in ("overlap", "adaptive", "1d", "channels-last")]


def on(x: np.ndarray, device: str) -> Any:
    return to_framework(x, "torch").to(device)


def back(x: Any) -> np.ndarray:
    return to_numpy(x.cpu())


def assert_kernel_equals_reference(variant: Variant, case: Case, dtype: str, kind: str, device: str) -> None:
    problem, x, y, chosen, gy, gx = expected_of(variant.id, case.id, dtype, kind)
    if TRITON.why_not(problem, device) is not None:
        pytest.skip(f"left to the definition: {TRITON.why_not(problem, device)}")
    kernel = plan(problem, device, "triton").kernel
    what = f"{variant.id} {case.id} {dtype} {kind}"
    array = on(x, device)
    got, residual = kernel.forward(TORCH, array, None, False)
    assert_forward(problem, x, back(got), y, what)
    got, residual = kernel.forward(TORCH, array, None, True)
    assert_forward(problem, x, back(got), y, f"{what} saving")
    if chosen is not None:
        assert_same_bits(back(kernel.indices(TORCH, residual)), chosen, f"{what} indices")
        assert back(residual.arrays[0]).dtype.name == problem.offset_dtype
    if gx is not None and kind != "special":
        assert_gradient(problem, gy, back(kernel.backward(TORCH, on(gy, device), residual)), gx, f"{what} gradient")
    assert (bits(back(array)) == bits(x)).all(), f"{what}: the input was modified"


@pytest.mark.parametrize("variant,case", PAIRS, ids=lambda value: value.id)
def test_equals_the_reference(variant: Variant, case: Case, device: str) -> None:
    if device == "cpu" and case.id == "wide-offsets" and variant.op not in ("max", "min"):
        pytest.skip("an operator without offsets: on a GPU only, the interpreter takes a minute")
    assert_kernel_equals_reference(variant, case, "float32", "ties", device)
    if device == "cuda":
        assert_kernel_equals_reference(variant, case, "float32", "spread", device)
        assert_kernel_equals_reference(variant, case, "float64", "spread", device)


@pytest.mark.parametrize("variant,case", FEW, ids=lambda value: value.id)
def test_every_dtype(variant: Variant, case: Case, device: str) -> None:
    for dtype in dtypes_of(variant):
        compares = variant.op in ("max", "min") or (variant.op == "median" and case.id in ("overlap", "1d"))
        if compares or dtype.startswith(("float", "bfloat")):
            assert_kernel_equals_reference(variant, case, dtype, "spread", device)


@pytest.mark.parametrize("variant,case", FEW, ids=lambda value: value.id)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_special_values(variant: Variant, case: Case, dtype: str, device: str) -> None:
    """NaN, infinities and signed zeros."""
    assert_kernel_equals_reference(variant, case, dtype, "special", device)


LARGE = [
    ("max", {"window": (9, 7), "stride": (2, 1), "padding": (4, 3)}),
    ("min", {"window": (7, 7), "stride": 1, "padding": 3}),
    ("avg", {"window": (9, 7), "stride": (2, 1), "padding": (4, 3)}),
    ("avg", {"window": (9, 7), "stride": 3, "padding": 3, "count_include_pad": True, "ceil_mode": True}),
    ("sum", {"window": (11, 3), "stride": 1}),
    ("lp", {"window": (7, 7), "stride": 2, "padding": 3}),
    ("lp", {"window": (7, 7), "stride": 2, "p": 5.0}),
    ("avg", {"window": (17, 40), "stride": (17, 40)}),
    ("max", {"window": (19, 41)}),
    ("max", {"window": (1, 41)}),
    ("avg", {"window": (40, 1), "stride": (20, 1), "dilation": (1, 1)}),
    ("max", {"window": (5, 6), "stride": 1, "dilation": (2, 3)}),
    ("blur", {"window": (9, 7), "stride": (2, 1)}),
    ("blur", {"window": (6, 31), "stride": (1, 3), "dilation": (2, 1), "border": "zeros"}),
    ("median", {"window": (10, 6), "stride": (5, 7), "dilation": (2, 3), "padding": (4, 2)}),
]
EXACT = ("max", "min", "median")


@pytest.mark.parametrize("op,options", LARGE, ids=str)
@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("kind", ["ties", "spread"])
def test_large_windows(op: str, options: dict[str, Any], last: bool, kind: str, device: str, rng: Any) -> None:
    """Windows that are taken axis by axis, or shared by lanes, equal the definition."""
    if device == "cpu" and last == (kind == "ties"):
        pytest.skip("this layout with this data: on a GPU only, the interpreter takes seconds for each")
    x = on(sample(rng, (1, 2, 41, 43), "float32", kind), device)
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    problem = pw.explain(lambda v: pw.pool(v, op, **options), x).steps[0].problem
    kernel, definition = plan(problem, device, "triton").kernel, GenericKernel(problem)
    y, residual = kernel.forward(TORCH, x, None, True)
    expected, kept = definition.forward(TORCH, x, None, True)
    # Not two rounded results: those of a sum that is nearly a tie may differ.
    exact = expected if op in EXACT else pw.pool(x.double(), op, backend="generic", **options)
    assert_forward(problem, back(x), back(y), back(exact))
    if op == "median":
        assert_same_bits(back(y), back(expected))
    if op in ("max", "min"):
        assert torch.equal(residual.arrays[0], kept.arrays[0]), "offsets differ"
    assert y.stride() == expected.stride()
    gy = on(sample(rng, problem.out_shape, "float32", "spread"), device)
    gx, expected = (k.backward(TORCH, gy, r) for k, r in ((kernel, residual), (definition, kept)))
    assert_gradient(problem, back(gy), back(gx), back(expected))


@pytest.mark.parametrize("op", SERVED)
def test_layouts(op: str, device: str, rng: Any) -> None:
    """Every memory layout gives the same bits, in the memory order of the input."""
    x = on(sample(rng, (2, 5, 7, 6), "float32", "spread"), device)
    wide = torch.zeros(2, 5, 15, 13, device=device)
    wide[..., ::2, ::2][..., :7, :6] = x
    layouts = {
        "first": x,
        "last": x.contiguous(memory_format=torch.channels_last),
        "permuted": x.permute(1, 0, 2, 3).contiguous().permute(1, 0, 2, 3),
        "rows-batch-columns": x.permute(2, 0, 3, 1).contiguous().permute(1, 3, 0, 2),
        "strided": wide[..., ::2, ::2][..., :7, :6],
    }
    options = {"window": (3, 2), "stride": 2, "padding": (1, 0)}
    problem = pw.explain(lambda v: pw.pool(v, op, **options), x).steps[0].problem
    kernel = plan(problem, device, "triton").kernel
    gy = on(sample(rng, problem.out_shape, "float32", "spread"), device)
    first = None
    for name, array in layouts.items():
        y, residual = kernel.forward(TORCH, array, None, True)
        gx = kernel.backward(TORCH, gy, residual)
        order = memory_order(tuple(array.shape), array.stride(), problem.axes)
        assert list(residual.order) == list(order)
        found = back(y), back(gx)
        first = first or found
        assert_same_bits(found[0], first[0], f"{op} {name}")
        assert_same_bits(found[1], first[1], f"{op} {name} gradient")


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v.op in SERVED and not v.options], ids=lambda v: v.id)
def test_the_same_bits_again(variant: Variant, device: str) -> None:
    case = next(c for c in CASES if c.id == "overlap")
    problem, x, _, _, gy, _ = expected_of(variant.id, case.id, "float32", "spread")
    kernel = plan(problem, device, "triton").kernel
    runs = []
    for _ in range(1000 if device == "cuda" else 2):
        y, residual = kernel.forward(TORCH, on(x, device), None, True)
        runs.append((y, kernel.backward(TORCH, on(gy, device), residual)))
    assert all(torch.equal(y, runs[0][0]) and torch.equal(gx, runs[0][1]) for y, gx in runs)


def both_ways(op: str, array: Any, options: dict[str, Any], device: str, rng: Any) -> tuple[np.ndarray, np.ndarray]:
    """Result and definition's; their gradients, where there are any, are compared."""
    problem = pw.explain(lambda v: pw.pool(v, op, **options), array).steps[0].problem
    kernel, definition = plan(problem, device, "triton").kernel, GenericKernel(problem)
    y, residual = kernel.forward(TORCH, array, None, True)
    if not array.dtype.is_floating_point:  # torch cannot gather every dtype
        return back(y), pw.pool(back(array), op, backend="generic", **options)
    expected, kept = definition.forward(TORCH, array, None, True)
    assert y.stride() == expected.stride()
    gy = on(sample(rng, problem.out_shape, problem.dtype, "spread"), device)
    gx, wanted = (k.backward(TORCH, gy, r) for k, r in ((kernel, residual), (definition, kept)))
    assert_gradient(problem, back(gy), back(gx.contiguous()), back(wanted.contiguous()), f"{op} {options} gradient")
    return back(y.contiguous()), back(expected.contiguous())


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float32", "float64"])
def test_medians_that_are_read_again_and_again(dtype: str, device: str, rng: Any) -> None:
    """Windows that no registers hold, of an odd and an even number of elements, have the definition's bits."""
    for window, kind in ((51, "spread"), (50, "special" if dtype.startswith("float") else "ties")):
        x = on(sample(rng, (2, 67), dtype, kind), device)
        options = {"window": (window,), "stride": 2, "padding": 20}
        assert_same_bits(*both_ways("median", x, options, device, rng), f"{dtype} {kind}")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_medians_of_special_values(dtype: str, device: str, rng: Any) -> None:
    """Zeros of both signs are ranked in scan order; gradients follow to NaN, to infinities and to equal elements."""
    for window in ((3, 3), (2, 4)) if dtype != "float32" else ((8, 7),):
        options = {"window": window, "stride": (2, 3), "padding": 1}
        x = sample(rng, (2, 14, 13), dtype, "special")
        zeros = np.where(rng.random(x.shape) < 0.5, -0.0, 0.0).astype(x.dtype)
        infinite = np.where(rng.random(x.shape) < 0.5, -np.inf, np.inf).astype(x.dtype)
        for array in (x, np.where(rng.random(x.shape) < 0.8, zeros, np.nan_to_num(x)).astype(x.dtype), infinite):
            assert_same_bits(*both_ways("median", on(array, device), options, device, rng), f"{dtype} {window}")


BLURS = [
    ((1, 9, 12), {"window": (3, 3), "stride": 2}),
    ((1, 7, 10), {"window": (4, 5), "stride": (1, 3), "padding": (5, 6)}),
    ((1, 9, 11), {"window": (3, 2), "stride": (1, 2), "dilation": (2, 3), "padding": (3, 2), "ceil_mode": True}),
    ((1, 3, 5), {"window": (9, 11), "stride": 1, "padding": (8, 9)}),
    ((1, 1, 40), {"window": (1, 33), "stride": (1, 4)}),
]


@pytest.mark.parametrize("border", ["reflect", "replicate", "circular", "zeros", "counted"])
def test_blurs_fold_every_border(border: str, device: str, rng: Any) -> None:
    """Padding may be longer than the axis; a constant comes back to the bit."""
    more = {"border": "zeros" if border == "counted" else border, "count_include_pad": border == "counted"}
    for shape, given in BLURS:
        options = {**given, **more}
        if border in ("zeros", "counted"):  # every window sees something
            options["padding"] = tuple(size // 2 for size in given["window"])
        for dtype in ("float64", "float16") if shape[2] < 12 else ("float32",):
            x = on(sample(rng, shape, dtype, "spread"), device)
            y, _ = both_ways("blur", x, options, device, rng)
            problem = pw.explain(lambda v, o=options: pw.pool(v, "blur", **o), x).steps[0].problem
            exact = pw.pool(x.double(), "blur", backend="generic", **options)
            assert_forward(problem, back(x), y, back(exact), f"{border} {dtype} {shape}")
            if border != "counted":
                constant = torch.full_like(x, 0.1)
                y = pw.pool(constant, "blur", backend="triton", **options)
                assert bool((y == constant.reshape(-1)[0]).all()), f"{border} {dtype} {shape}: not the constant"


@pytest.mark.parametrize("op", ["blur", "median"])
def test_axes_between_the_pooled_ones(op: str, device: str, rng: Any) -> None:
    """Three pooled axes that batch and channels lie between in memory."""
    x = on(sample(rng, (4, 2, 3, 3, 5), "float32", "spread"), device).permute(
        1, 3, 0, 2, 4
    )  # depth, batch, height, channels
    y, expected = both_ways(op, x, {"window": (2, 2, 3), "stride": (2, 1, 2), "padding": (0, 0, 1)}, device, rng)
    np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_empty_batches(device: str) -> None:
    x = torch.zeros(0, 3, 6, 6, device=device)
    y, residual = plan(
        pw.explain(lambda v: pw.pool(v, "max", (2, 2)), x).steps[0].problem, device, "triton"
    ).kernel.forward(TORCH, x, None, True)
    assert y.shape == (0, 3, 3, 3) and residual.arrays[0].shape == y.shape


def test_rejections_say_why(device: str) -> None:
    x = torch.zeros(2, 3, 6, 6, device=device)
    for op, options, reason in (
        ("lp", {"p": float("inf")}, "p = inf"),
        ("lp", {"p": 1, "signed": True}, "signed"),
    ):
        with pytest.raises(ValueError, match=reason):
            pw.pool(x, op, (2, 2), backend="triton", **options)
    with pytest.raises(ValueError, match="a median over more than 3 axes"):
        pw.pool(x, "median", (1, 1, 2, 2), backend="triton")
    with pytest.raises(ValueError, match="weights below"):
        pw.pool(x, "blur", (600, 600), stride=1, padding=300, border="zeros", backend="triton")
    with pytest.raises(ValueError, match="padding only"):
        pw.pool(x, "median", (2, 2), stride=1, padding=3, empty=0, backend="triton")
    with pytest.raises(ValueError, match="integers"):
        pw.pool(x.to(torch.int32), "avg", (2, 2), backend="triton")
