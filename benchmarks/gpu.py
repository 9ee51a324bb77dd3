"""Builds, checks and times the GPU kernels in one call: ``python benchmarks/gpu.py --json benchmarks/results/gpu-NAME.json``.

Every number is a median of CUDA event times over random inputs larger than the L2 cache. `copy` is a device-to-device copy
that moves as many bytes as the case must (input once, result once, offsets where they are kept). No number for a wrong
answer: results are held to torch's or to the generic backend's first. Torch's best is its faster memory format.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
import triton
from gpu_cases import DEVICE, Case, cases, sample, torch_paths

import poolwise as pw
from poolwise.arrays import memory_order
from poolwise.backends.triton import stages, stages_back, stages_blur, stages_median
from poolwise.backends.triton.launch import tile
from poolwise.torch._framework import TORCH

Tensor = torch.Tensor
TILED = (stages, stages_back, stages_blur, stages_median)
"""The modules whose tiles are swept."""


def timed(run: Callable[[], Any], budget: float = 0.1) -> float:
    """Median milliseconds of device time of a replayed graph, so that the host's time stays out of it."""
    for _ in range(2):
        run()
    torch.cuda.synchronize()
    call = captured(run)
    start = time.perf_counter()
    call()
    torch.cuda.synchronize()
    repeats = int(min(max(budget / max(time.perf_counter() - start, 1e-5), 5), 60))
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    marks[0].record()
    for mark in marks[1:]:
        call()
        mark.record()
    torch.cuda.synchronize()
    return statistics.median(a.elapsed_time(b) for a, b in pairwise(marks))


def captured(run: Callable[[], Any]) -> Callable[[], Any]:
    """The call as a graph; the call itself where it cannot be captured."""
    graph = torch.cuda.CUDAGraph()
    try:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            run()
        torch.cuda.current_stream().wait_stream(side)
        with torch.cuda.graph(graph):
            run()
    except RuntimeError as error:
        print(f"not captured: {str(error).splitlines()[0][:100]}")
        torch.cuda.synchronize()
        return run
    return graph.replay


def copied(total: int, seen: dict[int, float]) -> float:
    """Milliseconds of a copy that reads and writes so many bytes together."""
    if total not in seen:
        source = torch.randint(0, 256, (max(total // 2, 1),), dtype=torch.uint8, device=DEVICE)
        target = torch.empty_like(source)
        seen[total] = timed(lambda: target.copy_(source))
    return seen[total]


@dataclass
class Row:
    """What one case and mode took, in milliseconds."""

    case: str
    mode: str
    ours: float
    copy: float
    torch: float | None = None
    best: float | None = None
    compiled: float | None = None
    saved_bytes: int | None = None
    torch_saved_bytes: int | None = None
    sweep: dict[str, float] = field(default_factory=dict)


class MismatchError(Exception):
    """A result that is not right has no time."""


def nbytes(*tensors: Tensor) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def same(got: Tensor, expected: Tensor, what: str, exact: bool) -> None:
    if exact and not torch.equal(got, expected):
        raise MismatchError(f"{what}: {(got != expected).sum().item()} of {got.numel()} differ")
    if not exact:
        wide = expected.double()
        error = (got.double() - wide).abs().max().item()
        limit = {torch.float32: 2e-6, torch.float64: 1e-13, torch.float16: 4e-3, torch.bfloat16: 3e-2}[got.dtype]
        if not error <= limit * max(wide.abs().max().item(), 1.0):
            raise MismatchError(f"{what}: off by {error:.3g}")


def checked(case: Case, x: Tensor, kernel: Any, gy: Tensor) -> None:
    """Against torch on everything, and against the generic backend on the first and last images."""
    y, residual = kernel.forward(TORCH, x, None, True)
    gx = kernel.backward(TORCH, gy, residual) if x.dtype.is_floating_point else None
    exact = case.op in ("max", "min", "median")
    paths = torch_paths(case)
    if case.slow:  # torch takes time in the square of the window: two planes
        x, y, gx, paths = x[:1, :2], y[:1, :2], None if gx is None else gx[:1, :2], None
        same(y, torch_paths(case)["forward"](x.double()).to(y.dtype), f"{case.id} forward against torch", exact)
        t = x.double()
        expected = torch_gradient(torch_paths(case)["forward"], t.contiguous(), gy[:1, :2].contiguous())
        same(gx, expected.to(gx.dtype), f"{case.id} gradient against torch", False)
        return
    if paths is not None:
        same(y, paths["forward"](x), f"{case.id} forward against torch", exact)
        if case.op == "max":
            same(kernel.indices(TORCH, residual), paths["saving"](x)[1], f"{case.id} indices against torch", True)
        if case.op not in ("min", "median"):  # torch's gradient of a median goes to any of equal elements
            t = x.double() if case.op != "max" else x.detach().clone()
            expected = torch_gradient(paths["forward"], t.contiguous(), gy.contiguous())
            same(gx, expected.to(gx.dtype), f"{case.id} gradient against torch", False)
            other = torch_gradient(paths["forward"], t, gy) if case.last else expected
            if not torch.allclose(other, expected, rtol=1e-2, atol=1e-2):
                print(f"torch differs from itself by {(other - expected).abs().max():.3g} in this format: {case.id}")
    planes = slice(0, 1) if x[0].numel() > 1 << 18 else slice(0, 2)
    for part in (planes, slice(x.shape[0] - 1, x.shape[0])):
        channels = slice(0, min(x.shape[1], 4))
        small = x[part, channels].detach().clone()
        same(y[part, channels], case.pool(small, backend="generic"), f"{case.id} against the definition", exact)


def torch_gradient(forward: Callable[[Tensor], Tensor], x: Tensor, gy: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(forward(x), x, gy.to(x.dtype))[0]


def measured(case: Case, args: argparse.Namespace, copies: dict[int, float]) -> list[Row]:
    x = sample(case)
    plan = pw.explain(lambda v: case.pool(v, backend="triton"), x).steps[0]
    kernel = plan.kernel
    y, residual = kernel.forward(TORCH, x, None, True)
    gy = torch.randn(y.shape, device=DEVICE).to(y.dtype) if x.dtype.is_floating_point else y
    order = memory_order(tuple(y.shape), y.stride(), tuple(range(2, y.ndim)))
    gy = TORCH.empty(tuple(y.shape), case.dtype, order, y).copy_(gy)
    checked(case, x, kernel, gy)
    kept = [t for t in residual.arrays if t is not x and t is not y]
    saved = nbytes(*(residual.arrays if case.op in ("lp", "median") else kept))
    runs = {
        "forward": (lambda: case.pool(x), nbytes(x, y)),
        "saving": (lambda: kernel.forward(TORCH, x, None, True), nbytes(x, y, *kept)),
        "backward": (lambda: kernel.backward(TORCH, gy, residual), nbytes(gy, x, *residual.arrays)),
    }
    rows = []
    for mode in case.modes:
        if mode == "saving" and not kept:
            continue
        run, total = runs[mode]
        row = Row(case.id, mode, timed(run), copied(total, copies), saved_bytes=saved)
        if args.sweep:
            row.sweep = swept(case, mode, x, gy)
        rows.append(row)
    if not args.ours:
        against_torch(case, x, gy, rows, args.compile)
    return rows


def swept(case: Case, mode: str, x: Tensor, gy: Tensor) -> dict[str, float]:
    """The same with other tiles."""
    found = {}
    for elements, warps in ((256, 4), (512, 4), (512, 2), (1024, 4), (1024, 8), (2048, 8)):
        for module in TILED:
            module.tile = lambda rows, lanes, each=1, _=0, widest=256, n=elements, w=warps: tile(
                rows, lanes, each, n, w
            )
        kernel = type(plan_of(case, x).kernel)(plan_of(case, x).problem)
        _, residual = kernel.forward(TORCH, x, None, True)
        run = {
            "forward": lambda kernel=kernel: kernel.forward(TORCH, x, None, False),
            "saving": lambda kernel=kernel: kernel.forward(TORCH, x, None, True),
            "backward": lambda kernel=kernel, residual=residual: kernel.backward(TORCH, gy, residual),
        }[mode]
        found[f"{elements}:{warps}"] = timed(run, 0.05)
    for module in TILED:
        module.tile = tile
    return found


def plan_of(case: Case, x: Tensor) -> Any:
    return pw.explain(lambda v: case.pool(v, backend="triton"), x).steps[0]


def against_torch(case: Case, x: Tensor, gy: Tensor, rows: list[Row], compiled: bool) -> None:
    """Torch in this memory format and in the other one."""
    paths = torch_paths(case)
    if paths is None or (case.slow and case.stride == 1):
        return
    formats = (torch.contiguous_format, torch.channels_last if case.spatial == 2 else torch.channels_last_3d)
    for other in (False, True):
        if other and case.spatial == 1:
            break
        like = formats[case.last != other]
        a = x.contiguous(memory_format=like) if case.spatial > 1 else x
        g = gy.contiguous(memory_format=like) if case.spatial > 1 else gy
        for row in rows:
            try:
                took = torch_time(case, row, paths, a, g, other)
            except RuntimeError as error:  # torch has no kernel for it
                print(f"torch cannot: {row.case} {row.mode}: {str(error)[:80]}")
                continue
            if took is not None:
                row.best = min(took, row.best or math.inf)
        if compiled and not other and "forward" in case.modes:
            rows[0].compiled = timed(partial(torch.compile(paths["forward"], dynamic=False), a))


def torch_time(case: Case, row: Row, paths: Any, a: Tensor, g: Tensor, other: bool) -> float | None:
    if row.mode not in paths and row.mode != "backward":
        return None
    if row.mode != "backward":
        took = timed(lambda: paths[row.mode](a))
    else:
        if "saving" not in paths:
            return None
        leaf = a.detach().requires_grad_()
        y = paths["forward"](leaf)
        if case.op == "max":
            row.torch_saved_bytes = y.numel() * 8
        took = timed(lambda: torch.autograd.grad(y, leaf, g, retain_graph=True))
    if not other:
        row.torch = took
    return took


def overhead() -> dict[str, float]:
    """Microseconds of host time per call on tensors too small for the device to matter."""
    x = torch.randn(2, 8, 16, 16, device=DEVICE)
    leaf = x.clone().requires_grad_()
    layer = pw_layer()
    calls = {
        "max ours": lambda: pw.max_pool(x, (3, 3), stride=2, padding=1),
        "max torch": lambda: F.max_pool2d(x, 3, 2, 1),
        "max layer ours": lambda: layer[0](x),
        "max layer torch": lambda: layer[1](x),
        "avg ours": lambda: pw.avg_pool(x, (2, 2)),
        "avg torch": lambda: F.avg_pool2d(x, 2),
        "max training ours": lambda: pw.max_pool(leaf, (3, 3), stride=2, padding=1),
        "max training torch": lambda: F.max_pool2d(leaf, 3, 2, 1),
    }
    kernel = plan_of(Case("max", tuple(x.shape), 3, 2, 1), x).kernel
    calls["max kernel alone"] = lambda: kernel.forward(TORCH, x, None, False)
    y = kernel.forward(TORCH, x, None, False)[0]
    launch = next(iter(kernel.routes.values())).stages[0].launch
    calls["max launch alone"] = lambda: launch(x, y, y, x)
    calls["torch.empty alone"] = lambda: torch.empty_strided(y.shape, y.stride(), dtype=y.dtype, device=y.device)
    took = {}
    for name, call in calls.items():
        best = math.inf
        for _ in range(5):
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(300):
                call()
            best = min(best, (time.perf_counter() - start) / 300 * 1e6)
        torch.cuda.synchronize()
        took[name] = best
    return took


def pw_layer() -> tuple[Any, Any]:
    import poolwise.torch as pt

    return pt.MaxPool2d(3, 2, 1), torch.nn.MaxPool2d(3, 2, 1)


def table(rows: list[Row]) -> str:
    lines = [f"{'case':58} {'mode':8} {'us':>8} {'of copy':>7} {'x torch':>7} {'x best':>6} {'x compiled':>10}"]
    for r in rows:
        ratio = [None if t is None else t / r.ours for t in (r.torch, r.best, r.compiled)]
        text = [f"{v:7.2f}" if v is not None else "      -" for v in ratio]
        lines.append(f"{r.case:58} {r.mode:8} {r.ours * 1e3:8.1f} {r.copy / r.ours:7.2f} {' '.join(text)}")
        if r.sweep:
            lines.append("    " + " ".join(f"{k}={v * 1e3:.0f}" for k, v in r.sweep.items()))
    for mode in ("forward", "saving", "backward"):
        of = [r.copy / r.ours for r in rows if r.mode == mode]
        best = [r.best / r.ours for r in rows if r.mode == mode and r.best]
        if of:
            mean = math.exp(statistics.mean(map(math.log, best))) if best else math.nan
            lines.append(
                f"{mode}: of copy median {statistics.median(of):.2f}, least {min(of):.2f}; over torch's best geometric "
                f"mean {mean:.2f}, least {min(best, default=math.nan):.2f}"
            )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="where to write every number")
    parser.add_argument("--only", default="", help="cases whose name holds one of these, separated by |")
    parser.add_argument("--ours", action="store_true", help="leave torch out")
    parser.add_argument("--compile", action="store_true", help="torch.compile as well")
    parser.add_argument("--sweep", action="store_true", help="other tiles as well")
    parser.add_argument("--seconds", type=float, default=1e9, help="start no case after so many")
    args = parser.parse_args()
    torch.backends.cudnn.allow_tf32 = False  # a convolution with 10 bits is no peer of a blur
    begun, copies, rows, wrong = time.time(), {}, [], []
    for case in cases():
        if not any(word in case.id for word in args.only.split("|")) or time.time() - begun > args.seconds:
            continue
        try:
            rows += measured(case, args, copies)
        except MismatchError as error:
            wrong.append(str(error))
        except Exception as error:
            wrong.append(f"{case.id}: {type(error).__name__}: {str(error)[:300]}")
        torch.cuda.empty_cache()
    host = overhead()
    machine = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "python": sys.version.split()[0],
        "copy_gb_per_s": max((total / ms / 1e6 for total, ms in copies.items()), default=0.0),
    }
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        figures = {"machine": machine, "rows": [asdict(r) for r in rows], "host_us": host, "wrong": wrong}
        args.json.write_text(json.dumps(figures, indent=1) + "\n")
    print(table(rows))
    print("host us per call: " + ", ".join(f"{name} {us:.1f}" for name, us in host.items()))
    print("WRONG: " + "; ".join(wrong) if wrong else "no mismatch", f"| {time.time() - begun:.0f} s |", machine)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
