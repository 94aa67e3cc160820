"""The context block: one int64 table per executor that tells the compiled code where everything is.

The compiled interpreter and the entry points know a program only through the address of this table,
so that an interpreter compiled ahead of time fits the same entry points.
"""

from __future__ import annotations

import numba

from edgelstm.machine.simd import bits_to_float, read64

# Slots of the table.
CODE = 0  # address of the instruction rows
ROWS = 1  # how many
BASE = 2  # addresses of the arenas in the order of opcodes.ARENAS, and ABSENT_BASE
INPUT = 6  # address of the staged float32 inputs, one stretch
INPUT_WORDS = 7
OUTPUT = 8  # address of the float32 output that `step` and `run` copy out
OUTPUT_WORDS = 9
BUSY = 10  # 1 while a call runs
CHECK = 11  # 1: inputs must be finite
INTERPRETER = 12  # address of int64 interpret(int64 context)
SLOTS = 16

# What stands in the fourth base: ABSENT (-1) then resolves to address 0 without a branch.
ABSENT_BASE = 4

# What a call returns.
OK = 0
BUSY_ERROR = -1  # another call is running on this context
SIZE_ERROR = -2  # an array does not have the words that the program has
INVALID = -3  # an input is NaN or infinite; nothing was changed
INDEX_ERROR = -4  # an index or a length in the data is out of range; later results and new states are not to be used


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
