"""Whether a graph is whole: the gate that files and converters pass before anything else reads a graph."""

from __future__ import annotations

import math
from typing import Any

from edgelstm.errors import FormatError, InputError
from edgelstm.graph.dims import Dim, Expr
from edgelstm.graph.ir import DTYPES, Graph, Node
from edgelstm.graph.ops import ACTIVATIONS, OPS, infer_all

MAX_NODES = 20_000
MAX_RANK = 6
MAX_ATTRIBUTE_ITEMS = 4096

INT, FLOAT, TEXT, INTS, FLOATS, TEXTS, DIMS = "int", "float", "text", "ints", "floats", "texts", "dims"

# What kind of value every attribute name holds, in whichever operator.
KINDS: dict[str, str] = {
    **dict.fromkeys(["hidden_size", "input_forget", "linear_before_reset", "group", "axis", "keepdims"], INT),
    **dict.fromkeys(["select_last", "batch_axis", "time_axis"], INT),
    **dict.fromkeys(["clip", "alpha", "beta", "epsilon", "value"], FLOAT),
    **dict.fromkeys(["direction", "mode", "to"], TEXT),
    **dict.fromkeys(["strides", "pads", "dilations", "kernel", "axes", "perm", "steps"], INTS),
    **dict.fromkeys(["activation_alpha", "activation_beta"], FLOATS),
    "activations": TEXTS,
    **dict.fromkeys(["shape", "starts", "stops"], DIMS),
}


def check(graph: Graph) -> None:
    """Check names, operators, attributes, types and states.

    Raises:
        FormatError: the graph is not whole; the message names the node or value.
    """
    if len(graph.nodes) > MAX_NODES:
        raise FormatError(f"the graph has {len(graph.nodes)} nodes; at most {MAX_NODES} are taken")
    for node in graph.nodes:
        _check_node(node)
    for name, kind in graph.inputs.items():
        if kind.dtype not in DTYPES:
            raise FormatError(f"input {name!r} has dtype {kind.dtype!r}; known: {', '.join(DTYPES)}")
    for name, array in graph.constants.items():
        if array.dtype.name not in DTYPES:
            raise FormatError(f"constant {name!r} has dtype {array.dtype.name}; known: {', '.join(DTYPES)}")
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
    for name, value in graph.outputs.items():
        if value not in types:
            raise FormatError(f"output {name!r} shows {value!r}, which is not made")
    for state in graph.states:
        if state.input not in graph.inputs or types.get(state.output) != graph.inputs[state.input]:
            raise FormatError(f"state {state.input!r} does not fit {state.output!r}")
    for name, value in graph.initial.items():
        if name not in graph.inputs or value not in graph.constants:
            raise FormatError(f"start value {value!r} of {name!r}: expected a constant for an input")


def _check_node(node: Node) -> None:
    if node.op not in OPS:
        raise FormatError(f"{node.where}: the operator is not in the table")
    if set(node.attrs) != set(OPS[node.op].attrs):
        raise FormatError(
            f"{node.where}: expected the attributes {sorted(OPS[node.op].attrs)}, got {sorted(node.attrs)}"
        )
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
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == FLOAT:
        return isinstance(value, float) and math.isfinite(value)
    return isinstance(value, str)


def _is_dim(value: Dim) -> bool:
    return isinstance(value, Expr) or (isinstance(value, int) and not isinstance(value, bool))
