"""What RNN, GRU and LSTM share: attributes of every opset version, optional inputs, layout, start states.

Source: ONNX operator specification, RNN, GRU and LSTM in versions 1, 3 (GRU), 7, 14 and 22.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from edgelstm.errors import FormatError
from edgelstm.graph.dims import Dim, FloorDiv
from edgelstm.graph.ir import Attr
from edgelstm.graph.ops import ACTIVATIONS
from edgelstm_converters.onnx.node import OnnxNode
from edgelstm_converters.onnx.symbols import atoms
from edgelstm_converters.onnx.values import AnyArray, Known, Value, known, uniform

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
# ONNX's names, in any case → operators of the Graph.
FUNCTIONS = {name.replace("_", ""): name for name in ACTIVATIONS}
_SWAP = (1, 0, 2)  # layout 1 has the batch first


def translate(node: OnnxNode, op: str, defaults: Sequence[str], states: int, **attrs: Attr) -> list[Value | None]:
    """Translate one recurrent node.

    Args:
        node: inputs X, W, R, B?, sequence_lens?, initial_h?, and for the LSTM initial_c?, P?.
        op: "rnn", "gru" or "lstm".
        defaults: the activation functions of one direction where the file names none.
        states: number of start states.
        attrs: attributes that only this operator has.

    Returns:
        Y, Y_h and for the LSTM Y_c, in the layout of the file.
    """
    batch_first = _layout(node)
    direction = _direction(node)
    directions = 2 if direction == "bidirectional" else 1
    x, weights = node.input(0), [_weight(node, index, role) for index, role in ((1, "W"), (2, "R"), (3, "B"))]
    hidden = _hidden_size(node, weights[1], GATES[op])
    functions, alpha, beta = _activations(node, defaults, directions)
    clip = node.attrs.number("clip", 0.0)
    if clip < 0:
        raise FormatError(f"{node.where}: clip={clip}: expected a threshold above 0")
    if "output_sequence" in node.attrs:  # opset 1 and 3: whether Y is made; here it is made where it is used
        node.attrs.integer("output_sequence")
    if batch_first:
        x = node.transpose(x, _SWAP)
    if len(x.type.shape) != 3:
        raise FormatError(f"{node.where}: X: expected 3 axes, got {x.type}")
    node.axes.time.append(x.type.shape[0])
    node.axes.batch.append(_rows(node, x.type.shape[1]))
    inputs = [x, *weights, _lengths(node, x)]
    inputs += [_start_state(node, 5 + k, x, (directions, hidden), batch_first) for k in range(states)]
    if op == "lstm":
        inputs.append(_weight(node, 7, "P"))
    results = node.emit_all(
        op,
        inputs,
        hidden_size=hidden,
        direction=direction,
        activations=functions,
        activation_alpha=alpha,
        activation_beta=beta,
        clip=clip,
        **attrs,
    )
    if not batch_first:
        return list(results)
    perms = [(2, 0, 1, 3), *[_SWAP] * states]
    wanted = [*node.wanted, *[False] * len(perms)]
    return [
        node.transpose(value, perm) if used else None for value, perm, used in zip(results, perms, wanted, strict=False)
    ]


def _rows(node: OnnxNode, batch: Dim) -> Dim:
    """The batch axis. What a strided window left of an axis is not a number of rows: its size is taken as it is."""
    if any(isinstance(atom, FloorDiv) for atom in atoms(node.symbols.resolve(batch))):
        node.symbols.pin(batch, "its rows come from a sliding window")
    return batch


def _layout(node: OnnxNode) -> bool:
    layout = node.attrs.integer("layout", 0) if node.opset >= 14 else 0
    if layout not in (0, 1):
        raise FormatError(f"{node.where}: layout={layout}: expected 0 (sequence first) or 1 (batch first)")
    return layout == 1


def _direction(node: OnnxNode) -> str:
    direction = node.attrs.text("direction", "forward").lower()
    if direction not in ("forward", "reverse", "bidirectional"):
        raise FormatError(f"{node.where}: direction={direction!r}: expected forward, reverse or bidirectional")
    return direction


def _weight(node: OnnxNode, index: int, role: str) -> Known | None:
    array = node.constant(index, role)
    if array is None:
        return None
    if array.dtype != np.float32:
        raise node.refuse(f"{role} is {array.dtype.name}: expected float32; export the model in float32")
    source = node.optional(index)
    return known(array, source.name if isinstance(source, Known) else "")


def _hidden_size(node: OnnxNode, r: Known | None, gates: int) -> int:
    if r is None or r.array.ndim != 3:
        raise FormatError(f"{node.where}: R: expected 3 axes, got {'nothing' if r is None else r.type}")
    found = int(r.array.shape[2])
    hidden = node.attrs.integer("hidden_size", found)
    if hidden != found or r.array.shape[1] != gates * hidden:
        raise FormatError(
            f"{node.where}: hidden_size={hidden} does not fit R of shape {r.array.shape}:"
            f" expected R to be (directions, {gates * hidden}, {hidden})"
        )
    return hidden


def _activations(
    node: OnnxNode, defaults: Sequence[str], directions: int
) -> tuple[tuple[str, ...], tuple[float, ...], tuple[float, ...]]:
    """Functions with their alpha and beta, each list as long as there are functions.

    "The values are consumed in the order of activation functions": each function that takes one uses up the next.
    """
    names = node.attrs.texts("activations", tuple(defaults) * directions)
    if len(names) != len(defaults) * directions:
        raise FormatError(
            f"{node.where}: activations: expected {len(defaults) * directions} names, got {len(names)}: {list(names)}"
        )
    functions = tuple(_function(node, name) for name in names)
    return functions, _constants(node, functions, "alpha"), _constants(node, functions, "beta")


def _function(node: OnnxNode, name: str) -> str:
    function = FUNCTIONS.get(name.lower())
    if function is None:
        raise node.refuse(f"activation {name!r} is not one of ONNX's: {', '.join(FUNCTIONS)}")
    return function


def _constants(node: OnnxNode, functions: Sequence[str], kind: str) -> tuple[float, ...]:
    given = list(node.attrs.numbers(f"activation_{kind}", ()))
    total, out = len(given), []
    for function in functions:
        default = ACTIVATIONS[function].attrs.get(kind)
        if default is None:
            out.append(0.0)
        elif given:
            out.append(given.pop(0))
        else:
            out.append(float(cast(float, default)))
            node.assume(f"{kind} of {function}", f"{default}, the default")
    if given:
        raise node.refuse(
            f"activation_{kind} has {total} values, of which {total - len(given)} are used by {', '.join(functions)};"
            f" give one value for each function that takes {kind}"
        )
    return tuple(out)


def _lengths(node: OnnxNode, x: Value) -> Value | None:
    """sequence_lens; absent where every row has the whole length."""
    lengths = node.optional(4)
    if lengths is None:
        return None
    time = node.symbols.resolve(x.type.shape[0])
    node.symbols.same(x.type.shape[1], lengths.type.shape[0] if lengths.type.shape else 1, "rows of sequence_lens")
    if isinstance(lengths, Known) and all(_equal(node, entry, time) for entry in lengths.array.flat):
        return None
    return lengths


def _equal(node: OnnxNode, entry: object, time: Dim) -> bool:
    return node.symbols.resolve(cast(Dim, entry if not isinstance(entry, np.generic) else int(entry))) == time


def _start_state(node: OnnxNode, index: int, x: Value, sizes: tuple[int, int], batch_first: bool) -> Value | None:
    """A start state (D, B, n): absent where it is zeros, one row (D, 1, n) where a constant has equal rows."""
    role = ("initial_h", "initial_c")[index - 5]
    state = node.optional(index)
    if state is None:
        return None
    if len(state.type.shape) != 3:
        raise FormatError(f"{node.where}: {role}: expected 3 axes, got {state.type}")
    if batch_first:
        state = node.transpose(state, _SWAP)
    for axis, size in zip((0, 2), sizes, strict=True):
        node.symbols.same(size, state.type.shape[axis], f"axis {axis} of {role}")
    batch = node.symbols.resolve(x.type.shape[1])
    if not isinstance(state, Known) or state.symbolic:
        node.symbols.same(batch, state.type.shape[1], f"rows of {role}")
        return state
    if (rows := _one_row(node, state, batch, role)) is None:
        return state
    if not np.any(rows):
        if not isinstance(batch, int):
            node.assume(role, "zeros for every row")
        return None
    return known(rows, state.name)


def _one_row(node: OnnxNode, state: Known, batch: Dim, role: str) -> AnyArray | None:
    """The row that all rows of a constant start state are equal to, written out over directions and units."""
    array, rows = state.array, node.symbols.resolve(state.shape[1])
    if not uniform(array, 1):
        node.symbols.same(batch, rows, f"rows of {role}")
        return None
    if isinstance(batch, int) or not isinstance(rows, int):
        node.symbols.same(batch, rows, f"rows of {role}")
    elif (size := node.symbols.hint(batch)) not in (None, rows):
        raise FormatError(f"{node.where}: {role}: expected {size} rows, got {rows}")
    directions, _, units = (dim if isinstance(dim, int) else 1 for dim in node.shape(state))
    return np.ascontiguousarray(np.broadcast_to(array[:, :1], (directions, 1, units)))
