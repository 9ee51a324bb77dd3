"""Everybody who takes part. A new peer is a class and a line here."""

from __future__ import annotations

from .base import Peer, Task, Unable
from .imaging import OpenCV, ScikitImage, SciPy, TinyBrain
from .jax_xla import Jax
from .onnx_runtime import OnnxRuntime
from .ours import Poolwise
from .torch_eager import TorchCompiled, TorchEager, TorchOneDnn

__all__ = ["PEERS", "SLOW_TO_PREPARE", "Peer", "Poolwise", "Task", "Unable"]

PEERS: tuple[Peer, ...] = (
    TorchEager("first"),
    TorchEager("last"),
    TorchOneDnn(),
    TorchCompiled(),
    Jax(),
    OnnxRuntime(),
    OpenCV(),
    ScikitImage(),
    SciPy(),
    TinyBrain(),
)

SLOW_TO_PREPARE = ("torch.compile",)
"""Left out unless asked for by name or by ``--compile``, and named as left out."""
