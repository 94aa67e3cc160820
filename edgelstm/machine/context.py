"""Reading the context block (see `slots.py`) and the fields of instructions."""

from __future__ import annotations

import numba

from edgelstm.machine.simd import bits_to_float, read64
from edgelstm.machine.slots import (
    ABSENT_BASE,
    ARRAY_TYPE,
    BASE,
    BUSY,
    CHECK,
    CODE,
    FLOAT32,
    FLOAT_COUNT,
    FLOATS,
    INPUT,
    INPUT_WORDS,
    INTERPRETER,
    OUTPUT,
    OUTPUT_WORDS,
    ROWS,
    SLOTS,
    TEAM,
    TURN,
    UNITS_BEFORE,
    UNITS_BEHIND,
)
from edgelstm.program.status import INDEX, OK

__all__ = [
    "ABSENT_BASE",
    "ARRAY_TYPE",
    "BASE",
    "BUSY",
    "CHECK",
    "CODE",
    "FLOAT32",
    "FLOATS",
    "FLOAT_COUNT",
    "INDEX_ERROR",
    "INPUT",
    "INPUT_WORDS",
    "INTERPRETER",
    "OK",
    "OUTPUT",
    "OUTPUT_WORDS",
    "ROWS",
    "SLOTS",
    "TEAM",
    "TURN",
    "UNITS_BEFORE",
    "UNITS_BEHIND",
    "field",
    "float_field",
    "place",
]

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
