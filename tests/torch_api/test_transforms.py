"""torch's transforms: `torch.func` and its compositions, forward mode, compilers, exporters, modes, subclasses."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vjp, vmap
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint

import poolwise as pw
import poolwise.torch as pt

Tensor = torch.Tensor
Map = Callable[[Tensor], Tensor]
JIT = pytest.mark.filterwarnings("ignore:`torch.jit.*` is deprecated:DeprecationWarning")  # torch's own

OPERATORS: dict[str, Map] = {
    "max": lambda x: pw.max_pool(x, (3, 2), stride=2, padding=1),
    "max-empty": lambda x: pw.max_pool(x, (2, 2), stride=2, padding=2, empty=-7.0),
    "min": lambda x: pw.min_pool(x, (2, 2), dilation=2, stride=1),
    "avg": lambda x: pw.avg_pool(x, (2, 3), stride=2),
    "avg-empty": lambda x: pw.avg_pool(x, (2, 2), stride=2, padding=2, empty=0.0, count_include_pad=True),
    "sum": lambda x: pw.sum_pool(x, (2, 2), ceil_mode=True),
    "lp": lambda x: pw.lp_pool(x, (2, 2), p=3),
    "median": lambda x: pw.median_pool(x, (2, 3), stride=1),
    "blur": lambda x: pw.blur_pool(x, (3, 3)),
    "adaptive": lambda x: pw.adaptive_max_pool(x, (4, 3)),
    "global": lambda x: pw.global_avg_pool(x, axes=(-2, -1)),
    "fractional": lambda x: pw.fractional_pool(x, "max", (3, 3), draws=(0.3, 0.6)),
    "max-blur": lambda x: pw.max_blur_pool(x, (2, 2)),
}
ALL = pytest.mark.parametrize("name", OPERATORS)


def sample(*shape: int) -> Tensor:
    """Values without ties, none near zero, so that numerical derivatives stay on one side of every kink."""
    n = math.prod(shape)
    steps = torch.randperm(n, generator=torch.Generator().manual_seed(n)).to(torch.float64)
    return ((steps + 0.5) / n * 4 - 2).reshape(shape)


def loops(f: Map, x: Tensor) -> Tensor:
    return torch.stack([f(one) for one in x])


def gradient(f: Map, x: Tensor) -> Tensor:
    """By the plain path."""
    x = x.clone().requires_grad_()
    (gx,) = torch.autograd.grad(f(x).pow(3).sum(), x)
    return gx


def cubed(f: Map) -> Map:
    return lambda x: f(x).pow(3).sum()


@ALL
@JIT
def test_maps_and_gradients(name: str) -> None:
    f, x = OPERATORS[name], sample(3, 2, 5, 6)
    assert torch.equal(vmap(f)(x), loops(f, x))
    assert torch.equal(vmap(f, in_dims=1, out_dims=1)(x.movedim(0, 1)).movedim(1, 0), loops(f, x))
    assert torch.equal(vmap(vmap(f))(x[None]), loops(f, x)[None])
    torch.testing.assert_close(grad(cubed(f))(x), gradient(f, x))
    torch.testing.assert_close(vmap(grad(cubed(f)))(x), loops(lambda one: gradient(f, one), x))
    torch.testing.assert_close(grad(lambda x: vmap(f)(x).pow(3).sum())(x), gradient(f, x))
    pulled = vmap(vjp(f, x)[1])(torch.stack([torch.ones_like(f(x)), 2 * torch.ones_like(f(x))]))[0]
    torch.testing.assert_close(pulled[1], 2 * pulled[0])


@ALL
@JIT
def test_jacobians(name: str) -> None:
    f, x, tx = OPERATORS[name], sample(1, 5, 6), sample(1, 6, 5).mT
    full = torch.autograd.functional.jacobian(f, x)
    torch.testing.assert_close(jacrev(f)(x), full)
    torch.testing.assert_close(jacfwd(f)(x), full)
    torch.testing.assert_close(jvp(f, (x,), (tx,))[1], torch.einsum("...chw,chw->...", full, tx))
    second = torch.autograd.functional.hessian(cubed(f), x)
    torch.testing.assert_close(hessian(cubed(f))(x), second)
    torch.testing.assert_close(jacrev(jacrev(cubed(f)))(x), second)
    torch.testing.assert_close(jacfwd(jacfwd(cubed(f)))(x), second)
    torch.testing.assert_close(vmap(lambda a, b: jvp(f, (a,), (b,))[1])(x[None], tx[None])[0], jvp(f, (x,), (tx,))[1])


@ALL
@JIT
def test_gradcheck_of_every_kind(name: str) -> None:
    """Backward, forward mode, batched and second gradients against differences."""
    f, x = OPERATORS[name], sample(1, 5, 6).requires_grad_()
    torch.autograd.gradcheck(f, (x,), check_forward_ad=True, check_batched_grad=True, check_batched_forward_grad=True)
    torch.autograd.gradgradcheck(f, (x,), check_batched_grad=True, check_fwd_over_rev=True)


def test_indices_under_transforms() -> None:
    x = sample(3, 2, 6, 6)
    y, at = vmap(lambda one: pw.max_pool_with_indices(one, (2, 2)))(x)
    expected = F.max_pool2d(x, 2, return_indices=True)
    assert torch.equal(y, expected[0]) and torch.equal(at, expected[1])


LAYERS: dict[str, Callable[[], torch.nn.Module]] = {
    "max": lambda: pt.MaxPool2d(3, 2, 1),
    "max-indices": lambda: pt.MaxPool2d(2, return_indices=True),
    "avg": lambda: pt.AvgPool2d(3, 2, 1, ceil_mode=True),
    "lp": lambda: pt.LPPool2d(2, 2),
    "median": lambda: pt.MedianPool2d(3),
    "blur": lambda: pt.BlurPool2d(),
    "min": lambda: pt.MinPool2d(2, padding="same"),
    "adaptive-max": lambda: pt.AdaptiveMaxPool2d(3),
    "adaptive-avg": lambda: pt.AdaptiveAvgPool2d((4, None)),
    "max-blur": lambda: pt.MaxBlurPool2d(2),
}


def outputs(value: Any) -> tuple[Tensor, ...]:
    return value if isinstance(value, tuple) else (value,)


def assert_like(compiled: Callable[..., Any], plain: Callable[..., Any], x: Tensor) -> None:
    """Equal values, layouts and gradients."""
    one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
    ys, zs = outputs(compiled(one)), outputs(plain(two))
    for y, z in zip(ys, zs, strict=True):
        assert torch.equal(y, z) and y.stride() == z.stride()
    gy = torch.randn_like(ys[0], generator=None)
    ys[0].backward(gy)
    zs[0].backward(gy)
    assert torch.equal(one.grad, two.grad)
    with torch.no_grad():
        assert torch.equal(outputs(compiled(x))[0], zs[0])


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", LAYERS)
@JIT
def test_compile_in_one_graph(name: str, dynamic: bool) -> None:
    """No graph break, equal bits, the memory format kept; for lengths that the graph does not know, too."""
    torch._dynamo.reset()
    layer = LAYERS[name]()
    compiled = torch.compile(layer, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for shape in ((2, 3, 9, 10), (3, 4, 11, 12)):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        assert_like(compiled, layer, x)
        assert_like(compiled, layer, x.to(memory_format=torch.channels_last))


@JIT
def test_compile_of_functions() -> None:
    """Arguments of every kind, and a window that is a length of the input."""
    torch._dynamo.reset()
    x = torch.randn(2, 3, 8, 9, generator=torch.Generator().manual_seed(0))
    for f in (
        lambda x: pw.max_pool(x, (2, 2), padding=((0, 1), (1, 0))),
        lambda x: pw.pool(x, "lp", [2, 3], stride=1, p=math.inf),
        lambda x: pw.global_pool(x, "avg", axes=(2, 3)),
        lambda x: pw.avg_pool(x, tuple(x.shape[2:])),
        lambda x: pw.max_pool_with_indices(x, window=(2, 2))[0],
        lambda x: pw.max_pool(x=x, window=(2, 2)),
    ):
        for dynamic in (False, True):
            assert_like(torch.compile(f, fullgraph=True, dynamic=dynamic, backend="aot_eager"), f, x)
    out = torch.empty(2, 3, 4, 4)
    torch.compile(lambda x, out: pw.max_pool(x, (2, 2), out=out), fullgraph=True, backend="aot_eager")(x, out)
    assert torch.equal(out, F.max_pool2d(x, 2))


@JIT
def test_masked_pooling_inside_compiled_functions() -> None:
    """With a graph break, as the masked layers."""
    torch._dynamo.reset()
    x, mask = sample(1, 2, 4, 4), sample(1, 2, 4, 4) > -1

    def f(x: Tensor) -> Tensor:
        return pw.masked_pool(pw.max_pool, x + 1, (2, 2), mask=mask) * 2

    torch.testing.assert_close(torch.compile(f, backend="eager")(x), f(x), equal_nan=True)


@JIT
def test_numpy_arrays_inside_compiled_functions() -> None:
    """They pool as they do outside, with a graph break."""
    torch._dynamo.reset()
    x = np.random.default_rng(0).random((4, 4))

    def f(t: Tensor, x: np.ndarray) -> Tensor:
        return t + float(pw.max_pool(x, (2, 2)).sum())

    assert torch.compile(f, backend="eager")(torch.ones(1), x) == f(torch.ones(1), x)


@JIT
def test_compile_of_unpooling() -> None:
    torch._dynamo.reset()

    class There(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool, self.unpool = pt.MaxPool2d(2, return_indices=True), pt.MaxUnpool2d(2)

        def forward(self, x: Tensor) -> Tensor:
            return self.unpool(*self.pool(x))

    for dynamic in (False, True):
        compiled = torch.compile(There(), fullgraph=True, dynamic=dynamic, backend="aot_eager")
        assert_like(compiled, There(), torch.randn(2, 3, 8, 10, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("name", ["max", "avg", "lp", "median", "blur"])
@JIT
def test_compile_of_compositions(name: str) -> None:
    f, x = OPERATORS[name], sample(3, 2, 5, 6)
    for make in (vmap, lambda f: vmap(grad(cubed(f))), jacrev):
        torch._dynamo.reset()
        torch.testing.assert_close(torch.compile(make(f), fullgraph=True, backend="aot_eager")(x), make(f)(x))


@JIT
def test_inductor() -> None:
    """The default compiler, a network of convolutions and pools, trained one step."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), pt.MaxPool2d(2), torch.nn.ReLU(), torch.nn.Conv2d(4, 4, 3), pt.AdaptiveAvgPool2d(2)
    )
    twin, x = copy.deepcopy(net), torch.randn(2, 3, 16, 16)
    torch.compile(net, fullgraph=True)(x).square().sum().backward()
    twin(x).square().sum().backward()
    for one, two in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad)


@pytest.mark.parametrize("strict", [False, True], ids=["non-strict", "strict"])
@JIT
def test_export(strict: bool, tmp_path: Any) -> None:
    """With a batch of any size; saved and loaded again."""
    net = torch.nn.Sequential(*(LAYERS[name]() for name in ("max", "avg", "blur"))).eval()
    x = torch.randn(2, 3, 33, 33, generator=torch.Generator().manual_seed(0))
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(net, (x,), dynamic_shapes=({0: batch},), strict=strict)
    torch.export.save(program, tmp_path / "net.pt2")
    loaded = torch.export.load(tmp_path / "net.pt2").module()
    for n in (2, 5):
        assert torch.equal(loaded(x[:1].expand(n, -1, -1, -1)), net(x[:1].expand(n, -1, -1, -1)))
    one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
    loaded(one).sum().backward()
    net(two).sum().backward()
    torch.testing.assert_close(one.grad, two.grad)


@ALL
@JIT
def test_opcheck(name: str) -> None:
    """torch's own tests of an operator of its dispatcher: schema, autograd, fake tensors, compilers."""
    seen: list[tuple[Any, tuple[Any, ...]]] = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if op.namespace == "poolwise":
                seen.append((op, args))
            return op(*args, **(kwargs or {}))

    x = sample(2, 5, 6).requires_grad_()
    with Watch():
        OPERATORS[name](x).sum().backward()
    assert {op.name() for op, _ in seen} >= {"poolwise::gradient"}
    for op, args in seen:
        fresh = [a.detach().clone().requires_grad_(a.is_floating_point()) if isinstance(a, Tensor) else a for a in args]
        torch.library.opcheck(op, tuple(fresh))


def test_shapes_only() -> None:
    """Fake and meta tensors: shape, dtype, strides, and the errors of the real thing."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    real = torch.randn(2, 3, 9, 10).to(memory_format=torch.channels_last)
    with FakeTensorMode() as mode:
        for layer in (make() for make in LAYERS.values()):
            expected = outputs(layer(real.detach())) if mode.in_kernel_invocation else None
            for fake in outputs(layer(mode.from_tensor(real))):
                assert isinstance(fake, type(mode.from_tensor(real))) and expected is None
    for layer in (make() for make in LAYERS.values()):
        for meta, y in zip(outputs(layer(real.to("meta"))), outputs(layer(real)), strict=True):
            assert meta.is_meta and (meta.shape, meta.dtype, meta.stride()) == (y.shape, y.dtype, y.stride())
    with pytest.raises(ValueError, match="window does not fit"):
        pw.max_pool(torch.empty(2, 2, device="meta"), (3, 3))
    out = torch.empty(1, 1, device="meta")
    assert pw.max_pool(torch.empty(2, 2, device="meta"), (2, 2), out=out) is out
    with pytest.raises(ValueError, match="out does not fit"):
        pw.max_pool(torch.empty(4, 4, device="meta"), (2, 2), out=out)


class Logged(torch.Tensor):
    """A subclass without ideas of its own."""


def test_subclasses() -> None:
    x = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    own = x.as_subclass(Logged)
    for name in LAYERS:
        layer = LAYERS[name]()
        for y, z in zip(outputs(layer(own)), outputs(layer(x)), strict=True):
            assert type(y) is Logged and torch.equal(y.as_subclass(torch.Tensor), z)
    leaf = own.clone().requires_grad_()
    pt.MaxPool2d(2)(leaf).sum().backward()
    plain = x.clone().requires_grad_()
    pt.MaxPool2d(2)(plain).sum().backward()
    assert torch.equal(leaf.grad.as_subclass(torch.Tensor), plain.grad)


@JIT
def test_traced_modules_pool_what_they_are_given() -> None:
    """torch.jit.trace records the operator, not the result of the example."""
    layer = pt.MaxPool2d(2)
    traced = torch.jit.trace(layer, torch.zeros(1, 1, 4, 4))
    x = torch.randn(2, 3, 6, 6)
    assert torch.equal(traced(x), layer(x))


def test_checkpoint_and_autocast() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), pt.MaxPool2d(2), pt.AvgPool2d(3))
    y = checkpoint(net, x, use_reentrant=False)
    y.sum().backward()
    again = x.detach().clone().requires_grad_()
    net(again).sum().backward()
    assert torch.equal(x.grad, again.grad)
    with torch.autocast("cpu", torch.bfloat16):
        assert net(x).dtype == torch.bfloat16  # as the convolution before it gave


def test_deterministic_algorithms() -> None:
    """Nothing raises, and every run has the same bits."""
    x = torch.randn(2, 3, 17, 19, generator=torch.Generator().manual_seed(0))
    torch.use_deterministic_algorithms(True)
    try:
        for name in OPERATORS:
            first = gradient(OPERATORS[name], x)
            for threads in (1, 2, 5):
                pw.set_num_threads(threads)
                assert torch.equal(gradient(OPERATORS[name], x), first)
    finally:
        pw.set_num_threads(None)
        torch.use_deterministic_algorithms(False)


def test_what_is_saved() -> None:
    """One byte an output for max, nothing for averages; see the operators' traits."""
    x = torch.randn(2, 3, 32, 32, requires_grad=True)

    def saved(f: Map) -> int:
        sizes: list[int] = []

        def pack(kept: Tensor) -> Tensor:
            sizes.append(kept.numel() * kept.element_size())
            return kept

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept):
            f(x)
        return sum(sizes)

    assert saved(pt.MaxPool2d(2)) == 2 * 3 * 16 * 16
    assert saved(pt.MaxPool2d(16)) == 2 * 3 * 2 * 2
    assert saved(pt.AvgPool2d(2)) == saved(pt.AdaptiveAvgPool2d(4)) == 0
    assert saved(lambda x: F.max_pool2d(x, 2)) >= 8 * 2 * 3 * 16 * 16


def _rank(rank: int, folder: str) -> None:
    """One of two processes that train the same network on a half of the batch each."""
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    net = torch.nn.parallel.DistributedDataParallel(network())
    net(batch()[rank * 2 : rank * 2 + 2]).sum().backward()
    torch.save([p.grad for p in net.parameters()], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), pt.MaxPool2d(2), torch.nn.Conv2d(4, 2, 2), pt.AvgPool2d(2))


def batch() -> Tensor:
    return torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(0))


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without torch.distributed")
def test_two_processes_train_together(tmp_path: Any) -> None:
    """DistributedDataParallel over gloo: both ranks have the mean of both gradients."""
    torch.multiprocessing.start_processes(_rank, (str(tmp_path),), nprocs=2, start_method="spawn")
    net = network()
    net(batch()).sum().backward()
    for rank in range(2):
        for got, parameter in zip(torch.load(tmp_path / f"{rank}.pt"), net.parameters(), strict=True):
            torch.testing.assert_close(2 * got, parameter.grad)
