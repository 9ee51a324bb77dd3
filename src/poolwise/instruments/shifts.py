"""How much a feature map changes when the picture moves by a few pixels."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..messages import refuse, shown
from ..ops import BY_NAME, OPS
from ..recipes import max_blur_pool
from ..verbs import pool
from .networks import as_images, check_shift, map_from, maps, module_named, plain
from .places import jump_of

__all__ = ["OPERATORS", "map_change", "operator_change"]

OPERATORS = (*(op.name for op in OPS), "max_blur", "subsample")
"""What `operator_change` measures: every operator, blurred maxima, and no pooling at all, only every n-th pixel."""

Change = dict[str, dict[int, float]]


def map_change(
    model: Any, images: Any, shifts: Sequence[int], layers: Sequence[str], aligned: bool = False, batch: int = 64
) -> Change:
    """Relative L2 change of feature maps under circular shifts of the image.

    ``norm(f(T x) - f(x)) / norm(f(x))``, averaged over images and over the directions along the axes (for pictures: up,
    down, left and right). The shift T is circular, so that nothing new comes in at the border and whatever changes is the
    network's doing, its zero padding included. A map whose content merely moves along changes too; what is left when
    the map is moved back is `aligned`.

    Parameters
    ----------
    model : torch.nn.Module
        Run in evaluation mode and left as it was.
    images : torch.Tensor or numpy.ndarray, ``(n, channels, *spatial)``
        Floats.
    shifts : sequence of int
        Pixels: from 1, smaller than every axis.
    layers : sequence of str
        Names of modules. Unless `aligned`, an output of any shape will do, such as the scores.
    aligned : bool
        Compare with the map moved by as much as it should (``shift / jump`` positions): 0 is equivariance. Directions in
        which that is not a whole number are left out, and shifts for which none is left have no entry. Exact only where
        the map's length times the jump is the image's.
    batch : int
        Images per call of the model.

    Returns
    -------
    dict
        Of each layer, the change for each shift. 0 where both maps are all zero; infinite where only ``f(x)`` is.

    Raises
    ------
    ValueError
        For layers that do not exist and shifts that do not fit; when `aligned`, also for layers whose jump is not known.

    References
    ----------
    Zhang, "Making convolutional networks shift-invariant again", ICML 2019 (equivariance of internal features). Azulay,
    Weiss, "Why do deep convolutional networks generalize so poorly to small image transformations?", JMLR 2019.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> x = torch.tensor([[[0.0, 1.0, 0.0, 0.0]]])
    >>> map_change(torch.nn.Sequential(pt.MaxPool1d(2)), x, [1, 2], ["0"])["0"][2] == 2**0.5
    True
    >>> map_change(torch.nn.Sequential(pt.MaxPool1d(2)), x, [1, 2], ["0"], aligned=True)
    {'0': {2: 0.0}}
    """
    import torch

    where = "map_change"
    x = as_images(where, model, images)
    shifts = [check_shift(where, shift, x.shape[2:]) for shift in shifts]
    for layer in layers:
        module_named(where, model, layer)
    jumps = {layer: _jump(where, model, x, layer) if aligned else () for layer in layers}
    total: dict[tuple[str, int], float] = dict.fromkeys(itertools.product(layers, shifts), 0.0)
    count = dict.fromkeys(total, 0)
    for part in x.split(batch):
        before = next(maps(where, model, part, layers, len(part)))
        for shift, axis, by in _directions(shifts, x.ndim):
            todo = [layer for layer in layers if not aligned or by % jumps[layer][axis - 2] == 0]
            if not todo:
                continue
            after = next(maps(where, model, torch.roll(part, by, axis), todo, len(part)))
            for layer in todo:
                old = before[layer]
                if aligned:
                    old = torch.roll(map_from(where, x, before, layer), by // jumps[layer][axis - 2], axis)
                total[layer, shift] += float(_relative(old, after[layer]).sum())
                count[layer, shift] += len(part)
    return {
        layer: {shift: total[layer, shift] / count[layer, shift] for shift in shifts if count[layer, shift]}
        for layer in layers
    }


def operator_change(
    images: Any, window: int, stride: int, shifts: Sequence[int], ops: Sequence[str] | None = None
) -> Change:
    """Relative L2 change of a pooled picture under circular shifts of the picture, for each operator alone.

    As `map_change`, with one pooling and no network. What is compared is the pooling of the picture and of the moved
    picture: ``norm(P(T x) - P(x)) / norm(P(x))``.

    Parameters
    ----------
    images : numpy.ndarray or torch.Tensor, ``(n, channels, *spatial)``
        Floats.
    window, stride : int
        The same on all spatial axes. Of ``max_blur`` the window is the maximum's (its filter has 3 taps); of
        ``subsample``, which keeps the first pixel of every stride, the window is 1.
    shifts : sequence of int
        Pixels: from 1, smaller than every axis.
    ops : sequence of str, optional
        From `OPERATORS`; all of them by default.

    Returns
    -------
    dict
        Of each operator, the change for each shift.

    Raises
    ------
    ValueError
        For operators that do not exist, windows and shifts that do not fit.

    References
    ----------
    As `map_change`.

    Examples
    --------
    >>> import numpy as np
    >>> stripes = np.tile([0.0, 1.0], (1, 1, 8, 4))
    >>> operator_change(stripes, 2, 2, [1], ["max", "avg", "subsample"])
    {'max': {1: 0.0}, 'avg': {1: 0.0}, 'subsample': {1: inf}}
    """
    where = "operator_change"
    x = plain(images)
    if x.ndim < 3 or not x.size or x.dtype.kind != "f" or not np.isfinite(x).all():
        raise refuse(
            where, "these are not images", got=f"shape {x.shape}, dtype {x.dtype}",
            expected="finite floats (n, channels, *spatial)", hint="images / 255",
        )  # fmt: skip
    shifts = [check_shift(where, shift, x.shape[2:]) for shift in shifts]
    names = OPERATORS if ops is None else tuple(ops)
    unknown = [name for name in names if name not in OPERATORS]
    if unknown:
        raise refuse(
            where, "there is no such operator", got=shown(unknown[0]), expected=f"some of {', '.join(OPERATORS)}",
            hint="ops=None for all",
        )  # fmt: skip
    found: Change = {}
    for name in names:
        before = _pooled(name, x, window, stride)
        each: dict[int, list[float]] = {shift: [] for shift in shifts}
        for shift, axis, by in _directions(shifts, x.ndim):
            each[shift] += _relative(before, _pooled(name, np.roll(x, by, axis), window, stride)).tolist()
        found[name] = {shift: float(np.mean(changes)) for shift, changes in each.items()}
    return found


def _directions(shifts: Sequence[int], ndim: int) -> Iterator[tuple[int, int, int]]:
    """``(shift, axis, positions to roll)``: both ways along each spatial axis."""
    for shift, axis, sign in itertools.product(shifts, range(2, ndim), (1, -1)):
        yield shift, axis, sign * shift


def _relative(old: Any, new: Any) -> np.ndarray:
    """Of each image, the change as a share of what there was."""
    a, b = (plain(value).astype(np.float64).reshape(len(value), -1) for value in (old, new))
    change, size = np.linalg.norm(b - a, axis=1), np.linalg.norm(a, axis=1)
    return np.divide(change, size, out=np.where(change > 0, np.inf, 0.0), where=size > 0)


def _jump(where: str, model: Any, x: Any, layer: str) -> tuple[Any, ...]:
    one = map_from(where, x, next(maps(where, model, x[:1], [layer], 1)), layer)
    jump = jump_of(model, tuple(x.shape), layer, tuple(one.shape[2:]))
    if jump is None:
        raise refuse(
            where, "how far a layer's map should move is not known", got=f"layer {layer!r}",
            expected="evenly spaced units", hint="aligned=False",
        )  # fmt: skip
    return jump


def _pooled(name: str, x: np.ndarray, window: int, stride: int) -> np.ndarray:
    axes = tuple(range(2, x.ndim))
    if name == "subsample":
        return pool(x, "max", 1, stride=stride, axes=axes)
    if name == "max_blur":
        return max_blur_pool(x, window, stride=stride, axes=axes)
    return pool(x, BY_NAME[name], window, stride=stride, axes=axes)
