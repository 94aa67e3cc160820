"""Quantized ONNX models: their weights keep their own integers and scales; activations are quantized where the file
says so.

Before translation the file is rewritten to float operators (`rewrite`), every integer tensor standing for the
numbers that it means:

- QuantizeLinear with fixed scales becomes round, clip and scale in float: exactly its numbers;
- DynamicQuantizeLinear leaves its input as it is, and the product that follows computes on 8-bit activations, with
  scales from each row (the file has one scale for the whole tensor, which is coarser);
- MatMulInteger, ConvInteger, QLinearMatMul, QLinearConv, DequantizeLinear of constants, DynamicQuantizeLSTM and
  DynamicQuantizeMatMul become their float operators on dequantized weights.

After translation (`restore`) those weights become int8 constants with the file's scales again. Where its integers do
not fit int8 (a zero point far from 0), the same numbers stay float.

Sources: ONNX operator specification; ONNX Runtime's contributed operators (com.microsoft).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from edgelstm.errors import FormatError, UnsupportedError
from edgelstm.graph.ir import Graph
from edgelstm.graph.stored import MATRICES, MAX_INNER, channel_axes
from edgelstm_converters.onnx.values import AnyArray

CONTRIBUTED = "com.microsoft"
_MOVES = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Identity", "Concat", "Split", "MaxPool")
_CELL = {1: "x", 2: "h"}
_WEIGHTS = {"MatMul": {1: "x"}, "Gemm": {1: "x"}, "Conv": {1: "x"}, "LSTM": _CELL, "GRU": _CELL, "RNN": _CELL}
_LSTM_INPUTS = 8  # X W R B lengths h c P; then the scales and zero points of W and R


@dataclass(slots=True)
class Mark:
    """What a layer's weights were in the file.

    Attributes:
        scales: role → scales that broadcast against the weights as the Graph has them.
        int8: roles whose activations are on 8 bits.
    """

    scales: dict[str, AnyArray] = field(default_factory=dict)
    int8: tuple[str, ...] = ()


def rewrite(model: ModelProto, where: str) -> tuple[ModelProto, dict[str, Mark]]:
    """The model in float operators, and what to restore, by node name; the model itself where nothing is quantized.

    Raises:
        FormatError: a scale is 0, negative or NaN, or a zero point has another type than its tensor; names the tensor.
        UnsupportedError: an integer tensor goes where only numbers may.
    """
    if not any(node.op_type in _HANDLERS for node in model.graph.node):
        return model, {}
    work = _Rewriter(model, where)
    for node in model.graph.node:
        work.add(node)
    for output in model.graph.output:
        if output.name in work.floats:
            raise UnsupportedError(f"{where}: output {output.name!r} is an integer tensor; export it dequantized")
    made = ModelProto()
    made.CopyFrom(model)
    del made.graph.node[:]
    made.graph.node.extend(work.nodes)
    used = {name for node in work.nodes for name in node.input} | {entry.name for entry in model.graph.output}
    kept = [tensor for tensor in made.graph.initializer if tensor.name in used]
    del made.graph.initializer[:]
    made.graph.initializer.extend([*kept, *work.tensors])
    for entry in [entry for entry in made.graph.value_info if entry.name not in used]:
        made.graph.value_info.remove(entry)
    domains = [entry for entry in made.opset_import if entry.domain == CONTRIBUTED]
    if not any(node.domain == CONTRIBUTED for node in work.nodes):
        for entry in domains:
            made.opset_import.remove(entry)
    return made, work.marks


def restore(graph: Graph, marks: Mapping[str, Mark]) -> Graph:
    """The graph with the weights of marked layers as int8 again."""
    constants, scales, nodes = dict(graph.constants), dict(graph.scales), list(graph.nodes)
    users: dict[str, int] = {}
    for node in nodes:
        for name in node.inputs:
            users[name] = users.get(name, 0) + 1
    for index, node in enumerate(nodes):
        mark = marks.get(node.name)
        if mark is None or node.op not in MATRICES:
            continue
        done = []
        for role, position in MATRICES[node.op].items():
            name = node.inputs[position] if position < len(node.inputs) else ""
            if role not in mark.scales or users.get(name) != 1 or name not in constants:
                continue
            found = _integers(constants[name], mark.scales[role], channel_axes(node.op))
            if found is not None:
                constants[name], scales[name] = found
                done.append(role)
        computed = tuple(role for role in done if role in mark.int8 and _computes(graph, node.inputs[1], node.op))
        if node.op == "conv" and node.attrs["group"] != 1:
            computed = ()
        nodes[index] = replace(node, attrs={**node.attrs, "int8": computed})
    return replace(graph, constants=constants, scales=scales, nodes=tuple(nodes))


def _computes(graph: Graph, name: str, op: str) -> bool:
    return bool(graph.constants[name].shape[channel_axes(op)] <= MAX_INNER)


def _integers(w: AnyArray, scale: AnyArray, leading: int) -> tuple[AnyArray, AnyArray] | None:
    """The integers that these weights were, and a scale an output channel; None where they are not int8."""
    shape = (*w.shape[:leading], *[1] * (w.ndim - leading))
    try:
        factors = np.ascontiguousarray(
            np.broadcast_to(scale.reshape(scale.shape + (1,) * (w.ndim - scale.ndim)), shape)
        )
    except ValueError:
        return None
    q = np.rint(w / factors)
    if not np.array_equal((q * factors).astype(np.float32), w) or q.min(initial=0) < -128 or q.max(initial=0) > 127:
        return None
    integers, kept = q.astype(np.int8), factors.astype(np.float32)
    integers.flags.writeable = False
    kept.flags.writeable = False
    return integers, kept


class _Rewriter:
    """Writes float nodes for quantized ones, in order."""

    def __init__(self, model: ModelProto, where: str) -> None:
        self.where = where
        self.arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        self.nodes: list[NodeProto] = []
        self.tensors: list[object] = []
        self.marks: dict[str, Mark] = {}
        self.floats: dict[str, str] = {}  # integer tensor → the tensor of the numbers that it means
        self.steps: dict[str, AnyArray | None] = {}  # integer tensor → its fixed scale; None: from each reading
        self.weights: dict[str, AnyArray] = {}  # dequantized constant → its scales, for the layer that uses it
        self.count = 0

    def add(self, node: NodeProto) -> None:
        """Write what stands for one node."""
        if node.op_type == "Constant" and len(node.attribute) == 1 and node.attribute[0].name == "value":
            self.arrays[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        handler = _HANDLERS.get(node.op_type)
        if handler is not None:
            handler(self, node)
            return
        copy = NodeProto()
        copy.CopyFrom(node)
        integer = [name for name in node.input if name in self.floats]
        if integer:
            if node.op_type not in _MOVES:
                raise UnsupportedError(
                    f"{self.label(node)}: takes the integer tensor {integer[0]!r}; expected DequantizeLinear before it"
                )
            for k, name in enumerate(node.input):
                copy.input[k] = self.floats.get(name, name)
            for k, name in enumerate(node.output):
                copy.output[k] = self.means(name, self.fresh(name), self.steps[integer[0]])
        self.nodes.append(copy)
        self.mark_weights(copy)

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

    def means(self, integer: str, name: str, step: AnyArray | None) -> str:
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
        """A constant integer tensor as a new float initializer, and its scales shaped to broadcast."""
        q = self.known(node, index, "its weights")
        shape = [1] * q.ndim
        if scale.size > 1:
            if not -q.ndim <= axis < q.ndim or scale.ndim != 1 or len(scale) != q.shape[axis]:
                raise FormatError(f"{self.label(node)}: {scale.shape} scales do not fit axis {axis} of {q.shape}")
            shape[axis] = len(scale)
        factors = scale.reshape(shape)
        offsets = zero.reshape(shape) if zero.size > 1 else zero.reshape(())
        values = ((q.astype(np.int64) - offsets).astype(np.float32) * factors).astype(np.float32)
        return self.constant(values, node.input[index]), factors

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


def _quantize(work: _Rewriter, node: NodeProto) -> None:
    kind = _kind_of_zero(work, node, 2)
    scale, zero = work.scale(node, 1), work.zero(node, 2, kind)
    work.means(node.output[0], work.rounded(node, node.input[0], scale, zero, kind), scale)


def _kind_of_zero(work: _Rewriter, node: NodeProto, index: int) -> np.dtype:
    """The dtype of a quantized tensor, which its zero point tells; uint8 where there is none."""
    if index >= len(node.input) or not node.input[index]:
        return np.dtype(np.uint8)
    kind = work.known(node, index, "its zero point").dtype
    if kind not in (np.int8, np.uint8):
        raise UnsupportedError(f"{work.label(node)}: {kind} tensors; expected int8 or uint8")
    return kind


def _dequantize(work: _Rewriter, node: NodeProto) -> None:
    source = node.input[0]
    if source in work.floats:
        work.emit("Identity", [work.floats[source]], node.output[0])
        return
    q = work.known(node, 0, "what it dequantizes")
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    name, factors = work.dequantized(node, 0, work.scale(node, 1), work.zero(node, 2, q.dtype), axis)
    work.emit("Identity", [name], node.output[0])
    work.weights[node.output[0]] = factors


def _dynamic(work: _Rewriter, node: NodeProto) -> None:
    """Scales from each reading: the scale of the file's own output is 1 from here on."""
    work.means(node.output[0], node.input[0], None)
    for name, value in zip(node.output[1:], (np.float32(1), np.uint8(0)), strict=False):
        if name:
            work.tensors.append(numpy_helper.from_array(np.asarray(value), name))


def _integer_product(op: str) -> Callable[[_Rewriter, NodeProto], None]:
    def handle(work: _Rewriter, node: NodeProto) -> None:
        a, dynamic = _activations(work, node)
        q = work.known(node, 1, "its weights")
        zero = work.zero(node, 3, q.dtype)
        one = np.ones((), np.float32)
        if zero.size > 1:
            zero = zero.reshape((1, -1) if op == "MatMul" else (-1, *[1] * (q.ndim - 1)))
        values = (q.astype(np.int64) - zero).astype(np.float32)
        name = node.name or node.output[0]
        target = node.output[0] if dynamic else ""
        attrs = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        product = work.emit(op, [a, work.constant(values, node.input[1])], target, name, **attrs)
        work.marks[name] = Mark({"x": one}, ("x",) if dynamic else ())
        if not dynamic:
            step = work.steps[node.input[0]]
            work.emit("Div", [product, work.constant(np.asarray(step).reshape(()), name)], node.output[0])

    return handle


def _activations(work: _Rewriter, node: NodeProto) -> tuple[str, bool]:
    """The numbers that the first input means, and whether their scale comes from each reading."""
    source = node.input[0]
    if source not in work.floats:
        raise UnsupportedError(
            f"{work.label(node)}: {source!r} is not quantized by QuantizeLinear or DynamicQuantizeLinear in this file"
        )
    return work.floats[source], work.steps[source] is None


def _linear_product(op: str) -> Callable[[_Rewriter, NodeProto], None]:
    """QLinearMatMul and QLinearConv: a, its scale and zero, b with its own, those of y, and for Conv an int32 bias."""

    def handle(work: _Rewriter, node: NodeProto) -> None:
        a, _ = _activations(work, node)
        q = work.known(node, 3, "its weights")
        scale, zero = work.scale(node, 4), work.zero(node, 5, q.dtype)
        name, factors = work.dequantized(node, 3, scale, zero, -1 if op == "MatMul" else 0)
        label = node.name or node.output[0]
        inputs = [a, name]
        if op == "Conv" and len(node.input) > 8 and node.input[8]:
            bias = (
                work.known(node, 8, "its bias").astype(np.float64) * work.scale(node, 1).reshape(()) * scale.reshape(-1)
            )
            inputs.append(work.constant(bias.astype(np.float32), node.input[8]))
        attrs = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        product = work.emit(op, inputs, "", label, **attrs)
        work.marks[label] = Mark({"x": factors.reshape(-1) if factors.size > 1 else factors.reshape(())})
        kind = _kind_of_zero(work, node, 7)
        out = work.scale(node, 6)
        work.means(node.output[0], work.rounded(node, product, out, work.zero(node, 7, kind), kind), out)

    return handle


def _matmul_dynamic(work: _Rewriter, node: NodeProto) -> None:
    """com.microsoft.DynamicQuantizeMatMul: A float, B integers, their scale, zero point, bias."""
    q = work.known(node, 1, "its weights")
    name, factors = work.dequantized(node, 1, work.scale(node, 2), work.zero(node, 3, q.dtype), -1)
    label = node.name or node.output[0]
    bias = node.input[4] if len(node.input) > 4 else ""
    product = work.emit("MatMul", [node.input[0], name], "" if bias else node.output[0], label)
    work.marks[label] = Mark({"x": factors.reshape(-1) if factors.size > 1 else factors.reshape(())}, ("x",))
    if bias:
        work.emit("Add", [product, bias], node.output[0])


def _lstm_dynamic(work: _Rewriter, node: NodeProto) -> None:
    """com.microsoft.DynamicQuantizeLSTM: an LSTM whose W (D, I, 4H) and R (D, H, 4H) are integers, transposed."""
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.op_type, copy.domain = "LSTM", ""
    inputs = [*node.input, *[""] * (12 - len(node.input))]
    mark = Mark({}, ("x", "h"))
    for position, role, at in ((1, "x", _LSTM_INPUTS), (2, "h", _LSTM_INPUTS + 2)):
        q = work.known(node, position, f"the weights of {role}")
        scale, zero = work.scale(node, at), work.zero(node, at + 1, q.dtype)
        # One for each direction, or one for each direction and output.
        factors = scale.reshape(q.shape[0], -1, 1)
        offsets = zero.reshape(q.shape[0], -1, 1) if zero.size > 1 else zero.reshape(())
        values = (q.transpose(0, 2, 1).astype(np.int64) - offsets).astype(np.float32) * factors
        inputs[position] = work.constant(values.astype(np.float32), node.input[position])
        mark.scales[role] = factors
    del copy.input[:]
    copy.input.extend(inputs[:_LSTM_INPUTS])
    work.marks[work.named(copy)] = mark
    work.nodes.append(copy)


_HANDLERS: dict[str, Callable[[_Rewriter, NodeProto], None]] = {
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "DynamicQuantizeLinear": _dynamic,
    "MatMulInteger": _integer_product("MatMul"),
    "ConvInteger": _integer_product("Conv"),
    "QLinearMatMul": _linear_product("MatMul"),
    "QLinearConv": _linear_product("Conv"),
    "DynamicQuantizeMatMul": _matmul_dynamic,
    "DynamicQuantizeLSTM": _lstm_dynamic,
}
