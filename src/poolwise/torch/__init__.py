"""Pooling layers for PyTorch. The functions of `poolwise` take tensors as they are, with autograd."""

from __future__ import annotations

from .layers import *  # noqa: F403
from .layers import __all__ as __all__
