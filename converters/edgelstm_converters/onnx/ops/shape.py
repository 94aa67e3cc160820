"""Shapes as values: Shape, Size, ConstantOfShape, Expand, Tile, Mod."""

from __future__ import annotations

import numpy as np

from edgelstm.graph.dims import Dim, exact_div, product
from edgelstm.graph.shapes import INTEGERS, broadcast_shapes
from edgelstm_converters.onnx.node import OnnxNode
from edgelstm_converters.onnx.reader import tensor_array
from edgelstm_converters.onnx.registry import Result, handles
from edgelstm_converters.onnx.values import Known, Value, integers


@handles("Shape")
def shape(node: OnnxNode) -> Result:
    """The sizes of a value, or those of axes start to end."""
    sizes = node.shape(node.input(0))
    start, end = 0, len(sizes)
    if node.opset >= 15:
        start, end = node.attrs.integer("start", 0), node.attrs.integer("end", len(sizes))
    return integers(list(sizes)[start:end])


@handles("Size")
def size(node: OnnxNode) -> Result:
    """The number of entries of a value."""
    return integers(product(node.shape(node.input(0))))


@handles("Mod", since=10)
def mod(node: OnnxNode) -> Result:
    """The rest of a division of integers: with the sign of the divisor as Python has it, or of the dividend."""
    a, b = node.input(0), node.input(1)
    dividend = node.attrs.integer("fmod", 0)
    if a.type.dtype not in INTEGERS or a.type.dtype != b.type.dtype:
        raise node.refuse(f"of {a.type.dtype} and {b.type.dtype} is not supported: expected integers of one dtype")
    if dividend or not isinstance(a, Known) or not isinstance(b, Known):
        return _rest(node, a, b, bool(dividend))

    def rest(left: Dim, right: Dim) -> Dim:
        left, right = node.symbols.resolve(left), node.symbols.resolve(right)
        if isinstance(left, int) and isinstance(right, int) and right:
            return left % right
        if exact_div(left, right) is None and node.symbols.hint(left) is not None and isinstance(right, int) and right:
            return node.number(left, "a rest") % right
        if exact_div(left, right) is None:
            raise node.refuse(f"the rest of {left} divided by {right} depends on sizes at run time")
        return 0

    entries = np.frompyfunc(rest, 2, 1)(a.array.astype(object), b.array.astype(object))
    return integers(entries, a.type.dtype)


def _rest(node: OnnxNode, a: Value, b: Value, dividend: bool) -> Value:
    """a - b * (a / b), the quotient cut off towards zero; moved by b where its sign is to be the divisor's."""
    rest = node.emit("sub", a, node.emit("mul", b, node.emit("div", a, b)))
    if dividend:
        return rest
    zero = node.scalar(0, rest)
    negative = (node.emit("less", rest, zero), node.emit("less", b, zero))
    other = node.emit("not", node.emit("equal", *negative))
    moved = node.emit("and", other, node.emit("not", node.emit("equal", rest, zero)))
    return node.emit("where", moved, node.emit("add", rest, b), rest)


@handles("ConstantOfShape", since=9)
def constant_of_shape(node: OnnxNode) -> Result:
    """One number repeated; it is not written out before a node needs that."""
    sizes = node.sizes(0, "the shape") or []
    fill = np.zeros(1, np.float32)
    if "value" in node.attrs:
        fill = tensor_array(node.attrs.tensor("value"), node.where).reshape(-1)
        if fill.size != 1:
            raise node.refuse(f"value: expected one number, got {fill.size}")
    return Known(fill.reshape((1,) * len(sizes)), fill.dtype.name, tuple(sizes))


@handles("Expand", since=8)
def expand(node: OnnxNode) -> Result:
    """Repeat along axes of size 1; an axis of the target may also be 1."""
    x, target = node.input(0), node.sizes(1, "the shape") or []
    full = _expanded(node, x, target)
    if full == node.shape(x):
        return x
    return node.emit("broadcast", x, shape=full)


def _expanded(node: OnnxNode, x: Value, target: list[Dim]) -> tuple[Dim, ...]:
    if not isinstance(x, Known):
        return node.symbols.shape(broadcast_shapes([node.shape(x), tuple(target)], node.symbols.same))
    # A constant that repeats one entry along an axis takes the size that the target asks for there.
    mine: list[Dim] = [*[1] * max(len(target) - len(x.shape), 0), *node.shape(x)]
    wanted: list[Dim] = [*[1] * (len(mine) - len(target)), *target]
    return tuple(own if ask == 1 else ask for own, ask in zip(mine, wanted, strict=True))


@handles("Tile", since=6)
def tile(node: OnnxNode) -> Result:
    """Repeat along axes of size 1; other axes are repeated where the count is a number."""
    x, repeats = node.input(0), node.sizes(1, "the list of repeats") or []
    if len(repeats) != node.rank(x):
        raise node.refuse(f"expected {node.rank(x)} repeats, got {len(repeats)}")
    for axis, count in enumerate(repeats):
        if count == 1:
            continue
        dims = list(node.shape(x))
        if dims[axis] == 1:
            dims[axis] = count
            x = node.emit("broadcast", x, shape=tuple(dims))
        elif isinstance(count, int) and 1 < count <= 1024:
            x = node.emit_all("concat", [x] * count, axis=axis)[0]
        else:
            raise node.refuse(f"axis {axis} of size {dims[axis]} repeated {count} times is not supported")
    return x
