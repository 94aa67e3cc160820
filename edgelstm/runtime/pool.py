"""A Pool: many streams of one model, stepped together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgelstm.errors import InputError, StateError, StreamError
from edgelstm.graph.ir import Graph, TensorType
from edgelstm.passes.stream import StepGraph, StreamOptions
from edgelstm.program.opcodes import LANES
from edgelstm.program.program import aligned
from edgelstm.program.status import INDEX, OK
from edgelstm.runtime.engine import make_engine
from edgelstm.runtime.executors import Programs
from edgelstm.runtime.held import PREFIX as HELD
from edgelstm.runtime.keys import KeyCache, layout_is_known
from edgelstm.runtime.ports import Row
from edgelstm.runtime.snapshot import pack, unpack
from edgelstm.runtime.stream import POLICIES

Key: TypeAlias = str | int | bytes
Index: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float32]

MAX_CAPACITY = 1 << 24
MAX_THREADS = 256
_SHARD = 64  # rows below which another thread costs more than it gains


class Slots:
    """Keys of one pool, resolved once; made by `Pool.slots`. Good until one of its keys is evicted or moved away."""

    __slots__ = ("_address", "_distinct", "_epoch", "_generations", "_index", "_pool", "keys")

    def __init__(self, pool: Pool, keys: tuple[Key, ...], index: Index, generations: Index, epoch: int) -> None:
        self._pool, self._index, self._generations, self._epoch = pool, index, generations, epoch
        self._address = int(index.ctypes.data)
        self.keys = keys

    def __len__(self) -> int:
        return len(self._index)

    def __repr__(self) -> str:
        return f"Slots({len(self)} keys)"


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
        if not isinstance(threads, int) or not 1 <= threads <= MAX_THREADS:
            raise InputError(f"threads: expected an integer from 1 to {MAX_THREADS}, got {threads!r}")
        if on_invalid not in POLICIES:
            raise InputError(f"on_invalid: expected one of {', '.join(POLICIES)}, got {on_invalid!r}")
        if on_full not in ("error", "evict"):
            raise InputError(f"on_full: expected error or evict, got {on_full!r}")
        self.model_hash, self.capacity = model_hash, capacity
        self._policy, self._on_full, self._clock = on_invalid, on_full, clock
        self.on_evict = on_evict  # called with the keys that made room for others
        program = programs.program({})
        if any(firing != (1, 0) for firing in step.firings.values()):
            raise StreamError(
                "a pool steps models that give their outputs at every reading; this one's stride or latency is more: "
                "use a stream for each key"
            )
        self._x = Row(program.inputs, step.axes)
        self._y = Row(program.outputs, step.axes)
        self._states = Row(program.states, {})
        words = -(-max(self._states.words, 1) // LANES) * LANES
        self._slab = aligned(capacity * words + LANES)[: capacity * words].reshape(capacity, words)
        self._start = self._states.flatten(program.initial_state, program.states)
        self._used = np.zeros(capacity, np.int64)  # when each slot was last stepped or set, in `clock`'s nanoseconds
        self._held = np.zeros((capacity, self._x.words), np.float32) if on_invalid == "hold" else None
        self._seen = np.zeros(capacity, np.bool_)
        self._generations = np.zeros(capacity, np.int64)
        self._epoch = 0
        self._index: dict[Key, int] = {}
        self._keys: list[Key | None] = [None] * capacity
        self._free = list(range(capacity - 1, -1, -1))
        self._now = 0
        self._gone: dict[Key, int] = {}  # keys that left, and when, for checkpoints
        self._lock = threading.RLock()
        self._engines = [
            make_engine(graph, options, step, programs, self._slab, self._x, self._y, self._states)
            for _ in range(threads)
        ]
        find = self._engines[0].find_keys
        self._cache = KeyCache(capacity, find) if find is not None and layout_is_known() else None
        self._threads = ThreadPoolExecutor(threads - 1, "edgelstm-pool") if threads > 1 else None
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
                self._check_slots(keys)
                index, address = keys._index, keys._address
            elif type(keys) is list and self._cache is not None and (found := self._cache.slots(keys)) is not None:
                index, address = found
            else:
                index = self._resolve(keys)
                address = int(index.ctypes.data)
            if len(index) != len(x):
                raise InputError(f"expected a reading for each of {len(index)} keys, got {len(x)}")
            self._now = max(self._now + 1, self._clock())
            y = np.empty((len(x), self._y.words), np.float32)
            if self._scan(index, address, x) == 0:
                self._advance(index, address, x, y)
            else:
                self._advance_carefully(index, x, y)
            self.steps += len(x)
            return self._y.show_rows(y)

    def _scan(self, index: Index, address: int, x: Floats) -> int:
        return self._engines[0].scan(self._used, index, address, self._now, x, self._policy != "propagate")

    def _advance(self, index: Index, address: int, x: Floats, y: Floats) -> None:
        """Distinct slots, readings that may go in."""
        count = len(index)
        before = self._slab[index] if self._engines[0].can_stop else None
        if self._threads is None or count < 2 * _SHARD:
            status = self._engines[0].step(index, address, x, y)
        else:
            status = self._shard(index, x, y)
        if status != OK:
            if before is not None:
                self._slab[index] = before
            if status == INDEX:
                raise InputError(
                    "an index in the readings is out of range of what it selects from, or a stream has taken as many "
                    "readings as its history holds; all states are as before"
                )
            raise RuntimeError(f"the program answered {status}")
        if self._held is not None:
            self._held[index] = x
            self._seen[index] = True

    def _shard(self, index: Index, x: Floats, y: Floats) -> int:
        """Every thread takes a stretch of the rows."""
        assert self._threads is not None
        parts = min(len(self._engines), len(index) // _SHARD)
        cuts = [len(index) * part // parts for part in range(parts + 1)]
        pieces = [slice(a, b) for a, b in pairwise(cuts)]

        def work(part: int) -> int:
            piece = pieces[part]
            return self._engines[part].step(index[piece], int(index[piece].ctypes.data), x[piece], y[piece])

        waiting = [self._threads.submit(work, part) for part in range(1, parts)]
        return max(work(0), *(future.result() for future in waiting))

    def _advance_carefully(self, index: Index, x: Floats, y: Floats) -> None:
        """Some rows hold NaN or Inf, or some keys stand several times: one round for each time a key stands."""
        bad = ~self._x.finite(x) if self._policy != "propagate" else np.zeros(len(x), np.bool_)
        if self._policy == "error" and bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise InputError(
                f"row {row}, key {self._keys[int(index[row])]!r}: expected finite numbers, got "
                f"{self._x.brief(x[row])}; all states are as before (see on_invalid)"
            )
        before = self._slab[index], None if self._held is None else self._held[index], self._seen[index]
        try:
            for rows in rounds(index):
                self._advance_round(index[rows], x, y, rows, bad)
        except InputError:
            self._slab[index], self._seen[index] = before[0], before[2]
            if self._held is not None:
                self._held[index] = before[1]
            raise

    def _advance_round(self, index: Index, x: Floats, y: Floats, rows: Index, bad: npt.NDArray[np.bool_]) -> None:
        given, wrong = x[rows], bad[rows]
        if wrong.any() and self._policy == "hold":
            assert self._held is not None
            new = wrong & ~self._seen[index]
            if new.any():
                row = int(np.flatnonzero(new)[0])
                raise InputError(
                    f"row {int(rows[row])}, key {self._keys[int(index[row])]!r}: expected finite numbers, and no good "
                    "reading has come yet that could be held; all states are as before"
                )
            given = self._x.mend(given, self._held[index], wrong)
        if wrong.any() and self._policy == "reset":
            self._slab[index[wrong], : len(self._start)] = self._start
            y[rows[wrong]] = self._y.invalid()
            rows, index, given = rows[~wrong], index[~wrong], given[~wrong]
        index, given = np.ascontiguousarray(index), np.ascontiguousarray(given)
        if not len(index):
            return
        out = np.empty((len(index), y.shape[1]), np.float32)
        self._advance(index, int(index.ctypes.data), given, out)
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
            names = tuple(_real(self._keys[slot]) for slot in index.tolist())
            return Slots(self, names, index, self._generations[index], self._epoch)

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, key: object) -> bool:
        return key in self._index

    def __iter__(self) -> Iterator[Key]:
        return iter(list(self._index))

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
        return self._engines[0].batched

    def reset(self, keys: Sequence[Key] | None = None) -> None:
        """Back to the start state: these keys, or all.

        Raises:
            StateError: a key is not in the pool.
        """
        with self._lock:
            index = self._find(list(self._index) if keys is None else keys)
            self._slab[index, : len(self._start)] = self._start
            self._seen[index] = False
            self._touch(index)

    def snapshot(self, key: Key) -> bytes:
        """The state of one key, as `Stream.snapshot` gives it; streams and pools take each other's.

        Raises:
            StateError: the key is not in the pool.
        """
        with self._lock:
            (slot,) = self._find([key]).tolist()
            states = self._states.split(self._slab[slot])
            if self._held is not None and self._seen[slot]:
                states |= {HELD + name: value for name, value in self._x.split(self._held[slot]).items()}
        return pack(self.model_hash, states)

    def restore(self, key: Key, blob: bytes) -> None:
        """Take a snapshot of a stream or of a key of any pool; the key is added if it is new.

        Raises:
            StateError: the bytes are no snapshot of this model, or the pool is full; nothing is changed then.
        """
        expected = self._states.split(np.zeros(self._states.words, np.float32))
        optional = {HELD + name: value for name, value in self._x.split(np.zeros(self._x.words, np.float32)).items()}
        states = unpack(blob, self.model_hash, expected, optional)
        with self._lock:
            (slot,) = self._resolve([key]).tolist()
            self._slab[slot, : self._states.words] = self._states.join({name: states[name] for name in expected})
            self._seen[slot] = self._held is not None and len(states) > len(expected)
            if self._held is not None and self._seen[slot]:
                self._held[slot] = self._x.join({name: states[HELD + name] for name in self._x.kinds})
            self._touch(np.array([slot]))

    def move(self, keys: Sequence[Key], to: Pool) -> None:
        """Hand streams over to another pool of the same model.

        Raises:
            StateError: a key is not here or already there, the pool is full, or of another model; nothing is moved.
        """
        first, second = sorted((self, to), key=id)
        with first._lock, second._lock:
            self._find(keys)
            if to.model_hash != self.model_hash:
                raise StateError(f"expected a pool of the model {self.model_hash[:16]}, got {to.model_hash[:16]}")
            if there := [key for key in keys if key in to._index]:
                raise StateError(f"the key {there[0]!r} is already in the other pool")
            if len(set(keys)) > len(to._free):
                raise StateError(f"the other pool has room for {len(to._free)} more keys, got {len(set(keys))}")
            for key in dict.fromkeys(keys):
                to.restore(key, self.snapshot(key))
            self._drop(list(dict.fromkeys(keys)))

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
            gone = [key for key in dict.fromkeys(keys) if key in self._index]
            self._drop(gone)
            self.evictions += len(gone)
            return gone

    def evict_idle(self, seconds: float) -> list[Key]:
        """Forget the keys that were not stepped for so long; gives them."""
        with self._lock:
            limit = max(self._now, self._clock()) - int(seconds * 1e9)
            return self.evict([key for key, slot in self._index.items() if self._used[slot] <= limit])

    def evict_oldest(self, count: int) -> list[Key]:
        """Forget the keys whose last step is longest ago; gives them."""
        with self._lock:
            return self.evict(self._oldest(count, set()))

    def last_used(self, key: Key) -> int:
        """When a key was last stepped or set, in nanoseconds of the pool's clock (`time.monotonic_ns`).

        Raises:
            StateError: the key is not in the pool.
        """
        with self._lock:
            return int(self._used[self._find([key])[0]])

    def __repr__(self) -> str:
        return f"Pool({len(self)} of {self.capacity} streams)"

    # For checkpoints: what changed since a moment, as raw words.

    def changes(self, since: int) -> tuple[int, list[tuple[Key, bytes]], list[Key]]:
        """Now, the rows of the keys that were stepped or set after `since`, and the keys that left after it."""
        with self._lock:
            self._now = max(self._now + 1, self._clock())
            slots = np.flatnonzero(self._used > since)
            rows = [(key, self._row(slot)) for slot in slots.tolist() if (key := self._keys[slot]) is not None]
            gone = [key for key, when in self._gone.items() if when > since and key not in self._index]
            return self._now, rows, gone

    def forget_changes(self, until: int) -> None:
        """Keys that left by then are on record."""
        with self._lock:
            self._gone = {key: when for key, when in self._gone.items() if when > until}

    def set_rows(self, rows: Iterable[tuple[Key, bytes]]) -> None:
        """Take rows that `changes` gave.

        Raises:
            StateError: a row is of another size, or the pool is full.
        """
        size = 4 * (self._states.words + self._x.words * (self._held is not None)) + 1
        with self._lock:
            for key, blob in rows:
                if len(blob) != size:
                    raise StateError(f"key {key!r}: expected a state of {size} bytes, got {len(blob)}")
                (slot,) = self._resolve([key]).tolist()
                words = np.frombuffer(blob, np.float32, (len(blob) - 1) // 4, 1)
                self._slab[slot, : self._states.words] = words[: self._states.words]
                self._seen[slot] = bool(blob[0])
                if self._held is not None:
                    self._held[slot] = words[self._states.words :]
                self._touch(np.array([slot]))

    def layout(self) -> str:
        """What a row consists of, as text that is equal where rows fit."""
        held = self._x.describe() if self._held is not None else ""
        return f"{self._states.describe()}|{held}"

    def _row(self, slot: int) -> bytes:
        held = b"" if self._held is None else self._held[slot].tobytes()
        return bytes([bool(self._seen[slot])]) + self._slab[slot, : self._states.words].tobytes() + held

    # Slots.

    def _check_slots(self, slots: Slots) -> None:
        if slots._pool is not self:
            raise InputError("these slots belong to another pool: resolve the keys with this one's slots()")
        if slots._epoch != self._epoch:
            changed = self._generations[slots._index] != slots._generations
            if changed.any():
                key = slots.keys[int(np.flatnonzero(changed)[0])]
                raise StateError(f"the key {key!r} has left the pool since its slot was resolved: resolve it again")
            slots._epoch = self._epoch

    def _resolve(self, keys: Sequence[Key] | npt.NDArray[Any]) -> Index:
        if isinstance(keys, (str, bytes, Mapping, Slots)):
            raise InputError(f"expected a list of keys, got {type(keys).__name__}")
        names = keys.tolist() if isinstance(keys, np.ndarray) else keys
        try:
            if len(names) > 1:
                return np.array(itemgetter(*names)(self._index), np.int64)
            return np.array([self._index[key] for key in names], np.int64)
        except (KeyError, TypeError):
            return self._add([_checked(key) for key in names])

    def _find(self, keys: Sequence[Key]) -> Index:
        if missing := [key for key in keys if key not in self._index]:
            raise StateError(f"the key {missing[0]!r} is not in the pool")
        return np.array([self._index[key] for key in keys], np.int64)

    def _add(self, names: list[Key]) -> Index:
        new = [key for key in dict.fromkeys(names) if key not in self._index]
        if (lacking := len(new) - len(self._free)) > 0:
            wanted = set(names)
            if self._on_full == "error" or len(wanted) > self.capacity:
                raise StateError(
                    f"the pool holds {len(self)} of {self.capacity} streams and {len(new)} more are to be added: "
                    "raise capacity, evict some, or choose on_full='evict'"
                )
            gone = self.evict(self._oldest(lacking, wanted))
            if self.on_evict is not None:
                self.on_evict(gone)
        self._now = max(self._now + 1, self._clock())
        for key in new:
            slot = self._free.pop()
            self._index[key], self._keys[slot] = slot, key
            if self._cache is not None:
                self._cache.add(key, slot)
            self._slab[slot, : len(self._start)] = self._start
            self._seen[slot] = False
            self._used[slot] = self._now
        return np.array([self._index[key] for key in names], np.int64)

    def _oldest(self, count: int, spared: set[Key]) -> list[Key]:
        there = [key for key in self._index if key not in spared]
        return sorted(there, key=lambda key: int(self._used[self._index[key]]))[:count]

    def _drop(self, keys: Iterable[Key]) -> None:
        self._now = max(self._now + 1, self._clock())
        for key in keys:
            slot = self._index.pop(key)
            if self._cache is not None:
                self._cache.drop(self._keys[slot])
            self._keys[slot] = None
            self._generations[slot] += 1
            self._used[slot] = 0
            self._free.append(slot)
            self._gone[key] = self._now
        self._epoch += 1

    def _touch(self, index: Index) -> None:
        self._now = max(self._now + 1, self._clock())
        self._used[index] = self._now


def rounds(index: Index) -> Iterator[Index]:
    """Rows in rounds: the first time that each slot stands, the second time, and so on."""
    order = np.argsort(index, kind="stable")
    ranked = index[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    turn = np.empty(len(index), np.int64)
    turn[order] = np.arange(len(index)) - np.repeat(starts, np.diff([*starts, len(index)]))
    for number in range(int(turn.max(initial=-1)) + 1):
        yield np.flatnonzero(turn == number)


def _checked(key: Any) -> Key:
    if isinstance(key, np.integer):
        return int(key)
    if isinstance(key, bool) or not isinstance(key, (str, int, bytes)):
        raise InputError(f"a key is a string, an integer or bytes, got {key!r}")
    return key


def _real(key: Key | None) -> Key:
    assert key is not None
    return key
