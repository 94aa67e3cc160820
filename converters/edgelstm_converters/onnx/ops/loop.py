"""Loop and Scan over time: the body is a recurrent cell, and becomes a recurrent node over all steps.

The body is translated like any graph, with a symbol for the number of the step. Counters, and the condition that
compares them with the length, are then arithmetic of sizes; what is left must be cells and what surrounds them
(`edgelstm/passes/reroll/lift.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from onnx import GraphProto

from edgelstm.errors import FormatError, UnsupportedError
from edgelstm.graph.dims import Dim, Expr, substitute, symbol, symbols
from edgelstm.graph.ir import Graph, Node, TensorType
from edgelstm.graph.shapes import GATES
from edgelstm.passes.reroll.lift import Body, Lifted, lift
from edgelstm_converters.onnx.node import OnnxNode
from edgelstm_converters.onnx.registry import Result, handles
from edgelstm_converters.onnx.values import Flow, Known, Undecided, Value, integers, known

ENDLESS = 1 << 31  # a limit on the number of steps from here on is none
ADVICE = "export the recurrent layer so that it stays an RNN, GRU or LSTM node"


@dataclass(slots=True)
class _Carried:
    """Something that a loop hands from step to step.

    Attributes:
        name: what the body calls it.
        start: its value before the first step.
        inside: its value in the body.
        after: what the body makes of it.
    """

    name: str
    start: Value
    inside: Value
    after: Value | None = None


@dataclass(slots=True)
class _Walk:
    """The translation of one body."""

    node: OnnxNode
    body: GraphProto
    carried: list[_Carried] = field(default_factory=list)
    given: list[Value] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    step: str = ""

    @property
    def index(self) -> Dim:
        """The number of the step, from 0: the symbol is 1 at the first step."""
        return symbol(self.step) - 1


@handles("Loop")
def loop(node: OnnxNode) -> Result:
    """A loop that counts over the steps of a sequence."""
    body = node.attrs.graph("body")
    limit, condition, starts = node.optional(0), node.optional(1), node.inputs[2:]
    counter, flag, *names = [entry.name for entry in body.input]
    if len(names) != len(starts) or len(body.output) < len(names) + 1:
        raise FormatError(f"{node.where}: its body takes {len(names)} carried values, the node gives {len(starts)}")
    walk = _Walk(node, body, step=f"step.{len(node.builder.nodes)}.{len(node.symbols.origins)}")
    given: dict[str, Value] = {counter: integers(np.asarray(walk.index, object)), flag: known(np.bool_(True), flag)}
    results = _translate(walk, names, [node.input(k + 2) for k in range(len(starts))], given, len(names) + 1)
    count = _steps(walk, results[0], limit)
    _check_start(walk, condition, count)
    lifted = _lift(walk, count)
    last = [_last(walk, entry, count, lifted) for entry in walk.carried]
    return [*last, *(_all_steps(walk, value, count, lifted) for value in walk.given)]


@handles("Scan", since=9)
def scan(node: OnnxNode) -> Result:
    """A cell over the entries of sequences."""
    body = node.attrs.graph("body")
    count_inputs = node.attrs.integer("num_scan_inputs")
    states = len(node.inputs) - count_inputs
    outputs = len(body.output) - states
    zeros, none = (0,) * count_inputs, (0,) * outputs
    axes, backward = node.attrs.integers("scan_input_axes", zeros), node.attrs.integers("scan_input_directions", zeros)
    out_axes, out_backward = (
        node.attrs.integers("scan_output_axes", none),
        node.attrs.integers("scan_output_directions", none),
    )
    if not 0 < count_inputs <= len(node.inputs) or states < 0 or outputs < 0 or len(body.input) != len(node.inputs):
        raise FormatError(f"{node.where}: num_scan_inputs={count_inputs} does not fit its inputs and its body")
    walk = _Walk(node, body, step=f"step.{len(node.builder.nodes)}.{len(node.symbols.origins)}")
    sequences = [node.input(states + k) for k in range(count_inputs)]
    axes = tuple(node.axis(axis, node.rank(value)) for axis, value in zip(axes, sequences, strict=True))
    count: Dim = node.shape(sequences[0])[axes[0]]
    for axis, value in zip(axes, sequences, strict=True):
        count = node.symbols.same(count, node.shape(value)[axis], "the lengths of the scanned inputs")
    first = len(node.builder.nodes)
    names = [entry.name for entry in body.input]
    given: dict[str, Value] = {}
    for name, value, axis, reverse in zip(names[states:], sequences, axes, backward, strict=True):
        at = count - 1 - walk.index if reverse else walk.index
        part = node.slice(value, axis, at, at + 1)
        given[name] = node.reshape(part, [dim for k, dim in enumerate(node.shape(value)) if k != axis])
    _translate(walk, names[:states], [node.input(k) for k in range(states)], given, states, first)
    lifted = _lift(walk, count)
    results = [_last(walk, entry, count, lifted) for entry in walk.carried]
    for value, axis, reverse in zip(walk.given, out_axes, out_backward, strict=True):
        whole = _all_steps(walk, value, count, lifted)
        rank = node.rank(whole)
        if reverse:
            whole = node.slice(whole, 0, count - 1, -1, -1)
        order = list(range(1, rank))
        order.insert(node.axis(axis, rank), 0)
        results.append(node.transpose(whole, order))
    return results


def _translate(
    walk: _Walk, names: Sequence[str], starts: Sequence[Value], given: dict[str, Value], skip: int, first: int = -1
) -> list[Value]:
    """Translate the body; gives its outputs. What it hands on unchanged is taken as a value from outside."""
    node, builder = walk.node, walk.node.builder
    first = len(builder.nodes) if first < 0 else first
    passed = _passed_on(walk.body)
    offset = skip - len(names)
    for k, (name, start) in enumerate(zip(names, starts, strict=True)):
        if passed.get(walk.body.output[offset + k].name) == name:
            inside: Value = start
        elif isinstance(start, Known) and start.dtype in ("int32", "int64") and start.array.size == 1:
            inside = integers(start.array.astype(object) + walk.index, start.dtype)
        else:
            inside = builder.input(name, TensorType(start.type.dtype, node.shape(start)))
        walk.carried.append(_Carried(name, start, inside))
        given[name] = inside
    results = node.inner(walk.body, given)
    node.symbols.where = node.where
    for entry, after in zip(walk.carried, results[offset:skip], strict=True):
        entry.after = after
        for axis, (left, right) in enumerate(zip(entry.start.type.shape, after.type.shape, strict=False)):
            node.symbols.same(left, right, f"axis {axis} of {entry.name!r} before and after a step")
    walk.given = results[skip:]
    walk.nodes = builder.nodes[first:]
    del builder.nodes[first:]
    return results


def _passed_on(body: GraphProto) -> dict[str, str]:
    """Output of the body → the input that it shows, where nothing but Identity stands between."""
    shown = {entry.name: entry.name for entry in body.input}
    for proto in body.node:
        if proto.op_type == "Identity" and proto.input[0] in shown:
            shown[proto.output[0]] = shown[proto.input[0]]
    return shown


def _steps(walk: _Walk, condition: Value, limit: Value | None) -> Dim:
    """The number of steps."""
    node = walk.node
    bounds: list[Dim] = []
    if limit is not None:
        if not isinstance(limit, Known) or limit.array.size != 1:
            raise node.refuse(f"its number of steps is computed from data at run time; {ADVICE}")
        bound = limit.array.reshape(-1)[0]
        bound = node.symbols.resolve(bound) if isinstance(bound, Expr) else int(bound)
        if not isinstance(bound, int) or bound < ENDLESS:
            bounds.append(bound)
    if not isinstance(condition, Known) or condition.array.size != 1:
        raise node.refuse(f"its condition is computed from data at run time; {ADVICE}")
    entry = condition.array.reshape(-1)[0]
    if isinstance(entry, Undecided):
        bounds.append(_bound(walk, entry))
    elif not bool(entry):
        bounds.append(1)
    bounds = [node.symbols.resolve(bound) for bound in bounds]
    if not bounds or any(bound != bounds[0] for bound in bounds):
        raise node.refuse(f"its number of steps is not the length of a sequence; {ADVICE}")
    return _as_length(walk, bounds[0])


def _bound(walk: _Walk, condition: Undecided) -> Dim:
    """Steps k = 0, 1, ... are followed by another one while `k + a < n`: n - a + 1 steps."""
    left, right, relation = condition.left, condition.right, condition.relation
    if relation == "greater":
        left, right, relation = right, left, "less"
    if condition.negated:  # not (left < right) is right < left + 1
        left, right = right, left + 1
    difference = right - left  # n - a - k, in which the symbol of the step is k + 1
    at_first = substitute(difference, {walk.step: 1})
    if relation != "less" or substitute(difference, {walk.step: 2}) != at_first - 1:
        raise walk.node.refuse(f"its condition ({condition}) does not count steps up to a length; {ADVICE}")
    return at_first + 1


def _as_length(walk: _Walk, count: Dim) -> Dim:
    """A number of steps that the file writes as a number is the length of the sequence that the steps read."""
    if not isinstance(count, int):
        return count
    table = walk.node.symbols
    lengths = {table.resolve(dim) for dim in _read_at_steps(walk)}
    free = [dim for dim in lengths if not isinstance(dim, int) and table.hint(dim) == count]
    return free[0] if len(free) == 1 else count


def _read_at_steps(walk: _Walk) -> list[Dim]:
    """Lengths of the axes from outside that steps read one entry of."""
    types = _types_outside(walk)
    found: list[Dim] = []
    for node in walk.nodes:
        if node.op == "slice" and node.inputs[0] in types:
            attrs: Any = node.attrs
            lists = zip(attrs["axes"], attrs["starts"], strict=True)
            axes = [axis for axis, start in lists if walk.step in symbols(start)]
            found += [types[node.inputs[0]].shape[axis] for axis in axes]
    return found


def _check_start(walk: _Walk, condition: Value | None, count: Dim) -> None:
    """Whether the first step is taken at all."""
    if condition is None:
        return
    entry = condition.array.reshape(-1)[0] if isinstance(condition, Known) and condition.array.size == 1 else None
    if isinstance(entry, Undecided):
        walk.node.assume("condition", f"{entry}: there is a first step")
    elif entry is None or not bool(entry):
        raise walk.node.refuse(f"whether it takes a first step is not known before it runs; {ADVICE}")


def _types_outside(walk: _Walk) -> dict[str, TensorType]:
    """Types of the values that the body takes from outside, sizes settled."""
    made = {name for node in walk.nodes for name in node.outputs}
    return {name: kind for name, kind in walk.node.builder.types.items() if name not in made}


def _lift(walk: _Walk, count: Dim) -> Lifted:
    """The body over all steps; its nodes take the place of the loop."""
    node, builder, table = walk.node, walk.node.builder, walk.node.symbols
    start: dict[str, str] = {}
    states: dict[str, str] = {}
    for entry in walk.carried:
        if isinstance(entry.inside, Flow) and entry.inside is not entry.start:
            after = entry.after
            states[entry.inside.name] = builder.flow(after, entry.name).name if after is not None else ""
            if not _is_zero(entry.start):
                start[entry.inside.name] = builder.flow(entry.start, entry.name).name
    given = [builder.flow(value, "given").name for value in walk.given]
    used = {name for made in walk.nodes for name in made.inputs} | set(states) | set(start.values()) | set(given)
    used |= set(states.values())
    types = _types_outside(walk)
    inputs = {
        name: TensorType(kind.dtype, table.shape(kind.shape))
        for name, kind in types.items()
        if name in used and name not in builder.constants
    }
    nodes = tuple(replace(made, attrs={k: _settled(v, walk) for k, v in made.attrs.items()}) for made in walk.nodes)
    constants = {name: array for name, array in builder.constants.items() if name in used}
    body = Body(Graph(inputs, {}, nodes, constants), walk.step, table.resolve(count), states, start, given)
    try:
        lifted = lift(body, builder.fresh)
    except UnsupportedError as error:
        raise node.refuse(str(error)) from None
    builder.adopt(lifted.writer.nodes, lifted.writer.constants, lifted.writer.types)
    for cell in lifted.cells:
        text = f"{cell.op} of {cell.units} units over {table.resolve(count)} steps"
        node.report.add("mapped", node.where, "body", text)
    for made in lifted.writer.nodes:
        if made.op in GATES:
            time, batch, _ = lifted.writer.types[made.inputs[0]].shape
            node.axes.time.append(time)
            node.axes.batch.append(batch)
    return lifted


def _settled(attr: Any, walk: _Walk) -> Any:
    if isinstance(attr, Expr):
        return walk.node.symbols.resolve(attr)
    return tuple(_settled(item, walk) for item in attr) if isinstance(attr, tuple) else attr


def _is_zero(value: Value) -> bool:
    if not isinstance(value, Known) or value.symbolic:
        return False
    return not np.any(value.array)


def _last(walk: _Walk, entry: _Carried, count: Dim, lifted: Lifted) -> Value:
    """A carried value after the last step."""
    if entry.inside is entry.start:
        return entry.start
    if isinstance(entry.inside, Flow):
        name = lifted.last[entry.inside.name]
        return Flow(name, lifted.writer.types[name])
    after = entry.after
    if not isinstance(after, Known) or not isinstance(entry.start, Known) or after.array.size != 1:
        raise walk.node.refuse(f"it carries {entry.name!r}, which is no counter and no state of a cell; {ADVICE}")
    expected = entry.start.array.reshape(-1)[0] + walk.index + 1
    if after.array.reshape(-1)[0] != expected:
        raise walk.node.refuse(f"it carries the counter {entry.name!r}, which does not grow by 1; {ADVICE}")
    return integers(entry.start.array.astype(object) + count, entry.start.dtype)


def _all_steps(walk: _Walk, value: Value, count: Dim, lifted: Lifted) -> Value:
    """What every step gives, stacked."""
    name = lifted.given[walk.node.builder.flow(value, "given").name]
    return Flow(name, lifted.writer.types[name])
