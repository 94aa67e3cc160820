"""Reductions over axes, ArgMax and ArgMin."""

from __future__ import annotations

from edgelstm.graph.ir import Attr
from edgelstm_converters.onnx.node import OnnxNode
from edgelstm_converters.onnx.registry import Result, handles
from edgelstm_converters.onnx.values import Value

_OPS = {
    "ReduceSum": "reduce_sum",
    "ReduceMean": "reduce_mean",
    "ReduceMax": "reduce_max",
    "ReduceMin": "reduce_min",
    "ReduceProd": "reduce_prod",
}
_COMPOSED = ("ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp")


@handles(*_OPS, *_COMPOSED)
def reduce(node: OnnxNode) -> Result:
    """Axes are an attribute before opset 18 (ReduceSum: 13), an input since."""
    x = node.input(0)
    keepdims = node.attrs.integer("keepdims", 1)
    since = 13 if node.op_type == "ReduceSum" else 18
    if node.opset >= since:
        given = node.ints(1, "the list of axes") or []
        keep = node.attrs.integer("noop_with_empty_axes", 0)
        if not given and keep:
            if node.op_type in _COMPOSED:
                raise node.refuse("noop_with_empty_axes=1 without axes is not supported")
            return x
    else:
        given = list(node.attrs.integers("axes", ()))
    axes = tuple(sorted({node.axis(axis, node.rank(x)) for axis in given})) or tuple(range(node.rank(x)))
    return _reduced(node, x, {"axes": axes, "keepdims": keepdims})


def _reduced(node: OnnxNode, x: Value, attrs: dict[str, Attr]) -> Value:
    match node.op_type:
        case "ReduceSumSquare":
            return node.emit("reduce_sum", node.emit("mul", x, x), **attrs)
        case "ReduceL1":
            return node.emit("reduce_sum", node.emit("abs", x), **attrs)
        case "ReduceL2":
            return node.emit("sqrt", node.emit("reduce_sum", node.emit("mul", x, x), **attrs))
        case "ReduceLogSum":
            return node.emit("log", node.emit("reduce_sum", x, **attrs))
        case "ReduceLogSumExp":
            highest = node.emit("reduce_max", x, axes=attrs["axes"], keepdims=1)
            total = node.emit("reduce_sum", node.emit("exp", node.emit("sub", x, highest)), **attrs)
            if not attrs["keepdims"]:
                highest = node.emit("reduce_max", x, **attrs)
            return node.emit("add", node.emit("log", total), highest)
        case op_type:
            return node.emit(_OPS[op_type], x, **attrs)


@handles("ArgMax")
def argmax(node: OnnxNode) -> Result:
    """Index of the largest entry along an axis."""
    x = node.input(0)
    return node.emit(
        "argmax",
        x,
        axis=node.axis(node.attrs.integer("axis", 0), node.rank(x)),
        keepdims=node.attrs.integer("keepdims", 1),
        select_last=node.attrs.integer("select_last_index", 0) if node.opset >= 12 else 0,
    )


@handles("ArgMin")
def argmin(node: OnnxNode) -> Result:
    """ArgMax of the negated value."""
    x = node.input(0)
    if x.type.dtype == "uint8":
        raise node.refuse("ArgMin of uint8 is not supported: expected float32 or signed integers")
    return node.emit(
        "argmax",
        node.emit("neg", x),
        axis=node.axis(node.attrs.integer("axis", 0), node.rank(x)),
        keepdims=node.attrs.integer("keepdims", 1),
        select_last=node.attrs.integer("select_last_index", 0) if node.opset >= 12 else 0,
    )
