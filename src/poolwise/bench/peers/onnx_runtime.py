"""ONNX Runtime's CPU provider: one-node models, input bound without a copy, output from its own arena."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..case import FLOATS, Case
from ..inputs import Inputs
from ..oracle import binomial
from .base import Task, Unable

__all__ = ["OnnxRuntime"]

OPSET = 19
NODES = {"max": "MaxPool", "min": "MaxPool", "avg": "AveragePool", "sum": "AveragePool", "lp": "LpPool"}


class OnnxRuntime:
    """Channels first, the only layout that its operators have: that is what it is given in every cell."""

    name, package = "onnxruntime", "onnxruntime onnx"

    def __init__(self) -> None:
        self.threads = 1

    def start(self, threads: int) -> str:
        """Import the runtime, and onnx to write models with."""
        import onnx  # noqa: F401 - a model cannot be written without it
        import onnxruntime

        onnxruntime.set_default_logger_severity(4)
        self.threads = threads
        return onnxruntime.__version__

    def prepare(self, case: Case, inputs: Inputs) -> Sequence[Task]:
        """A session for the case."""
        if case.mode in ("backward", "both"):
            raise Unable("no gradients")
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        # Its threads may spin while it works, not while another library is being timed.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            session = ort.InferenceSession(_model(case), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its own classes, not exported: whatever it says is the reason
            raise Unable(_short(error)) from None
        binding = session.io_binding()
        x = np.ascontiguousarray(inputs.x("first"))
        binding.bind_cpu_input("x", x)
        names = ["y", "at"] if case.mode == "indices" else ["y"]
        for name in names:
            binding.bind_output(name, "cpu")

        def run() -> Any:
            session.run_with_iobinding(binding)
            return binding

        return [Task(f"{self.threads} intra-op threads", run, lambda done: _read(case, done.copy_outputs_to_cpu()))]


def _read(case: Case, outputs: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    if len(outputs) == 1:
        return (outputs[0],)
    return outputs[0], outputs[1] % math.prod(case.spatial)  # positions in the whole tensor, so per plane


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:140] or type(error).__name__


def _nodes(case: Case) -> list[Any]:
    from onnx import helper

    def node(kind: str, reads: list[str], writes: list[str], **facts: Any) -> Any:
        return helper.make_node(kind, reads, writes, **facts)

    if case.kind == "adaptive":
        raise Unable("no adaptive pooling")
    if case.kind == "global":
        kind = {"max": "GlobalMaxPool", "avg": "GlobalAveragePool"}.get(case.op)
        if kind is None:
            raise Unable(f"no global {case.op}")
        return [node(kind, ["x"], ["y"])]
    if case.op == "blur":
        pads = [0, 0, *case.padding] * 2
        if case.dtype not in FLOATS or len(case.spatial) != 2:
            raise Unable("written for two axes of floats")
        return [
            node("Constant", [], ["pads"], value_ints=pads),
            node("Pad", ["x", "pads"], ["padded"], mode="reflect"),
            node("Conv", ["padded", "w"], ["y"], strides=list(case.stride), group=case.shape[1]),
        ]
    if case.op not in NODES:
        raise Unable(f"no {case.op} pooling")
    facts: dict[str, Any] = {
        "kernel_shape": list(case.window),
        "strides": list(case.stride),
        "pads": list(case.padding) * 2,
        "dilations": list(case.dilation),
        "ceil_mode": int(case.ceil_mode),
    }
    if case.op in ("avg", "sum"):
        facts["count_include_pad"] = 1
    if case.op == "min":
        return [
            node("Neg", ["x"], ["negative"]),
            node("MaxPool", ["negative"], ["lowest"], **facts),
            node("Neg", ["lowest"], ["y"]),
        ]
    if case.op == "sum":
        return [node("AveragePool", ["x"], ["mean"], **facts), node("Mul", ["mean", "size"], ["y"])]
    if case.op == "lp":
        facts["p"] = 2
    return [node(NODES[case.op], ["x"], ["y", "at"] if case.mode == "indices" else ["y"], **facts)]


def _model(case: Case) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    kind = getattr(TensorProto, {"float32": "FLOAT", "float64": "DOUBLE"}.get(case.dtype, case.dtype.upper()))
    constants = []
    if case.op == "sum":
        if case.dtype not in FLOATS:
            raise Unable("no sum of integers")
        constants.append(helper.make_tensor("size", kind, [], [float(math.prod(case.window))]))
    if case.op == "blur":
        row = np.array(binomial(case.window[0]))
        weight = np.ascontiguousarray(np.broadcast_to(np.outer(row, row), (case.shape[1], 1, len(row), len(row))))
        if case.dtype not in ("float32", "float64"):
            raise Unable("no depthwise convolution of half precision")
        constants.append(numpy_helper.from_array(weight.astype(case.dtype), "w"))
    outputs = [helper.make_tensor_value_info("y", kind, None)]
    if case.mode == "indices":
        outputs.append(helper.make_tensor_value_info("at", TensorProto.INT64, None))
    graph = helper.make_graph(
        _nodes(case), "pool", [helper.make_tensor_value_info("x", kind, list(case.shape))], outputs, constants
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9).SerializeToString()
