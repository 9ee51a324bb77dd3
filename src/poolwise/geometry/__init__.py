"""Windows: which input elements each output sees. The only window arithmetic of the project.

Along one axis, output ``i`` reads ``input[start[i] + step*j]`` for ``0 <= j < count[i]``. Padding is never inside a
window; how many of its positions fell on padding is a column of its own. An n-D window is a tuple of axes.
`windows` holds the data, `schemes` the ways to lay windows on an axis.
"""

from __future__ import annotations

from .schemes import INTEGER_LIMIT, Adaptive, Fractional, Global, Scheme, Sliding
from .windows import AxisWindows, Windows, cover, offset_dtype, receptive_field

__all__ = [
    "INTEGER_LIMIT",
    "Adaptive",
    "AxisWindows",
    "Fractional",
    "Global",
    "Scheme",
    "Sliding",
    "Windows",
    "cover",
    "offset_dtype",
    "receptive_field",
]
