"""Recurrent layers: a stream carries their h and c; a backward direction may look a few readings ahead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from edgelstm.errors import StreamError
from edgelstm.graph.bind import free_symbols
from edgelstm.graph.dims import TIME
from edgelstm.graph.ir import Node, TensorType
from edgelstm.graph.ops import infer_all, make_node
from edgelstm.graph.shapes import GATES
from edgelstm.passes.stream.builder import StepBuilder
from edgelstm.passes.stream.clock import STILL, Clock, Firing, Item, refuse

# Start state input → its letter in state names, last state output.
START_STATES = {"rnn": {5: ("h", 1)}, "gru": {5: ("h", 1)}, "lstm": {5: ("h", 1), 6: ("c", 2)}}
PER_DIRECTION = {"rnn": (1, 2, 3, 5), "gru": (1, 2, 3, 5), "lstm": (1, 2, 3, 5, 6, 7, 8)}  # direction first


def recurrent(builder: StepBuilder, node: Node, items: Sequence[Item], out: Sequence[TensorType]) -> list[Item]:
    """Forward: carries h and c; backward directions run over the next readings, with a lookahead."""
    clock = items[0].clock
    _check(node, items, clock)
    if clock.still and TIME in free_symbols(builder.whole) and not _carries(builder, node):
        builder.add(node)  # one step over a value without time, beside a sequence: the same at every reading
        return [Item(name, STILL, kind) for name, kind in zip(node.outputs, out, strict=True)]
    if node.attrs["direction"] == "forward":
        names = _forward(builder, node, [item.name for item in items], clock.firing, items)
        if clock.tail:  # what the last states would be, only the end of the sequence knows
            return [Item(names[0], clock, out[0]), *[Item("", STILL, kind) for kind in out[1:]]]
        last = replace(clock, axis=None, end=clock.axis is not None)
        clocks = (clock, last, last)
        return [Item(name, when, kind) for name, when, kind in zip(names, clocks, out, strict=False)]
    if not builder.lookahead:
        raise refuse(node, f"runs {node.attrs['direction']}, from the end of the sequence")
    return _with_lookahead(builder, node, items, out)


def _check(node: Node, items: Sequence[Item], clock: Clock) -> None:
    if items[4].name:
        raise refuse(node, "takes sequence lengths")
    if clock.end or clock.past is not None:
        raise refuse(node, "runs over values that need the end of the sequence")
    if any(not item.clock.still for item in items[1:5]):
        raise refuse(node, "takes weights that change over time")
    if any(not item.clock.still for item in items[5:-1]):
        raise refuse(node, "starts from the end of another sequence")
    if items[-1].name and items[-1].clock != clock:
        raise refuse(node, "keeps its state at steps that are not those of its inputs")
    length = items[0].kind.shape[0]
    if clock.axis != 0 and (clock.axis is not None or length != 1):
        raise refuse(node, f"runs over {length} steps that are not the model's time axis")
    if clock.axis is None and node.attrs["direction"] != "forward":
        raise refuse(node, f"runs {node.attrs['direction']}, from the end of the sequence")


def _forward(builder: StepBuilder, node: Node, names: list[str], firing: Firing, items: Sequence[Item]) -> list[str]:
    outputs = list(node.outputs)
    carried = []
    for index, (letter, output) in START_STATES[node.op].items():
        if _from_states(builder, names[index]):
            continue
        name = _start(builder, replace(node, inputs=tuple(names)), letter, index)
        names[index] = name
        outputs[output] = outputs[output] or builder.fresh(f"{name}/next")
        carried.append((name, outputs[output]))
    builder.add(replace(node, inputs=tuple(names), outputs=tuple(outputs), every=firing))
    for before, after in carried:
        builder.carry(before, after)
    return outputs


def _carries(builder: StepBuilder, node: Node) -> bool:
    """Whether a cell starts from a state that the model pairs itself."""
    return any(_from_states(builder, name) for name in (node.inputs[k] for k in START_STATES[node.op]))


def _from_states(builder: StepBuilder, name: str) -> bool:
    """Whether a start state is computed from states that the model pairs itself."""
    reached = {state.input for state in builder.whole.states}
    for node in builder.nodes:
        if reached & set(node.inputs):
            reached |= set(node.outputs)
    return bool(name) and name in reached


def _start(builder: StepBuilder, node: Node, letter: str, index: int) -> str:
    start = node.inputs[index]
    directions, gates, width = builder.types[node.inputs[2]].shape
    rows = builder.types[node.inputs[0]].shape[1]
    kind = TensorType("float32", (directions, rows, width if index == 5 else gates // GATES[node.op]))
    if not start or start in builder.constants:
        label = f"{node.name or next(filter(None, node.outputs))}.{letter}"
        return builder.state(label, kind, builder.constants[start] if start else None)
    if start not in builder.whole.inputs:
        raise StreamError(f"{node.where}: its start state {start!r} is computed by the model; pair it with states=")
    users = sum(other.inputs.count(start) for other in builder.whole.nodes)
    if users != 1 or start in builder.whole.outputs.values():
        raise StreamError(
            f"{node.where}: its start state {start!r} is used elsewhere, too; pair it with the output that follows it: "
            f"load(..., states={{{start!r}: ...}})"
        )
    if shown := _might_follow(builder, node, start):
        raise StreamError(
            f"{node.where}: its start state {start!r} might go on as the output {shown!r}, not its own last state, "
            f"beside one that does: say which with load(..., states={{{start!r}: ...}})"
        )
    return start  # an input that is only a start: the stream carries it under its own name


def _might_follow(builder: StepBuilder, node: Node, start: str) -> str:
    """An output of a start state's type that nothing is paired with, where another state of the cell is paired."""
    whole = builder.whole
    if not any(node.inputs[index] in {state.input for state in whole.states} for index in START_STATES[node.op]):
        return ""
    carried, types = {state.output for state in whole.states}, infer_all(whole)
    free = (name for name, value in whole.outputs.items() if value not in carried)
    return next((name for name in free if types[whole.outputs[name]] == whole.inputs[start]), "")


def _with_lookahead(builder: StepBuilder, node: Node, items: Sequence[Item], out: Sequence[TensorType]) -> list[Item]:
    """The forward direction waits; the backward one runs over the next readings, from its start state."""
    ahead, clock = builder.lookahead, items[0].clock
    builder.backward += 1
    if any(items[index].name for index in START_STATES[node.op]):
        raise refuse(node, "has start states; a lookahead starts its backward direction at zero")
    if items[-1].name:
        raise refuse(node, "keeps its state at some steps, which a lookahead does not wait for")
    if node.outputs[1] or (len(node.outputs) > 2 and node.outputs[2]):
        shown = [name for name in node.outputs[1:] if name and _used(builder, name)]
        if shown:
            raise refuse(node, "shows the last state of its backward direction")
    waiting = builder.delay(items[0], ahead)
    firing = waiting.clock.firing
    parts = []
    if node.attrs["direction"] == "bidirectional":
        parts.append(_direction(builder, node, items, 0, waiting.name, firing))
    window = builder.window(items[0], 0, ahead + 1)
    backward = _direction(builder, node, items, len(parts), window, firing)
    parts.append(builder.part(backward, 0, 0, 1, firing))
    name = parts[0] if len(parts) == 1 else builder.emit("concat", parts, firing, node.outputs[0], axis=1)
    later = replace(waiting.clock, tail=clock.tail + ahead)
    return [Item(name, later, out[0]), *[Item("", STILL, kind) for kind in out[1:]]]


def _direction(builder: StepBuilder, node: Node, items: Sequence[Item], index: int, x: str, firing: Firing) -> str:
    """One direction of a layer as a layer of its own; gives the name of its y."""
    count = len(node.attrs["activations"]) // (2 if node.attrs["direction"] == "bidirectional" else 1)  # type: ignore[arg-type]
    attrs: dict[str, Any] = dict(node.attrs)
    for key in ("activations", "activation_alpha", "activation_beta"):
        attrs[key] = attrs[key][index * count : (index + 1) * count]
    forward = node.attrs["direction"] == "bidirectional" and index == 0
    attrs["direction"] = "forward" if forward else "reverse"
    names = [x, *[item.name for item in items[1:]]]
    for role in PER_DIRECTION[node.op]:
        if names[role]:
            names[role] = builder.entry(names[role], index)
    y = builder.fresh(f"{node.outputs[0]}/{attrs['direction']}")
    one = make_node(node.op, names, [y], f"{node.name}/{attrs['direction']}", **attrs)
    if forward:
        return _forward(builder, one, names, firing, items)[0]
    builder.add(replace(one, every=firing))
    return y


def _used(builder: StepBuilder, name: str) -> bool:
    return name in builder.whole.outputs.values() or any(name in node.inputs for node in builder.whole.nodes)
