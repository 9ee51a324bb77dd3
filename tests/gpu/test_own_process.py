"""The kernels in Triton's interpreter, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def test_kernels_in_the_interpreter() -> None:
    for name in ("torch", "triton"):
        if find_spec(name) is None:  # one that is there but cannot be imported is a failure
            pytest.skip(f"{name} is not installed")
    environment = {**os.environ, "POOLWISE_TRITON_DEVICE": "interpreter", "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800)
    # Nothing collected, or everything skipped, is a suite that did not start.
    summary = done.stdout.strip().rpartition("\n")[2]
    assert done.returncode == 0 and " passed" in summary, done.stdout[-8000:] + done.stderr[-2000:]
