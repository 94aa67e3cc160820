"""Counters that tell what became of every reading; metrics and logs show them by these names."""

from __future__ import annotations

from collections import Counter

NAMES = {
    "received": "messages that came in",
    "malformed": "messages that could not be read",
    "oversized": "messages longer than the limit",
    "incomplete": "messages that did not make a whole reading yet, or held features that are too old",
    "invalid": "readings with NaN, Inf or unreadable numbers",
    "duplicate": "readings that came again",
    "late": "readings older than the last one of their key",
    "missing": "readings that never came, by sequence or time",
    "restarted": "senders whose count began again",
    "filled": "missing readings that the last one stood in for",
    "reset": "streams put back to their start",
    "evicted": "streams that made room for others",
    "dropped": "messages that the queue had no room for",
    "steps": "readings that the model took",
    "unpublished": "predictions whose key no topic may hold, or that found no connection at QoS 0",
    "published": "predictions that went out",
    "checkpoints": "states written to disk",
    "checkpoint_errors": "checkpoints that failed",
    "reconnects": "connections to the broker after the first",
}


class Counts(Counter[str]):
    """A counter that knows its names."""

    def add(self, name: str, count: int = 1) -> None:
        """Count; a name that is not in NAMES is a mistake in the caller.

        Raises:
            KeyError: there is no such counter.
        """
        if name not in NAMES:
            raise KeyError(name)
        self[name] += count
