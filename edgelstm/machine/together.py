"""Calls that Python hands out to a team of threads in pieces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgelstm.machine import places
from edgelstm.machine.executor import Machine
from edgelstm.machine.slab import Rows
from edgelstm.machine.slots import STATUSES
from edgelstm.machine.team import Crew
from edgelstm.program.status import OK

PIECE_ROWS = 64  # of a pool that one thread steps before it looks for more


def execute_all(crew: Crew, machines: Sequence[Machine]) -> int:
    """Run each machine once on what stands in its inputs; the first status that is not OK."""
    records = np.zeros((len(machines), places.RECORD), np.int64)
    records[:, places.KIND] = places.EXECUTE
    records[:, places.CONTEXT] = [machine.address for machine in machines]
    return _hand_out(crew, records)


class SharedRows:
    """One executor for each member of a team, all over the same slab."""

    def __init__(self, crew: Crew, rows: Sequence[Rows]) -> None:
        self._crew, self._rows = crew, rows
        self._members = np.array([own.addresses for own in rows], np.int64)

    def step(self, slots: int, count: int, x: int, y: int, x_bytes: int, y_bytes: int) -> int:
        """Addresses of slots (int64), x and y; a multiple of the group's rows. The first status that is not OK."""
        group = self._rows[0].group
        size = max(group, PIECE_ROWS)
        size *= -(-count // (size * places.MOST_PIECES))
        starts = np.arange(0, count, size)
        records = np.zeros((len(starts), places.RECORD), np.int64)
        records[:, places.KIND] = places.STEP_ROWS
        records[:, places.EXECUTORS] = self._members.ctypes.data
        records[:, places.SLOT_AT] = slots + 8 * starts
        records[:, places.COUNT] = np.minimum(size, count - starts)
        records[:, places.X], records[:, places.Y] = x + x_bytes * starts, y + y_bytes * starts
        return _hand_out(self._crew, records)


def _hand_out(crew: Crew, records: Any) -> int:
    at, size, count = int(records.ctypes.data), int(records.strides[0]), len(records)
    compiled = crew.compiled
    with crew.team() as team:
        nobody = np.zeros(places.table_words(0), np.int64)
        address = team.address if team is not None else int(nobody.ctypes.data)
        compiled.share(address, compiled.do_record, at, size, count)
    wrong = [status for status in (records[:, places.ANSWER] % STATUSES).tolist() if status != OK]
    return wrong[0] if wrong else OK
