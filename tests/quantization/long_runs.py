"""Errors of int8 streams over many steps, against the same cells in float64 NumPy.

`python -m tests.quantization.long_runs 1000000` prints them for the demo's forecaster and Silero VAD.
"""

import csv
import gzip
import io
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

import edgelstm
from edgelstm.graph.dims import TIME, symbol
from edgelstm.graph.ir import Graph, TensorType
from edgelstm.graph.ops import make_node
from edgelstm.quantization.samples import read_samples
from edgelstm.runtime.model import Model

MODELS = Path(__file__).parents[1] / "models"
DEMO = Path(edgelstm.__file__).parent / "cli" / "demo_data"
CHUNK = 10_000


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


class Cell:
    """One LSTM in float64, ONNX gate order i, o, f, c, with its state."""

    def __init__(self, graph: Graph) -> None:
        (node,) = (node for node in graph.nodes if node.op == "lstm")
        w, r, b = (graph.constants[name][0].astype(np.float64) for name in node.inputs[1:4])
        self.w, self.r, self.b = w, r, b[: len(w)] + b[len(w) :]
        self.units = r.shape[1]
        self.h, self.c = np.zeros(self.units), np.zeros(self.units)

    def step(self, x):
        gates = self.w @ x + self.r @ self.h + self.b
        i, o, f = sigmoid(gates[: 3 * self.units]).reshape(3, -1)
        self.c = f * self.c + i * np.tanh(gates[3 * self.units :])
        self.h = o * np.tanh(self.c)
        return self.h


def forecaster(steps: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The demo on its buoy's readings, again and again: int8 and float64 forecasts, chunk by chunk."""
    text = gzip.decompress((DEMO / "sea_surface_temperature.csv.gz").read_bytes()).decode()
    readings = np.array([float(row[1]) for row in list(csv.reader(io.StringIO(text)))[1:]], np.float32)
    model = edgelstm.load(DEMO / "forecaster.onnx")
    nodes = {node.op: node for node in model.graph.nodes}
    mean, spread, gain = (float(model.graph.constants[nodes[op].inputs[1]]) for op in ("sub", "div", "mul"))
    weight, bias = (model.graph.constants[name].astype(np.float64) for name in nodes["linear"].inputs[1:])
    stream = edgelstm.quantize(model, readings[:2000, None], objective="size").stream()
    cell = Cell(model.graph)
    for start in range(0, steps, CHUNK):
        xs = readings[np.arange(start, min(steps, start + CHUNK)) % len(readings)]
        scaled = (xs.astype(np.float64)[:, None] - mean) / spread
        exact = np.array([x + gain * (weight @ cell.step(s) + bias)[0] for x, s in zip(xs, scaled, strict=True)])
        yield stream.run(xs[:, None]).ravel(), exact


def silero(steps: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Silero's LSTM and head on the features of its recording, again and again: int8 and float64 probabilities."""
    golden = np.load(MODELS / "silero_vad" / "golden.npz")
    samples = np.concatenate([np.zeros(64), golden["pcm16k"] / 32768]).astype(np.float32)
    chunks = np.stack([samples[start : start + 576] for start in range(0, len(samples) - 64, 512)])
    whole = edgelstm.load(MODELS / "silero_vad" / "silero_vad.onnx", constants={"sr": 16000})
    (free,) = (str(dim) for dim in whole.inputs["input"].shape if str(dim) != "B")
    (at,) = (index for index, node in enumerate(whole.graph.nodes) if node.op == "lstm")
    features = read_samples(whole, chunks, {free: 576}).inputs_of(whole.graph, [at])[at]
    *_, head = (node for node in whole.graph.nodes if node.op == "conv")
    weight, bias = (whole.graph.constants[name].reshape(1, -1) for name in head.inputs[1:3])
    model = tail(whole.graph, at, weight, bias.ravel())
    stream = edgelstm.quantize(model, objective="size").stream()
    cell = Cell(model.graph)
    for start in range(0, steps, CHUNK):
        xs = features[np.arange(start, min(steps, start + CHUNK)) % len(features)]
        exact = np.array([sigmoid(weight @ np.maximum(cell.step(x.astype(np.float64)), 0) + bias[0])[0] for x in xs])
        yield stream.run(xs.reshape(len(xs), 1, -1)).ravel(), exact


def tail(graph: Graph, at: int, weight: np.ndarray, bias: np.ndarray) -> Model:
    """The LSTM of a graph, ReLU, a linear layer and sigmoid."""
    node, time = graph.nodes[at], symbol(TIME)
    units = node.attrs["hidden_size"]
    constants = {name: graph.constants[source] for name, source in zip("wrb", node.inputs[1:4], strict=True)}
    constants |= {"head": weight, "bias": bias}
    nodes = (
        replace(node, inputs=("x", "w", "r", "b", *[""] * (len(node.inputs) - 4)), outputs=("y", "", "")),
        make_node("reshape", ["y"], ["h"], shape=(time, 1, units)),
        make_node("relu", ["h"], ["positive"]),
        make_node("linear", ["positive", "head", "bias"], ["sum"]),
        make_node("sigmoid", ["sum"], ["p"]),
    )
    return Model(Graph({"x": TensorType("float32", (time, 1, 128))}, {"p": "p"}, nodes, constants))


def rms_by_window(pairs, ends: tuple[int, ...]) -> list[float]:
    """The rms difference over steps 0.9 · end to end, for each end."""
    squares, counts, done = np.zeros(len(ends)), np.zeros(len(ends)), 0
    for got, exact in pairs:
        far = (got.astype(np.float64) - exact) ** 2
        steps = np.arange(done, done + len(far))
        for k, end in enumerate(ends):
            inside = (steps >= 0.9 * end) & (steps < end)
            squares[k] += far[inside].sum()
            counts[k] += inside.sum()
        done += len(far)
    return list(np.sqrt(squares / counts))


if __name__ == "__main__":
    last = int(sys.argv[1])
    for name, run in (("demo", forecaster), ("silero", silero)):
        first, later = rms_by_window(run(last), (10_000, last))
        print(f"{name}: rms {first:.3g} before step 10000, {later:.3g} before step {last}: {later / first:.2f} times")
