"""Where these tests run: Triton's interpreter on the CPU, in a process of its own, or a real GPU (``--device cuda``).

The interpreter is chosen by an environment variable that must be set before the first kernel is made, for the whole
process. So a plain ``pytest`` collects only `test_own_process.py`, which starts those that run kernels, and
`test_compiles.py`, which only compiles them.
"""

from __future__ import annotations

import os

import pytest
from ready import why_not

DEVICE = "POOLWISE_TRITON_DEVICE"
NOT_IN = {
    None: ("test_device.py", "test_host.py", "test_kernels.py"),
    "interpreter": ("test_compiles.py", "test_device.py", "test_own_process.py"),
    "cuda": ("test_own_process.py",),
}
"""What is not collected, by where kernels run."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", choices=("interpreter", "cuda"), help="where Triton's kernels run")


def pytest_configure(config: pytest.Config) -> None:
    chosen = config.getoption("--device", None)
    if chosen is not None:
        os.environ[DEVICE] = chosen
    if os.environ.get(DEVICE) == "cuda" and (reason := why_not()):
        pytest.exit(f"no GPU to run on: {reason}", returncode=pytest.ExitCode.USAGE_ERROR)
    if os.environ.get(DEVICE) == "interpreter":
        os.environ["TRITON_INTERPRET"] = "1"


def pytest_ignore_collect(collection_path: object) -> bool | None:
    return getattr(collection_path, "name", "") in NOT_IN[os.environ.get(DEVICE)] or None


@pytest.fixture
def device() -> str:
    """The torch device of the tests."""
    return "cuda" if os.environ.get(DEVICE) == "cuda" else "cpu"


@pytest.fixture(autouse=True)
def quiet_arithmetic(recwarn: pytest.WarningsRecorder) -> None:
    """NumPy, under the interpreter, warns of NaN and infinities, which are values here."""
    import warnings

    warnings.filterwarnings("ignore", category=RuntimeWarning)
