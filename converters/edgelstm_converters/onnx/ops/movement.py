"""Operators that move entries: Reshape, Transpose, Slice, Concat, Split, Squeeze, Pad, Gather, ReverseSequence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgelstm.errors import FormatError, UnsupportedError
from edgelstm.graph.dims import Dim, product
from edgelstm_converters.onnx.node import OnnxNode
from edgelstm_converters.onnx.ops.reshape import solve_shape
from edgelstm_converters.onnx.registry import Result, handles
from edgelstm_converters.onnx.values import Known, Value, known, write_out

END = (1 << 31) - 1  # exporters write "to the end" as this or more


@handles("Reshape", since=5)
def reshape(node: OnnxNode) -> Result:
    """Another shape; the element count must be equal for every size."""
    x, target = node.input(0), node.sizes(1, "the shape") or []
    allow_zero = node.attrs.integer("allowzero", 0) if node.opset >= 14 else 0
    return node.reshape(x, solve_shape(node.symbols, node.shape(x), target, bool(allow_zero)))


@handles("Flatten")
def flatten(node: OnnxNode) -> Result:
    """Two axes: what stands before `axis`, and the rest."""
    x = node.input(0)
    dims = node.shape(x)
    axis = node.attrs.integer("axis", 1)
    axis = axis if axis == len(dims) else node.axis(axis, len(dims))
    return node.reshape(x, [product(dims[:axis]), product(dims[axis:])])


@handles("Transpose")
def transpose(node: OnnxNode) -> Result:
    """Axes permuted; reversed where nothing is said."""
    x = node.input(0)
    perm = node.attrs.integers("perm", tuple(reversed(range(node.rank(x)))))
    if sorted(perm) != list(range(node.rank(x))):
        raise FormatError(f"{node.where}: perm={list(perm)} does not permute the {node.rank(x)} axes of {x.type}")
    return node.transpose(x, perm)


def _axes(node: OnnxNode) -> list[int] | None:
    """An attribute before opset 13, an input since."""
    if node.opset >= 13:
        return node.ints(1, "the list of axes")
    return list(node.attrs.integers("axes")) if "axes" in node.attrs else None


@handles("Squeeze")
def squeeze(node: OnnxNode) -> Result:
    """Drop axes of size 1."""
    x, axes = node.input(0), _axes(node)
    dims = node.shape(x)
    if axes is None:
        chosen = {axis for axis, dim in enumerate(dims) if node.symbols.hint(dim) == 1}
        if free := [axis for axis, dim in enumerate(dims) if node.symbols.hint(dim) is None]:
            node.assume("axes", f"axes {free} stay, whatever their size")
    else:
        chosen = {node.axis(axis, len(dims)) for axis in axes}
    for axis in chosen:
        try:
            node.symbols.same(dims[axis], 1, f"the squeezed axis {axis}")
        except UnsupportedError:  # true at some sizes, which no equation states
            x = node.expect(x, dims[axis], 1)
    return node.reshape(x, [dim for axis, dim in enumerate(dims) if axis not in chosen])


@handles("Unsqueeze")
def unsqueeze(node: OnnxNode) -> Result:
    """New axes of size 1."""
    x, axes = node.input(0), _axes(node) or []
    rank = node.rank(x) + len(axes)
    chosen = {node.axis(axis, rank) for axis in axes}
    if len(chosen) != len(axes):
        raise FormatError(f"{node.where}: an axis stands twice in {axes}")
    dims = iter(node.shape(x))
    return node.reshape(x, [1 if axis in chosen else next(dims) for axis in range(rank)])


@handles("Concat")
def concat(node: OnnxNode) -> Result:
    """All inputs one after the other."""
    values = [node.input(index) for index in range(len(node.inputs))]
    axis = node.attrs.integer("axis", 1) if node.opset < 4 else node.attrs.integer("axis")
    axis = node.axis(axis, node.rank(values[0]))
    return values[0] if len(values) == 1 else node.emit_all("concat", values, axis=axis)[0]


@handles("Split")
def split(node: OnnxNode) -> Result:
    """Consecutive parts of one axis: given sizes, or as even as possible."""
    x = node.input(0)
    axis = node.axis(node.attrs.integer("axis", 0), node.rank(x))
    count, total = len(node.proto.output), node.shape(x)[axis]
    if node.opset >= 13:
        sizes = node.sizes(1, "the list of sizes")
        if node.opset >= 18 and "num_outputs" in node.attrs and node.attrs.integer("num_outputs") != count:
            raise FormatError(f"{node.where}: num_outputs does not fit {count} outputs")
    else:
        sizes = list(node.attrs.integers("split")) if "split" in node.attrs else None
    if sizes is None:
        sizes = _even(node, total, count)
    if len(sizes) != count:
        raise FormatError(f"{node.where}: {len(sizes)} sizes for {count} outputs")
    node.symbols.same(total, sum(sizes, start=0), f"the sum of the parts against axis {axis}")
    parts: list[Value | None] = []
    start: Dim = 0
    for size, wanted in zip(sizes, node.wanted, strict=True):
        parts.append(node.slice(x, axis, start, start + size) if wanted else None)
        start = start + size
    return parts


def _even(node: OnnxNode, total: Dim, count: int) -> list[Dim]:
    if not isinstance(total, int) and (total % count if isinstance(total, int) else node.symbols.hint(total)) is None:
        raise node.refuse(f"an axis of size {total} cannot be split into {count} parts for every size")
    if not isinstance(total, int):
        fixed = node.symbols.pin(total, f"a split into {count} parts")
        assert fixed is not None
        total = fixed
    each = -(-total // count)
    return [min(each, total - each * index) for index in range(count)]


@handles("Slice", since=10)
def slice_(node: OnnxNode) -> Result:
    """start:end:step along axes, given as inputs."""
    starts, ends = node.sizes(1, "starts") or [], node.sizes(2, "ends") or []
    axes, steps = node.ints(3, "axes"), node.ints(4, "steps")
    return _slice(node, starts, ends, axes, steps)


@handles("Slice", until=9)
def slice_before_10(node: OnnxNode) -> Result:
    """start:end along axes, given as attributes."""
    axes = list(node.attrs.integers("axes")) if "axes" in node.attrs else None
    return _slice(node, list(node.attrs.integers("starts")), list(node.attrs.integers("ends")), axes, None)


def _slice(
    node: OnnxNode, starts: Sequence[Dim], ends: Sequence[Dim], axes: list[int] | None, steps: list[int] | None
) -> Value:
    value = node.input(0)
    axes = list(range(len(starts))) if axes is None else [node.axis(axis, node.rank(value)) for axis in axes]
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or len(set(axes)) < len(axes):
        raise FormatError(f"{node.where}: starts, ends, axes and steps do not fit together")
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step == 0:
            raise FormatError(f"{node.where}: a step of 0 along axis {axis}")
        length = node.shape(value)[axis]
        low, high = (0, length) if step > 0 else (0, length - 1)
        first = _bound(node, start, length, low, high, axis)
        last = _bound(node, end, length, *((0, length) if step > 0 else (-1, length - 1)), axis)
        if isinstance(last - first, int) and (last - first) * step < 0:  # type: ignore[operator]
            last = first
        value = node.slice(value, axis, first, last, step)
    return value


def _bound(node: OnnxNode, bound: Dim, length: Dim, low: Dim, high: Dim, axis: int) -> Dim:
    """A start or end counted from the front and kept inside low..high."""
    if isinstance(bound, int):
        if bound >= END:
            return high
        if bound <= -END:
            return low
        bound = bound + length if bound < 0 else bound
    elif node.symbols.sign(bound) == -1:
        bound = bound + length
    for limit, outside in ((high, 1), (low, -1)):
        sign = node.symbols.sign(bound - limit)
        found, least = node.symbols.hint(bound), node.symbols.hint(limit)
        if sign is None and found is not None and least is not None and (found - least) * outside > 0:
            node.symbols.pin(bound - limit, f"a slice that reaches past an end of axis {axis}")
            sign = outside
        if sign == outside:
            return node.symbols.resolve(limit)
    if node.symbols.sign(high - bound) is None:
        node.assume(f"axis {axis}", f"{length} is at least {bound}; a shorter one is refused at run time")
    return bound


@handles("Gather")
def gather(node: OnnxNode) -> Result:
    """Entries of one axis: a row of a table per index; one fixed index is a slice."""
    table, indices = node.input(0), node.input(1)
    axis = node.axis(node.attrs.integer("axis", 0), node.rank(table))
    if isinstance(indices, Known) and not indices.symbolic:
        chosen = write_out(indices, node.symbols)
        if chosen is None:
            raise node.refuse("a list of indices whose length depends on sizes at run time is not supported")
        return _take(node, table, chosen.astype(np.int64), axis)
    if isinstance(indices, Known) and not indices.shape and indices.array.size == 1:
        start: Dim = node.symbols.resolve(indices.array.reshape(-1)[0])
        part = node.slice(table, axis, start, start + 1)
        return node.reshape(part, [dim for position, dim in enumerate(node.shape(table)) if position != axis])
    return node.emit("gather", table, indices, axis=axis)


def _take(node: OnnxNode, table: Value, chosen: np.typing.NDArray[np.int64], axis: int) -> Value:
    dims = node.shape(table)
    length = dims[axis]
    if isinstance(length, int):
        if chosen.size and not (-length <= chosen.min() and chosen.max() < length):
            raise FormatError(f"{node.where}: an index outside axis {axis} of size {length}: {chosen.reshape(-1)[:8]}")
        chosen = np.where(chosen < 0, chosen + length, chosen)
    if chosen.ndim == 0:
        index = int(chosen)
        start = index if index >= 0 else length + index
        if not isinstance(length, int) and index not in (0, -1):
            node.assume(
                f"axis {axis}", f"{length} is large enough for index {index}; a shorter one is refused at run time"
            )
        part = node.slice(table, axis, start, start + 1)
        return node.reshape(part, [dim for position, dim in enumerate(dims) if position != axis])
    if np.any(chosen < 0):
        fixed = node.symbols.pin(length, "a list with negative indices")
        if fixed is not None:
            return _take(node, table, chosen, axis)
        raise node.refuse(f"negative indices into axis {axis}, whose size is {length}, are not supported")
    return node.emit("gather", table, known(chosen), axis=axis)


@handles("ReverseSequence", since=10)
def reverse_sequence(node: OnnxNode) -> Result:
    """Each row reversed over its own length; over the whole axis where every length is that of the axis."""
    x, lengths = node.input(0), node.input(1)
    time_axis, batch_axis = node.attrs.integer("time_axis", 0), node.attrs.integer("batch_axis", 1)
    time = node.shape(x)[time_axis]
    node.symbols.same(x.type.shape[batch_axis], lengths.type.shape[0], "rows of sequence_lens")
    if isinstance(lengths, Known) and all(_whole(node, entry, time) for entry in lengths.array.flat):
        return node.slice(x, time_axis, time - 1, -1, -1)
    return node.emit("reverse_sequence", x, lengths, batch_axis=batch_axis, time_axis=time_axis)


def _whole(node: OnnxNode, entry: object, time: Dim) -> bool:
    return node.symbols.resolve(int(entry) if isinstance(entry, np.generic) else entry) == time  # type: ignore[arg-type]


@handles("Pad", since=2)
def pad(node: OnnxNode) -> Result:
    """More entries around a value; negative pads are refused."""
    x = node.input(0)
    mode, rank = node.attrs.text("mode", "constant"), node.rank(x)
    fill = 0.0
    if node.opset >= 11:
        pads = node.ints(1, "pads") or []
        constant = node.constant(2, "constant_value")
        fill = 0.0 if constant is None else float(constant.reshape(-1)[0])
        axes = node.ints(3, "axes") if node.opset >= 18 else None
    else:
        pads, axes = list(node.attrs.integers("pads")), None
        fill = node.attrs.number("value", 0.0)
    chosen = list(range(rank)) if axes is None else [node.axis(axis, rank) for axis in axes]
    if len(pads) != 2 * len(chosen):
        raise FormatError(f"{node.where}: expected {2 * len(chosen)} pads, got {len(pads)}")
    if min(pads, default=0) < 0:
        raise node.refuse(f"pads={pads}: negative pads are not supported; use Slice")
    if mode not in ("constant", "reflect", "edge"):
        raise node.refuse(f"mode={mode!r} is not supported; expected constant, reflect or edge")
    full = [0] * (2 * rank)
    for position, axis in enumerate(chosen):
        full[axis], full[axis + rank] = pads[position], pads[position + len(chosen)]
    return node.emit("pad", x, pads=tuple(full), mode=mode, value=fill) if any(full) else x
