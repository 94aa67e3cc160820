"""Normalisation: Layer, RMS, Instance and Group; Batch with its statistics folded into a scale and a shift."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgelstm.graph.dims import Dim
from edgelstm_converters.onnx.node import OnnxNode
from edgelstm_converters.onnx.registry import Result, handles
from edgelstm_converters.onnx.values import Value, known


@handles("LayerNormalization", since=17)
def layer_norm(node: OnnxNode) -> Result:
    """Over the axes from `axis` on; the mean and the inverse of the deviation where they are wanted."""
    x = node.input(0)
    axis = node.axis(node.attrs.integer("axis", -1), node.rank(x))
    node.attrs.only("stash_type", 1, "statistics in another type than float32")
    epsilon = node.attrs.number("epsilon", 1e-5)
    y = node.emit("layer_norm", x, node.input(1), node.optional(2), axis=axis, epsilon=epsilon)
    if not any(node.wanted[1:]):
        return y
    axes = tuple(range(axis, node.rank(x)))
    mean = node.emit("reduce_mean", x, axes=axes, keepdims=1)
    apart = node.emit("sub", x, mean)
    variance = node.emit("reduce_mean", node.emit("mul", apart, apart), axes=axes, keepdims=1)
    root = node.emit("sqrt", node.emit("add", variance, node.scalar(epsilon, variance)))
    return [y, mean, node.emit("reciprocal", root)]


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


@handles("RMSNormalization", since=23)
def rms_norm(node: OnnxNode) -> Result:
    """x / sqrt(mean(x * x) + epsilon) * scale, over the axes from `axis` on."""
    x = node.input(0)
    axis = node.axis(node.attrs.integer("axis", -1), node.rank(x))
    node.attrs.only("stash_type", 1, "statistics in another type than float32")
    squares = node.emit("reduce_mean", node.emit("mul", x, x), axes=tuple(range(axis, node.rank(x))), keepdims=1)
    return node.emit("mul", _over_root(node, x, squares), node.input(1))


@handles("InstanceNormalization", since=6)
def instance_norm(node: OnnxNode) -> Result:
    """Over all positions of each channel of each row."""
    x = node.input(0)
    y = _standardised(node, x, tuple(range(2, node.rank(x))))
    return _scaled(node, y, node.input(1), node.input(2), [node.shape(x)[1], *[1] * (node.rank(x) - 2)])


@handles("GroupNormalization", since=18)
def group_norm(node: OnnxNode) -> Result:
    """Over all positions of each group of channels; scale and bias per channel, before opset 21 per group."""
    x = node.input(0)
    node.attrs.only("stash_type", 1, "statistics in another type than float32")
    groups = node.attrs.integer("num_groups")
    batch, many, *rest = node.shape(x)
    channels = node.number(many, "the channels")
    if groups < 1 or channels % groups:
        raise node.refuse(f"num_groups={groups} does not divide the channels of {x.type}")
    grouped = node.reshape(x, [batch, groups, channels // groups, *rest])
    y = _standardised(node, grouped, tuple(range(2, node.rank(grouped))))
    if node.opset < 21:
        y = _scaled(node, y, node.input(1), node.input(2), [groups, *[1] * (node.rank(y) - 2)])
        return node.reshape(y, node.shape(x))
    return _scaled(node, node.reshape(y, node.shape(x)), node.input(1), node.input(2), [channels, *[1] * len(rest)])


def _standardised(node: OnnxNode, x: Value, axes: tuple[int, ...]) -> Value:
    """(x - mean) / sqrt(variance + epsilon) over some axes."""
    apart = node.emit("sub", x, node.emit("reduce_mean", x, axes=axes, keepdims=1))
    variance = node.emit("reduce_mean", node.emit("mul", apart, apart), axes=axes, keepdims=1)
    return _over_root(node, apart, variance)


def _over_root(node: OnnxNode, x: Value, squares: Value) -> Value:
    epsilon = node.attrs.number("epsilon", 1e-5)
    return node.emit("div", x, node.emit("sqrt", node.emit("add", squares, node.scalar(epsilon, squares))))


def _scaled(node: OnnxNode, x: Value, scale: Value, shift: Value, shape: Sequence[Dim]) -> Value:
    """x * scale + shift, both brought to a shape that lines up with x's channels."""
    scaled = node.emit("mul", x, node.reshape(scale, shape))
    return node.emit("add", scaled, node.reshape(shift, shape))
