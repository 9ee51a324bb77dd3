"""torch's own samples of its pooling functions and modules: the inputs of the tests by which it holds itself to account.

They are part of torch's wheel, but need `expecttest` to be imported.
"""

from __future__ import annotations

from functools import cache
from itertools import islice
from typing import Any

import pytest
import torch

import poolwise.torch as pt
import poolwise.torch.functional as ours

pytest.importorskip("expecttest", reason="torch's samples need expecttest, which is not installed")

FUNCTIONS = [name for name in ours.__all__ if hasattr(torch.nn.functional, name) and "indices" not in name]
LAYERS = [name for name in pt.__all__ if hasattr(torch.nn, name)]
ROUNDS = {torch.float64: 1e-12, torch.bfloat16: 6e-2}
"""By dtype, which torch adds up in, in half precision too."""
MOST = 24
"""Samples of one function and dtype; torch has up to 1440, which are products of few choices."""


@cache
def infos() -> tuple[dict[str, list[Any]], dict[str, Any]]:
    """By name: the samples of functions, of which some have two kinds, and of modules."""
    functions = pytest.importorskip("torch.testing._internal.common_methods_invocations").op_db
    modules = pytest.importorskip("torch.testing._internal.common_modules").module_db
    by_name: dict[str, list[Any]] = {}
    for info in functions:
        by_name.setdefault(info.name.removeprefix("nn.functional."), []).append(info)
    return by_name, {info.name.removeprefix("nn."): info for info in modules}


def of(name: str) -> list[Any]:
    found = infos()[0].get(name)
    if found is None:
        pytest.skip(f"this torch has no samples of {name}")
    return found


def leaves(x: Any) -> Any:
    return x.detach().clone(memory_format=torch.preserve_format).requires_grad_(x.requires_grad)


def assert_close(got: Any, expected: Any, exact: bool, what: str) -> None:
    if isinstance(expected, (tuple, list)):
        assert len(got) == len(expected), what
        for one, two in zip(got, expected, strict=True):
            assert_close(one, two, exact, what)
        return
    assert got.dtype == expected.dtype and got.shape == expected.shape, what
    bound = 0 if exact else ROUNDS.get(got.dtype, 0)
    torch.testing.assert_close(got, expected, rtol=bound, atol=bound, msg=lambda text: f"{what}: {text}")


def some(samples: Any, limit: int) -> Any:
    """Of many, some spread over as many as are made in little time: no choice's period divides the step."""
    every = list(islice(samples, limit))
    return every[:: -(-len(every) // MOST) | 1]


def kinds(name: str) -> list[tuple[Any, torch.dtype]]:
    """Samples and a dtype: all that torch has, but of unpooling, which looks at no value and whose samples take long to
    make, and of averages of integers, which torch cuts off and we round: see the differences."""
    dtypes = [torch.float64] if "unpool" in name else [*ROUNDS] if "avg" in name else [*ROUNDS, torch.int64]
    return [(info, dtype) for info in of(name) for dtype in dtypes if dtype in info.supported_dtypes("cpu")]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_samples_of_functions(name: str) -> None:
    """Values and gradients."""
    for info, dtype in kinds(name):
        samples = info.sample_inputs("cpu", dtype, requires_grad=dtype.is_floating_point)
        for sample in some(samples, 72 if "unpool" in name else 480):
            what = f"{name}{sample.args}, {sample.kwargs} of {tuple(sample.input.shape)} {dtype}"
            one, two = leaves(sample.input), leaves(sample.input)
            found = []
            for module, x in ((torch.nn.functional, one), (ours, two)):
                torch.manual_seed(0)
                found.append(getattr(module, name)(x, *sample.args, **sample.kwargs))
            expected, got = found
            assert_close(got, expected, "max" in name, what)
            y, expected_y = (v[0] if isinstance(v, tuple) else v for v in (got, expected))
            # Some samples of unpooling have values that share a position, whose gradients differ: those of "grad" none.
            if expected_y.requires_grad and not ("unpool" in name and info.variant_test_name == ""):
                gy = torch.randn_like(expected_y)
                (gx,) = torch.autograd.grad(y, two, gy)
                assert_close(gx, torch.autograd.grad(expected_y, one, gy)[0], False, f"{what} gradient")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_error_samples_of_functions(name: str) -> None:
    """What torch refuses with a type of error, we refuse with one that is of this type too."""
    refused = 0
    for info in of(name):
        for sample in info.error_inputs("cpu") if info.error_inputs_func is not None else ():
            given = sample.sample_input
            if given.input.ndim == int(name[-2]) + 1 and len(given.input) == 0:
                continue  # no channels: an empty result, see the differences
            with pytest.raises(sample.error_type):
                info.op(given.input, *given.args, **given.kwargs)
            with pytest.raises((ValueError, TypeError)) as caught:
                getattr(ours, name)(given.input, *given.args, **given.kwargs)
            assert isinstance(caught.value, (sample.error_type, RuntimeError)), (sample.error_type, caught.value)
            refused += 1
    if not refused:
        pytest.skip(f"torch has no errors of {name}")


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_samples_of_layers(name: str, training: bool) -> None:
    """Values and gradients of torch's module and ours, made and called alike."""
    info = infos()[1].get(name)
    if info is None:
        pytest.skip(f"this torch has no samples of {name}")
    for sample in info.module_inputs_func(info, "cpu", torch.float64, True, training):
        made, called = sample.constructor_input, sample.forward_input
        layers = [kind(*made.args, **made.kwargs) for kind in (getattr(torch.nn, name), getattr(pt, name))]
        assert repr(layers[0]) == repr(layers[1])
        # Of numbers below 0 torch's norms are NaN, and ours the norms: see the differences.
        args = [x.abs().detach().requires_grad_() if "LP" in name else x for x in called.args]
        inputs = [[leaves(x) for x in args] for _ in layers]
        found = []
        for layer, args in zip(layers, inputs, strict=True):
            torch.manual_seed(0)
            found.append(layer.train(training)(*args, **called.kwargs))
        assert_close(found[1], found[0], "Max" in name, f"{layers[1]} {sample.desc}")
        grads = []
        for y, args in zip(found, inputs, strict=True):
            values = y[0] if isinstance(y, tuple) else y
            grads.append(torch.autograd.grad(values.square().sum(), args[0])[0])
        assert_close(grads[1], grads[0], False, f"{layers[1]} gradient")
