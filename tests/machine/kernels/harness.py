"""Runs one-node programs on the kernels themselves, row by row, without the interpreter.

Every buffer is surrounded by sentinels: a write outside what `check` announced is found.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgelstm.graph.dims import Dim
from edgelstm.graph.ir import Graph, TensorType
from edgelstm.graph.ops import make_node
from edgelstm.machine import context as slots
from edgelstm.program.lower import BY_NUMBER
from edgelstm.program.lowering import lower
from edgelstm.program.program import Program, aligned

KERNELS = {
    "lstm": "lstm.lstm",
    "gru": "gru.gru",
    "rnn": "rnn.rnn",
    "linear": "linear.linear",
    "lstm_int8": "lstm_int8.lstm_int8",
    "gru_int8": "gru_int8.gru_int8",
    "rnn_int8": "rnn_int8.rnn_int8",
    "linear_int8": "linear_int8.linear_int8",
    "conv_int8": "conv_int8.conv_int8",
    "gather_int8": "gather_int8.gather_int8",
    "matmul": "matmul.matmul",
    "unary": "pointwise.unary",
    "binary": "pointwise.binary",
    "select": "pointwise.choose",
    "copy": "movement.copy",
    "gather": "gather.gather",
    "reverse": "gather.reverse",
    "put": "gather.put",
    "bound": "gather.bound",
    "reduce": "reduce.reduce",
    "argmax": "reduce.argmax",
    "softmax": "softmax.softmax",
    "layer_norm": "norm.layer_norm",
    "conv": "conv.conv",
    "max_pool": "pool.max_pool",
    "avg_pool": "pool.avg_pool",
}
SENTINEL = np.int32(0x7FC0BEEF).view(np.float32)  # a NaN: what reads it by mistake shows it


def graph(op: str, inputs: list[np.ndarray | None], constants: dict[int, np.ndarray] | None = None, **attrs) -> Graph:
    """One node whose inputs are called x0, x1, ...; those numbered in `constants` are constants."""
    names = ["" if value is None else f"x{index}" for index, value in enumerate(inputs)]
    fixed = {f"x{index}": value for index, value in (constants or {}).items()}
    free = {
        name: TensorType(value.dtype.name, value.shape)
        for name, value in zip(names, inputs, strict=True)
        if value is not None and name not in fixed
    }
    return Graph(inputs=free, outputs={"y": "y"}, nodes=(make_node(op, names, ["y"], **attrs),), constants=fixed)


def words(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array if array.dtype == np.float32 else array.astype(np.int32)).ravel().view(np.float32)


def usual(name: str) -> Any:
    """The machine's own kernel of an instruction."""
    module, function = KERNELS[name].split(".")
    return getattr(importlib.import_module(f"edgelstm.machine.kernels.{module}"), function)


class Machine:
    """The arenas of a program and the kernels that its rows name, or those of `kernels` (name → function)."""

    def __init__(self, program: Program, kernels: Mapping[str, Any] | None = None) -> None:
        self.program = program
        self.kernels = kernels or {}
        self.scratch = aligned(program.scratch_words)
        self.scratch[:] = SENTINEL
        self.state = program.initial_state.copy()
        self.context = np.zeros(slots.SLOTS, np.int64)
        arenas = (program.weights, self.state, self.scratch)
        for index, arena in enumerate(arenas):
            self.context[slots.BASE + index] = arena.ctypes.data
        self.context[slots.BASE + 3] = slots.ABSENT_BASE

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name, every row checked for writes outside its announced regions."""
        for port in self.program.inputs:
            self.scratch[port.start : port.start + port.words] = words(inputs[port.name])
        code = np.ascontiguousarray(self.program.code)
        for index, row in enumerate(code):
            opcode = BY_NUMBER[int(row[0])]
            before = self.scratch.view(np.int32).copy()
            kernel = self.kernels.get(opcode.name) or usual(opcode.name)
            status = kernel(int(self.context.ctypes.data), int(code.ctypes.data + index * code.strides[0]))
            if status:
                raise IndexError(status)
            allowed = np.zeros(before.size, bool)
            for region in opcode.check(opcode.read(row)):
                if region.write:
                    start = region.operand // 4
                    allowed[start : start + region.words] = True
            changed = self.scratch.view(np.int32) != before
            assert not np.any(changed & ~allowed), f"{opcode.name} wrote outside its regions"
        return {
            port.name: self.scratch[port.start : port.start + port.words]
            .view(port.word_dtype)
            .reshape(port.shape)
            .copy()
            if port.operand % 4 == 2
            else np.array(self.program.weights[port.start : port.start + port.words])
            .view(port.word_dtype)
            .reshape(port.shape)
            for port in self.program.outputs
        }


def run(op: str, *inputs: np.ndarray | None, constants: tuple[int, ...] = (), **attrs: Dim) -> np.ndarray:
    """The one output of one node; inputs numbered in `constants` become constants."""
    fixed = {index: inputs[index] for index in constants}
    made = graph(op, list(inputs), fixed, **attrs)
    machine = Machine(lower(made))
    given = {f"x{index}": value for index, value in enumerate(inputs) if value is not None}
    return machine.run(given)["y"]


def reference(op: str, *inputs: np.ndarray | None, **attrs) -> np.ndarray:
    """The same by the definition, floats in float64."""
    from edgelstm.program.reference import Reference

    made = graph(op, list(inputs), **attrs)
    return Reference(made, "float64").call({f"x{i}": v for i, v in enumerate(inputs) if v is not None})["y"]
