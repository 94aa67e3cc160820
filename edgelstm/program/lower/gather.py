"""Looking up by index at run time: gather (embeddings), put (histories) and reverse_sequence.

Indices and lengths are data: the kernels check each one and report status 1 where it is out of range. Indices that
come from outside are looked at first of all, before anything has been written that would have to be put back.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from edgelstm.errors import InputError
from edgelstm.graph.ir import Node
from edgelstm.program.lower.movement import emit_copy, view
from edgelstm.program.lower.strides import compact, flag, region, sizes
from edgelstm.program.opcodes import Fields, Opcode, Region

if TYPE_CHECKING:
    from edgelstm.program.lowering import Lowering


def _check_gather(fields: Fields) -> list[Region]:
    outer, count, inner = sizes(fields, "outer", "count", "inner")
    (size,) = sizes(fields, "size", least=0)
    return [
        region(fields["table"], outer * size * inner),
        region(fields["indices"], count),
        region(fields["y"], outer * count * inner, write=True),
    ]


def _check_put(fields: Fields) -> list[Region]:
    outer, size, inner = sizes(fields, "outer", "size", "inner")
    return [
        region(fields["value"], outer * inner),
        region(fields["index"], 1),
        region(fields["y"], outer * size * inner, write=True),
    ]


def _check_bound(fields: Fields) -> list[Region]:
    (count,) = sizes(fields, "count")
    sizes(fields, "size", least=0)
    flag(fields, "backward")
    return [region(fields["indices"], count)]


def _check_reverse(fields: Fields) -> list[Region]:
    time, batch, inner = sizes(fields, "time", "batch", "inner")
    flag(fields, "batch_first")
    return [
        region(fields["x"], time * batch * inner),
        region(fields["lengths"], batch),
        region(fields["y"], time * batch * inner, write=True),
    ]


# Word (o, j, i) of y is word (o, indices[j], i) of the table
GATHER = Opcode(
    21, "gather", ("table", "indices", "y", "outer", "size", "count", "inner"), _check_gather, ("table", "indices", "y")
)
# Step t of row b is step lengths[b] - 1 - t of x while t < lengths[b], then step t
REVERSE = Opcode(
    22, "reverse", ("x", "lengths", "y", "time", "batch", "inner", "batch_first"), _check_reverse, ("x", "lengths", "y")
)

# Word (o, index, i) of y becomes word (o, i) of value; an index below 0 is out of range, too
PUT = Opcode(23, "put", ("value", "index", "y", "outer", "size", "inner"), _check_put, ("value", "index", "y"))
# Every index is below size, and at least 0, or -size where `backward`
BOUND = Opcode(24, "bound", ("indices", "count", "size", "backward"), _check_bound, ("indices",))


def lower_gather(node: Node, to: Lowering) -> None:
    """One constant index is a view; anything else looks up at run time."""
    attrs: Mapping[str, Any] = node.attrs
    table, indices = node.inputs
    shape = to.shape(table)
    axis = attrs["axis"] % len(shape)
    known = to.constant(indices)
    if known is not None:
        _in_range(node, known.min(initial=0), known.max(initial=-1), shape[axis], axis)
    if known is not None and known.size == 1:
        index = int(known.reshape(-1)[0]) % shape[axis]
        strides = compact(shape)
        rest = [length for length in range(len(shape)) if length != axis]
        view(node, to, [shape[a] for a in rest], [strides[a] for a in rest], index * strides[axis])
        return
    operands = {"table": to.operand(table), "indices": to.operand(indices), "y": to.result(node.outputs[0])}
    counts = {
        "outer": prod(shape[:axis]),
        "size": shape[axis],
        "count": prod(to.shape(indices)),
        "inner": prod(shape[axis + 1 :]),
    }
    if prod(to.shape(node.outputs[0])):
        to.emit(GATHER, **operands, **counts)


def _in_range(node: Node, low: int, high: int, size: int, axis: int) -> None:
    if low < -size or high >= size:
        raise InputError(
            f"{node.where}: constant indices from {low} to {high} into axis {axis} of size {size}:"
            f" expected {-size} to {size - 1}"
        )


def lower_put(node: Node, to: Lowering) -> None:
    """Where y does not stand in the place of x, all of x is copied first."""
    attrs: Mapping[str, Any] = node.attrs
    x, value, index = node.inputs
    shape = to.shape(x)
    axis = attrs["axis"] % len(shape)
    known = to.constant(index)
    if known is not None and not 0 <= known.item() < shape[axis]:
        raise InputError(
            f"{node.where}: constant index {known.item()} into axis {axis}: expected 0 to {shape[axis] - 1}"
        )
    operands = {"value": to.operand(value), "index": to.operand(index), "y": to.result(node.outputs[0])}
    if not prod(shape):
        return
    if operands["y"] != to.operand(x):
        emit_copy(to, operands["y"], to.operand(x), prod(shape))
    to.emit(PUT, **operands, outer=prod(shape[:axis]), size=shape[axis], inner=prod(shape[axis + 1 :]))


def emit_bound(node: Node, to: Lowering) -> None:
    """Look at the indices of a gather or put."""
    table, indices = node.inputs[0], node.inputs[-1]
    count, shape = prod(to.shape(indices)), to.shape(table)
    axis: Any = node.attrs["axis"]
    if count and prod(to.shape(node.outputs[0])):
        to.emit(BOUND, indices=to.operand(indices), count=count, size=shape[axis], backward=int(node.op == "gather"))


def lower_reverse_sequence(node: Node, to: Lowering) -> None:
    """Each row of the batch turned round over its own length."""
    attrs: Mapping[str, Any] = node.attrs
    x, lengths = node.inputs
    shape = to.shape(x)
    operands = {"x": to.operand(x), "lengths": to.operand(lengths), "y": to.result(node.outputs[0])}
    time_axis, batch_axis = attrs["time_axis"] % len(shape), attrs["batch_axis"] % len(shape)
    counts = {"time": shape[time_axis], "batch": shape[batch_axis], "inner": prod(shape[2:])}
    if prod(shape):
        to.emit(REVERSE, **operands, **counts, batch_first=int(batch_axis == 0))


OPCODES = (GATHER, REVERSE, PUT, BOUND)
LOWER = {"gather": lower_gather, "put": lower_put, "reverse_sequence": lower_reverse_sequence}
