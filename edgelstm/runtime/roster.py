"""Which key of a pool has which slot, since when it was not used, and which keys left."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgelstm.errors import InputError, StateError
from edgelstm.runtime.keys import KeyTable

Key: TypeAlias = str | int | bytes
Index: TypeAlias = npt.NDArray[np.int64]


class Slots:
    """Keys of one pool, resolved once; made by `Pool.slots`. Good until one of its keys is evicted or moved away."""

    __slots__ = ("_address", "_epoch", "_generations", "_index", "_roster", "keys")

    def __init__(self, roster: Roster, keys: tuple[Key, ...], index: Index) -> None:
        self._roster, self._index, self.keys = roster, index, keys
        self._generations, self._epoch = roster.generations[index], roster.epoch
        self._address = int(index.ctypes.data)

    def __len__(self) -> int:
        return len(self._index)

    def __repr__(self) -> str:
        return f"Slots({len(self)} keys)"


class Roster:
    """Keys by slot and slots by key. The pool's lock is held by whoever calls.

    Attributes:
        index: key → slot.
        names: slot → key, None where it is free.
        used: (capacity,) when each slot was last stepped or set, in `clock`'s nanoseconds.
        now: the last moment that was given; moments differ even where the clock's do not.
        free: slots that no key has.
        table: the same as `index`, looked up in compiled code; None where that cannot read keys.
        generations: (capacity,) how many keys have left each slot.
        epoch: how often keys left.
        watched: checkpoints ask which keys left; without any, nothing is kept of them.
    """

    def __init__(self, capacity: int, clock: Callable[[], int], table: KeyTable | None) -> None:
        self.index: dict[Key, int] = {}
        self.names: list[Key | None] = [None] * capacity
        self.used = np.zeros(capacity, np.int64)
        self.free = list(range(capacity - 1, -1, -1))
        self.table, self.clock, self.now = table, clock, 0
        self.generations = np.zeros(capacity, np.int64)
        self.epoch = 0
        self.watched = False
        self._gone: dict[Key, int] = {}

    def tick(self) -> int:
        """A new moment, later than all before."""
        self.now = max(self.now + 1, self.clock())
        return self.now

    def known(self, keys: Sequence[Key] | npt.NDArray[Any]) -> Index | None:
        """The slots of keys, None where one is new.

        Raises:
            InputError: it is no list of keys.
        """
        if isinstance(keys, (str, bytes, Mapping, Slots)):
            raise InputError(f"expected a list of keys, got {type(keys).__name__}")
        names = keys.tolist() if isinstance(keys, np.ndarray) else keys
        try:
            if len(names) > 1:
                return np.array(itemgetter(*names)(self.index), np.int64)
            return np.array([self.index[key] for key in names], np.int64)
        except (KeyError, TypeError):
            return None

    def find(self, keys: Sequence[Key]) -> Index:
        """The slots of keys.

        Raises:
            StateError: one is not there.
        """
        if missing := [key for key in keys if key not in self.index]:
            raise StateError(f"the key {missing[0]!r} is not in the pool")
        return np.array([self.index[key] for key in keys], np.int64)

    def check(self, slots: Slots) -> None:
        """Whether slots are still those of their keys.

        Raises:
            InputError: they are of another pool.
            StateError: a key has left.
        """
        if slots._roster is not self:
            raise InputError("these slots belong to another pool: resolve the keys with this one's slots()")
        if slots._epoch != self.epoch:
            changed = self.generations[slots._index] != slots._generations
            if changed.any():
                key = slots.keys[int(np.flatnonzero(changed)[0])]
                raise StateError(f"the key {key!r} has left the pool since its slot was resolved: resolve it again")
            slots._epoch = self.epoch

    def add(self, new: Sequence[Key]) -> Index:
        """Give new keys slots; there must be as many free ones."""
        now = self.tick()
        slots = [self.free.pop() for _ in new]
        for key, slot in zip(new, slots, strict=True):
            self.index[key], self.names[slot] = slot, key
        index = np.array(slots, np.int64)
        if self.table is not None:
            self.table.add(list(new), index)
        self.used[index] = now
        return index

    def drop(self, keys: Iterable[Key]) -> None:
        """Keys leave."""
        now, gone = self.tick(), list(keys)
        if self.table is not None:
            self.table.drop([self.names[self.index[key]] for key in gone])
        for key in gone:
            slot = self.index.pop(key)
            self.names[slot] = None
            self.generations[slot] += 1
            self.used[slot] = 0
            self.free.append(slot)
            if self.watched:
                self._gone[key] = now
        self.epoch += 1

    def touch(self, index: Index | int) -> None:
        """Slots were set."""
        self.used[index] = self.tick()

    def oldest(self, count: int, spared: set[Key]) -> list[Key]:
        """The keys whose last use is longest ago."""
        there = [key for key in self.index if key not in spared]
        return sorted(there, key=lambda key: int(self.used[self.index[key]]))[:count]

    def idle(self, seconds: float) -> list[Key]:
        """The keys that were not used for so long."""
        limit = max(self.now, self.clock()) - int(seconds * 1e9)
        return [key for key, slot in self.index.items() if self.used[slot] <= limit]

    def changed(self, since: int) -> list[tuple[Key, int]]:
        """Keys that were used after a moment, and their slots."""
        slots = np.flatnonzero(self.used > since).tolist()
        return [(key, slot) for slot in slots if (key := self.names[slot]) is not None]

    def left(self, since: int) -> list[Key]:
        """Keys that left after a moment and did not come again."""
        return [key for key, when in self._gone.items() if when > since and key not in self.index]

    def forget(self, until: int) -> None:
        """Keys that left by then are on record."""
        self._gone = {key: when for key, when in self._gone.items() if when > until}


def checked(key: Any) -> Key:
    """A key as the roster holds it.

    Raises:
        InputError: it is not a string, an integer or bytes.
    """
    if isinstance(key, np.integer):
        return int(key)
    if isinstance(key, bool) or not isinstance(key, (str, int, bytes)):
        raise InputError(f"a key is a string, an integer or bytes, got {key!r}")
    return key


def rounds(index: Index) -> Iterator[Index]:
    """Rows in rounds: the first time that each slot stands, the second time, and so on."""
    order = np.argsort(index, kind="stable")
    ranked = index[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    turn = np.empty(len(index), np.int64)
    turn[order] = np.arange(len(index)) - np.repeat(starts, np.diff([*starts, len(index)]))
    for number in range(int(turn.max(initial=-1)) + 1):
        yield np.flatnonzero(turn == number)
