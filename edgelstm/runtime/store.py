"""A StateStore: states of streams and pools on disk, that survive a power cut.

One SQLite file in WAL mode with synchronous FULL. A checkpoint is one transaction: the states that changed, the keys
that left, and the position in the input that they belong to. After a crash the file holds one checkpoint whole,
never a part of one.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from weakref import WeakKeyDictionary

from edgelstm.errors import StateError
from edgelstm.runtime.pool import Key, Pool
from edgelstm.runtime.snapshot import pack, read
from edgelstm.runtime.stream import Stream

VERSION = 1
APPLICATION = 0x65_6C_73_74  # "elst": how SQLite files tell whose they are
INTERVAL = 60.0  # seconds between checkpoints, unless told
_DAY = 86_400

_SCHEMA = """
CREATE TABLE IF NOT EXISTS owners (
    name TEXT PRIMARY KEY, model TEXT NOT NULL, layout TEXT NOT NULL, position TEXT NOT NULL,
    saved REAL NOT NULL, checkpoints INTEGER NOT NULL, bytes INTEGER NOT NULL, since REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS states (owner TEXT NOT NULL, key NOT NULL, row BLOB, PRIMARY KEY (owner, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (owner TEXT NOT NULL, key NOT NULL, note BLOB, PRIMARY KEY (owner, key)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Wear:
    """What a store has written.

    Attributes:
        checkpoints: how many since the file was made.
        bytes: payload of all of them.
        bytes_a_day: payload a day at the pace so far; flash sees about twice as much, by way of the log.
    """

    checkpoints: int
    bytes: int
    bytes_a_day: float


class StateStore:
    """Durable states in one file. Several threads may call; calls take turns.

    Args:
        path: the file; made if it is not there.
        setup: more tables for the same file, as SQL that may run again.

    Raises:
        StateError: the file is of another version, is no store, or cannot be written to.
    """

    def __init__(self, path: str | os.PathLike[str], setup: str = "") -> None:
        self.path = Path(path)
        self._lock = threading.RLock()
        self._written = 0  # payload of the caller's own since the last checkpoint
        self._since: WeakKeyDictionary[Pool, tuple[str, int]] = WeakKeyDictionary()
        try:
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=5.0)
        except sqlite3.Error as error:
            raise StateError(
                f"{self.path}: cannot be opened ({error}); the folder must exist and be writable"
            ) from None
        try:
            with self._told():
                self._open(setup)
        except StateError:
            self._db.close()
            raise

    def _open(self, setup: str) -> None:
        application = self._db.execute("PRAGMA application_id").fetchone()[0]
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        empty = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
        if not empty and application != APPLICATION:
            raise StateError(f"{self.path}: is an SQLite file, but no store of states; choose another name")
        if not empty and version != VERSION:
            raise StateError(f"{self.path}: has version {version}; this release reads {VERSION}")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA wal_autocheckpoint = 1000")
        self._db.execute("BEGIN IMMEDIATE")
        for statement in (*_SCHEMA.split(";"), *setup.split(";")):
            if statement.strip():
                self._db.execute(statement)
        self._db.execute(f"PRAGMA application_id = {APPLICATION}")
        self._db.execute(f"PRAGMA user_version = {VERSION}")
        self._db.execute("COMMIT")

    def checkpoint(
        self,
        source: Pool | Stream,
        position: Any = None,
        *,
        name: str = "main",
        notes: Mapping[Key, bytes | None] | None = None,
        also: Callable[[sqlite3.Connection], object] | None = None,
    ) -> int:
        """Write what changed since the last checkpoint of this pool, and the position, as one transaction.

        Args:
            source: a pool, of which the keys that were stepped, set or left are written; or a stream, written whole.
            position: where in the input this state belongs, as anything that JSON can hold; `load` gives it back.
            name: several pools or streams may share a store by names.
            notes: more bytes that belong to a key, None to remove them; kept until they are replaced.
            also: more work of the same transaction.

        Returns:
            How many states were written.

        Raises:
            StateError: the disk is full, read-only or fails; the last checkpoint is as it was.
        """
        with self._lock:
            rows: list[tuple[Key, bytes]]
            if isinstance(source, Stream):
                now, rows, gone = 0, [("", source.snapshot())], list[Key]()
                model, layout = source.model_hash, "stream"
            else:
                since = self._since.get(source, ("", 0))
                now, rows, gone = source.changes(since[1] if since[0] == name else 0)
                if since[0] != name:  # this pool was neither saved here nor loaded from here: it replaces what was
                    gone = [key for key in self._keys(name) if key not in source]
                model, layout = source.model_hash, source.layout()
            size = sum(len(row) for _, row in rows) + sum(len(note or b"") for note in (notes or {}).values())
            size += self._written
            with self._transaction() as db:
                db.executemany("DELETE FROM states WHERE owner = ? AND key = ?", [(name, _stored(key)) for key in gone])
                db.executemany("DELETE FROM notes WHERE owner = ? AND key = ?", [(name, _stored(key)) for key in gone])
                db.executemany(
                    "INSERT OR REPLACE INTO states VALUES (?, ?, ?)", [(name, _stored(key), row) for key, row in rows]
                )
                self._write_notes(db, name, notes or {})
                db.execute(
                    "INSERT INTO owners VALUES (:name, :model, :layout, :position, :now, 1, :size, :now) "
                    "ON CONFLICT (name) DO UPDATE SET model = :model, layout = :layout, position = :position, "
                    "saved = :now, checkpoints = checkpoints + 1, bytes = bytes + :size",
                    {
                        "name": name,
                        "model": model,
                        "layout": layout,
                        "position": json.dumps(position),
                        "now": time.time(),
                        "size": size,
                    },
                )
                if also is not None:
                    also(db)
            self._written = 0
            if isinstance(source, Pool):
                self._since[source] = name, now
                source.forget_changes(now)
            return len(rows)

    def load(self, target: Pool | Stream, *, name: str = "main", swap: bool = False) -> Any:
        """Put the last checkpoint into a pool or stream; gives its position, None if there is no checkpoint.

        Args:
            target: a fresh pool, or a stream.
            name: as in `checkpoint`.
            swap: take the states of another model whose states have the same names and shapes: a retrained one.

        Raises:
            StateError: the states are of another model (both are named), or do not fit; nothing is loaded then.
        """
        with self._lock, self._told():
            found = self._db.execute("SELECT model, layout, position FROM owners WHERE name = ?", (name,)).fetchone()
            if found is None:
                return None
            model, layout, position = found
            here = "stream" if isinstance(target, Stream) else target.layout()
            if layout != here:
                raise StateError(f"{self.path}: the states of {name!r} are {layout}; expected {here}")
            if model != target.model_hash and not swap:
                raise StateError(
                    f"{self.path}: the states of {name!r} belong to the model {model[:16]}, this one is "
                    f"{target.model_hash[:16]}: run that model, start from an empty store, or ask for a swap if it is "
                    "the same network trained anew"
                )
            rows = self._db.execute("SELECT key, row FROM states WHERE owner = ?", (name,)).fetchall()
            if isinstance(target, Stream):
                for _, row in rows:
                    target.restore(pack(target.model_hash, read(row)[1]))
            else:
                target.set_rows((_known(key), row) for key, row in rows)
                self._since[target] = name, target.changes(0)[0]
            return json.loads(position)

    def notes(self, name: str = "main") -> dict[Key, bytes]:
        """The bytes that `checkpoint` kept beside the states."""
        with self._lock, self._told():
            rows = self._db.execute("SELECT key, note FROM notes WHERE owner = ?", (name,)).fetchall()
        return {_known(key): note for key, note in rows}

    def wear(self) -> Wear:
        """What was written, for `edgelstm doctor` and metrics."""
        with self._lock, self._told():
            row = self._db.execute("SELECT sum(checkpoints), sum(bytes), min(since), max(saved) FROM owners").fetchone()
        checkpoints, size, first, last = row
        if not checkpoints:
            return Wear(0, 0, 0.0)
        return Wear(checkpoints, size, size / max(last - first, INTERVAL) * _DAY)

    def execute(self, statement: str, values: Iterable[Any] = ()) -> list[Any]:
        """Read from the tables that `setup` made.

        Raises:
            StateError: the file cannot be read.
        """
        with self._lock, self._told():
            return self._db.execute(statement, tuple(values)).fetchall()

    def write(self, work: Callable[[sqlite3.Connection], object], size: int = 0) -> None:
        """One transaction of the caller's own, of `size` bytes of payload.

        Raises:
            StateError: it could not be committed; nothing of it is written.
        """
        with self._transaction() as db:
            work(db)
        self._written += size

    def close(self) -> None:
        """Close the file; what was committed is safe without it."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _keys(self, name: str) -> list[Key]:
        with self._told():
            return [_known(key) for (key,) in self._db.execute("SELECT key FROM states WHERE owner = ?", (name,))]

    def _write_notes(self, db: sqlite3.Connection, name: str, notes: Mapping[Key, bytes | None]) -> None:
        for key, note in notes.items():
            if note is None:
                db.execute("DELETE FROM notes WHERE owner = ? AND key = ?", (name, _stored(key)))
            else:
                db.execute("INSERT OR REPLACE INTO notes VALUES (?, ?, ?)", (name, _stored(key), note))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StateError(
                f"{self.path}: {error}; the last checkpoint is as it was. See that the disk is writable, has room, and "
                "that no other process uses the file"
            ) from None


def _stored(key: Key) -> Any:
    """Integers beyond 64 bits do not fit SQLite; kinds stay apart in a column without a type."""
    if isinstance(key, int) and not -(1 << 63) <= key < 1 << 63:
        raise StateError(f"the key {key} cannot be kept: integer keys must fit 64 bits")
    return key


def _known(key: Any) -> Key:
    if not isinstance(key, (str, int, bytes)):
        raise StateError(f"expected keys that are strings, integers or bytes, got {key!r}")
    return key
