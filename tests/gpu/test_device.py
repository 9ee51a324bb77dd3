"""What only a real GPU can show: streams, graphs, large addresses, training, the definition on device tensors."""

from __future__ import annotations

from typing import Any

import pytest
from cases import pairs
from helpers import assert_forward, assert_gradient, expected_of, to_framework, to_numpy

import poolwise as pw
from poolwise.backends.generic import GenericKernel

torch = pytest.importorskip("torch")

import poolwise.torch as pt  # noqa: E402
from poolwise.torch._framework import TORCH  # noqa: E402

PLAIN = [(v, c) for v, c in pairs() if c.id in ("overlap", "adaptive", "dilated", "same", "3d", "channels-last")]


@pytest.mark.parametrize("variant,case", PLAIN, ids=lambda value: value.id)
def test_the_definition_on_device_tensors(variant: Any, case: Any) -> None:
    """The generic backend, every operator, forward and backward."""
    for dtype in ("float32", "float16"):
        problem, x, y, _, gy, gx = expected_of(variant.id, case.id, dtype, "spread")
        kernel = GenericKernel(problem)
        got, residual = kernel.forward(TORCH, to_framework(x, "torch").cuda(), None, True)
        assert_forward(problem, x, to_numpy(got.cpu()), y)
        assert_gradient(
            problem, gy, to_numpy(kernel.backward(TORCH, to_framework(gy, "torch").cuda(), residual).cpu()), gx
        )


def test_the_gpu_is_served_by_triton() -> None:
    x = torch.zeros(2, 3, 8, 8, device="cuda")
    for op in ("max", "min", "avg", "sum", "lp"):
        assert pw.explain(lambda v, op=op: pw.pool(v, op, (2, 2)), x).steps[0].backend == "triton"


@pytest.mark.parametrize("op", ["max", "avg"])
def test_graphs_capture_and_streams_are_respected(op: str) -> None:
    x = torch.randn(4, 8, 32, 32, device="cuda", requires_grad=True)
    options = {"window": (3, 3), "stride": 2, "padding": 1}
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            (gx,) = torch.autograd.grad(pw.pool(x, op, **options).sum(), x)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = pw.pool(x, op, **options)
        (gx,) = torch.autograd.grad(y, x, torch.ones_like(y))
    with torch.no_grad():
        x.copy_(torch.randn_like(x))
    graph.replay()
    expected = pw.pool(x, op, **options)
    (wanted,) = torch.autograd.grad(expected.sum(), x)
    assert torch.equal(y, expected) and torch.equal(gx, wanted)


@pytest.mark.parametrize("grad", [False, True])
def test_calls_that_were_made_before_follow_the_stream(grad: bool) -> None:
    """On another stream than the first call's, while that one is busy, and into a graph."""
    x = torch.randn(4, 8, 64, 64, device="cuda").requires_grad_(grad)
    options = {"window": (3, 3), "stride": 2, "padding": 1}
    for _ in range(2):
        expected = pw.max_pool(x, **options)
    stream, busy = torch.cuda.Stream(), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        expected = pw.max_pool(x, **options)
        pw.max_pool(x, **options)  # memory for the next one: asking the driver for some would wait for everybody
    stream.synchronize()
    with torch.cuda.stream(busy):
        torch.cuda._sleep(200_000_000)
    with torch.cuda.stream(stream):
        y = pw.max_pool(x, **options)
        done = stream.record_event()
    done.synchronize()
    assert not busy.query(), "the call waited for a stream that it has nothing to do with"
    assert torch.equal(y, expected) and y.data_ptr() != expected.data_ptr()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        y = pw.max_pool(x, **options)
    with torch.no_grad():
        x.neg_()
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(y, pw.max_pool(x.detach().clone(), backend="generic", **options))


def test_unaligned_storage() -> None:
    """After aligned calls of the same shape and strides, whose compiled kernel assumes multiples of 16 bytes."""
    for dtype in (torch.float32, torch.uint8):
        raw = torch.randn(2 * 8 * 16 * 16 + 1, device="cuda").mul(50).abs().to(dtype)
        x = raw[1:].view(2, 8, 16, 16)
        expected = pw.max_pool(x.clone(), (2, 2))
        for _ in range(3):
            assert torch.equal(pw.max_pool(x, (2, 2)), expected)
            assert torch.equal(pw.max_pool(x.clone(), (2, 2)), expected)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU")
def test_another_device_than_the_current_one() -> None:
    x = torch.randn(2, 8, 16, 16)
    for _ in range(3):
        for device in ("cuda:0", "cuda:1"):
            y = pw.max_pool(x.to(device), (3, 3), stride=2)
            assert y.device == torch.device(device) and torch.cuda.current_device() == 0
            assert torch.equal(y.cpu(), torch.nn.functional.max_pool2d(x, 3, 2))


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
def test_more_than_2_to_31_elements(last: bool) -> None:
    shape = (2, 64, 4200, 4096)  # 2.2e9
    x = torch.randint(0, 256, shape, dtype=torch.uint8, device="cuda")
    if last:
        x = torch.randint(0, 256, (2, 4200, 4096, 64), dtype=torch.uint8, device="cuda").permute(0, 3, 1, 2)
    y = pw.pool(x, "max", (2, 2), axes=(2, 3))
    for part in ((slice(0, 1), slice(0, 1)), (slice(1, 2), slice(62, 64))):
        assert torch.equal(y[part], pw.pool(x[part].contiguous(), "max", (2, 2), axes=(2, 3)))
    del y
    half = x.view(torch.uint8)[:, :, :, :].to(torch.float16) if torch.cuda.mem_get_info()[0] > 30e9 else None
    if half is None:
        return
    del x
    y, pullback = pw.vjp(pw.pool, half, "max", (2, 2), axes=(2, 3))
    gx = pullback(y)
    part = (slice(1, 2), slice(63, 64))
    small = half[part].contiguous()
    _, again = pw.vjp(pw.pool, small, "max", (2, 2), axes=(2, 3))
    assert torch.equal(gx[part], again(y[part].contiguous()))


def network(max_pool: Any, avg_pool: Any) -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.ReLU(), max_pool,
        torch.nn.Conv2d(16, 32, 3, padding=1), torch.nn.ReLU(), avg_pool,
        torch.nn.Flatten(), torch.nn.Linear(32 * 8 * 8, 10),
    ).cuda()  # fmt: skip


def test_training_gives_the_losses_of_torch() -> None:
    losses = []
    for layers in ((torch.nn.MaxPool2d(3, 2, 1), torch.nn.AvgPool2d(2)), (pt.MaxPool2d(3, 2, 1), pt.AvgPool2d(2))):
        net = network(*layers)
        optimizer = torch.optim.SGD(net.parameters(), 0.05)
        torch.manual_seed(1)
        found = []
        for _ in range(20):
            x, target = torch.randn(16, 3, 32, 32, device="cuda"), torch.randint(0, 10, (16,), device="cuda")
            loss = torch.nn.functional.cross_entropy(net(x), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        losses.append(found)
    assert torch.allclose(torch.tensor(losses[0]), torch.tensor(losses[1]), rtol=1e-4, atol=1e-5), losses
