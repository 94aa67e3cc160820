"""The slab of a pool as compiled code sees it: which words of its rows go where. Imports no numba.

A slab holds one row of words a stream. A table says how to move them:

    [rows a run, slab, bytes a slab row, bytes a row of x, bytes a row of y, then count and address of the
     stretches of the state, of x and of y]

where a stretch is (offset in the row, address in the executor of row 0, bytes from there to the next row, words).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgelstm.machine.slots import STATUSES

GROUP, SLAB, SLAB_BYTES, X_BYTES, Y_BYTES = range(5)
STATES, INPUTS, OUTPUTS = 5, 7, 9  # the count; the address follows
TABLE = 11
STRETCH = 4

Stretch: TypeAlias = tuple[int, int, int, int]


class Rows:
    """One executor for `group` streams a run, over a slab of float32 (capacity, words) with slack behind it.

    The stretches are (byte offset in the row, address, bytes to the next row, words), see above.
    """

    def __init__(
        self,
        machine: Any,
        group: int,
        slab: npt.NDArray[np.float32],
        states: Sequence[Stretch],
        inputs: Sequence[Stretch],
        outputs: Sequence[Stretch],
        x_words: int,
        y_words: int,
    ) -> None:
        self.group = group
        self._kept = machine, slab
        self._stretches = [np.array(rows, np.int64).reshape(-1, STRETCH) for rows in (states, inputs, outputs)]
        counted = [value for rows in self._stretches for value in (len(rows), rows.ctypes.data)]
        head = [group, slab.ctypes.data, slab.strides[0], 4 * x_words, 4 * y_words]
        self._table = np.array(head + counted, np.int64)
        self._address, self._at = machine.address, int(self._table.ctypes.data)
        self._hold, self._release = machine.compiled.step_rows, machine.compiled.step_rows_released

    @property
    def addresses(self) -> tuple[int, int]:
        """Of the executor's context and of the table; good while this object lives."""
        return self._address, self._at

    def step(self, slots: int, count: int, x: int, y: int, release: bool) -> tuple[int, int]:
        """Addresses of slots (int64), x and y; a multiple of `group` rows. Status and rows done."""
        call = self._release if release else self._hold
        answer = call(self._address, self._at, slots, count, x, y)
        return answer % STATUSES, answer // STATUSES
