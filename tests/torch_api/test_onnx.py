"""Exported models: standard nodes only, run by ONNX Runtime, equal to what the same calls give when they are run."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

import poolwise as pw  # noqa: E402
import poolwise.torch as pt  # noqa: E402
from poolwise.torch._onnx import standard  # noqa: E402

EPS = 2.0**-23
DYNAMIC = torch.export.Dim.DYNAMIC


class Pool(NamedTuple):
    """One call of a model: what it pools, and the nodes that torch's newer exporter is to make of it."""

    id: str
    call: Callable[[Any], Any]
    nodes: str
    taps: int = 9
    """Terms of a sum, for its error; 0 for results that are exact."""
    x: str = "image"


SHAPES = {
    "image": ((2, 3, 9, 8), torch.float32),
    "line": ((2, 3, 11), torch.float32),
    "solid": ((2, 3, 5, 6, 4), torch.float32),
    "last": ((2, 9, 8, 3), torch.float32),
    "half": ((2, 3, 9, 8), torch.float16),
    "fine": ((2, 3, 9, 8), torch.float64),
    "counts": ((2, 3, 9, 8), torch.int32),
    "long": ((2, 3, 9, 8), torch.int64),
}

ANY_LENGTH = (
    Pool("max", pt.MaxPool2d(3, 2, 1), "MaxPool", 0),
    Pool("max-ceil", pt.MaxPool2d(3, 2, 1, ceil_mode=True), "MaxPool", 0),
    Pool("max-dilated", pt.MaxPool2d(3, 1, 1, dilation=2), "MaxPool", 0),
    Pool("max-asymmetric", lambda x: pw.max_pool(x, (3, 2), padding=((2, 0), (0, 1))), "Pad MaxPool", 0),
    Pool("max-same", lambda x: pw.max_pool(x, (2, 3), stride=1, padding="same"), "Pad MaxPool", 0),
    Pool("max-1d", pt.MaxPool1d(3, 2, 1), "Unsqueeze MaxPool Squeeze", 0, "line"),
    Pool("max-3d", pt.MaxPool3d(2, ceil_mode=True), "MaxPool", 0, "solid"),
    Pool("max-channels-last", lambda x: pw.max_pool(x, (3, 2), axes=(1, 2)), "Transpose MaxPool Transpose", 0, "last"),
    Pool("max-half", pt.MaxPool2d(3, 2), "MaxPool", 0, "half"),
    Pool("max-int32", pt.MaxPool2d(2), "Cast MaxPool Cast", 0, "counts"),
    Pool("min", pt.MinPool2d(3, 2, 1), "Neg MaxPool Neg", 0),
    Pool("avg", pt.AvgPool2d(3, 2, 1), "AveragePool"),
    Pool("avg-real", pt.AvgPool2d(3, 2, 1, count_include_pad=False), "AveragePool"),
    Pool("avg-ceil", pt.AvgPool2d(3, 2, 1, ceil_mode=True), "AveragePool"),
    Pool("avg-ceil-real", pt.AvgPool2d(3, 2, 1, True, False), "AveragePool"),
    Pool("avg-divisor", pt.AvgPool2d(3, 2, 1, divisor_override=-5), "AveragePool Mul Div"),
    Pool("avg-asymmetric", lambda x: pw.avg_pool(x, (3, 3), padding=((2, 0), (0, 1))), ""),
    Pool("avg-dilated", lambda x: pw.avg_pool(x, (3, 3), stride=1, padding=1, dilation=2), ""),
    Pool("avg-1d", pt.AvgPool1d(3, 2, 1), "AveragePool", 3, "line"),
    Pool("avg-3d", pt.AvgPool3d(2, count_include_pad=False, padding=1), "AveragePool", 8, "solid"),
    Pool("avg-half", pt.AvgPool2d(3, 2), "Cast AveragePool Cast", 9, "half"),
    Pool("sum", lambda x: pw.sum_pool(x, (3, 3), stride=2, padding=1), "AveragePool Mul"),
    Pool("lp", pt.LPPool2d(2, 3, 2), "Mul AveragePool Mul Sqrt"),
    Pool("lp-ceil", pt.LPPool2d(2, 3, 2, ceil_mode=True), "Mul AveragePool Mul Sqrt"),
    Pool("lp-odd", lambda x: pw.lp_pool(x, (3, 3), p=3), "Abs Pow AveragePool Mul Pow"),
    Pool("lp-inf", lambda x: pw.lp_pool(x, (3, 3), p=math.inf), "Abs MaxPool", 0),
    Pool("blur", pt.BlurPool2d(), "Pad Conv"),
    Pool("blur-edge", pt.BlurPool2d(3, border="replicate"), "Pad Conv"),
    Pool("blur-zeros", pt.BlurPool2d(3, border="zeros"), ""),
    Pool("max-blur", pt.MaxBlurPool2d(2), "MaxPool Pad Conv"),
    Pool("global-max", pt.AdaptiveMaxPool2d(1), "ReduceMax", 0),
    Pool("global-avg", pt.AdaptiveAvgPool2d(1), "ReduceMean", 72),
    Pool("global-min", lambda x: pw.global_pool(x, "min", axes=(2, 3)), "ReduceMin", 0),
    Pool("global-sum", lambda x: pw.global_pool(x, "sum", axes=(2, 3)), "ReduceSum", 72),
    Pool("rows", pt.AdaptiveAvgPool2d((None, 1)), "", 8),
    Pool("indices", pt.MaxPool2d(3, 2, 1, return_indices=True), "", 0),
    Pool("global-indices", pt.AdaptiveMaxPool2d(1, return_indices=True), "", 0),
)

ONE_LENGTH = (
    Pool("bins-max", pt.AdaptiveMaxPool2d((4, 5)), "Gather Reshape ReduceMax " * 2, 0),
    Pool("bins-avg", pt.AdaptiveAvgPool2d((4, 3)), ""),
    Pool("bins-more", pt.AdaptiveAvgPool2d((11, 1)), ""),
    Pool("bins-even", pt.AdaptiveAvgPool2d((3, 4)), "AveragePool"),
    Pool("bins-lp", lambda x: pw.adaptive_pool(x, "lp", (4, 3), p=1.5), ""),
    Pool("bins-3d", pt.AdaptiveMaxPool3d((2, 4, 3)), "Gather Reshape ReduceMax " * 3, 0, "solid"),
    Pool("bins-indices", pt.AdaptiveMaxPool2d((4, 5), return_indices=True), "", 0),
    Pool("fractional", lambda x: pw.fractional_pool(x, "max", (4, 3), window=(3, 2), draws=(0.3, 0.7)), "", 0),
    Pool("same", lambda x: pw.avg_pool(x, (3, 3), stride=2, padding="same"), ""),
    Pool("same-lower", lambda x: pw.max_pool(x, (3, 3), stride=2, padding="same_lower"), "Pad MaxPool", 0),
    Pool("ceil-asymmetric", lambda x: pw.avg_pool(x, (3, 3), stride=2, padding=((2, 0), (0, 1)), ceil_mode=True), ""),
    Pool("ceil-sum", lambda x: pw.sum_pool(x, (3, 3), padding=1, ceil_mode=True), ""),
    Pool("ceil-blur-zeros", lambda x: pw.blur_pool(x, (3, 3), border="zeros", ceil_mode=True), ""),
    Pool("median", pt.MedianPool2d(3), ""),
    Pool("median-cut", lambda x: pw.median_pool(x, (2, 4), stride=1, padding=1), ""),
    Pool("nothing-seen", lambda x: pw.median_pool(x, (2, 2), stride=1, padding=2, empty=7), ""),
    Pool("nothing-seen-max", lambda x: pw.max_pool(x, (2, 2), stride=1, padding=2, empty=7), "", 0),
    Pool("four-axes", lambda x: pw.max_pool(x, (2, 2, 3, 2)), "", 0, "solid"),
    Pool("integers", lambda x: pw.avg_pool(x, (3, 3), stride=2, padding=1), "", 0, "counts"),
    Pool("integers-sum", lambda x: pw.sum_pool(x, (3, 3), dtype="float64"), "", 0, "counts"),
    Pool("int64", lambda x: pw.min_pool(x, (3, 3), stride=2, padding=1), "", 0, "long"),
    Pool("float64", lambda x: pw.avg_pool(x, (3, 3), stride=2, padding=1), "", 1, "fine"),
    Pool("float64-max", pt.MaxPool2d(3, 2), "MaxPool", 0, "fine"),
)


def random(generator: torch.Generator, more: int = 0, lengths: bool = False) -> dict[str, torch.Tensor]:
    """An input of every kind, with a larger batch and, if wanted, longer axes."""
    found = {}
    for name, (shape, dtype) in SHAPES.items():
        spatial = range(1, 3) if name == "last" else range(2, len(shape))
        shape = [n + more if axis == 0 or (lengths and axis in spatial) else n for axis, n in enumerate(shape)]
        found[name] = (torch.randn(shape, generator=generator, dtype=torch.float64) * 50).to(dtype)
    return found


class Model(torch.nn.Module):
    """Every pool, each on the input of its name."""

    def __init__(self, pools: tuple[Pool, ...]) -> None:
        super().__init__()
        self.pools = pools

    def forward(self, xs: dict[str, torch.Tensor]) -> dict[str, Any]:
        return {pool.id: pool.call(xs[pool.x]) for pool in self.pools}


def results(model: Model, xs: dict[str, torch.Tensor]) -> list[tuple[Pool, torch.Tensor]]:
    """What the calls give when they are run, in the order of the exported model's outputs."""
    found = model(xs)
    several = [
        (pool, found[pool.id] if isinstance(found[pool.id], tuple) else (found[pool.id],)) for pool in model.pools
    ]
    return [(pool, part) for pool, parts in several for part in parts]


def export(model: Model, xs: dict[str, torch.Tensor], dynamo: bool, lengths: bool) -> Any:
    """The model as ONNX; its batch is dynamic, the lengths where asked for."""

    axes = {
        name: {0: DYNAMIC} | {axis: DYNAMIC for axis in (range(1, x.ndim) if lengths else ()) if x.shape[axis] != 3}
        for name, x in xs.items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            program = torch.onnx.export(
                model.eval(), (), kwargs={"xs": xs}, input_names=list(xs), dynamic_shapes={"xs": axes}, verbose=False
            )
            return program.model_proto
        file = io.BytesIO()
        names = {name: {axis: f"{name}{axis}" for axis in found} for name, found in axes.items()}
        torch.onnx.export(
            Positional(model, list(xs)), tuple(xs.values()), file, input_names=list(xs), dynamic_axes=names,
            dynamo=False, opset_version=18,
        )  # fmt: skip
    return onnx.load_from_string(file.getvalue())


class Positional(torch.nn.Module):
    """A model as the older exporter takes it."""

    def __init__(self, model: Model, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model.eval(), names

    def forward(self, *xs: torch.Tensor) -> list[Any]:
        return list(self.model(dict(zip(self.names, xs, strict=True))).values())


def check(proto: Any, model: Model, xs: dict[str, torch.Tensor]) -> None:
    """Every output against the same call, run."""
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    fed = {entry.name: xs[entry.name].numpy() for entry in session.get_inputs()}
    wanted = results(model, xs)
    outputs = session.run(None, fed)
    assert len(outputs) == len(wanted)
    for got, (pool, want) in zip(outputs, wanted, strict=True):
        want = want.numpy()
        assert (got.shape, got.dtype) == (want.shape, want.dtype), pool.id
        if pool.taps == 0:
            np.testing.assert_array_equal(got, want, err_msg=pool.id)
            continue
        eps = {np.dtype("float16"): 2.0**-10, np.dtype("float64"): 2.0**-52}.get(want.dtype, EPS)
        magnitude = max(float(xs[pool.x].abs().max()), float(np.abs(want).max()))
        np.testing.assert_allclose(got, want, rtol=8 * eps, atol=pool.taps * eps * magnitude, err_msg=pool.id)


def nodes(graph: Any, output: str) -> str:
    """The nodes that a result is made of, in order; constants aside."""
    wanted, kinds = {output}, []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kinds += [node.op_type] if node.op_type not in ("Constant", "Identity") else []
    return " ".join(reversed(kinds))


@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "torchscript"])
@pytest.mark.parametrize("lengths", [True, False], ids=["any-length", "one-length"])
def test_exported_models_give_our_results(dynamo, lengths):
    if dynamo:
        pytest.importorskip("onnxscript")
    pools = ANY_LENGTH if lengths else ONE_LENGTH
    if not dynamo:  # what the older exporter cannot do at all, or only at the example's length
        held = {"avg-asymmetric", "avg-dilated", "blur-zeros", "integers"}
        pools = tuple(pool for pool in pools if pool.id not in held)
    model = Model(pools)
    generator = torch.Generator().manual_seed(0)
    xs = {name: x for name, x in random(generator).items() if any(pool.x == name for pool in pools)}
    proto = export(model, xs, dynamo, lengths)
    assert {node.domain for node in proto.graph.node} <= {"", "ai.onnx"} and not proto.functions
    onnx.checker.check_model(proto)
    check(proto, model, xs)
    check(proto, model, random(generator, more=3, lengths=lengths))
    if dynamo:
        order = [pool for pool, _ in results(model, xs)]
        for pool, output in zip(order, proto.graph.output, strict=True):
            if pool.nodes:
                expected = pool.nodes.split()
                assert nodes(proto.graph, output.name).split() == expected, pool.id


HELD = {
    "adaptive": lambda x: pw.adaptive_pool(x, "avg", (3, 4)),
    "adaptive-even": lambda x: pw.adaptive_pool(x, "max", (3, 2)),
    "fractional": lambda x: pw.fractional_pool(x, "max", (4, 3), draws=(0.3, 0.7)),
    "median": pt.MedianPool2d(3),
    "same": lambda x: pw.max_pool(x, (3, 3), stride=2, padding="same"),
    "ceil-sum": lambda x: pw.sum_pool(x, (3, 3), stride=2, ceil_mode=True),
}


class Calls(torch.nn.Module):
    def __init__(self, call: Any) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: torch.Tensor) -> Any:
        return self.call(x)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:DeprecationWarning")
@pytest.mark.parametrize("call", HELD.values(), ids=HELD)
def test_dynamic_lengths_that_would_be_held_are_refused(monkeypatch, call):
    monkeypatch.setattr("poolwise.torch._framework.exporting", lambda: True)
    x = torch.zeros(2, 3, 9, 8)
    with pytest.raises(ValueError, match="not exported with dynamic lengths"):
        torch.export.export(Calls(call), (x,), dynamic_shapes=({2: DYNAMIC, 3: DYNAMIC},), strict=False)
    with pytest.warns(torch.jit.TracerWarning, match=r"holds the lengths \(9, 8\) of axes \(2, 3\)"):
        torch.jit.trace(Calls(call), (x,), check_trace=False)


def test_integer_sums_are_refused():
    x = torch.zeros(1, 1, 4, 4, dtype=torch.int32)
    with pytest.raises(ValueError, match="cannot refuse a sum"):
        standard(pw.sum_pool.__wrapped__(x, (2, 2)), x)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace:DeprecationWarning")
def test_integers_are_refused_where_the_exporter_computes_them_wrongly(monkeypatch):
    monkeypatch.setattr("poolwise.torch._framework.exporting", lambda: True)
    x = torch.zeros(1, 1, 4, 4, dtype=torch.int32)
    with pytest.raises(ValueError, match="negative integers"):
        torch.jit.trace(Calls(lambda x: pw.avg_pool(x, (2, 2))), (x,), check_trace=False)
