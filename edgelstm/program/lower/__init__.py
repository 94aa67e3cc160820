"""Lowering, one file per family: the instructions, their checks, the packing of weights, and the handlers."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from edgelstm.graph.ir import Node
from edgelstm.program.opcodes import Opcode

if TYPE_CHECKING:
    from edgelstm.program.lowering import Lowering

FAMILIES = (
    *("lstm", "gru", "rnn", "linear", "matmul", "pointwise", "movement", "reduce", "softmax", "norm", "conv", "pool"),
    *("gather", "gate"),
)

LOWER: dict[str, Callable[[Node, Lowering], None]] = {}
BY_NUMBER: dict[int, Opcode] = {}
for _family in FAMILIES:
    _module = import_module(f"{__name__}.{_family}")
    LOWER |= _module.LOWER
    BY_NUMBER |= {opcode.number: opcode for opcode in _module.OPCODES}
