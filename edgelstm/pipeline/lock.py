"""One process at a time on a file of states: two would write over each other's states without noticing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgelstm.errors import StateError


@contextmanager
def alone(path: str) -> Iterator[None]:
    """Hold a lock beside the file, which the system takes back when the process ends, however that happens.

    SQLite's own lock would keep `edgelstm doctor` from reading as well.

    Raises:
        StateError: another process holds it, or the folder cannot be written to.
    """
    if not path or sys.platform == "win32":
        yield
        return
    import fcntl

    name = Path(path).resolve()
    try:
        held = name.with_name(f"{name.name}-lock").open("ab")
    except OSError as error:
        raise StateError(
            f"{path}: cannot be opened ({error.strerror}); the folder must exist and be writable"
        ) from None
    with held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateError(
                f"{path}: another `edgelstm serve` keeps its states there; end it, or set state.path to another file"
            ) from None
        except OSError:  # a file system without locks
            pass
        yield
