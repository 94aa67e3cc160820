"""Evaluate operators on values that are known before anything runs.

Plain arrays go through the reference definition of the operator. Arrays with symbolic entries, which
is what shapes are, have the few definitions of `folding_sizes.py`. Repeated values (an axis of size 1 that
stands for a longer one) stay unrepeated for as long as they can: `folding_movement.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from edgelstm.errors import InputError, UnsupportedError
from edgelstm.graph.dims import Dim, Expr
from edgelstm.graph.ir import DTYPES, Node
from edgelstm.graph.shapes import broadcast_shapes
from edgelstm.reference import evaluate
from edgelstm.reference.pointwise import FAMILY as POINTWISE
from edgelstm_converters.onnx.folding_movement import MOVEMENT
from edgelstm_converters.onnx.folding_sizes import definition
from edgelstm_converters.onnx.symbols import Symbols
from edgelstm_converters.onnx.values import INTEGERS, AnyArray, Known, Undecided, check_elements, integers, write_out

_ANY_NUMBERS = ("cast", "identity", "equal", "less", "greater")  # what floats that stand for sizes may go through
MAX_SYMBOLIC = 1 << 16  # entries of a value that are sizes
MAX_STEPS = 1 << 16  # of a recurrent layer on constants


def fold(node: Node, inputs: Sequence[Known | None], symbols: Symbols) -> list[Known] | None:
    """The outputs of a node whose inputs are all known, or None where that needs repeated values written out.

    Raises:
        UnsupportedError: a symbolic size meets an operator that shapes do not go through.
    """
    given = [value for value in inputs if value is not None]
    sizes: Any = node.attrs.get("shape")
    if node.op == "arange" and not isinstance(sizes[0], int):
        return None
    if any(value.symbolic and value.array.size > MAX_SYMBOLIC for value in given):
        raise UnsupportedError(f"{node.where}: a list of more than {MAX_SYMBOLIC} sizes is not computed with")
    if node.op in POINTWISE:
        return [_pointwise(node, given, symbols)]
    if node.op in MOVEMENT and (move := MOVEMENT[node.op](node, given, symbols)) is not None:
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
        if (define := definition(node, symbols)) is None:
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


def _reduce_prod(node: Node, value: Known) -> Known:
    total: Dim = 1
    for entry in value.array:
        total = total * entry
    return integers([total] if node.attrs["keepdims"] else total, value.dtype)
