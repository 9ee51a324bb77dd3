"""Changes inside `forward`: pooling functions exchanged, and ReLU moved behind max pooling.

A module's `forward` is traced alone, with the layers that it calls as they are, so that one module that cannot be traced
does not keep the others from it, and written back on the object: class, parameters, hooks and names all stay. A trace
follows one path and forgets what is no operation on a tensor. What could hide there is refused, with the reason.
"""

from __future__ import annotations

import dis
import inspect
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from .calls import FUNCTIONS, INDICES, family_of_call, is_own_code, mentioned, our_function, plain, reached
from .layers import KINDS, family_of, is_ours
from .report import Row

__all__ = ["move_relu", "put_back", "remember", "restore", "rewrite"]

RELUS = (torch.relu, torch.relu_, functional.relu, functional.relu_)
FRESH = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear,
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d,
)  # fmt: skip
"""Layers whose result is new memory, which nobody else can look at once it is overwritten."""
TABLES = ("_parameters", "_buffers", "_modules")
SWAPPED = "_relu_after"
MARK = "_poolwise"


class _Alone(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


class Untraceable(Exception):  # noqa: N818 - an answer, not a fault
    """Why a module's `forward` is not rewritten."""


def _trace(module: nn.Module) -> fx.Graph:
    """The graph of a module's own `forward`; raises `Untraceable`."""
    forward = type(module).forward
    if "forward" in vars(module):
        raise Untraceable("its forward was replaced on the object")
    if any(p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in _parameters(forward)):
        raise Untraceable("its forward has optional arguments, of which a trace sees one case")
    if hasattr(forward, "__wrapped__") or any(_has_block(code) for code in reached(forward, type(module))):
        raise Untraceable("its forward has a with block or a decorator, which a trace forgets")
    training, before = module.training, remember(module)
    try:
        graphs = []
        for module.training in (True, False):
            graphs.append(_Alone().trace(module))
    except Exception as error:  # whatever a forward does when it is given proxies
        said = str(error).strip().splitlines()
        raise Untraceable(f"it cannot be traced: {said[0] if said else type(error).__name__}") from None
    finally:
        module.training = training
        wrote = put_back(module, before)
    if wrote:
        raise Untraceable("its forward writes to the module or makes constants")
    if str(graphs[0]) != str(graphs[1]):
        raise Untraceable("its forward depends on self.training, of which a trace sees one case")
    return graphs[0]


def _has_block(code: types.CodeType) -> bool:
    names = ("BEFORE_WITH", "SETUP_WITH", "LOAD_SPECIAL")  # as the versions of Python call it
    return any(step.opname in names for step in dis.get_instructions(code))


def _parameters(forward: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(forward).parameters.values())[1:]


def remember(module: nn.Module) -> tuple[dict[str, Any], ...]:
    """What `put_back` needs."""
    return dict(vars(module)), *(dict(vars(module)[name]) for name in TABLES)


def put_back(module: nn.Module, before: tuple[dict[str, Any], ...]) -> bool:
    """Make a module's attributes and children what they were; True where something had changed."""
    changed = False
    for now, then in zip((vars(module), *(before[0][name] for name in TABLES)), before, strict=True):
        if list(now) != list(then) or any(now[key] is not value for key, value in then.items()):
            changed = True
            now.clear()
            now.update(then)
    return changed


def _write(module: nn.Module, graph: fx.Graph) -> None:
    graph.lint()
    made = type(fx.GraphModule(module, graph)).forward
    setattr(made, MARK, True)
    vars(module)["forward"] = types.MethodType(made, module)


def rewrite(module: nn.Module, name: str, functions: set[str], relu: bool) -> Iterator[Row]:
    """Exchange the named functions, which this package has, in a module's `forward` and, if asked, move ReLU; a row for
    each change or refusal."""
    if not is_own_code(module):
        return
    pools = [child for child in module.children() if _is_max(child)]
    if not functions and not (relu and (pools or mentioned(module))):
        return
    try:
        graph = _trace(module)
    except Untraceable as reason:
        yield from (Row(name, f"{called}()", reason=str(reason)) for called in sorted(functions))
        if relu and pools:
            yield Row(name, "ReLU before max pooling, if any", reason=str(reason))
        return
    rows = [*(_move(graph, module, name) if relu else ()), *_exchange(graph, name, functions)]
    if any(row.replaced for row in rows):
        _write(module, graph)
    yield from rows


def _exchange(graph: fx.Graph, name: str, functions: set[str]) -> Iterator[Row]:
    counts = dict.fromkeys(sorted(functions), 0)
    for node in graph.nodes:
        called = FUNCTIONS.get(node.target) if node.op == "call_function" else None
        if called not in functions:
            continue
        counts[called] += 1
        node.kwargs = plain(node.target, node.kwargs)
        node.target = our_function(called)
    for called, count in counts.items():
        if not count:
            yield Row(name, f"{called}()", reason="not called where forward is traced")
            continue
        notes = [f"{count} calls"] if count > 1 else []
        yield Row(name, f"{called}()", f"poolwise.torch.functional.{called}()", notes=notes)


def _move(graph: fx.Graph, module: nn.Module, name: str) -> Iterator[Row]:
    """Every ReLU that only a max pooling sees, behind it."""
    for pool in list(graph.nodes):
        relu = pool.args[0] if pool.args and isinstance(pool.args[0], fx.Node) else None
        if relu is None or not _pools_max(pool, module) or not _is_relu_node(relu, module) or len(relu.users) != 1:
            continue
        if len(pool.all_input_nodes) != 1 or len(relu.all_input_nodes) != 1 or not isinstance(relu.args[0], fx.Node):
            continue
        source = relu.args[0]
        if _in_place(relu, module) and not (len(source.users) == 1 and _is_fresh(source, module)):
            continue
        pool.replace_input_with(relu, source)
        pool.replace_all_uses_with(relu)
        relu.replace_input_with(source, pool)
        pool.append(relu)
        yield Row(name, "ReLU, then max pooling", "max pooling, then ReLU")


def _target(node: fx.Node, module: nn.Module) -> nn.Module | None:
    return module.get_submodule(str(node.target)) if node.op == "call_module" else None


def _is_relu_node(node: fx.Node, module: nn.Module) -> bool:
    layer = _target(node, module)
    if layer is not None:
        return type(layer) is nn.ReLU and not _hooked(layer)
    if node.op == "call_method":
        return node.target in ("relu", "relu_")
    return node.op == "call_function" and node.target in RELUS


def _in_place(node: fx.Node, module: nn.Module) -> bool:
    layer = _target(node, module)
    if layer is not None:
        return bool(layer.inplace)
    named = str(getattr(node.target, "__name__", node.target))
    return named.endswith("_") or bool(node.kwargs.get("inplace") or node.args[1:])


def _is_fresh(node: fx.Node, module: nn.Module) -> bool:
    layer = _target(node, module)
    return type(layer) in FRESH and not _hooked(layer)


def _pools_max(node: fx.Node, module: nn.Module) -> bool:
    layer = _target(node, module)
    if layer is not None:
        return _is_max(layer)
    called = FUNCTIONS.get(node.target) if node.op == "call_function" else None
    if (
        called is None
        or family_of_call(called) not in ("max", "adaptive_max")
        or node.target.__name__.endswith(INDICES)
    ):
        return False
    given = dict(zip(("input", "kernel_size", "stride", "padding", "dilation"), node.args, strict=False)) | node.kwargs
    adaptive = called.startswith("adaptive")
    return adaptive or _no_empty_window(given.get("padding", 0), given.get("dilation", 1))


def _is_max(layer: nn.Module) -> bool:
    """True for a max pooling layer that ReLU may follow."""
    family = family_of(type(layer).__name__) if type(layer) in KINDS or is_ours(layer) else None
    if family is None or family[0] not in ("max", "adaptive_max"):
        return False
    empty = not _no_empty_window(getattr(layer, "padding", 0), getattr(layer, "dilation", 1))
    more = getattr(layer, "output", "values") != "values" or getattr(layer, "nan", "propagate") != "propagate"
    more |= getattr(layer, "empty", None) is not None
    return not (empty or more or layer.return_indices or _hooked(layer) or "forward" in vars(layer))


def _no_empty_window(padding: Any, dilation: Any) -> bool:
    """A window that sees padding only gives -inf, which ReLU behind it would make 0: only a dilated one can."""
    return not any(_numbers(padding)) or all(n == 1 for n in _numbers(dilation))


def _numbers(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _hooked(layer: nn.Module | None) -> bool:
    """Hooks would see other values once the order changes."""
    return any(value for key, value in vars(layer).items() if "hook" in key)


def move_relu(module: nn.Module, name: str) -> Iterator[Row]:
    """The same in an `nn.Sequential`, whose order is its code: the two layers change places."""
    if getattr(type(module), "forward", None) is not nn.Sequential.forward or "forward" in vars(module):
        return
    keys = list(module._modules)
    swapped = []
    for before, at, after in zip([None, *keys], keys, keys[1:], strict=False):
        relu, pool = module._modules[at], module._modules[after]
        if type(relu) is not nn.ReLU or _hooked(relu) or pool is None or not _is_max(pool):
            continue
        source = module._modules[before] if before is not None else None
        if relu.inplace and not (type(source) in FRESH and not _hooked(source)):
            continue
        module._modules[at], module._modules[after] = pool, relu
        swapped.append((at, after))
        inside = ".".join(filter(None, (name, at)))
        yield Row(inside, "ReLU, then max pooling", "max pooling, then ReLU")
    if swapped:
        vars(module)[SWAPPED] = vars(module).get(SWAPPED, []) + swapped


def restore(module: nn.Module) -> None:
    """Take back what `rewrite` and `move_relu` did to one module."""
    if getattr(vars(module).get("forward"), MARK, False):
        del vars(module)["forward"]
    for at, after in reversed(vars(module).pop(SWAPPED, [])):
        table = module._modules
        if {at, after} <= set(table):
            table[at], table[after] = table[after], table[at]
