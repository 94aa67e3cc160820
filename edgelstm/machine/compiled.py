"""The compiled machine, whether numba compiled it here or a library brought it. Imports neither numba nor llvmlite."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
NUMBA = ("0.62", "0.68")  # the oldest version that works, the newest that was tried


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Compiled:
    """The compiled machine.

    Attributes:
        interpreter: address of int64 interpret(int64 context).
        bind_step: array of a context → (x, y) → status, one step that holds the GIL, see `entry.py`.
        execute: entry point that holds the GIL.
        run, execute_released: entry points that release it.
        step_rows, step_rows_released, scan_rows: what pools call, see `rows.py`.
        share, serve, do_record: what teams of threads call, see `pieces.py`; the last is an address.
        find_keys, note_keys: what pools look keys up with, see `keys.py`.
        direct: whether `step` and `run` can read arrays on this Python; else copy in, execute, copy out.
        source: where the code comes from: "compiled", "read from the cache", or a library's target and path.
        seconds: how long compiling or loading took.
        directory: where the cache is; None where nothing is cached.
        piecemeal: why numba compiled function by function and not all at once, see `whole.py`; "" where it did not.
    """

    interpreter: int
    bind_step: Callable[[Any], Callable[[Any, Any], int]]
    execute: Callable[[int, int], int]
    run: Callable[[int, Any, Any], int]
    execute_released: Callable[[int, int], int]
    step_rows: Callable[[int, int, int, int, int, int], int]
    step_rows_released: Callable[[int, int, int, int, int, int], int]
    scan_rows: Callable[[int, int, int, int, int, int], int]
    share: Callable[[int, int, int, int, int], int]
    serve: Callable[[int, int], int]
    do_record: int
    find_keys: Callable[[int, int, int, int], int]
    note_keys: Callable[[int, int, int, int], int]
    direct: bool
    source: str
    seconds: float
    directory: Path | None
    piecemeal: str = ""

    @property
    def from_cache(self) -> bool:
        """Whether nothing was compiled for this process."""
        return self.source != "compiled"


def source_digest() -> str:
    """SHA-256 over every source that compiled code, or what it is given to run, depends on."""
    total = hashlib.sha256()
    program = FOLDER.parent / "program"
    for path in sorted([*FOLDER.rglob("*.py"), *program.rglob("*.py")]):
        total.update(path.relative_to(FOLDER.parent).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()
