"""Real pictures: sets that come with installed packages or lie on the user's disk. Nothing is fetched.

Each set states where it comes from, its licence, how it was split and a hash of what was read.
"""

from __future__ import annotations

from .images import ImageSet, MissingDataError, resized
from .load import NAMES, SETS, load
from .sets import Photograph, digits, fashion_mnist, mnist5k, photograph, textures

__all__ = [
    "NAMES",
    "SETS",
    "ImageSet",
    "MissingDataError",
    "Photograph",
    "digits",
    "fashion_mnist",
    "load",
    "mnist5k",
    "photograph",
    "resized",
    "textures",
]
