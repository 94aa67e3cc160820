"""LayerNormalization, and BatchNormalization with its statistics folded into a scale and a shift."""

from __future__ import annotations

import numpy as np

from edgelstm_converters.onnx.node import OnnxNode
from edgelstm_converters.onnx.registry import Result, handles
from edgelstm_converters.onnx.values import known


@handles("LayerNormalization", since=17)
def layer_norm(node: OnnxNode) -> Result:
    """Over the axes from `axis` on; the outputs Mean and InvStdDev are not given."""
    x = node.input(0)
    axis = node.axis(node.attrs.integer("axis", -1), node.rank(x))
    node.attrs.only("stash_type", 1, "statistics in another type than float32")
    epsilon = node.attrs.number("epsilon", 1e-5)
    return node.emit("layer_norm", x, node.input(1), node.optional(2), axis=axis, epsilon=epsilon)


@handles("BatchNormalization", since=6)
def batch_norm(node: OnnxNode) -> Result:
    """scale * (x - mean) / sqrt(var + epsilon) + shift, per channel (axis 1), with constant statistics."""
    x = node.input(0)
    epsilon = node.attrs.number("epsilon", 1e-5)
    node.attrs.ignore("momentum", "it concerns training")
    node.attrs.only("training_mode", 0, "statistics of the batch itself")
    node.attrs.only("spatial", 1, "statistics per position")
    if node.opset < 7:
        node.attrs.only("is_test", 1, "statistics of the batch itself")
    roles = ("scale", "B", "mean", "var")
    arrays = [node.constant(index, role) for index, role in enumerate(roles, start=1)]
    found = [array for array in arrays if array is not None]
    if len(found) < len(roles):
        raise node.refuse("scale, B, mean and var are required")
    scale, shift, mean, var = (array.astype(np.float64) for array in found)
    factor = scale / np.sqrt(var + epsilon)
    shape = (-1, *[1] * (node.rank(x) - 2))
    node.symbols.same(x.type.shape[1], len(factor), "channels of the input")
    scaled = node.emit("mul", x, known(factor.astype(np.float32).reshape(shape)))
    return node.emit("add", scaled, known((shift - mean * factor).astype(np.float32).reshape(shape)))
