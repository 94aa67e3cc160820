"""Numbers in order and what is made of them: Range, Trilu, CumSum, OneHot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgelstm.errors import FormatError
from edgelstm.graph.dims import Dim, Expr, exact_div
from edgelstm_converters.onnx.node import OnnxNode
from edgelstm_converters.onnx.registry import Result, handles
from edgelstm_converters.onnx.values import AnyArray, Known, Value, check_elements, known, write_out


def numbers(node: OnnxNode, count: Dim, shape: Sequence[Dim], dtype: str = "int64") -> Value:
    """0, 1, 2... in a shape of that many entries."""
    count = node.symbols.resolve(count)
    if isinstance(count, int):
        check_elements([count])
    row = node.emit("arange", shape=(count,))
    return node.reshape(row if dtype == "int64" else node.emit("cast", row, to=dtype), shape)


@handles("Range", since=11)
def range_(node: OnnxNode) -> Result:
    """start, start + delta, ... below limit: numbers, or sizes."""
    bounds = [node.input(index) for index in range(3)]
    if not all(isinstance(bound, Known) for bound in bounds):
        raise node.refuse("its bounds are computed from data at run time; that is not supported")
    if len({bound.type.dtype for bound in bounds}) > 1:
        raise node.refuse(f"expected bounds of one dtype, got {', '.join(bound.type.dtype for bound in bounds)}")
    start, limit, delta = (_entry(node, bound) for bound in bounds)
    if delta == 0:
        raise node.refuse("a delta of 0")
    dtype = bounds[0].type.dtype
    if not any(isinstance(bound, Known) and bound.symbolic for bound in bounds):
        plain: list[Any] = [start, limit, delta]
        with np.errstate(all="ignore"):
            check_elements([max(int(np.ceil((plain[1] - plain[0]) / plain[2])), 0)])
        return known(np.arange(*plain, dtype=dtype))
    count = exact_div(limit - start, delta)
    if not isinstance(start, int) or not isinstance(delta, int) or count is None:
        raise node.refuse(f"from {start} to {limit} by {delta}: expected a start and a delta that are numbers")
    row = numbers(node, count, (count,), dtype)
    row = row if delta == 1 else node.emit("mul", row, node.scalar(delta, row))
    return row if start == 0 else node.emit("add", row, node.scalar(start, row))


def _entry(node: OnnxNode, bound: Value) -> Dim:
    assert isinstance(bound, Known)
    entry = bound.array.reshape(-1)[0]
    if isinstance(entry, Expr):
        return node.symbols.resolve(entry)
    return int(entry) if isinstance(entry, (int, np.integer)) else entry


@handles("Trilu", since=14)
def trilu(node: OnnxNode) -> Result:
    """The entries on and above (upper) or below the k-th diagonal of the last two axes; the others are 0."""
    x, upper = node.input(0), node.attrs.integer("upper", 1)
    given = node.constant(1, "k")
    k = 0 if given is None else int(given.reshape(-1)[0])
    if node.rank(x) < 2:
        raise node.refuse(f"expected at least 2 axes, got {x.type}")
    whole = write_out(x, node.symbols) if isinstance(x, Known) else None
    if whole is not None:
        return known(np.triu(whole, k) if upper else np.tril(whole, k))
    height, width = node.shape(x)[-2:]
    rows, columns = numbers(node, height, (height, 1)), numbers(node, width, (width,))
    diagonal = rows if k == 0 else node.emit("add", rows, node.scalar(k, rows))
    outside = node.emit("less" if upper else "greater", columns, diagonal)
    return node.emit("where", outside, node.scalar(0, x), x)


@handles("CumSum", since=11)
def cum_sum(node: OnnxNode) -> Result:
    """Running sums along one axis: a product with a triangle of ones."""
    x, given = node.input(0), node.constant(1, "axis")
    if given is None:
        raise node.refuse("axis is required")
    axis = node.axis(int(given.reshape(-1)[0]), node.rank(x))
    reverse, exclusive = node.attrs.integer("reverse", 0), node.attrs.integer("exclusive", 0)
    whole = write_out(x, node.symbols) if isinstance(x, Known) else None
    if whole is not None:
        return known(_running(whole, axis, reverse, exclusive))
    if not node.is_float(x):
        raise node.refuse(f"of {x.type.dtype} computed at run time is not supported: expected float32")
    size = node.shape(x)[axis]
    rows, columns = numbers(node, size, (size, 1)), numbers(node, size, (size,))
    before, after = (columns, rows) if reverse else (rows, columns)
    summed = node.emit("less", before, after)
    if not exclusive:
        summed = node.emit("or", summed, node.emit("equal", before, after))
    order = [*(other for other in range(node.rank(x)) if other != axis), axis]
    back = [order.index(position) for position in range(node.rank(x))]
    last = node.transpose(x, order)
    total = node.emit("matmul", last, node.emit("cast", summed, to="float32"))
    return node.transpose(total, back)


def _running(array: AnyArray, axis: int, reverse: int, exclusive: int) -> AnyArray:
    turned = np.flip(array, axis) if reverse else array
    total = np.cumsum(turned, axis, dtype=array.dtype)
    if exclusive:
        total = total - turned
    return np.ascontiguousarray(np.flip(total, axis) if reverse else total)


@handles("OneHot", since=9)
def one_hot(node: OnnxNode) -> Result:
    """On at the place that each index names, off elsewhere."""
    indices, given, values = node.input(0), node.constant(1, "depth"), node.constant(2, "values")
    if given is None or given.size != 1 or values is None or values.size != 2:
        raise node.refuse("expected one constant depth and two constant values")
    if indices.type.dtype not in ("int64", "int32"):
        raise node.refuse(f"indices of {indices.type.dtype} are not supported: expected int64 or int32")
    depth = int(given.reshape(-1)[0])
    rank = node.rank(indices) + 1
    axis = node.axis(node.attrs.integer("axis", -1), rank)
    shape = list(node.shape(indices))
    wide = node.reshape(indices, [*shape[:axis], 1, *shape[axis:]])
    length = node.scalar(depth, wide)
    wide = node.emit("where", node.emit("less", wide, node.scalar(0, wide)), node.emit("add", wide, length), wide)
    places = numbers(node, depth, (depth, *[1] * (rank - 1 - axis)), indices.type.dtype)
    off, on = (known(np.asarray(value)) for value in values.reshape(-1))
    return node.emit("where", node.emit("equal", places, wide), on, off)


@handles("ScatterND", since=11)
def scatter_nd(node: OnnxNode) -> Result:
    """Entries replaced at constant places: what is put there is chosen instead of what was there."""
    x, updates = node.input(0), node.input(2)
    if node.opset >= 16:
        node.attrs.only("reduction", "none", "entries combined with those that are there")
    places = node.constant(1, "the list of places")
    if places is None or places.ndim < 1:
        raise FormatError(f"{node.where}: expected places with at least 1 axis")
    depth = places.shape[-1]
    sizes = [node.number(size, "an axis that entries are put at") for size in node.shape(x)[:depth]]
    inner = node.shape(x)[depth:]
    rows = places.reshape(-1, depth).astype(np.int64)
    bounds = np.asarray(sizes, np.int64)
    if rows.size and not np.all((rows >= -bounds) & (rows < bounds)):
        raise FormatError(f"{node.where}: a place outside {x.type}")
    count = int(np.prod(sizes))
    check_elements([count])
    flat = np.ravel_multi_index(tuple(np.where(rows < 0, rows + bounds, rows).T), tuple(sizes)) if depth else []
    chosen = np.arange(count, dtype=np.int64)
    for number, place in enumerate(flat):
        chosen[place] = count + number
    both = [node.reshape(x, [count, *inner]), node.reshape(updates, [len(rows), *inner])]
    joined = node.emit_all("concat", both, axis=0)[0]
    return node.reshape(node.emit("gather", joined, known(chosen), axis=0), list(node.shape(x)))
