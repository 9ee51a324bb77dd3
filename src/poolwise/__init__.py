"""Pooling for convolutional neural networks, and for big arrays: every operator over every window.

``import poolwise`` loads NumPy and nothing else; torch is met when a tensor comes in.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version

from . import execute as _execute  # noqa: F401 - installs itself as what runs the operators
from .backends.cpu import get_num_threads, set_num_threads
from .config import show_config
from .masked import masked_pool
from .ops import OPS
from .ops.avg import avg_pool
from .ops.blur import blur_pool
from .ops.lp import lp_pool
from .ops.max import max_pool, max_pool_with_indices, max_pool_with_offsets
from .ops.median import median_pool
from .ops.min import min_pool
from .ops.sum import sum_pool
from .recipes import adaptive_avg_pool, adaptive_max_pool, global_avg_pool, global_max_pool, max_blur_pool
from .unpool import max_unpool
from .verbs import adaptive_pool, fractional_pool, global_pool, pool
from .watch import explain, vjp

if "torch" in sys.modules:  # its compiler must know of poolwise before it traces a call
    from . import torch as _torch  # noqa: F401

try:
    __version__ = version("poolwise")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = [
    "OPS",
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "adaptive_pool",
    "avg_pool",
    "blur_pool",
    "explain",
    "fractional_pool",
    "get_num_threads",
    "global_avg_pool",
    "global_max_pool",
    "global_pool",
    "lp_pool",
    "masked_pool",
    "max_blur_pool",
    "max_pool",
    "max_pool_with_indices",
    "max_pool_with_offsets",
    "max_unpool",
    "median_pool",
    "min_pool",
    "pool",
    "set_num_threads",
    "show_config",
    "sum_pool",
    "vjp",
]
