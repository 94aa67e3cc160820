"""Lowering, one file per family: the instructions, their checks, the packing of weights, and the handlers."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from edgelstm.errors import UnsupportedError
from edgelstm.graph.ir import Node
from edgelstm.program.opcodes import Opcode

if TYPE_CHECKING:
    from edgelstm.program.lowering import Lowering

FAMILIES = (
    *("lstm", "gru", "rnn", "linear", "matmul", "pointwise", "movement", "reduce", "softmax", "norm", "conv", "pool"),
    *("gather", "gate"),
)

# Instructions on weights that are stored as int8.
INT8_FAMILIES = ("lstm_int8", "gru_int8", "rnn_int8", "linear_int8", "conv_int8", "gather_int8")

LOWER: dict[str, Callable[[Node, Lowering], None]] = {}
BY_NUMBER: dict[int, Opcode] = {}
INT8: dict[str, tuple[tuple[int, ...], Callable[[Node, Lowering], None]]] = {}  # with the inputs that may be int8
for _family in FAMILIES:
    _module = import_module(f"{__name__}.{_family}")
    LOWER |= _module.LOWER
    BY_NUMBER |= {opcode.number: opcode for opcode in _module.OPCODES}
for _family in INT8_FAMILIES:
    _module = import_module(f"{__name__}.{_family}")
    INT8 |= _module.INT8
    BY_NUMBER |= {opcode.number: opcode for opcode in _module.OPCODES}


def handler(node: Node, to: Lowering) -> Callable[[Node, Lowering], None]:
    """What lowers a node: its operator's handler, or the one for weights stored as int8.

    Raises:
        UnsupportedError: there is none.
    """
    inputs, narrow = INT8.get(node.op, ((), LOWER.get(node.op)))
    if narrow and any(node.inputs[k] and to.integers(node.inputs[k]) is not None for k in inputs):
        return narrow
    if node.op not in LOWER:
        raise UnsupportedError(f"{node.where}: no lowering for this operator")
    return LOWER[node.op]
