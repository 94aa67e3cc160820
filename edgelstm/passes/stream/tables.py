"""Values that depend on no input, only on T: positions, masks, start values over time.

They are evaluated once, for as many steps as histories hold; a step then takes its own row. That is
right only if a longer sequence does not change the rows of a shorter one, which is checked.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgelstm.errors import EdgeLSTMError, StreamError
from edgelstm.graph import stored
from edgelstm.graph.bind import substitute_graph
from edgelstm.graph.dims import TIME, symbols
from edgelstm.graph.ir import Array, Graph, TensorType
from edgelstm.passes.stream.builder import StepBuilder
from edgelstm.passes.stream.clock import Clock, Item


def time_axes(kind: TensorType) -> list[int]:
    """Axes whose size depends on T."""
    return [axis for axis, dim in enumerate(kind.shape) if TIME in symbols(dim)]


def resolve(builder: StepBuilder, item: Item, partner: Clock, shift: int) -> Item:
    """A table as a value of the step, for use beside a value with the clock `partner`.

    `shift` is what to add to an axis of the table to get the partner's.

    Raises:
        StreamError: its rows change with the length of the sequence.
    """
    axes = time_axes(item.kind)
    array = values_at(builder, item.table, item.kind, partner)
    for axis in list(axes):
        first = array.take([0], axis)
        if np.array_equal(np.broadcast_to(first, array.shape), array):
            array, axes = first, [other for other in axes if other != axis]
    row = [axis for axis in axes if partner.axis is not None and axis + shift == partner.axis]
    column = [axis for axis in axes if partner.past is not None and axis + shift == partner.past]
    if len(row) + len(column) != len(axes):
        raise StreamError(f"the value {item.table!r} {item.kind} runs over time on axes that nothing else runs on")
    if column:
        array = _columns(array, column[0], builder.history)
    name = builder.constant(array, item.table)
    clock = Clock(None, *partner.firing)
    if row:
        index = builder.counter(partner.firing)[0]
        name = builder.emit("gather", [name, index], partner.firing, axis=row[0])
        clock = replace(clock, axis=row[0])
    if column:
        clock = replace(clock, past=column[0], end=partner.end)
    return Item(name, clock, item.kind, item.table)


def future(builder: StepBuilder, item: Item, clock: Clock, rank: int) -> Array | None:
    """The entries of a table that stand for later elements than their row's; None where it is not over both."""
    axes = time_axes(item.kind)
    if not item.table or len(axes) != 2 or clock.axis is None or clock.past is None:
        return None
    shift = rank - item.kind.rank
    order = (clock.axis - shift, clock.past - shift)
    if sorted(order) != axes:
        return None
    array = np.moveaxis(values_at(builder, item.table, item.kind, clock), order, (-2, -1))
    return array[..., np.triu(np.ones(array.shape[-2:], bool), 1)]


def values_at(builder: StepBuilder, table: str, kind: TensorType, clock: Clock) -> Array:
    """A table for as many readings as the history needs, or as the model's own constants allow.

    Raises:
        StreamError: its rows change with the length of the sequence.
    """
    wanted = clock.first + clock.stride * (builder.history - 1) + 1
    length = _longest(builder.whole, table, wanted)
    array = evaluate_at(builder.whole, table, length)
    shorter = evaluate_at(builder.whole, table, max(1, length // 2))
    prefix = array[tuple(slice(0, size) for size in shorter.shape)]
    if not np.array_equal(prefix, shorter):
        raise StreamError(f"the value {table!r} changes with the length of the whole sequence: use predict()")
    return array


def _longest(graph: Graph, table: str, wanted: int) -> int:
    """The largest length up to `wanted` at which a table can be evaluated."""
    low, high = 1, wanted
    while low < high:
        middle = (low + high + 1) // 2 if low > 1 or high < wanted else high
        try:
            evaluate_at(graph, table, middle)
            low = middle
        except EdgeLSTMError:
            high = middle - 1
    return low


def evaluate_at(graph: Graph, value: str, length: int) -> Array:
    """A value that depends on no input, for sequences of `length`."""
    from edgelstm.reference import evaluate  # few models need it

    needed, wanted = [], {value}
    for node in reversed(graph.nodes):
        if wanted & set(node.outputs):
            needed.append(node)
            wanted |= set(node.inputs)
    part = replace(
        graph, inputs={}, outputs={"value": value}, nodes=tuple(reversed(needed)), states=(), initial={}, frozen={}
    )
    bound = substitute_graph(part, {TIME: length})
    values: dict[str, Array] = {name: stored.value(bound, name) for name in bound.constants}
    for node in bound.nodes:
        outputs = evaluate(node, [values[name] if name else None for name in node.inputs])
        values |= {name: array for name, array in zip(node.outputs, outputs, strict=True) if name}
    return values[value]


def _columns(array: Array, axis: int, size: int) -> Array:
    """Cut or fill up with zeros to `size` along `axis`; what is filled up is never read as data."""
    cut = array.take(range(min(size, array.shape[axis])), axis)
    widths = [(0, size - cut.shape[axis]) if position == axis else (0, 0) for position in range(array.ndim)]
    return np.pad(cut, widths)
