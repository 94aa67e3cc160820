"""Evaluate operators on values that are known before anything runs.

Plain arrays go through the reference definition of the operator. Arrays with symbolic entries, which
is what shapes are, have the few definitions here. Repeated values (an axis of size 1 that stands for
a longer one) stay unrepeated for as long as they can.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgelstm.errors import FormatError, InputError, UnsupportedError
from edgelstm.graph.dims import Dim, Expr, Shape, exact_div
from edgelstm.graph.ir import DTYPES, Node
from edgelstm.graph.shapes import broadcast_shapes
from edgelstm.reference import evaluate
from edgelstm.reference.pointwise import FAMILY as POINTWISE
from edgelstm_converters.onnx.symbols import Symbols
from edgelstm_converters.onnx.values import AnyArray, Known, Undecided, integers

_ANY_NUMBERS = ("cast", "identity", "equal", "less", "greater")  # what floats that stand for sizes may go through
MAX_ELEMENTS = 1 << 23  # a repeated or computed constant beyond this, and beyond four times its inputs, is refused
MAX_SYMBOLIC = 1 << 16  # entries of a value that are sizes
MAX_STEPS = 1 << 16  # of a recurrent layer on constants
INTEGERS = ("int64", "int32", "bool", "uint8")


def fold(node: Node, inputs: Sequence[Known | None], symbols: Symbols) -> list[Known] | None:
    """The outputs of a node whose inputs are all known, or None where that needs repeated values written out.

    Raises:
        UnsupportedError: a symbolic size meets an operator that shapes do not go through.
    """
    given = [value for value in inputs if value is not None]
    if node.op == "arange" and not isinstance(_attr(node, "shape")[0], int):
        return None
    if any(value.symbolic and value.array.size > MAX_SYMBOLIC for value in given):
        raise UnsupportedError(f"{node.where}: a list of more than {MAX_SYMBOLIC} sizes is not computed with")
    if node.op in POINTWISE:
        return [_pointwise(node, given, symbols)]
    if node.op in _MOVEMENT and (move := _MOVEMENT[node.op](node, given, symbols)) is not None:
        return [move]
    inputs = [None if value is None else _plain(value, symbols) for value in inputs]
    if all(value is None or value.plain for value in inputs):
        _check_size(node, inputs, symbols)
        settled = _settled(node, symbols)
        if settled is None:
            return None
        node = settled
        results = evaluate(node, [None if value is None else value.array for value in inputs])
        return [Known(np.asarray(array), np.asarray(array).dtype.name, np.asarray(array).shape) for array in results]
    if any(value.symbolic for value in given):
        if node.op == "reduce_prod" and given[0].array.ndim == 1:
            return [_reduce_prod(node, given[0])]
        raise UnsupportedError(
            f"{node.where}: {node.op} of sizes that are only known at run time is not supported;"
            " export the model with fixed sizes there"
        )
    return None


def _plain(value: Known, symbols: Symbols) -> Known:
    """The value written out, where its sizes are numbers."""
    whole = write_out(value, symbols)
    return value if whole is None else Known(whole, value.dtype, whole.shape, value.name)


def write_out(value: Known, symbols: Symbols) -> AnyArray | None:
    """The whole array of a value; None where a size or an entry is symbolic."""
    if value.plain:
        return value.array
    shape = symbols.shape(value.shape)
    sizes = [size for size in shape if isinstance(size, int)]
    if value.symbolic or len(sizes) < len(shape):
        return None
    check_elements(sizes, value.array.size)
    if any(held not in (1, size) for held, size in zip(value.array.shape, sizes, strict=True)):
        raise FormatError(f"a constant of shape {list(value.array.shape)} would have to be {sizes}")
    return np.ascontiguousarray(np.broadcast_to(value.array, sizes))


def check_elements(sizes: Sequence[int], held: int = 0) -> None:
    """Refuse an array that would be too large, before it is allocated.

    Args:
        sizes: its shape.
        held: elements that the file itself holds of it.
    """
    limit = max(MAX_ELEMENTS, 4 * held)
    if math.prod(sizes) > limit:
        raise UnsupportedError(f"a constant of shape {list(sizes)} is too large: at most {limit} elements are computed")


def _check_size(node: Node, inputs: Sequence[Known | None], symbols: Symbols) -> None:
    from edgelstm.graph.ops import infer

    if all(value is None or value.dtype in DTYPES for value in inputs):
        held = sum(value.array.size for value in inputs if value is not None)
        _check_work(node, inputs, symbols)
        for kind in infer(node, [None if value is None else value.type for value in inputs], symbols.same):
            check_elements([size for size in symbols.shape(kind.shape) if isinstance(size, int)], held)


def _check_work(node: Node, inputs: Sequence[Known | None], symbols: Symbols) -> None:
    """Refuse what would take long to compute, before it is."""
    x, *others = [value.array for value in inputs if value is not None] or [np.zeros(0)]
    work = 8 * sum(value.array.size for value in inputs if value is not None)
    if node.op in ("linear", "conv"):
        work = x.size * others[0].shape[0] * math.prod(others[0].shape[2:])
    elif node.op == "matmul" and others[0].ndim:
        work = x.size * math.prod(others[0].shape[:-2]) * others[0].shape[-1]
    steps = x.shape[0] if node.op in ("rnn", "gru", "lstm") and x.ndim else 0
    if steps > MAX_STEPS or not symbols.spend(work):
        raise UnsupportedError(f"{node.where}: on constants of these sizes it would be computed for too long")


def _settled(node: Node, symbols: Symbols) -> Node | None:
    """The node with its sizes as numbers; None where one is free."""
    attrs: dict[str, Any] = dict(node.attrs)
    for name, value in attrs.items():
        if isinstance(value, tuple) and any(isinstance(dim, Expr) for dim in value):
            attrs[name] = symbols.shape(value)
    if any(isinstance(dim, Expr) for value in attrs.values() if isinstance(value, tuple) for dim in value):
        return None
    return replace(node, attrs=attrs)


def _pointwise(node: Node, inputs: Sequence[Known], symbols: Symbols) -> Known:
    mixed = inputs[1:] if node.op == "where" else inputs
    if len({value.dtype for value in mixed}) > 1:
        raise InputError(f"expected inputs of one dtype, got {', '.join(str(value.type) for value in inputs)}")
    shape = broadcast_shapes([value.shape for value in inputs], symbols.same)
    held = sum(value.array.size for value in inputs)
    sizes = np.broadcast_shapes(*(value.array.shape for value in inputs))
    check_elements(sizes, held)
    if not symbols.spend(8 * math.prod(sizes)):
        raise UnsupportedError(f"{node.where}: the constants of this model would be computed for too long")
    rank = len(shape)
    if any(value.symbolic for value in inputs):
        if (define := _symbolic(node, symbols)) is None:
            raise UnsupportedError(f"{node.where}: {node.op} of sizes that are only known at run time is not supported")
        if node.op not in _ANY_NUMBERS and any(value.symbolic and value.dtype not in INTEGERS for value in inputs):
            raise UnsupportedError(
                f"{node.where}: a size that is only known at run time cannot be used as {inputs[0].dtype}"
            )
        results = np.frompyfunc(define, len(inputs), 1)(*(value.array.astype(object) for value in inputs))
        entries, dtype = np.asarray(results, object), _result_dtype(node, inputs)
        if dtype not in INTEGERS and node.op == "cast" and _free(entries, symbols):
            return Known(entries, dtype, shape)  # to be compared with other sizes, as loops do
        if dtype not in INTEGERS:
            numbers = _numbers(entries, dtype, node, symbols)
            return Known(numbers.reshape((1,) * (rank - numbers.ndim) + numbers.shape), dtype, shape)
        folded = integers(entries, dtype)
        array = folded.array.reshape((1,) * (rank - folded.array.ndim) + folded.array.shape)
        return Known(array, dtype, shape)
    if node.op == "cast":
        with np.errstate(all="ignore"):
            result = inputs[0].array.astype(str(node.attrs["to"]))
    else:
        (result,) = evaluate(node, [value.array for value in inputs])
    result = np.asarray(result)
    return Known(result.reshape((1,) * (rank - result.ndim) + result.shape), result.dtype.name, shape)


def _free(entries: AnyArray, symbols: Symbols) -> bool:
    """Whether a size that the file leaves free is among the entries."""
    return any(isinstance(entry, Expr) and symbols.hint(entry) is None for entry in entries.flat)


def _numbers(entries: AnyArray, dtype: str, node: Node, symbols: Symbols) -> AnyArray:
    """Sizes as numbers of another dtype: those that the file fixes become exact."""
    whole = [
        symbols.pin(entry, f"its use as {dtype}") if isinstance(entry, Expr) else entry for entry in entries.reshape(-1)
    ]
    if any(entry is None or isinstance(entry, Undecided) for entry in whole):
        raise UnsupportedError(f"{node.where}: a size that is only known at run time cannot become {dtype}")
    return np.asarray(whole, dtype).reshape(entries.shape)


def _result_dtype(node: Node, inputs: Sequence[Known]) -> str:
    if node.op == "cast":
        return str(node.attrs["to"])
    if node.op in ("equal", "less", "greater", "and", "or", "not"):
        return "bool"
    return inputs[-1].dtype


def _symbolic(node: Node, symbols: Symbols) -> Callable[..., Any] | None:
    def compare(relation: str) -> Callable[[Any, Any], bool | Undecided]:
        def define(a: Any, b: Any) -> bool | Undecided:
            if isinstance(a, Undecided) or isinstance(b, Undecided):
                raise UnsupportedError(f"{node.where}: a comparison that depends on sizes at run time is not supported")
            a, b = _size(a, node), _size(b, node)
            sign = symbols.sign(a - b)
            if sign is None:
                return Undecided(a, relation, b)
            return {"equal": sign == 0, "less": sign < 0, "greater": sign > 0}[relation]

        return define

    table: dict[str, Callable[..., Any]] = {
        "identity": lambda a: a,
        "cast": lambda a: _cast(a, str(node.attrs["to"]), node),
        "neg": lambda a: -a,
        "add": lambda a, b: a + b,
        "sub": lambda a, b: a - b,
        "mul": lambda a, b: a * b,
        "div": lambda a, b: _divide(a, b, node, symbols),
        "maximum": lambda a, b: _larger(a, b, node, symbols),
        "minimum": lambda a, b: -_larger(-a, -b, node, symbols),
        "equal": compare("equal"),
        "less": compare("less"),
        "greater": compare("greater"),
        "not": lambda a: Undecided(a.left, a.relation, a.right, not a.negated) if isinstance(a, Undecided) else not a,
        "and": lambda a, b: _logic(a, b, False),
        "or": lambda a, b: _logic(a, b, True),
        "where": lambda c, a, b: _choose(c, a, b, symbols),
    }
    return table.get(node.op)


def _size(entry: Any, node: Node) -> Dim:
    """What is compared with a size; a float that is a whole number is one."""
    if isinstance(entry, (Expr, int)):
        return entry
    if float(entry).is_integer():
        return int(entry)
    raise UnsupportedError(f"{node.where}: compares a size with {entry}, which is not supported")


def _cast(entry: Any, to: str, node: Node) -> Any:
    if isinstance(entry, Undecided):
        if to == "bool":
            return entry
        raise UnsupportedError(f"{node.where}: a comparison that depends on sizes at run time cannot become {to}")
    return entry


def _divide(a: Dim, b: Dim, node: Node, symbols: Symbols) -> Dim:
    a, b = symbols.resolve(a), symbols.resolve(b)
    if isinstance(a, int) and isinstance(b, int) and b:
        return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    if (quotient := exact_div(a, b)) is not None:
        return quotient
    if isinstance(b, int) and b > 0 and symbols.sign(a) == 1:
        return a // b
    raise UnsupportedError(f"{node.where}: the size {symbols.text(a)} divided by {symbols.text(b)} cannot be stated")


def _larger(a: Dim, b: Dim, node: Node, symbols: Symbols) -> Dim:
    sign = symbols.sign(a - b)
    if sign is None and symbols.pin(a - b, "which of two sizes is larger") is not None:
        a, b = symbols.resolve(a), symbols.resolve(b)
        sign = symbols.sign(a - b)
    if sign is None:
        raise UnsupportedError(
            f"{node.where}: which of {symbols.text(a)} and {symbols.text(b)} is larger depends on sizes at run time"
        )
    return a if sign >= 0 else b


def _logic(a: Any, b: Any, absorbing: bool) -> Any:
    for left, right in ((a, b), (b, a)):
        if not isinstance(left, Undecided):
            return absorbing if bool(left) is absorbing else right
    return a if a == b else _undecidable()


def _undecidable() -> Any:
    raise UnsupportedError("a condition that depends on two sizes at run time is not supported")


def decide(condition: Undecided, symbols: Symbols) -> bool | None:
    """A comparison at the sizes that the file fixes, which become exact; None where a size is free."""
    difference = condition.left - condition.right
    symbols.pin(difference, f"the condition {condition}")
    sign = symbols.sign(difference)
    if sign is None:
        return None
    holds = {"equal": sign == 0, "less": sign < 0, "greater": sign > 0}[condition.relation]
    return holds != condition.negated


def _choose(condition: Any, a: Any, b: Any, symbols: Symbols) -> Any:
    if isinstance(condition, Undecided):
        if symbols.resolve(a) == symbols.resolve(b):
            return a
        decided = decide(condition, symbols)
        if decided is None:
            raise UnsupportedError(f"whether {condition} depends on sizes at run time")
        condition = decided
    return a if condition else b


# Operators that move entries, on arrays that may be symbolic or repeated. None: write the value out first.


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


def uniform(array: AnyArray, axis: int) -> bool:
    """Whether all entries along an axis are the same."""
    return bool(array.size) and bool(np.all(array == array.take([0], axis)))


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


def _reduce_prod(node: Node, value: Known) -> Known:
    total: Dim = 1
    for entry in value.array:
        total = total * entry
    return integers([total] if node.attrs["keepdims"] else total, value.dtype)


def _attr(node: Node, name: str) -> Any:
    return node.attrs[name]


def _sizes(shape: Shape) -> list[int]:
    sizes = [size for size in shape if not isinstance(size, Expr)]
    if len(sizes) < len(shape):
        raise UnsupportedError(f"a list of sizes cannot take the shape {shape}")
    return sizes


_MOVEMENT: Mapping[str, Callable[[Node, Sequence[Known], Symbols], Known | None]] = {
    "reshape": _reshape,
    "transpose": _transpose,
    "slice": _slice,
    "concat": _concat,
    "broadcast": _broadcast,
    "gather": _gather,
}
