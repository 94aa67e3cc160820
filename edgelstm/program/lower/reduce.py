"""Reductions over any axes, and argmax along one."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from edgelstm.errors import InputError
from edgelstm.graph.ir import Node
from edgelstm.program import functions
from edgelstm.program.lower.movement import emit_strided
from edgelstm.program.lower.pointwise import emit_unary
from edgelstm.program.lower.strides import compact, flag, region, sizes
from edgelstm.program.opcodes import Fields, Opcode, Region

if TYPE_CHECKING:
    from edgelstm.program.lowering import Lowering


def _check_reduce(fields: Fields) -> list[Region]:
    outer, inner = sizes(fields, "outer", "inner")
    (count,) = sizes(fields, "count", least=0)
    if fields["function"] not in functions.REDUCE_NUMBERS:
        raise ValueError(f"unknown function {fields['function']}")
    return [region(fields["x"], outer * count * inner), region(fields["y"], outer * inner, write=True)]


def _check_argmax(fields: Fields) -> list[Region]:
    outer, count, inner = sizes(fields, "outer", "count", "inner")
    flag(fields, "select_last", "integer")
    return [region(fields["x"], outer * count * inner), region(fields["y"], outer * inner, write=True)]


# y[o, i] = function over r of x[o, r, i], r ascending
REDUCE = Opcode(30, "reduce", ("x", "y", "outer", "count", "inner", "function"), _check_reduce, ("x", "y"))
# y[o, i] = index of the greatest x[o, :, i]; NaN counts as greater than all
ARGMAX = Opcode(
    31, "argmax", ("x", "y", "outer", "count", "inner", "select_last", "integer"), _check_argmax, ("x", "y")
)


def lower_reduce(node: Node, to: Lowering) -> None:
    """Adjacent axes at once where they stand; others are brought together by a copy first."""
    attrs: Mapping[str, Any] = node.attrs
    x, y = node.inputs[0], node.outputs[0]
    shape, dtype = to.shape(x), to.dtype(x)
    reduced = {axis % len(shape) for axis in attrs["axes"]} if shape else set()
    name = node.op.removeprefix("reduce_")
    function = functions.REDUCE[name] if dtype == "float32" else functions.REDUCE_INTEGER[name]
    source, result = to.operand(x), to.result(y)
    words = prod(to.shape(y))
    if not words:
        return
    axes = [axis for axis, size in enumerate(shape) if axis in reduced and size != 1]
    between = [axis for axis in range(axes[0], axes[-1]) if axis not in axes and shape[axis] != 1] if axes else []
    count = prod(shape[axis] for axis in axes)
    if between and count:
        order = [axis for axis in range(len(shape)) if axis not in axes] + axes
        lengths, strides = [shape[axis] for axis in order], compact(shape)
        source, moved = to.work(prod(shape)), source
        emit_strided(to, source, compact(lengths), moved, [strides[axis] for axis in order], lengths, node.where)
        outer, inner = words, 1
    else:
        outer = prod(shape[: axes[0]]) if axes and count else words
        inner = words // outer
    to.emit(REDUCE, x=source, y=result, outer=outer, count=count, inner=inner, function=function)
    if dtype == "uint8" and name in ("sum", "prod"):
        emit_unary(to, functions.INT_TO_UINT8, result, result, words)


def lower_argmax(node: Node, to: Lowering) -> None:
    """Index of the greatest along one axis, the first or the last of equals."""
    attrs: Mapping[str, Any] = node.attrs
    x, y = node.inputs[0], node.outputs[0]
    shape = to.shape(x)
    axis = attrs["axis"] % len(shape)
    operands = {"x": to.operand(x), "y": to.result(y)}
    outer, inner = prod(shape[:axis]), prod(shape[axis + 1 :])
    if not outer * inner:
        return
    if not shape[axis]:
        raise InputError(f"{node.where}: the greatest of axis {axis}, which is empty: expected at least one entry")
    integer = int(to.dtype(x) != "float32")
    to.emit(
        ARGMAX,
        **operands,
        outer=outer,
        count=shape[axis],
        inner=inner,
        select_last=int(bool(attrs["select_last"])),
        integer=integer,
    )


OPCODES = (REDUCE, ARGMAX)
LOWER = {**{f"reduce_{name}": lower_reduce for name in functions.REDUCE}, "argmax": lower_argmax}
