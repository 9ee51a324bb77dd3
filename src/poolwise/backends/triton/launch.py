"""Launching a compiled kernel with few words: what does not change from call to call is settled once."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Any

import numpy as np
import torch
import triton
from triton import knobs

__all__ = ["INTERPRETED", "Launch", "Tile", "packed", "tile"]

Tensor = torch.Tensor
INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"
VERSION = tuple(map(int, triton.__version__.split(".")[:2]))
ALIGNMENT = 16
"""Bytes. Triton compiles a kernel anew for addresses that are no multiples of it."""
# What `torch.cuda` asks too, after making sure that CUDA has been started, which it has where there is a tensor.
_current_device = getattr(torch._C, "_cuda_getDevice", torch.cuda.current_device)
_current_stream = getattr(
    torch._C, "_cuda_getCurrentRawStream", lambda device: torch.cuda.current_stream(device).cuda_stream
)
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
    tails: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    ready: dict[int, Callable[..., bool]] = field(default_factory=dict)

    def __call__(self, *tensors: Tensor) -> None:
        if INTERPRETED:
            self.kernel[(self.programs, 1, 1)](*(x.detach() for x in tensors), *self._tail(tensors[0]))
            return
        device = tensors[0].get_device()
        start = self.ready.get(device)
        if start is None or not start(*[tensor.data_ptr() for tensor in tensors]):
            with torch.cuda.device(device):
                self._run(device, tensors)

    def _run(self, device: int, tensors: tuple[Tensor, ...]) -> None:
        """By Triton's own path, which compiles what it has not compiled yet."""
        tail = self._tail(tensors[0])
        # Fused or not is said explicitly: Triton's default changes from 3.9 to 3.10, and 3.9 warns of it.
        compiled = self.kernel[(self.programs, 1, 1)](*tensors, *tail, num_warps=self.warps, enable_fp_fusion=True)
        if not any(tensor.data_ptr() % ALIGNMENT for tensor in tensors):
            self.ready[device] = _starter(device, self.programs, compiled, tail)

    def _tail(self, like: Tensor) -> tuple[Any, ...]:
        """What follows the tensors among the kernel's arguments, on a device."""
        tail = self.tails.get(like.get_device())
        if tail is None:
            made: dict[int, Tensor] = {}
            for column in self.columns:
                if id(column) not in made:
                    made[id(column)] = torch.from_numpy(column).to(like.device)
            tail = (*(made[id(column)] for column in self.columns), *self.integers, *self.constants)
            self.tails[like.get_device()] = tail
        return tail


def _starter(device: int, programs: int, compiled: Any, tail: tuple[Any, ...]) -> Callable[..., bool]:
    """Starts a compiled kernel on the current stream, given its tensors' addresses; False where it may not, because these
    are not aligned as it assumes, or because somebody (a profiler) wants to be told of launches."""
    plain = tuple(entry.data_ptr() if isinstance(entry, Tensor) else entry for entry in tail)
    run, hooks = _runner(compiled, programs, plain), knobs.runtime

    def start(*addresses: int) -> bool:
        enter, leave = hooks.launch_enter_hook, hooks.launch_exit_hook
        if getattr(enter, "calls", enter) or getattr(leave, "calls", leave) or reduce(or_, addresses) % ALIGNMENT:
            return False
        if _current_device() == device:
            run(_current_stream(device), addresses)
        else:
            with torch.cuda.device(device):
                run(_current_stream(device), addresses)
        return True

    start.keeps = compiled, tail  # code that is unloaded, and tables that are freed, with the last one who knows them
    return start


def _runner(compiled: Any, programs: int, plain: tuple[Any, ...]) -> Callable[[int, tuple[int, ...]], None]:
    """Puts a compiled kernel on a stream. `plain` is what follows the addresses among its arguments.

    Triton's launcher is a function in Python, which settles on each call what is settled for these kernels (no scratch
    memory, no hooks), around one in C, which looks at constants that the kernel does not take. Where both are of a form
    known here, the one in C is called, with the arguments that count: 2 us instead of 4 on a slow host.
    """
    launcher, function, metadata = compiled.run, compiled.function, compiled.packed_metadata

    def run(stream: int, addresses: tuple[int, ...]) -> None:
        launcher(programs, 1, 1, stream, function, metadata, None, None, None, *addresses, *plain)

    if type(launcher).__name__ != "CudaLauncher" or getattr(launcher, "gsan_enabled", False):
        return run
    if launcher.global_scratch_size or launcher.profile_scratch_size:
        return run
    launch = launcher.launch
    ways = launcher.launch_cooperative_grid, launcher.launch_pdl
    if VERSION == (3, 6):

        def run_36(stream: int, addresses: tuple[int, ...]) -> None:
            launch(programs, 1, 1, stream, function, *ways, None, None, metadata, None, None, None, *addresses, *plain)

        return run_36
    types = list(compiled.src.signature.values())
    if VERSION not in ((3, 8), (3, 9)) or len(types) != len(launcher.arg_annotations):
        return run
    kinds = [kind for kind, type_ in zip(launcher.arg_annotations, types, strict=True) if type_ != "constexpr"]
    count = len(types) - len(plain)
    taken = tuple(entry for entry, type_ in zip(plain, types[count:], strict=True) if type_ != "constexpr")
    fixed = *ways, metadata, None, None, None, None, None, kinds, launcher.kernel_signature

    def run_direct(stream: int, addresses: tuple[int, ...]) -> None:
        launch(programs, 1, 1, stream, function, *fixed, addresses + taken)

    return run_direct
