"""Where in the image a layer's unit looks: boxes read off a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import Layer

__all__ = ["Box", "box_of", "jump_of", "traced_layer"]

Box = tuple[tuple[int, int], ...]


def traced_layer(model: Any, shape: tuple[int, ...], layer: str) -> Layer | None:
    """What `trace` says of a layer (of a container: of the last layer inside it); `None` where it cannot say.

    Of a layer that runs more than once, the first time, as everywhere among the instruments.
    """
    from . import trace

    try:
        found = trace(model, (1, *shape[1:])).layers
    except ValueError:
        return None
    exact = [each for each in found if each.name == layer]
    inside = [each for each in found if each.name.startswith(f"{layer}.")]
    return exact[0] if exact else inside[-1] if inside else None


def box_of(model: Any, shape: tuple[int, ...], layer: str, position: tuple[int, ...]) -> Box | None:
    """``(first, end)`` per axis: the input positions on which a unit can depend, inside the image. `None`: not known."""
    found = traced_layer(model, shape, layer)
    return None if found is None else found.box(position) or None


def jump_of(model: Any, shape: tuple[int, ...], layer: str, lengths: tuple[int, ...]) -> tuple[Any, ...] | None:
    """Input positions from one unit of a map to the next, per axis; `None`: not known, or it varies.

    Around a circle, as convolutions with circular padding see the image, fields are not evenly spaced, and `trace` gives
    no reduction; there it is how often the map's length goes into the image's.
    """
    found = traced_layer(model, shape, layer)
    if found is not None and found.reduction is not None:
        return found.reduction
    if any(size % length for size, length in zip(shape[2:], lengths, strict=True)):
        return None
    return tuple(size // length for size, length in zip(shape[2:], lengths, strict=True))
