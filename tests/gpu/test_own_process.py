"""The kernels in Triton's interpreter, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent


# Parts of about a minute or two, which may run side by side.
PARTS = [
    ("test_host.py",),
    ("test_kernels.py", "-k", "equals_the_reference"),
    ("test_kernels.py", "-k", "(large_windows or median or blur) and not equals_the_reference"),
    ("test_kernels.py", "-k", "not (equals_the_reference or large_windows or median or blur)"),
]


@pytest.mark.parametrize("part", PARTS, ids=" ".join)
def test_kernels_in_the_interpreter(part: tuple[str, ...]) -> None:
    for name in ("torch", "triton"):
        if find_spec(name) is None:  # one that is there but cannot be imported is a failure
            pytest.skip(f"{name} is not installed")
    environment = {**os.environ, "POOLWISE_TRITON_DEVICE": "interpreter", "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / part[0]), *part[1:]]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800)
    # Nothing collected, or everything skipped, is a suite that did not start.
    summary = done.stdout.strip().rpartition("\n")[2]
    assert done.returncode == 0 and " passed" in summary, done.stdout[-8000:] + done.stderr[-2000:]
