"""Which start of the machine it is: its clock of arrivals counts from there."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from pathlib import Path

_LINUX = Path("/proc/sys/kernel/random/boot_id")


@cache
def boot() -> str:
    """A name of this start, "" where the system tells none."""
    with suppress(OSError):
        return _LINUX.read_text().strip()
    return ""
