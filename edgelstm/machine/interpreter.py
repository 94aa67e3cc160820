"""The interpreter: one function runs any verified program, row by row.

To add an instruction, import its kernel and its opcode and add its branch below. A kernel takes the
address of the context and of its row (see `context.py`) and returns nothing.
"""

from __future__ import annotations

import numba

from edgelstm.machine.context import CODE, ROWS
from edgelstm.machine.kernels.lstm import lstm
from edgelstm.machine.simd import read64
from edgelstm.program.lower.lstm import LSTM
from edgelstm.program.opcodes import ROW

_LSTM = LSTM.number


@numba.njit(error_model="numpy")
def interpret(context):
    """Run every row once, in order."""
    row = read64(context, CODE)
    for _ in range(read64(context, ROWS)):
        opcode = read64(row, 0)
        if opcode == _LSTM:
            lstm(context, row)
        row += 8 * ROW
    return 0
