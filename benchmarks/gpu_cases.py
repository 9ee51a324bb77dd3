"""What `gpu.py` times: window problems, inputs, and torch's ways to compute them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812

import poolwise as pw
from poolwise.ops.blur import BLUR

__all__ = ["DEVICE", "Case", "cases", "sample", "torch_paths"]

Tensor = torch.Tensor
DEVICE = "cuda"


@dataclass(frozen=True)
class Case:
    """One window problem on one shape, in one dtype and memory format."""

    op: str
    shape: tuple[int, ...]
    window: int | None
    stride: int = 1
    padding: int = 0
    dtype: str = "float32"
    last: bool = False
    output: int | None = None
    """Output size per axis of an adaptive case."""
    modes: tuple[str, ...] = ("forward", "saving", "backward")

    @property
    def spatial(self) -> int:
        return len(self.shape) - 2

    @property
    def slow(self) -> bool:
        """True where torch would take seconds."""
        return self.window is not None and self.window > 40

    @property
    def id(self) -> str:
        what = f"to {self.output}" if self.output else f"{self.window}/{self.stride}/{self.padding}"
        return f"{self.op} {self.spatial}d {what} {'x'.join(map(str, self.shape))} {self.dtype} {'last' if self.last else 'first'}"

    def pool(self, x: Tensor, **more: Any) -> Tensor:
        axes = tuple(range(2, x.ndim))
        if self.output:
            return pw.adaptive_pool(x, self.op, self.output, axes=axes, **more)
        return pw.pool(x, self.op, self.window, stride=self.stride, padding=self.padding, axes=axes, **more)


def cases() -> list[Case]:
    """ResNet stems, downsampling, smoothing, global and adaptive heads, volumes, long windows, in both layouts."""
    big, deep = (64, 64, 112, 112), (256, 512, 28, 28)
    listed = []
    for last in (False, True):
        for op in ("max", "avg"):
            for dtype in ("float32", "float16"):
                listed.append(Case(op, big, 2, 2, 0, dtype, last))
                listed.append(Case(op, big, 3, 2, 1, dtype, last))
                listed.append(Case(op, big, 3, 1, 1, dtype, last))
        listed.append(Case("max", big, 3, 2, 1, "bfloat16", last))
        listed.append(Case("max", (64, 128, 112, 112), 2, 2, 0, "uint8", last, modes=("forward", "saving")))
        listed.append(Case("max", (64, 64, 111, 109), 3, 2, 1, "float32", last))
        listed.append(Case("avg", deep, None, output=1, last=last))
        listed.append(Case("max", deep, None, output=1, last=last))
        listed.append(Case("avg", deep, None, output=7, last=last))
        listed.append(Case("max", deep, None, output=5, last=last))
        listed.append(Case("max", deep, 5, 1, 2, last=last))
        listed.append(Case("max", (8, 64, 224, 224), 13, 1, 6, last=last))
        listed.append(Case("avg", (8, 64, 224, 224), 33, 16, 0, last=last))
        listed.append(Case("avg", (8, 16, 512, 512), 101, 1, 50, last=last))
        listed.append(Case("max", (8, 16, 512, 512), 101, 4, 50, last=last))
        listed.append(Case("max", (8, 32, 32, 112, 112), 2, 2, 0, last=last))
        listed.append(Case("avg", (8, 32, 32, 112, 112), 3, 2, 1, last=last))
    listed.append(Case("lp", big, 2, 2, 0))
    listed.append(Case("lp", big, 3, 2, 1, last=True))
    listed.append(Case("min", big, 3, 2, 1))
    listed.append(Case("max", (64, 256, 8192), 4, 4, 0))
    return listed + filters(big)


def filters(big: tuple[int, ...]) -> list[Case]:
    """Blurs, and medians of windows in registers and beyond."""
    ways = ("forward", "backward")
    listed = []
    for last in (False, True):
        for dtype in ("float32", "float16"):
            listed.append(Case("blur", big, 3, 2, 1, dtype, last, modes=ways))
        listed.append(Case("blur", big, 5, 2, 2, last=last, modes=ways))
        listed.append(Case("blur", big, 5, 1, 2, last=last, modes=ways))
        listed.append(Case("median", big, 3, 1, 1, last=last, modes=ways))
        listed.append(Case("median", big, 5, 2, 2, last=last, modes=ways))
    listed.append(Case("blur", (8, 64, 224, 224), 31, 1, 15, modes=ways))
    listed.append(Case("blur", (8, 32, 32, 112, 112), 3, 2, 1, modes=ways))
    listed.append(Case("median", (16, 64, 112, 112), 2, 2, 0, modes=ways))
    listed.append(Case("median", (16, 64, 112, 112), 3, 1, 0, modes=ways))
    listed.append(Case("median", big, 3, 1, 1, "uint8", modes=("forward",)))
    listed.append(Case("median", (8, 64, 112, 112), 7, 1, 3, modes=ways))
    listed.append(Case("median", (4, 16, 224, 224), 15, 1, 7, modes=ways))
    listed.append(Case("median", (2, 4, 256, 256), 39, 2, 19, modes=ways))
    return listed


def sample(case: Case, seed: int = 0) -> Tensor:
    """Random values with ties, in the case's memory format."""
    torch.manual_seed(seed)
    if case.dtype == "uint8":
        x = torch.randint(0, 256, case.shape, dtype=torch.uint8, device=DEVICE)
    else:
        x = torch.randn(case.shape, device=DEVICE).to(getattr(torch, case.dtype))
    if case.last:
        x = x.contiguous(memory_format=torch.channels_last if case.spatial == 2 else torch.channels_last_3d)
    return x


def torch_paths(case: Case) -> dict[str, Callable[[Tensor], Any]] | None:
    """Torch's forward, and its forward with what its gradient needs."""
    n = case.spatial
    if case.dtype == "uint8":
        return None
    if case.output:
        name = f"adaptive_{case.op}_pool{n}d"
        if case.op not in ("max", "avg"):
            return None
        forward = partial(getattr(F, name), output_size=case.output)
        saving = partial(forward, return_indices=True) if case.op == "max" else forward
        return {"forward": forward, "saving": saving}
    k = {"kernel_size": case.window, "stride": case.stride}
    if case.op == "max":
        call = partial(getattr(F, f"max_pool{n}d"), **k, padding=case.padding)
        return {"forward": call, "saving": partial(call, return_indices=True)}
    if case.op == "avg":
        call = partial(getattr(F, f"avg_pool{n}d"), **k, padding=case.padding, count_include_pad=False)
        return {"forward": call, "saving": call}
    if case.op == "min":
        call = partial(getattr(F, f"max_pool{n}d"), **k, padding=case.padding)
        return {"forward": lambda x: -call(-x)}
    if case.op == "blur":
        return blurred_by_torch(case)
    if case.op == "median" and n == 2 and case.window == 3 and case.padding == 0:
        # Torch has no median of windows: this is what its users write.
        k, s = case.window, case.stride
        return {"forward": lambda x: x.unfold(2, k, s).unfold(3, k, s).flatten(-2).median(-1).values}
    if case.op == "lp" and case.padding == 0:
        call = partial(getattr(F, f"lp_pool{n}d"), norm_type=2, **k)
        return {"forward": call, "saving": call}
    return None


def blurred_by_torch(case: Case) -> dict[str, Callable[[Tensor], Any]]:
    """A depthwise convolution with the operator's weights over a reflected border, as networks that blur spell it."""
    n = case.spatial
    weights = torch.from_numpy(BLUR.weights((case.window,) * n)).reshape((1, 1) + (case.window,) * n).to(DEVICE)
    convolve = getattr(F, f"conv{n}d")
    fitted: dict[tuple[torch.dtype, int], Tensor] = {}

    def forward(x: Tensor) -> Tensor:
        key = x.dtype, x.shape[1]
        if key not in fitted:
            fitted[key] = weights.to(x.dtype).expand(x.shape[1], *(-1,) * (n + 1)).contiguous()
        padded = F.pad(x, (case.padding,) * (2 * n), mode="reflect")
        return convolve(padded, fitted[key], stride=case.stride, groups=x.shape[1])

    return {"forward": forward, "saving": forward}
