"""LiteRT: a cell as its converter writes it, one step a call: set, invoke, get, with XNNPACK.

The network is built here, for any size, from the operators of the converter's output (see `peers`), with two of them
saved: the bias stands in a fully connected operator. int8 is dynamic-range quantization: weights per channel.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.layers import Layer
from benchmarks.runtimes import Call, Unavailable

NAME = "LiteRT"
PACKAGE = "ai_edge_litert"


def layer(layer: Layer, length: int, rows: int, threads: int) -> Call:
    if layer.cell == "RNN":
        raise Unavailable("no cell is built for it here")
    if length > 1:
        raise Unavailable("a cell, one step a call")
    return step(_network(layer, rows), layer, rows, threads)


def script(layer: Layer, folder: Path) -> str:
    path = folder / "layer.tflite"
    path.write_bytes(_network(layer, 1))
    return f"""
import numpy as np
from ai_edge_litert.interpreter import Interpreter
engine = Interpreter({str(path)!r}, num_threads=1)
engine.allocate_tensors()
for port in engine.get_input_details():
    engine.set_tensor(port["index"], np.full(port["shape"], 0.5, np.float32))
engine.invoke()
for port in engine.get_output_details():
    engine.get_tensor(port["index"])
"""


def model(path: Path, threads: int) -> Call:
    raise Unavailable("it reads no ONNX")


def step(file: bytes, layer: Layer, rows: int = 1, threads: int = 1) -> Call:
    """A file with inputs x and the states and the new states as outputs."""
    from ai_edge_litert.interpreter import Interpreter

    engine = Interpreter(model_content=file, num_threads=threads)
    engine.allocate_tensors()
    inputs, outputs = engine.get_input_details(), engine.get_output_details()
    source = next(port["index"] for port in inputs if port["shape"][1] == layer.inputs)
    carried = [port["index"] for port in inputs if port["index"] != source]
    results = [port["index"] for port in outputs]
    x, states = layer.readings(1, rows)[0], [np.zeros((rows, layer.hidden), np.float32) for _ in carried]
    put, get, invoke = engine.set_tensor, engine.get_tensor, engine.invoke

    def call() -> np.ndarray:
        put(source, x)
        for index, value in zip(carried, states, strict=True):
            put(index, value)
        invoke()
        states[:] = [get(index) for index in results]
        return states[0]

    return call


class _Writer:
    """Tensors and operators of one subgraph; a tensor is its number."""

    def __init__(self) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema: Any = schema
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model = schema.ModelT()
        self.model.version, self.model.subgraphs = 3, [self.graph]
        self.model.operatorCodes, self.model.buffers = [], [schema.BufferT()]

    def tensor(self, shape: tuple[int, ...], data: np.ndarray | None = None, scales: np.ndarray | None = None) -> int:
        tensor = self.schema.TensorT()
        tensor.shape, tensor.name, tensor.buffer = list(shape), f"t{len(self.graph.tensors)}", 0
        kind = {"f": "FLOAT32", "i1": "INT8", "i4": "INT32"}
        code = "f" if data is None or data.dtype.kind == "f" else f"i{data.dtype.itemsize}"
        tensor.type = getattr(self.schema.TensorType, kind[code])
        if data is not None:
            buffer = self.schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            tensor.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        if scales is not None:
            quantization = self.schema.QuantizationParametersT()
            quantization.scale, quantization.zeroPoint = scales, np.zeros(len(scales), np.int64)
            tensor.quantization = quantization
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def add(self, name: str, inputs: list[int], *shapes: tuple[int, ...], options: Any = None, version: int = 1) -> Any:
        """One operator; its output, or a list where it has several."""
        code = self.schema.OperatorCodeT()
        code.builtinCode = getattr(self.schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode, code.version = code.builtinCode, version
        operator = self.schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes)
        self.model.operatorCodes.append(code)
        operator.inputs, operator.outputs = inputs, [self.tensor(shape) for shape in shapes]
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(self.schema.BuiltinOptions, type(options).__name__[:-1])
        self.graph.operators.append(operator)
        return operator.outputs if len(shapes) > 1 else operator.outputs[0]

    def linear(self, x: int, weight: np.ndarray, bias: np.ndarray, rows: int, *, int8: bool) -> int:
        options, scales = self.schema.FullyConnectedOptionsT(), None
        if int8:
            scales = np.abs(weight).max(axis=1) / np.float32(127)
            weight, options.asymmetricQuantizeInputs = np.rint(weight / scales[:, None]).astype(np.int8), True
        inputs = [x, self.tensor(weight.shape, weight, scales), self.tensor(bias.shape, bias)]
        return int(self.add("FULLY_CONNECTED", inputs, (rows, len(weight)), options=options, version=12 if int8 else 1))

    def binary(self, name: str, a: int, b: int, shape: tuple[int, ...]) -> int:
        options = getattr(self.schema, f"{name.title()}OptionsT")()
        return int(self.add(name, [a, b], shape, options=options))

    def split(self, x: int, number: int, shape: tuple[int, ...]) -> list[int]:
        options = self.schema.SplitOptionsT()
        options.numSplits = number
        axis = self.tensor((), np.array(1, np.int32))
        return list(self.add("SPLIT", [axis, x], *[shape] * number, options=options))

    def file(self, inputs: list[int], outputs: list[int]) -> bytes:
        import flatbuffers

        self.graph.inputs, self.graph.outputs = inputs, outputs
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def _network(layer: Layer, rows: int) -> bytes:
    to = _Writer()
    state = (rows, layer.hidden)
    x, h = to.tensor((rows, layer.inputs)), to.tensor(state)
    w, r, of_w, of_r = layer.reordered("ifco" if layer.cell == "LSTM" else "zrn")
    if layer.cell == "LSTM":
        c = to.tensor(state)
        a = to.linear(x, w, of_w + of_r, rows, int8=layer.int8)
        b = to.linear(h, r, np.zeros_like(of_r), rows, int8=layer.int8)
        i, f, g, o = to.split(to.binary("ADD", a, b, (rows, len(w))), 4, state)
        i, f, g, o = (to.add("TANH" if gate == g else "LOGISTIC", [gate], state) for gate in (i, f, g, o))
        c_new = to.binary("ADD", to.binary("MUL", f, c, state), to.binary("MUL", i, g, state), state)
        h_new = to.binary("MUL", o, to.add("TANH", [c_new], state), state)
        return to.file([x, h, c], [h_new, c_new])
    az, ar, an = to.split(to.linear(x, w, of_w, rows, int8=layer.int8), 3, state)
    bz, br, bn = to.split(to.linear(h, r, of_r, rows, int8=layer.int8), 3, state)
    z = to.add("LOGISTIC", [to.binary("ADD", az, bz, state)], state)
    reset = to.add("LOGISTIC", [to.binary("ADD", ar, br, state)], state)
    n = to.add("TANH", [to.binary("ADD", an, to.binary("MUL", reset, bn, state), state)], state)
    h_new = to.binary("ADD", n, to.binary("MUL", z, to.binary("SUB", h, n, state), state), state)
    return to.file([x, h], [h_new])
