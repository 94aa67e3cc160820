"""The interpreter: one function runs any verified program, row by row.

To add an instruction, import its kernel and its opcode and add its branch below. A kernel takes the
address of the context and of its row (see `context.py`) and returns nothing; only those that look
at indices in the data return a status, and one that is not OK stops the run.
"""

from __future__ import annotations

import numba

from edgelstm.machine.context import CODE, OK, ROWS, TURN
from edgelstm.machine.kernels.conv import conv
from edgelstm.machine.kernels.conv_int8 import conv_int8
from edgelstm.machine.kernels.gate import skipped
from edgelstm.machine.kernels.gather import bound, gather, put, reverse
from edgelstm.machine.kernels.gather_int8 import gather_int8
from edgelstm.machine.kernels.gru import gru
from edgelstm.machine.kernels.gru_int8 import gru_int8
from edgelstm.machine.kernels.linear import linear
from edgelstm.machine.kernels.linear_int8 import linear_int8
from edgelstm.machine.kernels.lstm import lstm
from edgelstm.machine.kernels.lstm_int8 import lstm_int8
from edgelstm.machine.kernels.matmul import matmul
from edgelstm.machine.kernels.movement import copy
from edgelstm.machine.kernels.norm import layer_norm
from edgelstm.machine.kernels.pointwise import binary, choose, unary
from edgelstm.machine.kernels.pool import avg_pool, max_pool
from edgelstm.machine.kernels.reduce import argmax, reduce
from edgelstm.machine.kernels.rnn import rnn
from edgelstm.machine.kernels.rnn_int8 import rnn_int8
from edgelstm.machine.kernels.shared import shared
from edgelstm.machine.kernels.softmax import softmax
from edgelstm.machine.simd import read64, write64
from edgelstm.machine.slots import SHARED
from edgelstm.program.lower.conv import CONV
from edgelstm.program.lower.conv_int8 import CONV_INT8
from edgelstm.program.lower.gate import GATE
from edgelstm.program.lower.gather import BOUND, GATHER, PUT, REVERSE
from edgelstm.program.lower.gather_int8 import GATHER_INT8
from edgelstm.program.lower.gru import GRU
from edgelstm.program.lower.gru_int8 import GRU_INT8
from edgelstm.program.lower.linear import LINEAR
from edgelstm.program.lower.linear_int8 import LINEAR_INT8
from edgelstm.program.lower.lstm import LSTM
from edgelstm.program.lower.lstm_int8 import LSTM_INT8
from edgelstm.program.lower.matmul import MATMUL
from edgelstm.program.lower.movement import COPY
from edgelstm.program.lower.norm import LAYER_NORM
from edgelstm.program.lower.pointwise import BINARY, SELECT, UNARY
from edgelstm.program.lower.pool import AVG_POOL, MAX_POOL
from edgelstm.program.lower.reduce import ARGMAX, REDUCE
from edgelstm.program.lower.rnn import RNN
from edgelstm.program.lower.rnn_int8 import RNN_INT8
from edgelstm.program.lower.softmax import SOFTMAX
from edgelstm.program.opcodes import ROW

_LSTM, _GRU, _RNN, _LINEAR = LSTM.number, GRU.number, RNN.number, LINEAR.number
_MATMUL, _UNARY, _BINARY, _SELECT, _COPY = MATMUL.number, UNARY.number, BINARY.number, SELECT.number, COPY.number
_GATHER, _REVERSE, _REDUCE, _ARGMAX = GATHER.number, REVERSE.number, REDUCE.number, ARGMAX.number
_PUT, _BOUND, _GATE, _AVG_POOL = PUT.number, BOUND.number, GATE.number, AVG_POOL.number
_LSTM_INT8, _GRU_INT8, _RNN_INT8 = LSTM_INT8.number, GRU_INT8.number, RNN_INT8.number
_LINEAR_INT8, _CONV_INT8, _GATHER_INT8 = LINEAR_INT8.number, CONV_INT8.number, GATHER_INT8.number
_SOFTMAX, _LAYER_NORM, _CONV, _MAX_POOL = SOFTMAX.number, LAYER_NORM.number, CONV.number, MAX_POOL.number
_SHARED = SHARED


@numba.njit(error_model="numpy")
def interpret(context):
    """Run every row that is due once, in order."""
    row = read64(context, CODE)
    end = row + 8 * ROW * read64(context, ROWS)
    write64(context, TURN, 1 - read64(context, TURN))
    while row < end:
        opcode = read64(row, 0)
        if opcode == _LSTM:
            lstm(context, row)
        elif opcode == _GRU:
            gru(context, row)
        elif opcode == _RNN:
            rnn(context, row)
        elif opcode == _LINEAR:
            linear(context, row)
        elif opcode == _LSTM_INT8:
            lstm_int8(context, row)
        elif opcode == _GRU_INT8:
            gru_int8(context, row)
        elif opcode == _RNN_INT8:
            rnn_int8(context, row)
        elif opcode == _LINEAR_INT8:
            linear_int8(context, row)
        elif opcode == _CONV_INT8:
            conv_int8(context, row)
        elif opcode == _GATHER_INT8:
            status = gather_int8(context, row)
            if status != OK:
                return status
        elif opcode == _MATMUL:
            matmul(context, row)
        elif opcode == _UNARY:
            unary(context, row)
        elif opcode == _BINARY:
            binary(context, row)
        elif opcode == _SELECT:
            choose(context, row)
        elif opcode == _COPY:
            copy(context, row)
        elif opcode == _GATHER:
            status = gather(context, row)
            if status != OK:
                return status
        elif opcode == _REVERSE:
            status = reverse(context, row)
            if status != OK:
                return status
        elif opcode == _PUT:
            status = put(context, row)
            if status != OK:
                return status
        elif opcode == _BOUND:
            status = bound(context, row)
            if status != OK:
                return status
        elif opcode == _GATE:
            row += 8 * ROW * skipped(context, row)
        elif opcode == _REDUCE:
            reduce(context, row)
        elif opcode == _ARGMAX:
            argmax(context, row)
        elif opcode == _SOFTMAX:
            softmax(context, row)
        elif opcode == _LAYER_NORM:
            layer_norm(context, row)
        elif opcode == _CONV:
            conv(context, row)
        elif opcode == _MAX_POOL:
            max_pool(context, row)
        elif opcode == _AVG_POOL:
            avg_pool(context, row)
        elif opcode == _SHARED:
            shared(context, row)
        row += 8 * ROW
    return OK
