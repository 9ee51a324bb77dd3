"""A pooling as text, and back: what torch's graphs hold of a call, in memory and in files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from ..geometry import Adaptive, Fractional, Global, Scheme, Sliding
from ..messages import refuse
from ..ops import BY_NAME
from ..problem import Pooling
from ..spec import PoolOp

__all__ = ["decode", "encode"]

SCHEMES: dict[str, Callable[..., Scheme]] = {
    scheme.__name__.lower(): scheme for scheme in (Sliding, Adaptive, Global, Fractional)
}
_own: dict[str, PoolOp] = {}
"""Operators of users that were written down in this process, by the name they have in the text."""


@lru_cache(maxsize=4096)
def encode(pooling: Pooling, backend: str | None = None) -> str:
    """A line of JSON that `decode` reads; operators of this package mean the same in every process."""
    facts = {name: getattr(pooling, name) for name in Pooling.__dataclass_fields__}
    op, scheme = pooling.op, pooling.scheme
    facts["op"] = op.name
    if BY_NAME.get(op.name) is not op:
        facts["op"] = f"{op.name}@{id(op)}"
        _own[facts["op"]] = op
    facts["params"] = asdict(pooling.params)
    facts["scheme"] = {"kind": type(scheme).__name__.lower()} | asdict(scheme)
    return json.dumps(facts | {"backend": backend}, separators=(",", ":"))


@lru_cache(maxsize=4096)
def decode(text: str) -> tuple[Pooling, str | None]:
    """The pooling, and the backend that was insisted on."""
    facts = _tuples(json.loads(text))
    op = BY_NAME.get(facts["op"]) or _own.get(facts["op"])
    if op is None:
        raise refuse(
            facts["where"],
            "the graph pools with an operator that this process does not know",
            got=f"op={facts['op']!r}",
            expected=f"one of {', '.join(BY_NAME)}, or one that was used in this process",
            hint="the graph made anew, in this process",
        )
    backend = facts.pop("backend")
    scheme = facts["scheme"]
    facts |= {"op": op, "params": op.params(**facts["params"])}
    facts["scheme"] = SCHEMES[scheme.pop("kind")](**scheme)
    return Pooling(**facts), backend


def _tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_tuples, value))
    if isinstance(value, dict):
        return {name: _tuples(entry) for name, entry in value.items()}
    return value
