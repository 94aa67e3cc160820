"""Operators that move entries, on arrays that may be symbolic or repeated. None: write the value out first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import InputError, UnsupportedError
from edgelstm.graph.dims import Expr, Shape
from edgelstm.graph.ir import Node
from edgelstm_converters.onnx.symbols import Symbols
from edgelstm_converters.onnx.values import INTEGERS, AnyArray, Known, check_elements, integers, uniform


def _reshape(node: Node, inputs: Sequence[Known], symbols: Symbols) -> Known | None:
    (value,), shape = inputs, symbols.shape(_attr(node, "shape"))
    if value.array.size == 1:
        return Known(value.array.reshape((1,) * len(shape)), value.dtype, shape)
    mine = symbols.shape(value.shape)
    if value.symbolic and value.shape == value.array.shape:
        return integers(value.array.reshape(_sizes(shape)), value.dtype)
    kept, wanted = [d for d in mine if d != 1], [d for d in shape if d != 1]
    if kept != wanted or value.plain:
        return None
    lengths = iter([size for size, dim in zip(value.array.shape, mine, strict=True) if dim != 1])
    return Known(value.array.reshape([1 if dim == 1 else next(lengths) for dim in shape]), value.dtype, shape)


def _transpose(node: Node, inputs: Sequence[Known], symbols: Symbols) -> Known | None:
    (value,), perm = inputs, [int(axis) for axis in _attr(node, "perm")]
    return Known(value.array.transpose(perm), value.dtype, tuple(value.shape[axis] for axis in perm))


def _slice(node: Node, inputs: Sequence[Known], symbols: Symbols) -> Known | None:
    (value,), array, shape = inputs, inputs[0].array, list(inputs[0].shape)
    starts, stops = (symbols.shape(_attr(node, key)) for key in ("starts", "stops"))
    for axis, start, stop, step in zip(_attr(node, "axes"), starts, stops, _attr(node, "steps"), strict=True):
        if step > 0:
            count = (stop - start + step - 1) // step
        else:
            count = (start - stop - step - 1) // -step
        repeated = array.shape[axis] == 1 and symbols.resolve(shape[axis]) != 1
        shape[axis] = count if not isinstance(count, int) else max(count, 0)
        if repeated and count != 0:
            continue
        if not isinstance(start, int) or not isinstance(stop, int):
            return None
        index = [slice(None)] * array.ndim
        index[axis] = slice(start, None if stop < 0 else stop, step)
        array = array[tuple(index)]
    return Known(array, value.dtype, tuple(shape))


def _concat(node: Node, inputs: Sequence[Known], symbols: Symbols) -> Known | None:
    axis = int(_attr(node, "axis")) % len(inputs[0].shape)
    shape = list(inputs[0].shape)
    for value in inputs[1:]:
        if len(value.shape) != len(shape):
            raise InputError(f"expected inputs of one rank, got {inputs[0].type} and {value.type}")
        for index, dim in enumerate(value.shape):
            shape[index] = shape[index] + dim if index == axis else symbols.same(shape[index], dim, f"axis {index}")
    if len({value.dtype for value in inputs}) > 1:
        return None
    if any(value.array.shape[axis] != symbols.resolve(value.shape[axis]) for value in inputs):
        first = inputs[0].array
        alike = first.shape[axis] == 1 and all(_equal(first, value.array) for value in inputs)
        return Known(first, inputs[0].dtype, tuple(shape)) if alike else None
    lengths = [max(value.array.shape[i] for value in inputs) for i in range(len(shape))]
    lengths[axis] = sum(value.array.shape[axis] for value in inputs)
    check_elements(lengths, sum(value.array.size for value in inputs))
    parts = [
        np.broadcast_to(value.array, [*lengths[:axis], value.array.shape[axis], *lengths[axis + 1 :]])
        for value in inputs
    ]
    array = np.concatenate([part.astype(object) for part in parts] if any(v.symbolic for v in inputs) else parts, axis)
    return integers(array, inputs[0].dtype) if array.dtype == object else Known(array, inputs[0].dtype, tuple(shape))


def _equal(left: AnyArray, right: AnyArray) -> bool:
    return left.shape == right.shape and bool(np.all(left == right))


def _broadcast(node: Node, inputs: Sequence[Known], symbols: Symbols) -> Known | None:
    (value,), shape = inputs, symbols.shape(_attr(node, "shape"))
    array = value.array.reshape((1,) * (len(shape) - value.array.ndim) + value.array.shape)
    full = (1,) * (len(shape) - len(value.shape)) + tuple(symbols.shape(value.shape))
    for axis, (mine, wanted) in enumerate(zip(full, shape, strict=True)):
        if mine == 1 or array.shape[axis] == 1:
            continue
        if not isinstance(wanted, int) and uniform(array, axis):
            array = array.take([0], axis)
            if (size := symbols.hint(wanted)) is not None and size != mine:
                raise InputError(f"cannot repeat axis {axis}: expected {mine}, got {symbols.text(wanted)}")
        else:
            symbols.same(mine, wanted, f"axis {axis} of the expanded value")
    return Known(array, value.dtype, shape)


def _gather(node: Node, inputs: Sequence[Known], symbols: Symbols) -> Known | None:
    table, indices = inputs
    if indices.dtype not in INTEGERS:
        raise InputError(f"input indices: expected integers, got {indices.type}")
    axis = int(_attr(node, "axis"))
    if not indices.plain or (not table.plain and table.array.shape[axis] == 1 and table.shape[axis] != 1):
        return None
    array = np.take(table.array, indices.array, axis)
    shape = (*table.shape[:axis], *indices.array.shape, *table.shape[axis + 1 :])
    return integers(array, table.dtype) if table.symbolic else Known(array, table.dtype, shape)


def _attr(node: Node, name: str) -> Any:
    return node.attrs[name]


def _sizes(shape: Shape) -> list[int]:
    sizes = [size for size in shape if not isinstance(size, Expr)]
    if len(sizes) < len(shape):
        raise UnsupportedError(f"a list of sizes cannot take the shape {shape}")
    return sizes


MOVEMENT: Mapping[str, Callable[[Node, Sequence[Known], Symbols], Known | None]] = {
    "reshape": _reshape,
    "transpose": _transpose,
    "slice": _slice,
    "concat": _concat,
    "broadcast": _broadcast,
    "gather": _gather,
}
