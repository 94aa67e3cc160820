"""One recurrent layer with the same random weights for every engine."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


@dataclass(frozen=True, slots=True)
class Layer:
    """A forward layer with the default activations; a GRU resets after the product, as PyTorch's and Keras's do."""

    cell: str
    inputs: int
    hidden: int
    int8: bool = False

    def __str__(self) -> str:
        return f"{self.cell} {self.inputs}→{self.hidden}{' int8' if self.int8 else ''}"

    @property
    def gates(self) -> int:
        """How many gates the cell has."""
        return GATES[self.cell]

    @property
    def products(self) -> int:
        """Multiply-adds of one step, which is also the number of weights."""
        return self.gates * self.hidden * (self.inputs + self.hidden)

    @property
    def states(self) -> tuple[str, ...]:
        """The names of the states."""
        return ("h", "c") if self.cell == "LSTM" else ("h",)

    def weights(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """W (G*H, I), R (G*H, H) and B (2*G*H) with ONNX's order of gates."""
        rng = np.random.default_rng(self.hidden)
        scale = 1 / np.sqrt(self.hidden)
        rows = self.gates * self.hidden
        w, r, b = (
            rng.uniform(-scale, scale, shape).astype(np.float32)
            for shape in ((rows, self.inputs), (rows, self.hidden), (2 * rows,))
        )
        return w, r, b

    def reordered(self, order: str) -> tuple[np.ndarray, ...]:
        """W, R, the bias of W and the bias of R with another order of gates, as "ifco" or "rzn".

        An engine whose second GRU gate keeps what ONNX's keeps needs nothing more; so do those that are measured.
        """
        own = {"LSTM": "iofc", "GRU": "zrn", "RNN": "h"}[self.cell]
        w, r, b = self.weights()
        parts = (w, r, *b.reshape(2, -1))
        pick = [own.index(gate) for gate in (order if self.cell != "RNN" else own)]
        return tuple(
            np.ascontiguousarray(part.reshape(self.gates, self.hidden, -1)[pick].reshape(part.shape)) for part in parts
        )

    def readings(self, length: int = 1, rows: int = 1) -> np.ndarray:
        """(length, rows, inputs), the same for every engine."""
        shape = (length, rows, self.inputs)
        return np.random.default_rng(0).normal(size=shape).astype(np.float32)

    def zeros(self, rows: int = 1) -> dict[str, np.ndarray]:
        """The states at their start, as ONNX shapes them."""
        return {name: np.zeros((1, rows, self.hidden), np.float32) for name in self.states}


@cache
def onnx_file(layer: Layer, length: int | str = "T", rows: int | str = "B") -> bytes:
    """One recurrent node: X (length, rows, inputs) and states in; y (length, rows, hidden) and states out."""
    float32 = TensorProto.FLOAT
    w, r, b = (numpy_helper.from_array(array[None], name) for array, name in zip(layer.weights(), "WRB", strict=True))
    shape = (1, rows, layer.hidden)
    inputs = [helper.make_tensor_value_info("X", float32, (length, rows, layer.inputs))]
    inputs += [helper.make_tensor_value_info(name, float32, shape) for name in layer.states]
    outputs = [helper.make_tensor_value_info("y", float32, (length, rows, layer.hidden))]
    outputs += [helper.make_tensor_value_info(f"Y_{name}", float32, shape) for name in layer.states]
    reset: dict[str, Any] = {"linear_before_reset": 1} if layer.cell == "GRU" else {}
    names = ["Y", *(f"Y_{name}" for name in layer.states)]
    node = helper.make_node(
        layer.cell, ["X", "W", "R", "B", "", *layer.states], names, hidden_size=layer.hidden, **reset
    )
    squeeze = helper.make_node("Squeeze", ["Y", "axes"], ["y"])
    axes = numpy_helper.from_array(np.array([1]), "axes")
    graph = helper.make_graph([node, squeeze], "layer", inputs, outputs, [w, r, b, axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())
