"""The context block: one int64 table per executor that tells the compiled code where everything is.

The compiled interpreter and the entry points know a program only through the address of this table,
so that an interpreter compiled ahead of time fits the same entry points.
"""

from __future__ import annotations

import numba

from edgelstm.machine.simd import bits_to_float, read64
from edgelstm.program.status import INDEX, OK

__all__ = ["INDEX_ERROR", "OK", "field", "float_field", "place"]

# Slots of the table.
CODE = 0  # address of the instruction rows
ROWS = 1  # how many
BASE = 2  # addresses of the arenas in the order of opcodes.ARENAS, and ABSENT_BASE
INPUT = 6  # address of the float32 input that `step` and `run` copy in
INPUT_WORDS = 7
OUTPUT = 8  # address of the float32 output that they copy out
OUTPUT_WORDS = 9
FLOATS = 10  # address of a table of (address, words), one pair for each float32 input
FLOAT_COUNT = 11
BUSY = 12  # 1 while a call runs
CHECK = 13  # 1: `step` and `run` refuse inputs that are not finite
INTERPRETER = 14  # address of int64 interpret(int64 context)
TURN = 15  # 0 and 1 by turns, from run to run: kernels go through large weights to and fro
ARRAY_TYPE = 16  # address of NumPy's array type, and
FLOAT32 = 17  # of its float32: what entry points compare arguments with
SLOTS = 18

# What stands in the fourth base: ABSENT (-1) then resolves to address 0 without a branch.
ABSENT_BASE = 4

# What a kernel returns whose work depends on data: later results and new states are not to be used.
INDEX_ERROR = INDEX


@numba.njit(forceinline=True)
def field(row, column):
    """An integer field of an instruction."""
    return read64(row, column)


@numba.njit(forceinline=True)
def float_field(row, column):
    """A float32 field of an instruction."""
    return bits_to_float(read64(row, column))


@numba.njit(forceinline=True)
def place(context, row, column):
    """The address of an operand; 0 where it is ABSENT."""
    operand = read64(row, column)
    return read64(context, BASE + (operand & 3)) + (operand & -4)
