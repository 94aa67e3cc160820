"""The GRU instruction whose weights are stored as int8, some or all.

The fields of the float instruction, in its columns, and its products. The product with x gives, for each block of 16
units, the vectors z, r and n, and starts at `bias`. With reset after, the product with h gives z, r and the candidate's
second sum, and starts at `h_bias`; with reset before it gives z and r, from zero, and `n` is the candidate's product
with r * h.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from edgelstm.graph.ir import Node
from edgelstm.graph.stored import bounded_state
from edgelstm.program.lower.gru import GATES, GRU, check_gru, gru_fields
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
from edgelstm.program.lower.recurrent import Floats, constant, padded
from edgelstm.program.lower.strides import flag, region
from edgelstm.program.opcodes import ABSENT, LANES, Fields, Opcode, Region

if TYPE_CHECKING:
    from edgelstm.program.lowering import Lowering


def _check(fields: Fields) -> list[Region]:
    regions = check_gru(fields)
    units, inputs, after = fields["H"], fields["I"], fields["reset_after"]
    flag(fields, "h_bounded")
    check_scale(fields)
    blocks = padded(units) // LANES
    regions += [
        check_matrix(fields, "w", "w_mode", GATES * blocks, inputs),
        check_matrix(fields, "r", "r_mode", (GATES if after else 2) * blocks, units),
        region(fields["bias"], GATES * padded(units)),
        region(fields["h_bias"], GATES * padded(units)),
        region(fields["work"], gru_work(fields), write=True),
    ]
    if not after:
        regions.append(check_matrix(fields, "n", "r_mode", blocks, units))
    return regions


GRU_INT8 = Opcode(
    51,
    "gru_int8",
    (*GRU.fields, "r", "n", "bias", "h_bias", "w_mode", "r_mode", "x_scale", "x_zero", "h_bounded"),
    _check,
    (*GRU.operands, "r", "n", "bias", "h_bias"),
)


def work_words(inputs: int, units: int) -> int:
    """Two rows of h, the sums over x and over h, r * h; two rows of activations on 8 bits."""
    return padded(units) * (2 + 2 * GATES + 1) + row_words(inputs) + row_words(units)


def gru_work(fields: Fields) -> int:
    """What one instruction needs: for a row alone, or for the rows that go together."""
    together = together_words(fields, GATES, 2, sums=2) if fields["reset_after"] else 0
    return max(work_words(fields["I"], fields["H"]), together)


def lower_gru_int8(node: Node, to: Lowering) -> None:
    """One instruction per direction."""
    w_name, r_name = node.inputs[1:3]
    b = constant(node, to, node.inputs[3], "b")
    units = to.shape(r_name)[2]
    every, after = gate_rows(GATES, units), bool(node.attrs["linear_before_reset"])
    results = [to.result(name) for name in node.outputs]
    for d in range(to.shape(w_name)[0]):
        w, w_mode = matrix(node, to, w_name, "x", every, d)
        r, r_mode = matrix(node, to, r_name, "h", every if after else gate_rows(GATES, units, (0, 1)), d)
        n = ABSENT if after else matrix(node, to, r_name, "h", gate_rows(GATES, units, (2,)), d)[0]
        of_x, of_h = _biases(None if b is None else b[d], units, after)
        fields = gru_fields(node, to, d, results)
        to.emit(
            GRU_INT8,
            **fields,
            w=w,
            r=r,
            n=n,
            bias=to.pack(("int8 bias", d, node.inputs[3], after, units), partial(arrange, of_x, every)),
            h_bias=to.pack(("int8 h bias", d, node.inputs[3], after, units), partial(arrange, of_h, every)),
            work=to.work(gru_work(fields)),
            w_mode=w_mode,
            r_mode=r_mode,
            **x_fields(node),
            h_bounded=int(bounded_state("gru", node.attrs, d)),
        )


def _biases(b: Floats | None, units: int, after: bool) -> tuple[Floats, Floats]:
    """Where the sums over x and over h start, (3H,) each: only the candidate with reset after has two."""
    if b is None:
        zero = np.zeros(GATES * units, np.float32)
        return zero, zero
    total, second = b[: GATES * units].copy(), np.zeros(GATES * units, np.float32)
    both = (2 if after else GATES) * units
    total[:both] += b[GATES * units : GATES * units + both]
    second[both:] = b[GATES * units + both :]
    return total, second


OPCODES = (GRU_INT8,)
INT8 = {"gru": ((1, 2), lower_gru_int8)}
