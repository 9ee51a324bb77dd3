"""What a unit really sees: the gradient of a layer's central unit with respect to the picture."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..messages import refuse
from .networks import as_images, captured, evaluating, map_from, map_shapes, module_named, run
from .places import box_of

__all__ = ["THRESHOLD", "EffectiveField", "effective_field", "field_picture"]

THRESHOLD = 1 - 0.9545
"""Share of the peak above which an input position counts: two standard deviations, as in the paper."""


@dataclass(frozen=True)
class EffectiveField:
    """How much each input position moves one unit of a layer."""

    layer: str
    map: np.ndarray
    """``(*spatial)`` float64, as large as the image: mean absolute gradient, its largest value 1 (all 0 where there is
    no gradient at all)."""
    unit: tuple[int, ...]
    """Position of the unit in the layer's map."""
    count: int
    """Input positions above `THRESHOLD`."""
    theoretical: tuple[int, ...] | None
    """Input elements per axis that the unit can depend on, inside the image. `None` where `trace` cannot say."""
    images: int

    @property
    def side(self) -> float:
        """Pixels along one side of the square (line, cube) that has as many positions: the paper's ERF size."""
        return float(self.count ** (1 / self.map.ndim))

    @property
    def share(self) -> float:
        """Of the positions that the unit can depend on, or of the whole image where those are not known."""
        return self.count / math.prod(self.theoretical or self.map.shape)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, without the map."""
        return {
            "layer": self.layer, "unit": list(self.unit), "side": self.side, "count": self.count, "share": self.share,
            "theoretical": None if self.theoretical is None else list(self.theoretical), "images": self.images,
        }  # fmt: skip


def effective_field(model: Any, images: Any, layer: str | None = None, batch: int = 64) -> EffectiveField:
    """Effective receptive field of a layer's central unit, averaged over images.

    ``map[p] = mean over images and input channels of abs(d sum_c y[c, centre] / d x[p])``, divided by its peak. As in the
    paper, the gradient that is sent back is 1 at the centre of the map, here in each of its channels, and 0 elsewhere;
    nothing is drawn at random, so the same images give the same map. The size is the root of the number of positions whose
    value exceeds `THRESHOLD` (4.55 %) of the peak; the paper takes the value at the centre, which in its networks is the
    peak, but even windows have no centre.

    Where a map has an even number of rows or columns, the unit just after the middle is taken: two units together would
    see more than one does.

    Parameters
    ----------
    model : torch.nn.Module
        Run in evaluation mode and left as it was.
    images : torch.Tensor or numpy.ndarray, ``(n, channels, *spatial)``
        Floats, as the model expects them.
    layer : str, optional
        Name of a module whose output is a map. By default the last module whose map is larger than one position.
    batch : int
        Images per call of the model.

    Returns
    -------
    EffectiveField

    Raises
    ------
    ValueError
        For a layer that does not exist or whose output is no map, and for images that the model does not take.

    References
    ----------
    Luo, Li, Urtasun, Zemel, "Understanding the effective receptive field in deep convolutional neural networks",
    NeurIPS 2016.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> field = effective_field(torch.nn.Sequential(pt.BlurPool2d(3, 1)), torch.zeros(1, 1, 7, 7), "0")
    >>> field.map[3]
    array([0. , 0. , 0.5, 1. , 0.5, 0. , 0. ])
    >>> field.side, field.theoretical, field.share
    (3.0, (3, 3), 1.0)
    """
    import torch

    where = "effective_field"
    x = as_images(where, model, images)
    name = _last_map(where, model, x) if layer is None else layer
    module_named(where, model, name)
    total = torch.zeros(x.shape[2:], dtype=torch.float64, device=x.device)
    unit: tuple[int, ...] = ()
    frozen = [(p, p.requires_grad) for p in model.parameters()]
    with captured(where, model, [name]) as found, evaluating(model), torch.enable_grad():
        try:
            for parameter, _ in frozen:
                parameter.requires_grad_(False)  # their gradients would cost as much again
            for part in x.split(batch):
                part = part.clone().requires_grad_()
                found.clear()
                run(where, model, part)
                y = map_from(where, x, found, name)
                unit = tuple(length // 2 for length in y.shape[2:])
                seen = y[(slice(None), slice(None), *unit)].sum()
                gradient = torch.autograd.grad(seen, part)[0] if seen.requires_grad else torch.zeros_like(part)
                total += gradient.abs().double().sum(dim=(0, 1))
        finally:
            for parameter, wanted in frozen:
                parameter.requires_grad_(wanted)
    field = total.cpu().numpy()
    peak = float(field.max())
    if not math.isfinite(peak):
        raise refuse(
            where, "gradients are not finite", got=f"a peak of {peak}", expected="finite gradients",
            hint="look at the model's parameters for NaN",
        )  # fmt: skip
    field = field / peak if peak > 0 else field
    box = box_of(model, tuple(x.shape), name, unit)
    theoretical = None if box is None else tuple(end - first for first, end in box)
    return EffectiveField(name, field, unit, int((field > THRESHOLD).sum()), theoretical, len(x))


def _last_map(where: str, model: Any, x: Any) -> str:
    order = map_shapes(where, model, x)
    if not order:
        raise refuse(
            where, "no layer gives a map", got=f"images of shape {tuple(x.shape)}",
            expected="a layer whose output has spatial axes longer than 1", hint="layer=...",
        )  # fmt: skip
    return order[-1][0]


def field_picture(field: np.ndarray, title: str = "") -> bytes:
    """A field as a PNG: the map in colours, with its peak at the bright end. Needs matplotlib.

    Parameters
    ----------
    field : numpy.ndarray, ``(height, width)``, ``(length,)`` or ``(depth, height, width)``
        `EffectiveField.map`. Of three axes the largest value along the first is shown.
    title : str

    Returns
    -------
    bytes
        A PNG file.

    Examples
    --------
    >>> import numpy as np
    >>> field_picture(np.eye(5))[1:4]
    b'PNG'
    """
    from matplotlib.figure import Figure

    field = np.asarray(field, dtype=np.float64)
    figure = Figure(figsize=(3.2, 3.4), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    if field.ndim == 1:
        axes.plot(field)
    else:
        flat = field.reshape(-1, *field.shape[-2:]).max(0)
        axes.imshow(flat, cmap="magma", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=7)
    stream = io.BytesIO()
    # Without the version of matplotlib in it, the same field gives the same bytes.
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
