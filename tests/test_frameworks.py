"""torch: autograd of every order, transforms, memory formats, and the layers against torch's own."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from cases import CASES, Case, Variant, pairs, problem_of
from helpers import assert_refused, assert_same_bits, distinct, seeded, to_numpy
from torch.autograd import gradcheck, gradgradcheck

import poolwise as pw
import poolwise.torch as pt
from poolwise.backends import BACKENDS

FEW = ("overlap", "adaptive", "ceil-padded", "dilated", "1d", "fractional", "sees-padding-only", "channels-last")
SWEEP = [(v, c) for v, c in pairs() if c.id in FEW]


def pooled(variant: Variant, case: Case, **more: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """The call as a function of the tensor alone."""
    function, options = case.call(variant)
    return lambda x: function(x, **options, **more)


def smooth_input(variant: Variant, case: Case) -> torch.Tensor:
    """float64, without ties, small: numerical derivatives stay on one side of every kink."""
    shape = (
        tuple(min(n, 7) if axis else 1 for axis, n in enumerate(case.shape)) if case.id not in ("1d",) else case.shape
    )
    if case.id == "channels-last":
        shape = (*case.shape[:2], 2)
    return torch.tensor(distinct(seeded(variant.id, case.id), shape), requires_grad=True)


@pytest.mark.parametrize("variant,case", SWEEP, ids=lambda value: value.id)
def test_gradcheck(variant: Variant, case: Case) -> None:
    """First and second derivatives equal numerical ones."""
    x = smooth_input(variant, case)
    f = pooled(variant, case)
    assert gradcheck(f, (x,), eps=1e-5, atol=1e-6, fast_mode=True)
    assert gradgradcheck(f, (x,), eps=1e-5, atol=1e-5, fast_mode=True)


@pytest.mark.parametrize("variant", [v for v, c in pairs() if c.id == "overlap"], ids=lambda v: v.id)
def test_gradcheck_in_full(variant: Variant, backend: str) -> None:
    """Every entry of both Jacobians, on the backend by name where it serves."""
    case = next(c for c in CASES if c.id == "overlap")
    x = torch.tensor(distinct(seeded(variant.id), (1, 4, 5)), requires_grad=True)
    problem = problem_of(case, variant, "float64")
    if next(b for b in BACKENDS if b.name == backend).why_not(problem, "cpu") is not None:
        return
    f = pooled(variant, case, backend=backend)
    assert gradcheck(f, (x,), eps=1e-5, atol=1e-6)
    assert gradgradcheck(f, (x,), eps=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant,case", [p for p in SWEEP if p[1].id in ("overlap", "adaptive")], ids=lambda v: v.id)
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # torch's own, in jacfwd
def test_transforms(variant: Variant, case: Case) -> None:
    """vmap, grad, jacrev and jacfwd give what plain calls give."""
    f = pooled(variant, case)
    x = torch.tensor(seeded(variant.id).standard_normal((3, *case.shape)))
    together = torch.func.vmap(f)(x)
    torch.testing.assert_close(together, torch.stack([f(one) for one in x]))
    moved = torch.func.vmap(f, in_dims=1, out_dims=1)(x.movedim(0, 1))
    torch.testing.assert_close(moved.movedim(1, 0), together)
    small = x[0, :1, :4, :4].clone()
    leaf = small.clone().requires_grad_()
    f(leaf).square().sum().backward()
    torch.testing.assert_close(torch.func.grad(lambda at: f(at).square().sum())(small), leaf.grad)
    per_sample = torch.func.vmap(torch.func.grad(lambda at: f(at).square().sum()))(torch.stack([small, 2 * small]))
    torch.testing.assert_close(per_sample[0], leaf.grad)
    reverse, forward = torch.func.jacrev(f)(small), torch.func.jacfwd(f)(small)
    torch.testing.assert_close(reverse, forward)
    torch.testing.assert_close(reverse, torch.autograd.functional.jacobian(f, small))


@pytest.mark.parametrize("op", [op.name for op in pw.OPS])
def test_requires_grad_flows(op: str) -> None:
    x = torch.randn(2, 3, 6, 6)
    assert not pw.pool(x, op, (2, 2)).requires_grad
    x.requires_grad_()
    y = pw.pool(x, op, (2, 2))
    assert y.requires_grad and y.grad_fn is not None
    y.sum().backward()
    assert x.grad is not None and x.grad.shape == x.shape and torch.isfinite(x.grad).all()
    with torch.no_grad():
        assert not pw.pool(x, op, (2, 2)).requires_grad
    with torch.inference_mode():
        assert pw.pool(x, op, (2, 2)).is_inference()


def test_indices_are_not_differentiable() -> None:
    x = torch.randn(2, 3, 6, 6, requires_grad=True)
    values, indices = pw.max_pool_with_indices(x, (2, 2))
    assert values.requires_grad and not indices.requires_grad and indices.dtype == torch.int64
    values.sum().backward()
    assert x.grad.sum() == values.numel()
    assert_same_bits(x.grad.reshape(6, 36).gather(1, indices.reshape(6, 9)), np.ones((6, 9), np.float32))


def test_gradients_after_an_input_was_overwritten_raise() -> None:
    """An operator that saves its input must notice; one that saves offsets or nothing need not."""
    for op in ("lp", "median"):
        x = torch.randn(4, 4, requires_grad=True)
        inner = x * 1
        y = pw.pool(inner, op, (2, 2))
        inner.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()


@pytest.mark.parametrize("op", [op.name for op in pw.OPS])
@pytest.mark.parametrize(
    "memory_format,shape", [(torch.channels_last, (2, 3, 6, 5)), (torch.channels_last_3d, (2, 3, 4, 6, 5))]
)
def test_channels_last_is_kept(op: str, memory_format: torch.memory_format, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape).contiguous(memory_format=memory_format).requires_grad_()
    window = (2,) * (len(shape) - 2)
    y = pw.pool(x, op, window)
    assert y.is_contiguous(memory_format=memory_format)
    y.backward(torch.ones_like(y))
    assert x.grad.is_contiguous(memory_format=memory_format)
    plain = x.detach().contiguous().requires_grad_()
    expected = pw.pool(plain, op, window)
    expected.backward(torch.ones_like(expected))
    assert_same_bits(y.contiguous(), to_numpy(expected))
    assert_same_bits(x.grad.contiguous(), to_numpy(plain.grad))


@pytest.mark.parametrize("op", [op.name for op in pw.OPS])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types(op: str, dtype: torch.dtype) -> None:
    x = torch.randn(2, 3, 6, 6, dtype=dtype, requires_grad=True)
    y = pw.pool(x, op, (3, 2))
    assert y.dtype == dtype
    y.sum().backward()
    assert x.grad.dtype == dtype
    wide = pw.pool(x.detach().double(), op, (3, 2))
    torch.testing.assert_close(y.detach().double(), wide, rtol=torch.finfo(dtype).eps, atol=1e-3)


def test_half_averages_of_long_windows_are_exact() -> None:
    """Peers' half-precision accumulators saturate: a mean of ones is one."""
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        ones = torch.ones(1, 1, 128, 128, dtype=dtype)
        assert (pw.global_avg_pool(ones, axes=(2, 3)) == 1).all()
        assert (pt.AdaptiveAvgPool2d(2)(ones) == 1).all()


def test_long_float32_sums_keep_their_ones() -> None:
    x = torch.ones(1, 1024 * 1024)
    x[0, 0] = 2.0**24
    expected = (2.0**24 + 2.0**20 - 1) / 2**20
    assert float(pw.global_avg_pool(x, axes=1)[0, 0]) == pytest.approx(expected, rel=2**-24)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64", "bool"])
def test_integer_tensors(dtype: str) -> None:
    x = torch.tensor([[3, 1, 4], [1, 5, 9]]).to(getattr(torch, dtype))
    values, indices = pw.max_pool_with_indices(x, (2, 3))
    assert values.dtype == x.dtype and not values.requires_grad
    assert values.to(torch.int64).item() == (1 if dtype == "bool" else 9)
    assert indices.item() == (0 if dtype == "bool" else 5)
    back = pw.max_unpool(values, indices, (2, 3))
    assert back.dtype == x.dtype and back.to(torch.int64).sum() == values.to(torch.int64).sum()


def test_tensors_that_share_no_plain_memory() -> None:
    """Negated views, expanded tensors, parameters, meta tensors."""
    x = torch.randn(3, 4, 4)
    negated = torch._neg_view(x)
    assert_same_bits(pw.max_pool(negated, (2, 2)), to_numpy(-pw.min_pool(x, (2, 2))))
    expanded = torch.randn(1, 4, 4).expand(3, 4, 4).requires_grad_()
    pw.avg_pool(expanded, (2, 2)).sum().backward()
    assert (expanded.grad == 0.25).all()
    assert pw.max_pool(torch.nn.Parameter(x), (2, 2)).requires_grad
    assert pw.max_pool(torch.empty(8, 6, 6, device="meta"), (2, 2)).shape == (8, 3, 3)


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch's own, while it looks around
def test_compiled_calls_beside_plain_ones(grad: bool) -> None:
    """`torch.compile` gives what plain calls give, before and after the same call was made without it."""
    layer, conv = pt.MaxPool2d(2), torch.nn.Conv2d(3, 3, 3)

    def f(x: torch.Tensor) -> torch.Tensor:
        return torch.relu(pw.max_pool(layer(conv(x * 2)), (2, 2), stride=1)) + 1

    x = torch.randn(1, 3, 9, 8, requires_grad=grad)
    for remembered in (False, True):
        torch._dynamo.reset()
        if remembered:
            f(x)
        compiled = torch.compile(f, backend="eager")
        for _ in range(3):
            torch.testing.assert_close(compiled(x), f(x))
            if grad:
                one, two = (torch.autograd.grad(g(x).sum(), x)[0] for g in (compiled, f))
                torch.testing.assert_close(one, two)


# Layers against torch's.


def fuzzed(spatial: int, rng: np.random.Generator, kind: str) -> tuple[dict[str, Any], torch.Tensor]:
    """Arguments that torch accepts often, and an input with ties, in any memory format."""
    kernel = [int(k) for k in rng.integers(1, 5, spatial)]
    arguments: dict[str, Any] = {"kernel_size": kernel[0] if rng.random() < 0.3 else tuple(kernel)}
    kernel = [kernel[0]] * spatial if isinstance(arguments["kernel_size"], int) else kernel
    if rng.random() < 0.7:
        arguments["stride"] = tuple(int(s) for s in rng.integers(1, 4, spatial))
    if rng.random() < 0.5:
        arguments["ceil_mode"] = True
    if kind != "lp" and rng.random() < 0.6:
        arguments["padding"] = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    if kind == "max" and rng.random() < 0.4:
        arguments["dilation"] = tuple(int(d) for d in rng.integers(1, 4, spatial))
    if kind == "avg":
        arguments["count_include_pad"] = bool(rng.random() < 0.5)
        if spatial > 1 and rng.random() < 0.3:
            arguments["divisor_override"] = int(rng.integers(1, 7))
    shape = [int(n) for n in rng.integers(1, 3, int(rng.integers(1, 3)))]
    shape = [2, *shape][: len(shape)] + [int(n) for n in rng.integers(3, 10, spatial)]
    x = torch.from_numpy(rng.integers(-4, 5, shape) / 2)
    if x.ndim == 4 and spatial == 2 and rng.random() < 0.5:
        x = x.contiguous(memory_format=torch.channels_last)
    return arguments, x


def assert_layer_is_torchs(name: str, arguments: dict[str, Any], x: torch.Tensor, equal: bool) -> bool:
    """Values, indices and gradients; False where torch refuses the arguments (then we must too)."""
    theirs, ours = getattr(torch.nn, name)(**arguments), getattr(pt, name)(**arguments)
    one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
    what = f"{name}({arguments}) of {tuple(x.shape)}"
    try:
        expected = theirs(one)
    except (RuntimeError, ValueError, TypeError) as error:
        if "smaller than kernel size" in str(error):
            return False  # torch's 3-D average refuses a window longer than the unpadded input, its others do not
        with pytest.raises((ValueError, TypeError)):
            ours(two)
        return False
    got = ours(two)
    if isinstance(expected, tuple):
        assert_same_bits(got[1], to_numpy(expected[1]), f"{what} indices")
        expected, got = expected[0], got[0]
    gy = torch.from_numpy(seeded(what).standard_normal(tuple(expected.shape)))
    expected.backward(gy)
    got.backward(gy)
    if equal:
        assert_same_bits(got, to_numpy(expected), what)
    else:
        torch.testing.assert_close(
            got, expected, rtol=1e-12, atol=1e-12, equal_nan=True, msg=lambda text: f"{what}: {text}"
        )
    torch.testing.assert_close(two.grad, one.grad, rtol=1e-12, atol=1e-12, msg=lambda text: f"{what} gradient: {text}")
    return True


@pytest.mark.parametrize("spatial", [1, 2, 3])
@pytest.mark.parametrize("indices", [False, True])
def test_max_layers(spatial: int, indices: bool, rng: np.random.Generator) -> None:
    served = 0
    for _ in range(80):
        arguments, x = fuzzed(spatial, rng, "max")
        arguments["return_indices"] = indices
        if indices and sees_padding_only(arguments, x, spatial):
            continue  # torch's index of a window of padding lies outside of it
        served += assert_layer_is_torchs(f"MaxPool{spatial}d", arguments, x, equal=True)
    assert served > 20


def sees_padding_only(arguments: dict[str, Any], x: torch.Tensor, spatial: int) -> bool:
    options = {
        name: value for name, value in arguments.items() if name in ("stride", "padding", "dilation", "ceil_mode")
    }
    try:
        pw.explain(pw.max_pool, x, arguments["kernel_size"], axes=tuple(range(-spatial, 0)), **options)
    except ValueError as error:
        return "sees no real element" in str(error)
    return False


@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_avg_layers(spatial: int, rng: np.random.Generator) -> None:
    served = sum(
        assert_layer_is_torchs(f"AvgPool{spatial}d", *fuzzed(spatial, rng, "avg"), equal=False) for _ in range(120)
    )
    assert served > 30


@pytest.mark.parametrize("spatial", [1, 2, 3])
@pytest.mark.parametrize("norm", [1, 2, 3, 4])
def test_lp_layers(spatial: int, norm: int, rng: np.random.Generator) -> None:
    """Equal where torch is finite; its odd powers keep the sign, and its even ones are norms."""
    served = 0
    for _ in range(40):
        arguments, x = fuzzed(spatial, rng, "lp")
        # torch's gradient of p = 1 is 0 where a window's sum is exactly 0, though it is a sum: no element is 0 here.
        spread = torch.from_numpy(rng.standard_normal(tuple(x.shape)))
        x = x.abs() + 0.5 if norm > 1 else spread
        if spatial == 1:
            arguments = {name: value[0] if isinstance(value, tuple) else value for name, value in arguments.items()}
        served += assert_layer_is_torchs(f"LPPool{spatial}d", {"norm_type": norm, **arguments}, x, equal=False)
    assert served > 10


@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_adaptive_layers(spatial: int, rng: np.random.Generator) -> None:
    for _ in range(60):
        _, x = fuzzed(spatial, rng, "max")
        size = tuple(int(n) for n in rng.integers(1, 12, spatial))
        chosen: Any = size[0] if rng.random() < 0.3 else tuple(None if rng.random() < 0.2 else n for n in size)
        if spatial == 1:
            chosen = size[0]
        assert assert_layer_is_torchs(f"AdaptiveAvgPool{spatial}d", {"output_size": chosen}, x, equal=False)
        for indices in (False, True):
            arguments = {"output_size": chosen, "return_indices": indices}
            assert assert_layer_is_torchs(f"AdaptiveMaxPool{spatial}d", arguments, x, equal=True)


REFUSED_BY_TORCH = [
    ("MaxPool2d", {"kernel_size": 3, "padding": 2}),
    ("MaxPool2d", {"kernel_size": (3, 1), "padding": (1, 1)}),
    ("AvgPool2d", {"kernel_size": 3, "padding": 2}),
    ("AvgPool1d", {"kernel_size": 2, "padding": 2}),
    ("MaxPool2d", {"kernel_size": 0}),
    ("MaxPool2d", {"kernel_size": 2, "stride": 0}),
    ("MaxPool2d", {"kernel_size": 2, "padding": -1}),
    ("MaxPool2d", {"kernel_size": 2, "dilation": 0}),
    ("MaxPool2d", {"kernel_size": 9}),
    ("MaxPool2d", {"kernel_size": (2, 2, 2)}),
    ("AvgPool2d", {"kernel_size": 2, "divisor_override": 0}),
    ("AvgPool2d", {"kernel_size": -1}),
    ("AdaptiveAvgPool2d", {"output_size": -1}),
    ("AdaptiveMaxPool2d", {"output_size": (2, 2, 2)}),
]


@pytest.mark.parametrize("name,arguments", REFUSED_BY_TORCH, ids=[f"{n}-{a}" for n, a in REFUSED_BY_TORCH])
def test_layers_raise_where_torch_raises(name: str, arguments: dict[str, Any]) -> None:
    x = torch.randn(1, 2, 5, 5) if "2d" in name else torch.randn(1, 2, 5)
    with pytest.raises((RuntimeError, ValueError, TypeError)):
        getattr(torch.nn, name)(**arguments)(x)
    assert_refused(lambda: getattr(pt, name)(**arguments)(x))


@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_layers_refuse_other_ranks(spatial: int) -> None:
    for ndim in range(6):
        x = torch.randn([4] * ndim)
        layer = getattr(pt, f"MaxPool{spatial}d")(2)
        if ndim in (spatial + 1, spatial + 2):
            assert layer(x).shape == (*x.shape[:-spatial], *[2] * spatial)
        else:
            assert_refused(lambda layer=layer, x=x: layer(x), (ValueError,))


LAYERS: dict[str, dict[str, Any]] = {
    **{f"{kind}Pool{n}d": {"kernel_size": 2} for kind in ("Max", "Avg", "Min", "Sum", "Median") for n in (1, 2, 3)},
    **{f"MaxBlurPool{n}d": {"kernel_size": 2} for n in (1, 2, 3)},
    **{f"MaxUnpool{n}d": {"kernel_size": 2} for n in (1, 2, 3)},
    **{f"LPPool{n}d": {"norm_type": 2, "kernel_size": 2} for n in (1, 2, 3)},
    **{f"Adaptive{kind}Pool{n}d": {"output_size": 2} for kind in ("Max", "Avg") for n in (1, 2, 3)},
    **{f"FractionalMaxPool{n}d": {"kernel_size": 2, "output_ratio": 0.5} for n in (1, 2, 3)},
    **{f"BlurPool{n}d": {} for n in (1, 2, 3)},
}


def called(layer: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The layer on a tensor, or on what was pooled of it where it unpools; random ones with the same draws."""
    torch.manual_seed(0)
    name = type(layer).__name__
    if "Unpool" not in name:
        return layer(x)
    return layer(*getattr(pt, f"MaxPool{name[-2]}d")(2, return_indices=True)(x))


def test_every_layer_is_listed_here() -> None:
    assert set(LAYERS) == set(pt.__all__)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_modules(name: str) -> None:
    """No state, copied and pickled whole, and a repr that says how to build them."""
    layer = getattr(pt, name)(**LAYERS[name])
    x = torch.randn(2, 3, *[6] * int(name[-2]))
    expected = called(layer, x)
    assert not layer.state_dict() and not list(layer.parameters())
    layer.load_state_dict({})
    buffer = io.BytesIO()
    torch.save(layer, buffer)
    buffer.seek(0)
    copies = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), torch.load(buffer, weights_only=False)]
    for other in copies:
        assert repr(other) == repr(layer)
        assert_same_bits(called(other, x), to_numpy(expected))
    assert repr(layer).startswith(f"{name}(")
    for argument in LAYERS[name]:
        assert f"{argument}=" in layer.extra_repr() or hasattr(torch.nn, name)
    if "Unpool" in name:
        return
    sequential = torch.nn.Sequential(torch.nn.Identity(), layer)
    torch.manual_seed(0)
    assert_same_bits(sequential.eval()(x), to_numpy(expected))


@pytest.mark.parametrize("name", [name for name in LAYERS if hasattr(torch.nn, name)])
def test_layer_reprs_are_torchs(name: str) -> None:
    assert repr(getattr(pt, name)(**LAYERS[name])) == repr(getattr(torch.nn, name)(**LAYERS[name]))


# Unpooling.


@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_unpool_is_torchs(spatial: int, rng: np.random.Generator) -> None:
    """Disjoint windows: values, and gradients of both orders."""
    x = torch.from_numpy(distinct(rng, (2, 3, *(6, 4, 8)[:spatial]))).requires_grad_()
    pool = getattr(torch.nn.functional, f"max_pool{spatial}d")
    unpool = getattr(torch.nn.functional, f"max_unpool{spatial}d")
    values, indices = pool(x, 2, return_indices=True)
    expected = unpool(values, indices, 2)
    ours, found = pw.max_pool_with_indices(x, (2,) * spatial)
    got = pw.max_unpool(ours, found, tuple(x.shape[2:]))
    assert_same_bits(got, to_numpy(expected))
    gy = torch.from_numpy(rng.standard_normal(tuple(got.shape)))
    (one,), (two,) = torch.autograd.grad(got, x, gy), torch.autograd.grad(expected, x, gy)
    assert_same_bits(one, to_numpy(two))


@pytest.mark.parametrize("duplicates", ["last", "sum", "max"])
def test_unpool_duplicates(duplicates: str, framework: str, rng: np.random.Generator) -> None:
    """Against a loop, for positions that repeat, with ties."""
    values = rng.integers(-3, 4, (2, 3, 4)).astype(np.float64)
    indices = rng.integers(0, 10, (2, 3, 4))
    expected = np.zeros((2, 10))
    for plane in range(2):
        seen: dict[int, float] = {}
        for at, value in zip(indices[plane].ravel().tolist(), values[plane].ravel().tolist(), strict=True):
            if duplicates == "last" or at not in seen:
                seen[at] = value
            else:
                seen[at] = seen[at] + value if duplicates == "sum" else max(seen[at], value)
        for at, value in seen.items():
            expected[plane, at] = value
    arrays = (values, indices) if framework == "numpy" else (torch.from_numpy(values), torch.from_numpy(indices))
    got = pw.max_unpool(*arrays, (5, 2), duplicates=duplicates)
    assert_same_bits(got, expected.reshape(2, 5, 2))
    for _ in range(3):
        assert_same_bits(pw.max_unpool(*arrays, (5, 2), duplicates=duplicates), to_numpy(got), "another run")


@pytest.mark.parametrize("duplicates", ["last", "sum", "max"])
def test_unpool_gradients(duplicates: str, rng: np.random.Generator) -> None:
    values = torch.from_numpy(distinct(rng, (2, 3, 3))).requires_grad_()
    indices = torch.from_numpy(rng.integers(0, 8, (2, 3, 3)))
    assert gradcheck(lambda v: pw.max_unpool(v, indices, (2, 4), duplicates=duplicates), (values,))
    assert gradgradcheck(lambda v: pw.max_unpool(v, indices, (2, 4), duplicates=duplicates), (values,))


def test_unpool_last_is_torchs_on_one_plane(rng: np.random.Generator) -> None:
    """torch's CPU kernel writes in scan order: the last of equal positions stays."""
    x = torch.from_numpy(rng.integers(0, 3, (1, 1, 7, 7)).astype(np.float64))
    values, indices = torch.nn.functional.max_pool2d(x, 3, 1, return_indices=True)
    values = values + torch.arange(25.0).reshape(1, 1, 5, 5).double()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # with more, it depends on who comes last
    try:
        expected = torch.nn.functional.max_unpool2d(values, indices, 3, 1, output_size=(7, 7))
    finally:
        torch.set_num_threads(threads)
    assert_same_bits(pw.max_unpool(values, indices, (7, 7)), to_numpy(expected))


def test_unpool_on_axes_that_are_not_last(framework: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal((6, 4, 3))
    given = x if framework == "numpy" else torch.from_numpy(x)
    values, indices = pw.max_pool_with_indices(given, (2, 2), axes=(0, 1))
    got = to_numpy(pw.max_unpool(values, indices, (6, 4), axes=(0, 1)))
    moved = np.moveaxis(x, -1, 0)
    expected = pw.max_unpool(*pw.max_pool_with_indices(np.ascontiguousarray(moved), (2, 2)), (6, 4))
    assert_same_bits(np.moveaxis(got, -1, 0), expected)
