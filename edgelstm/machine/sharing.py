"""Which rows of a program a team of threads runs together, and the tables that say how (see `kernels/shared.py`).

Such a row is a cell that walks over one sequence and whose every step is worth waking a thread for. Each piece is a
context like the executor's own, whose program is that one row for one step, and whose units are some of the cell's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgelstm.machine import places, slots
from edgelstm.program.lower import BY_NUMBER
from edgelstm.program.lower.gru import GRU
from edgelstm.program.lower.gru_int8 import GRU_INT8
from edgelstm.program.lower.int8 import FLOAT
from edgelstm.program.lower.lstm import LSTM
from edgelstm.program.lower.lstm_int8 import LSTM_INT8
from edgelstm.program.lower.recurrent import padded
from edgelstm.program.lower.rnn import RNN
from edgelstm.program.lower.rnn_int8 import RNN_INT8
from edgelstm.program.opcodes import ABSENT, LANES, Fields, Opcode, operand
from edgelstm.program.program import aligned

Code: TypeAlias = npt.NDArray[np.int64]

UNITS = 64  # of a piece at least: four vectors, which is what kernels keep together
PIECES = 8  # for each thread: who comes late still finds some, and nobody waits long for the last
GATES = {LSTM: 4, LSTM_INT8: 4, GRU: 3, GRU_INT8: 3, RNN: 1, RNN_INT8: 1}
_INT8 = (LSTM_INT8, GRU_INT8, RNN_INT8)

# (bytes of weights that one step reads, steps that follow each other) -> whether several threads are to share it
Worth: TypeAlias = Callable[[int, int], bool]


@dataclass(frozen=True, slots=True)
class Shared:
    """What stands in the place of a program's code.

    Attributes:
        code: the program's, with rows that are shared.
        kept: what the code points to.
    """

    code: Code
    kept: tuple[Any, ...]


def share_rows(code: Code, context: Any, threads: int, worth: Worth) -> Shared | None:
    """The code with every row shared that is worth it; None where none is.

    Args:
        code: a verified program's.
        context: the executor's context block, filled.
        threads: how many share.
        worth: what decides.
    """
    shared, kept = code.copy(), []
    for number, row in enumerate(code):
        opcode = BY_NUMBER[int(row[0])]
        fields = opcode.read(row.tolist())
        if not _can(opcode, fields) or not worth(_bytes(opcode, fields), fields["T"]):
            continue
        tables = _Tables(opcode, fields, row, context, threads)
        shared[number] = 0
        shared[number, :2] = slots.SHARED, tables.job.ctypes.data
        kept.append(tables)
    return Shared(shared, tuple(kept)) if kept else None


def _can(opcode: Opcode, fields: Fields) -> bool:
    """Cells over one sequence of full length whose units do not wait for each other inside a step."""
    if opcode not in GATES or fields["B"] != 1 or fields["T"] < 1 or fields["H"] <= UNITS:
        return False
    if fields["lengths"] != ABSENT or fields["keep"] != ABSENT or fields.get("proj", ABSENT) != ABSENT:
        return False
    return bool(fields.get("reset_after", 1))


def _bytes(opcode: Opcode, fields: Fields) -> int:
    weights = GATES[opcode] * fields["H"] * (fields["I"] + fields["H"])
    return weights if opcode in _INT8 else 4 * weights


class _Tables:
    """A shared row: its job, the row that pieces run, and their contexts."""

    def __init__(self, opcode: Opcode, fields: Fields, row: Code, context: Any, threads: int) -> None:
        self._opcode, self._context = opcode, context
        self._original = row[None].copy()
        units, steps = fields["H"], fields["T"]
        self._zeros, self._other = aligned(padded(units) + 16), aligned(_work_words(opcode, fields) + 16)
        borders = _borders(units, PIECES * threads)
        self._alone = self._copy_of(context, self._original)
        self._steps = np.concatenate([_step(opcode, fields, row, first) for first, _ in borders])
        self._pieces = np.stack([self._copy_of(context, own) for own in np.split(self._steps, len(borders))])
        self._pieces[:, slots.UNITS_BEFORE] = [first for first, _ in borders]
        self._pieces[:, slots.UNITS_BEHIND] = [units - last for _, last in borders]
        self.job = np.zeros(places.SHARED_WORDS, np.int64)
        has_c, last = "c0" in opcode.fields, steps - 1 if fields["reverse"] else 0
        direction = -1 if fields["reverse"] else 1
        x_step, y_step = 4 * fields["x_time"], 4 * fields["y_time"]
        y = self._address(fields["y"])
        for place, value in {
            places.ALONE: self._alone.ctypes.data,
            places.PIECES: len(borders),
            places.CONTEXTS: self._pieces.ctypes.data,
            places.CONTEXT_BYTES: self._pieces.strides[0],
            places.ROWS: self._steps.ctypes.data,
            places.STEPS: steps,
            places.X_START: self._address(fields["x"]) + last * x_step,
            places.X_STEP: direction * x_step,
            places.Y_START: y + last * y_step if y else 0,
            places.Y_STEP: direction * y_step if y else 0,
            places.X_COLUMN: opcode.column("x"),
            places.H_COLUMN: opcode.column("h0"),
            places.C_COLUMN: opcode.column("c0") if has_c else 0,
            places.WORK_COLUMN: opcode.column("work"),
            places.H_START: self._address(fields["h0"]) or self._zeros.ctypes.data,
            places.C_START: (self._address(fields["c0"]) if has_c else 0) or self._zeros.ctypes.data,
            places.H_END: self._address(fields["h"]),
            places.C_END: self._address(fields["c"]) if has_c else 0,
            places.WORK: self._address(fields["work"]),
            places.OTHER_WORK: self._other.ctypes.data,
            places.C_IN_WORK: 2 * 4 * padded(units),
            places.UNITS: units,
        }.items():
            self.job[place] = value

    @staticmethod
    def _copy_of(context: Any, rows: Code) -> Any:
        own = context.copy()
        own[slots.CODE], own[slots.ROWS] = rows.ctypes.data, len(rows)
        return own

    def _address(self, place: int) -> int:
        """Of an operand; 0 where it is absent."""
        return int(self._context[slots.BASE + (place & 3)]) + (place & -4)


def _step(opcode: Opcode, fields: Fields, row: Code, first: int) -> Code:
    """The row as a piece runs it: one step, whose h and c stay in work; see `own_units`."""
    step = row[None].copy()
    changed = {"T": 1, "reverse": 0, "y": ABSENT, "h": ABSENT, "c": ABSENT}
    if opcode in _INT8:
        vector = GATES[opcode] * first // LANES
        for weights, mode, inputs in (("w", "w_mode", "I"), ("r", "r_mode", "H")):
            words = fields[inputs] if fields[mode] == FLOAT else 2 + -(-fields[inputs] // 4)
            changed[weights] = fields[weights] + operand(0, LANES * words * vector)
        for bias in ("bias", "h_bias"):
            changed[bias] = fields.get(bias, ABSENT) + operand(0, LANES * vector)
    for name, value in changed.items():
        if name in opcode.fields:
            step[0, opcode.column(name)] = value
    return step


def _work_words(opcode: Opcode, fields: Fields) -> int:
    """The size of a row's work buffer."""
    return sum(region.words for region in opcode.check(fields) if region.operand == fields["work"])


def _borders(units: int, most: int) -> list[tuple[int, int]]:
    """Units cut into pieces of as many vectors as possible alike, at multiples of UNITS."""
    blocks = -(-units // UNITS)
    count = min(most, blocks, places.MOST_PIECES)
    cuts = [UNITS * (blocks * n // count) for n in range(count)]
    return list(zip(cuts, [*cuts[1:], units], strict=True))
