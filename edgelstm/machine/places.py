"""What threads that work together find where, in words of 64 bits. Imports nothing.

A team's table is shared by the thread that calls and by its workers; what several write to stands in
cache lines of its own. A piece is one call that any of them may take: `call(record, member)`.
"""

from __future__ import annotations

LINE = 8

OPEN = 0  # which pieces nobody has taken: the first, and 256 times the one behind the last
DONE = LINE  # how many pieces workers have finished
STOP = 2 * LINE  # 1: workers are to end
KEEN = STOP + 1  # 1: more work is to come at once, so that workers wait awake for a while
WORKERS = STOP + 2  # how many
POST, WAIT, YIELD = STOP + 3, STOP + 4, STOP + 5  # addresses of sem_post, sem_wait and sched_yield
CALL = 3 * LINE  # address of int64 call(record, member)
RECORDS, STRIDE = CALL + 1, CALL + 2  # address of the first piece's record, and bytes to the next
ALONE_STEPS, PAUSE = CALL + 3, CALL + 4  # steps that the caller still takes alone, and how many the next time
MEMBERS = 4 * LINE  # one stretch a worker:
ASLEEP = 0  # 1 while it sleeps
SEMAPHORE = LINE  # what it sleeps on
MEMBER = 2 * LINE  # size

MOST_PIECES = 255


def table_words(workers: int) -> int:
    """The size of a team's table."""
    return MEMBERS + MEMBER * workers


# A record of a piece that Python hands out, see `team.py`.
KIND, ANSWER = 0, 1
EXECUTE, STEP_ROWS = 0, 1  # kinds
CONTEXT = 2  # EXECUTE: address of the context
EXECUTORS, SLOT_AT, COUNT, X, Y = 2, 3, 4, 5, 6  # STEP_ROWS: address of (context, table) by member; `step_rows`' others
RECORD = 8

# A row of a program that is shared: column 1 holds the address of this table, see `kernels/shared.py`.
ALONE = 0  # address of a context that runs the row on one thread
PIECES, CONTEXTS, CONTEXT_BYTES = 1, 2, 3  # how many, the first one's context, and bytes to the next
ROWS = 4  # address of the rows that they run, one each: one step
STEPS, X_START, X_STEP, Y_START, Y_STEP = 5, 6, 7, 8, 9  # bytes; Y_START 0: no y
X_COLUMN, H_COLUMN, C_COLUMN, WORK_COLUMN = 10, 11, 12, 13  # of x, h0, c0 (0: none) and work in the row
H_START, C_START, H_END, C_END = 14, 15, 16, 17  # addresses; the ends may be 0
WORK, OTHER_WORK, C_IN_WORK, UNITS = 18, 19, 20, 21
SHARED_WORDS = 22
