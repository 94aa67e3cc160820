"""How far a long file is, told on a terminal."""

from __future__ import annotations

import os
import stat
import sys
import time
from typing import IO, Any

_EVERY = 0.5  # seconds; a file that is read within the first of them shows nothing


class Progress:
    """One line on standard error that is written over. Silent where no terminal watches or the source is no file.

    Predictions that go to the terminal show themselves how far it is, so then it is silent as well.
    """

    def __init__(self, source: IO[Any]) -> None:
        self._descriptor, self._size = -1, 0
        self._start = self._last = time.monotonic()
        self._shown = False
        if not sys.stderr.isatty() or sys.stdout.isatty():
            return
        try:
            status = os.fstat(source.fileno())
        except (OSError, ValueError):  # a source that is no file descriptor
            return
        if stat.S_ISREG(status.st_mode) and status.st_size:
            self._descriptor, self._size = source.fileno(), status.st_size

    def show(self, readings: int) -> None:
        """So many readings were taken."""
        if self._descriptor < 0 or (now := time.monotonic()) - self._last < _EVERY:
            return
        self._last, self._shown = now, True
        part = min(1.0, os.lseek(self._descriptor, 0, os.SEEK_CUR) / self._size)
        took = now - self._start
        left = f", {took / part - took:,.0f} s left" if part else ""
        text = f"{part:.0%} of {self._size / 1e6:,.1f} MB, {readings / took:,.0f} readings/s{left}"
        _write(text)

    def close(self) -> None:
        """Take the line away."""
        if self._shown:
            _write("")


def _write(text: str) -> None:
    sys.stderr.write(f"\r\x1b[K{text}")
    sys.stderr.flush()
