"""Rewrite a whole-sequence graph into a one-step graph that carries its state.

Time runs along the symbol T. Each operator says through its clock rule whether it can run one step
at a time; then T and B become 1, and every recurrent layer without an explicit state pair gets a
state input and output of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from edgelstm.errors import StreamError
from edgelstm.graph.bind import free_symbols, substitute_graph
from edgelstm.graph.dims import BATCH, TIME, Shape, substitute, symbols
from edgelstm.graph.ir import Graph, Node, State, TensorType
from edgelstm.graph.ops import infer_all
from edgelstm.graph.shapes import GATES
from edgelstm.graph.time import STILL, Clock, advance, input_clock, refuse

START_STATES = {"rnn": {5: ("h", 1)}, "gru": {5: ("h", 1)}, "lstm": {5: ("h", 1), 6: ("c", 2)}}


@dataclass(frozen=True, slots=True)
class StepGraph:
    """A graph of one step of one stream.

    Attributes:
        graph: with T = B = 1; its states are all explicit inputs and outputs.
        axes: input or output name → the axes of time and batch, which a stream's arrays do not have.
    """

    graph: Graph
    axes: Mapping[str, tuple[int, ...]]


def to_step(graph: Graph, sizes: Mapping[str, int] | None = None) -> StepGraph:
    """The one-step form of a graph.

    Args:
        graph: with its explicit state pairs filled in (`passes.states`).
        sizes: sizes of free dimensions other than T and B.

    Raises:
        StreamError: an operator needs the future, or a dimension is frozen or without a size; names it.
    """
    extra = dict(sizes or {})
    if missing := [name for name in free_symbols(graph) if name not in (TIME, BATCH, *extra)]:
        raise StreamError(f"the free dimensions {', '.join(missing)} need sizes: pass sizes={{{missing[0]!r}: ...}}")
    single = substitute_graph(graph, {**extra, BATCH: 1})
    _check_clocks(single)
    step = _carry_implicit(substitute_graph(single, {TIME: 1}))
    carried = {state.input for state in step.states} | {state.output for state in graph.states}
    types = infer_all(graph)
    shapes = {**{name: kind.shape for name, kind in graph.inputs.items()}}
    shapes |= {name: types[value].shape for name, value in graph.outputs.items()}
    outputs = {name: value for name, value in step.outputs.items() if value not in carried}
    return StepGraph(
        replace(step, outputs=outputs),
        {name: _stream_axes(shapes[name]) for name in (*step.inputs, *outputs) if name in shapes},
    )


def _stream_axes(shape: Shape) -> tuple[int, ...]:
    """Axes of time and batch: made of T and B alone and of size 1 in a stream, where they are not shown."""
    return tuple(
        axis for axis, dim in enumerate(shape) if symbols(dim) and substitute(dim, {TIME: 1, BATCH: 1}) == 1
    )


def _check_clocks(graph: Graph) -> None:
    for name, kind in graph.inputs.items():
        if any(BATCH in symbols(dim) for dim in kind.shape):
            raise StreamError(f"input {name!r} is {kind}: its batch could not be made 1")
    types = infer_all(graph)
    clocks: dict[str, Clock] = {name: input_clock(name, kind) for name, kind in graph.inputs.items()}
    for state in graph.states:
        clocks[state.input] = STILL
    for node in graph.nodes:
        _check_length(node, types, graph)
        kinds = [types[name] if name else None for name in node.inputs]
        results = [types[name] if name else None for name in node.outputs]
        found = advance(node, kinds, [clocks.get(name, STILL) for name in node.inputs], results)
        clocks |= {name: clock for name, clock in zip(node.outputs, found, strict=True) if name}


def _check_length(node: Node, types: Mapping[str, TensorType], graph: Graph) -> None:
    """A recurrent layer over a frozen length other than 1 cannot take one step at a time."""
    if node.op in START_STATES:
        length = types[node.inputs[0]].shape[0]
        if length == 1 and node.attrs["direction"] != "forward":
            raise refuse(node, f"runs {node.attrs['direction']}, from the end of the sequence")
        if isinstance(length, int) and length != 1:
            reason = graph.pinned.get(TIME, "its sequence axis does not come from an input")
            raise StreamError(
                f"{node.where} runs over exactly {length} steps ({reason}), so this model cannot be streamed: "
                "export it with a dynamic time axis, or use predict() at that length"
            )


def _carry_implicit(graph: Graph) -> Graph:
    inputs, constants, initial = dict(graph.inputs), dict(graph.constants), dict(graph.initial)
    states, nodes, types = list(graph.states), [], infer_all(graph)
    paired = {state.input for state in states}
    names: set[str] = set(inputs)
    for node in graph.nodes:
        carried = node
        for index, (letter, output) in START_STATES.get(node.op, {}).items():
            start = node.inputs[index]
            if _comes_from(start, graph.nodes, paired):
                continue
            if start and start in graph.inputs:
                name = start  # an input that is only a start: the stream carries it under its own name
                _check_only_start(graph, node, start)
            else:
                name = _fresh(f"{node.name or node.outputs[0] or node.op}.{letter}", names)
            inputs[name] = _state_type(node, types, index)
            if start in constants:
                initial[name] = start
            elif start and start not in graph.inputs:
                raise StreamError(
                    f"{node.where}: its start state {start!r} is computed by the model; pair it with states="
                )
            carried = _with_state(carried, index, name, output)
            states.append(State(name, carried.outputs[output], "implicit"))
            names.add(name)
        nodes.append(carried)
    return replace(graph, inputs=inputs, nodes=tuple(nodes), states=tuple(states), initial=initial)


def _state_type(node: Node, types: Mapping[str, TensorType], index: int) -> TensorType:
    """The type of a recurrent layer's state for one row: (directions, 1, size)."""
    directions, gates, output = types[node.inputs[2]].shape
    return TensorType("float32", (directions, 1, output if index == 5 else gates // GATES[node.op]))


def _with_state(node: Node, index: int, name: str, output: int) -> Node:
    inputs, outputs = list(node.inputs), list(node.outputs)
    inputs[index] = name
    outputs[output] = outputs[output] or f"{name}/next"
    return replace(node, inputs=tuple(inputs), outputs=tuple(outputs))


def _comes_from(value: str, nodes: tuple[Node, ...], paired: set[str]) -> bool:
    """Whether a value is computed from paired states."""
    reached = set(paired)
    for node in nodes:
        if reached & set(node.inputs):
            reached |= set(node.outputs)
    return bool(value) and value in reached


def _check_only_start(graph: Graph, node: Node, start: str) -> None:
    users = sum(other.inputs.count(start) for other in graph.nodes)
    if users != 1 or start in graph.outputs.values():
        raise StreamError(
            f"{node.where}: its start state {start!r} is used elsewhere, too; pair it with the output that follows it: "
            f"load(..., states={{{start!r}: ...}})"
        )


def _fresh(name: str, taken: set[str]) -> str:
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}{number}", number + 1
    return candidate
