"""The linear instruction whose weights are stored as int8: see `int8.py` for how a matrix is packed."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from edgelstm.graph.ir import Node
from edgelstm.program.lower.int8 import (
    FACTORS,
    GROUP,
    arrange,
    check_matrix,
    check_scale,
    gate_rows,
    matrix,
    row_words,
    x_fields,
)
from edgelstm.program.lower.recurrent import TOGETHER, constant, padded
from edgelstm.program.lower.strides import region, sizes
from edgelstm.program.opcodes import LANES, Fields, Opcode, Region

if TYPE_CHECKING:
    from edgelstm.program.lowering import Lowering


def _check(fields: Fields) -> list[Region]:
    rows, inputs = sizes(fields, "rows", "inputs", least=0)
    (outputs,) = sizes(fields, "outputs")
    check_scale(fields)
    return [
        region(fields["x"], rows * inputs),
        check_matrix(fields, "w", "w_mode", padded(outputs) // LANES, inputs),
        region(fields["bias"], padded(outputs)),
        region(fields["y"], rows * outputs, write=True),
        region(fields["work"], work_words(rows, inputs, outputs), write=True),
    ]


LINEAR_INT8 = Opcode(
    53,
    "linear_int8",
    ("x", "w", "bias", "y", "work", "rows", "inputs", "outputs", "w_mode", "x_scale", "x_zero"),
    _check,
    ("x", "w", "bias", "y", "work"),
)


def work_words(rows: int, inputs: int, outputs: int) -> int:
    """A row of results in whole vectors, a row of activations on 8 bits; or so for the rows that go together."""
    together = min(rows, TOGETHER) * (GROUP * LANES + row_words(inputs) + FACTORS)
    return max(padded(outputs) + row_words(inputs), together if rows > 1 else 0)


def lower_linear_int8(node: Node, to: Lowering) -> None:
    """One instruction for all rows."""
    x, w_name, b_name = node.inputs
    b = constant(node, to, b_name, "b")
    shape, outputs, y = to.shape(x), to.shape(w_name)[0], to.result(node.outputs[0])
    if not outputs or not prod(shape[:-1]):
        return
    order = gate_rows(1, outputs)
    bias = np.zeros(outputs, np.float32) if b is None else b
    w, mode = matrix(node, to, w_name, "x", order)
    to.emit(
        LINEAR_INT8,
        x=to.operand(x),
        w=w,
        bias=to.pack(("int8 bias", b_name, "linear", outputs), lambda: arrange(bias, order)),
        y=y,
        work=to.work(work_words(prod(shape[:-1]), shape[-1], outputs)),
        rows=prod(shape[:-1]),
        inputs=shape[-1],
        outputs=outputs,
        w_mode=mode,
        **x_fields(node),
    )


OPCODES = (LINEAR_INT8,)
INT8 = {"linear": ((1,), lower_linear_int8)}
