"""What a network's windows do: shapes, reach and cost layer by layer, and what a shift of the input changes."""

from __future__ import annotations

from .consistency import Consistency, compass, consistency
from .tracing import Layer, Trace, Undecimated, inspect, trace

__all__ = ["Consistency", "Layer", "Trace", "Undecimated", "compass", "consistency", "inspect", "trace"]
