"""Rewrite a whole-sequence graph into a one-step graph that carries its state.

Time runs along the symbol T. Each operator has a rule that says when its result is known, and what
it must remember: recurrent layers h and c, sliding windows a ring of their last inputs, reductions a
running value, attention a history of bounded capacity. An operator that needs the future is refused
by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import lcm

import numpy as np

from edgelstm.errors import InputError, StreamError
from edgelstm.graph.bind import free_symbols, substitute_graph
from edgelstm.graph.dims import BATCH, TIME, Shape, substitute, symbol, symbols
from edgelstm.graph.ir import Array, Graph, Node, State, TensorType
from edgelstm.graph.ops import infer_all
from edgelstm.graph.stored import value_type
from edgelstm.passes.stream import matmul, movement, recurrent, reduce, sliding
from edgelstm.passes.stream.builder import StepBuilder
from edgelstm.passes.stream.clock import STILL, Clock, Firing, Item, refuse
from edgelstm.passes.stream.pointwise import pointwise
from edgelstm.passes.stream.tables import time_axes

__all__ = ["RULES", "StepGraph", "StreamOptions", "to_step"]

Rule = Callable[[StepBuilder, Node, Sequence[Item], Sequence[TensorType]], list[Item]]

_POINTWISE = (
    *("sigmoid", "tanh", "relu", "affine", "leaky_relu", "thresholded_relu", "scaled_tanh", "hard_sigmoid", "elu"),
    *("softsign", "softplus", "floor", "ceil", "round", "exp", "log", "sqrt", "reciprocal", "erf", "neg", "abs"),
    *("not", "identity", "cast"),
    *("add", "sub", "mul", "div", "pow", "maximum", "minimum", "equal", "less", "greater", "and", "or", "where"),
)

RULES: dict[str, Rule] = {
    **dict.fromkeys(_POINTWISE, pointwise),
    **dict.fromkeys(recurrent.START_STATES, recurrent.recurrent),
    **dict.fromkeys(reduce.RUNNING, reduce.reduce),
    **dict.fromkeys(("conv", "max_pool", "avg_pool"), sliding.sliding),
    **dict.fromkeys(("softmax", "log_softmax"), reduce.softmax),
    "argmax": reduce.argmax,
    "layer_norm": reduce.layer_norm,
    "linear": matmul.linear,
    "matmul": matmul.matmul,
    "reshape": movement.reshape,
    "expect": movement.expect,
    "arange": movement.arange,
    "transpose": movement.transpose,
    "slice": movement.slice_,
    "concat": movement.concat,
    "broadcast": movement.broadcast,
    "pad": movement.pad,
    "reverse_sequence": movement.reverse_sequence,
    "gather": movement.gather,
}


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """How a model is to be streamed.

    Attributes:
        sizes: sizes of free dimensions other than T and B.
        history: the capacity, in elements, of the past that attention and attention pooling look back on.
        window: run the whole-sequence model over the last `window` readings at every step; 0: do not.
        lookahead: how many readings a backward layer or a centred window may wait for.
    """

    sizes: tuple[tuple[str, int], ...] = ()
    history: int = 256
    window: int = 0
    lookahead: int = 0


@dataclass(frozen=True, slots=True)
class StepGraph:
    """A graph of one step of one stream.

    Attributes:
        graph: with T = B = 1; its states are all explicit inputs and outputs.
        axes: input or output name → the axes of time and batch, which a stream's arrays do not have.
        firings: output name → (stride, first): the readings at which it is given.
    """

    graph: Graph
    axes: Mapping[str, tuple[int, ...]]
    firings: Mapping[str, Firing]


def to_step(graph: Graph, options: StreamOptions = StreamOptions()) -> StepGraph:
    """The one-step form of a graph.

    Args:
        graph: with its explicit state pairs filled in (`passes.states`).
        options: see `StreamOptions`.

    Raises:
        StreamError: an operator needs the future, a dimension is frozen or without a size, or a size without a
            dimension; names it.
    """
    sizes, free = dict(options.sizes), [name for name in free_symbols(graph) if name not in (TIME, BATCH)]
    if missing := [name for name in free if name not in sizes]:
        raise StreamError(f"the free dimensions {', '.join(missing)} need sizes: pass sizes={{{missing[0]!r}: ...}}")
    if unknown := [name for name in sizes if name not in free]:
        raise StreamError(f"sizes: {unknown[0]!r} is no free dimension to settle ({', '.join(free) or 'none'})")
    try:
        single = substitute_graph(graph, {**sizes, BATCH: 1})
    except InputError as error:
        raise StreamError(f"the model does not fit a batch of 1, which a stream needs: {error}") from None
    builder = StepBuilder(single, options.history, options.lookahead)
    items = _window(builder, options.window) if options.window else _steps(builder)
    return _finish(graph, builder, items, options)


def input_clock(name: str, kind: TensorType) -> Clock:
    """The clock of a model input, read off its shape.

    Raises:
        StreamError: time appears other than as one plain axis.
    """
    axes = [axis for axis, dim in enumerate(kind.shape) if TIME in symbols(dim)]
    if not axes:
        return STILL
    if len(axes) > 1 or kind.shape[axes[0]] != symbol(TIME):
        raise StreamError(f"input {name!r} is {kind}: a stream needs one axis of length T")
    return Clock(axes[0])


def _steps(builder: StepBuilder) -> dict[str, Item]:
    """Rewrite node by node; gives the items of all values."""
    types = infer_all(builder.whole)
    items = _sources(builder)
    fixed = set(builder.whole.constants)  # values that depend on no input
    for node in builder.whole.nodes:
        _check_length(builder.whole, node, types)
        given = [items[name] if name else Item("", STILL, TensorType("float32", ())) for name in node.inputs]
        kinds = [types[name] if name else TensorType("float32", ()) for name in node.outputs]
        if unknown := [
            item for item, name in zip(given, node.inputs, strict=True) if name and not item.name + item.table
        ]:
            raise refuse(node, f"uses a value of {unknown[0].kind} that only the end of the sequence has")
        if all(not name or name in fixed for name in node.inputs):
            fixed.update(node.outputs)
        tabled = node.outputs[0] in fixed
        for name, item in zip(node.outputs, _rewrite(builder, node, given, kinds, tabled), strict=True):
            if name:
                items[name] = item
    return items


def _sources(builder: StepBuilder) -> dict[str, Item]:
    whole, items = builder.whole, {}
    carried = {state.input for state in whole.states}
    for name, kind in whole.inputs.items():
        clock = STILL if name in carried else input_clock(name, kind)
        step = TensorType(kind.dtype, tuple(1 if axis == clock.axis else dim for axis, dim in enumerate(kind.shape)))
        builder.inputs[name] = builder.types[name] = step
        items[name] = Item(name, clock, kind)
    for name, array in whole.constants.items():
        builder.constants[name] = array
        builder.types[name] = value_type(array)
        items[name] = Item(name, STILL, builder.types[name])
    builder.initial.update(whole.initial)
    builder.scales.update(whole.scales)
    return items


def _rewrite(builder: StepBuilder, node: Node, given: list[Item], kinds: list[TensorType], fixed: bool) -> list[Item]:
    if fixed:
        moving = any(TIME in symbols(dim) for kind in kinds for dim in kind.shape)
        if moving or any(item.table for item in given):
            return [Item("", STILL, kind, name) for name, kind in zip(node.outputs, kinds, strict=True)]
    if node.op not in RULES:
        raise refuse(node, "has no rule for the time axis")
    if any(item.table for item in given) and RULES[node.op] is not pointwise:
        raise refuse(node, "takes a value that depends on the length of the sequence")
    if RULES[node.op] not in (pointwise, movement.broadcast):
        given = movement.repeated_in_time(node, given)
    if all(item.clock.still and not item.table for item in given) and node.op not in (
        *recurrent.START_STATES,
        *("broadcast", "expect"),
    ):
        builder.add(node)
        return [Item(name, STILL, kind) for name, kind in zip(node.outputs, kinds, strict=True)]
    return RULES[node.op](builder, node, given, kinds)


def _check_length(graph: Graph, node: Node, types: Mapping[str, TensorType]) -> None:
    """A recurrent layer over a frozen length other than 1 cannot take one step at a time."""
    if node.op in recurrent.START_STATES:
        length = types[node.inputs[0]].shape[0]
        if isinstance(length, int) and length != 1:
            reasons = "; ".join(graph.pinned.values())
            raise StreamError(
                f"{node.where} runs over exactly {length} steps "
                f"({reasons or 'its sequence axis does not come from an input'}), so this model cannot be streamed: "
                "export it with a dynamic time axis, or use predict() at that length"
            )


def _window(builder: StepBuilder, window: int) -> dict[str, Item]:
    """The whole graph over the last `window` readings."""
    whole = builder.whole
    if whole.states:
        raise StreamError("window= runs the model from its start at every step; this model carries states of its own")
    items = _sources(builder)
    bound = substitute_graph(whole, {TIME: window})
    clock = Clock(None, 1, window - 1, end=True)
    names = {}
    for name, item in items.items():
        axis = item.clock.axis
        names[name] = name if axis is None else builder.window(item, axis, window)
    for node in bound.nodes:
        renamed = tuple(names.get(name, name) for name in node.inputs)
        builder.add(replace(node, inputs=renamed, every=clock.firing))
        items |= {name: Item(name, clock, builder.types[name]) for name in node.outputs if name}
    return items


def _finish(graph: Graph, builder: StepBuilder, items: Mapping[str, Item], options: StreamOptions) -> StepGraph:
    carried = {state.output for state in graph.states}
    outputs, firings, axes = {}, {}, {}
    types = infer_all(graph)
    for name, value in graph.outputs.items():
        if value in carried:
            continue
        item = items[value]
        _check_output(builder, name, item, options)
        outputs[name], firings[name] = item.name, item.clock.firing
        repeated = item.clock.still and value not in graph.inputs  # the same at every step, however often
        time = next(iter(time_axes(item.kind)), None) if repeated else item.clock.axis
        axes[name] = _stream_axes(types[value].shape, time)
    for name, kind in graph.inputs.items():
        axes[name] = _stream_axes(kind.shape, input_clock(name, kind).axis)
    tick = _ticked(builder, set(firings.values()))
    states = [*(State(s.input, items[s.output].name, s.how) for s in graph.states), *builder.states]
    step = replace(
        graph,
        tick=tick,
        inputs=builder.inputs,
        outputs=outputs,
        nodes=tuple(builder.nodes),
        constants=_used(builder, outputs),
        states=tuple(states),
        initial=builder.initial,
        scales=builder.scales,
        frozen={},
    )
    return StepGraph(step, axes, firings)


def _check_output(builder: StepBuilder, name: str, item: Item, options: StreamOptions) -> None:
    clock = item.clock
    if item.table or not item.name:
        raise StreamError(f"output {name!r} {item.kind} is known only at the end of the sequence: use predict()")
    if clock.past is not None:
        raise StreamError(f"output {name!r} {item.kind} changes for every past step with each reading: use predict()")
    if clock.tail > options.lookahead * max(1, builder.backward) and clock.axis is not None:
        raise StreamError(
            f"output {name!r} waits for {clock.tail} readings that come after its own, which is not causal: "
            f"use predict(), stream(window=n) over the last n readings, or stream(lookahead={clock.tail})"
        )


def _stream_axes(shape: Shape, time: int | None) -> tuple[int, ...]:
    """The axes that a stream's arrays do not have: time, and those that batch alone makes."""
    single = [substitute(dim, {BATCH: 1}) for dim in shape]
    return tuple(
        axis for axis, dim in enumerate(single) if axis == time or (BATCH in symbols(shape[axis]) and dim == 1)
    )


def _used(builder: StepBuilder, outputs: Mapping[str, str]) -> dict[str, Array]:
    wanted = {name for node in builder.nodes for name in node.inputs} | set(outputs.values())
    wanted |= set(builder.initial.values())
    return {name: array for name, array in builder.constants.items() if name in wanted}


def _ticked(builder: StepBuilder, shown: set[Firing]) -> str:
    """Count the steps where some nodes or outputs are not due at every one; it goes round once all have begun."""
    firings = (shown | {node.every for node in builder.nodes}) - {(1, 0)}
    if not firings:
        return ""
    begun = max(first for _, first in firings)
    again = begun + lcm(*(stride for stride, _ in firings))
    tick = builder.state("tick", TensorType("int32", (1,)))
    one, turn, back = (builder.constant(np.array([n], np.int32), "tick/number") for n in (1, again, begun))
    after = builder.emit("add", [tick, one], (1, 0))
    at_turn = builder.emit("equal", [after, turn], (1, 0))
    builder.carry(tick, builder.emit("where", [at_turn, back, after], (1, 0)))
    return tick
