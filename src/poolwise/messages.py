"""The one form of every error: where, what was got, what was expected, what to try.

Texts are built here so that they read alike; nothing else in the package formats a refusal.
"""

from __future__ import annotations

__all__ = ["refuse", "refuse_type"]


def _text(where: str, what: str, got: str, expected: str, hint: str) -> str:
    return f"{where}: {what}.\n  got       {got}\n  expected  {expected}\n  try       {hint}"


def refuse(where: str, what: str, *, got: str, expected: str, hint: str) -> ValueError:
    """A `ValueError` for a value that cannot be served; the caller raises it."""
    return ValueError(_text(where, what, got, expected, hint))


def refuse_type(where: str, what: str, *, got: str, expected: str, hint: str) -> TypeError:
    """A `TypeError` for an argument of the wrong kind; the caller raises it."""
    return TypeError(_text(where, what, got, expected, hint))


def shown(value: object, limit: int = 120) -> str:
    """`repr(value)` kept short, and safe against a repr that fails."""
    try:
        text = repr(value)
    except Exception as error:  # a foreign object's repr is not ours to trust
        text = f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
    return text if len(text) <= limit else text[: limit - 3] + "..."
