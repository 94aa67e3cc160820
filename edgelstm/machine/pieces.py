"""Threads that work together, as compiled code: who takes which piece, who sleeps and who is woken.

The caller takes pieces from the first on, workers from the last on; so each finds in its own cache the weights that
it read at the step before. What no worker has come for the caller does itself: nobody ever waits for a thread that
has not begun. All about a piece is read after it is taken, and stays as it is until it is done. The table is described
in `places.py`.
"""

from __future__ import annotations

import numba

from edgelstm.machine import places
from edgelstm.machine.atomic import add, call, exchange, fetch, pause, replace
from edgelstm.machine.entry import _enter_mode, _leave_mode, execute
from edgelstm.machine.rows import step_rows
from edgelstm.machine.simd import read64, write64

_OPEN, _DONE, _STOP, _KEEN, _WORKERS = places.OPEN, places.DONE, places.STOP, places.KEEN, places.WORKERS
_POST, _WAIT, _YIELD, _CALL = places.POST, places.WAIT, places.YIELD, places.CALL
_RECORDS, _STRIDE, _MEMBERS, _MEMBER = places.RECORDS, places.STRIDE, places.MEMBERS, places.MEMBER
_ASLEEP, _SEMAPHORE = places.ASLEEP, places.SEMAPHORE
_KIND, _ANSWER, _EXECUTE, _CONTEXT = places.KIND, places.ANSWER, places.EXECUTE, places.CONTEXT
_ALONE, _PAUSE = places.ALONE_STEPS, places.PAUSE
_EXECUTORS, _SLOT_AT, _COUNT, _X, _Y = places.EXECUTORS, places.SLOT_AT, places.COUNT, places.X, places.Y

_ROUNDS = 4000  # that a thread waits awake, some tens of microseconds: a hand-over inside a step takes less than one
_LEAST_PAUSE, _MOST_PAUSE = 64, 4096  # steps: a thread that lost its processor comes back after some milliseconds
_NONE = -1


@numba.njit(forceinline=True)
def _take(team, first):
    """A piece that nobody has taken, the first or the last of them; _NONE if there is none."""
    while True:
        word = fetch(team, _OPEN)
        low, high = word & 255, word >> 8
        if low >= high:
            return _NONE
        if replace(team, _OPEN, word, word + 1 if first else word - 256):
            return low if first else high - 1


@numba.njit(forceinline=True)
def _do(team, piece, member):
    call(read64(team, _CALL), read64(team, _RECORDS) + read64(team, _STRIDE) * piece, member)


@numba.njit(forceinline=True)
def _wake(team, pieces):
    for n in range(min(read64(team, _WORKERS), pieces - 1)):
        at = team + 8 * (_MEMBERS + _MEMBER * n)
        if exchange(at, _ASLEEP, 0):
            call(read64(team, _POST), at + 8 * _SEMAPHORE, 0)


@numba.njit(error_model="numpy")
def share(team, function, records, stride, pieces):
    """Call function(record, member) for each of so many records, by whoever of the team is there.

    One thread at a time may call this for a team; it is member 0. Answers, when all are done, whether the workers were
    of use: 0 where none came, or one kept the caller waiting for longer than a hand-over takes.
    """
    write64(team, _CALL, function)
    write64(team, _RECORDS, records)
    write64(team, _STRIDE, stride)
    exchange(team, _DONE, 0)
    exchange(team, _OPEN, pieces << 8)
    _wake(team, pieces)
    own = 0
    while True:
        piece = _take(team, True)
        if piece == _NONE:
            break
        _do(team, piece, 0)
        own += 1
    rounds = 0
    while fetch(team, _DONE) + own < pieces:
        rounds += 1
        if rounds < _ROUNDS:
            pause()
        else:
            call(read64(team, _YIELD), 0, 0)
    return 1 if own < pieces and rounds < _ROUNDS else 0


@numba.njit(error_model="numpy")
def share_step(team, function, records, stride, pieces):
    """`share` for short pieces: where workers are of no use, because other programs have the processors, the caller
    does without them for a while, for longer each time.
    """
    left = read64(team, _ALONE)
    if left > 0:
        write64(team, _ALONE, left - 1)
        for n in range(pieces):
            call(function, records + stride * n, 0)
        return
    pause_steps = max(read64(team, _PAUSE), _LEAST_PAUSE)
    if share(team, function, records, stride, pieces):
        write64(team, _PAUSE, max(pause_steps - (pause_steps >> 6), _LEAST_PAUSE))
    else:
        write64(team, _ALONE, pause_steps)
        write64(team, _PAUSE, min(4 * pause_steps, _MOST_PAUSE))


@numba.njit(forceinline=True)
def _is_quiet(team):
    word = fetch(team, _OPEN)
    return word & 255 >= word >> 8 and fetch(team, _STOP) == 0


@numba.njit(forceinline=True)
def _wait(team, at):
    """Until there may be something to do: awake for a while if the caller is keen, then asleep."""
    rounds = 0
    while _is_quiet(team) and fetch(team, _KEEN) and rounds < _ROUNDS:
        pause()
        rounds += 1
    if _is_quiet(team):
        exchange(at, _ASLEEP, 1)
        # Who opens pieces after this look finds the thread asleep, and posts; a post too many only wakes it once more.
        if _is_quiet(team):
            call(read64(team, _WAIT), at + 8 * _SEMAPHORE, 0)
        exchange(at, _ASLEEP, 0)


@numba.njit(forceinline=True)
def serve(team, worker):
    """What a worker does until it is to stop; it is member 1 + worker."""
    at = team + 8 * (_MEMBERS + _MEMBER * worker)
    mode = _enter_mode()
    while fetch(team, _STOP) == 0:
        piece = _take(team, False)
        if piece == _NONE:
            _wait(team, at)
        else:
            _do(team, piece, 1 + worker)
            add(team, _DONE, 1)
    _leave_mode(mode)
    return 0


@numba.njit(forceinline=True)
def do_record(record, member):
    """A piece that Python hands out; its answer goes into the record."""
    if read64(record, _KIND) == _EXECUTE:
        answer = execute(read64(record, _CONTEXT), 0)
    else:
        own = read64(record, _EXECUTORS) + 16 * member
        answer = step_rows(
            read64(own, 0),
            read64(own, 1),
            read64(record, _SLOT_AT),
            read64(record, _COUNT),
            read64(record, _X),
            read64(record, _Y),
        )
    write64(record, _ANSWER, answer)
    return answer
