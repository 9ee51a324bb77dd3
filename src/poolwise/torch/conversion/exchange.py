"""`convert` and `revert`."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from ...messages import refuse, refuse_type, shown
from .calls import family_of_call, mentioned, our_function
from .graph import move_relu, put_back, remember, restore, rewrite
from .layers import KINDS, check_pools, check_to, describe, drop_in, family_of, is_ours, original, other, put_in_place
from .probe import Call, Example, Run, compare, failed, run, timed
from .report import Report, Row

__all__ = ["convert", "revert"]

NETWORK = 16
"""How much further apart the outputs of a whole network may be than those of one layer: later layers add to a rounding."""


def convert(
    model: nn.Module,
    *,
    pools: str | Iterable[str] | None = None,
    to: Mapping[str, str] | None = None,
    inplace: bool = False,
    example: Any = None,
    measure: bool = True,
    functional: bool = False,
    relu_after_max: bool = False,
    report: bool = True,
) -> Any:
    """Exchange a network's pooling layers for this package's, checked and measured on an example.

    Layers of exactly torch's types are replaced by the layer of the same name with the same arguments; hooks, the
    training flag and whatever was written on a layer move over, and a layer that stands in several places is one layer
    afterwards. Subclasses, layers that pool quantised tensors and scripted ones stay, and the report says why. Parameters, buffers and the
    names in `state_dict` are those of before. `revert` undoes it.

    With an example the model is run before and after, in evaluation mode and without gradients: a layer whose result
    differs from torch's stays torch's, one that is slower than torch's by more than the noise does too, and if the
    outputs still differed all would be taken back and a ValueError raised. Max pooling has the same bits; averages and
    norms are equal up to the rounding of their sums. Without an example nothing is checked or measured.

    Parameters
    ----------
    model : torch.nn.Module
        Takes ``(N, C, *spatial)`` maps, or whatever its example is.
    pools : str or iterable of str, optional
        What to replace: ``"max"``, ``"avg"``, ``"lp"``, ``"adaptive_max"``, ``"adaptive_avg"``, ``"fractional_max"``,
        ``"max_unpool"``. All by default.
    to : mapping of str to str, optional
        Operators to replace by others over the same windows: ``{"max": "max_blur"}``, ``{"max": "avg"}``,
        ``{"avg": "blur"}``, ... Window, stride, padding, dilation and ceil mode are kept; an average that replaces
        another operator leaves the padding out, and norms are Euclidean. Of the result only the shape can be checked.
    inplace : bool
        Change the model itself instead of a copy. Where the model is a pooling layer itself, what is returned counts.
    example : tensor, tuple or mapping, optional
        Arguments of one call of the model.
    measure : bool
        With an example, time each layer on its own input, with its gradient where it is in training mode, and keep
        torch's where that is faster.
    functional : bool
        Replace calls of torch's pooling functions in the `forward` of modules that `torch.fx` can trace. A rewritten
        `forward` belongs to the object: it is copied with it, but a pickled model has its class's again.
    relu_after_max : bool
        Let ReLU follow max pooling instead of preceding it where nothing else sees what is between them: in
        `nn.Sequential` and in each `forward` that can be traced. The two commute: values and gradients are equal, NaN
        and ties included; only the sign of a zero can differ, where -0.0 is the largest of a window. A `forward` that
        takes such a Sequential apart would see the layers in their new order.
    report : bool
        Return the report too.

    Returns
    -------
    model : torch.nn.Module
        The copy, or the model itself.
    report : Report
        Unless ``report=False``: a row for each pooling layer and call, with what was replaced, what was not and why.
        It prints as a table, and `as_dict` gives plain values.

    Raises
    ------
    TypeError
        For what is no torch model, or arguments of the wrong kind.
    ValueError
        For unknown names in `pools` or `to`, a layer that `to` cannot replace, an example that the model does not take,
        and outputs that differ. The model is then as it was.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.MaxPool2d(2))
    >>> net, report = pt.convert(net, example=torch.zeros(1, 3, 9, 9), measure=False)
    >>> net[1], report.equal
    (MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False), True)
    """
    if not isinstance(model, nn.Module):
        raise refuse_type("convert", "this is not a torch model", got=shown(model), expected="a torch.nn.Module",
                          hint="convert(net)")  # fmt: skip
    work = _Work(check_pools(pools), check_to(to), functional, relu_after_max)
    given = None if example is None else Example.of(example)
    target = model if inplace else _copy(model)
    result, found = work.do(target, given, measure and given is not None)
    return (result, found) if report else result


def revert(model: nn.Module) -> nn.Module:
    """Undo `convert`: the layers that were there before, the very objects, with their present hooks and training flag.

    Changes the model itself and returns it; a model that was not converted stays as it is. Of a converted copy the
    layers are those of the copy.

    Parameters
    ----------
    model : torch.nn.Module
        What `convert` returned, any part of it, or anything that holds it.

    Returns
    -------
    torch.nn.Module
        The model, or the layer that it stands for where it is a replaced layer itself.

    Raises
    ------
    TypeError
        For what is no torch model.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> net = torch.nn.Sequential(torch.nn.MaxPool2d(2))  # (N, C, H, W) -> (N, C, H // 2, W // 2)
    >>> pool = net[0]
    >>> net = pt.convert(net, inplace=True, report=False)
    >>> pt.revert(net)[0] is pool
    True
    """
    if not isinstance(model, nn.Module):
        raise refuse_type("revert", "this is not a torch model", got=shown(model), expected="a torch.nn.Module",
                          hint="revert(net)")  # fmt: skip
    for module in model.modules():
        restore(module)
    changes = {layer: original(layer) for layer in model.modules() if original(layer) is not layer}
    return put_in_place(model, changes, undo=True)


def _copy(model: nn.Module) -> nn.Module:
    """A deep copy. Tensors that are the result of a computation (weight norm's weights) are copied as values."""
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in (*vars(module).values(), *module._buffers.values()):
            if isinstance(value, torch.Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:
        raise refuse("convert", "the model cannot be copied", got=f"{type(error).__name__}: {error}",
                     expected="a model that copy.deepcopy takes", hint="inplace=True, which revert undoes") from error  # fmt: skip


class _Work:
    """One conversion: which layers, then what the example says of them, then the exchange."""

    def __init__(self, pools: tuple[str, ...], to: dict[str, str], functional: bool, relu: bool) -> None:
        self.pools, self.to, self.functional, self.relu = pools, to, functional, relu
        self.rows: dict[nn.Module, Row] = {}
        self.new: dict[nn.Module, nn.Module] = {}
        self.exchanged: set[nn.Module] = set()
        self.calls: list[Row] = []
        self.measured: dict[tuple[str, str], Row] = {}

    def do(self, model: nn.Module, example: Example | None, measure: bool) -> tuple[nn.Module, Report]:
        self.choose(model, example is not None)
        names = {module: name for name, module in model.named_modules()}
        before = Run(functions={(module, name): {} for module in names for name in mentioned(module)})
        if example is not None:
            try:
                before = run(model, example, set(self.new))
            except Exception as error:
                raise failed(error, "") from error
        self.examine(before, example is not None, measure)
        wanted = self.sort_calls(before, names, measure)
        state = {module: remember(module) for module in names if not isinstance(module, torch.jit.ScriptModule)}
        try:
            changed = put_in_place(model, self.new)
            self.rewrite(changed, wanted)
            found = Report([*self.rows.values(), *self.calls])
            if example is not None:
                self.check(changed, example, before, found)
        except BaseException:
            for module, then in state.items():
                put_back(module, then)
            raise
        return changed, found

    def choose(self, model: nn.Module, seen: bool) -> None:
        """A row for each pooling layer, and what shall stand in its place; `seen` where an example will be run."""
        quantised = any(".quantized." in type(module).__module__ for module in model.modules())
        for name, layer in model.named_modules(remove_duplicate=False):
            if layer in self.rows:
                row = self.rows[layer]
                row.also = (*row.also, name)
                continue
            family = (family_of(type(layer).__name__) or ("", 0))[0]
            if family in self.to and (type(layer) in KINDS or is_ours(layer)):
                new: nn.Module | str | None = other(layer, name, family, self.to[family])
                self.exchanged.add(layer)
            elif type(layer) in KINDS and family not in self.pools:
                new = f"pools= does not name {family}"
            else:
                new = drop_in(layer)
            if new is None:
                continue
            if quantised and not seen:
                new = "quantised layers are in the model: only an example shows whether this one pools their tensors"
            self.rows[layer] = Row(name, describe(layer))
            if isinstance(new, str):
                self.rows[layer].reason = new
                continue
            shown_as = describe(new) if layer in self.exchanged else type(new).__name__
            self.rows[layer].new, self.new[layer] = f"poolwise.torch.{shown_as}", new

    def examine(self, before: Run, ran: bool, measure: bool) -> None:
        """Compare and time each new layer on what the old one was given, and drop those that lose."""
        for layer, new in list(self.new.items()):
            row, calls = self.rows[layer], list(before.layers.get(layer, {}).values())
            if ran and not calls:
                row.notes.append("not called by the example: neither compared nor measured")
            exchanged = layer in self.exchanged
            wrong = _compare(layer.forward, new.forward, calls, row, exchanged)
            if wrong is None and measure and not exchanged:
                wrong = _measure(layer.forward, new.forward, calls, layer.training, row)
            if wrong is not None:
                row.new, row.reason, row.notes = None, wrong, []
                del self.new[layer]

    def sort_calls(self, before: Run, names: dict[nn.Module, str], measure: bool) -> dict[nn.Module, set[str]]:
        """Which functions are to be exchanged in which module; a row for each of the others."""
        wanted: dict[nn.Module, set[str]] = {}
        for (module, name), found in before.functions.items():
            row, calls = Row(names[module], f"{name}()"), list(found.values())
            family, ours, torchs = family_of_call(name), our_function(name), getattr(torch.nn.functional, name)
            if family not in self.pools:
                row.reason = f"pools= does not name {family}"
            elif family in self.to:
                row.reason = "to= replaces layers; this is a call in forward"
            elif not self.functional:
                row.reason = "a call in forward, which functional=True replaces"
            elif ours is None:
                row.reason = f"poolwise.torch.functional has no {name}"
            else:
                row.reason = _compare(torchs, ours, calls, row)
                if row.reason is None and measure:
                    row.reason = _measure(torchs, ours, calls, module.training, row)
            if row.reason is None:
                wanted.setdefault(module, set()).add(name)
                self.measured[row.name, row.old] = row
            else:
                row.notes = []
                self.calls.append(row)
        return wanted

    def rewrite(self, model: nn.Module, wanted: dict[nn.Module, set[str]]) -> None:
        for name, module in model.named_modules():
            if self.relu:
                self.calls += move_relu(module, name)
            if self.relu or module in wanted:
                self.calls += rewrite(module, name, wanted.get(module, set()), self.relu)
        for row in self.calls:
            before = self.measured.get((row.name, row.old), row)
            row.torch_ms, row.poolwise_ms = before.torch_ms, before.poolwise_ms
            row.notes += [note for note in before.notes if note not in row.notes]

    def check(self, model: nn.Module, example: Example, before: Run, found: Report) -> None:
        exchanged = bool(self.exchanged & set(self.new))
        try:
            after = run(model, example)
        except Exception as error:
            raise failed(error, " any more once it is converted") from error
        difference = compare(before.output, after.output, NETWORK, shapes_only=exchanged)
        if difference.wrong is not None:
            raise refuse("convert", "the outputs on the example differ; nothing was changed", got=difference.wrong,
                         expected="what the model gave before", hint="pools=, to= or the options with fewer changes")  # fmt: skip
        found.equal = difference.same_bits
        if difference.same_bits:
            found.checked = "outputs on the example have the same bits"
        elif exchanged:
            found.checked = "outputs on the example have the same shapes; operators were exchanged, so values differ"
        else:
            found.checked = f"outputs on the example are equal up to rounding ({difference.largest:.1g} of the largest)"


def _compare(torchs: Any, ours: Any, calls: list[Call], row: Row, exchanged: bool = False) -> str | None:
    """Note on the row how results compare; the reason to keep torch's where they are not equal."""
    for call in calls:
        try:
            results = [call.result(function) for function in (torchs, ours)]
        except Exception as error:
            return f"poolwise refuses what torch takes: {str(error).splitlines()[0]}"
        difference = compare(*results, shapes_only=exchanged)
        if difference.wrong is not None and not exchanged:
            return f"its result differs from torch's: {difference.wrong}"
        if difference.wrong is not None:
            row.notes.append(f"another shape: {difference.wrong}")
        elif not exchanged and not difference.same_bits:
            row.notes.append(f"equal up to rounding ({difference.largest:.1g})")
    return None


def _measure(torchs: Any, ours: Any, calls: list[Call], grad: bool, row: Row) -> str | None:
    """Write both times to the row; the reason to keep torch's where it is faster by more than the noise."""
    if not calls:
        return None
    sums = np.zeros((2, 3))
    for call in calls:
        sums += call.times * np.array(timed(torchs, ours, call, grad))
    row.torch_ms, row.poolwise_ms = (float(median) * 1e3 for median in sums[:, 1])
    if sums[1, 0] > sums[0, 2]:  # the lower quartile of this package's above the upper one of torch's
        return "torch's own is faster on this input"
    return None
