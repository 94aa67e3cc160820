"""What an answer of the machine means to who called a stream."""

from __future__ import annotations

from edgelstm.errors import InputError, StreamError
from edgelstm.program.status import BUSY, INDEX, INVALID, OK


def raise_for(status: int) -> None:
    """Nothing where all went well.

    Raises:
        StreamError: another thread is inside the stream.
        InputError: the reading cannot be taken.
    """
    if status == BUSY:
        raise StreamError("this stream is in use by another thread: give every thread a stream of its own")
    if status == INDEX:
        raise InputError(
            "an index in the reading is out of range of what it selects from, or the stream has taken as many "
            "readings as its history or the model's positions hold: reset it, or give history="
        )
    if status == INVALID:
        raise InputError("the reading holds NaN or Inf; the state is as before")
    if status != OK:
        raise RuntimeError(f"the program answered {status}")
