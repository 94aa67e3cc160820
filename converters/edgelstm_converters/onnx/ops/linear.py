"""Products: Gemm and MatMul become `linear` where the right side is a constant matrix."""

from __future__ import annotations

import numpy as np

from edgelstm_converters.onnx.node import OnnxNode
from edgelstm_converters.onnx.registry import Result, handles
from edgelstm_converters.onnx.values import AnyArray, Known, Value, known, write_out


def _matrix(node: OnnxNode, value: Value) -> AnyArray | None:
    """A constant matrix, written out."""
    if not isinstance(value, Known) or len(value.shape) != 2:
        return None
    return write_out(value, node.symbols)


@handles("MatMul")
def matmul(node: OnnxNode) -> Result:
    """NumPy's matmul."""
    a, b = node.input(0), node.input(1)
    w = _matrix(node, b)
    if w is None or isinstance(a, Known):
        return node.emit("matmul", a, b)
    w = np.ascontiguousarray(w.T)
    name = b.name if isinstance(b, Known) else ""
    if node.rank(a) > 1:
        return node.emit("linear", a, known(w, name))
    row = node.reshape(a, [1, *node.shape(a)])
    return node.reshape(node.emit("linear", row, known(w, name)), [w.shape[0]])


@handles("Gemm")
def gemm(node: OnnxNode) -> Result:
    """alpha * A' @ B' + beta * C, with A' and B' transposed on demand and C broadcast."""
    a, b, c = node.input(0), node.input(1), node.optional(2)
    alpha, beta = node.attrs.number("alpha", 1.0), node.attrs.number("beta", 1.0)
    if node.attrs.integer("transA", 0):
        a = node.transpose(a, (1, 0))
    transposed = node.attrs.integer("transB", 0)
    if node.opset < 7:
        node.attrs.integer("broadcast", 0)
    w = _matrix(node, b)
    if w is None or isinstance(a, Known):
        product = node.emit("matmul", a, node.transpose(b, (1, 0)) if transposed else b)
        product = _scaled(node, product, alpha)
    else:
        name = b.name if isinstance(b, Known) else ""
        w = w if transposed else np.ascontiguousarray(w.T)
        if alpha != 1.0:
            w = w * np.float32(alpha)
        bias = _bias(node, c, w.shape[0], beta)
        if bias is not None:
            return node.emit("linear", a, known(w, name), bias)
        product = node.emit("linear", a, known(w, name))
    return product if c is None or beta == 0.0 else node.emit("add", product, _scaled(node, c, beta))


def _scaled(node: OnnxNode, value: Value, factor: float) -> Value:
    return value if factor == 1.0 else node.emit("mul", value, node.scalar(factor, value))


def _bias(node: OnnxNode, c: Value | None, size: int, beta: float) -> Known | None:
    """C as one number per column, where it is a constant of that form."""
    if not isinstance(c, Known) or beta == 0.0:
        return None
    array = write_out(c, node.symbols)
    if array is None or array.dtype != np.float32 or array.shape not in ((), (1,), (1, 1), (size,), (1, size)):
        return None
    bias = np.ascontiguousarray(np.broadcast_to(array.reshape(-1), (size,)))
    return known(bias if beta == 1.0 else bias * np.float32(beta), c.name)
