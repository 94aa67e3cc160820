"""The RNN instruction whose weights are stored as int8, some or all: see `int8.py` for how a matrix is packed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from edgelstm.graph.ir import Node
from edgelstm.graph.stored import bounded_state
from edgelstm.program.lower.int8 import (
    arrange,
    check_matrix,
    check_scale,
    gate_rows,
    matrix,
    row_words,
    together_words,
    x_fields,
)
from edgelstm.program.lower.recurrent import bias_sum, constant, padded
from edgelstm.program.lower.rnn import RNN, check_rnn, rnn_fields
from edgelstm.program.lower.strides import flag, region
from edgelstm.program.opcodes import LANES, Fields, Opcode, Region

if TYPE_CHECKING:
    from edgelstm.program.lowering import Lowering


def _check(fields: Fields) -> list[Region]:
    regions = check_rnn(fields)
    units, inputs = fields["H"], fields["I"]
    flag(fields, "h_bounded")
    check_scale(fields)
    blocks = padded(units) // LANES
    return [
        *regions,
        check_matrix(fields, "w", "w_mode", blocks, inputs),
        check_matrix(fields, "r", "r_mode", blocks, units),
        region(fields["bias"], padded(units)),
        region(fields["work"], rnn_work(fields), write=True),
    ]


RNN_INT8 = Opcode(
    52,
    "rnn_int8",
    (*RNN.fields, "r", "bias", "w_mode", "r_mode", "x_scale", "x_zero", "h_bounded"),
    _check,
    (*RNN.operands, "r", "bias"),
)


def work_words(inputs: int, units: int) -> int:
    """Two rows of h, the sums; two rows of activations on 8 bits."""
    return 3 * padded(units) + row_words(inputs) + row_words(units)


def rnn_work(fields: Fields) -> int:
    """What one instruction needs: for a row alone, or for the rows that go together."""
    return max(work_words(fields["I"], fields["H"]), together_words(fields, 1, 2))


def lower_rnn_int8(node: Node, to: Lowering) -> None:
    """One instruction per direction."""
    w_name, r_name = node.inputs[1:3]
    b = constant(node, to, node.inputs[3], "b")
    units = to.shape(r_name)[2]
    order = gate_rows(1, units)
    results = [to.result(name) for name in node.outputs]
    for d in range(to.shape(w_name)[0]):
        w, w_mode = matrix(node, to, w_name, "x", order, d)
        r, r_mode = matrix(node, to, r_name, "h", order, d)
        bias = bias_sum(None if b is None else b[d], units)
        fields = rnn_fields(node, to, d, results)
        to.emit(
            RNN_INT8,
            **fields,
            w=w,
            r=r,
            bias=to.pack(("int8 bias", d, node.inputs[3], "rnn", units), partial(arrange, bias, order)),
            work=to.work(rnn_work(fields)),
            w_mode=w_mode,
            r_mode=r_mode,
            **x_fields(node),
            h_bounded=int(bounded_state("rnn", node.attrs, d)),
        )


OPCODES = (RNN_INT8,)
INT8 = {"rnn": ((1, 2), lower_rnn_int8)}
