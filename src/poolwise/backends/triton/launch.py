"""Launching a compiled kernel with few words: what does not change from call to call is settled once."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from triton import knobs

__all__ = ["INTERPRETED", "Launch", "Tile", "packed", "tile"]

Tensor = torch.Tensor
INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"
LARGEST = (1 << 31) - (1 << 20)
"""Elements that 32-bit addresses reach, with room for a tile beyond the end."""


@dataclass(frozen=True)
class Tile:
    """Rows and lanes of one program, and its warps."""

    rows: int
    lanes: int
    warps: int = 4


def tile(rows: int, lanes: int, each: int = 1, elements: int = 1024, warps: int = 4, widest: int = 256) -> Tile:
    """A tile of about so many results, `each` per lane and row, that wastes few lanes: 112 outputs fill 128 lanes to 88 %, 65 fill 8 to 90 %."""
    elements //= each
    if INTERPRETED:  # costs are per program there
        elements, widest = 1 << 13, 1 << 10
    wide = min(widest, _power(lanes))
    best = wide
    while wide >= 8 and lanes / (-(-lanes // best) * best) < 0.85:
        if lanes / (-(-lanes // wide) * wide) > lanes / (-(-lanes // best) * best) + 0.05:
            best = wide
        wide //= 2
    return Tile(min(max(elements // best, 1), _power(rows)), best, warps)


def _power(n: int) -> int:
    return 1 << max(n - 1, 0).bit_length()


def packed(divisor: int) -> int:
    """A multiplier and a shift for which ``(2 n m >> 32) >> s == n // divisor``, ``0 <= n < 2**31``; always 64 bits."""
    shift = _power(divisor).bit_length() - 1
    return -(-(1 << 31 + shift) // divisor) << 6 | shift


@dataclass(eq=False)
class Launch:
    """A kernel over a grid, with its small tables, integers and constants. Calling it with tensors runs it.

    Triton's own launch path binds, specialises and looks up on every call; here the compiled kernel is kept and
    started directly, per device, as long as the tensors are aligned as it assumes.
    """

    kernel: Any
    programs: int
    columns: tuple[np.ndarray, ...]
    """What varies along the axes."""
    integers: tuple[int, ...]
    constants: tuple[Any, ...]
    warps: int
    tails: dict[int | None, tuple[Any, ...]] = field(default_factory=dict)
    ready: dict[int | None, Any] = field(default_factory=dict)

    def __call__(self, *tensors: Tensor) -> None:
        device = tensors[0].device.index
        if INTERPRETED:
            self.kernel[(self.programs, 1, 1)](*tensors, *self._tail(tensors[0]))
        elif device == torch.cuda.current_device():
            self._run(device, tensors)
        else:
            with torch.cuda.device(device):
                self._run(device, tensors)

    def _run(self, device: int, tensors: tuple[Tensor, ...]) -> None:
        addresses = [tensor.data_ptr() for tensor in tensors]
        together = 0
        for address in addresses:
            together |= address
        start = self.ready.get(device)
        if start is not None and not together % 16 and not getattr(knobs.runtime.launch_enter_hook, "calls", None):
            run, function, metadata, tail = start
            stream = torch._C._cuda_getCurrentRawStream(device)
            run(self.programs, 1, 1, stream, function, metadata, None, None, None, *addresses, *tail)
            return
        tail = self._tail(tensors[0])
        compiled = self.kernel[(self.programs, 1, 1)](*tensors, *tail, num_warps=self.warps)
        if not together % 16:
            plain = tuple(entry.data_ptr() if isinstance(entry, Tensor) else entry for entry in tail)
            self.ready[device] = compiled.run, compiled.function, compiled.packed_metadata, plain

    def _tail(self, like: Tensor) -> tuple[Any, ...]:
        """What follows the tensors among the kernel's arguments, on a device."""
        tail = self.tails.get(like.device.index)
        if tail is None:
            made: dict[int, Tensor] = {}
            for column in self.columns:
                if id(column) not in made:
                    made[id(column)] = torch.from_numpy(column).to(like.device)
            tail = (*(made[id(column)] for column in self.columns), *self.integers, *self.constants)
            self.tails[like.device.index] = tail
        return tail
