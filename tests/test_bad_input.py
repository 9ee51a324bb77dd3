"""Whatever comes in: a result, or a ValueError or TypeError that says where, what was got, what was expected, what to try.

All in one process, which has to survive; refused at once, and nothing modified.
"""

from __future__ import annotations

import math
import os
import re
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from cases import numpy_dtype
from helpers import assert_forward, assert_refused, bits, seeded, warnings_off

import poolwise as pw
from poolwise import reference

LIMIT_S = 1e-3 * (10 if os.environ.get("CI") else 1)
X = np.arange(36.0, dtype=np.float32).reshape(6, 6)
T = torch.arange(36.0).reshape(6, 6)
Y, AT = pw.max_pool_with_indices(X, (2, 2))
BIG = 2**63


def case(text: str, call: Callable[[], Any]) -> Any:
    return pytest.param(call, id=re.sub(" at 0x[0-9a-f]+", "", text))  # the same in every process


SLIDING = [pw.max_pool, pw.min_pool, pw.avg_pool, pw.sum_pool, pw.lp_pool, pw.median_pool, pw.blur_pool]

SIZES = [
    *(
        case(f"window={w}", lambda w=w: pw.max_pool(X, w, axes=(0, 1)))
        for w in (0, -1, (2, 0), (-3, 2), BIG, -BIG, 2**200)
    ),
    *(case(f"stride={s}", lambda s=s: pw.max_pool(X, (2, 2), stride=s)) for s in (0, -1, (1, -1), BIG)),
    *(case(f"dilation={d}", lambda d=d: pw.max_pool(X, (2, 2), dilation=d)) for d in (0, -2, (1, 0), BIG)),
    *(
        case(f"padding={p}", lambda p=p: pw.max_pool(X, (2, 2), padding=p))
        for p in (-1, (0, -1), ((0, -1), (0, 0)), BIG)
    ),
    *(
        case(f"{name}={value!r}", lambda name=name, value=value: pw.max_pool(X, **{"window": (2, 2), name: value}))
        for name in ("window", "stride", "dilation", "padding")
        for value in (
            2.0,
            (2, 2.0),
            True,
            (True, 2),
            "2",
            ("2", 2),
            b"2",
            1j,
            np.float32(2),
            np.bool_(True),
            object(),
            [[2, 2], 2, 2],
        )
    ),
    case("window=None", lambda: pw.max_pool(X, None)),
    case("window=nan", lambda: pw.max_pool(X, (float("nan"), 2))),
    case("window=inf", lambda: pw.max_pool(X, (float("inf"), 2))),
    case("window array 2-D", lambda: pw.max_pool(X, np.array([[2, 2]]))),
    case("window float array", lambda: pw.max_pool(X, np.array([2.0, 2.0]))),
    case("window tensor of floats", lambda: pw.max_pool(X, torch.tensor([2.0, 2.0]))),
    case("too many numbers", lambda: pw.max_pool(X, (2, 2, 2))),
    case("no numbers", lambda: pw.max_pool(X, ())),
    case("stride length", lambda: pw.max_pool(X, (2, 2), stride=(1, 1, 1))),
    case("dilation length", lambda: pw.max_pool(X, (2, 2), dilation=(1,))),
    case("padding length", lambda: pw.max_pool(X, (2, 2), padding=(1, 1, 1))),
    case("padding triple", lambda: pw.max_pool(X, (2, 2), padding=((1, 1, 1), (0, 0)))),
    case("bare int", lambda: pw.max_pool(X, 2)),
    case("bare int 0-d", lambda: pw.max_pool(np.float32(3)[()] + np.zeros(()), 2)),
    case("window too large", lambda: pw.max_pool(X, (7, 7))),
    case("window too large, padded", lambda: pw.max_pool(X, (9, 9), padding=1)),
    case("dilated window too large", lambda: pw.max_pool(X, (3, 3), dilation=3)),
    case("padding only", lambda: pw.max_pool(X, (2, 2), padding=2)),
    case("padding only, high", lambda: pw.max_pool(X, (2, 2), stride=1, padding=((0, 2), (0, 0)))),
    case(
        "steps over the input", lambda: pw.max_pool(X[:1], (2, 1), dilation=(3, 1), padding=((1, 2), (0, 0)), stride=1)
    ),
    case("overflow: span", lambda: pw.max_pool(X, (2**40, 2**40), dilation=2**40)),
    case(
        "overflow: span in ceil mode",
        lambda: pw.max_pool(X, (2**62, 2**62), dilation=4, stride=BIG - 1, ceil_mode=True),
    ),
    case("overflow: padding", lambda: pw.max_pool(X, (2, 2), padding=BIG - 1, empty=0)),
    case("overflow: outputs", lambda: pw.max_pool(X, (1, 1), stride=1, padding=2**61, empty=0)),
    case("many windows on padding", lambda: pw.max_pool(X, (2, 2), padding=2**40, stride=1, empty=0)),
    case("same with huge dilation", lambda: pw.max_pool(X, (3, 3), dilation=2**62, padding="same")),
    case("ceil_mode=1", lambda: pw.max_pool(X, (2, 2), ceil_mode=1)),
    case("ceil_mode='yes'", lambda: pw.max_pool(X, (2, 2), ceil_mode="yes")),
    case("count_include_pad=None", lambda: pw.avg_pool(X, (2, 2), count_include_pad=None)),
    case("numbers that are dicts", lambda: pw.max_pool(X, {2: "a", "b": 3})),
]

AXES = [
    *(
        case(f"axes={a!r}", lambda a=a: pw.max_pool(X, (2, 2), axes=a))
        for a in ((0, 0), (0, -2), (0, 2), (-3, 1), (), (0,), (0, 1, 1))
    ),
    *(
        case(f"axes={a!r}", lambda a=a: pw.max_pool(X, 2, axes=a))
        for a in (2, -3, 1.0, True, "0", (0, "1"), BIG, [None])
    ),
    case("global without axes", lambda: pw.global_pool(X, "max")),
    case("global of no axes", lambda: pw.global_pool(X, "max", axes=())),
    case("0-d", lambda: pw.global_pool(np.zeros(()), "max", axes=0)),
    case("empty axis", lambda: pw.max_pool(np.zeros((3, 0)), (1, 1))),
    case("empty axis, torch", lambda: pw.max_pool(torch.zeros(3, 0), (1, 1))),
    case("empty axis, adaptive", lambda: pw.adaptive_pool(np.zeros((0, 3)), "avg", (1, 1))),
    case("empty axis, global", lambda: pw.global_pool(np.zeros((0, 3)), "avg", axes=(0, 1))),
]

SCHEMES = [
    *(
        case(f"output_size={n!r}", lambda n=n: pw.adaptive_pool(X, "max", (n, 2)))
        for n in (0, -1, 2.0, True, "2", BIG, 2**40)
    ),
    case("adaptive bare int", lambda: pw.adaptive_pool(X, "max", 2)),
    case("adaptive bare None", lambda: pw.adaptive_pool(X, "max", None)),
    case("adaptive blur", lambda: pw.adaptive_pool(X, "blur", (2, 2))),
    case("global blur", lambda: pw.global_pool(X, "blur", axes=1)),
    *(
        case(f"draws={u!r}", lambda u=u: pw.fractional_pool(X, "max", (3, 3), draws=u))
        for u in (
            1.0,
            -0.1,
            float("nan"),
            float("inf"),
            "0.5",
            (0.5,),
            (0.5, 1),
            (0.5, 0.5, 0.5),
            None,
            (0.5, "a"),
            True,
            10**400,
            1j,
        )
    ),
    case("too many regions", lambda: pw.fractional_pool(X, "max", (7, 3), draws=0.5)),
    case("too many windows", lambda: pw.fractional_pool(X, "max", (6, 3), window=2, draws=0.5)),
    case("fractional window 0", lambda: pw.fractional_pool(X, "max", (3, 3), window=0, draws=0.5)),
    case("fractional window huge", lambda: pw.fractional_pool(X, "max", (3, 3), window=BIG - 1, draws=0.5)),
    case("fractional None", lambda: pw.fractional_pool(X, "max", (None, 3), draws=0.5)),
]

WORDS = [
    *(
        case(f"op={op!r}", lambda op=op: pw.pool(X, op, (2, 2)))
        for op in ("maximum", "", "MAX", None, 3, ["max"], pw.max_pool)
    ),
    *(
        case(f"backend={b!r}", lambda b=b: pw.max_pool(X, (2, 2), backend=b))
        for b in ("gpu", "", 1, ["cpu"], {}, b"cpu", True)
    ),
    *(case(f"padding={p!r}", lambda p=p: pw.max_pool(X, (2, 2), padding=p)) for p in ("SAME", "full", "", "same ")),
    *(case(f"border={b!r}", lambda b=b: pw.blur_pool(X, (3, 3), border=b)) for b in ("mirror", "", None, 0, ["zeros"])),
    *(
        case(f"dtype={d!r}", lambda d=d: pw.avg_pool(X, (2, 2), dtype=d))
        for d in ("float31", "", "bool", bool, "int32", int, complex, "O", [1], 5, object())
    ),
    case("dtype of max", lambda: pw.pool(X, "max", (2, 2), dtype="float64")),
    *(
        case(f"empty={e!r}", lambda e=e: pw.max_pool(X, (2, 2), padding=3, empty=e))
        for e in ("0", b"0", [1], 1j, object(), 10**400, (0,))
    ),
    *(
        case(f"empty={e!r} of {d}", lambda e=e, d=d: pw.max_pool(X.astype(d), (2, 2), padding=3, empty=e))
        for d, e in (
            ("int64", 0.5),
            ("int64", float("nan")),
            ("uint8", -1),
            ("uint8", 256),
            ("bool", 2),
            ("int8", float("inf")),
            ("int64", 2**64),
        )
    ),
    case("duplicates", lambda: pw.max_unpool(Y, AT, (6, 6), duplicates="first")),
]

PARAMS = [
    *(
        case(f"p={p!r}", lambda p=p: pw.lp_pool(X, (2, 2), p=p))
        for p in (0, -1, 0.0, -0.0, float("nan"), -float("inf"), "2", None, True, 1j, [2], 10**400, np.array(2.0))
    ),
    *(
        case(f"divisor={d!r}", lambda d=d: pw.pool(X, "avg", (2, 2), divisor=d))
        for d in (0, 0.0, 2.5, float("nan"), "2", True, [2], BIG, 10**400)
    ),
    case("p of max", lambda: pw.pool(X, "max", (2, 2), p=2)),
    case("unknown parameter", lambda: pw.pool(X, "lp", (2, 2), q=2)),
    *(case(f"filter {w!r}", lambda w=w: pw.blur_pool(X, w, axes=(0, 1))) for w in (0, -1, 1025, BIG - 1, 2.0)),
]


def structured() -> np.ndarray:
    return np.zeros((6, 6), [("a", "f4"), ("b", "i2")])


def unaligned() -> np.ndarray:
    raw = np.zeros(6 * 6 * 4 + 1, np.uint8)
    return raw[1:].view(np.float32).reshape(6, 6)


def odd_strides() -> np.ndarray:
    return np.zeros(6, [("a", "f4"), ("b", "i1")])["a"]


ARRAYS = [
    *(
        case(f"x={type(x).__name__}", lambda x=x: pw.max_pool(x, (2, 2)))
        for x in (
            [[1, 2], [3, 4]],
            ((1, 2), (3, 4)),
            3,
            3.5,
            "ab",
            None,
            object(),
            range(4),
            b"abcd",
            {1: 2},
            np.float32(1),
            memoryview(b"ab"),
        )
    ),
    case("the ndarray class", lambda: pw.max_pool(np.ndarray, (2, 2))),
    *(
        case(f"dtype {d}", lambda d=d: pw.max_pool(np.zeros((6, 6), d), (2, 2)))
        for d in ("O", "U1", "S3", "c8", "c16", "M8[s]", "m8[ns]", "V4", "g", np.dtype([]))
    ),
    case("structured", lambda: pw.max_pool(structured(), (2, 2))),
    case("masked", lambda: pw.max_pool(np.ma.zeros((6, 6)), (2, 2))),
    case("foreign byte order", lambda: pw.max_pool(X.astype(">f4"), (2, 2))),
    case("unaligned", lambda: pw.max_pool(unaligned(), (2, 2))),
    case("odd strides", lambda: pw.max_pool(odd_strides(), 2)),
    case("sparse", lambda: pw.max_pool(T.to_sparse(), (2, 2))),
    case("complex tensor", lambda: pw.max_pool(T.to(torch.complex64), (2, 2))),
    case("bool average", lambda: pw.avg_pool(X > 3, (2, 2))),
    case("integer blur", lambda: pw.blur_pool(X.astype(int), (3, 3))),
    case("integer norm", lambda: pw.lp_pool(T.to(torch.int32), (2, 2))),
    case("the torch module", lambda: pw.max_pool(torch, (2, 2))),
]

OUT = [
    *(
        case(f"out {text}", lambda out=out: pw.max_pool(X, (2, 2), out=out))
        for text, out in {
            "shape": np.zeros((3, 4), np.float32),
            "rank": np.zeros(9, np.float32),
            "dtype": np.zeros((3, 3)),
            "int dtype": np.zeros((3, 3), np.int32),
            "transposed": np.zeros((3, 3), np.float32).T,
            "strided": np.zeros((3, 6), np.float32)[:, ::2],
            "reversed": np.zeros((3, 3), np.float32)[::-1],
            "list": [[0] * 3] * 3,
            "string": "out",
            "tensor": torch.zeros(3, 3),
            "byte order": np.zeros((3, 3), ">f4"),
            "class": np.ndarray,
        }.items()
    ),
    case("out read-only", lambda: pw.max_pool(X, (2, 2), out=np.broadcast_to(np.float32(0), (3, 3)))),
    case("out is x", lambda: pw.max_pool(X, (1, 1), out=X)),
    case("out is a part of x", lambda: pw.max_pool(X, (2, 2), out=X[:3, :3])),
    case("torch: out shape", lambda: pw.max_pool(T, (2, 2), out=torch.zeros(3, 4))),
    case("torch: out dtype", lambda: pw.max_pool(T, (2, 2), out=torch.zeros(3, 3, dtype=torch.float64))),
    case("torch: out layout", lambda: pw.max_pool(T, (2, 2), out=torch.zeros(3, 6)[:, ::2])),
    case("torch: out is an array", lambda: pw.max_pool(T, (2, 2), out=np.zeros((3, 3), np.float32))),
    case("torch: out overlaps", lambda: pw.max_pool(T, (1, 1), out=T)),
    case("torch: out with gradients", lambda: pw.max_pool(T.clone().requires_grad_(), (2, 2), out=torch.zeros(3, 3))),
    case("torch: out sparse", lambda: pw.max_pool(T, (2, 2), out=torch.zeros(3, 3).to_sparse())),
    case("torch: out expanded", lambda: pw.max_pool(T, (2, 2), out=torch.zeros(1, 1).expand(3, 3))),
]

UNPOOL = [
    case("index below", lambda: pw.max_unpool(Y, AT - 8, (6, 6))),
    case("index above", lambda: pw.max_unpool(Y, AT + 1, (6, 6))),
    case("index far above", lambda: pw.max_unpool(Y, AT + 2**62, (6, 6))),
    case("plane too small", lambda: pw.max_unpool(Y, AT, (5, 5))),
    *(
        case(f"indices of {d}", lambda d=d: pw.max_unpool(Y, AT.astype(d), (6, 6)))
        for d in ("int32", "uint64", "float32", "bool", "O", "c8", ">i4")
    ),
    case("indices shape", lambda: pw.max_unpool(Y, AT[:2], (6, 6))),
    case("indices rank", lambda: pw.max_unpool(Y, AT[None], (6, 6))),
    case("indices list", lambda: pw.max_unpool(Y, AT.tolist(), (6, 6))),
    case("indices masked", lambda: pw.max_unpool(Y, np.ma.array(AT), (6, 6))),
    case("indices of torch", lambda: pw.max_unpool(Y, torch.from_numpy(AT), (6, 6))),
    case("indices sparse", lambda: pw.max_unpool(torch.from_numpy(Y), torch.from_numpy(AT).to_sparse(), (6, 6))),
    case("indices swapped", lambda: pw.max_unpool(AT, Y, (6, 6))),
    case("values complex", lambda: pw.max_unpool(Y.astype("c8"), AT, (6, 6))),
    case("values object", lambda: pw.max_unpool(Y.astype("O"), AT, (6, 6))),
    *(
        case(f"output_size={n!r}", lambda n=n: pw.max_unpool(Y, AT, n))
        for n in (6, 0, (6, 0), (6, -6), (6.0, 6), "66", (6, 6, 6), (BIG, 6), (2**40, 2**40))
    ),
    case("axes", lambda: pw.max_unpool(Y, AT, (6, 6), axes=(0, 0))),
]


def pull(gy: Any, x: Any = X) -> Any:
    return pw.vjp(pw.max_pool, x, (2, 2))[1](gy)


GRADIENTS = [
    case("cotangent shape", lambda: pull(np.ones((3, 2), np.float32))),
    case("cotangent rank", lambda: pull(np.ones(9, np.float32))),
    case("cotangent scalar", lambda: pull(np.float32(1))),
    case("cotangent list", lambda: pull([[1.0] * 3] * 3)),
    case("cotangent None", lambda: pull(None)),
    case("cotangent of torch", lambda: pull(torch.ones(3, 3))),
    case("cotangent complex", lambda: pull(np.ones((3, 3), complex))),
    case("cotangent of the other order", lambda: pull(np.ones((3, 3), ">f4"))),
    case("cotangent masked", lambda: pull(np.ma.ones((3, 3)))),
    case("integer input", lambda: pw.vjp(pw.max_pool, X.astype(int), (2, 2))),
    case("not a chain", lambda: pw.vjp(lambda x: pw.max_pool(x + 1, (2, 2)), X)),
    case("no pooling", lambda: pw.vjp(lambda x: x, X)),
    case("explain of no shape", lambda: pw.explain(pw.max_pool, ("a", 2), (2, 2))),
    case("explain of a negative shape", lambda: pw.explain(pw.max_pool, (-1, 2), (2, 2))),
]

EVERYTHING = [*SIZES, *AXES, *SCHEMES, *WORDS, *PARAMS, *ARRAYS, *OUT, *UNPOOL, *GRADIENTS]


@pytest.mark.parametrize("call", EVERYTHING)
def test_refused_with_four_lines_at_once(call: Callable[[], Any]) -> None:
    inputs = [(array, array.tobytes()) for array in (X, Y, AT)]
    before = T.clone()
    with warnings_off():
        assert_refused(call)
        seconds = []
        for _ in range(5):
            began = time.perf_counter()
            with pytest.raises((ValueError, TypeError)):
                call()
            seconds.append(time.perf_counter() - began)
    assert sorted(seconds)[2] < LIMIT_S, f"took {sorted(seconds)[2] * 1e3:.2f} ms"
    assert all(array.tobytes() == saved for array, saved in inputs), "an argument was modified"
    assert torch.equal(T, before), "an argument was modified"


@pytest.mark.parametrize("function", SLIDING, ids=lambda f: f.__name__)
def test_every_function_checks_alike(function: Callable[..., Any]) -> None:
    for options in (
        {"window": 0, "axes": 0},
        {"window": (2, 2), "stride": 0},
        {"window": (2, 2), "padding": -1},
        {"window": 2},
    ):
        error = assert_refused(lambda options=options: function(X, **options))
        assert str(error).startswith(f"{function.__name__}: ")


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_quantized_tensors_are_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = torch.quantize_per_tensor(T, 0.1, 0, torch.quint8)
    assert_refused(lambda: pw.max_pool(x, (2, 2)), (TypeError,))


@pytest.mark.parametrize("op", [op.name for op in pw.OPS if op.name != "blur"])
def test_empty_gives_windows_of_padding_a_value(op: str, framework: str) -> None:
    """The same call that is refused without `empty`, and no gradient from such windows."""
    x = X if framework == "numpy" else T
    assert_refused(lambda: pw.pool(x, op, (2, 2), padding=2), (ValueError,))
    y = np.asarray(pw.pool(x, op, (2, 2), padding=2, empty=7))
    assert y.shape == (5, 5) and (y[0] == 7).all() and (y[:, -1] == 7).all()
    np.testing.assert_array_equal(y[1:-1, 1:-1], np.asarray(pw.pool(x, op, (2, 2))))
    assert np.isnan(np.asarray(pw.pool(x, op, (2, 2), padding=2, empty=float("nan")))[0]).all()
    _, pullback = pw.vjp(pw.pool, x, op, (2, 2), padding=2, empty=7)
    whole = pw.vjp(pw.pool, x, op, (2, 2))[1]
    ones = np.ones((5, 5), np.float32), np.ones((3, 3), np.float32)
    if framework == "torch":
        ones = tuple(map(torch.from_numpy, ones))
    np.testing.assert_array_equal(np.asarray(pullback(ones[0])), np.asarray(whole(ones[1])))


def test_numbers_of_other_integer_types_are_numbers() -> None:
    """What has an ``__index__`` is an integer: NumPy's and torch's, scalars and vectors."""
    expected = pw.max_pool(X, (2, 3), stride=(1, 2))
    for two, three in ((np.int64(2), np.uint8(3)), (np.array(2), np.array(3)), (torch.tensor(2), torch.tensor(3))):
        assert np.array_equal(pw.max_pool(X, (two, three), stride=[1, 2]), expected)
    assert np.array_equal(pw.max_pool(X, np.array([2, 3]), stride=np.array([1, 2])), expected)


def test_subclasses_and_memory_maps_pool(tmp_path: Any) -> None:
    class Plain(np.ndarray):
        pass

    np.save(tmp_path / "x.npy", X)
    for x in (X.view(Plain), np.load(tmp_path / "x.npy", mmap_mode="r")):
        assert np.array_equal(pw.max_pool(x, (2, 2)), Y)


HOSTILE = [
    0, 1, 2, 3, 4, 5, 7, -1, -2, 2**7, 2**8, 2**15, 2**16, 2**31 - 1, 2**31, 2**32, 2**32 + 1, 2**53, 2**62, 2**63 - 1, 2**63,
    -(2**31), -(2**63), -(2**63) - 1, 2**64, True, 2.0, 2.5, float("nan"), float("inf"), None, "2", (), (1,), (2, 2), (1, 2, 3),
    [2, 1], np.int64(2), np.float64(2), np.array([1, 2]), b"2", object(), 1j, ((1, 1), (0, 1)), ((2, 0), 1), "same", "same_lower",
]  # fmt: skip
FUZZ_DTYPES = (
    "float32",
    "float64",
    "float16",
    "bfloat16",
    "int8",
    "uint8",
    "int64",
    "uint64",
    "bool",
    "complex64",
    "object",
)


def random_call(rng: np.random.Generator) -> tuple[np.ndarray, str, str, dict[str, Any]]:
    """An array, a verb and options: about half sensible, half hostile."""
    shape = tuple(
        int(n) for n in rng.choice([0, 1, 2, 3, 5, 8], int(rng.integers(0, 4)), p=[0.03, 0.17, 0.2, 0.2, 0.2, 0.2])
    )
    dtype = str(rng.choice(FUZZ_DTYPES, p=[0.3, 0.2, *[0.06] * 7, 0.04, 0.04]))
    x = np.asarray(rng.standard_normal(shape) * 3).astype(numpy_dtype(dtype) if dtype != "object" else object)

    def value(low: int = 1) -> Any:
        if rng.random() < 0.12:
            return HOSTILE[int(rng.integers(len(HOSTILE)))]
        numbers = tuple(int(n) for n in rng.integers(low, 4, max(len(shape), 1)))
        return numbers if rng.random() < 0.8 else numbers[0]

    verb = str(rng.choice(["pool", "adaptive_pool", "global_pool", "fractional_pool"], p=[0.6, 0.2, 0.1, 0.1]))
    options: dict[str, Any] = {}
    if verb == "pool":
        options["window"] = value()
        for name, low in (("stride", 1), ("padding", 0), ("dilation", 1)):
            if rng.random() < 0.5:
                options[name] = value(low)
        if rng.random() < 0.3:
            options["ceil_mode"] = [True, False, 1, "no"][int(rng.choice(4, p=[0.6, 0.3, 0.05, 0.05]))]
        if rng.random() < 0.2:
            options["empty"] = [0, 1.5, float("nan"), "0", 2**70, -1][int(rng.integers(6))]
    elif verb != "global_pool":
        options["output_size"] = value()
    if verb == "fractional_pool":
        options["draws"] = [0.0, 0.5, 0.999, 1.0, -1, float("nan"), (0.1, 0.9), "x", 2**70][int(rng.integers(9))]
        if rng.random() < 0.5:
            options["window"] = value()
    if rng.random() < 0.3 or verb == "global_pool":
        options["axes"] = value(-2) if rng.random() < 0.7 else 0
    op = str(
        rng.choice(
            ["max", "min", "avg", "sum", "lp", "blur", "median", "mean"], p=[0.2, 0.13, 0.2, 0.13, 0.13, 0.1, 0.1, 0.01]
        )
    )
    if op == "lp" and rng.random() < 0.5:
        options["p"] = [1, 2, 3.5, 0.5, 0, -1, float("inf"), float("nan"), "2", 1e308, 10**400][int(rng.integers(11))]
    return x, verb, op, options


@pytest.mark.parametrize("block", range(10))
def test_fuzz(block: int) -> None:
    """Random calls: a refusal, or the reference's result. Nothing else."""
    rng = seeded("fuzz", block)
    served = 0
    for number in range(800):
        x, verb, op, options = random_call(rng)
        what = f"{verb}(x: {x.dtype} {x.shape}, {op!r}, {options!r}) call {block}/{number}"
        before = x.tobytes() if x.dtype != object else None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                problem = pw.explain(getattr(pw, verb), x, op, **options).steps[0].problem
                if math.prod(problem.out_shape) > 10**5:
                    continue  # an honest result, and a large one
                y = getattr(pw, verb)(x, op, **options)
        except (ValueError, TypeError) as error:
            assert type(error) in (ValueError, TypeError), what
            assert "\n  try " in str(error), f"{what}: {error}"
            continue
        except Exception as error:
            raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
        assert before == x.tobytes(), f"{what}: the input was modified"
        if y.size > 400:
            continue
        assert tuple(y.shape) == problem.out_shape, what
        if op != "blur" and problem.windows.elements > 4000:
            continue
        if max((axis.window for axis in problem.windows.axes), default=1) > 50 and op == "blur":
            continue
        with np.errstate(all="ignore"):
            expected = reference.forward(problem, x)
        if op == "lp" and not 0.5 <= problem.params.p <= 10:
            assert np.array_equal(np.isnan(bits_float(y)), np.isnan(bits_float(expected))), what
        else:
            assert_forward(problem, x, y, expected, what)
        served += 1
    assert served > 80, "the fuzz hardly ever makes a call that is served"


def bits_float(y: np.ndarray) -> np.ndarray:
    assert bits(y).shape == y.shape
    return y.astype(np.float64)
