"""Find which inputs and outputs of a model are one state before and after a step, or start them as the model says.

A pair is proved by data flow, element by element: every element of the input is numbered, the
numbers are carried through operators that only move data, a cell marks its last state with the
numbers of its start state, and an output that shows all the marks of one input, in order, is that
input's successor. Shapes and names alone prove nothing: h and c look alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from math import prod

import numpy as np
import numpy.typing as npt

from edgelstm.errors import InputError
from edgelstm.graph.bind import bind, free_symbols
from edgelstm.graph.dims import BATCH, TIME
from edgelstm.graph.ir import Graph, Node, State, TensorType
from edgelstm.graph.ops import infer_all, make_node

Marks = npt.NDArray[np.int64]

MOVES = ("identity", "expect", "reshape", "transpose", "slice", "concat")
CELLS = {"rnn": {5: 1}, "gru": {5: 1}, "lstm": {5: 1, 6: 2}}
AFTER = 1 << 40  # added to an element's number once a cell has updated it
TRIAL_SIZES = (2, 16, 64, 256, 512, 1024, 4096)  # of free dimensions: the first at which the graph fits together
MAX_ELEMENTS = 1 << 18  # of a value that may be a state or part of one


def pair_states(graph: Graph, pairs: Mapping[str, str] | None = None) -> Graph:
    """The graph with its state pairs filled in: the caller's, now or before, then those that data flow proves.

    Args:
        graph: any graph.
        pairs: input name → output name.

    Raises:
        InputError: a name is unknown or used twice, or the two types differ.
    """
    states = [_checked(graph, before, after) for before, after in (pairs or {}).items()]
    if len({state.output for state in states}) < len(states):
        raise InputError(f"states: one output is named for two inputs in {dict(pairs or {})}; pair each with its own")
    told = [state for state in graph.states if state.how == "caller"]
    for state in (*told, *_proved(graph)):
        if all(state.input != other.input and state.output != other.output for other in states):
            states.append(state)
    return replace(graph, states=tuple(states))


def with_start_states(graph: Graph) -> Graph:
    """The graph with its paired states no longer inputs and outputs: they start as the model says, else at zero."""
    inputs, constants, nodes = dict(graph.inputs), dict(graph.constants), []
    for state in graph.states:
        kind = inputs.pop(state.input)
        source = graph.initial.get(state.input, f"{state.input}/zero")
        constants.setdefault(source, np.zeros((), kind.dtype))
        nodes.append(make_node("broadcast", [source], [state.input], shape=kind.shape))
    carried = {state.output for state in graph.states}
    return replace(
        graph,
        inputs=inputs,
        constants=constants,
        nodes=(*nodes, *graph.nodes),
        outputs={name: value for name, value in graph.outputs.items() if value not in carried},
        states=(),
        initial={},
    )


def _checked(graph: Graph, before: str, after: str) -> State:
    if before not in graph.inputs:
        raise InputError(f"states: {before!r} is not an input of the model; it has {', '.join(graph.inputs)}")
    if after not in graph.outputs:
        raise InputError(f"states: {after!r} is not an output of the model; it has {', '.join(graph.outputs)}")
    kind, types = graph.inputs[before], infer_all(graph)
    found = types[graph.outputs[after]]
    if found != kind:
        raise InputError(f"states: {before!r} is {kind} but {after!r} is {found}; a state keeps its type")
    return State(before, graph.outputs[after], "caller")


def _proved(graph: Graph) -> list[State]:
    """The pairs that data flow proves."""
    if not any(node.op in CELLS for node in graph.nodes):
        return []
    trial = _bound(graph)
    if trial is None:
        return []
    types, whole = infer_all(trial), infer_all(graph)
    numbers = _number_inputs(trial)
    marks = dict(numbers)
    for node in trial.nodes:
        if all(_elements(types[name]) <= MAX_ELEMENTS for name in node.outputs if name):
            _carry(node, marks)
    found: dict[str, str] = {}
    for value in graph.outputs.values():
        for name, before in numbers.items():
            follows = value in marks and np.array_equal(marks[value], before + AFTER)
            if follows and whole[value] == graph.inputs[name]:
                found.setdefault(name, value)
    return [State(before, after, "data flow") for before, after in found.items()]


def _bound(graph: Graph) -> Graph | None:
    """The graph at some sizes that it takes; time and batch stay small."""
    for size in TRIAL_SIZES:
        small = dict.fromkeys((TIME, BATCH), TRIAL_SIZES[0])
        sizes = {name: graph.frozen.get(name, small.get(name, size)) for name in free_symbols(graph)}
        with suppress(InputError):
            return bind(graph, sizes)
    return None


def _elements(kind: TensorType) -> int:
    return prod(int(str(dim)) for dim in kind.shape)


def _number_inputs(graph: Graph) -> dict[str, Marks]:
    numbers: dict[str, Marks] = {}
    start = 0
    for name, kind in graph.inputs.items():
        count = _elements(kind)
        if 0 < count <= MAX_ELEMENTS:
            numbers[name] = np.arange(start, start + count, dtype=np.int64).reshape([int(str(n)) for n in kind.shape])
            start += count
    return numbers


def _carry(node: Node, marks: dict[str, Marks]) -> None:
    if node.op in CELLS:
        for before, after in CELLS[node.op].items():
            if node.inputs[before] in marks and node.outputs[after]:
                marks[node.outputs[after]] = marks[node.inputs[before]] + AFTER
    elif node.op in MOVES and all(name in marks for name in node.inputs):
        from edgelstm.reference import evaluate  # few models need it

        (marks[node.outputs[0]],) = evaluate(node, [marks[name] for name in node.inputs])
