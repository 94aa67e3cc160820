"""The user's directory for what the machine keeps: objects compiled ahead of time, and what threads cost here."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from edgelstm.machine.trust import why_not_trusted


def cache_folder() -> Path | None:
    """EDGELSTM_CACHE_DIR, else `edgelstm` in the user's cache directory; None if it is not the user's alone."""
    told = os.environ.get("EDGELSTM_CACHE_DIR")
    base = Path(told) if told else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "edgelstm"
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        return None if why_not_trusted(base.resolve()) else base
    except (OSError, RuntimeError):
        return None


def keep(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; without room or right to, not at all."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(content)
        Path(file.name).replace(path)
    except OSError:
        pass
