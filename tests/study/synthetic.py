"""Records of studies that never ran, with a truth that is known."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from poolwise.study.record import Depth, Header, Run, Settings, Source, Variant

POOLING = ("max2", "max3", "avg2", "avg3", "lp2", "blur", "maxblur", "median3", "fractional")
MAIN = (*POOLING, "none", "strided")
ALL = (*MAIN, "allconv", "convpool")
DEPTHS = ("stage 1", "stage 2", "stage 3")
SHIFTS = (1, 2, 4)


@dataclass(frozen=True)
class Truth:
    """What is so. Effects are of pooling on top of the controls; the noise is of single seeds."""

    noise: float = 0.01
    error: dict[str, float] = field(default_factory=dict)
    """Added to a variant's test error."""
    gap_pooling: float = 0.0
    """Added to the gap of those that pool, through the training error."""
    error_pooling: float = 0.0
    crops_pooling: float = 0.0
    circular_pooling: float = 0.0
    field_pooling: float = 0.0
    field_strided: float = 0.0
    rise: float = 0.0
    """Of the trained probe, per stage, everywhere."""
    rise_pooling: float = 0.0
    pixels: float = 0.5


def reduces(name: str) -> str:
    """As the study has it."""
    return {"none": "nothing", "strided": "convolution", "allconv": "convolution"}.get(name, "pooling")


def header(
    variants: Sequence[str] = ALL, seeds: int = 5, sizes: Sequence[int] = (250, 1000, 4000), *,
    classes: Sequence[str] = tuple("0123456789"), shape: tuple[int, int, int] = (1, 28, 28), quick: bool = False,
    shifts: Sequence[int] = SHIFTS,
) -> Header:  # fmt: skip
    """The first line."""
    settings = Settings(
        tuple(variants), tuple(range(seeds)), tuple(sizes), steps=600, batch=64, rate=0.002, test_images=1000,
        shifts=tuple(shifts), probe_images=1000, field_images=64,
    )  # fmt: skip
    data = Source(
        "synthetic", "drawn by the tests", "CC0", "the first images for training, the rest for testing", "0" * 64, 4000, 1000,
        shape, tuple(classes),
    )  # fmt: skip
    machine = {
        "processor": "A processor",
        "cores": 2,
        "processes": 2,
        "python": "3.12.0",
        "numpy": "2.4.6",
        "torch": "2.13.0",
    }
    return Header(settings, data, "0.1.0", machine, "2026-01-02T03:04:05+00:00", quick)


def variant(name: str, side: int = 28) -> Variant:
    """Costs like the real ones: stages of 3 x 3 convolutions, halved in between or not."""
    none, strided = name == "none", reduces(name) == "convolution"
    depths, field_, jump = [], 1, 1
    costs = memory = 0
    for number, (stage, width, before) in enumerate(zip(DEPTHS, (16, 32, 64), (1, 16, 32), strict=True), 1):
        field_ += 2 * jump
        halve = number < 3 and not none
        out = side // jump // (2 if strided and halve else 1)
        costs += out * out * width * before * 9
        memory += 4 * out * out * width
        if halve:
            field_ += 0 if strided else jump * (2 if name.endswith(("3", "blur")) else 1)
            jump *= 2
            memory += 4 * (side // jump) ** 2 * width
        reduction = None if name == "fractional" else jump
        depths.append(
            Depth(
                stage,
                f"relu{number}",
                (width, side // jump, side // jump),
                reduction,
                None if name == "fractional" else field_,
            )
        )
    extra = 2 if name in ("allconv", "convpool") else 1
    return Variant(
        name, f"title of {name}", "extra" if extra == 2 else "main", reduces(name), 24_000 * extra, costs * extra,
        0 if reduces(name) != "pooling" else 9000, memory, 60.0 if none else 12.0 * extra + len(name), 20.0 if none else 4.0, tuple(depths),
    )  # fmt: skip


def png(side: int = 12, count: int = 6) -> str:
    """A strip of patches."""
    from PIL import Image

    rows = np.random.default_rng(side).integers(0, 255, (side, side * count), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(rows).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def blob(side: int, sigma: float) -> list[list[float]]:
    """A map with a bump."""
    ramp = np.arange(side) - side / 2
    bump = np.exp(-(ramp[:, None] ** 2 + ramp[None, :] ** 2) / (2 * sigma**2))
    return np.round(bump, 3).tolist()


def runs(head: Header, truth: Truth, seed: int = 0, *, pictures: bool = False) -> list[Run]:
    """Every planned run."""
    rng = np.random.default_rng(seed)
    settings = head.settings
    found = []
    for size in settings.sizes:
        for number in settings.seeds:
            common = rng.normal(0, truth.noise)  # what equal seeds share
            for name in settings.variants:
                found.append(_run(head, truth, rng, name, number, size, common, pictures))
    return found


def _run(
    head: Header, truth: Truth, rng: np.random.Generator, name: str, seed: int, size: int, common: float, pictures: bool
) -> Run:
    def noise() -> float:
        return float(rng.normal(0, truth.noise))

    settings, side = head.settings, head.data.shape[1]
    pools = reduces(name) == "pooling" and name != "convpool"
    base = 0.06 + 1.5 / math.sqrt(size)
    test = base + truth.error.get(name, 0.0) + (truth.error_pooling if pools else 0.0) + common + noise()
    train = test - 0.05 - (truth.gap_pooling if pools else 0.0) + noise()
    run = Run(
        name, seed, size, max(train, 0.0), min(max(test, 0.0), 1.0), 0.1, 0.4, [2.0 / (1 + i) for i in range(20)], 3.5
    )
    if size != settings.sizes[-1]:
        return run
    first = pictures and seed == settings.seeds[0]
    level = {
        "stage 1": 3.0, "stage 2": 6.0, "stage 3": 9.0,
    }  # fmt: skip
    more = truth.field_pooling if pools else truth.field_strided if name == "strided" else 0.0
    fields: dict[str, dict[str, object]] = {}
    for place in DEPTHS:
        before, after = level[place] + more + 10 * noise(), level[place] + more + 0.5 + 10 * noise()
        fields[place] = {"before": before, "after": after}
        if first:
            fields[place] |= {"map_before": blob(side, before / 3), "map_after": blob(side, after / 3)}
    slope = truth.rise + (truth.rise_pooling if pools else 0.0)
    shared = common + truth.pixels
    return replace(
        run,
        crops={str(s): 0.95 - 0.02 * s + (truth.crops_pooling if pools else 0.0) + noise() for s in settings.shifts},
        circular={str(s): 0.93 - 0.03 * s + (truth.circular_pooling if pools else 0.0) + noise() for s in settings.shifts},
        map_change={place: {str(s): 0.1 * i + 0.05 * s + noise() for s in settings.shifts} for i, place in enumerate(DEPTHS, 1)},
        fields=fields,
        probes={place: shared + slope * (i + 1) + noise() for i, place in enumerate(DEPTHS)} | {"pixels": shared + noise()},
        probes_untrained={place: shared + noise() for place in DEPTHS},
        patches={place: [{"unit": u, "pictures": png(6 + 4 * i), "count": 6, "side": 6 + 4 * i} for u in (0, 3)] for i, place in enumerate(DEPTHS)} if first else {},
    )  # fmt: skip


HOLDS = Truth(
    gap_pooling=-0.06, error_pooling=-0.03, crops_pooling=0.04, circular_pooling=0.05, field_pooling=5.0, field_strided=3.0,
    rise=0.05, rise_pooling=0.04, error={"blur": 0.05, "none": 0.03},
)  # fmt: skip
FAILS = Truth(
    gap_pooling=0.06, error_pooling=0.03, crops_pooling=-0.05, circular_pooling=-0.05, field_pooling=-3.0, rise=-0.06
)
NOTHING = Truth()


def study(
    truth: Truth = HOLDS, seed: int = 0, *, pictures: bool = False, **changes: object
) -> tuple[Header, list[Variant], list[Run]]:
    """Header, variants and runs."""
    head = header(**changes)  # type: ignore[arg-type]
    side = head.data.shape[1]
    return head, [variant(name, side) for name in head.settings.variants], runs(head, truth, seed, pictures=pictures)
