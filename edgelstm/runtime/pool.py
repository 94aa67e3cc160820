"""A Pool: many streams of one model, stepped together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from edgelstm.errors import InputError, StateError, StreamError
from edgelstm.graph.ir import Graph, TensorType
from edgelstm.machine.arrays import address as address_of
from edgelstm.machine.team import MAX_THREADS, check_threads
from edgelstm.passes.stream import StepGraph, StreamOptions
from edgelstm.program.status import INDEX, OK
from edgelstm.runtime.engine import Engine, make_engine
from edgelstm.runtime.executors import Programs
from edgelstm.runtime.ports import Row
from edgelstm.runtime.roster import Index, Key, Roster, Slots, checked, rounds
from edgelstm.runtime.shards import Shards, make_shards
from edgelstm.runtime.slab import Flags, Floats, Slab
from edgelstm.runtime.snapshot import pack, unpack
from edgelstm.runtime.stream import POLICIES

__all__ = ["MAX_CAPACITY", "MAX_THREADS", "Key", "Pool", "Slots"]

MAX_CAPACITY = 1 << 24


class Pool:
    """Streams by key, in one block of memory; made by `Model.pool`. Several threads may call; calls take turns.

    A key is a string, an integer or bytes. A key that has not been seen starts at the model's start state. Results
    are the same to the bit as those of a stream for each key, however readings are grouped into calls.
    """

    def __init__(
        self,
        model_hash: str,
        graph: Graph,
        options: StreamOptions,
        step: StepGraph,
        programs: Programs,
        *,
        capacity: int,
        on_invalid: str = "error",
        on_full: str = "error",
        on_evict: Callable[[list[Key]], object] | None = None,
        threads: int = 1,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        if not isinstance(capacity, int) or not 1 <= capacity <= MAX_CAPACITY:
            raise InputError(f"capacity: expected an integer from 1 to {MAX_CAPACITY}, got {capacity!r}")
        check_threads(threads)
        if on_invalid not in POLICIES:
            raise InputError(f"on_invalid: expected one of {', '.join(POLICIES)}, got {on_invalid!r}")
        if on_full not in ("error", "evict"):
            raise InputError(f"on_full: expected error or evict, got {on_full!r}")
        self.model_hash, self.capacity = model_hash, capacity
        self._policy, self._on_full = on_invalid, on_full
        self.on_evict = on_evict  # called with the keys that made room for others
        program = programs.program({})
        if any(firing != (1, 0) for firing in step.firings.values()):
            raise StreamError(
                "a pool steps models that give their outputs at every reading; this one's stride or latency is more: "
                "use a stream for each key"
            )
        self._x = Row(program.inputs, step.axes)
        self._y = Row(program.outputs, step.axes)
        self._slab = Slab(program, capacity, on_invalid == "hold")
        self._lock = threading.RLock()
        words, states = self._slab.words, self._slab.states
        make = partial(make_engine, graph, options, step, programs, words, self._x, self._y, states)
        self._engine = make()
        self._shards = make_shards(self._engine, make, programs, threads)
        self._table = self._engine.key_table(capacity)
        self._roster = Roster(capacity, clock, self._table)
        self._used = self._roster.used
        self.steps = 0
        self.evictions = 0

    # Stepping.

    def step(self, keys: Sequence[Key] | Slots, xs: Any) -> Any:
        """One reading for each key.

        Args:
            keys: any keys in any order, or what `slots` gave for them. One that stands several times gets its readings
                in order.
            xs: (n, ...) readings, row i for keys[i]; a dict of them where the model has several inputs.

        Returns:
            (n, ...) predictions, fresh, or a dict of them where the model has several outputs.

        Raises:
            InputError: keys or readings do not fit, or a reading holds NaN or Inf (see `Model.pool`); all states are
                as before.
            StateError: the pool is full, or a key of `Slots` has left it.
        """
        x = self._x.cast_rows(xs)
        with self._lock:
            if isinstance(keys, Slots):
                self._roster.check(keys)
                index, address = keys._index, keys._address
            elif self._table is not None and (found := self._table.slots(keys)) is not None:
                index, address = found
            else:
                index = self._resolve(keys)
                address = address_of(index)
            if len(index) != len(x):
                raise InputError(f"expected a reading for each of {len(index)} keys, got {len(x)}")
            now = self._roster.tick()
            y = np.empty((len(x), self._y.words), np.float32)
            if self._engine.scan(self._used, index, address, now, x, self._policy != "propagate") == 0:
                self._advance(index, address, x, y)
            else:
                self._advance_carefully(index, x, y)
            self.steps += len(x)
            return self._y.show_rows(y)

    def _advance(self, index: Index, address: int, x: Floats, y: Floats) -> None:
        """Distinct slots, readings that may go in."""
        before = self._slab.words[index] if self._engine.can_stop else None
        engine: Engine | Shards = self._engine
        if self._shards is not None and len(index) >= self._shards.least:
            engine = self._shards
        status = engine.step(index, address, x, y)
        if status != OK:
            if before is not None:
                self._slab.words[index] = before
            if status == INDEX:
                raise InputError(
                    "an index in the readings is out of range of what it selects from, or a stream has taken as many "
                    "readings as its history holds; all states are as before"
                )
            raise RuntimeError(f"the program answered {status}")
        self._slab.hold(index, x)

    def _advance_carefully(self, index: Index, x: Floats, y: Floats) -> None:
        """Some rows hold NaN or Inf, or some keys stand several times: one round for each time a key stands."""
        bad = ~self._x.finite(x) if self._policy != "propagate" else np.zeros(len(x), np.bool_)
        if self._policy == "error" and bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise InputError(
                f"row {row}, key {self._roster.names[int(index[row])]!r}: expected finite numbers, got "
                f"{self._x.brief(x[row])}; all states are as before (see on_invalid)"
            )
        self._used[index] = self._roster.now  # a look that found a bad reading has noted none
        before = self._slab.copy(index)
        try:
            for rows in rounds(index):
                self._advance_round(index[rows], x, y, rows, bad)
        except InputError:
            self._slab.put_back(index, before)
            raise

    def _advance_round(self, index: Index, x: Floats, y: Floats, rows: Index, bad: Flags) -> None:
        given, wrong = x[rows], bad[rows]
        if wrong.any() and self._policy == "hold":
            assert self._slab.held is not None
            new = wrong & ~self._slab.seen[index]
            if new.any():
                row = int(np.flatnonzero(new)[0])
                raise InputError(
                    f"row {int(rows[row])}, key {self._roster.names[int(index[row])]!r}: expected finite numbers, and "
                    "no good reading has come yet that could be held; all states are as before"
                )
            given = self._x.mend(given, self._slab.held[index], wrong)
        if wrong.any() and self._policy == "reset":
            self._slab.restart(index[wrong])
            y[rows[wrong]] = self._y.invalid()
            rows, index, given = rows[~wrong], index[~wrong], given[~wrong]
        index, given = np.ascontiguousarray(index), np.ascontiguousarray(given)
        if not len(index):
            return
        out = np.empty((len(index), y.shape[1]), np.float32)
        self._advance(index, address_of(index), given, out)
        y[rows] = out

    # Keys.

    def slots(self, keys: Sequence[Key]) -> Slots:
        """Resolve keys once, for many calls of `step`; new ones start fresh.

        Raises:
            InputError: a key is not a string, an integer or bytes.
            StateError: the pool is full.
        """
        with self._lock:
            index = self._resolve(keys)
            names = tuple(key for slot in index.tolist() if (key := self._roster.names[slot]) is not None)
            return Slots(self._roster, names, index)

    def __len__(self) -> int:
        return len(self._roster.index)

    def __contains__(self, key: object) -> bool:
        return key in self._roster.index

    def __iter__(self) -> Iterator[Key]:
        return iter(list(self._roster.index))

    @property
    def inputs(self) -> dict[str, TensorType]:
        """Name → dtype and shape of one reading."""
        return self._x.kinds

    @property
    def outputs(self) -> dict[str, TensorType]:
        """Name → dtype and shape of one prediction."""
        return self._y.kinds

    @property
    def batched(self) -> bool:
        """Whether several streams share one pass over the weights; else they are stepped one by one."""
        return self._engine.batched

    def reset(self, keys: Sequence[Key] | None = None) -> None:
        """Back to the start state: these keys, or all.

        Raises:
            StateError: a key is not in the pool.
        """
        with self._lock:
            index = self._roster.find(list(self) if keys is None else keys)
            self._slab.start(index)
            self._roster.touch(index)

    def snapshot(self, key: Key) -> bytes:
        """The state of one key, as `Stream.snapshot` gives it; streams and pools take each other's.

        Raises:
            StateError: the key is not in the pool.
        """
        with self._lock:
            states = self._slab.named(int(self._roster.find([key])[0]))
        return pack(self.model_hash, states)

    def restore(self, key: Key, blob: bytes) -> None:
        """Take a snapshot of a stream or of a key of any pool; the key is added if it is new.

        Raises:
            StateError: the bytes are no snapshot of this model, or the pool is full; nothing is changed then.
        """
        states = unpack(blob, self.model_hash, self._slab.expected, self._slab.optional)
        with self._lock:
            slot = int(self._resolve([key])[0])
            self._slab.take(slot, states)
            self._roster.touch(slot)

    def move(self, keys: Sequence[Key], to: Pool) -> None:
        """Hand streams over to another pool of the same model.

        Raises:
            StateError: a key is not here or already there, the pool is full, or of another model; nothing is moved.
        """
        first, second = sorted((self, to), key=id)
        with first._lock, second._lock:
            self._roster.find(keys)
            if to.model_hash != self.model_hash:
                raise StateError(f"expected a pool of the model {self.model_hash[:16]}, got {to.model_hash[:16]}")
            if there := [key for key in keys if key in to]:
                raise StateError(f"the key {there[0]!r} is already in the other pool")
            if len(set(keys)) > len(to._roster.free):
                raise StateError(f"the other pool has room for {len(to._roster.free)} more keys, got {len(set(keys))}")
            for key in dict.fromkeys(keys):
                to.restore(key, self.snapshot(key))
            self._roster.drop(dict.fromkeys(keys))

    def take_over(self, other: Pool) -> None:
        """Take the states of all keys of a pool whose states have the same names and shapes: of a model trained anew.

        Raises:
            StateError: the states are not alike, or there is no room; nothing is changed then.
        """
        if other.layout() != self.layout():
            raise StateError(f"the states are not alike: expected {self.layout()}, got {other.layout()}")
        if len(set(other) | set(self)) > self.capacity:
            raise StateError(f"the pool has room for {self.capacity} keys, got {len(set(other) | set(self))}")
        self.set_rows(other.changes(0)[1])

    def evict(self, keys: Sequence[Key]) -> list[Key]:
        """Forget these keys; gives those that were here.

        A key that comes again starts fresh.
        """
        with self._lock:
            gone = [key for key in dict.fromkeys(keys) if key in self]
            self._roster.drop(gone)
            self.evictions += len(gone)
            return gone

    def evict_idle(self, seconds: float) -> list[Key]:
        """Forget the keys that were not stepped for so long; gives them."""
        with self._lock:
            return self.evict(self._roster.idle(seconds))

    def evict_oldest(self, count: int) -> list[Key]:
        """Forget the keys whose last step is longest ago; gives them."""
        with self._lock:
            return self.evict(self._roster.oldest(count, set()))

    def last_used(self, key: Key) -> int:
        """When a key was last stepped or set, in nanoseconds of the pool's clock (`time.monotonic_ns`).

        Raises:
            StateError: the key is not in the pool.
        """
        with self._lock:
            return int(self._used[self._roster.find([key])[0]])

    def __repr__(self) -> str:
        return f"Pool({len(self)} of {self.capacity} streams)"

    # For checkpoints: what changed since a moment, as raw words.

    def changes(self, since: int) -> tuple[int, list[tuple[Key, bytes]], list[Key]]:
        """Now, the rows of the keys that were stepped or set after `since`, and the keys that left after it."""
        with self._lock:
            rows = [(key, self._slab.to_bytes(slot)) for key, slot in self._roster.changed(since)]
            self._roster.watched = True
            return self._roster.tick(), rows, self._roster.left(since)

    def forget_changes(self, until: int) -> None:
        """Keys that left by then are on record."""
        with self._lock:
            self._roster.forget(until)

    def set_rows(self, rows: Iterable[tuple[Key, bytes]]) -> None:
        """Take rows that `changes` gave.

        Raises:
            StateError: a row is of another size, or there is no room; nothing is changed then.
        """
        given = dict(rows)
        with self._lock:
            for key, blob in given.items():
                self._slab.check_bytes(key, blob)
            if (count := len(given.keys() | self._roster.index.keys())) > self.capacity:
                raise StateError(f"the pool has room for {self.capacity} streams, got {count}: raise capacity")
            index = self._resolve(list(given))
            for slot, blob in zip(index.tolist(), given.values(), strict=True):
                self._slab.from_bytes(slot, blob)
            self._roster.touch(index)

    def layout(self) -> str:
        """What a row consists of, as text that is equal where rows fit."""
        return self._slab.layout()

    def _resolve(self, keys: Any) -> Index:
        """The slots of keys; new ones start fresh."""
        index = self._roster.known(keys)
        if index is not None:
            return index
        names = [checked(key) for key in keys]
        new = [key for key in dict.fromkeys(names) if key not in self]
        if (lacking := len(new) - len(self._roster.free)) > 0:
            self._make_room(lacking, len(new), set(names))
        self._slab.start(self._roster.add(new))
        return self._roster.find(names)

    def _make_room(self, lacking: int, new: int, spared: set[Key]) -> None:
        if self._on_full == "error" or len(spared) > self.capacity:
            raise StateError(
                f"the pool holds {len(self)} of {self.capacity} streams and {new} more are to be added: "
                "raise capacity, evict some, or choose on_full='evict'"
            )
        gone = self.evict(self._roster.oldest(lacking, spared))
        if self.on_evict is not None:
            self.on_evict(gone)
