"""Published models as ONNX files whose states are inputs and outputs, so that every engine can carry them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.runtimes import Unavailable

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "tests" / "models"


def silero() -> Path:
    """Silero VAD, 16 kHz: one chunk of 512 samples."""
    return MODELS / "silero_vad/silero_vad_16k_sequence.onnx"


def dtln() -> Path:
    """DTLN's first model: one frame."""
    return MODELS / "dtln/model_1.onnx"


def rnnoise() -> Path:
    """One frame."""
    return MODELS / "rnnoise/rnnoise.onnx"


@cache
def demo() -> Path:
    """The demo's forecaster, its LSTM's start states turned into inputs and its last states into outputs."""
    model = onnx.load(ROOT / "edgelstm/cli/demo_data/forecaster.onnx")
    graph = model.graph
    (lstm,) = (node for node in graph.node if node.op_type == "LSTM")
    hidden = next(attribute.i for attribute in lstm.attribute if attribute.name == "hidden_size")
    lstm.input[5], lstm.input[6] = "h", "c"
    lstm.output.extend([""] * (3 - len(lstm.output)))
    lstm.output[1], lstm.output[2] = "h_new", "c_new"
    for name in ("h", "c"):
        kind = (TensorProto.FLOAT, (1, 1, hidden))
        graph.input.append(helper.make_tensor_value_info(name, *kind))
        graph.output.append(helper.make_tensor_value_info(f"{name}_new", *kind))
    for dim in graph.input[0].type.tensor_type.shape.dim[:2]:
        dim.dim_value = 1
    for dim in graph.output[0].type.tensor_type.shape.dim[:2]:
        dim.dim_value = 1
    _drop_unused(graph)
    return _write(model, "forecaster.onnx")


@cache
def beatnet() -> Path:
    """BeatNet's first model from its state dict: convolution along the features, two LSTM layers; one frame."""
    try:
        import torch
    except ImportError:
        raise Unavailable("the weights are a .pt file, and torch is not installed") from None
    read = torch.load(MODELS / "beatnet/model_1_weights.pt", weights_only=True)
    weights = {name: value.numpy() for name, value in read.items()}
    build = _Builder()
    x = build.node("Relu", build.node("Conv", "x", *build.arrays(weights, "conv1.weight", "conv1.bias")))
    x = build.node("MaxPool", x, kernel_shape=[2], strides=[2])
    x = build.node("Reshape", x, build.array(np.array([1, -1])))
    x = build.node("Gemm", x, *build.arrays(weights, "linear0.weight", "linear0.bias"), transB=1)
    x = build.node("Unsqueeze", x, build.array(np.array([0])))
    hidden = weights["lstm.weight_hh_l0"].shape[1]
    for layer in range(2):
        x = build.lstm(x, [weights[f"lstm.{name}_l{layer}"] for name in _PARTS], hidden, layer)
    x = build.node("Reshape", x, build.array(np.array([1, hidden])))
    build.node("Gemm", x, *build.arrays(weights, "linear.weight", "linear.bias"), output="y", transB=1)
    features = 272
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, len(weights["linear.bias"])))]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 1, features))]
    graph = helper.make_graph(build.nodes, "beatnet", inputs + build.before, outputs + build.after, build.constants)
    opset = [helper.make_opsetid("", 17)]
    return _write(helper.make_model(graph, opset_imports=opset, ir_version=8), "beatnet.onnx")


FILES = {
    "silero VAD, 16 kHz, one chunk": silero,
    "DTLN, first model, one frame": dtln,
    "rnnoise, one frame": rnnoise,
    "BeatNet, one frame": beatnet,
    "the demo's forecaster, one reading": demo,
}

_PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class _Builder:
    """Nodes, constants and states of a graph under way."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.before: list[onnx.ValueInfoProto] = []
        self.after: list[onnx.ValueInfoProto] = []

    def node(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [output], **attributes))
        return output

    def array(self, value: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), f"k{len(self.constants)}"))
        return self.constants[-1].name

    def arrays(self, weights: dict[str, np.ndarray], *names: str) -> list[str]:
        return [self.array(weights[name]) for name in names]

    def lstm(self, x: str, parts: list[np.ndarray], hidden: int, layer: int) -> str:
        """PyTorch's gates i, f, g, o become ONNX's i, o, f, c."""
        w, r, *biases = (part.reshape(4, hidden, -1)[[0, 3, 1, 2]].reshape(part.shape) for part in parts)
        names = [self.array(value[None]) for value in (w, r, np.concatenate(biases))]
        states, new = [f"h{layer}", f"c{layer}"], [f"h{layer}_new", f"c{layer}_new"]
        for ports, values in ((states, self.before), (new, self.after)):
            values += [helper.make_tensor_value_info(port, TensorProto.FLOAT, (1, 1, hidden)) for port in ports]
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node("LSTM", [x, *names, "", *states], [output, *new], hidden_size=hidden))
        return self.node("Squeeze", output, self.array(np.array([1])))


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Nodes that nothing needs, last ones first."""
    needed = {port.name for port in graph.output}
    for node in reversed(list(graph.node)):
        if needed.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            needed.update(node.input)


def _write(model: onnx.ModelProto, name: str) -> Path:
    onnx.checker.check_model(model)
    path = Path(mkdtemp(prefix="edgelstm-bench-")) / name
    onnx.save(model, path)
    return path
