"""Every kernel compiles for a real GPU, which need not be there: as the backend would launch it, down to machine code.

What Triton's interpreter cannot show: types that do not fit, operations that a GPU does not have, tiles that do not fit
its registers or its shared memory.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import poolwise as pw

torch = pytest.importorskip("torch")
triton = pytest.importorskip("triton")
compiler = pytest.importorskip("triton.backends.compiler")

from poolwise.backends import triton as backend  # noqa: E402
from poolwise.backends.triton import TRITON  # noqa: E402
from poolwise.backends.triton.launch import INTERPRETED, Launch  # noqa: E402
from poolwise.backends.triton.run import TritonKernel  # noqa: E402
from poolwise.torch._framework import TORCH  # noqa: E402


def _lacking() -> str | None:
    """Why nothing can be compiled here."""
    try:
        return "TRITON_INTERPRET is set" if INTERPRETED else triton.knobs.nvidia.ptxas and None
    except RuntimeError as error:
        return str(error)


pytestmark = pytest.mark.skipif(_lacking() is not None, reason=str(_lacking()))

TARGET = compiler.GPUTarget("cuda", 90, 32)
MOST_SHARED = 48 << 10
"""Bytes of shared memory that every GPU gives a block."""
FIRST, LAST = False, True
IMAGE = (8, 64, 56, 56)
HALF = {"window": (2, 2)}
OVERLAP = {"window": (3, 3), "stride": 2, "padding": 1}
DENSE = {"window": (3, 3), "stride": 1, "padding": 1}
DILATED = {"window": (3, 3), "stride": 2, "padding": 2, "dilation": 2}
LARGE = {"window": (9, 7), "stride": (2, 1), "padding": (4, 3)}
WHOLE = {"window": (56, 56)}
ADAPTIVE = {"output_size": (7, 5), "axes": (2, 3)}
CELLS = [
    # operator, shape, channels last, dtype, options
    ("max", IMAGE, FIRST, "float32", OVERLAP),
    ("max", IMAGE, LAST, "float16", OVERLAP),
    ("max", IMAGE, FIRST, "uint8", HALF),
    ("max", IMAGE, FIRST, "bfloat16", DILATED),
    ("max", IMAGE, FIRST, "float32", LARGE),
    ("max", IMAGE, LAST, "float32", ADAPTIVE),
    ("min", (1, 8, 56, 56), FIRST, "float32", WHOLE),
    ("min", IMAGE, LAST, "float64", DENSE),
    ("avg", IMAGE, FIRST, "float32", HALF),
    ("avg", IMAGE, LAST, "bfloat16", OVERLAP),
    ("avg", IMAGE, FIRST, "float16", LARGE),
    ("avg", (1, 8, 56, 56), FIRST, "float32", WHOLE),
    ("avg", IMAGE, FIRST, "float32", ADAPTIVE),
    ("sum", IMAGE, FIRST, "float16", DENSE),
    ("lp", IMAGE, FIRST, "float32", OVERLAP),
    ("lp", IMAGE, LAST, "float16", HALF | {"p": 5.0}),
    ("max", (2, 8, 9, 28, 28), FIRST, "float32", {"window": (2, 2, 2)}),
    ("blur", IMAGE, FIRST, "float32", OVERLAP),
    ("blur", IMAGE, LAST, "float64", DENSE),
    ("median", IMAGE, FIRST, "float32", OVERLAP),
    ("median", IMAGE, LAST, "uint8", HALF),
    ("median", (1, 8, 56, 56), FIRST, "float32", LARGE),
]
"""Problems that between them launch every kernel, in its forms. One line more is enough for a kernel that is added."""

POINTERS = {
    "float32": "*fp32", "float64": "*fp64", "float16": "*fp16", "bfloat16": "*bf16", "bool": "*i1",
    "uint8": "*u8", "uint16": "*u16", "uint32": "*u32", "uint64": "*u64",
    "int8": "*i8", "int16": "*i16", "int32": "*i32", "int64": "*i64",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def empty_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Else what was compiled once would not be compiled again."""
    with triton.knobs.cache.scope():
        triton.knobs.cache.dir = str(tmp_path_factory.mktemp("triton"))
        yield


def launched(op: str, shape: tuple[int, ...], last: bool, dtype: str, options: dict[str, Any]) -> list[Any]:
    """What the backend would launch for a problem, forward, saving, backward and for indices: each launch with the dtypes
    of its tensors. Tensors on meta have no memory, and a launch that is noted starts nothing."""
    verb = pw.adaptive_pool if "output_size" in options else pw.pool
    nothing = torch.zeros((), dtype=getattr(torch, dtype)).expand(shape)
    problem = pw.explain(lambda x: verb(x, op, **options), nothing).steps[0].problem
    assert TRITON.why_not(problem, "cuda") is None
    x = torch.empty(shape, dtype=nothing.dtype, device="meta")
    if last:
        x = x.contiguous(memory_format=torch.channels_last if len(shape) == 4 else torch.channels_last_3d)
    found: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Launch, "__call__", lambda self, *tensors: found.append((self, [t.dtype for t in tensors])))
        kernel = TritonKernel(problem)
        kernel.forward(TORCH, x, None, False)
        y, residual = kernel.forward(TORCH, x, None, True)
        if problem.op.traits.saves == "offsets":
            kernel.indices(TORCH, residual)
        if x.is_floating_point():
            kernel.backward(TORCH, y, residual)
    return found


def compiled(launch: Launch, dtypes: list[Any]) -> Any:
    """Specialised as Triton's own launch path does it: 1 is a constant, multiples of 16 are known to be such."""
    tables = [torch.from_numpy(column).dtype for column in launch.columns]
    values = [*dtypes, *tables, *launch.integers, *launch.constants]
    signature, constants, attributes = {}, {}, {}
    for place, (parameter, value) in enumerate(zip(launch.kernel.params, values, strict=True)):
        name, pointer = parameter.name, isinstance(value, torch.dtype)
        if parameter.is_constexpr or (not pointer and value == 1):
            signature[name], constants[name] = "constexpr", value
            continue
        if pointer:
            signature[name] = POINTERS[str(value).removeprefix("torch.")]
        else:
            signature[name] = "i32" if -(1 << 31) <= value < 1 << 31 else "i64"
        if pointer or value % 16 == 0:
            attributes[place,] = [["tt.divisibility", 16]]
    source = triton.compiler.ASTSource(launch.kernel, signature, constants, attributes)
    return triton.compile(source, target=TARGET, options={"num_warps": launch.warps, "enable_fp_fusion": True})


def stack(binary: bytes, folder: Path) -> int:
    """Bytes of memory that a thread takes because registers do not suffice."""
    path = folder / "kernel.cubin"
    path.write_bytes(binary)
    command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", str(path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (found,) = re.findall(r"STACK:(\d+)", told)
    return int(found)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: "-".join(map(str, cell)).replace(" ", ""))
def test_compiles(cell: tuple, tmp_path: Path) -> None:
    launches = launched(*cell)
    assert launches
    for launch, dtypes in launches:
        made = compiled(launch, dtypes)
        name = launch.kernel.__name__
        assert made.asm["cubin"]
        assert made.metadata.shared <= MOST_SHARED, f"{name} takes {made.metadata.shared} bytes of shared memory"
        assert made.metadata.global_scratch_size == 0, f"{name} takes scratch memory"
        assert stack(made.asm["cubin"], tmp_path) == 0, f"{name} does not fit into registers"


def test_every_kernel_is_among_them() -> None:
    """Every function of the backend's that asks which program it is, so is started from the host."""
    kernels = set()
    for info in pkgutil.iter_modules(backend.__path__, f"{backend.__name__}."):
        members = vars(importlib.import_module(info.name)).values()
        kernels |= {f.__name__ for f in members if isinstance(f, triton.JITFunction) and "program_id" in f.src}
    assert len(kernels) >= 5
    assert kernels == {launch.kernel.__name__ for cell in CELLS for launch, _ in launched(*cell)}
