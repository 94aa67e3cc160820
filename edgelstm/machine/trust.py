"""Who may have written a file or a directory that code is loaded from."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def why_not_trusted(path: Path) -> str | None:
    """Who else could have written to a file or a directory, as a phrase; None where nobody could."""
    if not hasattr(os, "geteuid"):
        return None  # Windows: user directories are private by default, and mode bits say nothing
    for place in (path, *path.parents):
        info = place.stat()
        shared_safely = place != path and info.st_mode & stat.S_ISVTX
        if info.st_uid not in {0, os.geteuid()}:
            return f"{place} belongs to another user"
        if info.st_mode & stat.S_IWOTH and not shared_safely:
            return f"everybody can write to {place}"
        if info.st_mode & stat.S_IWGRP and not shared_safely and not _is_private(info.st_gid):
            return f"a group can write to {place}"
    return None


def _is_private(group: int) -> bool:
    """Whether a group is the user's own: of the same number as the user, or root's."""
    return group in {0, os.geteuid()}
