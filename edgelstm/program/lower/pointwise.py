"""Pointwise functions: one input, two inputs with NumPy broadcasting, selection, conversion."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from edgelstm.graph.ir import Array, Node
from edgelstm.program import functions
from edgelstm.program.lower.strides import (
    axis_fields,
    axis_names,
    broadcast_strides,
    collapse,
    read_axes,
    region,
    sizes,
    walked,
)
from edgelstm.program.opcodes import MAX_RANK, Fields, Opcode, Region, float_bits

if TYPE_CHECKING:
    from edgelstm.program.lowering import Lowering

KINDS = {"float32": "float", "int64": "int", "int32": "int", "uint8": "uint8", "bool": "bool"}
_WRAPPING = ("add", "sub", "mul", "neg")  # results that may leave the range of uint8


def _check_unary(fields: Fields) -> list[Region]:
    (count,) = sizes(fields, "count")
    if fields["function"] not in functions.UNARY_NUMBERS:
        raise ValueError(f"unknown function {fields['function']}")
    for name in ("alpha", "beta"):
        if not -(1 << 31) <= fields[name] < 1 << 31:
            raise ValueError(f"{name} is {fields[name]}: expected the bits of a float32")
    return [region(fields["x"], count), region(fields["y"], count, write=True)]


def _check_binary(fields: Fields) -> list[Region]:
    if fields["function"] not in functions.BINARY_NUMBERS:
        raise ValueError(f"unknown function {fields['function']}")
    return _check_walk(fields, "ab")


def _check_select(fields: Fields) -> list[Region]:
    return _check_walk(fields, "cab")


def _check_walk(fields: Fields, operands: str) -> list[Region]:
    """Operands that are walked with strides, the innermost 0 or 1, into a compact result."""
    lengths = sizes(fields, *axis_names("n"))
    regions = [region(fields["y"], prod(lengths), write=True)]
    for name in operands:
        strides = read_axes(fields, name)
        if strides[-1] not in (0, 1):
            raise ValueError(f"{name}{MAX_RANK - 1} is {strides[-1]}: expected 0 or 1")
        regions.append(walked(fields[name], lengths, strides))
    return regions


UNARY = Opcode(10, "unary", ("x", "y", "count", "function", "alpha", "beta"), _check_unary, ("x", "y"))
BINARY = Opcode(
    11,
    "binary",
    ("a", "b", "y", "function", *axis_names("n"), *axis_names("a"), *axis_names("b")),
    _check_binary,
    ("a", "b", "y"),
)
SELECT = Opcode(
    12,
    "select",
    ("c", "a", "b", "y", *axis_names("n"), *axis_names("c"), *axis_names("a"), *axis_names("b")),
    _check_select,
    ("c", "a", "b", "y"),
)


def emit_unary(to: Lowering, function: int, x: int, y: int, count: int, alpha: float = 0.0, beta: float = 0.0) -> None:
    """y[i] = function(x[i]); y may be x."""
    if count:
        bits = {"alpha": float_bits(alpha), "beta": float_bits(beta)}
        to.emit(UNARY, x=x, y=y, count=count, function=function, **bits)


def lower_unary(node: Node, to: Lowering) -> None:
    """Every function of one input."""
    x, y = node.inputs[0], node.outputs[0]
    count, dtype = prod(to.shape(x)), to.dtype(x)
    if dtype == "float32":
        attrs: Mapping[str, Any] = node.attrs
        alpha, beta = float(attrs.get("alpha", 0.0)), float(attrs.get("beta", 0.0))
        emit_unary(to, functions.UNARY[node.op], to.operand(x), to.result(y), count, alpha, beta)
        return
    source, result = to.operand(x), to.result(y)
    emit_unary(to, functions.UNARY_INTEGER[node.op], source, result, count)
    _wrap(node, to, result, count)


def lower_identity(node: Node, to: Lowering) -> None:
    """The result is its input."""
    to.alias(node.outputs[0], node.inputs[0])


def lower_cast(node: Node, to: Lowering) -> None:
    """Between words of different kinds; int64, int32, uint8 and bool are all int32 words."""
    x, y = node.inputs[0], node.outputs[0]
    source, target = KINDS[to.dtype(x)], KINDS[to.dtype(y)]
    if source != "float":
        narrower = source == "bool" or (source, target) == ("uint8", "int")
        source = target if narrower and target != "float" else "int"
    if source == target:
        to.alias(y, x)
    else:
        emit_unary(to, functions.CONVERSIONS[source, target], to.operand(x), to.result(y), prod(to.shape(x)))


def lower_binary(node: Node, to: Lowering) -> None:
    """Every function of two inputs, broadcast."""
    a, b = node.inputs
    y = node.outputs[0]
    shape = to.shape(y)
    table = functions.BINARY if to.dtype(a) == "float32" else functions.BINARY_INTEGER
    op = node.op
    if op == "pow" and _is_two(to.constant(b)):
        op, b = "mul", a
    operands = {"a": to.operand(a), "b": to.operand(b), "y": to.result(y)}
    if not prod(shape):
        return
    strides = (broadcast_strides(to.shape(a), shape), broadcast_strides(to.shape(b), shape))
    lengths, *walks = collapse(shape, *strides, where=node.where)
    axes = axis_fields("n", lengths, 1) | axis_fields("a", walks[0], 0) | axis_fields("b", walks[1], 0)
    to.emit(BINARY, function=table[op], **operands, **axes)
    _wrap(node, to, operands["y"], prod(shape))


def _is_two(exponent: Array | None) -> bool:
    """A square is a product, to the same bit and much sooner."""
    return exponent is not None and exponent.size == 1 and exponent.item() == 2


def lower_where(node: Node, to: Lowering) -> None:
    """condition ? a : b, broadcast; words are copied whatever they hold."""
    y = node.outputs[0]
    shape = to.shape(y)
    names = ("c", "a", "b")
    operands = {name: to.operand(value) for name, value in zip(names, node.inputs, strict=True)} | {"y": to.result(y)}
    if not prod(shape):
        return
    strides = [broadcast_strides(to.shape(value), shape) for value in node.inputs]
    lengths, *walks = collapse(shape, *strides, where=node.where)
    axes = axis_fields("n", lengths, 1)
    for name, walk in zip(names, walks, strict=True):
        axes |= axis_fields(name, walk, 0)
    to.emit(SELECT, **operands, **axes)


def _wrap(node: Node, to: Lowering, y: int, count: int) -> None:
    """Results of arithmetic on uint8 are modulo 256."""
    if node.op in _WRAPPING and to.dtype(node.outputs[0]) == "uint8":
        emit_unary(to, functions.INT_TO_UINT8, y, y, count)


OPCODES = (UNARY, BINARY, SELECT)
LOWER = {
    **dict.fromkeys({**functions.UNARY, **functions.UNARY_INTEGER}, lower_unary),
    **dict.fromkeys({**functions.BINARY, **functions.BINARY_INTEGER}, lower_binary),
    "identity": lower_identity,
    "cast": lower_cast,
    "where": lower_where,
}
