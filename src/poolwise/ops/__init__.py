"""The operators, in reading order. To add one: a file beside this one, and its line here."""

from __future__ import annotations

from ..spec import PoolOp
from .avg import AVG
from .blur import BLUR
from .lp import LP
from .max import MAX
from .median import MEDIAN
from .min import MIN
from .sum import SUM

__all__ = ["BY_NAME", "OPS"]

OPS: tuple[PoolOp, ...] = (MAX, MIN, AVG, SUM, LP, BLUR, MEDIAN)
BY_NAME = {op.name: op for op in OPS}
