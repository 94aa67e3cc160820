"""Whether a graph is whole: the gate that files and converters pass before anything else reads a graph."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from edgelstm.errors import FormatError, InputError
from edgelstm.graph.dims import Dim, Expr
from edgelstm.graph.ir import DTYPES, Graph, Node, TensorType
from edgelstm.graph.ops import ACTIVATIONS, OPS, infer_all
from edgelstm.graph.stored import STORED, check_stored

MAX_NODES = 20_000
MAX_RANK = 6
MAX_ATTRIBUTE_ITEMS = 4096
MAX_ATTRIBUTE = (1 << 31) - 1
MAX_ELEMENTS = 1 << 31
LARGEST_FLOAT = float(np.finfo(np.float32).max)
HOWS = ("caller", "data flow", "name", "implicit")

INT, FLAG, FLOAT, TEXT = "int", "0 or 1", "float", "text"
INTS, FLOATS, TEXTS, DIMS = "ints", "floats", "texts", "dims"

# What kind of value every attribute name holds, in whichever operator.
KINDS: dict[str, str] = {
    **dict.fromkeys(["hidden_size", "group", "axis", "batch_axis", "time_axis", "x_zero"], INT),
    **dict.fromkeys(["input_forget", "linear_before_reset", "keepdims", "select_last", "count_include_pad"], FLAG),
    **dict.fromkeys(["clip", "alpha", "beta", "epsilon", "value", "x_scale"], FLOAT),
    **dict.fromkeys(["direction", "mode", "to"], TEXT),
    **dict.fromkeys(["strides", "pads", "dilations", "kernel", "axes", "perm", "steps"], INTS),
    **dict.fromkeys(["activation_alpha", "activation_beta"], FLOATS),
    **dict.fromkeys(["activations", "int8"], TEXTS),
    **dict.fromkeys(["shape", "starts", "stops", "given", "wanted"], DIMS),
}


def check(graph: Graph) -> None:
    """Check names, operators, attributes, types and states.

    Raises:
        FormatError: the graph is not whole; the message names the node or value.
    """
    if len(graph.nodes) > MAX_NODES:
        raise FormatError(f"the graph has {len(graph.nodes)} nodes; at most {MAX_NODES} are taken")
    if graph.tick:
        raise FormatError(f"the graph counts steps in {graph.tick!r}; a whole graph has none to count")
    for node in graph.nodes:
        _check_node(node)
    for name, kind in graph.inputs.items():
        if kind.dtype not in DTYPES:
            raise FormatError(f"input {name!r} has dtype {kind.dtype!r}; known: {', '.join(DTYPES)}")
    for name, array in graph.constants.items():
        if array.dtype.name not in (*DTYPES, *STORED):
            raise FormatError(f"constant {name!r} has dtype {array.dtype.name}; known: {', '.join((*DTYPES, *STORED))}")
    if "" in graph.inputs or "" in graph.constants:
        raise FormatError("an input or constant has no name")
    if twice := set(graph.inputs) & set(graph.constants):
        raise FormatError(f"{min(twice)!r} is both an input and a constant")
    try:
        types = infer_all(graph)
    except InputError as error:
        raise FormatError(f"the graph does not fit together: {error}") from None
    for name, kind in types.items():
        if kind.rank > MAX_RANK:
            raise FormatError(f"{name!r} has {kind.rank} axes; at most {MAX_RANK} are taken")
        if any(isinstance(dim, int) and dim < 0 for dim in kind.shape):
            raise FormatError(f"{name!r} has a negative size: {kind}")
        if prod(dim for dim in kind.shape if isinstance(dim, int)) > MAX_ELEMENTS:
            raise FormatError(f"{name!r} is too large: at most {MAX_ELEMENTS} elements are taken")
    for name, value in graph.outputs.items():
        if value not in types:
            raise FormatError(f"output {name!r} shows {value!r}, which is not made")
    _check_states(graph, types)
    check_stored(graph)


def _check_states(graph: Graph, types: Mapping[str, TensorType]) -> None:
    for state in graph.states:
        if state.input not in graph.inputs or types.get(state.output) != graph.inputs[state.input]:
            raise FormatError(f"state {state.input!r} does not fit {state.output!r}")
        if state.how not in HOWS:
            raise FormatError(f"state {state.input!r} was found by {state.how!r}; known: {', '.join(HOWS)}")
    if len({state.input for state in graph.states}) < len(graph.states):
        raise FormatError("one input is named twice among the states")
    for name, value in graph.initial.items():
        if name not in graph.inputs or value not in graph.constants:
            raise FormatError(f"start value {value!r} of {name!r}: expected a constant for an input")
        wanted, found = graph.inputs[name], types[value]
        pairs = zip(found.shape[::-1], wanted.shape[::-1], strict=False)
        if found.dtype != wanted.dtype or found.rank > wanted.rank or any(a not in (1, b) for a, b in pairs):
            raise FormatError(f"start value {value!r} of {name!r}: expected what broadcasts to {wanted}, got {found}")


def _check_node(node: Node) -> None:
    if node.op not in OPS:
        raise FormatError(f"{node.where}: the operator is not in the table")
    if node.every != (1, 0):
        raise FormatError(f"{node.where}: runs at some steps only, {node.every}; a whole graph has no steps")
    spec = OPS[node.op]
    if spec.inputs != ("*",) and len(node.inputs) != len(spec.inputs):
        raise FormatError(f"{node.where}: expected {len(spec.inputs)} inputs, absent ones as '', got {node.inputs}")
    if len(node.outputs) != len(spec.outputs) or not any(node.outputs):
        raise FormatError(f"{node.where}: expected {len(spec.outputs)} outputs, at least one named, got {node.outputs}")
    if set(node.attrs) != set(spec.attrs):
        raise FormatError(f"{node.where}: expected the attributes {sorted(spec.attrs)}, got {sorted(node.attrs)}")
    for name, value in node.attrs.items():
        if not _is_kind(value, KINDS[name]):
            raise FormatError(f"{node.where}: attribute {name} is {value!r}; expected {KINDS[name]}")
    if node.op in ("rnn", "gru", "lstm"):
        _check_cell(node)
    if node.op == "cast" and node.attrs["to"] not in DTYPES:
        raise FormatError(f"{node.where}: cast to {node.attrs['to']!r}; known: {', '.join(DTYPES)}")


def _check_cell(node: Node) -> None:
    directions = 2 if node.attrs["direction"] == "bidirectional" else 1
    count = directions * {"rnn": 1, "gru": 2, "lstm": 3}[node.op]
    for name in ("activations", "activation_alpha", "activation_beta"):
        value: Any = node.attrs[name]
        if len(value) != count:
            raise FormatError(f"{node.where}: expected {count} {name}, got {len(value)}")
    activations: Any = node.attrs["activations"]
    for name in activations:
        if name not in ACTIVATIONS:
            raise FormatError(f"{node.where}: activation {name!r} is not known; known: {', '.join(ACTIVATIONS)}")
    hidden: Any = node.attrs["hidden_size"]
    if hidden < 1:
        raise FormatError(f"{node.where}: hidden_size is {hidden}; expected at least 1")


def _is_kind(value: Any, kind: str) -> bool:
    if kind in (INTS, FLOATS, TEXTS, DIMS):
        single = {INTS: INT, FLOATS: FLOAT, TEXTS: TEXT}.get(kind)
        if not isinstance(value, tuple) or len(value) > MAX_ATTRIBUTE_ITEMS:
            return False
        return all(_is_kind(item, single) if single else _is_dim(item) for item in value)
    if kind == INT:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_ATTRIBUTE
    if kind == FLAG:
        return _is_kind(value, INT) and value in (0, 1)
    if kind == FLOAT:
        return isinstance(value, float) and abs(value) <= LARGEST_FLOAT
    return isinstance(value, str)


def _is_dim(value: Dim) -> bool:
    return isinstance(value, Expr) or (isinstance(value, int) and not isinstance(value, bool))
