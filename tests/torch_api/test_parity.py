"""The layers and functions under torch's names against torch's own, over random arguments."""

from __future__ import annotations

import inspect
import re
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from helpers import assert_same_bits, seeded, to_numpy

import poolwise.torch as pt
import poolwise.torch.functional as ours

theirs = torch.nn.functional

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
INTEGERS = (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64)
NAMES = [name for name in ours.__all__ if hasattr(theirs, name)]
LAYERS = [name for name in pt.__all__ if hasattr(torch.nn, name)]

ROUNDS = {
    torch.float64: {"rtol": 1e-12, "atol": 1e-12},
    torch.float32: {"rtol": 2e-6, "atol": 2e-6},
    torch.float16: {"rtol": 4e-3, "atol": 4e-3},
    torch.bfloat16: {"rtol": 3e-2, "atol": 3e-2},
}
"""torch adds up in the dtype itself, on a CPU often in half precision too: its own rounding, mostly."""

MORE_THAN_TORCH = (
    "optional 0 dim batch size",  # no channels: an empty result
    "non-zero size for non-batch",
    "smaller than kernel size",  # torch's 3-D average alone counts no padding
    "not implemented for",  # dtypes
    "could not infer output dtype",
    "Expected input_depth * input_height",  # indices of a plane with more elements than the dtype of values counts
    "too large relative to input",  # torch's 3-D fractional pooling alone refuses the most windows that fit
)


def stem(name: str) -> tuple[str, int]:
    """``max_pool`` and 2 of ``max_pool2d_with_indices``."""
    found = re.match(r"(\w+?)(\d)d", name)
    assert found
    return found[1], int(found[2])


def an_input(spatial: int, rng: np.random.Generator, dtype: torch.dtype, positive: bool = False) -> torch.Tensor:
    """Few distinct values, with ties; batched or not, in any memory format."""
    shape = [int(n) for n in rng.integers(1, 4, int(rng.integers(1, 3)))]
    shape += [int(n) for n in rng.integers(3, 10, spatial)]
    values = rng.integers(1 if positive else -6, 7, shape) / (2 if dtype.is_floating_point else 1)
    # Unsigned without 0: torch's index of a window of the least value lies outside of it in channels-last memory.
    x = torch.from_numpy(np.abs(values) + 1 if dtype is torch.uint8 else values).to(dtype)
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    if len(shape) == spatial + 2 and spatial > 1 and rng.random() < 0.5:
        return x.contiguous(memory_format=formats[x.ndim])
    return x.transpose(-1, -2).contiguous().transpose(-1, -2) if spatial > 1 and rng.random() < 0.2 else x


def each(rng: np.random.Generator, spatial: int, low: int, high: int) -> Any:
    """One number for all axes, alone or in a tuple, or one for each."""
    numbers = tuple(int(n) for n in rng.integers(low, high, spatial))
    form = rng.random()
    return numbers[0] if form < 0.3 else list(numbers) if form < 0.5 else numbers


def maybe(rng: np.random.Generator, options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if rng.random() < 0.6}


def arguments(name: str, rng: np.random.Generator, x: torch.Tensor) -> dict[str, Any]:
    """Arguments of a function, most of them served; by keyword."""
    kind, spatial = stem(name)
    if kind.startswith("adaptive"):
        size = each(rng, spatial, 1, 12)
        several = isinstance(size, (tuple, list)) and spatial > 1
        size = type(size)(None if rng.random() < 0.2 else n for n in size) if several else size
        return {"output_size": size}
    if kind == "fractional_max_pool":
        kernel = [int(k) for k in rng.integers(1, 4, spatial)]
        lengths = x.shape[-spatial:]
        size = tuple(int(rng.integers(1, max(n - k + 2, 2))) for n, k in zip(lengths, kernel, strict=True))
        ratio = tuple(float(r) for r in rng.uniform(0.35, 0.7, spatial))
        return {"kernel_size": kernel, **({"output_size": size} if rng.random() < 0.6 else {"output_ratio": ratio})}
    kernel = each(rng, spatial, 1, 5)
    given = {"kernel_size": kernel}
    stride, ceil = each(rng, spatial, 1, 4), bool(rng.random() < 0.5)
    if kind == "lp_pool":
        number = spatial == 1 and not isinstance(kernel, int)
        return {
            "norm_type": [1, 2, 3, 4, 2.5, float("inf")][int(rng.integers(0, 6))],
            "kernel_size": kernel[0] if number else kernel,
            **maybe(rng, {"stride": stride, "ceil_mode": ceil}),
        }
    windows = kernel if isinstance(kernel, (tuple, list)) else [kernel] * spatial
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in windows)
    options = {"stride": stride, "padding": padding, "ceil_mode": ceil}
    if kind == "max_pool":
        options["dilation"] = each(rng, spatial, 1, 3)
    elif kind == "avg_pool":
        options["count_include_pad"] = bool(rng.random() < 0.5)
        if spatial > 1:
            options["divisor_override"] = int(rng.integers(1, 7))
    return {**given, **maybe(rng, options)}


def attempt(call: Any) -> Any:
    try:
        return call()
    except Exception as error:
        return error


def attempt_unpooling(name: str, indices: torch.Tensor, options: dict[str, Any], module: Any, values: Any) -> Any:
    return attempt(lambda: getattr(module, name)(values, indices, **options))


def assert_error_like(got: Any, expected: Exception, what: str) -> None:
    """An error that code written for torch's catches; unless the call is one that torch does not serve and we do."""
    if any(text in str(expected) for text in MORE_THAN_TORCH):
        assert not isinstance(got, Exception) or isinstance(got, (ValueError, TypeError)), what
        return
    assert isinstance(got, Exception), f"{what}: served, torch says {expected}"
    assert isinstance(got, (ValueError, TypeError)) and isinstance(got, RuntimeError), f"{what}: {got!r}"
    if isinstance(expected, (ValueError, TypeError)):
        kind = TypeError if isinstance(expected, TypeError) else ValueError
        assert isinstance(got, kind), f"{what}: {got!r}, torch raises {expected!r}"


def assert_equal(got: Any, expected: Any, exact: bool, dtype: torch.dtype, what: str) -> None:
    """Values (or values and indices) and their memory format."""
    if isinstance(expected, tuple):
        assert isinstance(got, tuple) and len(got) == 2, what
        assert_same_bits(got[1], to_numpy(expected[1]), f"{what} indices")
        got, expected = got[0], expected[0]
    assert got.dtype == expected.dtype and got.shape == expected.shape, what
    if exact:
        assert_same_bits(got, to_numpy(expected), what)
    else:
        torch.testing.assert_close(got, expected, **ROUNDS[dtype], equal_nan=True, msg=lambda text: f"{what}: {text}")
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(got.ndim)
    if last is not None and expected.is_contiguous(memory_format=last):
        assert got.is_contiguous(memory_format=last), f"{what}: channels last is not kept"


def compare(name: str, options: dict[str, Any], x: torch.Tensor, what: str) -> bool:
    """One call of both, and its gradient; False where torch refuses it."""
    exact = "max" in name
    one, two = (x.clone(memory_format=torch.preserve_format).requires_grad_(x.is_floating_point()) for _ in range(2))
    torch.manual_seed(0)
    expected = attempt(lambda: getattr(theirs, name)(one, **options))
    torch.manual_seed(0)
    got = attempt(lambda: getattr(ours, name)(two, **options))
    if isinstance(expected, Exception):
        assert_error_like(got, expected, what)
        return False
    if isinstance(got, Exception):
        raise AssertionError(f"{what}: torch serves it") from got
    assert_equal(got, expected, exact, x.dtype, what)
    if x.is_floating_point():
        one_y, two_y = (y[0] if isinstance(y, tuple) else y for y in (expected, got))
        gy = torch.from_numpy(seeded(what).standard_normal(tuple(one_y.shape))).to(x.dtype)
        one_y.backward(gy)
        two_y.backward(gy)
        rounds = {"rtol": 5 * ROUNDS[x.dtype]["rtol"], "atol": 5 * ROUNDS[x.dtype]["atol"]}
        torch.testing.assert_close(two.grad, one.grad, **rounds, msg=lambda text: f"{what} gradient: {text}")
    return True


def sees_padding_only(options: dict[str, Any], x: torch.Tensor, spatial: int) -> bool:
    """True where a dilated window steps over a short input: torch's index of it lies outside of the window."""
    got = attempt(lambda: getattr(ours, f"max_pool{spatial}d_with_indices")(x, **options))
    return isinstance(got, ValueError) and "sees no real element" in str(got)


@pytest.mark.parametrize("dtype", [*FLOATS, torch.int32, torch.uint8], ids=str)
@pytest.mark.parametrize("name", [name for name in NAMES if "unpool" not in name])
def test_functions(name: str, dtype: torch.dtype, rng: np.random.Generator) -> None:
    """Values, indices, gradients and refusals."""
    kind, spatial = stem(name)
    if kind == "lp_pool" and not dtype.is_floating_point:
        pytest.skip("torch averages whole numbers here, rounded to whole numbers: no norm")
    if kind == "avg_pool" and not dtype.is_floating_point:
        pytest.skip("torch's averages of integers are cut off, ours are rounded: see the differences")
    served = 0
    for number in range(12):
        x = an_input(spatial, rng, dtype, positive=kind == "lp_pool")
        options = arguments(name, rng, x)
        if "max" in kind and "indices" not in name:
            options |= maybe(rng, {"return_indices": bool(rng.random() < 0.5)})
        indices = "indices" in name or options.get("return_indices")
        if kind == "max_pool" and indices and sees_padding_only({**options, "return_indices": True}, x, spatial):
            continue
        served += compare(name, options, x, f"{name}({options}) of {tuple(x.shape)} {dtype} #{number}")
    half_3d = name in ("avg_pool3d", "lp_pool3d") and dtype in (torch.float16, torch.bfloat16)
    assert served >= 4 or half_3d or not dtype.is_floating_point


@pytest.mark.parametrize("spatial", [1, 2, 3])
@pytest.mark.parametrize("dtype", [*FLOATS, torch.int64], ids=str)
def test_unpooling_functions(spatial: int, dtype: torch.dtype, rng: np.random.Generator) -> None:
    """Of what was pooled without overlap: values, gradients, given and inferred sizes, memory format."""
    name, served = f"max_unpool{spatial}d", 0
    for number in range(16):
        x = an_input(spatial, rng, dtype)
        kernel = tuple(int(k) for k in rng.integers(1, 4, spatial))
        options = {"kernel_size": kernel, **maybe(rng, {"stride": tuple(k + 1 for k in kernel)})}
        values, indices = getattr(pt, f"MaxPool{spatial}d")(**options, return_indices=True)(x)
        size = (x.shape, x.shape[2:], tuple(int(n) + 1 for n in x.shape[-spatial:]), None)[int(rng.integers(0, 4))]
        one, two = (values.clone(memory_format=torch.preserve_format) for _ in range(2))
        if dtype.is_floating_point:
            one, two = one.requires_grad_(), two.requires_grad_()
        what = f"{name}({options}, output_size={size}) of {tuple(values.shape)} #{number}"
        call = partial(attempt_unpooling, name, indices, {**options, "output_size": size})
        expected, got = call(theirs, one), call(ours, two)
        if isinstance(expected, Exception):
            assert_error_like(got, expected, what)
            continue
        assert_equal(got, expected, True, dtype, what)
        gy = torch.from_numpy(seeded(what).standard_normal(tuple(got.shape))).to(dtype)
        expected.backward(gy)
        got.backward(gy)
        assert_same_bits(two.grad, to_numpy(one.grad), f"{what} gradient")
        served += 1
    assert served >= 2 or not dtype.is_floating_point


@pytest.mark.parametrize("name", [name for name in NAMES if stem(name)[0] == "avg_pool"])
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_averages_of_integers(name: str, dtype: torch.dtype, rng: np.random.Generator) -> None:
    """The exact mean, rounded half to even."""
    for _ in range(12):
        x = an_input(stem(name)[1], rng, dtype)
        options = arguments(name, rng, x)
        expected = attempt(lambda o=options, x=x: getattr(theirs, name)(x.double(), **o))
        if not isinstance(expected, Exception):
            assert_same_bits(getattr(ours, name)(x, **options), to_numpy(torch.round(expected).to(dtype)), str(options))


@pytest.mark.parametrize("name", [name for name in LAYERS if "Unpool" not in name])
def test_layers(name: str, rng: np.random.Generator) -> None:
    """Each layer is its function, which the test above compares; here that it passes its parameters on."""
    spatial = int(name[-2])
    function = re.sub(r"(?<!^)(?=[A-Z])", "_", name[:-2].replace("LP", "Lp")).lower() + name[-2:]
    served = 0
    for _ in range(16):
        x = an_input(spatial, rng, torch.float64, positive="LP" in name)
        options = arguments(function, rng, x)
        if "Max" in name:
            options |= maybe(rng, {"return_indices": True})
        if name.startswith("Max") and options.get("return_indices") and sees_padding_only(options, x, spatial):
            continue
        layers = getattr(torch.nn, name)(**options), getattr(pt, name)(**options)
        found = []
        for layer in layers:
            torch.manual_seed(0)
            found.append(attempt(lambda layer=layer, x=x: layer(input=x)))
        expected, got = found
        if isinstance(expected, Exception):
            assert_error_like(got, expected, f"{name}({options})")
            continue
        assert_equal(got, expected, "Max" in name, x.dtype, f"{name}({options}) of {tuple(x.shape)}")
        assert repr(layers[0]) == repr(layers[1])
        served += 1
    assert served > 4


def parameters(function: Any) -> list[tuple[str, Any]]:
    """Names and defaults, in order, without those that are by keyword only: those are more than torch has."""
    found = inspect.signature(function).parameters.values()
    return [(p.name, p.default) for p in found if p.kind is not inspect.Parameter.KEYWORD_ONLY]


def torchs_parameters(name: str) -> list[tuple[str, Any]]:
    """Of a function that is compiled, as the first line of its docstring says."""
    function = getattr(theirs, f"_{name}", getattr(theirs, name))
    if name != f"{stem(name)[0]}{stem(name)[1]}d" or inspect.isfunction(function):
        return parameters(function)
    scope: dict[str, Any] = {}
    line = next(line for line in function.__doc__.splitlines() if line.startswith(name))
    exec(f"def {line.split('->')[0]}: pass", scope)
    return parameters(scope[name])


@pytest.mark.parametrize("name", NAMES)
def test_functions_have_torchs_parameters(name: str) -> None:
    assert parameters(getattr(ours, name)) == torchs_parameters(name)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_have_torchs_parameters(name: str) -> None:
    one, two = getattr(torch.nn, name), getattr(pt, name)
    assert parameters(two.__init__) == parameters(one.__init__)
    assert parameters(two.forward) == parameters(one.forward)


def test_nothing_of_torchs_is_missing() -> None:
    """Every name of torch.nn and torch.nn.functional that pools."""
    layers = {name for name in dir(torch.nn) if re.search(r"ool\d?d$", name)}
    functions = {name for name in dir(theirs) if re.match(r"[a-z]\w*pool\d?d", name)}
    assert layers == set(LAYERS) and len(layers) == 20
    assert functions == set(NAMES) and len(functions) == 28
