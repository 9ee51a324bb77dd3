"""The compiled kernels alone, against definitions written out here over lists of elements."""

import itertools
import math
import os
import subprocess
import sys
from contextlib import contextmanager
from fractions import Fraction

import numpy as np
import pytest

import poolwise as pw
from poolwise import execute
from poolwise.backends import cpu

core = pytest.importorskip("poolwise._core", reason="the compiled kernels are not built")

FLOATS = ("float16", "bfloat16", "float32", "float64")
INTS = ("bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")
THREADS = (1, 2, 5)


@pytest.fixture(autouse=True)
def share_small_calls():
    core.set_worth_sharing(0.0)
    yield
    core.set_worth_sharing(100e-6)


@contextmanager
def streaming():
    """Kernels that are made here write past the caches, however little they write."""
    before = core.set_streams_from(-1)
    try:
        yield
    finally:
        core.set_streams_from(before)


def in_line(shape, dtype, shift=0):
    """An array that begins so many elements behind the start of a line of the cache, and the memory around it."""
    size, item, around = math.prod(shape), np.dtype(dtype).itemsize, 128
    memory = np.full(size + 2 * around, 77, dtype)
    start = around - memory.ctypes.data // item % (64 // item) + shift
    return memory[start : start + size].reshape(shape), memory[:start], memory[start + size :]


@contextmanager
def guarded(shape, dtype):
    """An array whose surroundings must not change; of whole lines of the cache where its size is even."""
    array, before, after = in_line(shape, dtype, shift=math.prod(shape) % 2)
    mark = np.dtype(dtype).type(77)
    yield array
    assert (before == mark).all() and (after == mark).all()


def storage(dtype):
    return np.dtype("uint16" if dtype == "bfloat16" else dtype)


def wide(x, dtype):
    return (x.astype(np.uint32) << 16).view(np.float32) if dtype == "bfloat16" else x


def rounded(value, dtype):
    """A Python number correctly rounded to the dtype, as stored."""
    if dtype != "bfloat16":
        with np.errstate(over="ignore"):
            return np.float64(value).astype(dtype)
    if not math.isfinite(value):
        return np.array(value, np.float32).view(np.uint32) >> np.uint32(16)
    low = np.uint16(np.float64(value).astype(np.float32).view(np.uint32) >> 16)
    near = [c for c in (low - 1, low, low + 1) if 0 <= c & 0x7FFF <= 0x7F80]

    def as_number(c):
        return (
            Fraction(*float(wide(np.array([c], np.uint16), dtype)[0]).as_integer_ratio())
            if c & 0x7FFF < 0x7F80
            else Fraction(2) ** 128 * (-1 if c & 0x8000 else 1)
        )

    return np.uint16(min(near, key=lambda c: (abs(as_number(c) - Fraction(value)), c & 1)))


def sliding(n, k, s=1, lo=0, hi=0, d=1, ceil=False):
    """(step, rows of (start, count, padded)) of sliding windows."""
    span, rows = d * (k - 1) + 1, []
    outputs = -(-(n + lo + hi - span) // s) + 1 if ceil else (n + lo + hi - span) // s + 1
    for i in range(outputs):
        at = [i * s - lo + d * j for j in range(k)]
        real = [p for p in at if 0 <= p < n]
        if not real:
            break
        rows.append((real[0], len(real), sum(p < 0 or n <= p < n + hi for p in at)))
    return d, rows


def adaptive(n, m):
    return 1, [(i * n // m, -(-(i + 1) * n // m) - i * n // m, 0) for i in range(m)]


def packed(form, size, stride, index_stride):
    """The axis as the kernel takes it: its longest uniform run, and a table of the others."""
    step, rows = form
    best, first = (0, 0), 0
    while first < len(rows):
        last = first + 1
        while (
            last < len(rows)
            and rows[last][1:] == rows[first][1:]
            and rows[last][0] - rows[last - 1][0] == rows[min(first + 1, len(rows) - 1)][0] - rows[first][0] > 0
        ):
            last += 1
        if rows[first][2] == 0 and last - first > best[1] - best[0]:
            best = first, last
        first = max(last - 1, first + 1)  # one run may end where the next begins
    first, last = best if best[1] - best[0] > 1 else (0, 0)
    base, window, jump = (rows[first][0], rows[first][1], rows[first + 1][0] - rows[first][0]) if last else (0, 1, 1)
    edge = np.array(rows[:first] + rows[last:], np.int64).reshape(-1, 3).tobytes()
    return size, stride, len(rows), step, jump, window, first, last, base, edge, max(r[1] for r in rows), index_stride


class Case:
    """An array [batch, axes..., inner] of any strides, the windows of its axes, and its kernel."""

    def __init__(self, op, dtype, x, forms, out=None, **params):
        self.op, self.dtype, self.out, self.x, self.forms, self.params = op, dtype, out or dtype, x, forms, params
        strides = [s // x.itemsize for s in x.strides]
        sizes = x.shape[1:-1]
        axes = [
            packed(f, n, s, math.prod(sizes[a + 1 :]))
            for a, (f, n, s) in enumerate(zip(forms, sizes, strides[1:-1], strict=True))
        ]

        def planned():
            batch, inner = [(x.shape[0], strides[0])], (x.shape[-1], strides[-1])
            return core.Kernel(op, dtype, self.out, batch, axes, inner, **params)

        self.kernel = planned()
        with streaming():
            self.streamed = planned()
        self.radix = [a[10] for a in axes]
        self.shape = (x.shape[0], *(len(f[1]) for f in forms), x.shape[-1])
        self.offset_dtype = {1: np.uint8, 2: np.uint16, 4: np.int32, 8: np.int64}[self.kernel.offset_size]

    def windows(self):
        """(output index, input indices in scan order, positions counted with padding)."""
        for o in itertools.product(*map(range, self.shape)):
            rows = [f[1][i] for f, i in zip(self.forms, o[1:-1], strict=True)]
            spans = [range(r[0], r[0] + f[0] * r[1], f[0]) for f, r in zip(self.forms, rows, strict=True)]
            yield o, [(o[0], *p, o[-1]) for p in itertools.product(*spans)], math.prod(r[1] + r[2] for r in rows)

    def forward(self, offsets=False):
        results = []
        for threads in THREADS:
            y = np.full(self.shape, 77, storage(self.out))
            off = np.full(self.shape, 77, self.offset_dtype)
            if offsets:
                self.kernel.forward_offsets(self.x.ctypes.data, y.ctypes.data, off.ctypes.data, threads)
            else:
                self.kernel.forward(self.x.ctypes.data, y.ctypes.data, threads)
            results.append((y, off))
        with guarded(self.shape, storage(self.out)) as y, guarded(self.shape, self.offset_dtype) as off:
            if offsets:
                self.streamed.forward_offsets(self.x.ctypes.data, y.ctypes.data, off.ctypes.data, 2)
            else:
                self.streamed.forward(self.x.ctypes.data, y.ctypes.data, 2)
        results.append((y, off))
        assert all(
            y.tobytes() == results[0][0].tobytes() and o.tobytes() == results[0][1].tobytes() for y, o in results
        )
        return results[0]

    def indices(self, off):
        index = np.empty(self.shape, np.int64)
        self.kernel.offsets_to_indices(off.ctypes.data, index.ctypes.data, 2)
        with guarded(self.shape, np.int64) as streamed:
            self.streamed.offsets_to_indices(off.ctypes.data, streamed.ctypes.data, 2)
        assert streamed.tobytes() == index.tobytes()
        return index

    def backward(self, method, *arrays):
        results = []
        for threads in THREADS:
            gx = np.full(self.x.shape, 77, storage(self.dtype))
            getattr(self.kernel, method)(*(a.ctypes.data for a in arrays), gx.ctypes.data, threads)
            results.append(gx)
        with guarded(self.x.shape, storage(self.dtype)) as gx:
            getattr(self.streamed, method)(*(a.ctypes.data for a in arrays), gx.ctypes.data, 2)
        results.append(gx)
        assert all(g.tobytes() == results[0].tobytes() for g in results)
        return results[0]


def data(rng, shape, dtype, special=True):
    if dtype in INTS:
        top = 2 if dtype == "bool" else 4
        x = rng.integers(0, top, shape).astype(dtype)
        if dtype != "bool":
            info = np.iinfo(dtype)
            x[rng.random(shape) < 0.2] = info.max
            x[rng.random(shape) < 0.2] = info.min
        return x
    x = rng.integers(-3, 4, shape).astype(np.float32) * np.where(rng.random(shape) < 0.3, 0.37, 1).astype(np.float32)
    x[rng.random(shape) < 0.1] = -0.0
    if special:
        for value in (np.inf, -np.inf, np.nan, -np.nan):
            x[rng.random(shape) < 0.03] = value
    return (x.view(np.uint32) >> 16).astype(np.uint16) if dtype == "bfloat16" else x.astype(dtype)


def strided(x, kind):
    """The same values laid out otherwise."""
    if kind == "plain":
        return np.ascontiguousarray(x)
    if kind == "reversed":
        return np.ascontiguousarray(x[:, ::-1, ..., ::-1])[:, ::-1, ..., ::-1]
    if kind == "gaps":
        big = np.zeros([2 * n for n in x.shape], x.dtype)
        big[tuple(slice(None, None, 2) for _ in x.shape)] = x
        return big[tuple(slice(None, None, 2) for _ in x.shape)]
    return np.ascontiguousarray(x.T).T


GEOMETRIES = [
    [sliding(37, 2, 2)],
    [sliding(150, 3, 2, 1, 1)],
    [sliding(90, 5, 3, 2, 1, d=2)],
    [sliding(83, 4, 4, 0, 0, ceil=True)],
    [sliding(70, 3, 7)],
    [sliding(400, 300, 11, 20, 20)],
    [adaptive(131, 3)],
    [sliding(9, 3, 2, 1, 1), sliding(67, 3, 2, 1, 1)],
    [sliding(11, 3, 1, 1, 1), sliding(40, 3, 1, 1, 1)],
    [sliding(8, 2, 2), sliding(70, 2, 2)],
    [sliding(20, 17, 1, 3, 3), sliding(21, 18, 2)],
    [adaptive(7, 3), adaptive(5, 9)],
    [sliding(13, 3, 2, 2, 2, d=3), (1, [(i, 1, 0) for i in range(3)]), sliding(12, 2, 3)],
    [sliding(5, 3, 1, 1, 1), sliding(6, 3, 2, 1, 1), sliding(19, 3, 2, 1, 1)],
    [sliding(6, 2, 2), sliding(7, 2, 2), sliding(37, 2, 2)],
    [sliding(11, 3, 1, 2, 2, d=2), sliding(40, 3, 1, 2, 2, d=2)],
    [sliding(6, 3, 2, 1, 1), sliding(7, 3, 1, 1, 1)],
    [sliding(3, 2), sliding(4, 2, 2), sliding(3, 3, 1, 1, 1), sliding(5, 2, 3, 0, 1)],
]


def cases(op, dtypes, layouts=("plain", "reversed", "gaps", "transposed"), every=1, at=0, **params):
    rng = np.random.default_rng(5)
    for g, forms in list(enumerate(GEOMETRIES))[at::every]:
        sizes = [max(s + f[0] * (c - 1) for s, c, _ in f[1]) + 1 for f in forms]
        for i, dtype in enumerate(dtypes):
            inner = (1, 3, 19, 1)[(g + i) % 4] if math.prod(sizes) < 800 else 1
            x = data(rng, (2, *sizes, inner), dtype, special=params.get("special", True))
            yield forms, dtype, strided(x, layouts[(g + i) % len(layouts)])


@pytest.mark.parametrize("op", ["max", "min"])
@pytest.mark.parametrize("dtypes", [FLOATS, INTS], ids=["floats", "ints"])
def test_compare(op, dtypes):
    for forms, dtype, x in cases(op, dtypes):
        case = Case(op, dtype, x, forms)
        y, off = case.forward(offsets=True)
        assert y.tobytes() == case.forward()[0].tobytes()
        index, values = case.indices(off), wide(np.ascontiguousarray(x), dtype).tolist()
        plane = np.arange(math.prod(x.shape[1:-1])).reshape(x.shape[1:-1])
        at = np.array(values, dtype=object)
        for o, elements, _ in case.windows():
            best = elements[0]
            for e in elements[1:]:
                new, old = at[e], at[best]
                if old == old and (new != new or (new > old if op == "max" else new < old)):
                    best = e
            assert y[o].tobytes() == x[best].tobytes(), (forms, dtype, o)
            assert index[o] == plane[best[1:-1]], (forms, dtype, o)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "op,params", [("sum", {}), ("avg", {}), ("avg", {"count_padding": True}), ("avg", {"divisor": -7.0})]
)
def test_float_sums(dtype, op, params):
    for forms, _, x in cases(op, [dtype]):
        case = Case(op, dtype, x, forms, **params)
        y, at = wide(case.forward()[0], dtype), wide(np.ascontiguousarray(x), dtype).astype(float)
        eps = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24, "float64": 2.0**-53}[dtype]
        for o, elements, padded in case.windows():
            v = [at[e] for e in elements]
            d = 1 if op == "sum" else params.get("divisor") or (padded if "count_padding" in params else len(v))
            want = math.fsum(v) / d if all(map(math.isfinite, v)) else sum(v) / d
            np.testing.assert_allclose(y[o], want, rtol=2 * eps, atol=0)


LARGE = [
    [adaptive(150, 1)],
    [adaptive(7, 1), adaptive(7, 1)],
    [adaptive(12, 1), adaptive(35, 1)],
    [adaptive(5, 1), adaptive(3, 1), adaptive(11, 1)],
    [adaptive(16, 2), adaptive(67, 3)],
    [adaptive(13, 2), adaptive(9, 4)],
    [sliding(14, 7, 7), sliding(40, 8, 8)],
    [adaptive(21, 1), adaptive(217, 2)],
]


def large(dtypes):
    """Windows that are whole planes, or of many rows: ordinary numbers, zeros of both signs above all else, few NaN."""
    rng = np.random.default_rng(11)
    for g, forms in enumerate(LARGE):
        sizes = [max(s + c for s, c, _ in f[1]) for f in forms]
        for dtype, inner in itertools.product(dtypes, (1, 5, 56) if math.prod(sizes) < 1200 else (1,)):
            for kind in ("ordinary", "zeros", "nan") if dtype in FLOATS else ("ordinary",):
                if dtype in INTS:
                    yield forms, dtype, data(rng, (2, *sizes, inner), dtype)
                    continue
                x = rng.standard_normal((2, *sizes, inner)).astype(np.float32)
                if kind == "zeros":
                    x = np.where(rng.random(x.shape) < 0.01, np.where(rng.random(x.shape) < 0.5, -0.0, 0.0), -abs(x))
                if kind == "nan":
                    x[rng.random(x.shape) < 0.5 / math.prod(sizes)] = np.nan
                    x[rng.random(x.shape) < 0.5 / math.prod(sizes)] = -np.nan
                x = x.astype(np.float32)
                x = (x.view(np.uint32) >> 16).astype(np.uint16) if dtype == "bfloat16" else x.astype(dtype)
                yield forms, dtype, strided(x, ("plain", "plain", "gaps")[g % 3])


@pytest.mark.parametrize("op", ["max", "min"])
@pytest.mark.parametrize("dtype", [*FLOATS, "uint8", "int32"])
def test_large_windows_compare(op, dtype):
    for forms, _, x in large([dtype]):
        if op == "min" and dtype in FLOATS:
            x = x ^ np.uint16(0x8000) if dtype == "bfloat16" else -x
        case = Case(op, dtype, x, forms)
        y, off = case.forward(offsets=True)
        assert y.tobytes() == case.forward()[0].tobytes()
        index, at = case.indices(off), wide(np.ascontiguousarray(x), dtype)
        plane = np.arange(math.prod(x.shape[1:-1])).reshape(x.shape[1:-1])
        for o, elements, _ in case.windows():
            v = at[tuple(zip(*elements, strict=True))]
            first = np.isnan(v).argmax() if np.isnan(v).any() else v.argmax() if op == "max" else v.argmin()
            assert y[o].tobytes() == x[elements[first]].tobytes(), (forms, dtype, o)
            assert index[o] == plane[elements[first][1:-1]], (forms, dtype, o)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("dtype", [*FLOATS, "uint8", "int16"])
def test_large_windows_average(dtype):
    eps = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24, "float64": 2.0**-53}
    for forms, _, x in large([dtype]):
        case = Case("avg", dtype, x, forms)
        y, at = wide(case.forward()[0], dtype), wide(np.ascontiguousarray(x), dtype)
        for o, elements, _ in case.windows():
            v = at[tuple(zip(*elements, strict=True))].tolist()
            if dtype in eps:
                np.testing.assert_allclose(y[o], math.fsum(v) / len(v), rtol=2 * eps[dtype], atol=1e-17)
            else:
                assert y[o] == round(Fraction(sum(v), len(v))), (forms, dtype, o)


@pytest.mark.parametrize("op", ["max", "avg"])
def test_planes_of_any_pitch(op):
    """More planes than are finished at once, evenly apart or not."""
    rng = np.random.default_rng(2)
    big = rng.standard_normal((9, 37, 5, 3)).astype(np.float32)
    big[4, 11, 3, 1] = np.nan
    for x in (big, big[:, :20], big[::2, 1::3], big[::-1], big[:, ::-1]):
        n, c, s = *x.shape[:2], [b // 4 for b in x.strides]
        axes = [packed(adaptive(5, 1), 5, s[2], 3), packed(adaptive(3, 1), 3, s[3], 1)]
        kernel = core.Kernel(op, "float32", "float32", [(n, s[0]), (c, s[1])], axes, (1, 1))
        y = np.empty((n, c), np.float32)
        kernel.forward(x.ctypes.data, y.ctypes.data, 2)
        want = x.max((2, 3)) if op == "max" else x.mean((2, 3), dtype=float)
        np.testing.assert_allclose(y, want, rtol=2.0**-23)


def test_planes_that_are_computed_again():
    """Sums beyond the range, in some of the planes that are finished together."""
    x = np.ones((5, 40, 1))
    x[1], x[3, 7] = 1.7e308, np.inf
    np.testing.assert_array_equal(
        Case("avg", "float64", x, [adaptive(40, 1)]).forward()[0].ravel(), [1, 1.7e308, 1, np.inf, 1]
    )
    x[1], x[3], x[4] = 1e200, 1e-200, 0
    y = Case("lp", "float64", x, [adaptive(40, 1)], p=2.0).forward()[0].ravel()
    np.testing.assert_allclose(y, math.sqrt(40) * np.array([1, 1e200, 1, 1e-200, 0]), rtol=1e-14)


def test_results_are_those_of_every_instruction_set():
    code = """
import hashlib, sys
import numpy as np
import poolwise as pw
from poolwise import _core
rng, seen = np.random.default_rng(4), hashlib.md5()
for shape in ((3, 5, 7, 7), (2, 3, 33, 41), (2, 16, 16, 40), (1, 2, 9, 100)):
    x = rng.standard_normal(shape).astype(np.float32)
    for dtype in ("float32", "float64", "float16"):
        for size in (1, 2):
            y = pw.adaptive_avg_pool(x.astype(dtype), size, axes=(2, 3)), pw.adaptive_avg_pool(x.astype(dtype), size, axes=(1, 2))
            seen.update(y[0].tobytes() + y[1].tobytes())
print(_core.isa(), seen.hexdigest())
"""
    found = {}
    for isa in core.isa_available():
        env = {**os.environ, "POOLWISE_ISA": isa}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
        name, found[isa] = done.stdout.split()
        assert name == isa
    assert len(set(found.values())) == 1, found


def test_float64_sums_are_careful():
    x = np.array(
        [1e300, 1.0, -1e300, 3.0, 1.7e308, 1.7e308, 1.7e308, -1.7e308, np.inf, 1.0, -np.inf, 2.0], float
    ).reshape(1, 12, 1)
    for window, op, want in [
        (4, "sum", [4, 1.7e308 * 2, np.nan]),
        (4, "avg", [1, 0.85e308, np.nan]),
        (2, "avg", [5e299, -5e299, 1.7e308, 0, np.inf, -np.inf]),
    ]:
        np.testing.assert_array_equal(Case(op, "float64", x, [sliding(12, window, window)]).forward()[0].ravel(), want)


def test_half_rounds_once():
    for dtype, tie in (("float16", 1 + 2.0**-11), ("bfloat16", 1 + 2.0**-8)):
        # 1 + half a unit + something tiny: through float32 this would be a tie.
        for tiny in (2.0**-24 if dtype == "float16" else 2.0**-40, 0.0, -(2.0**-24)):
            parts = np.array([1.0, tie - 1, tiny, 0.0], np.float32)
            x = (
                (parts.view(np.uint32) >> 16).astype(np.uint16) if dtype == "bfloat16" else parts.astype(dtype)
            ).reshape(1, 4, 1)
            got = Case("sum", dtype, x, [sliding(4, 4)]).forward()[0].ravel()[0]
            assert got == rounded(sum(float(v) for v in wide(x, dtype).ravel()), dtype)


@pytest.mark.parametrize("dtype", INTS)
def test_integer_sums(dtype):
    for out in (dtype, "int64", "float32", "float64"):
        for op in ("sum", "avg"):
            if out == "bool":
                continue
            for forms, _, x in cases(op, [dtype], every=4, at=1):
                case = Case(op, dtype, x, forms, out=out)
                want = np.empty(case.shape, object)
                for o, elements, _ in case.windows():
                    want[o] = Fraction(sum(int(x[e]) for e in elements), len(elements) if op == "avg" else 1)
                if np.issubdtype(np.dtype(out), np.integer):
                    want = np.vectorize(round, otypes=[object])(want)
                    if want.max() > np.iinfo(out).max or want.min() < np.iinfo(out).min:
                        with pytest.raises(OverflowError, match="does not fit"):
                            case.forward()
                        continue
                    np.testing.assert_array_equal(case.forward()[0].astype(object), want)
                else:
                    np.testing.assert_allclose(
                        case.forward()[0], want.astype(float), rtol=2.0**-23 if out == "float32" else 2.0**-52
                    )


def lp_of(v, p, signed=False):
    if any(e != e for e in v):
        return math.nan
    if math.isinf(p):
        return max(map(abs, v))
    v = np.array(v, np.longdouble)
    s = np.sum(abs(v) ** np.longdouble(p) * (np.where(v < 0, -1, 1) if signed else 1))
    return float(np.sign(s) * abs(s) ** (1 / np.longdouble(p)))


@pytest.mark.parametrize(
    "p,signed",
    [(1, False), (1, True), (2, False), (3, False), (3, True), (0.5, False), (2.7, False), (math.inf, False)],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_lp(p, signed):
    for forms, dtype, x in cases("lp", FLOATS, every=4, at=int(p * 10) % 4 if p < 9 else 3):
        case = Case("lp", dtype, x, forms, p=p, signed=signed)
        y, at = wide(case.forward()[0], dtype), wide(np.ascontiguousarray(x), dtype).astype(float)
        tol = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-22, "float64": 1e-13}[dtype]
        for o, elements, _ in case.windows():
            want = lp_of([at[e] for e in elements], p, signed)
            scale = lp_of([at[e] for e in elements], p) if signed else 0
            np.testing.assert_allclose(
                y[o], want, rtol=tol, atol=1e-5 * scale if signed and math.isfinite(scale) else 0
            )


def test_lp_keeps_in_range():
    for scale in (1e200, 1e-200, 5e-324 * 1000):
        x = np.array([3, 4, 0, 0], float).reshape(1, 4, 1) * scale
        np.testing.assert_allclose(
            Case("lp", "float64", x, [sliding(4, 2, 2)]).forward()[0].ravel(),
            [5 * scale, 0],
            rtol=1e-3 if scale < 1e-300 else 1e-14,
        )


@pytest.mark.parametrize("op,params", [("max", {}), ("avg", {}), ("avg", {"count_padding": True}), ("sum", {}), ("avg", {"divisor": 5.0}),
                                       ("lp", {"p": 1.0}), ("lp", {"p": 2.0}), ("lp", {"p": 2.0, "rescale": 6.0}), ("lp", {"p": 3.0, "signed": True}), ("lp", {"p": 2.5, "rescale": 6.0}), ("lp", {"p": math.inf})])  # fmt: skip
def test_gradients(op, params):
    rng = np.random.default_rng(7)
    for forms, dtype, x in cases(op, FLOATS, layouts=("plain",), every=2, at=len(params) % 2):
        x = data(rng, x.shape, dtype, special=False)
        case = Case(op, dtype, x, forms, **params)
        gy = data(rng, case.shape, dtype, special=False)
        at, g, want, size = (
            wide(x, dtype).astype(float),
            wide(gy, dtype).astype(float),
            np.zeros(x.shape),
            np.zeros(x.shape),
        )
        p = params.get("p", 0)
        if op == "max" or p == math.inf:
            y, off = case.forward(offsets=True)
            index = case.indices(off)
            gx = case.backward("backward_lp", x, y, gy) if op == "lp" else case.backward("backward_select", gy, off)
        elif op == "lp":
            y = case.forward()[0]
            gx = case.backward("backward_lp", x, y, gy)
        else:
            gx = case.backward("backward_linear", gy)
        for o, elements, padded in case.windows():
            if op == "max" or p == math.inf:
                e = (o[0], *np.unravel_index(index[o], x.shape[1:-1]), o[-1])
                terms = {e: g[o] * (np.sign(at[e]) if op == "lp" else 1)}
            elif op == "lp":
                norm, f = (
                    wide(y, dtype)[o].astype(float),
                    params["rescale"] / len(elements) if "rescale" in params else 1.0,
                )
                terms = {
                    e: 0.0
                    if at[e] == 0 or norm == 0
                    else g[o] * f * (1 if params.get("signed") else np.sign(at[e])) * abs(at[e] / norm) ** (p - 1)
                    for e in elements
                }
            else:
                d = 1 if op == "sum" else params.get("divisor") or (padded if params else len(elements))
                terms = dict.fromkeys(elements, g[o] / d)
            for e, t in terms.items():
                want[e] += t
                size[e] += abs(t)
        tol = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-22, "float64": 1e-14}[dtype]
        # The definition adds the gradients of max up in the dtype itself, of half types in float32; all else in double.
        lost = 2.0**-22 if op == "max" and dtype != "float64" else 1e-13
        assert np.all(
            np.abs(wide(gx, dtype) - want) <= tol * np.abs(want) + lost * size + (1e-7 if dtype == "float16" else 0)
        ), (forms, dtype)


EVEN = [  # rows that gather (gather.hpp) does in one run, row by row, with and without outputs beyond their ends
    [sliding(70, 3, 1, 1, 1), sliding(37, 3, 1, 1, 1)],
    [sliding(9, 5, 1, 2, 2), sliding(130, 5, 1, 2, 2)],
    [sliding(8, 5, 1, 2, 2), sliding(3, 3, 1, 1, 1)],
    [sliding(12, 3, 2, 1, 1), sliding(112, 3, 2, 1, 1)],
    [sliding(13, 3, 2, 1, 1), sliding(35, 3, 2, 1, 1)],
    [sliding(13, 4, 2, 1, 1), sliding(36, 4, 2, 1, 1)],
    [sliding(140, 2, 2), sliding(6, 2, 2)],
    [sliding(7, 3, 1), sliding(20, 3, 2, 0, 0, ceil=True)],
    [sliding(6, 2), sliding(40, 3, 3)],
    [sliding(5, 2), sliding(90, 3, 5, 1, 1)],
    [sliding(4, 3, 1, 1, 1), sliding(5, 3, 2, 1, 1), sliding(18, 3, 1, 1, 1)],
    [sliding(2100, 3, 1, 1, 1)],
    [sliding(4201, 5, 2, 2, 2)],
    [sliding(6200, 4, 3, 1, 1)],
    [adaptive(5, 3), adaptive(230, 170)],
]


def even_cases(op, dtypes):
    rng = np.random.default_rng(11)
    for forms in EVEN:
        sizes = [max(s + f[0] * (c - 1) for s, c, _ in f[1]) + 1 for f in forms]
        for inner, dtype in itertools.product((1, 40) if math.prod(sizes) < 1500 else (1,), dtypes):
            case = Case(op, dtype, data(rng, (2, *sizes, inner), dtype, special=False), forms)
            g = rng.standard_normal(case.shape).astype("float32")
            yield case, (g.view(np.uint32) >> 16).astype(np.uint16) if dtype == "bfloat16" else g.astype(dtype)


def test_gradients_of_max_are_added_in_scan_order():
    """In the array's own dtype, to the bit; NaN and infinities go nowhere but to their own element."""
    for case, gy in even_cases("max", ("float32", "float64")):
        gy.ravel()[:: max(gy.size // 7, 1)] = np.resize(
            [np.inf, -np.inf, -0.0, np.nan], gy.ravel()[:: max(gy.size // 7, 1)].shape
        )
        _, off = case.forward(offsets=True)
        index = case.indices(off)
        gx = case.backward("backward_select", gy, off)
        want = np.zeros_like(case.x)
        batch, *_, inner = np.indices(case.shape)
        with np.errstate(invalid="ignore"):
            np.add.at(want.reshape(len(want), -1, want.shape[-1]), (batch, index, inner), gy)
        np.testing.assert_array_equal(gx, want, str(case.forms))


def shared(g, case):
    """Each output's equal shares, axis by axis."""
    for a, ((step, rows), size) in enumerate(zip(case.forms, case.x.shape[1:-1], strict=True), start=1):
        start, count, _ = np.array(rows).T
        to, g = np.zeros((size, *np.delete(g.shape, a))), np.moveaxis(g, a, 0)
        for j in range(count.max()):
            np.add.at(to, start[count > j] + step * j, (g.T / count).T[count > j])
        g = np.moveaxis(to, 0, a)
    return g


def test_gradients_of_averages_over_rows():
    for case, gy in even_cases("avg", FLOATS):
        gx, g = wide(case.backward("backward_linear", gy), case.dtype), wide(gy, case.dtype).astype(float)
        want, size = shared(g, case), shared(abs(g), case)
        tol = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 1e-15}[case.dtype]
        least = 1e-7 if case.dtype == "float16" else 0
        assert np.all(np.abs(gx - want) <= tol * np.abs(want) + 1e-14 * size + least), (case.forms, case.dtype)


def test_rejects_windows_outside():
    good = [9, 1, 4, 1, 2, 3, 0, 4, 0, b"", 3, 1]
    make = lambda axis: core.Kernel("max", "float32", "float32", [(1, 9)], [tuple(axis)], (1, 1))  # noqa: E731
    make(good)
    for place, value in [
        (0, 8),
        (2, 5),
        (3, 0),
        (4, 0),
        (4, 2**62),
        (5, 4),
        (5, 0),
        (7, 3),
        (8, -1),
        (8, 1),
        (9, bytes(24)),
        (9, b"x"),
        (10, 2),
        (10, 2**63 - 1),
    ]:
        axis = list(good)
        axis[place] = value
        with pytest.raises(ValueError):
            make(axis)


def test_environment_and_fork():
    code = """
import os, sys, numpy as np, threading
from poolwise import _core as core
k = core.Kernel("avg", "float32", "float32", [(64, 4096)], [(4096, 1, 2048, 1, 2, 2, 0, 2048, 0, b"", 2, 1)], (1, 1))
x = np.arange(64 * 4096, dtype=np.float32); y = np.empty(64 * 2048, np.float32)
run = lambda: k.forward(x.ctypes.data, y.ctypes.data, 4)
while not core.parallel_stats():
    run()
pid = os.fork()
if pid == 0:
    y[:] = 0; run(); os._exit(0 if y.sum() > 0 else 1)
assert os.waitpid(pid, 0)[1] == 0
ts = [threading.Thread(target=lambda: [run() for _ in range(20)]) for _ in range(4)]
[t.start() for t in ts]; [t.join() for t in ts]
print(core.isa())
"""
    env = dict(os.environ)
    for isa in core.isa_available():
        done = subprocess.run(
            [sys.executable, "-c", code], env={**env, "POOLWISE_ISA": isa}, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0 and done.stdout.startswith(isa), done.stderr
    done = subprocess.run(
        [sys.executable, "-c", code], env={**env, "POOLWISE_ISA": "sse9"}, capture_output=True, text=True, timeout=60
    )
    assert "POOLWISE_ISA=sse9" in done.stderr and "expected one of: base" in done.stderr


SHARED = """
import os, sys, threading, numpy as np, torch, poolwise as pw
torch.set_num_threads(2)
pw.set_num_threads(2)
x = np.random.default_rng(0).random((4, 16, 200, 200), dtype=np.float32)
torch.from_numpy(x).add(1)  # torch's threads exist
run = lambda: pw.max_pool(x, (3, 3))
y = run()
pid = os.fork()
if pid == 0:
    os._exit(0 if np.array_equal(run(), y) else 1)
assert os.waitpid(pid, 0)[1] == 0
found = []
threads = [threading.Thread(target=lambda: found.extend(np.array_equal(run(), y) for _ in range(10))) for _ in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
assert len(found) == 40 and all(found)
pw.set_num_threads(1)
assert np.array_equal(run(), y)
pw.set_num_threads(2)
print(pw.show_config()["shared_threads"])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork")
def test_threads_shared_with_torch():
    """On its team or not, as the environment says: equal bits, a forked child, concurrent callers."""
    pytest.importorskip("torch")
    for layer in ("auto", "own"):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", SHARED],
            env={**os.environ, "POOLWISE_THREADING": layer},
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == str(layer == "auto")


@pytest.mark.parametrize("window,stride", [(2, 2), (3, 1), (2, 3), (3, 3), (5, 4), (7, 1)])
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_gradients_of_euclidean_norms_of_special_values(window, stride, dtype, last):
    """What is gathered as gy / y and multiplied by x is the definition's: infinities, NaN, zeros, gaps between windows."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((2, 21, 19, 5) if last else (2, 3, 21, 19))
    x[rng.random(x.shape) < 0.3] = 0
    x[rng.random(x.shape) < 0.02] = -np.inf
    x[rng.random(x.shape) < 0.02] = np.inf
    x[rng.random(x.shape) < 0.01] = np.nan
    x = x.astype(dtype)
    options = {"stride": stride, "axes": (1, 2) if last else (2, 3)}
    y, pullback = pw.vjp(pw.lp_pool, x, (window, window), backend="cpu", **options)
    _, exact = pw.vjp(pw.lp_pool, x.astype(float), (window, window), backend="generic", **options)
    gy = rng.standard_normal(y.shape).astype(dtype)
    tol = {"float64": 1e-13, "float32": 1e-6, "float16": 4e-3}[dtype]
    np.testing.assert_allclose(pullback(gy), exact(gy.astype(float)), rtol=tol, atol=tol * window**2)


@pytest.mark.parametrize("window,stride", [(2, 2), (3, 1), (3, 3), (3, 2)])
@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
def test_gradients_of_euclidean_norms_keep_in_range(window, stride, last):
    """float64 whose quotients gy / y would overflow or vanish, beside some that would not."""
    rng = np.random.default_rng(5)
    scales = np.array([1.0, 1e-300, 1e300, 1e-150, 1e150, 1e-308])
    x = rng.standard_normal((6, 12, 13, 3) if last else (6, 3, 12, 13))
    plane = (slice(None),) + (None,) * 3
    options = {"stride": stride, "axes": (1, 2) if last else (2, 3)}
    y, exact = pw.vjp(pw.lp_pool, x, (window, window), backend="generic", **options)
    gy = rng.standard_normal(y.shape)
    wanted = exact(gy)
    for by in (1e-200, 1.0, 1e200, 1e-307):
        _, pullback = pw.vjp(pw.lp_pool, x * scales[plane], (window, window), backend="cpu", **options)
        np.testing.assert_allclose(pullback(gy * by), wanted * by, rtol=1e-11, atol=1e-14 * by)


@pytest.mark.parametrize(
    "window,stride,padding", [(2, 2, 0), (3, 2, 1), (3, 1, 1), (5, 1, 2), ((3, 2, 5), (1, 2, 3), (1, 0, 2))]
)
@pytest.mark.parametrize("op", ["max", "min", "avg", "lp"])
@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
def test_three_axes(window, stride, padding, op, last):
    """The last two axes are done at once, those before by the walk: values and offsets are the definition's, NaN and all."""
    rng = np.random.default_rng(5)
    spatial = (9, 13, 40)
    x = rng.integers(-3, 4, (2, *spatial, 3) if last else (2, 3, *spatial)).astype("float32")
    x = np.where(rng.random(x.shape) < 0.2, np.float32(-0.0), x)
    if op in ("max", "min"):
        x[rng.random(x.shape) < 0.001] = np.nan
    window = window if isinstance(window, tuple) else (window,) * 3
    options = {"stride": stride, "padding": padding, "axes": (1, 2, 3) if last else (2, 3, 4)}
    found, wanted = (pw.pool(x, op, window, backend=name, **options) for name in ("cpu", "generic"))
    if op == "lp":
        np.testing.assert_allclose(found, wanted, rtol=3e-7)
        return
    if op == "avg":
        np.testing.assert_allclose(found, wanted, rtol=2e-7, atol=1e-7)
        return
    np.testing.assert_array_equal(found.view("uint32"), wanted.view("uint32"))
    if op == "max":
        found, wanted = (pw.max_pool_with_indices(x, window, backend=name, **options)[1] for name in ("cpu", "generic"))
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    "window,stride,padding",
    [
        (3, 1, 1),
        (3, 2, 1),
        (2, 1, 0),
        (5, 1, 2),
        ((3, 5), (2, 1), (0, 2)),
        (3, 1, (0, 2)),
        (4, (2, 1), 0),
        (2, 2, 0),
        (3, 2, 0),
        ((2, 3), (3, 2), 0),
        (2, 3, 0),
    ],
)
@pytest.mark.parametrize("op", ["max", "min", "avg", "lp"])
@pytest.mark.parametrize(
    "shape", [(3, 37, 7, 7), (2, 21, 14, 14), (1, 67, 8, 6), (41, 7, 7, 3), (19, 5, 9, 1), (2, 5, 6, 6)], ids=str
)
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_many_small_planes(window, stride, padding, op, shape, dtype):
    """Planes that are done together, rows that are done as one: nothing of one is seen in the next."""
    if op == "lp" and dtype == "uint8":
        return
    rng = np.random.default_rng(9)
    x = rng.integers(0 if dtype == "uint8" else -3, 4, shape).astype(dtype)
    if dtype != "uint8" and op in ("max", "min"):
        x[rng.random(shape) < 0.01] = np.nan
        x[rng.random(shape) < 0.1] = -0.0
    axes = (1, 2) if shape[-1] <= 3 else (2, 3)
    options = {"stride": stride, "padding": padding, "axes": axes}
    window = window if isinstance(window, tuple) else (window,) * 2
    for view in (x, np.repeat(x, 2, axis=axes[1])[:, :, ::2] if axes[1] == 2 else np.repeat(x, 2, axis=0)[::2]):
        found, wanted = (pw.pool(view, op, window, backend=name, **options) for name in ("cpu", "generic"))
        if op in ("avg", "lp") and dtype != "uint8":
            tol = {"float32": 3e-7, "float16": 1e-3}[dtype]
            np.testing.assert_allclose(found.astype(float), wanted.astype(float), rtol=tol, atol=tol)
            continue
        bits = {"float32": "uint32", "float16": "uint16", "uint8": "uint8"}[dtype]
        np.testing.assert_array_equal(found.view(bits), wanted.view(bits))
        if op == "max":
            found, wanted = (
                pw.max_pool_with_indices(view, window, backend=name, **options)[1] for name in ("cpu", "generic")
            )
            np.testing.assert_array_equal(found, wanted)
        if dtype != "uint8":
            # Whole numbers, whose sums are exact in any order.
            y, pullback = pw.vjp(pw.pool, view, op, window, backend="cpu", **options)
            _, definition = pw.vjp(pw.pool, view, op, window, backend="generic", **options)
            gy = rng.integers(-8, 9, y.shape).astype(dtype)
            np.testing.assert_array_equal(pullback(gy), definition(gy))


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64", "float16", "float64"])
@pytest.mark.parametrize("op", ["max", "avg", "sum"])
@pytest.mark.parametrize("window", [(2, 2, 2), (2, 1, 4), (3, 2, 2)], ids=str)
def test_three_axes_whose_windows_lie_apart(window, op, dtype):
    """Done as planes with more rows, where there are vectors for them."""
    if (op, dtype) in {("sum", "uint8"), ("sum", "int16")}:
        return
    x = np.random.default_rng(3).integers(0 if dtype == "uint8" else -9, 10, (2, 3, 7, 9, 37)).astype(dtype)
    found, wanted = (pw.pool(x, op, window, axes=(2, 3, 4), backend=name) for name in ("cpu", "generic"))
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("planes", [1, 20, 21, 22, 67, 200])
@pytest.mark.parametrize(
    "forms", [(7, 7, 3, 1, 1), (8, 6, 3, 1, 1), (6, 13, 3, 2, 1), (7, 7, 5, 1, 2), (5, 9, 2, 1, 0)], ids=str
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "uint8"])
@pytest.mark.parametrize("op", ["max", "min"])
def test_small_planes_with_room_beside_them(planes, forms, dtype, op):
    """As found with offsets, which is another way; nothing is written beyond the last plane, of a whole group or not."""
    height, width, *window = forms
    x = data(np.random.default_rng(planes), (planes, height, width, 1), dtype)
    case = Case(op, dtype, x, [sliding(n, *window, window[-1]) for n in (height, width)])
    assert case.forward()[0].tobytes() == case.forward(offsets=True)[0].tobytes()


SIDE_BY_SIDE = [
    [(7, 2, 2, 0), (7, 2, 2, 0)],
    [(6, 3, 2, 1), (9, 3, 2, 1)],
    [(5, 3, 1, 1), (8, 5, 1, 2)],
    [(9, 3, 1, 0), (4, 4, 1, 0)],
    [(13, 2, 2, 0)],
    [(3, 2, 1, 1), (4, 2, 2, 0), (5, 3, 2, 1)],
    [(1, 1, 1, 0), (2, 2, 2, 0)],
]


@pytest.mark.parametrize("planes", [15, 16, 17, 47, 130, 300])
@pytest.mark.parametrize("axes", SIDE_BY_SIDE, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "uint8", "int32"])
def test_small_planes_side_by_side(planes, axes, dtype):
    """Planes one behind the other are pooled as channels of one would be, to the last bit; nothing beside them changes."""
    rng = np.random.default_rng(planes)
    forms, sizes = [sliding(n, *rest) for n, *rest in axes], tuple(n for n, *_ in axes)
    for op in ("max", "min", "avg", "sum", "lp", "median"):
        if (dtype == "uint8" and op in ("sum", "lp")) or (dtype == "int32" and op == "lp"):
            continue
        x = data(rng, (planes, *sizes, 1), dtype, special=op in ("max", "min", "median"))
        if dtype == "int32" and op in ("avg", "sum"):
            x %= 100
        behind = Case(op, dtype, x, forms)
        beside = Case(op, dtype, np.ascontiguousarray(np.moveaxis(x, 0, -1)[..., 0, :])[None], forms)

        def as_channels(a):
            return np.ascontiguousarray(np.moveaxis(a, 0, -1)[..., 0, :])[None]

        y, _ = behind.forward()
        assert as_channels(y).tobytes() == beside.forward()[0].tobytes(), op
        if op in ("max", "min"):
            (y, off), (_, wanted) = behind.forward(offsets=True), beside.forward(offsets=True)
            assert as_channels(off).tobytes() == wanted.tobytes()
        if dtype not in FLOATS or op == "median":
            continue
        gy = data(rng, y.shape, dtype, special=False)
        if op in ("max", "min"):
            given = [(gy, as_channels(gy)), (off, wanted)]
        else:
            given = [(a, as_channels(a)) for a in ((x, y, gy) if op == "lp" else (gy,))]
        method = {"lp": "backward_lp", "avg": "backward_linear", "sum": "backward_linear"}.get(op, "backward_select")
        gx = behind.backward(method, *(a for a, _ in given))
        assert as_channels(gx).tobytes() == beside.backward(method, *(b for _, b in given)).tobytes(), op


@pytest.mark.parametrize(
    "window,stride,padding",
    [(2, 2, 0), ((3, 2), (1, 2), (1, 0)), (3, 2, 1), ((2, 3), (3, 2), 0), (3, (1, 4), 1)],
    ids=str,
)
@pytest.mark.parametrize("op", ["max", "min", "avg"])
@pytest.mark.parametrize(
    "shape", [(2, 9, 23, 2), (1, 6, 700, 3), (2, 5, 130, 4), (3, 7, 30, 5), (1, 5, 41, 9)], ids=str
)
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "float16", "float32", "float64", "int32"])
def test_few_channels_side_by_side(window, stride, padding, op, shape, dtype):
    """Windows of pictures begin at every column, of which some are picked: values and offsets are the definition's."""
    rng = np.random.default_rng(13)
    x = rng.integers(0 if dtype.startswith("u") else -3, 4, shape).astype(dtype)
    window = window if isinstance(window, tuple) else (window,) * 2
    options = {"stride": stride, "padding": padding, "axes": (1, 2)}
    found, wanted = (pw.pool(x, op, window, backend=name, **options) for name in ("cpu", "generic"))
    if op == "avg" and dtype.startswith("float"):
        tol = {"float64": 1e-15, "float32": 3e-7, "float16": 1e-3}[dtype]
        np.testing.assert_allclose(found.astype(float), wanted.astype(float), rtol=tol, atol=tol)
        return
    np.testing.assert_array_equal(found, wanted)
    if op == "max":
        found, wanted = (pw.max_pool_with_indices(x, window, backend=name, **options)[1] for name in ("cpu", "generic"))
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    "window,stride,padding",
    [(3, 2, 1), ((2, 3), (1, 2), 0), ((5, 4), (3, 2), (2, 2)), (3, 1, 1), ((2, 5), 1, (0, 2))],
    ids=str,
)
@pytest.mark.parametrize("op", ["max", "min", "avg"])
@pytest.mark.parametrize("shape", [(2, 70, 61), (1, 41, 130), (1, 9, 4000)], ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int32", "float16", "float32", "float64"])
@pytest.mark.parametrize("special", [False, True])
def test_columns_first(window, stride, padding, op, shape, dtype, special):
    """Windows that step by two or are cut are reduced down their columns first, unless the first of equal elements matters."""
    rng = np.random.default_rng(17)
    x = rng.integers(0 if dtype.startswith("u") else -9, 9, shape).astype(dtype)
    if special:
        if not dtype.startswith("float"):
            x[x == 8], x[x == 0] = np.iinfo(dtype).max, np.iinfo(dtype).min
        else:
            x[:, 20:, :] = np.where(x[:, 20:, :] == 0, -0.0, np.abs(x[:, 20:, :]))
            x[:, shape[1] // 2 :, ::7] = 0
            x[:, -3, ::5] = np.nan
    window = window if isinstance(window, tuple) else (window,) * 2
    options = {"stride": stride, "padding": padding, "ceil_mode": special}
    found, wanted = (pw.pool(x, op, window, axes=(1, 2), backend=name, **options) for name in ("cpu", "generic"))
    if op == "avg" and dtype.startswith("float"):
        tol = {"float64": 1e-15, "float32": 3e-7, "float16": 1e-3}[dtype]
        np.testing.assert_allclose(found.astype(float), wanted.astype(float), rtol=tol, atol=tol)
        return
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(wanted))


@pytest.mark.parametrize("layout", ["first", "last"])
@pytest.mark.parametrize("k", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_averages_at_ties(dtype, k, layout):
    """Windows whose mean lies on a tie of the half type, or so little beside it that float32 does not see it."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    kind, bits = (np.dtype("float16"), 11) if dtype == "float16" else (np.dtype(ml_dtypes.bfloat16), 8)
    rng, many, count = np.random.default_rng(5), 2000, k * k
    x = rng.standard_normal((many, count)).astype(kind).astype(np.float64)
    mean = x[:, :-1].sum(1) / (count - 1) * rng.uniform(0.2, 3, many)
    unit = 2.0 ** (np.floor(np.log2(np.abs(mean) + 1e-300)) - bits)
    tie = (np.floor(mean / unit / 2) * 2 + 1) * unit
    beside = rng.choice([0, 0, 0, 1, -1, 3, -3], many) * 2.0**-24 * rng.choice([1, 2, 4, 8, 64], many)
    x[:, -1] = count * tie - x[:, :-1].sum(1) + beside
    x = x.astype(kind)
    assert (x.astype(np.float64).sum(1) == count * tie).sum() > 50
    windows = x.reshape(many, k, k)
    if layout == "first":
        found = pw.avg_pool(np.ascontiguousarray(windows.transpose(1, 0, 2)).reshape(1, 1, k, many * k), (k, k))
    else:
        found = pw.avg_pool(np.ascontiguousarray(windows.transpose(1, 2, 0))[None], (k, k), axes=(1, 2))
    for window, y in zip(x, found.ravel(), strict=True):
        exact = sum((Fraction(float(v)) for v in window), Fraction(0)) / count
        near = np.array([y], kind).view(np.uint16)[0] + np.array([0, 1, -1]).astype(np.uint16)
        values = [
            (Fraction(float(v)), int(b)) for v, b in zip(near.view(kind), near, strict=True) if np.isfinite(float(v))
        ]
        best = min((abs(v - exact), b & 1, b) for v, b in values)
        assert best[2] == near[0], (window, y)


@pytest.mark.parametrize("special", [np.inf, -np.inf, np.nan, 3e38, "opposite"], ids=str)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_averages_of_special_values(dtype, special):
    """Bounds that are infinite, no numbers, or far apart do not decide."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    kind = np.dtype("float16") if dtype == "float16" else np.dtype(ml_dtypes.bfloat16)
    most = float(ml_dtypes.finfo(kind).max)
    x = np.random.default_rng(6).standard_normal((3, 29, 41)).astype(kind)
    if special == "opposite":
        x[:, ::3, ::2], x[:, 1::3, 1::2] = min(most, 2.0**20), -min(most, 2.0**20)  # a double holds their sums
    else:
        x[:, 4::5, 3::7] = min(special, most) if np.isfinite(special) else special
    for window, stride, padding in (((2, 2), 2, 0), ((3, 3), 2, 1), ((3, 3), 1, 1), ((2, 2), 1, 0)):
        for op in ("avg", "sum"):
            options = {"stride": stride, "padding": padding, "axes": (1, 2)}
            found = pw.pool(x, op, window, **options)
            with np.errstate(all="ignore"):  # float64 sums are exact enough for both
                wanted = pw.pool(x.astype(np.float64), op, window, backend="generic", **options).astype(kind)
            np.testing.assert_array_equal(found.astype(float), wanted.astype(float))


def to_even(total, count):
    """Quotients rounded to the nearest integer, ties to even."""
    quotient, rest = np.divmod(total, count)
    return quotient + ((2 * rest > count) | ((2 * rest == count) & (quotient % 2 == 1)))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32"])
@pytest.mark.parametrize("count", [*range(1, 34), 48, 63, 64, 100, 127, 128, 129, 4097, 8191, 8192, 8194, 16384, 32769])
def test_averages_of_integers_round_to_even(dtype, count):
    """Whether quotients are made by division or not; many ties, and the extremes."""
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(count)
    x = rng.integers(limits.min, limits.max, (70, count), dtype=dtype, endpoint=True)
    x[:4] = limits.max
    x[4:8] = limits.min
    x[8:40] = rng.integers(0, 3, (32, count))
    windows = {"window": (count,), "axes": (0,), "stride": (count,)}
    found = pw.avg_pool(x.reshape(-1), backend="cpu", **windows)
    np.testing.assert_array_equal(found, to_even(x.astype("int64").sum(1), count))
    pairs = np.stack([x, x[::-1]], -1).reshape(-1, 2)  # the same beside each other
    np.testing.assert_array_equal(pw.avg_pool(pairs, backend="cpu", **windows)[:, 0], found)


@pytest.mark.parametrize(
    "shape,axes", [((3, 20, 37), (1, 2)), ((2, 11, 23, 3), (1, 2)), ((300, 7, 7), (1, 2))], ids=str
)
@pytest.mark.parametrize("window,stride", [((2, 2), 2), ((3, 3), 1), ((3, 4), 2)])
@pytest.mark.parametrize("dtype", ["int16", "int32", "int64", "uint16", "uint32"])
def test_sums_of_integers_fit_or_are_refused(shape, axes, window, stride, dtype):
    """What does not fit is an error wherever it is, and never a wrong number; one less than that fits."""
    options = {"axes": axes, "stride": stride, "backend": "cpu"}
    rng = np.random.default_rng(17)
    limits = np.iinfo(dtype)
    x = rng.integers(limits.min // 16, limits.max // 16, shape, dtype=dtype)
    wide_sums = pw.sum_pool(x.astype("int64"), window, backend="generic", axes=axes, stride=stride)
    np.testing.assert_array_equal(pw.sum_pool(x, window, **options), wide_sums)
    beyond = [(limits.max, 1)] + [(limits.min, -1)] * (limits.min < 0)
    for row, column in ((0, 0), (wide_sums.shape[1] - 1, wide_sums.shape[2] - 1)):
        for limit, step in beyond:
            x = np.zeros(shape, dtype)
            x[-1, row * stride, column * stride] = limit // 2
            x[-1, row * stride + 1, column * stride + 1] = limit - limit // 2
            assert limit in pw.sum_pool(x, window, **options)
            x[-1, row * stride, column * stride] += step
            with pytest.raises(ValueError, match="does not fit"):
                pw.sum_pool(x, window, **options)


@pytest.mark.parametrize("shape", [(3, 20, 37), (300, 7, 7), (1, 33, 41)], ids=str)
@pytest.mark.parametrize("window,stride", [((2, 2), 2), ((3, 3), 1), ((3, 4), (2, 3)), ((17, 18), 1)], ids=str)
@pytest.mark.parametrize("largest", [2**20, 2**45, 2**60, 2**63], ids=hex)
def test_averages_of_int64_are_exact(shape, window, stride, largest):
    """Whether quotients are made in double, of parts of sums, or again with care."""
    if window[0] > shape[1]:
        return
    rng = np.random.default_rng(19)
    x = rng.integers(-largest, largest - 1, shape, dtype="int64", endpoint=True)
    x[:, ::3, ::2] %= 5
    options = {"axes": (1, 2), "stride": stride}
    found, wanted = (pw.avg_pool(x, window, backend=name, **options) for name in ("cpu", "generic"))
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("shape", [(3, 40, 37), (3, 90, 6)], ids=str)
@pytest.mark.parametrize("window,stride,padding", [((2, 2), 2, 0), ((3, 3), 2, 1), ((3, 3), 1, 1), ((4, 9), 1, (2, 4))])
def test_means_of_large_float64_are_finite(shape, window, stride, padding):
    """Sums beyond the range are made again where their results are, and infinities and NaN are as in a plain sum."""
    rng = np.random.default_rng(19)
    x = rng.uniform(0.2, 1, shape) * 1.7e308
    x[rng.random(shape) < 0.9] /= 1e9
    x[0, 5, 5], x[1, 7, 2], x[1, 7, 4] = np.inf, np.nan, -np.inf
    options = {"axes": (1, 2), "stride": stride, "padding": padding}
    found = pw.avg_pool(x, window, backend="cpu", **options)
    wanted = pw.avg_pool(x / 2**12, window, backend="generic", **options) * 2**12
    np.testing.assert_allclose(found, wanted, rtol=1e-15)
    assert np.isfinite(found[2]).all()


@pytest.mark.parametrize(
    "window,stride,padding",
    [(2, 2, 0), (3, 2, 1), (3, 1, 1), (5, 1, 2), (2, 3, 0), ((3, 4), (1, 3), (1, 2)), ((1, 13), 1, (0, 6))],
    ids=str,
)
@pytest.mark.parametrize("shape", [(67, 7, 7), (3, 14, 13), (2, 9, 40), (2, 33, 5), (1, 41, 41)], ids=str)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize(
    "op,options",
    [("avg", {}), ("avg", {"count_include_pad": True}), ("avg", {"divisor": 7}), ("sum", {})],
    ids=str,
)
def test_gradients_of_averages_over_small_planes(window, stride, padding, shape, dtype, op, options):
    """Each element is sent what the windows that see it send, and those of one plane nothing to the next."""
    window = window if isinstance(window, tuple) else (window,) * 2
    if shape[2] < window[1] // 2:
        return
    options = {"axes": (1, 2), "stride": stride, "padding": padding, **options}
    rng = np.random.default_rng(23)
    x = rng.standard_normal(shape)
    y, pullback = pw.vjp(pw.pool, x.astype(dtype), op, window, backend="cpu", **options)
    _, exact = pw.vjp(pw.pool, x, op, window, backend="generic", **options)
    gy = rng.standard_normal(y.shape).astype(dtype)
    wanted = exact(gy.astype(float))
    tol = {"float64": 1e-15, "float32": 1e-7, "float16": 6e-4}[dtype]
    np.testing.assert_allclose(pullback(gy).astype(float), wanted, rtol=tol, atol=tol * np.abs(gy).max())


@pytest.mark.parametrize(
    "window,stride,padding", [(2, 2, 0), (3, 2, 1), (3, 1, 1), (5, 3, (0, 2)), (13, 1, 6)], ids=str
)
@pytest.mark.parametrize("shape", [(5, 41, 17), (300, 8), (7, 33, 3)], ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "int32"])
@pytest.mark.parametrize("op", ["max", "avg"])
def test_many_short_rows(window, stride, padding, shape, dtype, op):
    """Rows of one axis that lie one behind the other are done together; nothing of one is seen in the next."""
    rng = np.random.default_rng(29)
    x = rng.integers(0 if dtype == "uint8" else -4, 5, shape).astype(dtype)
    if shape[1] < window:
        return
    options = {"axes": (1,), "stride": stride, "padding": (padding,) if isinstance(padding, tuple) else padding}
    for view in (x, np.repeat(x, 2, axis=0)[::2], np.repeat(x, 2, axis=1)[:, ::2]):
        found, wanted = (pw.pool(view, op, (window,), backend=name, **options) for name in ("cpu", "generic"))
        if op == "avg" and dtype.startswith("float"):
            tol = {"float32": 2e-7, "float16": 6e-4}[dtype]
            np.testing.assert_allclose(found.astype(float), wanted.astype(float), rtol=tol, atol=tol)
        else:
            np.testing.assert_array_equal(found, wanted)
        if op == "max":
            found, wanted = (
                pw.max_pool_with_indices(view, (window,), backend=name, **options)[1] for name in ("cpu", "generic")
            )
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(
    "window,stride,padding",
    [
        (3, 3, 0),
        (4, 4, 1),
        (2, 3, 0),
        (3, (1, 4), 1),
        (5, 3, 2),
        (5, 5, 0),
        (7, 4, 3),
        ((8, 9), 8, 2),
        ((2, 16), (2, 16), 0),
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [(3, 40, 37), (1, 17, 130), (2, 33, 1300)], ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("op", ["max", "min", "avg", "sum"])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_windows_that_step_far(window, stride, padding, shape, dtype, op):
    """Windows along a row that step by three or more: results, and where the greatest lie, are the definition's."""
    rng = np.random.default_rng(31)
    bits = dtype if dtype != "bfloat16" else pytest.importorskip("ml_dtypes").bfloat16
    x = rng.integers(0 if dtype == "uint8" else -4, 5, shape).astype(bits)
    if op in ("max", "min") and np.dtype(bits).kind not in "iu":
        x[rng.random(shape) < 0.02] = np.nan
        x[rng.random(shape) < 0.2] = -0.0
    if (op, dtype) == ("sum", "uint8"):
        x //= 9
    window = window if isinstance(window, tuple) else (window,) * 2
    options = {"axes": (1, 2), "stride": stride, "padding": padding}
    found, wanted = (pw.pool(x, op, window, backend=name, **options) for name in ("cpu", "generic"))
    if op == "avg" and np.dtype(bits).kind not in "iu":
        tol = {"float64": 1e-15, "float32": 2e-7, "float16": 6e-4, "bfloat16": 4e-3}[dtype]
        np.testing.assert_allclose(found.astype(float), wanted.astype(float), rtol=tol, atol=tol)
        return
    np.testing.assert_array_equal(found.astype(float), wanted.astype(float))
    if op in ("max", "min"):
        np.testing.assert_array_equal(np.signbit(found.astype(float)), np.signbit(wanted.astype(float)))
    if op == "max":
        found, wanted = (pw.max_pool_with_indices(x, window, backend=name, **options)[1] for name in ("cpu", "generic"))
        np.testing.assert_array_equal(found, wanted)


STREAMED = [
    ((3, 5, 37, 41), (2, 3), (2, 2), 2, 0),
    ((3, 5, 64, 64), (2, 3), (2, 2), 2, 0),
    ((3, 5, 64, 64), (2, 3), (3, 3), 2, 1),
    ((2, 9, 56, 56), (2, 3), (3, 3), 1, 1),
    ((2, 9, 56, 56), (2, 3), (5, 5), 1, 2),
    ((2, 300, 7, 7), (2, 3), (3, 3), 1, 1),
    ((2, 70, 16, 16), (2, 3), (3, 3), 2, 1),
    ((2, 5, 60, 192), (2, 3), (3, 3), 3, 0),
    ((2, 29, 32, 64), (1, 2), (3, 3), 2, 1),
    ((2, 29, 32, 64), (1, 2), (2, 2), 2, 0),
    ((2, 12, 32, 16), (1, 2), (3, 3), 1, 1),
    ((1, 96, 64, 3), (1, 2), (2, 2), 2, 0),
    ((1, 1, 300, 768), (2, 3), (2, 2), 2, 0),
    ((1, 2, 128, 128), (2, 3), (21, 21), 1, 10),
    ((2, 3, 4096), (2,), (2,), 2, 0),
    ((2, 3, 9, 16, 32), (2, 3, 4), (3, 3, 3), 2, 1),
    ((2, 9, 16, 32, 16), (1, 2, 3), (2, 2, 2), 2, 0),
]


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("shape,axes,window,stride,padding", STREAMED, ids=str)
@pytest.mark.parametrize("op", ["max", "avg", "lp"])
def test_streamed_results_are_the_same(shape, axes, window, stride, padding, op, shift, monkeypatch):
    """Past the caches or not, from the start of a line or not: the same values, positions and gradients of every walk."""
    rng = np.random.default_rng(12)

    def empty(framework, shape, dtype, order, like):
        array, *_ = in_line([shape[axis] for axis in order], np.dtype(dtype), shift)
        return array.transpose(np.argsort(order))

    monkeypatch.setattr(cpu, "_empty", empty)

    def clear():
        for cache in (
            execute._shortcuts.clear,
            cpu._layout.cache_clear,
            cpu._dense_native.cache_clear,
            cpu._native.cache_clear,
        ):
            cache()

    def results(x):
        clear()
        options = {"stride": stride, "padding": padding, "axes": axes, "backend": "cpu"}
        found = [pw.pool(x, op, window, **options)]
        if op == "max":
            found += pw.max_pool_with_indices(x, window, **options)
        if x.dtype.kind == "f":
            y, pullback = pw.vjp(pw.pool, x, op, window, **options)
            found.append(pullback(np.random.default_rng(13).standard_normal(y.shape).astype(x.dtype)))
        clear()
        return [array.tobytes() for array in found]

    for dtype in ("float32", "float16", "float64", "int32", "uint8"):
        if op == "lp" and dtype in ("int32", "uint8"):
            continue
        x = (rng.integers(0, 200, shape) if dtype == "uint8" else 9 * rng.standard_normal(shape)).astype(dtype)
        plain = results(x)
        with streaming():
            assert results(x) == plain, dtype
