"""The durable inbox: messages that were confirmed to the broker and are not yet part of a checkpoint."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edgelstm.runtime.store import StateStore

SETUP = """
CREATE TABLE IF NOT EXISTS inbox (id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT, payload BLOB, arrival REAL);
CREATE TABLE IF NOT EXISTS seen (id INTEGER PRIMARY KEY AUTOINCREMENT, packet INTEGER, digest BLOB)
"""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the broker: `packet` is its id, 0 at QoS 0; `repeated` its DUP flag."""

    topic: str
    payload: bytes
    packet: int
    repeated: bool
    arrival: float

    @property
    def digest(self) -> bytes:
        """Of topic and payload."""
        return hashlib.blake2b(self.payload, digest_size=16, key=self.topic.encode("utf-8", "replace")[:64]).digest()


class Inbox:
    """Keeps messages until a checkpoint covers them, and tells those that come again.

    A message that was kept but not yet confirmed when the power went comes again, with the DUP flag and the same
    packet id. It is recognised within the last `window` messages.
    """

    def __init__(self, store: StateStore, window: int) -> None:
        self._store, self._window = store, window
        rows = store.execute("SELECT packet, digest FROM seen ORDER BY id")
        self._seen = dict.fromkeys((packet, digest) for packet, digest in rows)

    def is_repeated(self, message: Message) -> bool:
        """Whether it was kept before."""
        return message.repeated and (message.packet, message.digest) in self._seen

    def keep(self, messages: Sequence[Message]) -> None:
        """Write messages, as one transaction; from here on they may be confirmed.

        Raises:
            StateError: they could not be written.
        """

        def work(db: sqlite3.Connection) -> None:
            db.executemany(
                "INSERT INTO inbox (topic, payload, arrival) VALUES (?, ?, ?)",
                [(m.topic, m.payload, m.arrival) for m in messages],
            )
            self._write_seen(db, messages)

        self._store.write(work, sum(len(m.topic) + len(m.payload) for m in messages))

    def cover(self, db: sqlite3.Connection, unkept: Sequence[Message]) -> None:
        """Part of a checkpoint: nothing needs to be replayed any more, nor do messages that were not kept yet."""
        db.execute("DELETE FROM inbox")
        self._write_seen(db, unkept)

    def replay(self) -> Iterator[tuple[str, bytes, float]]:
        """Topic, payload and arrival of what no checkpoint covers, in order."""
        last = 0
        while rows := self._store.execute(
            "SELECT id, topic, payload, arrival FROM inbox WHERE id > ? ORDER BY id LIMIT 1000", (last,)
        ):
            last = rows[-1][0]
            for row in rows:
                yield row[1:]

    def _write_seen(self, db: sqlite3.Connection, messages: Sequence[Message]) -> None:
        confirmed = [(m.packet, m.digest) for m in messages if m.packet]
        db.executemany("INSERT INTO seen (packet, digest) VALUES (?, ?)", confirmed)
        db.execute("DELETE FROM seen WHERE id <= (SELECT max(id) FROM seen) - ?", (self._window,))

    def remember(self, messages: Sequence[Message]) -> None:
        """They are applied: should they come again, they are told."""
        for message in messages:
            if message.packet:
                mark: Any = (message.packet, message.digest)
                self._seen.pop(mark, None)
                self._seen[mark] = None
        while len(self._seen) > self._window:
            del self._seen[next(iter(self._seen))]
