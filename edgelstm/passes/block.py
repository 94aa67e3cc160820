"""Rewrite a one-step graph into a graph of many steps at once, for models whose layers treat readings alike.

It does what that many steps do, state for state, but goes layer by layer: each layer runs over all of the readings
before the next begins, and what a layer computes from its inputs alone it computes for several readings together.
"""

from __future__ import annotations

from dataclasses import replace

from edgelstm.graph.bind import substitute_graph
from edgelstm.graph.dims import BATCH, TIME, symbol, symbols
from edgelstm.graph.ir import Graph, Node, TensorType
from edgelstm.graph.ops import infer_all
from edgelstm.passes.stream import RULES, StepGraph, StreamOptions
from edgelstm.passes.stream.pointwise import pointwise
from edgelstm.passes.stream.recurrent import START_STATES

CELLS = ("rnn", "gru", "lstm")
# Whoever looks at one reading at a time gives the same for many; time goes along one axis of each.
READING_BY_READING = {name for name, rule in RULES.items() if rule is pointwise} | {"linear", "reshape", "transpose"}


def to_block(graph: Graph, step: StepGraph, options: StreamOptions) -> Graph | None:
    """`step` with the symbol T for the number of its readings; None where a layer looks at other readings.

    Args:
        graph: what `step` was made from.
        step: its one-step form.
        options: what it was made with.
    """
    if options.window or step.graph.tick or any(firing != (1, 0) for firing in step.firings.values()):
        return None
    whole = substitute_graph(graph, {**dict(options.sizes), BATCH: 1})
    nodes = _nodes(whole, step.graph)
    if nodes is None:
        return None
    states = {state.input for state in step.graph.states}
    inputs = {name: kind if name in states else whole.inputs[name] for name, kind in step.graph.inputs.items()}
    block = replace(step.graph, inputs=inputs, nodes=nodes)
    return block if _moves(block, states) else None


def _nodes(whole: Graph, step: Graph) -> tuple[Node, ...] | None:
    """The nodes of the whole sequence, recurrent ones from the step's states; None where the step has others."""
    originals = {node.outputs[0]: node for node in whole.nodes}
    nodes = []
    for node in step.nodes:
        original = originals.get(node.outputs[0])
        if original is None or node.op != original.op or node.every != (1, 0):
            return None
        recurrent = node.op in CELLS
        if not (recurrent or (node.op in READING_BY_READING and node.inputs == original.inputs)):
            return None
        nodes.append(node if recurrent else original)
    return tuple(nodes)


def _moves(block: Graph, states: set[str]) -> bool:
    """Whether time goes through every node, one reading after the other, and only a cell's own state takes its last."""
    types = infer_all(block)
    moving = {name for name in block.inputs if name not in states}
    shown = set(block.outputs.values())
    if not all(_in_order(types[name]) for name in moving | shown):
        return False
    carried = {state.input: state.output for state in block.states}
    for node in block.nodes:
        starts = START_STATES[node.op] if node.op in CELLS else {}
        if any(carried.pop(node.inputs[index], "") != node.outputs[output] for index, (_, output) in starts.items()):
            return False
        others = {name for index, name in enumerate(node.inputs) if name and index not in starts}
        if not others <= moving | set(block.constants) or not others & moving:
            return False
        if starts and (node.inputs[0] not in moving or types[node.inputs[0]].shape[0] != symbol(TIME)):
            return False
        moving.add(node.outputs[0])
    return not carried and shown <= moving


def _in_order(kind: TensorType) -> bool:
    """Whether readings stand one after the other: nothing but axes of one before that of time."""
    if kind.dtype != "float32":
        return False
    found = [axis for axis, dim in enumerate(kind.shape) if TIME in symbols(dim)]
    return len(found) == 1 and kind.shape[found[0]] == symbol(TIME) and set(kind.shape[: found[0]]) <= {1}
