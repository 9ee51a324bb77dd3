"""Every example in the instruments' docstrings is run, and every public function has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil

import pytest

pytest.importorskip("torch")

from poolwise import instruments

MODULES = [info.name for info in pkgutil.walk_packages(instruments.__path__, "poolwise.instruments.")]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    outcome = doctest.testmod(importlib.import_module(name), report=True)
    assert outcome.failed == 0, f"{outcome.failed} of {outcome.attempted} examples"


FUNCTIONS = [n for n in instruments.__all__ if inspect.isfunction(getattr(instruments, n))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_functions_are_documented(name):
    text = inspect.getdoc(getattr(instruments, name)) or ""
    assert ">>> " in text, "no example"
    for parameter in inspect.signature(getattr(instruments, name)).parameters:
        assert parameter in text, f"parameter {parameter} is not described"
