"""The closed table of operators: inputs, outputs, attributes with their defaults, shape rule.

The rule for streams stands in `edgelstm/passes/stream`, the NumPy definition in `edgelstm/reference`, the
lowering in `edgelstm/program/lower`; a test holds the four together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgelstm.errors import InputError
from edgelstm.graph import shapes
from edgelstm.graph.ir import Attr, Graph, Node, TensorType
from edgelstm.graph.shapes import FLOATS, INTEGERS, RECURRENT_INPUTS, Rule, Same, strict
from edgelstm.graph.stored import value_type

REQUIRED: Any = object()  # an attribute without a default


@dataclass(frozen=True, slots=True)
class Op:
    """One operator.

    Attributes:
        inputs: roles in order; a trailing "?" marks an optional one; "*" takes any number.
        outputs: roles in order.
        attrs: name → default, or `REQUIRED`.
        shape: the shape rule.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shape: Rule
    attrs: Mapping[str, Attr] = field(default_factory=dict)


NUMBERS = FLOATS + INTEGERS
ANY = (*NUMBERS, "bool")
# The products on 8-bit activations; the scale of their inputs (0: from each reading) and zero point; see `stored.py`.
_INT8: dict[str, Any] = {"int8": (), "x_scale": 0.0, "x_zero": 0}
_CELL: dict[str, Any] = {
    "hidden_size": REQUIRED,
    "direction": "forward",
    "activations": REQUIRED,
    "activation_alpha": REQUIRED,
    "activation_beta": REQUIRED,
    "clip": 0.0,
    **_INT8,
}
_WINDOW: dict[str, Any] = {"strides": REQUIRED, "pads": REQUIRED, "dilations": REQUIRED}


def _cell(op: str, **more: Attr) -> Op:
    roles = RECURRENT_INPUTS[op]
    outputs = ("y", "h", "c") if op == "lstm" else ("y", "h")
    return Op((*roles[:3], *(f"{role}?" for role in roles[3:])), outputs, shapes.recurrent(op), {**_CELL, **more})


def _unary(dtypes: Sequence[str] = FLOATS, **attrs: Attr) -> Op:
    return Op(("x",), ("y",), shapes.unary(dtypes), attrs)


def _binary(dtypes: Sequence[str] = NUMBERS, out: str | None = None) -> Op:
    return Op(("a", "b"), ("y",), shapes.binary(dtypes, out))


def _reduce(dtypes: Sequence[str] = NUMBERS) -> Op:
    return Op(("x",), ("y",), shapes.reduce(dtypes), {"axes": REQUIRED, "keepdims": 1})


# Pointwise functions of one input that a cell may also use as an activation, with ONNX's defaults.
ACTIVATIONS: dict[str, Op] = {
    "sigmoid": _unary(),
    "tanh": _unary(),
    "relu": _unary(),
    "affine": _unary(alpha=1.0, beta=0.0),
    "leaky_relu": _unary(alpha=0.01),
    "thresholded_relu": _unary(alpha=1.0),
    "scaled_tanh": _unary(alpha=1.0, beta=1.0),
    "hard_sigmoid": _unary(alpha=0.2, beta=0.5),
    "elu": _unary(alpha=1.0),
    "softsign": _unary(),
    "softplus": _unary(),
}

OPS: dict[str, Op] = {
    "rnn": _cell("rnn"),
    "gru": _cell("gru", linear_before_reset=0),
    "lstm": _cell("lstm", input_forget=0),
    "linear": Op(("x", "w", "b?"), ("y",), shapes.linear, _INT8),
    "matmul": Op(("a", "b"), ("y",), shapes.matmul),
    "conv": Op(("x", "w", "b?"), ("y",), shapes.conv, {**_WINDOW, "group": 1, **_INT8}),
    "max_pool": Op(("x",), ("y",), shapes.pool, {**_WINDOW, "kernel": REQUIRED}),
    "avg_pool": Op(("x",), ("y",), shapes.pool, {**_WINDOW, "kernel": REQUIRED, "count_include_pad": 0}),
    **ACTIVATIONS,
    "floor": _unary(),
    "ceil": _unary(),
    "round": _unary(),
    "exp": _unary(),
    "log": _unary(),
    "sqrt": _unary(),
    "reciprocal": _unary(),
    "erf": _unary(),
    "neg": _unary(NUMBERS),
    "abs": _unary(NUMBERS),
    "not": _unary(("bool",)),
    "identity": _unary(ANY),
    "cast": Op(("x",), ("y",), shapes.cast, {"to": REQUIRED}),
    "add": _binary(),
    "sub": _binary(),
    "mul": _binary(),
    "div": _binary(),
    "pow": _binary(FLOATS),
    "maximum": _binary(),
    "minimum": _binary(),
    "equal": _binary(ANY, "bool"),
    "less": _binary(NUMBERS, "bool"),
    "greater": _binary(NUMBERS, "bool"),
    "and": _binary(("bool",)),
    "or": _binary(("bool",)),
    "where": Op(("condition", "a", "b"), ("y",), shapes.where),
    "softmax": Op(("x",), ("y",), shapes.along_axis, {"axis": -1}),
    "log_softmax": Op(("x",), ("y",), shapes.along_axis, {"axis": -1}),
    "reduce_sum": _reduce(),
    "reduce_mean": _reduce(FLOATS),
    "reduce_max": _reduce(),
    "reduce_min": _reduce(),
    "reduce_prod": _reduce(),
    "argmax": Op(("x",), ("y",), shapes.argmax, {"axis": REQUIRED, "keepdims": 1, "select_last": 0}),
    "layer_norm": Op(("x", "scale", "bias?"), ("y",), shapes.layer_norm, {"axis": -1, "epsilon": 1e-5}),
    "reshape": Op(("x",), ("y",), shapes.reshape, {"shape": REQUIRED}),
    "transpose": Op(("x",), ("y",), shapes.transpose, {"perm": REQUIRED}),
    "expect": Op(("x",), ("y",), shapes.expect, {"given": REQUIRED, "wanted": REQUIRED}),
    "slice": Op(
        ("x",), ("y",), shapes.slice_, {"axes": REQUIRED, "starts": REQUIRED, "stops": REQUIRED, "steps": REQUIRED}
    ),
    "concat": Op(("*",), ("y",), shapes.concat, {"axis": REQUIRED}),
    "arange": Op((), ("y",), shapes.arange, {"shape": REQUIRED}),
    "broadcast": Op(("x",), ("y",), shapes.broadcast, {"shape": REQUIRED}),
    "pad": Op(("x",), ("y",), shapes.pad, {"pads": REQUIRED, "mode": "constant", "value": 0.0}),
    "reverse_sequence": Op(
        ("x", "lengths"), ("y",), shapes.reverse_sequence, {"batch_axis": REQUIRED, "time_axis": REQUIRED}
    ),
    "gather": Op(("table", "indices"), ("y",), shapes.gather, {"axis": 0}),
    "put": Op(("x", "value", "index"), ("y",), shapes.put, {"axis": REQUIRED}),
}


def make_node(op: str, inputs: Sequence[str], outputs: Sequence[str], name: str = "", **attrs: Attr) -> Node:
    """A node with absent trailing inputs and default attributes filled in.

    Raises:
        InputError: the operator is not in the table, or an attribute or input does not belong.
    """
    if op not in OPS:
        raise InputError(f"operator {op!r} is not in the table; known: {', '.join(sorted(OPS))}")
    spec = OPS[op]
    if unknown := set(attrs) - set(spec.attrs):
        raise InputError(
            f"{op} has no attribute {', '.join(sorted(unknown))}; it has {', '.join(spec.attrs) or 'none'}"
        )
    filled = {**spec.attrs, **attrs}
    if missing := [key for key, value in filled.items() if value is REQUIRED]:
        raise InputError(f"{op} needs the attribute {', '.join(missing)}")
    if spec.inputs != ("*",):
        if len(inputs) > len(spec.inputs):
            raise InputError(f"{op} takes at most {len(spec.inputs)} inputs, got {len(inputs)}")
        inputs = [*inputs, *[""] * (len(spec.inputs) - len(inputs))]
    if len(outputs) > len(spec.outputs):
        raise InputError(f"{op} gives at most {len(spec.outputs)} outputs, got {len(outputs)}")
    outputs = [*outputs, *[""] * (len(spec.outputs) - len(outputs))]
    return Node(op, tuple(inputs), tuple(outputs), filled, name)


def infer(node: Node, inputs: Sequence[TensorType | None], same: Same = strict) -> list[TensorType]:
    """The types of a node's outputs.

    Raises:
        InputError: an input is missing or does not fit; the message names the node.
    """
    spec = OPS[node.op]
    try:
        if spec.inputs != ("*",):
            for role, value in zip(spec.inputs, inputs, strict=True):
                if value is None and not role.endswith("?"):
                    raise InputError(f"input {role} is missing")
        return spec.shape(inputs, node.attrs, same)
    except InputError as error:
        raise InputError(f"{node.where}: {error}") from None


def infer_all(graph: Graph) -> dict[str, TensorType]:
    """The type of every value of a graph, by name.

    Raises:
        InputError: a node uses a value that is not made before it, or its inputs do not fit.
    """
    types: dict[str, TensorType] = dict(graph.inputs)
    for name, array in graph.constants.items():
        types[name] = value_type(array)
    for node in graph.nodes:
        for name in node.inputs:
            if name and name not in types:
                raise InputError(f"{node.where}: the value {name!r} is not made before it is used")
        results = infer(node, [types[name] if name else None for name in node.inputs])
        named = [name for name in node.outputs if name]
        if len(set(named)) < len(named):
            raise InputError(f"{node.where}: one value is made twice, got the outputs {node.outputs}")
        for name, result in zip(node.outputs, results, strict=True):
            if name and name in types:
                raise InputError(f"{node.where}: the value {name!r} is made twice")
            if name:
                types[name] = result
    return types
