"""Many streams through one program: gather the rows of a slab (see `slab.py`), run, scatter them back."""

from __future__ import annotations

import numba

from edgelstm.machine.atomic import exchange
from edgelstm.machine.context import BUSY
from edgelstm.machine.entry import (
    STATUSES,
    _copy,
    _copy_in,
    _enter_mode,
    _finite,
    _interpret,
    _leave_mode,
)
from edgelstm.machine.simd import prefetch, read64, write64
from edgelstm.machine.slab import GROUP, INPUTS, OUTPUTS, SLAB, SLAB_BYTES, STATES, STRETCH, X_BYTES, Y_BYTES
from edgelstm.program import status

_OK, _BUSY_STATUS = status.OK, status.BUSY
_AHEAD = 4  # rows of the slab that are asked for before they are needed


@numba.njit(forceinline=True)
def _gather(table, kind, row, b):
    stretch = read64(table, kind + 1)
    for _ in range(read64(table, kind)):
        _copy(row + read64(stretch, 0), read64(stretch, 1) + b * read64(stretch, 2), read64(stretch, 3))
        stretch += 8 * STRETCH


@numba.njit(forceinline=True)
def _gather_exactly(table, kind, row, b):
    stretch = read64(table, kind + 1)
    for _ in range(read64(table, kind)):
        _copy_in(row + read64(stretch, 0), read64(stretch, 1) + b * read64(stretch, 2), read64(stretch, 3))
        stretch += 8 * STRETCH


@numba.njit(forceinline=True)
def _scatter(table, kind, row, b):
    stretch = read64(table, kind + 1)
    for _ in range(read64(table, kind)):
        _copy(read64(stretch, 1) + b * read64(stretch, 2), row + read64(stretch, 0), read64(stretch, 3))
        stretch += 8 * STRETCH


@numba.njit(forceinline=True)
def step_rows(context, table, slots, count, x, y):
    """`count` rows of x (a multiple of the rows a run) to y, stream slots[i] with row i; no slot stands twice.

    Answers rows done * STATUSES + status; a run that fails leaves its rows as they were.
    """
    if exchange(context, BUSY, 1):
        return _BUSY_STATUS
    mode = _enter_mode()
    group, slab, size = read64(table, GROUP), read64(table, SLAB), read64(table, SLAB_BYTES)
    x_bytes, y_bytes = read64(table, X_BYTES), read64(table, Y_BYTES)
    done, answer = 0, _OK
    while done < count:
        for b in range(group):
            if done + b + _AHEAD < count:
                ahead = slab + size * read64(slots, done + b + _AHEAD)
                for at in range(0, size, 64):
                    prefetch(ahead + at)
            _gather(table, STATES, slab + size * read64(slots, done + b), b)
            _gather_exactly(table, INPUTS, x + x_bytes * (done + b), b)
        answer = _interpret(context)
        if answer != _OK:
            break
        for b in range(group):
            _scatter(table, STATES, slab + size * read64(slots, done + b), b)
            _scatter(table, OUTPUTS, y + y_bytes * (done + b), b)
        done += group
    _leave_mode(mode)
    write64(context, BUSY, 0)
    return done * STATUSES + answer


@numba.njit(forceinline=True)
def scan_rows(used, slots, count, clock, x, words):
    """Look at `count` rows of x, then note that their slots are used at `clock`.

    Answers -(1 + i) where row i holds NaN or Inf (words 0: no look), 1 + i where slots[i] stood before; else 0.
    """
    for i in range(count):
        if words and not _finite(x + 4 * words * i, words):
            return -1 - i
    answer = 0
    for i in range(count):
        slot = read64(slots, i)
        if read64(used, slot) == clock and answer == 0:
            answer = 1 + i
        write64(used, slot, clock)
    return answer
