"""The shape of the tree: arrows between modules, what importing loads, sizes, and paths that prose names."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import poolwise as pw

PACKAGE = Path(pw.__file__).parent
ROOT = Path(__file__).parent.parent
MODULES = sorted(PACKAGE.rglob("*.py"))
HEAVY = ("torch", "jax", "matplotlib", "PIL", "scipy", "array_api_compat", "pandas", "skimage")

ALLOWED = {
    # module or folder: what it may import of the package, by module or folder. Those not named are free below `torch`.
    "messages": set(),
    "geometry": {"messages"},
    "spec": {"messages"},
    "ops": {"spec", "messages"},
    "arguments": {"geometry", "spec", "messages"},
    "problem": {"arguments", "geometry", "spec", "messages"},
    "reference": {"problem", "spec", "geometry"},
    "arrays": {"messages", "numpy", "torch"},  # the two frameworks on first use, inside a function
    "numpy": {"messages"},
    "backends": {"arrays", "geometry", "ops", "problem", "spec", "messages", "_core"},
    "dispatch": {"backends", "problem", "messages"},
    "execute": {"arrays", "dispatch", "messages", "problem", "spec", "_core"},
    "verbs": {"messages", "ops", "spec"},
    "recipes": {"ops", "spec"},
    "unpool": {"arguments", "arrays", "messages", "spec"},
    "watch": {"arrays", "backends", "dispatch", "execute", "messages", "spec"},
    "masked": {"arrays", "backends", "dispatch", "execute", "messages", "ops", "problem", "spec", "geometry"},
    "config": {"backends"},
}


def part(path: Path) -> str:
    """The module, or the folder of the package, that a file belongs to."""
    inside = path.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Absolute names of what a file imports, and whether that happens at import time."""
    tree = ast.parse(path.read_text())
    nested = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, (ast.FunctionDef, ast.AsyncFunctionDef))
        for inner in ast.walk(outer)
    }
    package = ["poolwise", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(tree):
        at_once = id(node) not in nested
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, at_once
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield f"{name}.{alias.name}", at_once


def own(name: str) -> str | None:
    """The module or folder of this package that an import names."""
    parts = name.split(".")
    return parts[1] if parts[0] == "poolwise" and len(parts) > 1 else None


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    layer = part(path)
    found = {own(name) for name, _ in imports(path)} - {None, layer, "__version__"}
    if layer in ALLOWED:
        assert found <= ALLOWED[layer], f"{layer} imports {sorted(found - ALLOWED[layer])}"
    if layer not in ("torch", "instruments", "study", "bench", "cli", "data", "__main__"):
        assert not found & {"instruments", "study", "bench", "cli"}, "the library imports its tools"
        assert "reference" not in found, "the reference is for tests"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_torch_folder_imports_torch(path: Path) -> None:
    heavy = {name.split(".")[0] for name, _ in imports(path)} & set(HEAVY)
    kernels = path.parent.name == "triton" and path.stem != "__init__"  # loaded with the first tensor on a GPU
    if part(path) == "torch" or kernels:
        heavy -= {"torch", "array_api_compat"}
    if part(path) in ("cli", "instruments", "study", "bench", "data", "__main__"):  # tools: on first use only
        heavy = {name.split(".")[0] for name, at_once in imports(path) if at_once} & set(HEAVY)
        heavy -= {"torch"} if "bench" in str(path) or "demo" in str(path) else set()
        # The trace is a mode of torch's dispatcher, a subclass: torch is loaded with the first trace, not with its folder.
        heavy -= (
            {"torch"} if path.parent.name == "tracing" and path.stem not in ("__init__", "result", "text") else set()
        )
        heavy = heavy if part(path) == "instruments" else set()
    assert not heavy, f"imports {sorted(heavy)}"


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


def test_import_loads_numpy_and_nothing_else() -> None:
    before = loaded_by("import numpy, importlib.metadata, contextvars, dataclasses")
    after = loaded_by("import poolwise")
    assert not after & set(HEAVY)
    third_party = {name for name in after - before if name not in sys.stdlib_module_names and not name.startswith("_")}
    assert third_party <= {"poolwise", "nanobind_backend"}, third_party


def test_pooling_numpy_arrays_does_not_load_torch() -> None:
    calls = (
        "import poolwise, numpy; x = numpy.ones((4, 4)); [poolwise.pool(x, op, (2, 2)) for op in poolwise.ops.BY_NAME]"
    )
    assert not loaded_by(calls) & set(HEAVY)


def test_instruments_load_torch_when_they_are_used() -> None:
    assert not loaded_by("import poolwise.instruments") & set(HEAVY)


def test_the_cli_loads_nothing_heavy_at_import() -> None:
    if not (PACKAGE / "cli").exists():
        return
    assert not loaded_by("import poolwise.cli") & set(HEAVY)


def test_every_operator_file_is_listed() -> None:
    files = {path.stem for path in (PACKAGE / "ops").glob("*.py") if not path.stem.startswith("_")}
    assert {op.name for op in pw.OPS} == files
    for op in pw.OPS:
        assert f"{op.name}_pool" in pw.__all__, f"{op.name} has no public function"
        assert callable(getattr(pw, f"{op.name}_pool"))


def test_all_public_names_are_there() -> None:
    assert pw.__all__ == sorted(pw.__all__, key=lambda name: (name != name.upper(), name))
    assert all(hasattr(pw, name) for name in pw.__all__)


@pytest.mark.parametrize(
    "path", [*MODULES, *sorted(Path(__file__).parent.glob("*.py"))], ids=lambda path: str(path)[len(str(ROOT)) + 1 :]
)
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    if path.parent.name != "tests":
        assert text.count("\n") <= 400, "a file over 400 lines wants splitting by idea"
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        docstring = node.body[0] if ast.get_docstring(node) is not None else None
        start = (docstring.end_lineno or 0) + 1 if docstring is not None else node.lineno
        length = (node.end_lineno or 0) - start + 1
        assert length <= 60, f"{node.name} has {length} lines"


PATHS = re.compile(r"`((?:src|cpp|tests|docs|examples|benchmarks)/[\w./*-]*)`")


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"])
def test_paths_in_prose_exist(name: str) -> None:
    """Every path in the code font is there; ``<name>`` in a recipe stands for one to come."""
    document = ROOT / name
    if not document.exists():
        pytest.skip(f"{name} is not in this checkout")
    missing = [path for path in PATHS.findall(document.read_text()) if not (ROOT / path).exists()]
    assert not missing
    if name == "ARCHITECTURE.md":
        short = re.findall(r"`(\w+\.py)`", document.read_text())
        assert all(list(ROOT.glob(f"src/poolwise/**/{path}")) for path in short), short
