"""The LSTM instruction whose weights are stored as int8, some or all.

The fields of the float instruction, in its columns, and what its two products and projection need besides: see
`int8.py` for how a matrix is packed and multiplied. The outputs of both products stand as the float kernel has its
gates: for each block of 16 units the vectors i, o, f, g.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from edgelstm.graph.ir import Node
from edgelstm.graph.stored import bounded_state
from edgelstm.program.lower.int8 import (
    FACTORS,
    arrange,
    check_matrix,
    check_scale,
    gate_rows,
    matrix,
    row_words,
    together_words,
    x_fields,
)
from edgelstm.program.lower.lstm import GATES, LSTM, check_lstm, lstm_fields
from edgelstm.program.lower.recurrent import AHEAD, AHEAD_UNITS, bias_sum, constant, padded
from edgelstm.program.lower.strides import flag, region
from edgelstm.program.opcodes import ABSENT, LANES, Fields, Opcode, Region

if TYPE_CHECKING:
    from edgelstm.program.lowering import Lowering


def _check(fields: Fields) -> list[Region]:
    regions = check_lstm(fields)
    inputs, units, outputs = fields["I"], fields["H"], fields["P"]
    flag(fields, "h_bounded", "raw_bounded")
    check_scale(fields)
    vectors = GATES * padded(units) // LANES
    regions += [
        check_matrix(fields, "w", "w_mode", vectors, inputs),
        check_matrix(fields, "r", "r_mode", vectors, outputs),
        region(fields["bias"], GATES * padded(units)),
        region(fields["work"], lstm_work(fields), write=True),
    ]
    if fields["proj"] != ABSENT:
        regions.append(check_matrix(fields, "proj", "proj_mode", padded(outputs) // LANES, units))
    return regions


LSTM_INT8 = Opcode(
    50,
    "lstm_int8",
    (*LSTM.fields, "r", "bias", "w_mode", "r_mode", "proj_mode", "x_scale", "x_zero", "h_bounded", "raw_bounded"),
    _check,
    (*LSTM.operands, "r", "bias"),
)


def work_words(inputs: int, units: int, outputs: int) -> int:
    """Two rows of h, one of c, the h before its projection, the gates; two rows of activations on 8 bits."""
    return 2 * padded(outputs) + padded(units) * (2 + GATES) + row_words(inputs) + row_words(max(units, outputs))


def lstm_work(fields: Fields) -> int:
    """What one instruction needs: for a row alone, or for the rows that go together."""
    inputs, units = fields["I"], fields["H"]
    alone = work_words(inputs, units, fields["P"])
    if not fields["plain"]:
        return alone
    if fields["T"] >= AHEAD and units >= AHEAD_UNITS:
        alone += AHEAD * (GATES * padded(units) + row_words(inputs) + FACTORS)
    return max(alone, together_words(fields, GATES, 3))


def lower_lstm_int8(node: Node, to: Lowering) -> None:
    """One instruction per direction."""
    w_name, r_name, proj_name = (node.inputs[k] for k in (1, 2, 8))
    b = constant(node, to, node.inputs[3], "b")
    units = to.shape(r_name)[1] // GATES
    outputs, order = to.shape(r_name)[2], gate_rows(GATES, units)
    results = [to.result(name) for name in node.outputs]
    for d in range(to.shape(w_name)[0]):
        w, w_mode = matrix(node, to, w_name, "x", order, d)
        r, r_mode = matrix(node, to, r_name, "h", order, d)
        proj, proj_mode = ABSENT, 0
        if proj_name:
            proj, proj_mode = matrix(node, to, proj_name, "proj", gate_rows(1, outputs), d)
        bias = bias_sum(None if b is None else b[d], GATES * units)
        fields = lstm_fields(node, to, d, results)
        to.emit(
            LSTM_INT8,
            **{
                **fields,
                "w": w,
                "r": r,
                "proj": proj,
                "bias": to.pack(("int8 bias", d, node.inputs[3], "lstm", units), partial(arrange, bias, order)),
                "work": to.work(lstm_work(fields)),
            },
            w_mode=w_mode,
            r_mode=r_mode,
            proj_mode=proj_mode,
            **x_fields(node),
            h_bounded=int(bounded_state("lstm", node.attrs, d, bool(proj_name))),
            raw_bounded=int(bounded_state("lstm", node.attrs, d)),
        )


OPCODES = (LSTM_INT8,)
INT8 = {"lstm": ((1, 2, 8), lower_lstm_int8)}
