"""Running a model once under a mode that sees every operation, and leaving the model as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

__all__ = ["Frame", "Walker", "bound", "left_as_it_was", "short", "strided"]

Tensor = torch.Tensor
WHOLE = (torch.nn.MultiheadAttention,)
"""Modules that are one layer although they hold others, whose weights they use themselves."""


@dataclass(eq=False)
class Frame:
    """A module that is running; the model itself at the bottom."""

    name: str
    module: Any
    leaf: bool
    started: int
    notes: dict[str, Any] = field(default_factory=dict)


def strided(values: Any) -> list[Tensor]:
    """Tensors with memory of their own, among whatever an operation takes or gives."""
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor) and leaf.layout is torch.strided]


def bound(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by their names, with defaults for those left out."""
    found = {}
    for number, argument in enumerate(func._schema.arguments):
        if number < len(args):
            found[argument.name] = args[number]
        else:
            found[argument.name] = kwargs.get(
                argument.name, argument.default_value if argument.has_default_value() else None
            )
    return found


def short(func: Any) -> str:
    """``aten.relu`` for all that are called so, in place too."""
    namespace, _, name = func._schema.name.partition("::")
    if func._schema.is_mutable and name.endswith("_") and not name.endswith("__"):
        name = name[:-1]
    return f"{namespace}.{name}"


class Walker(TorchDispatchMode):
    """Follows the modules by name; subclasses see the operations in `operate`."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.stack = [Frame("", model, False, 0)]
        self.count = 0
        self.last_name = ""
        self._handles: list[Any] = []

    def operate(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do one operation."""
        raise NotImplementedError

    def begin(self, frame: Frame) -> None:
        """A module starts."""

    def end(self, frame: Frame, result: Any) -> None:
        """A module has given this."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "prim":  # a question about a tensor without memory
            return func(*args, **kwargs)
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
            # Seen in inference mode only, where nothing has taken it apart yet.
            with self:
                return func.decompose(*args, **kwargs)
        self.count += 1
        return self.operate(func, args, kwargs)

    @contextlib.contextmanager
    def hooked(self) -> Iterator[None]:
        """With hooks that say which module runs."""
        whole = tuple(f"{name}." for name, module in self.model.named_modules() if isinstance(module, WHOLE))
        for name, module in self.model.named_modules():
            if name.startswith(whole) or isinstance(
                module, torch.jit.ScriptModule
            ):  # TorchScript has no hooks: no names
                continue
            if module is self.model and any(module.children()):
                continue
            own = [child for child, _ in module.named_children() if child != "parametrizations"]
            leaf = isinstance(module, WHOLE) or not own
            label = name or type(module).__name__
            self._handles.append(module.register_forward_pre_hook(self._start(label, leaf)))
            self._handles.append(module.register_forward_hook(self._stop()))
        try:
            yield
        finally:
            for handle in self._handles:
                handle.remove()

    def _start(self, name: str, leaf: bool) -> Any:
        def start(module: Any, args: Any) -> None:
            inside = self.stack[-1].leaf
            frame = Frame(self.stack[-1].name if inside else name, module, leaf or inside, self.count)
            frame.notes["inner"] = inside
            self.stack.append(frame)
            self.last_name = frame.name
            if not inside:
                with _disable_current_modes():  # what is worked out here is none of the network's operations
                    self.begin(frame)

        return start

    def _stop(self) -> Any:
        def stop(module: Any, args: Any, result: Any) -> None:
            while len(self.stack) > 1:  # a module that failed, and was caught by its caller, never stopped
                frame = self.stack.pop()
                if frame.module is module:
                    if not frame.notes["inner"]:
                        with _disable_current_modes():
                            self.end(frame, result)
                    break

        return stop

    def where(self) -> str:
        """The module that is running."""
        return self.stack[-1].name or type(self.model).__name__


@contextlib.contextmanager
def left_as_it_was(model: Any) -> Iterator[None]:
    """In evaluation mode, without gradients; modes, buffers and the random state come back."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, buffer._version, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ] if not isinstance(model, torch.jit.ScriptModule) else []  # fmt: skip
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # one operation without a name for its parts
    try:
        with contextlib.suppress(NotImplementedError):  # an exported program is in the mode that it was exported in
            model.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for module, training in modes:
            module.training = training
        with torch.no_grad():
            for module, name, buffer, version, before in buffers:
                module._buffers[name] = buffer
                if buffer._version != version:
                    buffer.copy_(before)
