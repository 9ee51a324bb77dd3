"""The page that lists the differences from torch: every statement's code runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "torch-differences.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
TEXT = PAGE.read_text() if PAGE.exists() else ""


BLOCKS = BLOCK.findall(TEXT)
PARAGRAPHS = [part for part in re.split(r"\n\n+", TEXT) if part.startswith("**")]


@pytest.mark.parametrize("number", range(len(PARAGRAPHS)), ids=[part.split("**")[1] for part in PARAGRAPHS])
def test_what_the_page_says(number: int) -> None:
    """Each block for itself, after the imports, which are the first one."""
    namespace: dict[str, Any] = {}
    for text in (BLOCKS[0], BLOCKS[1 + number]):
        exec(compile(text, PAGE.name, "exec"), namespace)


def test_every_difference_has_code() -> None:
    if not PAGE.exists():
        pytest.skip(f"{PAGE.name} is not in this checkout")
    assert len(PARAGRAPHS) == len(BLOCKS) - 1 >= 15
