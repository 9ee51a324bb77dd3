"""What the layers have that torch's have too (state, copies, errors), and what they have more."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from helpers import FOUR_LINES, assert_same_bits, to_numpy

import poolwise as pw
import poolwise.torch as pt
import poolwise.torch.functional as F  # noqa: N812 - as torch's users call it

X = torch.from_numpy(np.random.default_rng(0).integers(-9, 10, (2, 3, 7, 6)).astype(np.float32))

# Errors.

REFUSED = [
    ("max_pool2d", (X, 0), {}, RuntimeError),
    ("max_pool2d", (X, 2.0), {}, TypeError),
    ("max_pool2d", (X, (2, 2, 2)), {}, RuntimeError),
    ("max_pool2d", (X, 2), {"padding": None}, TypeError),
    ("max_pool2d", (X, 2), {"ceil_mode": 1}, TypeError),
    ("max_pool2d", (X, 3), {"padding": 2}, RuntimeError),
    ("max_pool2d", (X.to(torch.complex64), 2), {}, RuntimeError),
    ("max_pool2d", (X[0, 0], 2), {}, RuntimeError),
    ("max_pool2d", (X.numpy(), 2), {}, TypeError),
    ("max_pool1d", ([1.0], 2), {}, TypeError),
    ("avg_pool2d", (X, 9), {}, RuntimeError),
    ("avg_pool2d", (X, 2), {"divisor_override": 0}, RuntimeError),
    ("avg_pool2d", (X, 2), {"divisor_override": 2.0}, TypeError),
    ("avg_pool2d", (X > 0, 2), {}, RuntimeError),
    ("lp_pool2d", (X, "2", 2), {}, TypeError),
    ("adaptive_avg_pool2d", (X, (2,)), {}, RuntimeError),
    ("adaptive_max_pool2d", (X, 2.0), {}, TypeError),
    ("adaptive_max_pool2d", (X, -1), {}, RuntimeError),
    ("fractional_max_pool2d", (X, 2), {}, ValueError),
    ("fractional_max_pool2d", (X, 2, 7), {}, RuntimeError),
    ("fractional_max_pool2d", (X, 2.0, 3), {}, TypeError),
    ("fractional_max_pool2d", (X, 2, 3), {"_random_samples": torch.zeros(2, 3, 2).double()}, RuntimeError),
    ("fractional_max_pool2d", (X, 2, 3), {"_random_samples": torch.zeros(1, 3, 2)}, RuntimeError),
    ("max_unpool2d", (X, torch.zeros(X.shape, dtype=torch.int32), 2), {}, RuntimeError),
    ("max_unpool2d", (X, torch.full(X.shape, 999), 2), {}, RuntimeError),
    ("max_unpool2d", (X, torch.zeros(X.shape, dtype=torch.int64), 2), {"output_size": (99, 99)}, ValueError),
    ("max_unpool2d", (X, torch.zeros(X.shape, dtype=torch.int64), 2), {"output_size": (14,)}, ValueError),
    ("max_unpool2d", (X, torch.zeros(X.shape, dtype=torch.int64), 2), {"output_size": 14}, TypeError),
]


@pytest.mark.parametrize("name,args,options,kind", REFUSED, ids=[f"{n}-{i}" for i, (n, *_) in enumerate(REFUSED)])
def test_errors_are_of_torchs_kind(name: str, args: Any, options: Any, kind: type[Exception]) -> None:
    """torch raises this kind; ours is of it, and a RuntimeError in any case, with our four lines."""
    with pytest.raises(kind):
        getattr(torch.nn.functional, name)(*args, **options)
    with pytest.raises(kind) as caught:
        getattr(F, name)(*args, **options)
    assert isinstance(caught.value, (pt.TorchPoolError, pt.TorchPoolTypeError))
    assert isinstance(caught.value, RuntimeError) and isinstance(caught.value, (ValueError, TypeError))
    assert FOUR_LINES.match(str(caught.value))


def test_poolwise_functions_keep_their_errors() -> None:
    with pytest.raises(ValueError) as caught:
        pw.max_pool(X, (0, 0))
    assert type(caught.value) is ValueError


@pytest.mark.parametrize("name", [name for name in pt.__all__ if "Unpool" not in name])
def test_every_layer_raises_torchs_kind(name: str) -> None:
    given: dict[str, Any] = {"output_size": 2} if "Adaptive" in name or "Fractional" in name else {}
    given |= {} if "Adaptive" in name else {"kernel_size": 2}
    layer = getattr(pt, name)(**given, **({"norm_type": 2} if "LP" in name else {}))
    with pytest.raises(pt.TorchPoolError):
        layer(torch.zeros(4))


@pytest.mark.parametrize(
    "options",
    [{}, {"output_size": 2, "output_ratio": 0.5}, {"output_ratio": 1.5}, {"output_ratio": (0.5, 0)}],
    ids=str,
)
def test_fractional_layers_refuse_when_they_are_made(options: dict[str, Any]) -> None:
    for module in (torch.nn, pt):
        with pytest.raises(ValueError):
            module.FractionalMaxPool2d(2, **options)


def test_scripting_says_what_to_do() -> None:
    model = torch.nn.Sequential(torch.nn.ReLU(), pt.MaxPool2d(2))
    with (
        pytest.warns(DeprecationWarning),
        pytest.raises(RuntimeError, match=r"torch\.compile or torch\.export") as caught,
    ):
        torch.jit.script(model)
    assert FOUR_LINES.match(str(caught.value))
    assert "torch.nn.MaxPool2d" in str(caught.value)


# State.


def test_random_samples_are_state() -> None:
    samples = torch.rand(2, 3, 2)
    layers = [m.FractionalMaxPool2d(2, output_size=3, _random_samples=samples) for m in (torch.nn, pt)]
    assert layers[0].state_dict().keys() == layers[1].state_dict().keys() == {"_random_samples"}
    other = pt.FractionalMaxPool2d(2, output_size=3, _random_samples=torch.zeros(2, 3, 2))
    other.load_state_dict(layers[0].state_dict())
    buffer = io.BytesIO()
    torch.save(other, buffer)
    buffer.seek(0)
    for layer in (
        other,
        copy.deepcopy(other),
        pickle.loads(pickle.dumps(other)),
        torch.load(buffer, weights_only=False),
    ):
        assert_same_bits(layer(X), to_numpy(layers[0](X)))
    assert layers[1].double()._random_samples.dtype == torch.float64


def test_layers_are_not_torchs() -> None:
    """But hold what torch's hold."""
    ours, theirs = pt.MaxPool2d(3, 2, 1, return_indices=True), torch.nn.MaxPool2d(3, 2, 1, return_indices=True)
    assert not isinstance(ours, torch.nn.MaxPool2d)
    assert all(getattr(ours, name) == value for name, value in vars(theirs).items() if name[0] != "_")


# More than torch has.


@pytest.mark.parametrize("spatial", [4, 5])
def test_layers_of_more_axes(spatial: int) -> None:
    x = torch.randn(2, 1, *(3, 4, 5, 3, 4)[:spatial])
    axes = tuple(range(2, 2 + spatial))
    calls = {
        "MaxPool": (lambda m: m(2), pw.max_pool(x, 2, axes=axes)),
        "AvgPool": (lambda m: m(2), pw.avg_pool(x, 2, axes=axes)),
        "MinPool": (lambda m: m(2), pw.min_pool(x, 2, axes=axes)),
        "LPPool": (lambda m: m(2.5, 2), pw.lp_pool(x, 2, p=2.5, axes=axes)),
        "AdaptiveAvgPool": (lambda m: m(2), pw.adaptive_pool(x, "avg", (2,) * spatial)),
    }
    for name, (make, expected) in calls.items():
        layer = make(getattr(pt, f"{name}{spatial}d"))
        assert_same_bits(layer(x), to_numpy(expected))
        assert_same_bits(pickle.loads(pickle.dumps(layer))(x), to_numpy(expected))
        assert repr(layer).startswith(f"{name}{spatial}d(") and not isinstance(layer, getattr(pt, f"{name}3d"))
    values, indices = getattr(F, f"max_pool{spatial}d")(x, 2, return_indices=True)
    back = getattr(pt, f"MaxUnpool{spatial}d")(2)(values, indices, x.shape)
    assert_same_bits(back.amax(axes), to_numpy(values.clamp(min=0).amax(axes)))
    samples = torch.rand(2, 1, spatial)
    got = getattr(pt, f"FractionalMaxPool{spatial}d")(2, 2, _random_samples=samples)(x)
    for n in range(2):
        plane = pw.fractional_pool(
            x[n, 0].double(), "max", (2,) * spatial, draws=samples[n, 0].tolist(), window=2, axes=tuple(range(spatial))
        )
        assert_same_bits(got[n, 0].double(), to_numpy(plane))


def test_names_that_are_none() -> None:
    for name in ("MaxPool0d", "MaxPool17d", "MaxPool99d", "MaxPool", "NoPool4d", "MaxPool04", "torch4d"):
        assert not hasattr(pt, name)
    for name in ("max_pool0d", "max_pool17d", "max_pool", "avg_pool4d_with_indices", "no_pool2d"):
        assert not hasattr(F, name)
    assert pt.MaxPool4d is pt.MaxPool4d and F.max_pool4d is F.max_pool4d


SIDES: list[Any] = ["same", "same_lower", "valid", ((0, 1), (1, 0)), 3, ((4, 0), (0, 4))]


@pytest.mark.parametrize("padding", SIDES, ids=str)
def test_padding_of_any_kind(padding: Any) -> None:
    options = {"stride": 2, "padding": padding}
    every = {**options, "any_padding": True}
    window = (3, 3)
    pairs = [
        (pt.MaxPool2d(3, **every), pw.max_pool(X, window, empty=-float("inf"), **options)),
        (pt.AvgPool2d(3, **every), pw.avg_pool(X, window, count_include_pad=True, empty=0.0, **options)),
        (pt.LPPool2d(2, 3, **every), pw.lp_pool(X, window, empty=0.0, **options)),
    ]
    for layer, expected in pairs:
        assert_same_bits(layer(X), to_numpy(expected), str(layer))
        assert "any_padding=True" in repr(layer)
    small = isinstance(padding, str) or padding == ((0, 1), (1, 0))
    for kind, first in ((pt.MaxPool2d, ()), (pt.AvgPool2d, ()), (pt.LPPool2d, (2,))):
        if small:
            kind(*first, 3, **options)(X)
            continue
        with pytest.raises(RuntimeError, match="any_padding=True"):
            kind(*first, 3, **options)(X)


def test_dilation_of_averages_and_norms() -> None:
    options = {"stride": 1, "dilation": (2, 1)}
    assert_same_bits(pt.AvgPool2d(3, **options)(X), to_numpy(pw.avg_pool(X, (3, 3), **options)))
    assert_same_bits(pt.LPPool2d(2, 3, **options)(X), to_numpy(pw.lp_pool(X, (3, 3), **options)))
    assert_same_bits(F.avg_pool2d(X, 3, **options), to_numpy(pw.avg_pool(X, (3, 3), **options)))
    assert "dilation=(2, 1)" in repr(pt.AvgPool2d(3, **options))
    halved = pt.AvgPool1d(2, divisor_override=4)
    assert_same_bits(halved(X[:, 0]), to_numpy(pt.AvgPool1d(2)(X[:, 0]) / 2))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
def test_integers(dtype: str) -> None:
    """Also where a window sees padding only: the dtype's least value."""
    whole = X.abs().to(getattr(torch, dtype))
    array = whole.numpy()
    assert_same_bits(pt.MaxPool2d(2)(whole), pw.max_pool(array, (2, 2)))
    assert_same_bits(pt.AdaptiveMaxPool2d(3)(whole), pw.adaptive_max_pool(array, (3, 3)))
    least = 0 if dtype == "bool" else np.iinfo(dtype).min
    far = pt.MaxPool2d(2, padding=3, any_padding=True)(whole)
    assert_same_bits(far, pw.max_pool(array, (2, 2), padding=3, empty=least))
    torch.manual_seed(0)
    values, indices = pt.FractionalMaxPool2d(2, 3, return_indices=True)(whole)
    picked = np.take_along_axis(array.reshape(6, -1), indices.numpy().reshape(6, -1), 1).reshape(2, 3, 3, 3)
    assert_same_bits(values, picked)
    if dtype != "bool":
        assert_same_bits(pt.AvgPool2d(2)(whole), pw.avg_pool(array, (2, 2)))


@pytest.mark.parametrize("spatial", [1, 2, 3])
@pytest.mark.parametrize("name", ["Min", "Sum", "Median", "Blur", "MaxBlur"])
def test_layers_that_torch_lacks(name: str, spatial: int) -> None:
    x = torch.randn(2, 3, *[6] * spatial)
    axes = tuple(range(2, 2 + spatial))
    layer = getattr(pt, f"{name}Pool{spatial}d")
    if name == "Blur":
        assert_same_bits(layer()(x), to_numpy(pw.blur_pool(x, 3, stride=2, axes=axes)))
        return
    if name == "MaxBlur":
        assert_same_bits(layer(2)(x), to_numpy(pw.max_blur_pool(x, 2, axes=axes)))
        return
    for options in ({}, {"stride": 1, "padding": "same"}, {"dilation": 2}):
        expected = pw.pool(x, name.lower(), 3, axes=axes, **options)
        assert_same_bits(layer(3, **options)(x), to_numpy(expected))
        assert_same_bits(layer(3, **options)(x[0]), to_numpy(expected[0]))


@pytest.mark.parametrize("duplicates", ["last", "sum", "max"])
def test_unpooling_of_overlapping_windows(duplicates: str) -> None:
    values, indices = pt.MaxPool2d(3, 1, return_indices=True)(X)
    layer = pt.MaxUnpool2d(3, 1, duplicates=duplicates)
    assert_same_bits(layer(values, indices), to_numpy(pw.max_unpool(values, indices, (7, 6), duplicates=duplicates)))


def test_the_same_seed_gives_torchs_windows() -> None:
    for n, shape in ((2, (2, 3, 9, 8)), (3, (2, 3, 9, 8, 7))):
        x = torch.randn(shape)
        found = []
        for module in (torch.nn, pt):
            torch.manual_seed(7)
            layer = getattr(module, f"FractionalMaxPool{n}d")(2, output_ratio=0.6, return_indices=True)
            found.append([*layer(x), *layer(x), torch.rand(1)])
        for one, two in zip(*found, strict=True):
            assert_same_bits(two, to_numpy(one))
    with_gradient = X.double()[:1, :1].requires_grad_()
    samples = torch.rand(1, 1, 2).double()
    call = lambda x: F.fractional_max_pool2d(x, 2, 3, _random_samples=samples)  # noqa: E731
    assert torch.autograd.gradcheck(call, (with_gradient + torch.arange(42.0).reshape(7, 6).double() / 100,))
