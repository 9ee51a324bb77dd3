"""Layer by layer: shapes, reduction, receptive field and cost of any torch network, and what its pooling saves.

A network is run once, while every operation of torch is seen. Where its windows lie is never worked out here: poolings and
convolutions are `poolwise.geometry`'s. This file does not import torch; the rest of the folder does.
"""

from __future__ import annotations

from typing import Any

from .result import Layer, Trace, Undecimated

__all__ = ["Layer", "Trace", "Undecimated", "inspect", "trace"]


def trace(model: Any, example: Any, *, undecimated: bool = False) -> Trace:
    """Run a torch model once and say what each layer does, through branches, residuals and functional calls.

    Parameters
    ----------
    model : torch.nn.Module
        Run in evaluation mode, without gradients, and left as it was.
    example : sequence of int, tensor, or tuple of tensors
        The shape of the input, ``(N, C, *spatial)``, which is filled with zeros; or the input; or all inputs. A shape of two
        numbers is read as features ``(N, C)``, which have no axes; integer tokens ``(N, L)`` are given as a tensor.
    undecimated : bool, default False
        Also follow the network with every pooling stride set to 1, without computing anything.

    Returns
    -------
    Trace

    Raises
    ------
    TypeError
        Where the model is no torch model, or the example no input.
    ValueError
        Where the model fails on this input; with the layer that failed.

    Notes
    -----
    A receptive field is exact for every operation that has a rule, which is told apart from one that has none: that is taken
    to see everything (`Layer.assumed`). Dependence means that a value is computed from another, whatever the weights: a mask
    hides nothing. Operations that depend on no input are left out, unless they multiply.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 6, 5), pt.AvgPool2d(2), torch.nn.Conv2d(6, 16, 5), pt.AvgPool2d(2))
    >>> trace(model, (1, 1, 32, 32)).layers[-1].receptive_field
    (16, 16)
    """
    from .run import follow

    return follow(model, example, undecimated)


def inspect(model: Any, example: Any) -> Trace:
    """What every layer of a torch model sees and costs, and what its pooling saves; printed, a table.

    Parameters
    ----------
    model : torch.nn.Module
        Run in evaluation mode, without gradients, and left as it was.
    example : sequence of int, tensor, or tuple of tensors
        The shape of the input, ``(N, C, *spatial)``, which is filled with zeros; or the input; or all inputs.

    Returns
    -------
    Trace
        `layers`, totals, and `undecimated`: the same network with every pooling stride set to 1.

    Raises
    ------
    TypeError
        Where the model is no torch model, or the example no input.
    ValueError
        Where the model fails on this input.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 6, 5), pt.MaxPool2d(2), torch.nn.Conv2d(6, 16, 5))
    >>> found = inspect(model, (1, 1, 32, 32))
    >>> found.multiply_adds, found.pool_operations, found.undecimated.multiply_adds
    (357600, 4704, 1387200)
    """
    return trace(model, example, undecimated=True)
