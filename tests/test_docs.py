"""Documentation is run: every docstring example, every code block of the README, every public docstring's parts."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import poolwise as pw
import poolwise.torch as pt

ROOT = Path(__file__).parent.parent
TOOLS = ("poolwise.cli", "poolwise.instruments", "poolwise.bench", "poolwise.__main__", "poolwise._core")
# Kernels that import triton, which a machine without a GPU need not have.
TRITON = "poolwise.backends.triton."


def modules() -> list[str]:
    """Every module of the package, the tools' own aside."""
    found = [info.name for info in pkgutil.walk_packages(pw.__path__, "poolwise.")]
    return ["poolwise", *(name for name in found if not name.startswith((*TOOLS, TRITON)))]


@pytest.mark.parametrize("name", modules())
def test_docstring_examples(name: str) -> None:
    """As typed: nothing is normalised, so what a reader sees is what comes out."""
    with np.printoptions(legacy=False):
        outcome = doctest.testmod(importlib.import_module(name), report=True)
    assert outcome.failed == 0, f"{outcome.failed} of {outcome.attempted} examples"


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder()
    examples = [case for name in modules() for case in finder.find(importlib.import_module(name)) if case.examples]
    assert len(examples) >= 20


FUNCTIONS = [name for name in pw.__all__ if inspect.isfunction(getattr(pw, name))]
WITHOUT_ARRAYS = {"get_num_threads", "set_num_threads", "show_config"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_functions_are_documented(name: str) -> None:
    """Shapes and an example; and every parameter is named."""
    text = inspect.getdoc(getattr(pw, name)) or ""
    assert text, "no docstring"
    if name in WITHOUT_ARRAYS:
        return
    assert ">>> " in text, "no example"
    assert re.search(r"\(\.\.\., |\.shape", text), "no shapes"
    recipe = "Shapes:" in text or "Parameters are those of" in text
    if not recipe:
        for parameter in inspect.signature(getattr(pw, name)).parameters:
            assert re.search(rf"(^|[\s,*`]){re.escape(parameter)}\b", text), f"parameter {parameter} is not described"


@pytest.mark.parametrize("op", pw.OPS, ids=lambda op: op.name)
def test_operators_are_documented(op: Any) -> None:
    """The function of an operator says its formula, its gradient, NaN, and where it comes from."""
    text = inspect.getdoc(getattr(pw, f"{op.name}_pool")) or ""
    for word in ("Returns", "Raises", "gradient", "NaN", "Examples"):
        assert word in text, f"{op.name}_pool says nothing of {word}"
    assert "``y" in text, "no formula"
    assert op.summary


@pytest.mark.parametrize("name", pt.__all__)
def test_layers_are_documented(name: str) -> None:
    text = inspect.getdoc(getattr(pt, name)) or ""
    assert "(N, C" in text, "no shapes"


BLOCK = re.compile(r"(<!--[^>]*-->\s*)?^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def readme_blocks() -> list[tuple[str, str, str]]:
    """``(mark, language, text)`` of every fenced block."""
    readme = ROOT / "README.md"
    return (
        [(mark.strip(), language, text) for mark, language, text in BLOCK.findall(readme.read_text())]
        if readme.exists()
        else []
    )


def test_readme_blocks_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python blocks in one namespace, in order; one that is not to run says so: ``<!-- not run: why -->``."""
    if not (ROOT / "README.md").exists():
        pytest.skip("README.md is not in this checkout")
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "readme"}
    ran = 0
    for mark, language, text in readme_blocks():
        if language not in ("python", "py", "pycon"):
            continue
        if mark.startswith("<!-- not run:"):
            continue
        if ">>> " in text:
            case = doctest.DocTestParser().get_doctest(text, namespace, "README.md", "README.md", 0)
            outcome = doctest.DocTestRunner().run(case, clear_globs=False)
            assert outcome.failed == 0, text
            namespace.update(case.globs)
        else:
            exec(compile(text, "README.md", "exec"), namespace)
        ran += 1
    assert ran, "no block of the README runs"
