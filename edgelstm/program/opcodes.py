"""The instruction set of the machine: one row of integers an instruction.

A program is a table of int64 rows, `ROW` wide. Column 0 is the opcode; the others are the fields
named here, unused columns are 0. A field is an operand (where a tensor starts), a size, or the bits
of a float32. Kernels, lowering, `verify` and `disassemble` all take a field's column from here.

An operand is `word_offset * 4 + arena`, in 32-bit words; `ABSENT` stands for no operand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

ROW = 48
ABSENT = -1

# Arenas. A stream owns its state and scratch; weights are shared and never written.
WEIGHTS, STATE, SCRATCH = 0, 1, 2
ARENAS = ("weights", "state", "scratch")

LANES = 16  # every buffer is followed by at least LANES - 1 words of slack: vectors may read past its end
MAX_RANK = 6

Fields: TypeAlias = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Region:
    """Words that an instruction touches: `words` from `operand` on."""

    operand: int
    words: int
    write: bool = False


@dataclass(frozen=True, slots=True)
class Opcode:
    """One instruction: its number, its fields in column order, and what it may touch.

    `operands` names the fields that are places.

    `check` raises `ValueError` for a field out of its range (a size below zero, an unknown function
    number) and returns the regions, so that nothing needs checking once the program runs.
    """

    number: int
    name: str
    fields: tuple[str, ...]
    check: Callable[[Fields], Sequence[Region]]
    operands: tuple[str, ...] = ()

    def column(self, field: str) -> int:
        """The column of a field; column 0 is the opcode."""
        return 1 + self.fields.index(field)

    def row(self, **values: int) -> list[int]:
        """One row of the table.

        Raises:
            TypeError: a field is missing or unknown.
        """
        if set(values) != set(self.fields):
            raise TypeError(f"{self.name} takes {self.fields}, got {tuple(values)}")
        row = [self.number, *(int(values[field]) for field in self.fields)]
        return row + [0] * (ROW - len(row))

    def read(self, row: Sequence[int]) -> dict[str, int]:
        """The fields of a row by name."""
        return {field: int(row[1 + index]) for index, field in enumerate(self.fields)}


def operand(arena: int, word: int) -> int:
    """Where a tensor starts."""
    return word * 4 + arena


def float_bits(value: float) -> int:
    """A float32 as the integer that a row carries."""
    return int(np.float32(value).view(np.int32))


def bits_float(bits: int) -> float:
    """The inverse of `float_bits`."""
    return float(np.int32(bits).view(np.float32))
