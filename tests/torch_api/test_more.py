"""What layers and functions take beside torch's parameters: elements that do not count, and offsets."""

from __future__ import annotations

import copy
import inspect
import io
import itertools
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from helpers import FOUR_LINES, assert_same_bits, to_numpy

import poolwise as pw
import poolwise.torch as pt
import poolwise.torch.functional as F  # noqa: N812 - as torch's users call it
from poolwise.problem import state

RNG = np.random.default_rng(3)
SHAPES = {1: (2, 3, 11), 2: (2, 3, 7, 6), 3: (2, 2, 5, 6, 5), 4: (1, 2, 4, 5, 4, 5)}
X = {n: torch.from_numpy(RNG.standard_normal(shape)) for n, shape in SHAPES.items()}
MASK = {n: torch.from_numpy(RNG.random((shape[0], 1, *shape[2:])) < 0.4) for n, shape in SHAPES.items()}
for n in MASK:
    MASK[n][0, :, : SHAPES[n][2] // 2 + 1] = False  # whole windows without anything
SLIDING: dict[str, Any] = {"stride": 2, "padding": 1, "ceil_mode": True}

Row = tuple[dict[str, Any], Callable[..., Any], Callable[[int], tuple[Any, ...]], dict[str, Any]]
LAYERS: dict[str, Row] = {
    # the layer's arguments, and the same as a function of poolwise with what it takes after the array
    "MaxPool": ({"kernel_size": 3, **SLIDING}, pw.max_pool, lambda n: ((3,) * n,), SLIDING),
    "MinPool": ({"kernel_size": 3, **SLIDING}, pw.min_pool, lambda n: ((3,) * n,), SLIDING),
    "SumPool": ({"kernel_size": 3, **SLIDING}, pw.sum_pool, lambda n: ((3,) * n,), SLIDING),
    "MedianPool": ({"kernel_size": 3, **SLIDING}, pw.median_pool, lambda n: ((3,) * n,), SLIDING),
    "AvgPool": (
        {"kernel_size": 3, **SLIDING},
        pw.avg_pool,
        lambda n: ((3,) * n,),
        {**SLIDING, "count_include_pad": True},
    ),
    "LPPool": (
        {"norm_type": 2, "kernel_size": 3, "stride": 2, "padding": 1},
        pw.lp_pool,
        lambda n: ((3,) * n,),
        {"stride": 2, "padding": 1, "p": 2},
    ),
    "BlurPool": ({"kernel_size": 3}, pw.blur_pool, lambda n: ((3,) * n,), {"stride": 2}),
    "AdaptiveMaxPool": ({"output_size": 3}, pw.adaptive_pool, lambda n: ("max", (3,) * n), {}),
    "AdaptiveAvgPool": ({"output_size": 3}, pw.adaptive_pool, lambda n: ("avg", (3,) * n), {}),
}
ALL = [(name, n) for name in LAYERS for n in SHAPES]
STEMS = {
    "MaxPool": "max_pool",
    "AvgPool": "avg_pool",
    "LPPool": "lp_pool",
    "AdaptiveMaxPool": "adaptive_max_pool",
    "AdaptiveAvgPool": "adaptive_avg_pool",
}
FAMILIES = ("max_pool", "avg_pool", "lp_pool", "adaptive_max_pool", "adaptive_avg_pool")


def with_nan(x: torch.Tensor) -> torch.Tensor:
    return torch.where(torch.from_numpy(np.random.default_rng(5).random(tuple(x.shape)) < 0.3), math.nan, x)


# Elements that do not count.


@pytest.mark.parametrize("name,n", ALL)
def test_masked_layers(name: str, n: int) -> None:
    """Of NumPy's arrays, whose poolings know nothing of layers."""
    options, function, args, more = LAYERS[name]
    layer, x, mask = getattr(pt, f"{name}{n}d"), with_nan(X[n]), MASK[n]
    for nan, empty, m in itertools.product(("propagate", "omit"), (None, -2.5), (None, mask)):
        if m is None and nan == "propagate":
            continue
        given = {"mask": None if m is None else m.numpy(), "nan": nan, "empty": empty}
        expected = pw.masked_pool(function, x.numpy(), *args(n), **more, **given)
        assert m is None or np.isnan(expected).any() == (empty is None or nan == "propagate")
        got = layer(**options, nan=nan, empty=empty)(x, mask=m)
        assert_same_bits(got, expected, f"{nan} {empty}")
        single = None if m is None else m[0]
        assert_same_bits(layer(**options, nan=nan, empty=empty)(x[0], mask=single), expected[0], "without a batch")
        if name in STEMS:
            call = getattr(F, f"{STEMS[name]}{n}d")
            assert_same_bits(call(x, **options, mask=m, nan=nan, empty=empty), expected, "function")


def test_against_windows_listed_one_by_one() -> None:
    x, mask = with_nan(X[2]).numpy(), MASK[2].numpy()
    layers = {"max": pt.MaxPool2d(3, 2, nan="omit"), "mean": pt.AvgPool2d(3, 2, nan="omit", empty=9.0)}
    for name, layer in layers.items():
        got = layer(torch.from_numpy(x), mask=torch.from_numpy(mask)).numpy()
        empty = {"max": math.nan, "mean": 9.0}[name]
        for b, c, i, j in np.ndindex(got.shape):
            here = np.s_[2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            kept = [v for v, m in zip(x[b, c][here].flat, mask[b, 0][here].flat, strict=True) if m and v == v]
            expected = getattr(np, name)(kept) if kept else empty
            np.testing.assert_allclose(got[b, c, i, j], expected, rtol=1e-14)


@pytest.mark.parametrize("name,n", [(name, n) for name, n in ALL if n < 3])
def test_everything_counts(name: str, n: int) -> None:
    options, *_ = LAYERS[name]
    layer = getattr(pt, f"{name}{n}d")(**options)
    every = torch.ones_like(MASK[n])
    torch.testing.assert_close(layer(X[n], mask=every), layer(X[n]), rtol=1e-14, atol=1e-14)
    omitting = getattr(pt, f"{name}{n}d")(**options, nan="omit")
    torch.testing.assert_close(omitting(X[n]), layer(X[n]), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int16", "uint16", "int64", "uint64", "float16", "bfloat16", "float32"]
)
def test_masked_dtypes(dtype: str) -> None:
    x, mask = (X[2] * 9).to(torch.int32).abs().to(getattr(torch, dtype)), MASK[2]
    floating = x.is_floating_point()
    for name in ("MaxPool2d", "MinPool2d", *(("AvgPool2d", "SumPool2d") if dtype != "bool" else ())):
        layer = getattr(pt, name)
        function = getattr(pw, name[:-6].lower() + "_pool")
        options = {"count_include_pad": True} if name == "AvgPool2d" else {}
        got = layer(2, empty=1)(x, mask=mask)
        assert got.dtype == x.dtype
        assert_same_bits(got, to_numpy(pw.masked_pool(function, x, (2, 2), mask=mask, empty=1, **options)))
        if floating:
            assert layer(2)(x, mask=mask).isnan().any()
            continue
        with pytest.raises(RuntimeError, match="no NaN, and no empty=") as caught:
            layer(2)(x, mask=mask)
        assert FOUR_LINES.match(str(caught.value))
        assert_same_bits(layer(2, nan="omit")(x), to_numpy(layer(2)(x)))  # integers have no NaN


def test_windows_on_padding_only() -> None:
    """Plain: as torch, or the user's `empty`. Where some elements may not count: his, else NaN."""
    x, there = torch.tensor([[1.0, 2.0]]), torch.ones(1, 2, dtype=torch.bool)
    windows: dict[str, Any] = {"kernel_size": 2, "stride": 1, "padding": 1, "dilation": 3}
    assert pt.MaxPool1d(**windows)(x).tolist() == [[-math.inf]]
    assert pt.MaxPool1d(**windows, empty=7)(x).tolist() == [[7.0]]
    assert pt.AvgPool1d(**windows)(x).tolist() == [[0.0]]
    assert pt.AvgPool1d(**windows, empty=7)(x).tolist() == [[7.0]]
    assert pt.LPPool1d(2, **windows, empty=7)(x).tolist() == [[7.0]]
    assert pt.MinPool1d(**windows, empty=7)(x).tolist() == [[7.0]]
    with pytest.raises(pt.TorchPoolError, match="sees no real element"):
        pt.MinPool1d(**windows)(x)
    for layer in (pt.MaxPool1d, pt.AvgPool1d, pt.MinPool1d):
        assert layer(**windows)(x, mask=there).isnan().all()
        assert layer(**windows, nan="omit")(x).isnan().all()
        assert layer(**windows, empty=7)(x, mask=there).tolist() == [[7.0]]
    for options in ({"return_indices": True}, {"output": "values_and_offsets"}):  # there is none in such a window
        with pytest.raises(pt.TorchPoolError, match="sees no real element"):
            pt.MaxPool1d(**windows, **options, empty=7)(x)


@pytest.mark.parametrize("name", LAYERS)
def test_masked_gradients(name: str) -> None:
    options, *_ = LAYERS[name]
    x, mask = X[2].clone().requires_grad_(), MASK[2]
    layer = getattr(pt, f"{name}2d")(**options, empty=0.0)
    assert torch.autograd.gradcheck(lambda x: layer(x, mask=mask), (x,))
    (gx,) = torch.autograd.grad(layer(x, mask=mask).sum(), x)
    assert (gx[~mask.expand_as(x)] == 0).all() and gx.abs().sum() > 0


@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor:UserWarning"
)  # the compiler's, as it leaves a graph
@pytest.mark.parametrize("name", LAYERS)
def test_compiled_masked_layers(name: str) -> None:
    """The compiler leaves its graph for them, and comes back."""
    options, *_ = LAYERS[name]
    layer = getattr(pt, f"{name}2d")(**options, empty=0.0)
    torch._dynamo.reset()
    compiled = torch.compile(lambda x, m: layer(x + 1, mask=m) * 2, backend="eager")
    x, y = (X[2].clone().requires_grad_() for _ in range(2))
    expected, got = layer(x + 1, mask=MASK[2]) * 2, compiled(y, MASK[2])
    assert_same_bits(got, to_numpy(expected))
    gradients = [torch.autograd.grad(z.sum(), t)[0] for z, t in ((got, y), (expected, x))]
    assert_same_bits(gradients[0], to_numpy(gradients[1]))
    omitting = getattr(pt, f"{name}2d")(**options, nan="omit", empty=0.0)
    missing = with_nan(X[2])
    assert_same_bits(torch.compile(omitting, backend="eager")(missing), to_numpy(omitting(missing)))
    whole = torch.compile(
        getattr(pt, f"{name}2d")(**options), backend="eager", fullgraph=True
    )  # plain calls stay in it
    assert_same_bits(whole(X[2]), to_numpy(getattr(pt, f"{name}2d")(**options)(X[2])))


class Masked(torch.nn.Module):
    """A layer and its mask, as exporters want them."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = pt.AvgPool2d(2, empty=0.0)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.pool(x, mask=mask)


def test_exported_masked_layers() -> None:
    x, mask = X[2].float(), MASK[2]
    exported = torch.export.export(Masked(), (x, mask), strict=False)
    assert_same_bits(exported.module()(x, ~mask), to_numpy(Masked()(x, ~mask)))
    mapped = torch.func.vmap(Masked())(x, mask)
    torch.testing.assert_close(mapped, Masked()(x, mask))


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception]]] = {
    "nan": (lambda: pt.MaxPool2d(2, nan="ignore")(X[2]), ValueError),
    "nan of no text": (lambda: pt.AvgPool2d(2, nan=True)(X[2]), ValueError),
    "nan of a function": (lambda: F.max_pool2d(X[2], 2, nan=None), ValueError),
    "mask of numbers": (lambda: pt.MaxPool2d(2)(X[2], mask=MASK[2].float()), TypeError),
    "mask of NumPy": (lambda: pt.MaxPool2d(2)(X[2], mask=MASK[2].numpy()), TypeError),
    "mask that does not fit": (lambda: pt.AdaptiveAvgPool2d(2)(X[2], mask=MASK[2][..., :3]), ValueError),
    "empty": (lambda: pt.MaxPool2d(2, empty="0")(X[2]), TypeError),
    "empty of integers": (lambda: pt.MaxPool2d(2, empty=0.5)(X[2].int(), mask=MASK[2]), TypeError),
    "no tensor": (lambda: pt.MaxPool2d(2, nan="omit")(X[2].numpy()), TypeError),
    "axes": (lambda: pt.MaxPool2d(2)(X[1][0], mask=MASK[1]), ValueError),
    "indices": (lambda: pt.MaxPool2d(2, return_indices=True)(X[2], mask=MASK[2]), ValueError),
    "indices of a function": (lambda: F.max_pool2d_with_indices(X[2], 2, nan="omit"), ValueError),
    "adaptive indices": (lambda: pt.AdaptiveMaxPool2d(2, True, nan="omit")(X[2]), ValueError),
    "offsets": (lambda: pt.MaxPool2d(2, output="values_and_offsets")(X[2], mask=MASK[2]), ValueError),
    "ceil-mode norms": (lambda: pt.LPPool2d(2, 2, ceil_mode=True)(X[2], mask=MASK[2]), ValueError),
    "both": (lambda: pt.MaxPool2d(2, return_indices=True, output="values_and_offsets")(X[2]), ValueError),
    "both adaptive": (lambda: F.adaptive_max_pool2d(X[2], 2, True, output="values_and_offsets"), ValueError),
    "both by name": (lambda: F.max_pool2d_with_indices(X[2], 2, output="values_and_offsets"), ValueError),
    "output": (lambda: F.max_pool2d(X[2], 2, output="offsets"), ValueError),
    "output of no text": (lambda: pt.AdaptiveMaxPool1d(2, output=None)(X[1]), ValueError),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    call, kind = REFUSED[name]
    with pytest.raises(kind) as caught:
        call()
    assert isinstance(caught.value, RuntimeError)
    assert FOUR_LINES.match(str(caught.value))


# Parameters and state.


def keyword_only(function: Callable[..., Any]) -> set[str]:
    found = inspect.signature(function).parameters.values()
    return {p.name for p in found if p.kind is inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("name,n", ALL)
def test_parameters_are_by_keyword(name: str, n: int) -> None:
    layer = getattr(pt, f"{name}{n}d")
    assert keyword_only(layer.__init__) >= {"nan", "empty"} | ({"output"} if "MaxPool" in name else set())
    assert keyword_only(layer.forward) == {"mask"}
    if name in STEMS:
        function = getattr(F, f"{STEMS[name]}{n}d")
        assert keyword_only(function) >= {"mask", "nan", "empty"} | ({"output"} if "MaxPool" in name else set())


def test_shown_where_they_are_not_the_default() -> None:
    for name, (options, *_) in LAYERS.items():
        layer = getattr(pt, f"{name}2d")
        assert not any(word in repr(layer(**options)) for word in ("nan", "empty", "output="))
        assert repr(layer(**options, nan="omit", empty=0)).endswith("nan=omit, empty=0)")
    assert repr(pt.AdaptiveMaxPool1d(2, output="values_and_offsets")) == (
        "AdaptiveMaxPool1d(output_size=2, output=values_and_offsets)"
    )


def test_copies_and_older_states() -> None:
    buffer = io.BytesIO()
    layer = pt.MaxPool2d(2, nan="omit", empty=-1.0)
    torch.save(layer, buffer)
    buffer.seek(0)
    x, expected = with_nan(X[2]), to_numpy(layer(with_nan(X[2])))
    assert (expected == -1).any()
    copies = copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), torch.load(buffer, weights_only=False)
    for other in copies:
        assert_same_bits(other(x), expected)
        assert repr(other) == repr(layer)
    for name, (options, *_) in LAYERS.items():  # layers that were stored before they had these
        older = getattr(pt, f"{name}2d")(**options)
        new = to_numpy(older(X[2]))
        for key in ("nan", "empty", "output"):
            vars(older).pop(key, None)
        older = pickle.loads(pickle.dumps(older))
        assert_same_bits(older(X[2]), new)
        assert repr(older) == repr(getattr(pt, f"{name}2d")(**options))
    layer.nan, layer.empty = "propagate", None  # attributes are looked at in calls
    assert_same_bits(layer(x), to_numpy(pt.MaxPool2d(2)(x)))


# Offsets.


def problem_of(x: Any, *args: Any, **options: Any) -> Any:
    request = pw.max_pool_with_offsets.__wrapped__(x, *args, **options)
    return state(request, x.ndim, np.dtype(str(x.dtype).removeprefix("torch.")).name).over(tuple(x.shape))


WINDOWS: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((2, 2), {}),
    ((3, 2), {"stride": 1, "padding": 1}),
    ((3, 3), {"stride": 2, "dilation": 2, "padding": (2, 1)}),
    ((2, 3), {"ceil_mode": True}),
    ((5, 4), {"padding": "same", "stride": 3}),
]


@pytest.mark.parametrize("backend", [None, "generic"])
@pytest.mark.parametrize("window,options", WINDOWS, ids=str)
def test_offsets_are_what_they_say(window: tuple[int, ...], options: dict[str, Any], backend: str | None) -> None:
    """Each one read by hand: of the window's real elements, in C order, the first of the largest."""
    x = RNG.integers(0, 4, (2, 7, 6))
    values, offsets = pw.max_pool_with_offsets(x, window, **options, backend=backend)
    rows, columns = problem_of(x, window, **options).windows.axes
    base = max(map(len, map(columns.taps, range(len(columns)))))
    for c, i, j in np.ndindex(values.shape):
        elements = [
            (x[c, row, column], a * base + b)
            for a, row in enumerate(rows.taps(i))
            for b, column in enumerate(columns.taps(j))
        ]
        largest = max(value for value, _ in elements)
        assert values[c, i, j] == largest
        assert offsets[c, i, j] == next(number for value, number in elements if value == largest)
    assert offsets.dtype == np.uint8
    assert_same_bits(values, pw.max_pool(x, window, **options))
    for made in (torch.from_numpy(x), torch.from_numpy(x).double().requires_grad_()):
        found = pw.max_pool_with_offsets(made, window, **options, backend=backend)
        assert_same_bits(found[1], offsets)
        assert found[1].dtype == torch.uint8 and not found[1].requires_grad
        assert found[0].requires_grad == made.requires_grad


@pytest.mark.parametrize("n", SHAPES)
@pytest.mark.parametrize("name", ["MaxPool", "AdaptiveMaxPool"])
def test_layers_give_offsets(name: str, n: int) -> None:
    options, *_ = LAYERS[name]
    layer, x = getattr(pt, f"{name}{n}d"), X[n].round()
    request = layer._ask(x, *layer_arguments(layer(**options, output="values_and_offsets")))
    problem = state(request, x.ndim, "float64").over(tuple(x.shape))
    values, indices = layer(**options, return_indices=True)(x)
    got = layer(**options, output="values_and_offsets")(x)
    call = getattr(F, f"{STEMS[name]}{n}d")(x, **options, output="values_and_offsets")
    for found in (got, call):
        assert_same_bits(found[0], to_numpy(values))
        assert found[1].dtype == torch.uint8
        assert_same_bits(problem.windows.indices(found[1].numpy()), to_numpy(indices))


def layer_arguments(layer: Any) -> tuple[Any, ...]:
    """What a layer's call hands on after the tensor."""
    seen: list[Any] = []
    layer._pool = lambda x, *arguments: seen.extend(arguments)
    layer(torch.zeros(1))
    return tuple(seen)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int32", "uint64", "float16", "bfloat16", "float32"])
def test_offsets_of_dtypes(dtype: str) -> None:
    x = (X[2] * 9).to(torch.int32).abs().to(getattr(torch, dtype))
    values, offsets = pt.MaxPool2d(3, 2, output="values_and_offsets")(x)
    wide = x.to(torch.float64)
    assert_same_bits(values, to_numpy(pt.MaxPool2d(3, 2)(x)))
    assert_same_bits(offsets, to_numpy(pt.MaxPool2d(3, 2, output="values_and_offsets")(wide)[1]))
    assert_same_bits(pw.max_pool_with_offsets(x, (3, 3), stride=2, backend="generic")[1], to_numpy(offsets))


@pytest.mark.parametrize("elements,dtype", [(256, "uint8"), (257, "uint16"), (65536, "uint16"), (65537, "int32")])
def test_as_narrow_as_windows_allow(elements: int, dtype: str) -> None:
    x = torch.arange(2.0 * elements).reshape(1, -1)
    for call in (
        lambda x: pw.max_pool_with_offsets(x, (elements,)),
        lambda x: F.max_pool1d(x, elements, output="values_and_offsets"),
        torch.compile(lambda x: F.max_pool1d(x, elements, output="values_and_offsets"), backend="eager"),
    ):
        offsets = call(x)[1]
        assert offsets.dtype == getattr(torch, dtype)
        assert offsets.tolist() == [[elements - 1] * 2]


def test_offsets_lie_as_values_do() -> None:
    x = X[2].contiguous(memory_format=torch.channels_last)
    for given in (x, x.clone().requires_grad_()):
        values, offsets = F.max_pool2d(given, 2, output="values_and_offsets")
        assert values.stride() == offsets.stride() and values.is_contiguous(memory_format=torch.channels_last)
    values, offsets = pw.max_pool_with_offsets(np.asfortranarray(X[2].numpy()), (2, 2))
    assert [s // 8 for s in values.strides] == list(offsets.strides)
    empty = F.max_pool2d(torch.zeros(0, 3, 6, 6), 2, output="values_and_offsets")
    assert [tuple(part.shape) for part in empty] == [(0, 3, 3, 3)] * 2


def test_gradients_beside_offsets() -> None:
    x = X[2].clone().requires_grad_()
    layer, plain = pt.MaxPool2d(3, 2, output="values_and_offsets"), pt.MaxPool2d(3, 2)
    for _ in range(2):  # also by the shortcut of a call that was made before
        values, offsets = layer(x)
        assert values.requires_grad and not offsets.requires_grad
        assert_same_bits(torch.autograd.grad(values.sum(), x)[0], to_numpy(torch.autograd.grad(plain(x).sum(), x)[0]))
    assert torch.autograd.gradcheck(lambda x: layer(x)[0], (x,))
    assert torch.autograd.gradgradcheck(lambda x: layer(x)[0], (x,))
    values, offsets = layer(x)
    offsets += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        values.sum().backward()
    array = X[2].numpy()
    found, pullback = pw.vjp(pw.max_pool_with_offsets, array, (2, 2))
    assert_same_bits(found[1], pw.max_pool_with_offsets(array, (2, 2))[1])
    ones = np.ones_like(found[0])
    assert_same_bits(pullback(ones), pw.vjp(pw.max_pool, array, (2, 2))[1](ones))
    assert (
        pw.explain(pw.max_pool_with_offsets, array, (2, 2)).as_dict()["calls"][0]["function"] == "max_pool_with_offsets"
    )


def test_offsets_where_nobody_has_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled, exported, mapped over, and of tensors without values."""
    layer, x = pt.MaxPool2d(3, 2, 1, output="values_and_offsets"), X[2].clone().requires_grad_()
    values, offsets = layer(x)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)(x)
    assert_same_bits(compiled[0], to_numpy(values))
    assert_same_bits(torch.autograd.grad(compiled[0].sum(), x)[0], to_numpy(torch.autograd.grad(values.sum(), x)[0]))
    plain = X[2]
    exported = torch.export.export(torch.nn.Sequential(layer), (plain,)).module()(plain)
    mapped = torch.func.vmap(layer)(plain)
    for found in (compiled, exported, mapped):
        assert_same_bits(found[1], to_numpy(offsets))
        assert not found[1].requires_grad
    assert [part.shape for part in layer(plain.to("meta"))] == [values.shape] * 2
    assert layer(plain.to("meta"))[1].dtype == torch.uint8
    adaptive = pt.AdaptiveMaxPool2d(3, output="values_and_offsets")
    wide = torch.compile(adaptive, backend="eager", fullgraph=True)(plain)[1]
    assert wide.dtype == torch.int64 and adaptive(plain)[1].dtype == torch.uint8
    assert torch.equal(wide, adaptive(plain)[1].long())
    monkeypatch.setattr("poolwise.torch._framework.exporting", lambda: True)  # as torch.onnx.export goes about it
    with pytest.raises(ValueError, match="offsets are not exported"):
        torch.export.export(torch.nn.Sequential(layer), (plain,), strict=False)


def test_problems_with_an_empty_nan_are_one() -> None:
    """Else each such call would make its windows and kernel anew: no NaN equals another."""
    problems = [
        state(pw.max_pool.__wrapped__(x, (2, 2), empty=empty), 4, "float64").over(tuple(x.shape))
        for x in (X[2],)
        for empty in (float("nan"), np.float32("nan"), -math.nan)
    ]
    assert len(set(problems)) == 1 and math.isnan(problems[0].empty)
