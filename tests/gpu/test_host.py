"""What the host does around the kernels: calls that were made before, and starting kernels with few words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from helpers import assert_same_bits, to_numpy

import poolwise as pw
from poolwise import execute

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")

from poolwise.backends.triton import launch  # noqa: E402
from poolwise.torch import _framework  # noqa: E402

BACKEND = {"backend": "triton"}
CALLS: dict[str, Callable[[Any], Any]] = {
    "max": lambda x: pw.max_pool(x, (3, 3), stride=2, padding=1, **BACKEND),
    "min": lambda x: pw.min_pool(x, (2, 2), **BACKEND),
    "avg": lambda x: pw.avg_pool(x, (3, 2), stride=2, padding=1, **BACKEND),
    "lp": lambda x: pw.lp_pool(x, (2, 2), p=3.0, **BACKEND),
    "adaptive": lambda x: pw.adaptive_pool(x, "avg", (3, 4), axes=(2, 3), **BACKEND),
    "in stages": lambda x: pw.max_pool(x, (5, 6), stride=1, **BACKEND),
    "sums in stages": lambda x: pw.sum_pool(x, (5, 6), stride=1, **BACKEND),
    "indices": lambda x: pw.max_pool_with_indices(x, (2, 2), **BACKEND),
}
LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "first": lambda x: x,
    "last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "strided": lambda x: x[:, :, ::2],
    "empty": lambda x: x[:0],
    "unaligned": lambda x: torch.cat((x.reshape(-1)[:1], x.reshape(-1)))[1:].view(x.shape),
}


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    execute._shortcuts.clear()
    yield
    execute._shortcuts.clear()


def image(device: str, seed: int = 0) -> Any:
    return torch.randn(2, 2, 12, 8, generator=torch.Generator().manual_seed(seed)).to(device)


def results(answer: Any) -> tuple[Any, ...]:
    return answer if isinstance(answer, tuple) else (answer,)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", CALLS)
def test_calls_repeat(name: str, layout: str, device: str) -> None:
    """A call that was made before gives what the long way gives, for other elements too, in memory of its own."""
    call, x, other = CALLS[name], LAYOUTS[layout](image(device)), LAYOUTS[layout](image(device, 1))
    expected = results(call(x)), results(call(other))
    remembered = len(execute._shortcuts)
    assert remembered == (0 if layout == "strided" and name != "indices" else 1)  # those are copied, by the long way
    held = []
    for wanted, array in zip(expected * 2, (x, other) * 2, strict=True):
        found = results(call(array))
        for y, first in zip(found, wanted, strict=True):
            assert y.dtype is first.dtype and y.device == first.device and y.stride() == first.stride()
            assert not y.requires_grad
            assert_same_bits(to_numpy(y.cpu()), to_numpy(first.cpu()), f"{name} {layout}")
            assert not y.numel() or y.data_ptr() not in held, "two results share memory"
            held.append(y.data_ptr())
        held.append(found)  # so that no memory is given out again
    assert len(execute._shortcuts) == remembered


@pytest.mark.parametrize("name", ["max", "avg", "lp", "in stages"])
def test_gradients_of_calls_that_repeat(name: str, device: str) -> None:
    for layout in ("first", "strided") if name == "in stages" else ("first", "last", "strided"):
        x = LAYOUTS[layout](image(device)).requires_grad_()
        found = []
        for _ in range(3):
            y = CALLS[name](x)
            assert y.requires_grad
            with torch.no_grad():
                assert not CALLS[name](x).requires_grad
            gy = torch.ones((), device=device).expand(y.shape)  # not dense
            found += torch.autograd.grad(y, x, gy if found else torch.ones_like(y))
        for gx in found[1:]:
            assert gx.stride() == found[0].stride()
            assert_same_bits(to_numpy(gx.cpu()), to_numpy(found[0].cpu()), f"{name} {layout}")


def test_bool_is_pooled_as_bytes(device: str) -> None:
    x = image(device) > 0
    expected = pw.max_pool(x, (2, 2), backend="generic")
    for _ in range(3):
        y = pw.max_pool(x, (2, 2), **BACKEND)
        assert y.dtype is torch.bool and torch.equal(y, expected)


def test_keys_tell_calls_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices, strides, lengths, dtypes and whether a gradient is wanted; no key for what has no plain memory."""
    monkeypatch.setattr(_framework, "transformed", lambda x: False)  # which takes real tensors only

    def on(device: int, **other: Any) -> Any:
        plain: dict[str, Any] = {
            "is_cpu": device < 0, "is_cuda": device >= 0, "get_device": lambda: device, "layout": torch.strided,
            "is_neg": lambda: False, "dtype": torch.float32, "shape": (2, 3), "stride": lambda: (3, 1),
            "requires_grad": False,
        }  # fmt: skip
        return _framework._facts(SimpleNamespace(**plain | other))

    assert on(0) == on(0)
    others = [on(-1), on(0), on(1), on(0, requires_grad=True), on(0, shape=(3, 2)), on(0, stride=lambda: (1, 2)),
              on(0, dtype=torch.float16)]  # fmt: skip
    assert None not in others and len(set(others)) == len(others)
    assert on(0, layout=torch.sparse_coo) is None and on(0, is_neg=lambda: True) is None
    assert on(0, is_cuda=False) is None  # a device that is neither
    assert _framework._facts(torch.zeros(2, 3)) == on(-1)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A launch over a launcher that notes what it is given, on device 0 of two."""
    seen = SimpleNamespace(calls=[], current=0, stream=5)
    monkeypatch.setattr(launch, "_current_device", lambda: seen.current)
    monkeypatch.setattr(launch, "_current_stream", lambda device: (device, seen.stream))

    @contextmanager
    def device(index: int) -> Iterator[None]:
        before, seen.current = seen.current, index
        yield
        seen.current = before

    monkeypatch.setattr(torch.cuda, "device", device)
    compiled = SimpleNamespace(run=lambda *args: seen.calls.append((seen.current, args)), function=7, packed_metadata=8)
    seen.start = launch._starter(0, 9, compiled, (torch.zeros(4), 11, False))
    return seen


def test_a_kernel_starts_on_the_current_stream_of_its_device(started: SimpleNamespace) -> None:
    assert started.start(32, 64)
    started.stream = 6  # somebody changed the current stream
    assert started.start(32, 64)
    started.current = 1
    assert started.start(32, 64) and started.current == 1
    (a, first), (b, second), (c, third) = started.calls
    assert (a, b, c) == (0, 0, 0), "started while another device was the current one"
    assert first[:4] == (9, 1, 1, (0, 5)) and second[3] == third[3] == (0, 6)
    assert first[4:9] == (7, 8, None, None, None) and first[9:11] == (32, 64)
    assert isinstance(first[11], int) and first[12:] == (11, False)


def test_a_kernel_does_not_start_unaligned_or_unheard(started: SimpleNamespace) -> None:
    """Then Triton's own path is taken."""
    assert not started.start(32, 68) and not started.start(8, 64)
    runtime = triton.knobs.runtime
    for name in ("launch_enter_hook", "launch_exit_hook"):
        chain = getattr(runtime, name)
        chain.add(print)
        try:
            assert not started.start(32, 64)
        finally:
            chain.remove(print)
    assert not started.calls
    assert started.start(32, 64)
