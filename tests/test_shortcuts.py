"""Calls that were made before run without being checked again: that must show in nothing but time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from helpers import assert_refused, assert_same_bits, to_numpy

import poolwise as pw
import poolwise.torch as pt
from poolwise import execute
from poolwise.backends import cpu

core = pytest.importorskip("poolwise._core", reason="the compiled kernels are not built")


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    execute._shortcuts.clear()
    yield
    execute._shortcuts.clear()


def image(dtype: Any = np.float32, shape: tuple[int, ...] = (1, 3, 8, 8)) -> np.ndarray:
    return np.random.default_rng(0).integers(-9, 10, shape).astype(dtype)


CALLS: dict[str, Callable[[Any], Any]] = {
    "max": lambda x: pw.max_pool(x, (2, 2)),
    "max, keywords": lambda x: pw.max_pool(x, window=(3, 3), stride=2, padding=1),
    "max, list": lambda x: pw.max_pool(x, [2, 2]),
    "max, pairs": lambda x: pw.max_pool(x, (3, 3), padding=((0, 1), (1, 0))),
    "max, text": lambda x: pw.max_pool(x, 3, padding="same", axes=(2, 3)),
    "max, other axes": lambda x: pw.max_pool(x, (2, 2), axes=(1, 2)),
    "min": lambda x: pw.min_pool(x, (2, 2), ceil_mode=True),
    "avg": lambda x: pw.avg_pool(x, (2, 2), padding=1, count_include_pad=True),
    "avg, dtype": lambda x: pw.avg_pool(x, (2, 2), dtype="float64"),
    "sum": lambda x: pw.sum_pool(x, (2, 2)),
    "lp": lambda x: pw.lp_pool(x, (2, 2), p=3.0),
    "pool": lambda x: pw.pool(x, "lp", (2, 2), p=1),
    "adaptive": lambda x: pw.adaptive_pool(x, "avg", (3, None)),
    "global": lambda x: pw.global_max_pool(x, axes=(2, 3)),
    "fractional": lambda x: pw.fractional_pool(x, "max", (5, 5), draws=(0.25, 0.5)),
    "max-blur": lambda x: pw.max_blur_pool(x, (2, 2)),
}
LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "C": lambda x: x,
    "channels last": lambda x: np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
    "reversed": lambda x: x[..., ::-1],
    "read-only": lambda x: np.broadcast_to(x[:, :1], x.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", CALLS)
def test_numpy_calls_repeat(name: str, layout: str) -> None:
    """The second call and the third give the first one's bits, layout and dtype, for other elements too."""
    x = LAYOUTS[layout](image())
    call = CALLS[name]
    expected = call(x)
    remembered = len(execute._shortcuts)
    assert remembered > 0
    for _ in range(2):
        y = call(x)
        assert y.flags.writeable and y.strides == expected.strides and y.dtype is expected.dtype
        assert_same_bits(y, expected)
    other = LAYOUTS[layout](image() * -3)
    again = call(other)
    assert len(execute._shortcuts) == remembered, "a call of equal arguments was not found again"
    execute._shortcuts.clear()
    assert_same_bits(again, call(other))


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("name", CALLS)
def test_torch_calls_repeat(name: str, grad: bool) -> None:
    for memory_format in (torch.contiguous_format, torch.channels_last):
        x = torch.from_numpy(image()).contiguous(memory_format=memory_format).requires_grad_(grad)
        call = CALLS[name]
        expected = call(x)
        gy = torch.ones_like(expected)
        for _ in range(2):
            y = call(x)
            assert y.stride() == expected.stride() and y.dtype == expected.dtype and y.requires_grad == grad
            assert_same_bits(y, to_numpy(expected))
            if grad:
                (one,), (two,) = torch.autograd.grad(y, x, gy), torch.autograd.grad(expected, x, gy, retain_graph=True)
                assert one.stride() == two.stride()
                assert_same_bits(one, to_numpy(two))
    assert execute._shortcuts


ALIKE = [
    # a call that serves, and calls whose arguments are equal to its own as Python compares them, but are refused
    (((2, 2),), {"stride": 1}, [{"stride": True}, {"stride": 1.0}, {"stride": np.float64(1)}, {"stride": (True, 1)}]),
    (((2, 2),), {"ceil_mode": False}, [{"ceil_mode": 0}, {"ceil_mode": 0.0}]),
    (((2, 2),), {"ceil_mode": np.False_}, [{"ceil_mode": 0}]),
    (((2, 2),), {"padding": 0}, [{"padding": 0.0}, {"padding": False}, {"padding": b"\0"}]),
    (((np.int64(2), 2),), {}, [{"window": (np.float64(1e-323), 2)}, {"window": (2.0, 2)}, {"window": (True, 2)}]),
    (((2, 2),), {"axes": (2, 3)}, [{"axes": (2.0, 3.0)}]),
    (((2, 2),), {"empty": 0}, [{"empty": "0"}]),
    (((2, 2),), {"backend": "cpu"}, [{"backend": b"cpu"}, {"backend": "cpv"}]),
]


@pytest.mark.parametrize("window,good,bad", ALIKE, ids=lambda value: str(value)[:40])
def test_alike_is_not_equal(window: tuple, good: dict[str, Any], bad: list[dict[str, Any]], framework: str) -> None:
    x = image() if framework == "numpy" else torch.from_numpy(image())
    for options in bad:
        other = {"window": window[0], **options}
        execute._shortcuts.clear()
        with pytest.raises((ValueError, TypeError)) as before:
            pw.max_pool(x, **other)
        for _ in range(2):
            pw.max_pool(x, *window, **good)
            pw.max_pool(x, window=window[0], **good)
        with pytest.raises(before.type) as after:
            pw.max_pool(x, **other)
        assert str(after.value) == str(before.value)


def test_equal_arguments_have_equal_keys_and_no_others_do() -> None:
    """Among values that nest and that compare or print alike."""
    values: list[Any] = [
        None, True, False, 0, 1, 2, -1, 0.0, -0.0, 1.0, 2.0, float("nan"), "", "1", "n", (), [], (1,), [1], (1, 2), [1, 2],
        (1, (2,)), ((1, 2),), ((1,), 2), (1, [2]), (True, 2), (1.0, 2), ("", ""), ("i", 1), 2**62, -(2**63), "12", ("1", "2"),
    ]  # fmt: skip
    keys = {}
    for index, value in enumerate(values):
        keys[index] = core.arguments_key((None, value), {})
        assert isinstance(keys[index], bytes)
        assert keys[index] == core.arguments_key((None, value), {})
        keys[index, "keyword"] = core.arguments_key((None,), {"a": value})
        keys[index, "twice"] = core.arguments_key((None, value, value), {})
    assert len(set(keys.values())) == len(keys)
    deep: Any = ()
    for _ in range(9):
        deep = (deep,)
    endless: list[Any] = []
    endless.append(endless)

    class Number(int):
        pass

    strange = [
        deep,
        endless,
        Number(1),
        np.int64(1),
        np.float64(1),
        np.bool_(True),
        b"",
        2**64,
        "x" * 5000,
        "\ud800",
        {},
        {1},
    ]
    strange += [np.zeros(2), range(2), (Number(1),), np.float32, object(), torch.float32, "y" * 1020]
    for value in strange:
        assert core.arguments_key((None, value), {}) is None
        assert core.arguments_key((None,), {"a": value}) is None


def test_arrays_that_are_refused_stay_refused() -> None:
    """After a good call of the same shape and strides."""
    x = image()
    pw.max_pool(x, (2, 2))
    raw = np.zeros(x.nbytes + 1, np.uint8)
    askew = raw[1:].view(np.float32).reshape(x.shape)
    assert askew.strides == x.strides
    swapped = x.astype(x.dtype.newbyteorder())
    for bad in (
        askew,
        swapped,
        np.ma.masked_array(x),
        x.astype(np.complex64).view(np.complex64),
        x.tolist(),
        x.view("i4,"),
    ):
        for _ in range(2):
            assert_refused(lambda bad=bad: pw.max_pool(bad, (2, 2)))
    execute._shortcuts.clear()
    for good in (x.view(np.int32), x.view(np.uint32), x[..., ::-1], np.asfortranarray(x)):
        assert_same_bits(pw.max_pool(good, (2, 2)), pw.max_pool(good, (2, 2), backend="generic"))


def test_missing_and_unknown_arguments_raise_as_they_did() -> None:
    x = image()
    pw.max_pool(x, (2, 2))
    for wrong in (lambda: pw.max_pool(x), lambda: pw.max_pool(), lambda: pw.max_pool(x, (2, 2), 2),
                  lambda: pw.max_pool(x, (2, 2), strides=1), lambda: pw.max_pool(x, (2, 2), x=x)):  # fmt: skip
        for _ in range(2):
            with pytest.raises(TypeError, match=r"max_pool\(\)"):
                wrong()
    assert_same_bits(pw.max_pool(x=x, window=(2, 2)), pw.max_pool(x, (2, 2)))


def test_out_is_written_after_calls_without() -> None:
    x = image()
    expected = pw.max_pool(x, (2, 2))
    out = np.zeros_like(expected)
    assert pw.max_pool(x, (2, 2), out=out) is out
    assert pw.max_pool(x, (2, 2), out=None) is not out
    assert_same_bits(out, expected)
    assert_refused(lambda: pw.max_pool(x, (2, 2), out=out[:, :2]))


def test_explain_and_vjp_see_calls_that_were_made_before(framework: str) -> None:
    x = image() if framework == "numpy" else torch.from_numpy(image())
    for _ in range(2):
        y = pw.max_pool(x, (2, 2))
        assert pw.explain(pw.max_pool, x, (2, 2)).as_dict()["calls"][0]["function"] == "max_pool"
        again, pullback = pw.vjp(pw.max_pool, x, (2, 2))
        assert_same_bits(again, to_numpy(y))
        assert tuple(pullback(again).shape) == tuple(x.shape)


def test_integer_sums_are_refused_every_time() -> None:
    x = np.full((1, 2, 2), 100, np.uint8)
    assert pw.sum_pool(np.ones_like(x), (2, 2))[0, 0, 0] == 4
    for _ in range(2):
        assert_refused(lambda: pw.sum_pool(x, (2, 2)), (ValueError,))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # torch's own, in jvp
def test_torch_modes_are_looked_at_every_time() -> None:
    """Gradients, inference mode, transforms, negated views, subclasses: after plain calls of the same tensor."""
    x = torch.from_numpy(image())
    leaf = x.clone().requires_grad_()

    def f(t: torch.Tensor) -> torch.Tensor:
        return pw.max_pool(t, (2, 2))

    for _ in range(2):
        expected = f(x)
        assert f(leaf).requires_grad and not f(x).requires_grad
        with torch.no_grad():
            assert not f(leaf).requires_grad
        with torch.inference_mode():
            assert f(leaf).is_inference()
        assert_same_bits(torch.func.vmap(f)(x[None])[0], to_numpy(expected))
        tangent = torch.func.jvp(f, (x,), (torch.ones_like(x),))[1]
        assert_same_bits(tangent, np.ones(expected.shape, np.float32))
        assert_same_bits(f(torch._neg_view(x)), to_numpy(f(-x)))
        assert f(x.to("meta")).device.type == "meta"
        assert f(torch.nn.Parameter(x)).requires_grad
        assert_refused(lambda: f(x.to_sparse()), (TypeError,))
        with torch.autocast("cpu"):
            assert f(x).dtype == torch.float32

    class Own(torch.Tensor):
        pass

    assert type(f(x.as_subclass(Own))) is Own


def test_gradients_of_unusual_cotangents() -> None:
    """Negated and expanded gradients, and gradients of gradients, of a call that was made before."""
    x = torch.from_numpy(image(np.float64)).requires_grad_()
    for op in ("max", "avg", "lp"):
        for _ in range(2):
            y = pw.pool(x, op, (2, 2))
            gy = torch.from_numpy(np.random.default_rng(1).standard_normal(tuple(y.shape)))
            (plain,) = torch.autograd.grad(y, x, gy, retain_graph=True)
            (negated,) = torch.autograd.grad(y, x, torch._neg_view(gy), retain_graph=True)
            assert torch.equal(negated, -plain)
            (spread,) = torch.autograd.grad(y, x, torch.ones(()).double().expand(y.shape), retain_graph=True)
            (ones,) = torch.autograd.grad(y, x, torch.ones_like(y), retain_graph=True)
            assert_same_bits(spread, to_numpy(ones))
            (twice,) = torch.autograd.grad(y, x, gy, create_graph=True)
            torch.testing.assert_close(twice.detach(), plain)
            assert twice.requires_grad == (op == "lp")  # the others are linear in the cotangent alone


@pytest.mark.parametrize("name,arguments", [("MaxPool2d", (2,)), ("AvgPool2d", (2,)), ("LPPool2d", (2, 2))])
def test_layers_notice_changed_attributes(name: str, arguments: tuple) -> None:
    x = torch.from_numpy(image())
    layer, theirs = getattr(pt, name)(*arguments), getattr(torch.nn, name)(*arguments)
    for kernel in (2, 3, (2, 3), 2):
        layer.kernel_size = theirs.kernel_size = kernel
        for _ in range(2):
            torch.testing.assert_close(layer(x.abs()), theirs(x.abs()))
    layer.kernel_size = True
    assert_refused(lambda: layer(x))
    layer.kernel_size = 2
    assert layer(x).shape == (1, 3, 4, 4)
    assert_refused(lambda: layer(x[0, 0]), (ValueError,))


def test_layers_of_equal_arguments_are_told_apart() -> None:
    x = torch.from_numpy(image())
    for _ in range(2):
        top, low = pt.MaxPool2d(2)(x), pt.MinPool2d(2)(x)
        assert_same_bits(top, to_numpy(-pt.MinPool2d(2)(-x)))
        assert (top >= low).all() and (top != low).any()
        assert isinstance(pt.MaxPool2d(2, return_indices=True)(x), tuple)


def test_threads_share_what_is_remembered() -> None:
    """While it is thrown away and found again."""
    arrays = [image(shape=(1, n, 8, 8)) for n in range(1, 9)]
    expected = [pw.max_pool(x, (2, 2), backend="generic") for x in arrays]
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(200):
                for x, y in zip(arrays, expected, strict=True):
                    assert_same_bits(pw.max_pool(x, (2, 2)), y)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        execute._shortcuts.clear()
    for thread in threads:
        thread.join()
    assert not errors


def test_the_table_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "SHORTCUTS_LIMIT", 3)
    for n in range(2, 12):
        pw.max_pool(np.zeros(n), 2)
        assert 0 < len(execute._shortcuts) <= 3


def test_thread_counts_are_asked_for_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(cpu, "get_num_threads", lambda: asked.append(1) or 1)
    x = np.zeros((8, 64, 64), np.float32)
    for _ in range(3):
        pw.max_pool(x, (2, 2))
    assert len(asked) == 3


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_large_results_are_whole(layout: torch.memory_format) -> None:
    """From 4 MiB on they ask for huge pages."""
    x = torch.randn(1, 17, 255, 257).contiguous(memory_format=layout).requires_grad_()
    for _ in range(2):
        y = pw.max_pool(x, (2, 2), stride=1)
        assert y.nelement() * y.element_size() >= cpu.HUGE
        assert torch.equal(y, torch.nn.functional.max_pool2d(x, 2, 1))
        y.sum().backward()
    assert x.grad.sum() == 2 * y.numel()
    for address, size in ((0, 0), (1, 1), (4096, 4095), (x.data_ptr(), 1)):
        core.advise_huge_pages(address, size)
