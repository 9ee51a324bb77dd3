"""From a model and an example to a trace, or to one error that says where it failed."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map

from ...messages import refuse, refuse_type, shown
from .reach import Axis, Reach, source
from .recorder import Recorder
from .result import Trace, Undecimated
from .walk import left_as_it_was

__all__ = ["follow"]

Tensor = torch.Tensor


def follow(model: Any, example: Any, undecimated: bool) -> Trace:
    """See `tracing.trace`."""
    if not isinstance(model, torch.nn.Module):
        raise refuse_type(
            "trace", "this is not a torch model", got=type(model).__name__, expected="a torch.nn.Module",
            hint="torch.nn.Sequential(...)",
        )  # fmt: skip
    model = _inner(model)
    args, kwargs = _inputs(model, example)
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    inputs, notes = _sources(tensors)
    with left_as_it_was(model):
        recorder = Recorder(model, inputs)
        try:
            with recorder.hooked(), recorder:
                model(*args, **kwargs)
        except Exception as error:
            raise _failed(recorder.where(), tensors, error) from error
        saved = _undecimated(model, args, kwargs, recorder) if undecimated else None
    if recorder.peeked:
        notes.append("the network looks at values and decides by them: what it decided is not part of the dependence")
    if recorder.unknown:
        names = ", ".join(sorted(name.removeprefix("aten.") for name in recorder.unknown))
        notes.append(f"taken to see everything that goes in, for want of a rule: {names}")
    shape = tuple(tensors[0].shape) if tensors else ()
    parameters = sum(p.numel() for p in model.parameters())
    return Trace(shape, tuple(recorder.layers), parameters, recorder.alive.most, saved, tuple(notes))


def _undecimated(model: Any, args: Any, kwargs: Any, recorder: Recorder) -> Undecimated | None:
    from .undecimated import run

    return run(model, args, kwargs, recorder)


def _inner(model: Any) -> Any:
    """Without the wrappers that would hide what runs."""
    while True:
        if isinstance(model, torch.nn.DataParallel):
            model = model.module
        elif type(model).__name__ == "OptimizedModule" and hasattr(model, "_orig_mod"):  # torch.compile's
            model = model._orig_mod
        else:
            return model


def _inputs(model: Any, example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments to call the model with."""
    first = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(0))

    def made(shape: Any) -> Tensor:
        return torch.zeros(tuple(int(n) for n in shape), dtype=first.dtype, device=first.device)

    try:
        if isinstance(example, Tensor):
            return (example.detach().clone(),), {}
        if isinstance(example, dict):
            return (), {name: _copied(value) for name, value in example.items()}
        entries = list(example)
        if entries and all(isinstance(entry, int) and not isinstance(entry, bool) for entry in entries):
            return (made(entries),), {}
        if entries and all(
            isinstance(entry, (list, tuple, torch.Size)) and all(isinstance(n, int) for n in entry) for entry in entries
        ):
            return tuple(map(made, entries)), {}
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves(entries)):
            return tuple(map(_copied, entries)), {}
    except (TypeError, RuntimeError) as error:
        raise _no_example(example, error) from None
    raise _no_example(example, None)


def _copied(value: Any) -> Any:
    return tree_map(lambda leaf: leaf.detach().clone() if isinstance(leaf, Tensor) else leaf, value)


def _no_example(example: Any, error: Exception | None) -> TypeError:
    return refuse_type(
        "trace", "this is not an input", got=shown(example) + (f" ({error})" if error else ""),
        expected="a shape, a tensor, or a tuple of tensors", hint="(1, 3, 224, 224)",
    )  # fmt: skip


def _failed(where: str, tensors: list[Tensor], error: Exception) -> ValueError:
    shapes = " and ".join(str(tuple(tensor.shape)) for tensor in tensors)
    text = " ".join(str(error).split())
    return refuse(
        "trace", f"the model fails on this input, in {where}",
        got=f"{type(error).__name__}: {text[:300]}", expected=f"a model that takes {shapes}", hint="the shape that the model is for",
    )  # fmt: skip


def _sources(tensors: list[Tensor]) -> tuple[list[tuple[Tensor, Reach | None]], list[str]]:
    """Positions are those of the first input that has any; inputs of the same lengths share them."""
    chosen: tuple[int, ...] = ()
    found: list[tuple[Tensor, Reach | None]] = []
    notes = []
    for number, tensor in enumerate(tensors):
        dims = _space(tensor)
        lengths = tuple(tensor.shape[d] for d in dims)
        if not chosen and lengths:
            chosen = lengths
        if chosen and lengths == chosen:
            found.append((tensor, source(tensor.shape, dims)))
        else:
            found.append((tensor, None))
            if chosen:
                notes.append(f"input {number + 1} has other axes than the first: fields are those in the first")
    if not chosen:  # features without places: what depends on them is still told from constants
        blank = [Axis(1, *(torch.zeros((1,) * tensor.ndim, dtype=torch.int64),) * 4, None) for tensor in tensors]
        return [(tensor, (axis,)) for tensor, axis in zip(tensors, blank, strict=True)], notes
    return found, notes


def _space(tensor: Tensor) -> list[int]:
    if tensor.ndim == 2 and not tensor.is_floating_point():
        return [1]  # tokens
    return list(range(2, tensor.ndim))
