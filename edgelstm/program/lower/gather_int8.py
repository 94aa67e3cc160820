"""Looking up in a table that is stored as int8, an embedding above all: an entry is widened as it is read.

Rows are packed one after another: the scale, then for each 64 entries of the row 16 words whose byte j in lane i is
entry 16 j + i, so that a shift gives 16 entries in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from edgelstm.graph.ir import Node
from edgelstm.graph.stored import channel_scales
from edgelstm.program.lower.gather import lower_gather
from edgelstm.program.lower.recurrent import Floats
from edgelstm.program.lower.strides import region, sizes
from edgelstm.program.opcodes import LANES, Fields, Opcode, Region

if TYPE_CHECKING:
    from edgelstm.graph.ir import Array
    from edgelstm.program.lowering import Lowering

ENTRIES = 4 * LANES  # that share 16 words


def _check(fields: Fields) -> list[Region]:
    count, inner = sizes(fields, "count", "inner")
    (size,) = sizes(fields, "size", least=0)
    return [
        region(fields["table"], size * row_words(inner)),
        region(fields["indices"], count),
        region(fields["y"], count * inner, write=True),
    ]


GATHER_INT8 = Opcode(
    55, "gather_int8", ("table", "indices", "y", "size", "count", "inner"), _check, ("table", "indices", "y")
)


def row_words(inner: int) -> int:
    """Words of a packed row."""
    return 1 + -(-inner // ENTRIES) * LANES


def pack(table: Array, scales: Floats) -> Floats:
    """table (n, inner) int8, scales (n,) -> (n, row_words)."""
    filled = np.pad(table, ((0, 0), (0, -table.shape[1] % ENTRIES)))
    lanes = filled.reshape(len(table), -1, 4, LANES).transpose(0, 1, 3, 2)
    words = np.ascontiguousarray(lanes).reshape(len(table), -1).view(np.float32)
    return np.concatenate([scales[:, None], words], axis=1)


def lower_gather_int8(node: Node, to: Lowering) -> None:
    """Rows of a table with one scale a row; any other is widened as a whole."""
    attrs: Mapping[str, Any] = node.attrs
    table, indices = node.inputs
    stored, shape = to.integers(table), to.shape(table)
    scales = None if stored is None else channel_scales(*stored, 1)
    if stored is None or scales is None or attrs["axis"] % len(shape) != 0 or to.constant(indices) is not None:
        lower_gather(node, to)
        return
    rows = stored[0].reshape(len(stored[0]), -1)
    operands = {
        "table": to.pack(("gather int8", table), lambda: pack(rows, scales)),
        "indices": to.operand(indices),
        "y": to.result(node.outputs[0]),
    }
    if prod(to.shape(node.outputs[0])):
        to.emit(GATHER_INT8, **operands, size=len(rows), count=prod(to.shape(indices)), inner=rows.shape[1])


OPCODES = (GATHER_INT8,)
INT8 = {"gather": ((0,), lower_gather_int8)}
