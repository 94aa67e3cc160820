"""The durable inbox: messages that were confirmed to the broker and are not yet part of a checkpoint."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence

from edgelstm.pipeline.packets import Message
from edgelstm.runtime.store import StateStore

SETUP = """
CREATE TABLE IF NOT EXISTS inbox (id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT, payload BLOB, arrival REAL);
CREATE TABLE IF NOT EXISTS seen (id INTEGER PRIMARY KEY AUTOINCREMENT, packet INTEGER, digest BLOB)
"""


class Inbox:
    """Keeps messages until a checkpoint covers them, and tells those that come again.

    A message that was kept but not yet confirmed when the power went comes again, with the DUP flag and the same
    packet id. It is recognised within the last `window` messages.
    """

    def __init__(self, store: StateStore, window: int) -> None:
        self._store, self._window = store, window
        self._unkept: list[Message] = []  # neither in the table nor in a checkpoint
        self._marks: list[tuple[int, bytes]] = []  # of those
        self._repeated: list[Message] = []  # confirmed together with those
        rows = store.execute("SELECT packet, digest FROM seen ORDER BY id")
        self._seen: dict[tuple[int, bytes], None] = dict.fromkeys((packet, digest) for packet, digest in rows)

    @property
    def waiting(self) -> int:
        """How many messages wait to be kept."""
        return len(self._unkept) + len(self._repeated)

    def admit(self, messages: Sequence[Message]) -> list[Message]:
        """Take messages in; gives those that did not come before. Those at QoS 1 wait to be kept."""
        fresh = []
        for message in messages:
            if message.packet:
                mark = (message.packet, _digest(message))
                if message.repeated and mark in self._seen:
                    self._repeated.append(message)
                    continue
                self._seen.pop(mark, None)
                self._seen[mark] = None
                self._unkept.append(message)
                self._marks.append(mark)
            fresh.append(message)
        while len(self._seen) > self._window:
            del self._seen[next(iter(self._seen))]
        return fresh

    def keep(self) -> None:
        """Write what waits, as one transaction.

        Raises:
            StateError: it could not be written.
        """

        def work(db: sqlite3.Connection) -> None:
            db.executemany(
                "INSERT INTO inbox (topic, payload, arrival) VALUES (?, ?, ?)",
                [(m.topic, m.payload, m.arrival) for m in self._unkept],
            )
            self._write_seen(db)

        if self._unkept:
            self._store.write(work, sum(len(m.topic) + len(m.payload) for m in self._unkept))

    def cover(self, db: sqlite3.Connection) -> None:
        """Part of a checkpoint: nothing needs to be replayed any more, nor do messages that were not kept yet."""
        db.execute("DELETE FROM inbox")
        self._write_seen(db)

    def release(self) -> list[Message]:
        """What waited is kept or covered: it may be confirmed."""
        done = self._unkept + self._repeated
        self._unkept, self._marks, self._repeated = [], [], []
        return done

    def replay(self) -> Iterator[tuple[str, bytes, float]]:
        """Topic, payload and arrival of what no checkpoint covers, in order."""
        last = 0
        while rows := self._store.execute(
            "SELECT id, topic, payload, arrival FROM inbox WHERE id > ? ORDER BY id LIMIT 1000", (last,)
        ):
            last = rows[-1][0]
            for row in rows:
                yield row[1:]

    def _write_seen(self, db: sqlite3.Connection) -> None:
        db.executemany("INSERT INTO seen (packet, digest) VALUES (?, ?)", self._marks)
        db.execute("DELETE FROM seen WHERE id <= (SELECT max(id) FROM seen) - ?", (self._window,))


def _digest(message: Message) -> bytes:
    return hashlib.blake2b(message.topic.encode() + b"\0" + message.payload, digest_size=16).digest()
