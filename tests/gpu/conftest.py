"""Where these tests run: Triton's interpreter on the CPU, in a process of its own, or a real GPU (``--device cuda``).

The interpreter is chosen by an environment variable that must be set before the first kernel is made, for the whole
process. So a plain ``pytest`` collects only `test_own_process.py`, which starts the others.
"""

from __future__ import annotations

import os

import pytest

DEVICE = "POOLWISE_TRITON_DEVICE"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", choices=("interpreter", "cuda"), help="where Triton's kernels run")


def pytest_configure(config: pytest.Config) -> None:
    chosen = config.getoption("--device", None)
    if chosen is not None:
        os.environ[DEVICE] = chosen
    if os.environ.get(DEVICE) == "interpreter":
        os.environ["TRITON_INTERPRET"] = "1"


def pytest_ignore_collect(collection_path: object) -> bool | None:
    name = getattr(collection_path, "name", "")
    chosen = os.environ.get(DEVICE)
    if name == "test_device.py" and chosen != "cuda":
        return True
    if name == "test_kernels.py" and chosen is None:
        return True
    if name == "test_own_process.py" and chosen is not None:
        return True
    return None


@pytest.fixture
def device() -> str:
    """The torch device of the tests."""
    return "cuda" if os.environ.get(DEVICE) == "cuda" else "cpu"


@pytest.fixture(autouse=True)
def quiet_arithmetic(recwarn: pytest.WarningsRecorder) -> None:
    """NumPy, under the interpreter, warns of NaN and infinities, which are values here."""
    import warnings

    warnings.filterwarnings("ignore", category=RuntimeWarning)
