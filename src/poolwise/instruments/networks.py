"""What every instrument does with a network: find a layer, read its map, hand it images, leave it as it was.

All refusals of a network, a layer or images that do not fit are worded here, once.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..messages import refuse, refuse_type, shown

__all__ = [
    "as_images", "as_labels", "captured", "check_model", "check_shift", "evaluating", "layer_names", "map_from", "map_shapes", "maps",
    "module_named", "plain", "predictions", "run", "scores",
]  # fmt: skip


def plain(value: Any) -> np.ndarray:
    """A tensor or array as a NumPy array."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)


def check_model(where: str, model: Any) -> None:
    """Refuse what is not a torch module."""
    import torch

    if not isinstance(model, torch.nn.Module):
        raise refuse_type(
            where, "this is not a torch model", got=shown(model), expected="a torch.nn.Module",
            hint="torch.nn.Sequential(...)",
        )  # fmt: skip


def as_images(where: str, model: Any, images: Any) -> Any:
    """Images as a float tensor where the model is, checked: ``(n, channels, *spatial)``, at least one, all finite."""
    import torch

    check_model(where, model)
    if isinstance(images, torch.Tensor):
        x = images.detach()
    else:
        array = np.asarray(images)
        if array.dtype.kind not in "fiub":
            raise refuse_type(
                where, "these are not images", got=shown(images), expected="an array or tensor of numbers",
                hint="numpy.stack of images of one size",
            )  # fmt: skip
        # torch warns about arrays that it must not write to, although nothing here would.
        x = torch.from_numpy(
            array if array.flags.writeable and array.dtype.isnative else array.astype(array.dtype.name)
        )
    if x.ndim < 3:
        raise refuse(
            where, "images have too few axes", got=f"shape {tuple(x.shape)}", expected="(n, channels, *spatial)",
            hint="x[:, None] adds the channel of grey images",
        )  # fmt: skip
    if not x.numel():
        raise refuse(
            where, "there are no images", got=f"shape {tuple(x.shape)}", expected="at least one image with pixels",
            hint="another part of the data",
        )  # fmt: skip
    if not x.is_floating_point():
        raise refuse_type(
            where, "images are whole numbers", got=f"dtype {str(x.dtype).removeprefix('torch.')}",
            expected="floats, scaled as the model was trained", hint="images / 255",
        )  # fmt: skip
    first = next((p for p in model.parameters()), None)
    x = x.float() if first is None else x.to(first.device, first.dtype)
    if not bool(torch.isfinite(x).all()):
        bad = int((~torch.isfinite(x)).flatten(1).any(1).sum())
        raise refuse(
            where, "images hold NaN or infinity", got=f"{bad} such images of {len(x)}", expected="finite numbers",
            hint="torch.nan_to_num(images), or leave them out",
        )  # fmt: skip
    return x


def as_labels(where: str, images: Any, labels: Any) -> Any:
    """Class numbers as an int64 tensor beside their images."""
    import torch

    array = plain(labels)
    if array.dtype.kind not in "iu" or array.ndim != 1 or len(array) != len(images) or (array < 0).any():
        raise refuse(
            where, "labels do not fit the images",
            got=f"labels of shape {array.shape} and dtype {array.dtype} for {len(images)} images",
            expected="one whole number from 0 for each image", hint="y of shape (n,)",
        )  # fmt: skip
    return torch.from_numpy(array.astype(np.int64)).to(images.device)


def check_shift(where: str, shift: Any, sizes: Sequence[int]) -> int:
    """A shift in pixels, checked against the spatial sizes of the images."""
    whole = isinstance(shift, (int, np.integer)) and not isinstance(shift, bool)
    if not whole or not 1 <= shift < min(sizes):
        raise refuse(
            where, "a shift does not fit the images", got=f"shift {shown(shift)} for images of {tuple(sizes)}",
            expected=f"a whole number of pixels from 1 to {min(sizes) - 1}", hint="shift 1",
        )  # fmt: skip
    return int(shift)


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Evaluation mode inside; afterwards every module is in the mode in which it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def layer_names(model: Any) -> dict[str, Any]:
    """All modules by the names that `trace` gives them: their path; the model itself by its class."""
    return {name or type(model).__name__: module for name, module in model.named_modules()}


def module_named(where: str, model: Any, layer: Any) -> Any:
    """The module of that name, or a refusal that names the nearest ones first."""
    check_model(where, model)
    known = layer_names(model)
    if isinstance(layer, str) and layer in known:
        return known[layer]
    near = difflib.get_close_matches(str(layer), known, n=3, cutoff=0.4)
    names = [*near, *(name for name in known if name not in near)]
    raise refuse(
        where, "the model has no such layer", got=f"layer {shown(layer)}",
        expected=f"one of {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}", hint=f"layer={names[0]!r}",
    )  # fmt: skip


@contextmanager
def captured(where: str, model: Any, layers: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The outputs of layers by name, filled when the model runs; of a layer that runs twice, the first."""
    found: dict[str, Any] = {}

    def keep(name: str) -> Any:
        def hook(module: Any, args: Any, y: Any) -> None:
            if not hasattr(y, "clone"):
                raise refuse_type(
                    where, "a layer's output is not one tensor", got=f"{type(y).__name__} from layer {name}",
                    expected="a tensor", hint="a layer inside it",
                )  # fmt: skip
            if name not in found:
                found[name] = y.clone()  # the next layer may write over it, as ReLU(inplace=True) does

        return hook

    handles = [module_named(where, model, name).register_forward_hook(keep(name)) for name in dict.fromkeys(layers)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def run(where: str, model: Any, x: Any) -> Any:
    """The model's answer; where it cannot take images of this shape, a refusal that says so."""
    import torch

    try:
        return model(x)
    except torch.cuda.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        if reason.startswith(f"{where}:"):  # our own, from a hook
            raise
        raise refuse(
            where, "the model does not take these images", got=f"images of shape {tuple(x.shape)}: {reason}",
            expected="(n, channels, *spatial) as the model's first layer wants it", hint="images of the trained size",
        ) from error  # fmt: skip


def maps(where: str, model: Any, x: Any, layers: Sequence[str], batch: int) -> Iterator[dict[str, Any]]:
    """Outputs of the layers, a batch of images at a time, without gradients and in evaluation mode."""
    import torch

    with captured(where, model, layers) as found, evaluating(model), torch.no_grad():
        for part in x.split(batch):
            found.clear()
            run(where, model, part)
            yield {name: _of(where, found, name) for name in layers}


def map_shapes(where: str, model: Any, x: Any) -> list[tuple[str, tuple[int, ...]]]:
    """The innermost modules that give maps of more than one position, in the order in which they run, and the shapes."""
    import torch

    order: list[tuple[str, tuple[int, ...]]] = []

    def keep(name: str) -> Any:
        def hook(module: Any, args: Any, y: Any) -> None:
            if getattr(y, "ndim", 0) == x.ndim and math.prod(y.shape[2:]) > 1:
                order.append((name, tuple(y.shape[1:])))

        return hook

    leaves = [(name, module) for name, module in layer_names(model).items() if not any(module.children())]
    handles = [module.register_forward_hook(keep(name)) for name, module in leaves]
    try:
        with evaluating(model), torch.no_grad():
            run(where, model, x[:1])
    finally:
        for handle in handles:
            handle.remove()
    return order


def map_from(where: str, x: Any, found: dict[str, Any], name: str) -> Any:
    """A layer's captured output, refused where it is no longer a map."""
    y = _of(where, found, name)
    if y.ndim != x.ndim or not y.numel():
        raise refuse(
            where, "a layer's output is not a map", got=f"layer {name!r}: shape {tuple(y.shape)}",
            expected=f"(n, channels, {x.ndim - 2} spatial axes)", hint="a layer before the classifier's flattening",
        )  # fmt: skip
    return y


def _of(where: str, found: dict[str, Any], name: str) -> Any:
    if name not in found:
        raise refuse(
            where, "a layer was not run", got=f"layer {name!r}", expected="a layer that the model calls",
            hint="the layer around it",
        )  # fmt: skip
    return found[name]


def scores(where: str, model: Any, x: Any) -> Any:
    """The model's answer to a batch, checked: ``(n, classes)``."""
    y = run(where, model, x)
    shape = tuple(getattr(y, "shape", ()))
    if len(shape) != 2 or shape[0] != len(x):
        raise refuse(
            where, "the model does not classify", got=f"{type(y).__name__} of shape {shape} for {len(x)} images",
            expected="(n, classes) scores", hint="a model that ends in global pooling, Flatten and Linear",
        )  # fmt: skip
    return y


def predictions(where: str, model: Any, x: Any, batch: int) -> np.ndarray:
    """The class with the largest score for each image, ``(n,)``. The model must be in evaluation mode already."""
    import torch

    with torch.no_grad():
        return np.concatenate([plain(scores(where, model, part).argmax(1)) for part in x.split(batch)])
