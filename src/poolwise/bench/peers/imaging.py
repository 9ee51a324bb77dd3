"""OpenCV, scikit-image, SciPy and tinybrain: libraries of images, most of which filter everywhere and then sample."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..case import FLOATS, Case
from ..inputs import Inputs
from ..oracle import binomial, highest, lowest
from .base import Task, Unable

__all__ = ["OpenCV", "SciPy", "ScikitImage", "TinyBrain"]

Array = Any
Function = Callable[[Array], Array]


def _forward_only(case: Case) -> None:
    if case.mode == "indices":
        raise Unable("no positions")
    if case.mode != "forward":
        raise Unable("no gradients")
    if case.dtype == "bfloat16":
        raise Unable("no bfloat16")


def _samples(case: Case, anchor: Callable[[int], int]) -> tuple[slice, ...]:
    """Which positions of a filter's full result are the outputs; `anchor` says which tap sits on the position."""
    cuts = []
    for size, window, step, pad, dilation, many in zip(
        case.spatial, case.window, case.stride, case.padding, case.dilation, case.outputs, strict=True
    ):
        first = anchor(window) * dilation - pad
        last = first + (many - 1) * step
        if first < 0 or last >= size:
            raise Unable("windows that no filter position stands for")
        cuts.append(slice(first, last + 1, step))
    return tuple(cuts)


def _needs_sliding(case: Case, dilated: bool) -> None:
    if case.kind != "sliding":
        raise Unable(f"no {case.kind} windows")
    if not dilated and set(case.dilation) != {1}:
        raise Unable("no dilation")
    if case.op in ("avg", "sum", "lp") and case.ceil_mode:
        raise Unable("no ceil rule for averages")


class SciPy:
    """`scipy.ndimage`: the filter at stride 1 on every plane, then a slice. It has one thread."""

    name, package = "scipy", "scipy"

    def start(self, threads: int) -> str:
        """Import it."""
        import scipy.ndimage

        return scipy.__version__

    def prepare(self, case: Case, inputs: Inputs) -> Sequence[Task]:
        """The separable filter where there is one."""
        _forward_only(case)
        _needs_sliding(case, dilated=case.op in ("max", "min"))
        if case.op == "median" and (any(case.padding) or (case.elements > 169 and case.bytes_in > 1 << 23)):
            raise Unable("padded, or a rank filter of more than a minute")
        cuts = (slice(None), slice(None), *_samples(case, lambda size: size // 2))
        function = _scipy_filter(case)
        x = inputs.x()
        return [Task("ndimage filter, sliced", lambda: function(x)[cuts], lambda y: (y,))]


def _scipy_filter(case: Case) -> Function:
    from scipy import ndimage as ndi

    kind = np.dtype("float32") if case.dtype in FLOATS else np.dtype(case.dtype)
    size = (1, 1, *case.window)
    if case.op in ("max", "min"):
        inner = ndi.maximum_filter if case.op == "max" else ndi.minimum_filter
        value = lowest(kind) if case.op == "max" else highest(kind)
        if set(case.dilation) != {1}:
            taps = np.zeros([d * (k - 1) + 1 for d, k in zip(case.dilation, case.window, strict=True)], bool)
            taps[tuple(slice(None, None, d) for d in case.dilation)] = True
            return lambda x: inner(x, footprint=taps[None, None], mode="constant", cval=value)
        return lambda x: inner(x, size=size, mode="constant", cval=value)
    if case.op == "median":
        return lambda x: ndi.median_filter(x, size=size, mode="nearest")
    if case.op == "blur":
        rows = [(axis + 2, np.array(binomial(window))) for axis, window in enumerate(case.window)]

        def blur(x: Array) -> Array:
            for axis, row in rows:
                x = ndi.correlate1d(x, row, axis, mode="mirror")
            return x

        return blur
    if case.dtype not in FLOATS and case.op != "avg":
        raise Unable(f"no {case.op} of integers")
    if case.op == "avg":
        return lambda x: ndi.uniform_filter(x, size=size, mode="constant")
    many = np.asarray(case.elements, case.dtype)
    if case.op == "sum":
        return lambda x: ndi.uniform_filter(x, size=size, mode="constant") * many
    return lambda x: np.sqrt(ndi.uniform_filter(x * x, size=size, mode="constant") * many)


class ScikitImage:
    """`skimage.measure.block_reduce` for regions side by side."""

    name, package = "scikit-image", "scikit-image"

    def start(self, threads: int) -> str:
        """Import it."""
        import skimage.measure

        return skimage.__version__

    def prepare(self, case: Case, inputs: Inputs) -> Sequence[Task]:
        """The NumPy reducer over blocks; a tail that fills no block is cut off beforehand."""
        _forward_only(case)
        reducer = {"max": np.max, "min": np.min, "avg": np.mean, "sum": np.sum, "median": np.median}.get(case.op)
        if not case.plain or reducer is None or set(case.dilation) != {1}:
            raise Unable("max, min, mean, sum and median of blocks side by side only")
        from skimage.measure import block_reduce

        block = (1, 1, *case.window)
        x = inputs.x()[(..., *(slice(many * k) for many, k in zip(case.outputs, case.window, strict=True)))]
        options = {"dtype": x.dtype} if case.op == "sum" else {}
        # np.mean answers in float64 for integers, and np.sum in int64; the cell asks for the array's own dtype.
        whole = case.op in ("avg", "median") and x.dtype.kind in "iu"

        def run() -> Array:
            y = block_reduce(x, block, reducer, func_kwargs=options)
            return np.rint(y).astype(x.dtype) if whole else y

        return [Task("block_reduce", run, lambda y: (y,))]


class OpenCV:
    """Morphology, box filters and area resizing: image by image channels last, plane by plane channels first."""

    name, package = "opencv", "opencv-python-headless"

    def start(self, threads: int) -> str:
        """Import it and give it the threads."""
        import cv2

        cv2.setNumThreads(threads)
        return cv2.__version__

    def prepare(self, case: Case, inputs: Inputs) -> Sequence[Task]:
        """Both layouts, and the area resize where windows lie side by side."""
        _forward_only(case)
        if len(case.spatial) != 2:
            raise Unable("two spatial axes only")
        if case.dtype in ("int8", "float16", "int32"):
            raise Unable(f"no {case.dtype} in its filters")
        tasks = []
        for layout in ("first", "last") if case.shape[1] > 1 else ("first",):
            for label, function in _opencv_functions(case):
                tasks.append(_opencv_task(case, inputs, layout, label, function))
        return tasks


def _opencv_functions(case: Case) -> list[tuple[str, Function]]:
    import cv2

    if case.plain and case.op == "avg":
        height, width = (many * k for many, k in zip(case.outputs, case.window, strict=True))
        size = case.outputs[::-1]
        return [("INTER_AREA", lambda image: cv2.resize(image[:height, :width], size, interpolation=cv2.INTER_AREA))]
    _needs_sliding(case, dilated=case.op in ("max", "min"))
    rows, columns = _samples(case, lambda size: size // 2)
    inner = _opencv_filter(case)
    return [("filter, sliced", lambda image: inner(image)[rows, columns])]


def _opencv_filter(case: Case) -> Function:
    import cv2

    window = case.window[::-1]
    if case.op in ("max", "min"):
        taps = np.zeros([d * (k - 1) + 1 for d, k in zip(case.dilation, case.window, strict=True)], np.uint8)
        taps[tuple(slice(None, None, d) for d in case.dilation)] = 1
        inner = cv2.dilate if case.op == "max" else cv2.erode
        # Its default border value is the one that no pixel loses to.
        return lambda image: inner(image, taps)
    if case.op == "median":
        if case.window[0] != case.window[1] or any(case.padding) or case.window[0] % 2 == 0:
            raise Unable("square odd medians without padding only")
        if case.window[0] > 5 and case.dtype != "uint8":
            raise Unable("medians above 5x5 of uint8 only")
        return lambda image: cv2.medianBlur(image, case.window[0])
    if case.op == "blur":
        row = np.array(binomial(case.window[0]), "float64" if case.dtype == "float64" else "float32")
        return lambda image: cv2.sepFilter2D(image, -1, row, row, borderType=cv2.BORDER_REFLECT_101)
    border = cv2.BORDER_CONSTANT
    if case.op == "avg":
        return lambda image: cv2.blur(image, window, borderType=border)
    if case.op == "sum":
        return lambda image: cv2.boxFilter(image, -1, window, normalize=False, borderType=border)
    squares = cv2.sqrBoxFilter
    depth = cv2.CV_64F if case.dtype == "float64" else cv2.CV_32F
    return lambda image: cv2.sqrt(squares(image, depth, window, normalize=False, borderType=border))


def _opencv_task(case: Case, inputs: Inputs, layout: str, label: str, function: Function) -> Task:
    import cv2

    batch, channels = case.shape[:2]
    x = inputs.x(layout)
    images = [x[n, c] for n in range(batch) for c in range(channels)] if layout == "first" else list(x)
    if layout == "last":
        images = [np.moveaxis(image, 0, -1) for image in images]

    def run() -> list[Array]:
        try:
            return [function(image) for image in images]
        except cv2.error as error:
            raise Unable(" ".join(str(error).split())[:140]) from None

    def read(results: list[Array]) -> tuple[Array, ...]:
        if layout == "first":
            return (np.stack(results).reshape(case.out_shape),)
        stacked = np.stack([image.reshape(*image.shape[:2], channels) for image in results])
        return (np.moveaxis(stacked, -1, 1),)

    return Task(f"{label}, {'planes' if layout == 'first' else 'HWC images'}", run, read)


class TinyBrain:
    """2 x 2 mipmaps of image stacks; called as a user would, one thread."""

    name, package = "tinybrain", "tinybrain"

    def start(self, threads: int) -> str:
        """Import it."""
        import tinybrain  # noqa: F401

        return importlib.metadata.version("tinybrain")

    def prepare(self, case: Case, inputs: Inputs) -> Sequence[Task]:
        """Averages and maxima of 2/2."""
        _forward_only(case)
        if case.op not in ("avg", "max") or not case.plain or case.window != (2, 2) or case.elements != 4:
            raise Unable("2 x 2 averages and maxima only")
        if any(size % 2 for size in case.spatial):
            raise Unable("odd sizes are rounded up")
        if case.dtype not in ("uint8", "float32", "float64"):
            raise Unable(f"not written for {case.dtype}")
        import tinybrain

        name = "downsample_with_averaging" if case.op == "avg" else "downsample_with_max_pooling"
        function = getattr(tinybrain, name)
        planes = case.shape[0] * case.shape[1]
        stack = inputs.x("first").reshape(planes, *case.spatial).T  # (x, y, z) in its Fortran order, no copy

        def read(mips: list[Array]) -> tuple[Array, ...]:
            return (np.asarray(mips[0]).T.reshape(case.out_shape),)

        return [Task(name, lambda: function(stack, (2, 2, 1), num_mips=1), read)]
