"""Windows against brute force: every small case."""

from __future__ import annotations

import itertools
import time
import tracemalloc
from fractions import Fraction

import brute
import numpy as np
import pytest
from helpers import assert_refused

import poolwise as pw
from poolwise.geometry import (
    Adaptive,
    AxisWindows,
    Fractional,
    Global,
    Sliding,
    Windows,
    cover,
    offset_dtype,
    receptive_field,
)

PAD_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
HUGE = 2**63 - 1


def assert_windows(axis: AxisWindows, expected: list[list[int]], what: object) -> None:
    """The axis has these windows, and everything that is read off it agrees with them."""
    assert len(axis) == axis.outputs == len(expected), what
    assert [list(axis.taps(i)) for i in range(len(axis))] == expected, what
    assert axis.count.tolist() == [len(taps) for taps in expected], what
    assert axis.most == max((len(taps) for taps in expected), default=0), what
    assert axis.start.min(initial=0) >= 0 and (axis.ends <= axis.size).all(), what
    assert axis.identity == (expected == [[i] for i in range(axis.size)]) or not axis.identity, what
    assert len(axis.edge) == axis.outputs - (axis.last - axis.first), what
    for position in range(axis.size):
        assert axis.outputs_seeing(position) == [i for i, taps in enumerate(expected) if position in taps], what


def assert_sliding(n: int, k: int, s: int, low: int, high: int, d: int, ceil_mode: bool) -> None:
    """One sliding case is brute force's: windows, padding, origins, or the refusal where nothing fits."""
    what = f"n={n} k={k} s={s} pads={(low, high)} d={d} ceil={ceil_mode}"
    scheme = Sliding((k,), (s,), ((low, high),), (d,), ceil_mode)
    expected = brute.sliding(n, k, s, low, high, d, ceil_mode)
    if not expected:
        with pytest.raises(ValueError, match="window does not fit"):
            scheme.axis(n)
        return
    axis = scheme.axis(n)
    assert_windows(axis, [window.taps for window in expected], what)
    assert axis.padded.tolist() == [window.padded for window in expected], what
    assert axis.origin.tolist() == [window.nominal[0] for window in expected], what
    whole = [len(window.taps) == k for window in expected]
    assert axis.last - axis.first == sum(whole), f"{what}: whole windows that are listed cost memory and speed"
    assert all(whole[axis.first : axis.last]), what
    if any(not window.taps for window in expected):
        with pytest.raises(ValueError, match="sees no real element"):
            scheme.axis(n, allow_empty=False)
    else:
        scheme.axis(n, allow_empty=False)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("n", range(1, 10))
def test_sliding(n: int, ceil_mode: bool, d: int) -> None:
    pads = range(4)
    for k, s, low, high in itertools.product(range(1, 5), range(1, 4), pads, pads):
        assert_sliding(n, k, s, low, high, d, ceil_mode)


@pytest.mark.parametrize("word", ["same", "same_lower"])
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_same(word: str, ceil_mode: bool) -> None:
    for n, k, s, d in itertools.product(range(1, 10), range(1, 5), range(1, 4), range(1, 4)):
        low, high = brute.same_pads(n, k, s, d, word == "same_lower")
        axis = Sliding((k,), (s,), word, (d,), ceil_mode).axis(n)
        expected = brute.sliding(n, k, s, low, high, d, ceil_mode)
        assert_windows(axis, [window.taps for window in expected], (n, k, s, d))
        assert axis.padded.tolist() == [window.padded for window in expected]
        assert ceil_mode or len(axis) == -(-n // s)


def test_valid_is_no_padding() -> None:
    for n, k, s in itertools.product(range(4, 10), range(1, 5), range(1, 4)):
        axis = Sliding((k,), (s,), "valid").axis(n)
        assert_windows(axis, [window.taps for window in brute.sliding(n, k, s, 0, 0, 1, False)], (n, k, s))


@pytest.mark.parametrize("n", range(1, 17))
def test_adaptive(n: int) -> None:
    for m in range(1, 17):
        assert_windows(Adaptive((m,)).axis(n), brute.adaptive(n, m), (n, m))
    assert_windows(Adaptive((None,)).axis(n), [[i] for i in range(n)], n)


def test_global() -> None:
    for n in range(1, 17):
        assert_windows(Global().axis(n), [list(range(n))], n)


DRAWS = (0.0, 5e-324, 1e-300, 2.0**-30, 0.1, 1 / 3, 0.5, 0.7071, 0.99, 1 - 2.0**-53)


@pytest.mark.parametrize("n", range(1, 17))
def test_fractional(n: int) -> None:
    for m in range(1, n + 1):
        for u in DRAWS:
            for k in range(1, n - m + 2):
                axis = Fractional((m,), (k,), (u,)).axis(n)
                assert_windows(axis, brute.fractional(n, m, k, u), (n, m, k, u))
            found = [list(Fractional((m,), None, (u,)).axis(n).taps(i)) for i in range(m)]
            assert list(itertools.chain(*found)) == list(range(n)), f"regions do not tile the axis: {(n, m, u)}"
            assert all(found), f"a region is empty: {(n, m, u)}"


def test_fractional_regions_are_grahams(rng: np.random.Generator) -> None:
    for _ in range(2000):
        n = int(rng.integers(1, 60))
        m, u = int(rng.integers(1, n + 1)), float(rng.random())
        assert_windows(Fractional((m,), None, (u,)).axis(n), brute.regions(n, m, Fraction(u)), (n, m, u))


def test_input_range_and_part() -> None:
    """Halos and parts of every kind of axis, for every range of outputs."""
    schemes = [
        Sliding((k,), (s,), ((low, high),), (d,), ceil_mode)
        for k, s, low, high, d, ceil_mode in itertools.product((1, 3), (1, 2), (0, 3), (0, 2), (1, 3), (False, True))
    ]
    for scheme in [*schemes, Adaptive((4,)), Adaptive((11,)), Global(), Fractional((4,), (3,), (0.4,))]:
        axis = scheme.axis(9)
        for first, last in itertools.combinations(range(len(axis) + 1), 2):
            taps = [p for i in range(first, last) for p in axis.taps(i)]
            assert axis.input_range(first, last) == ((min(taps), max(taps) + 1) if taps else (0, 0)), (
                scheme,
                first,
                last,
            )
            part = axis.part(first, last)
            assert [part.taps(i) for i in range(len(part))] == [axis.taps(i) for i in range(first, last)], scheme
            assert part.padded.tolist() == axis.padded[first:last].tolist()
            assert part.origin.tolist() == axis.origin[first:last].tolist()
            assert part.most == axis.most, "offsets inside a part keep their radix"


@pytest.mark.parametrize("border", ["reflect", "replicate", "circular", "zeros"])
def test_borders_are_numpys(border: str) -> None:
    for n, k, s, low, high, d in itertools.product(range(1, 8), range(1, 5), (1, 2), range(4), range(4), (1, 2)):
        for ceil_mode in (False, True):
            expected = brute.sliding(n, k, s, low, high, d, ceil_mode)
            if not expected:
                continue
            beyond = k * d + s + high
            positions = np.arange(n)
            if border == "zeros":
                padded = np.pad(positions, (low, beyond), constant_values=-1)
            else:
                padded = np.pad(positions, (low, beyond), mode=PAD_MODES[border])
            found = Sliding((k,), (s,), ((low, high),), (d,), ceil_mode).axis(n).positions(border)
            assert found.tolist() == [[padded[p + low] for p in window.nominal] for window in expected]


def axes_2d() -> list[tuple[AxisWindows, AxisWindows]]:
    sliding = Sliding((3,), (2,), ((1, 1),))
    return [
        (sliding.axis(5), sliding.axis(6)),
        (Sliding((2,), (1,), ((2, 1),), (3,), True).axis(4), Adaptive((3,)).axis(5)),
        (Adaptive((7,)).axis(3), Global().axis(4)),
        (Fractional((3,), None, (0.6,)).axis(7), Sliding((1,), (1,), ((0, 0),)).axis(3)),
        (Sliding((2,), (1,), ((3, 3),)).axis(2), Sliding((2,), (2,), ((0, 0),)).axis(4)),
    ]


def flat_taps(windows: Windows) -> list[list[int]]:
    """Flat positions per output in scan order, from the axes' own lists."""
    a, b = windows.axes
    lists = []
    for i, j in itertools.product(range(len(a)), range(len(b))):
        lists.append([p * b.size + q for p in a.taps(i) for q in b.taps(j)])
    return lists


@pytest.mark.parametrize("pair", range(5))
def test_tables(pair: int) -> None:
    """`table`, `indices`, `divisor`, `elements`, `each` and `part` of windows over two axes."""
    windows = Windows(axes_2d()[pair])
    expected = flat_taps(windows)
    index, valid = windows.table()
    assert index.shape == valid.shape == (len(expected), int(np.prod(windows.radix)))
    assert [row[real].tolist() for row, real in zip(index, valid, strict=True)] == expected
    assert index.min() >= 0 and index.max() < int(np.prod(windows.sizes))
    offsets = np.broadcast_to(np.arange(index.shape[1]), index.shape).T.reshape(-1, *windows.shape)
    flat = windows.indices(offsets).reshape(index.shape[1], -1).T
    assert (flat[valid] == index[valid]).all() and flat.dtype == np.int64
    assert windows.divisor(False).reshape(-1).tolist() == [len(taps) for taps in expected]
    a, b = windows.axes
    counted = [
        (len(a.taps(i)) + a.padded[i]) * (len(b.taps(j)) + b.padded[j]) for i in range(len(a)) for j in range(len(b))
    ]
    assert windows.divisor(True).reshape(-1).tolist() == counted
    assert windows.elements == sum(map(len, expected))
    assert windows.any_empty == any(not taps for taps in expected)
    assert [[p * b.size + q for p in rows for q in cols] for _, (rows, cols) in windows.each()] == expected
    part = windows.part(1, len(a))
    assert flat_taps(part) == expected[len(b) :]
    assert part.radix == windows.radix


@pytest.mark.parametrize("pair", range(5))
def test_cover_is_the_transpose(pair: int) -> None:
    windows = Windows(axes_2d()[pair])
    index, valid = windows.table()
    entries, real = cover(index, valid, int(np.prod(windows.sizes)))
    for element in range(len(entries)):
        expected = [at for at, seen in enumerate(index.reshape(-1)) if valid.reshape(-1)[at] and seen == element]
        assert entries[element][real[element]].tolist() == expected


@pytest.mark.parametrize("border", ["reflect", "replicate", "circular", "zeros"])
def test_bordered_table(border: str) -> None:
    a, b = axes_2d()[0]
    index, valid = Windows((a, b)).bordered_table(border)
    rows, columns = a.positions(border), b.positions(border)
    for (i, j), at, real in zip(itertools.product(range(len(a)), range(len(b))), index, valid, strict=True):
        nominal = list(itertools.product(rows[i].tolist(), columns[j].tolist()))
        assert [min(pair) >= 0 for pair in nominal] == real.tolist()
        assert at[real].tolist() == [p * b.size + q for p, q in nominal if min(p, q) >= 0]


def test_lengths_are_torchs() -> None:
    """Wherever torch pools, so do we, to the same length."""
    torch = pytest.importorskip("torch")
    pooled = 0
    for n, k, s, p, d, ceil_mode in itertools.product(
        range(1, 10), range(1, 5), range(1, 4), range(4), range(1, 4), (False, True)
    ):
        try:
            y = torch.nn.functional.max_pool1d(torch.zeros(1, 1, n), k, s, p, d, ceil_mode)
        except RuntimeError:
            continue
        assert len(Sliding((k,), (s,), ((p, p),), (d,), ceil_mode).axis(n)) == y.shape[-1], (n, k, s, p, d, ceil_mode)
        pooled += 1
    assert pooled > 900


def test_offset_dtypes() -> None:
    assert [offset_dtype((n,)) for n in (1, 256, 257, 65536, 65537, 2**31, 2**31 + 1)] == [
        "uint8", "uint8", "uint16", "uint16", "int32", "int32", "int64",
    ]  # fmt: skip


def test_receptive_field_by_walking() -> None:
    """The closed form against walking back from one output through every layer."""
    for layers in itertools.product(itertools.product((1, 3), (1, 2), (1, 2)), repeat=3):
        reached = {0}
        for window, stride, dilation in reversed(layers):
            reached = {i * stride + dilation * j for i in reached for j in range(window)}
        field, jump = receptive_field(list(layers))
        assert field == max(reached) + 1
        assert jump == int(np.prod([stride for _, stride, _ in layers]))


def quickest(call: object, times: int = 7) -> float:
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return sorted(seconds)[times // 2]


def test_a_window_larger_than_memory_costs_what_it_sees() -> None:
    x = np.arange(25.0).reshape(5, 5)
    window, padding = 2**31 - 1, 2**30
    small = pw.max_pool(x, (7, 7), stride=1, padding=3)
    options = {"stride": (window - 9, window - 9), "padding": padding}
    large = pw.max_pool(x, (window, window), **options)
    assert large.shape == (1, 1) and large[0, 0] == small.max() == 24
    assert quickest(lambda: pw.max_pool(x, (window, window), **options)) < 0.01
    assert pw.avg_pool(x, (window, window), **options)[0, 0] == 12


HOSTILE = [
    Sliding((HUGE,), (1,), ((0, 0),)),
    Sliding((HUGE,), (HUGE,), ((HUGE, HUGE),), (HUGE,)),
    Sliding((2,), (1,), ((HUGE, HUGE),)),
    Sliding((2**40,), (1,), ((2**40, 2**40),)),
    Sliding((3,), (1,), ((1, 1),), (HUGE,)),
    Sliding((HUGE,), (1,), ((0, 0),), (HUGE,), True),
    Sliding((2,), (1,), ((2**30, 0),)),
    Sliding((3,), (2**62,), ((2**62, 2**62),)),
    Adaptive((HUGE,)),
    Adaptive((2**40,)),
    Fractional((HUGE,), (2,), (0.5,)),
    Fractional((2,), (HUGE,), (0.5,)),
]


@pytest.mark.parametrize("scheme", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_integers_are_refused_at_once(scheme: object) -> None:
    def build() -> None:
        assert_refused(lambda: scheme.axis(5, allow_empty=False))

    build()
    tracemalloc.start()
    try:
        build()
        assert tracemalloc.get_traced_memory()[1] < 1 << 20, "memory was taken before the refusal"
    finally:
        tracemalloc.stop()
    assert quickest(build) < 5e-3
