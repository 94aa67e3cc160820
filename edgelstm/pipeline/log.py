"""Logs to standard error: one line an event, for people or as JSON."""

from __future__ import annotations

import json
import sys
import time
from typing import Any, TextIO

LEVELS = ("debug", "info", "warn", "error")


class Log:
    """Writes events with fields; `form` is "text" or "json"."""

    def __init__(self, form: str = "text", least: str = "info", target: TextIO | None = None) -> None:
        self._json, self._least, self._target = form == "json", LEVELS.index(least), target

    def debug(self, event: str, **fields: Any) -> None:
        """Of interest when something is looked for."""
        self._write("debug", event, fields)

    def info(self, event: str, **fields: Any) -> None:
        """As it should be."""
        self._write("info", event, fields)

    def warn(self, event: str, **fields: Any) -> None:
        """Something was skipped or is limited."""
        self._write("warn", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Something failed and is tried again."""
        self._write("error", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        if LEVELS.index(level) < self._least:
            return
        if self._json:
            line = json.dumps({"time": round(time.time(), 3), "level": level, "event": event, **fields}, default=str)
        else:
            told = " ".join(
                f"{name}={value!r}" if " " in str(value) else f"{name}={value}" for name, value in fields.items()
            )
            line = f"edgelstm: {level}: {event}" + (f" {told}" if told else "")
        print(line, file=self._target or sys.stderr, flush=True)
