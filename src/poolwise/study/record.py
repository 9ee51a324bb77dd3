"""What a study writes down: one JSON object a line, in a file that only grows.

First line: a `Header`. Then, as they come, one `Variant` for each way of reducing resolution (what it is and costs, without
training) and one `Run` for each trained network. Everything that a report says is worked out from these lines alone.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

__all__ = ["SCHEMA", "Depth", "Header", "Run", "Settings", "Source", "Variant", "from_plain", "to_plain"]

SCHEMA = 1
"""Counted up whenever a field changes its meaning; files of another number are refused."""


@dataclass(frozen=True)
class Source:
    """Where the images are from."""

    name: str
    source: str
    licence: str
    split: str
    sha256: str
    train: int
    """Images there are to learn from."""
    test: int
    shape: tuple[int, int, int]
    """Channels, height, width, as the networks see them."""
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Settings:
    """Everything that decides a result. Runs with other settings never share a file."""

    variants: tuple[str, ...]
    seeds: tuple[int, ...]
    sizes: tuple[int, ...]
    """Numbers of images to learn from, ascending. The last one is the main one: what is measured once is measured there."""
    steps: int
    """Optimizer steps of every run, whatever its number of images: the same budget."""
    batch: int
    rate: float
    test_images: int
    shifts: tuple[int, ...]
    """Pixels, ascending."""
    probe_images: int
    """Of the training images, for the linear probe on each depth."""
    field_images: int
    """Test images that effective receptive fields and changes of maps are averaged over."""
    shift_images: int = 500
    """Test images whose answers are compared when they move."""


@dataclass(frozen=True)
class Header:
    """The first line."""

    settings: Settings
    data: Source
    version: str
    """Of poolwise."""
    machine: dict[str, Any]
    """Processor, cores, processes at a time, and the versions of Python, NumPy and torch."""
    created: str
    """UTC, ISO 8601."""
    quick: bool
    schema: int = SCHEMA


@dataclass(frozen=True)
class Depth:
    """One place in a network where its features are looked at, before anything is learned."""

    name: str
    """``stage 1``: the same number of places, with the same names, in every variant."""
    layer: str
    """Module path in this variant's network."""
    output: tuple[int, ...]
    """Channels, height, width."""
    reduction: int | None
    """Input pixels from one output to the next."""
    receptive_field: int | None
    """Input pixels that one output can depend on, along one axis, padding counted."""


@dataclass(frozen=True)
class Variant:
    """One way of reducing resolution, and what it costs."""

    name: str
    title: str
    family: str
    """``main``: all of them have the same parameters. ``extra``: one more convolution a stage; compared among themselves."""
    reduces: str
    """``pooling``, ``convolution`` (a stride of its own) or ``nothing``."""
    parameters: int
    multiply_adds: int
    """Of one image, as are all costs below."""
    pool_operations: int
    activation_bytes: int
    """All layers' outputs."""
    train_ms: float
    """A step of `Settings.batch` images, median, one thread."""
    infer_ms: float
    """`Settings.batch` images, median, one thread."""
    depths: tuple[Depth, ...]


@dataclass(frozen=True)
class Run:
    """One trained network. What only the main size measures is empty elsewhere."""

    variant: str
    seed: int
    size: int
    train_error: float
    """Share of the training images that are classified wrongly, in [0, 1], evaluation mode."""
    test_error: float
    train_loss: float
    test_loss: float
    """Mean cross-entropy."""
    losses: list[float]
    """Training loss along the way, about twenty means of equally many steps."""
    seconds: float
    crops: dict[str, float] | None = None
    """Share of pairs of random crops, at most ``shifts[i]`` pixels apart per axis, with equal answers; keys ``str(shift)``."""
    circular: dict[str, float] | None = None
    """Share of answers that stay when the image is rolled by that many pixels; keys ``str(shift)``."""
    map_change: dict[str, dict[str, float]] = field(default_factory=dict)
    """Of each depth: relative L2 change of its map when the image moves by that many pixels; keys depth, ``str(shift)``."""
    fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Effective receptive field of each depth: ``{"before": side, "after": side}`` in pixels (side of the square whose area is
    that of the effective field), and for the first seed ``"map_before"``, ``"map_after"``: rows of numbers in [0, 1]."""
    probes: dict[str, float] = field(default_factory=dict)
    """Test accuracy of a linear classifier on each depth's features, and on the pixels themselves (``"pixels"``)."""
    probes_untrained: dict[str, float] = field(default_factory=dict)
    """The same before training."""
    patches: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """First seed: of each depth, some units: ``{"unit": channel, "pictures": base64 of a PNG with the patches side by side,
    "count": patches, "side": pixels of one}``."""


def to_plain(record: Header | Variant | Run) -> dict[str, Any]:
    """A record as plain values, with its kind."""
    return {"kind": type(record).__name__.lower(), **dataclasses.asdict(record)}


def from_plain(value: dict[str, Any]) -> Header | Variant | Run:
    """The record that `to_plain` was given.

    Raises
    ------
    ValueError
        For anything else: another kind, a field too many or too few.
    """
    facts = dict(value)
    kind = facts.pop("kind", None)
    try:
        if kind == "header":
            facts["settings"] = Settings(**_tuples(facts["settings"]))
            facts["data"] = Source(**_tuples(facts["data"]))
            return Header(**facts)
        if kind == "variant":
            facts["depths"] = tuple(Depth(**_tuples(depth)) for depth in facts["depths"])
            return Variant(**facts)
        if kind == "run":
            return Run(**facts)
    except (KeyError, TypeError) as error:
        raise ValueError(f"a {kind} record with other fields: {error}") from None
    raise ValueError(f"a record of kind {kind!r}; known are header, variant and run")


def _tuples(facts: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists only."""
    return {name: tuple(entry) if isinstance(entry, list) else entry for name, entry in facts.items()}
