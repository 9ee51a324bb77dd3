"""Large results: memory that is used again, and NumPy's rules for it."""

from __future__ import annotations

import contextvars
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import poolwise as pw
from poolwise.backends import cpu

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is used again on Linux only"),
    pytest.mark.skipif(os.environ.get("POOLWISE_RECYCLE") == "0", reason="the environment says not to"),
]

SHAPE = (3, 1536, 2048)
"""36 MiB of float32."""


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return np.random.default_rng(0).standard_normal(SHAPE, np.float32)


def large(x: np.ndarray) -> np.ndarray:
    return pw.max_pool(x, (3, 3), stride=1, padding=1)


def test_a_freed_result_is_where_the_next_one_lies(x):
    expected = pw.max_pool(x, (3, 3), stride=1, padding=1, out=np.empty_like(x))
    y = large(x)
    address = y.ctypes.data
    assert y.nbytes >= cpu.RECYCLED and np.array_equal(y, expected) and address % 64 == 0
    del y
    y = large(x)
    assert y.ctypes.data == address
    z = large(x)  # y is in use
    assert z.ctypes.data != address and np.array_equal(y, expected) and np.array_equal(z, expected)


def test_results_own_their_memory_and_can_be_resized(x):
    y = large(x)
    expected = y.copy()
    assert y.flags.owndata and y.base is None and y.flags.writeable
    y.resize((4, *SHAPE[1:]), refcheck=False)
    assert np.array_equal(y[:3], expected)
    y[3] = 1
    y.resize((1, 5, 7), refcheck=False)
    assert np.array_equal(y.ravel(), expected.ravel()[:35])


def test_arrays_made_elsewhere_meanwhile_are_numpys_own(x):
    """The allocator is set for one call of one thread, and put back when that fails."""
    from poolwise import _core

    def fails() -> None:
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        _core.recycled(fails)
    inside: list[np.ndarray] = []

    def other() -> None:
        inside.append(np.empty(1 << 20, np.uint8))

    def make() -> np.ndarray:
        thread = threading.Thread(target=contextvars.Context().run, args=(other,))
        thread.start()
        thread.join()
        return np.empty(1 << 20, np.uint8)

    from numpy._core.multiarray import get_handler_name

    assert get_handler_name(_core.recycled(make)) == "poolwise"
    assert [get_handler_name(a) for a in inside] == ["default_allocator"]
    assert get_handler_name(np.empty(1 << 20, np.uint8)) == "default_allocator"


def test_many_threads_and_lengths(x):
    """Blocks of several lengths, taken and freed at once by several threads: nobody sees another's."""
    wrong: list[str] = []

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        for turn in range(4):
            rows = int(random.integers(8, 14)) << 7
            part = np.full((3, rows, 2048), seed * 100 + turn, np.float32)
            y = pw.avg_pool(part, (1, 1))
            if y.nbytes >= cpu.RECYCLED and not (y == seed * 100 + turn).all():
                wrong.append(f"thread {seed}, turn {turn}")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


SCRIPT = """
import os, resource, tracemalloc
import numpy as np, poolwise as pw
def resident():
    with open("/proc/self/smaps_rollup") as file:
        facts = dict(line.split(":") for line in file if ":" in line and line[0].isupper())
    return sum(int(facts[name].split()[0]) for name in ("Rss",)) - int(facts["LazyFree"].split()[0])
x = np.zeros((3, 1536, 2048), np.float32)
pool = lambda: pw.max_pool(x, (3, 3), stride=1, padding=1)
pool(); before = resident()
for _ in range(6): pool()
kept = [pool() for _ in range(3)]; del kept
assert resident() - before < 8 << 10, (resident(), before)
tracemalloc.start(); y = pool(); assert tracemalloc.get_traced_memory()[0] >= y.nbytes; del y
assert tracemalloc.get_traced_memory()[0] < 1 << 20
tracemalloc.stop()
y = pool(); y[...] = 1
child = os.fork()
if not child:
    z = pool(); z[...] = 2
    os._exit(0 if (y == 1).all() and (z == 2).all() else 1)
assert os.waitpid(child, 0)[1] == 0 and (y == 1).all()
print("done")
"""


def test_memory_is_given_back_and_children_have_their_own():
    """Freed blocks hold nothing that the system could not take; tracemalloc sees them; a forked child writes to its own."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONTRACEMALLOC"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT], capture_output=True, text=True, timeout=120, env=environment
    )
    assert done.stdout == "done\n", done.stderr


@pytest.mark.parametrize("variable", ["POOLWISE_RECYCLE", "NUMPY_MADVISE_HUGEPAGE"])
def test_it_can_be_switched_off(variable):
    code = (
        "import numpy as np, poolwise as pw; from numpy._core.multiarray import get_handler_name as name;"
        "x = np.zeros((3, 1536, 2048), np.float32); print(name(pw.max_pool(x, (3, 3), stride=1, padding=1)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env={**os.environ, variable: "0"}
    )
    assert done.stdout == "default_allocator\n", done.stderr


def test_tensors(x):
    torch = pytest.importorskip("torch")
    import poolwise.torch as pt

    for dtype in (torch.float32, torch.bfloat16):
        for layout in (torch.contiguous_format, torch.channels_last):
            t = torch.from_numpy(x)[None].repeat(2, 1, 1, 1).to(dtype).contiguous(memory_format=layout).requires_grad_()
            layer = pt.MaxPool2d(3, 1, 1)
            y = layer(t)
            y.backward(y.detach())
            expected = torch.nn.functional.max_pool2d(t.detach(), 3, 1, 1)
            assert y.dtype == dtype and y.is_contiguous(memory_format=layout) and torch.equal(y, expected)
            assert t.grad.is_contiguous(memory_format=layout) and t.grad.stride() == t.stride()
    with torch.inference_mode():
        assert pt.MaxPool2d(3, 1, 1)(torch.from_numpy(x)[None]).is_inference()
