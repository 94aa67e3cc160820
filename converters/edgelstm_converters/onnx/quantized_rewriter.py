"""Writes float nodes for quantized ones: see `quantized.py`, and `quantized_operators.py` for each operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from edgelstm.errors import FormatError, UnsupportedError
from edgelstm_converters.onnx.values import AnyArray

_MOVES = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Identity", "Concat", "Split", "MaxPool")
# Of constants, whose scale is told only later, by the DequantizeLinear that follows.
_LOOKUPS = ("Gather", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity")
_CELL = {1: "x", 2: "h"}
_WEIGHTS = {"MatMul": {1: "x"}, "Gemm": {1: "x"}, "Conv": {1: "x"}, "LSTM": _CELL, "GRU": _CELL, "RNN": _CELL}


@dataclass(slots=True)
class Mark:
    """What a layer's weights were in the file.

    Attributes:
        scales: role → scales that broadcast against the weights as the Graph has them.
        int8: roles whose activations are on 8 bits.
    """

    scales: dict[str, AnyArray] = field(default_factory=dict)
    int8: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """How an integer tensor stands for numbers: (q - zero) · scale.

    Attributes:
        scale: a number; None: it comes from each reading.
        zero: a number.
        name: of the scale, in the file.
    """

    scale: AnyArray | None
    zero: AnyArray
    name: str


Handler = Callable[["Rewriter", NodeProto], None]


class Rewriter:
    """Writes float nodes for quantized ones, in order."""

    def __init__(self, model: ModelProto, where: str, handlers: Mapping[str, Handler]) -> None:
        self.where = where
        self.handlers = handlers
        self.opset = next((entry.version for entry in model.opset_import if not entry.domain), 0)
        self.arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        self.nodes: list[NodeProto] = []
        self.tensors: list[object] = []
        self.marks: dict[str, Mark] = {}
        self.floats: dict[str, str] = {}  # integer tensor → the tensor of the numbers that it means
        self.steps: dict[str, Step] = {}
        self.weights: dict[str, AnyArray] = {}  # dequantized constant → its scales, for the layer that uses it
        self.moved: dict[str, NodeProto] = {}  # integer tensor → the node that takes it from a constant
        self.count = 0

    def add(self, node: NodeProto) -> None:
        """Write what stands for one node."""
        if node.op_type == "Constant" and len(node.attribute) == 1 and node.attribute[0].name == "value":
            self.arrays[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        handler = self.handlers.get(node.op_type)
        if handler is not None:
            handler(self, node)
            return
        if node.op_type in _LOOKUPS and self.is_integer(node.input[0]):
            self.moved[node.output[0]] = node
            return
        for name in node.input:
            self.settle(name)
        copy = NodeProto()
        copy.CopyFrom(node)
        integer = [name for name in node.input if name in self.floats]
        if integer:
            if node.op_type not in _MOVES:
                raise UnsupportedError(
                    f"{self.label(node)}: takes the integer tensor {integer[0]!r}; expected DequantizeLinear before it"
                )
            for name in integer[1:]:
                self.same(node, name, self.steps[integer[0]])
            for k, name in enumerate(node.input):
                copy.input[k] = self.floats.get(name, name)
            for k, name in enumerate(node.output):
                copy.output[k] = self.means(name, self.fresh(name), self.steps[integer[0]])
        self.nodes.append(copy)
        self.mark_weights(copy)

    def is_integer(self, name: str) -> bool:
        """Whether a constant, or what is taken from one, is quantized: no other constant is of one byte."""
        return name in self.moved or (name in self.arrays and self.arrays[name].dtype in (np.int8, np.uint8))

    def settle(self, name: str) -> None:
        """Write as they are the nodes that take integers from a constant, where not only DequantizeLinear uses them."""
        node = self.moved.pop(name, None)
        if node is not None:
            self.settle(node.input[0])
            self.nodes.append(node)

    def same(self, node: NodeProto, integer: str, told: Step) -> None:
        """Check that a node reads an integer tensor with the scale and zero point that it was written with.

        Raises:
            UnsupportedError: they differ.
        """
        step = self.steps[integer]
        if step.scale is None or told.scale is None:
            fits = step.name == told.name
        else:
            fits = bool(np.all(step.scale == told.scale) and np.all(step.zero == told.zero))
        if not fits:
            raise UnsupportedError(
                f"{self.label(node)}: reads {integer!r} with the scale {told.name!r}, and it was quantized with "
                f"{step.name!r}; expected the same scale and zero point"
            )

    def numbers(self, node: NodeProto, index: int) -> str:
        """The numbers that an integer input means, whose scale and zero point are the two inputs after it.

        Raises:
            UnsupportedError: it is quantized neither in the file nor a constant, or with another scale.
        """
        name = node.input[index]
        if name in self.floats:
            self.same(node, name, self.told(node, index + 1, index + 2, self.steps[name]))
            return self.floats[name]
        if not self.is_integer(name):
            raise UnsupportedError(
                f"{self.label(node)}: {name!r} is not quantized by QuantizeLinear or DynamicQuantizeLinear in this file"
            )
        return self.dequantized(node, index, self.scale(node, index + 1), self.zero_of(node, index, index + 2), -1)[0]

    def told(self, node: NodeProto, scale: int, zero: int, step: Step) -> Step:
        """With which scale and zero point a node reads an integer tensor that was written with `step`."""
        name = node.input[scale]
        if step.scale is None:
            return Step(None, step.zero, name)
        return Step(self.scale(node, scale), self.zero(node, zero, np.dtype(np.int64)), name)

    def zero_of(self, node: NodeProto, index: int, zero: int) -> AnyArray:
        """The zero point of a constant, or of what is taken from one."""
        return self.zero(node, zero, self.origin(node, index)[0].dtype)

    def origin(self, node: NodeProto, index: int) -> tuple[AnyArray, list[NodeProto]]:
        """The constant behind an input, and the nodes in between, in order."""
        name, between = node.input[index], list[NodeProto]()
        while name in self.moved:
            between.insert(0, self.moved[name])
            name = between[0].input[0]
        if name not in self.arrays:
            raise UnsupportedError(
                f"{self.label(node)}: {node.input[index]!r} is computed at run time; expected a constant"
            )
        return self.arrays[name], between

    def label(self, node: NodeProto) -> str:
        """How messages name a node."""
        return f"{self.where}: {node.op_type} node {node.name or next(filter(None, node.output), '')!r}"

    def mark_weights(self, node: NodeProto) -> None:
        """Layers that take dequantized constants: their scales, by role."""
        found = {}
        for position, role in _WEIGHTS.get(node.op_type, {}).items():
            name = node.input[position] if position < len(node.input) else ""
            if name in self.weights:
                # A matrix is turned round on its way: its scales are those of its outputs, or it stays float.
                factors = self.weights[name]
                flat = factors.reshape(-1) if factors.size > 1 else factors.reshape(())
                found[role] = flat if node.op_type in ("MatMul", "Gemm") else factors
        if found:
            self.marks[self.named(node)] = Mark(found)

    def named(self, node: NodeProto) -> str:
        """The node's name; it gets one where it has none."""
        if not node.name:
            node.name = next(filter(None, node.output))
        return str(node.name)

    def fresh(self, name: str) -> str:
        """A name that is not in use."""
        self.count += 1
        return f"{name}/float{self.count}"

    def constant(self, array: AnyArray, name: str) -> str:
        """A new initializer."""
        made = self.fresh(name)
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(array), made))
        return made

    def emit(self, op: str, inputs: list[str], output: str = "", name: str = "", **attrs: Any) -> str:
        """Write a node with one output."""
        made = output or self.fresh(inputs[0])
        self.nodes.append(helper.make_node(op, inputs, [made], name=name or made, **attrs))
        return made

    def means(self, integer: str, name: str, step: Step) -> str:
        """`name` holds the numbers of an integer tensor."""
        self.floats[integer], self.steps[integer] = name, step
        return name

    def known(self, node: NodeProto, index: int, what: str) -> AnyArray:
        """An input that must be a constant."""
        name = node.input[index] if index < len(node.input) else ""
        if name not in self.arrays:
            raise UnsupportedError(
                f"{self.label(node)}: {what} ({name!r}) is computed at run time; expected a constant"
            )
        return self.arrays[name]

    def scale(self, node: NodeProto, index: int) -> AnyArray:
        """A constant scale.

        Raises:
            FormatError: it is not a finite number above 0.
        """
        found = self.known(node, index, "its scale").astype(np.float32)
        bad = found[~(np.isfinite(found) & (found > 0))]
        if bad.size:
            raise FormatError(
                f"{self.label(node)}: scale {node.input[index]!r} holds {bad.flat[0]}: expected finite numbers above 0"
            )
        return found

    def zero(self, node: NodeProto, index: int, kind: np.dtype) -> AnyArray:
        """A constant zero point of a tensor of dtype `kind`; 0 where absent.

        Raises:
            FormatError: it has another dtype, so that it may lie outside the tensor's range.
        """
        if index >= len(node.input) or not node.input[index]:
            return np.zeros((), np.int64)
        found = self.known(node, index, "its zero point")
        if found.dtype != kind and kind.itemsize == 1:
            raise FormatError(
                f"{self.label(node)}: zero point {node.input[index]!r} is {found.dtype}: expected {kind}, as its tensor"
            )
        return found.astype(np.int64)

    def dequantized(
        self, node: NodeProto, index: int, scale: AnyArray, zero: AnyArray, axis: int
    ) -> tuple[str, AnyArray]:
        """A constant integer tensor, or what is taken from one, as floats, and its scales shaped to broadcast."""
        q, between = self.origin(node, index)
        if between and scale.size > 1:
            raise UnsupportedError(
                f"{self.label(node)}: {scale.size} scales behind {between[-1].op_type}; expected one scale"
            )
        shape = [1] * q.ndim
        if scale.size > 1:
            if not -q.ndim <= axis < q.ndim or scale.ndim != 1 or len(scale) != q.shape[axis]:
                raise FormatError(f"{self.label(node)}: {scale.shape} scales do not fit axis {axis} of {q.shape}")
            shape[axis] = len(scale)
        factors = scale.reshape(shape)
        offsets = zero.reshape(shape) if zero.size > 1 else zero.reshape(())
        values = ((q.astype(np.int64) - offsets).astype(np.float32) * factors).astype(np.float32)
        name = self.constant(values, node.input[index])
        for move in between:
            copy = NodeProto()
            copy.CopyFrom(move)
            copy.input[0], copy.output[0], copy.name = name, self.fresh(move.output[0]), ""
            name = copy.output[0]
            if move.op_type == "Gather":
                self.marks[self.named(copy)] = Mark({"table": factors})
            self.nodes.append(copy)
        return name, factors

    def rounded(
        self, node: NodeProto, x: str, scale: AnyArray, zero: AnyArray, kind: np.dtype, output: str = ""
    ) -> str:
        """x as its integers would mean it: rounded to steps and cut to their range."""
        if scale.size != 1 or zero.size != 1:
            raise UnsupportedError(f"{self.label(node)}: activations with a scale for each channel; expected one scale")
        low, high = np.iinfo(kind).min - int(zero.reshape(())), np.iinfo(kind).max - int(zero.reshape(()))
        step = self.constant(scale.reshape(()), f"{node.name}/scale")
        steps = self.emit("Round", [self.emit("Div", [x, step])])
        for op, edge in (("Max", low), ("Min", high)):
            steps = self.emit(op, [steps, self.constant(np.asarray(edge, np.float32), f"{node.name}/edge")])
        return self.emit("Mul", [steps, step], output)
