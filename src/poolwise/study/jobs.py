"""What there is to do: one job for each network that is trained, the longest first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .record import Run, Settings, Variant

__all__ = ["Job", "pending"]


@dataclass(frozen=True)
class Job:
    """One network to train, and about how long that takes, in milliseconds of one core."""

    variant: str
    seed: int
    size: int
    fit_ms: float
    measure_ms: float

    def __str__(self) -> str:
        return f"{self.variant}, seed {self.seed}, {self.size} images"

    @property
    def cost(self) -> float:
        """Milliseconds in all."""
        return self.fit_ms + self.measure_ms


def pending(settings: Settings, variants: Iterable[Variant], done: Iterable[Run]) -> list[Job]:
    """All jobs without a result, the longest first, so that no core is left alone with a long one at the end."""
    finished = {(run.variant, run.seed, run.size) for run in done}
    jobs = [
        Job(variant.name, seed, size, settings.steps * variant.train_ms, _measuring(settings, variant, seed, size))
        for variant in variants
        for size in settings.sizes
        for seed in settings.seeds
        if (variant.name, seed, size) not in finished
    ]
    # Ties in an order of their own: timings differ from run to run, the order of equals should not.
    return sorted(jobs, key=lambda job: (-job.cost, job.variant, -job.size, job.seed))


def _measuring(settings: Settings, variant: Variant, seed: int, size: int) -> float:
    """About how long everything after training takes: images that pass the network, and what a probe takes itself."""
    images = float(size + settings.test_images)
    if size != settings.sizes[-1]:
        return images / settings.batch * variant.infer_ms
    depths, shifts = len(variant.depths), len(settings.shifts)
    images += settings.shift_images * shifts * CALLS_PER_SHIFT
    images += settings.field_images * shifts * 4
    images += (settings.probe_images + settings.test_images) * depths * 2
    fields = settings.field_images * depths * 2
    first = PATCHES_MS * depths if seed == settings.seeds[0] else 0.0
    probes = PROBE_MS * 2 * depths * settings.probe_images / 1000
    return images / settings.batch * variant.infer_ms + fields / settings.batch * variant.train_ms + first + probes


CALLS_PER_SHIFT = 17
"""Four pairs of crops, eight directions to roll in, and the image itself."""
PROBE_MS = 1000.0
"""Of 1,000 images, about."""
PATCHES_MS = 200.0
