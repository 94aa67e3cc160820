"""What each quantized ONNX operator is in float operators: see `quantized.py`."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, helper, numpy_helper

from edgelstm.errors import UnsupportedError
from edgelstm_converters.onnx.quantized_rewriter import Handler, Mark, Rewriter, Step
from edgelstm_converters.onnx.values import AnyArray

_LSTM_INPUTS = 8  # X W R B lengths h c P; then the scales and zero points of W and R


def _quantize(work: Rewriter, node: NodeProto) -> None:
    kind = _kind_of_zero(work, node, 2)
    scale, zero = work.scale(node, 1), work.zero(node, 2, kind)
    made = work.rounded(node, node.input[0], scale, zero, kind)
    work.means(node.output[0], made, Step(scale, zero, node.input[1]))


def _kind_of_zero(work: Rewriter, node: NodeProto, index: int) -> np.dtype:
    """The dtype of a quantized tensor, which its zero point tells; uint8 where there is none."""
    if index >= len(node.input) or not node.input[index]:
        return np.dtype(np.uint8)
    kind = work.known(node, index, "its zero point").dtype
    if kind not in (np.int8, np.uint8):
        raise UnsupportedError(f"{work.label(node)}: {kind} tensors; expected int8 or uint8")
    return kind


def _dequantize(work: Rewriter, node: NodeProto) -> None:
    source = node.input[0]
    if source in work.floats:
        work.emit("Identity", [work.numbers(node, 0)], node.output[0])
        return
    axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
    name, factors = work.dequantized(node, 0, work.scale(node, 1), work.zero_of(node, 0, 2), axis)
    work.emit("Identity", [name], node.output[0])
    work.weights[node.output[0]] = factors


def _dynamic(work: Rewriter, node: NodeProto) -> None:
    """Scales from each reading: the scale of the file's own output is 1 from here on."""
    work.means(node.output[0], node.input[0], Step(None, np.zeros((), np.int64), node.output[1]))
    for name, value in zip(node.output[1:], (np.float32(1), np.uint8(0)), strict=False):
        if name:
            work.tensors.append(numpy_helper.from_array(np.asarray(value), name))


def _integer_product(op: str) -> Handler:
    def handle(work: Rewriter, node: NodeProto) -> None:
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
            scale = np.asarray(work.steps[node.input[0]].scale).reshape(())
            work.emit("Div", [product, work.constant(scale, name)], node.output[0])

    return handle


def _activations(work: Rewriter, node: NodeProto) -> tuple[str, bool]:
    """The numbers that the first input means, and whether their scale comes from each reading."""
    source = node.input[0]
    if source not in work.floats:
        raise UnsupportedError(
            f"{work.label(node)}: {source!r} is not quantized by QuantizeLinear or DynamicQuantizeLinear in this file"
        )
    return work.floats[source], work.steps[source].scale is None


def _linear_product(op: str) -> Handler:
    """QLinearMatMul, QLinearConv: a, its scale and zero, b with its own, those of y, and for Conv an int32 bias.

    QGemm: a, b, the bias, then those of y, which may be absent: then y is float.
    """
    y_at, bias_at = (7, 6) if op == "Gemm" else (6, 8)

    def handle(work: Rewriter, node: NodeProto) -> None:
        attrs = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        inputs = [work.numbers(node, 0)]
        label = node.name or node.output[0]
        if op == "MatMul" and node.input[3] in work.floats:
            product = work.emit(op, [*inputs, work.numbers(node, 3)], "", label)
            _requantize(work, node, product, y_at)
            return
        scale = work.scale(node, 4)
        axis = 0 if op == "Conv" or attrs.get("transB") else -1
        name, factors = work.dequantized(node, 3, scale, work.zero_of(node, 3, 5), axis)
        inputs.append(name)
        if op != "MatMul" and len(node.input) > bias_at and node.input[bias_at]:
            integers = work.known(node, bias_at, "its bias").astype(np.float64)
            bias = integers * float(attrs.get("alpha", 1)) * work.scale(node, 1).reshape(()) * scale.reshape(-1)
            inputs.append(work.constant(bias.astype(np.float32), node.input[bias_at]))
        quantized = len(node.input) > y_at and bool(node.input[y_at])
        product = work.emit(op, inputs, "" if quantized else node.output[0], label, **attrs)
        work.marks[label] = Mark({"x": factors.reshape(-1) if factors.size > 1 else factors.reshape(())})
        if quantized:
            _requantize(work, node, product, y_at)

    return handle


def _requantize(work: Rewriter, node: NodeProto, numbers: str, scale: int) -> None:
    """The node's output: numbers on the steps of the scale and zero point that are its inputs `scale` and the next."""
    kind = _kind_of_zero(work, node, scale + 1)
    step = Step(work.scale(node, scale), work.zero(node, scale + 1, kind), node.input[scale])
    assert step.scale is not None
    work.means(node.output[0], work.rounded(node, numbers, step.scale, step.zero, kind), step)


def _linear_pointwise(op: str, operands: int) -> Handler:
    """com.microsoft.QLinear...: `operands` integer tensors, each with scale and zero point, then those of y."""

    def handle(work: Rewriter, node: NodeProto) -> None:
        attrs = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        if op == "Softmax" and attrs.pop("opset", work.opset) != work.opset:
            raise UnsupportedError(f"{work.label(node)}: opset differs from the file's {work.opset}")
        inputs = [work.numbers(node, 3 * k) for k in range(operands)]
        made = work.emit(op, inputs, "", node.name or node.output[0], **attrs)
        _requantize(work, node, made, 3 * operands)

    return handle


def _linear_concat(work: Rewriter, node: NodeProto) -> None:
    """com.microsoft.QLinearConcat: scale and zero point of y, then each tensor with its own."""
    attrs = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    inputs = [work.numbers(node, k) for k in range(2, len(node.input), 3)]
    _requantize(work, node, work.emit("Concat", inputs, "", node.name or node.output[0], **attrs), 0)


def _integer_to_float(work: Rewriter, node: NodeProto) -> None:
    """com.microsoft.MatMulIntegerToFloat: A and B integers, their scales, their zero points, a float bias."""
    a, dynamic = _activations(work, node)
    step = work.steps[node.input[0]]
    work.same(node, node.input[0], work.told(node, 2, 4, step))
    q = work.known(node, 1, "its weights")
    _weighted_sum(work, node, a, work.scale(node, 3), work.zero(node, 5, q.dtype), 6, dynamic)


def _matmul_dynamic(work: Rewriter, node: NodeProto) -> None:
    """com.microsoft.DynamicQuantizeMatMul: A float, B integers, their scale, zero point, bias."""
    q = work.known(node, 1, "its weights")
    _weighted_sum(work, node, node.input[0], work.scale(node, 2), work.zero(node, 3, q.dtype), 4, True)


def _weighted_sum(
    work: Rewriter, node: NodeProto, a: str, scale: AnyArray, zero: AnyArray, bias_at: int, dynamic: bool
) -> None:
    """The product of `a` with the integers of input 1, and the bias of input `bias_at`, if there is one."""
    name, factors = work.dequantized(node, 1, scale, zero, -1)
    label = node.name or node.output[0]
    bias = node.input[bias_at] if len(node.input) > bias_at else ""
    product = work.emit("MatMul", [a, name], "" if bias else node.output[0], label)
    flat = factors.reshape(-1) if factors.size > 1 else factors.reshape(())
    work.marks[label] = Mark({"x": flat}, ("x",) if dynamic else ())
    if bias:
        work.emit("Add", [product, bias], node.output[0])


def _lstm_dynamic(work: Rewriter, node: NodeProto) -> None:
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


HANDLERS: dict[str, Handler] = {
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "DynamicQuantizeLinear": _dynamic,
    "MatMulInteger": _integer_product("MatMul"),
    "ConvInteger": _integer_product("Conv"),
    "QLinearMatMul": _linear_product("MatMul"),
    "QLinearConv": _linear_product("Conv"),
    "QGemm": _linear_product("Gemm"),
    "QLinearAdd": _linear_pointwise("Add", 2),
    "QLinearMul": _linear_pointwise("Mul", 2),
    "QLinearSigmoid": _linear_pointwise("Sigmoid", 1),
    "QLinearLeakyRelu": _linear_pointwise("LeakyRelu", 1),
    "QLinearSoftmax": _linear_pointwise("Softmax", 1),
    "QLinearConcat": _linear_concat,
    "MatMulIntegerToFloat": _integer_to_float,
    "DynamicQuantizeMatMul": _matmul_dynamic,
    "DynamicQuantizeLSTM": _lstm_dynamic,
}
