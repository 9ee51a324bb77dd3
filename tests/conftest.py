"""Fixtures that every test shares: a printed seed, poisoned outputs, and the compiled backend that must be there."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import poolwise as pw

sys.path.insert(0, str(Path(__file__).parent))  # the helper modules beside this file, in every import mode

import helpers

from poolwise.backends import BACKENDS, cpu
from poolwise.numpy import NumpyFramework

ALLOW_NO_CORE = "POOLWISE_ALLOW_NO_CORE"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seed", type=int, default=int(os.environ.get("POOLWISE_TEST_SEED", "0")), help="seed of all random tests"
    )


def pytest_configure(config: pytest.Config) -> None:
    helpers.SEED = config.getoption("--seed")


def pytest_report_header(config: pytest.Config) -> list[str]:
    core = (
        "built" if cpu._core is not None else f"missing{' (allowed)' if os.environ.get(ALLOW_NO_CORE) == '1' else ''}"
    )
    return [f"poolwise: --seed={helpers.SEED}, compiled kernels {core}"]


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """A generator of the test's own, from the run's seed and the test's name."""
    return helpers.seeded(request.node.nodeid)


PROBE = pw.explain(pw.max_pool, (4, 4), (2, 2)).steps[0].problem
ON_CPU = [backend.name for backend in BACKENDS if backend is cpu.CPU or backend.why_not(PROBE, "cpu") is None]
"""Backends for arrays in the CPU's memory; those of a GPU have a file of their own."""


@pytest.fixture(params=ON_CPU)
def backend(request: pytest.FixtureRequest) -> str:
    """Every backend by name. Where the kernels are missing, its tests fail: a suite that skips them proves nothing."""
    if request.param == "cpu" and cpu._core is None:
        if os.environ.get(ALLOW_NO_CORE) == "1":
            pytest.skip(f"the compiled kernels are not built ({ALLOW_NO_CORE}=1)")
        pytest.fail(f"the compiled kernels are not built: {cpu._missing}", pytrace=False)
    return request.param


@pytest.fixture(params=["numpy", "torch"])
def framework(request: pytest.FixtureRequest) -> str:
    """Every framework by name."""
    if request.param == "torch":
        pytest.importorskip("torch")
    return request.param


def poison(x: Any) -> None:
    """Fill fresh memory with what no result may keep: NaN, or a pattern."""
    name = str(x.dtype).removeprefix("torch.")
    if name.startswith(("float", "bfloat")):
        x[...] = float("nan")
    elif name == "bool":
        x[...] = True
    else:
        x[...] = 0x5A


@pytest.fixture(autouse=True)
def poisoned_outputs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Buffers that a backend is to fill start as NaN, so that a result it forgot to write shows."""
    frameworks: list[type] = [NumpyFramework]
    if "torch" in sys.modules:
        from poolwise.torch._framework import TorchFramework

        frameworks.append(TorchFramework)
    for kind in frameworks:
        make = kind.empty

        def empty(self: Any, *args: Any, _make: Any = make, **kwargs: Any) -> Any:
            x = _make(self, *args, **kwargs)
            poison(x)
            return x

        monkeypatch.setattr(kind, "empty", empty)
    yield


@pytest.fixture(autouse=True)
def default_threads() -> Iterator[None]:
    """Thread counts that a test sets end with it."""
    before = cpu._threads
    yield
    cpu.set_num_threads(before)
