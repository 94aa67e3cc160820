"""Softmax and LogSoftmax; before opset 13 they flatten everything from `axis` on."""

from __future__ import annotations

from edgelstm.graph.dims import product
from edgelstm_converters.onnx.node import OnnxNode
from edgelstm_converters.onnx.registry import Result, handles

_OPS = {"Softmax": "softmax", "LogSoftmax": "log_softmax"}


@handles(*_OPS, since=13)
def softmax(node: OnnxNode) -> Result:
    """Along one axis."""
    x = node.input(0)
    return node.emit(_OPS[node.op_type], x, axis=node.axis(node.attrs.integer("axis", -1), node.rank(x)))


@handles(*_OPS, until=12)
def softmax_before_13(node: OnnxNode) -> Result:
    """Over all axes from `axis` on, taken together."""
    x = node.input(0)
    shape = node.shape(x)
    axis = node.attrs.integer("axis", 1)
    axis = len(shape) if axis == len(shape) else node.axis(axis, len(shape))
    if axis == len(shape) - 1:
        return node.emit(_OPS[node.op_type], x, axis=axis)
    flat = node.reshape(x, [product(shape[:axis]), product(shape[axis:])])
    return node.reshape(node.emit(_OPS[node.op_type], flat, axis=1), shape)
