"""Whether this Python can run kernels on a GPU. As a script it says why not, and fails: ``python tests/gpu/ready.py``."""

from __future__ import annotations

import importlib
import sys

__all__ = ["why_not"]

NEEDED = ("torch", "triton", "pytest", "poolwise")


def why_not() -> str | None:
    """The reason, or None where everything is there."""
    missing = []
    for name in NEEDED:
        try:
            importlib.import_module(name)
        except ImportError as error:
            missing.append(f"{name} ({error})")
    if missing:
        return f"{sys.executable} cannot import {', '.join(missing)}"
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        return f"{sys.executable} has torch {torch.__version__}, which is built for CPUs only"
    if not torch.cuda.is_available():
        return f"torch {torch.__version__} of {sys.executable} finds no GPU"
    return None


if __name__ == "__main__":
    reason = why_not()
    if reason:
        sys.exit(
            f"no GPU to run on: {reason}\ntry: make test-gpu GPU_PYTHON=PYTHON, one with torch for CUDA (see CONTRIBUTING.md)"
        )
