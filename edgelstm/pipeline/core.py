"""The core loop: messages in, predictions out, whatever carries them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgelstm.errors import InputError, StateError
from edgelstm.pipeline.anomaly import AnomalyRule, Scale
from edgelstm.pipeline.counts import Counts
from edgelstm.pipeline.join import Held, Joined, JoinRule, close, join
from edgelstm.pipeline.order import FRESH, RESTART, OrderRule, judge
from edgelstm.pipeline.reading import Key, Prediction, Reading
from edgelstm.runtime.pool import Pool
from edgelstm.runtime.store import StateStore

BATCH = 256  # readings a call of the pool


@dataclass(frozen=True, slots=True)
class Rules:
    """What the core loop does with readings.

    Attributes:
        join, order, anomaly: see there; anomaly None: no scores.
        outputs: names of the outputs, in the model's order.
        horizon: readings from which a stream no longer depends on its start.
    """

    join: JoinRule
    outputs: tuple[str, ...]
    order: OrderRule = field(default_factory=OrderRule)
    anomaly: AnomalyRule | None = None
    horizon: int = 0


class Track:
    """What is remembered of one key beside its state."""

    __slots__ = ("held", "place", "saved", "scale", "steps")

    def __init__(self, width: int) -> None:
        self.held, self.scale = Held(width), Scale()
        self.place: float | None = None
        self.steps = 0
        self.saved = False  # a store has a note of it

    def save(self) -> bytes:
        """As bytes that a store keeps."""
        return json.dumps([self.place, self.steps, self.held.save(), self.scale.save()]).encode()

    def load(self, note: bytes) -> None:
        """The inverse of `save`."""
        self.place, self.steps, held, scale = json.loads(note)
        self.held.load(held)
        self.scale.load(scale)


@dataclass(slots=True)
class _Row:
    """A reading on its way into the pool; `reading` None: it only stands in for a missing one."""

    key: Key
    x: list[float]
    reading: Reading | None
    track: Track
    reset: bool = False


@dataclass
class Pipeline:
    """Steps a pool by messages. One thread at a time.

    Attributes:
        pool: its keys come and go; it should be made with on_full="evict".
        rules: see `Rules`.
        counts: what became of the messages.
        complain: is told about what was skipped, in one sentence each.
    """

    pool: Pool
    rules: Rules
    counts: Counts = field(default_factory=Counts)
    complain: Callable[[str], object] = lambda _: None

    def __post_init__(self) -> None:
        self._tracks: dict[Key, Track] = {}
        self._changed: set[Key] = set()
        self._forgotten: set[Key] = set()  # of which a store has notes
        self._open: dict[int, dict[Key, None]] = {}  # stretch of time → keys that may have one, where arrival ends it
        self.pool.on_evict = self._forget
        kinds = self.pool.inputs
        width = sum(math.prod(int(str(dim)) for dim in kind.shape) for kind in kinds.values())
        if len(kinds) != 1 or next(iter(kinds.values())).dtype != "float32" or width != len(self.rules.join.features):
            raise InputError(
                f"features: expected {width} names for the model's inputs {', '.join(kinds)}, which must be one of "
                f"float32; got {len(self.rules.join.features)}: {', '.join(self.rules.join.features)}"
            )
        self._shape = tuple(int(str(dim)) for dim in next(iter(kinds.values())).shape)

    def process(self, readings: Iterable[Reading]) -> list[Prediction]:
        """Take messages in order; gives the predictions that became due, in order."""
        found: list[Prediction] = []
        rows: list[_Row] = []
        resets: set[Key] = set()
        for reading in readings:
            for row in self._take(reading):
                if row.reset and any(other.key == row.key for other in rows):
                    found += self._step(rows, resets)
                    rows, resets = [], set()
                if row.reset:
                    resets.add(row.key)
                if row.x:
                    rows.append(row)
            if len(rows) >= BATCH:
                found += self._step(rows, resets)
                rows, resets = [], set()
        return found + self._step(rows, resets)

    def tick(self, now: float) -> list[Prediction]:
        """Close the stretches of time that ended before `now`, where readings are resampled by arrival."""
        rule = self.rules.join
        if not rule.every or not rule.by_arrival:
            return []
        rows: list[_Row] = []
        for bucket in [bucket for bucket in self._open if now >= (bucket + 1) * rule.every]:
            for key in self._open.pop(bucket):
                track = self._tracks.get(key)
                if track is not None and track.held.bucket == bucket:
                    rows += self._place(key, track, list(track.held.values), close(rule, track.held))
        return self._step(rows, {row.key for row in rows if row.reset})

    def _take(self, reading: Reading) -> list[_Row]:
        track = self._tracks.get(reading.key) or self._begin(reading.key)
        self._changed.add(reading.key)
        verdict = judge(self.rules.order, track.place, reading)
        if verdict.what not in (FRESH, RESTART):
            self.counts.add(verdict.what)
            return []
        if self.rules.join.every:
            track.place = verdict.place
            return self._resample(reading, track, verdict.what == RESTART)
        last = list(track.held.values)
        joined = join(self.rules.join, track.held, reading)
        for name in joined.noticed:
            self.counts.add(name)
        if joined.x is None and not joined.reset:
            if verdict.what == FRESH and self.rules.order.by == "sequence" and not self.rules.join.join:
                return []  # nothing was taken: the next reading finds it missing
            track.place = verdict.place
            return []
        track.place = verdict.place
        return self._rows(reading, track, joined, verdict.missing, verdict.what == RESTART, last)

    def _begin(self, key: Key) -> Track:
        if len(self._tracks) >= 2 * self.pool.capacity:  # most of them never made a whole reading
            strays = [stray for stray in self._tracks if stray not in self.pool]
            self._forget(strays[: (len(strays) + 1) // 2])
        track = self._tracks[key] = Track(len(self.rules.join.features))
        self._forgotten.discard(key)
        return track

    def _resample(self, reading: Reading, track: Track, restart: bool) -> list[_Row]:
        if restart:
            self.counts.add("restarted")
            track.held = Held(len(self.rules.join.features))
        last = list(track.held.values)
        joined = join(self.rules.join, track.held, reading)
        self._await(reading.key, track)
        if restart:
            return [_Row(reading.key, [], reading, track, reset=True)]
        return self._place(reading.key, track, last, joined)

    def _await(self, key: Key, track: Track) -> None:
        """The end of the key's stretch of time, which `tick` tells."""
        if track.held.bucket is not None and self.rules.join.by_arrival:
            self._open.setdefault(track.held.bucket, {})[key] = None

    def _place(self, key: Key, track: Track, last: list[float], joined: Joined) -> list[_Row]:
        """A resampled reading: stretches of time are its sequence, by a clock that may be trusted."""
        for name in joined.noticed:
            self.counts.add(name)
        if joined.x is None or joined.bucket is None:
            return []
        self._changed.add(key)
        rule = self.rules.join
        trusted = rule.by_arrival or self.rules.order.by == "time"
        done, track.held.done = track.held.done, joined.bucket
        missing = max(0, joined.bucket - done - 1) if trusted and done is not None else 0
        end = None if rule.by_arrival else (joined.bucket + 1) * rule.every
        return self._rows(Reading(key, {}, joined.bucket, end), track, joined, missing, False, last)

    def _rows(
        self, reading: Reading, track: Track, joined: Joined, missing: int, restart: bool, last: list[float]
    ) -> list[_Row]:
        """The rows of one reading: those that stand in for missing ones, then itself."""
        rule, reset, rows = self.rules.order, joined.reset or restart, []
        if restart:
            self.counts.add("restarted")
        if missing:
            self.counts.add("missing", missing)
            if missing > rule.longest or rule.on_gap == "reset":
                reset = True
            elif rule.on_gap == "hold" and not any(math.isnan(value) for value in last):
                self.counts.add("filled", missing)
                rows = [_Row(reading.key, last, None, track) for _ in range(missing)]
        rows.append(_Row(reading.key, joined.x or [], reading, track))
        rows[0].reset = reset
        return rows

    def _step(self, rows: Sequence[_Row], resets: Iterable[Key]) -> list[Prediction]:
        resets = [key for key in resets if key in self.pool]
        if resets:
            self.pool.reset(resets)
            self.counts.add("reset", len(resets))
            for key in resets:
                self._tracks[key].steps = 0
                self._tracks[key].scale.forget()
        most = min(BATCH, self.pool.capacity)
        parts = [rows[start : start + most] for start in range(0, len(rows), most)]
        return [prediction for part in parts for prediction in self._advance(part)]

    def _advance(self, rows: Sequence[_Row]) -> list[Prediction]:
        for row in rows:
            if self._tracks.get(row.key) is not row.track:
                self._return(row)
        xs = np.array([row.x for row in rows], np.float32).reshape(len(rows), *self._shape)
        try:
            ys = self.pool.step([row.key for row in rows], xs)
        except (InputError, StateError) as error:
            if len(rows) == 1:
                self.counts.add("invalid")
                self.complain(f"key {rows[0].key!r}: {error}")
                return []
            return [prediction for row in rows for prediction in self._advance([row])]
        self.counts.add("steps", len(rows))
        flat = _flat(ys, len(rows))
        found = [self._predict(row, outputs) for row, outputs in zip(rows, flat.tolist(), strict=True)]
        return [prediction for prediction in found if prediction is not None]

    def _return(self, row: _Row) -> None:
        """Others took the place of its stream while the reading waited: it begins anew."""
        row.track.steps = 0
        row.track.scale.forget()
        self._tracks[row.key] = row.track
        self._changed.add(row.key)
        self._forgotten.discard(row.key)

    def _predict(self, row: _Row, outputs: list[float]) -> Prediction | None:
        track, extra = row.track, {}
        track.steps += 1
        if (rule := self.rules.anomaly) is not None:
            if row.reading is not None:
                score, flagged = track.scale.score(rule, row.x[rule.feature])
                extra = {"anomaly_score": score, "anomaly": float(flagged)}
            track.scale.forecast = outputs[rule.output]
        if row.reading is None:
            return None
        return Prediction(
            row.key,
            dict(zip(self.rules.outputs, outputs, strict=True)),
            row.reading.sequence,
            row.reading.time,
            row.reading.context,
            track.steps >= self.rules.horizon,
            extra,
        )

    def _forget(self, keys: list[Key]) -> None:
        self.counts.add("evicted", len(keys))
        for key in keys:
            track = self._tracks.pop(key, None)
            self._changed.discard(key)
            if track is not None and track.saved:
                self._forgotten.add(key)

    # Durable state.

    def checkpoint(self, store: StateStore, position: Any = None, also: Callable[[Any], object] | None = None) -> int:
        """Write what changed; gives how many states.

        Raises:
            StateError: see `StateStore.checkpoint`; everything is kept for the next attempt.
        """
        notes: dict[Key, bytes | None] = {key: self._tracks[key].save() for key in self._changed if key in self._tracks}
        notes |= dict.fromkeys(self._forgotten)
        count = store.checkpoint(self.pool, position, notes=notes, also=also)
        for key in self._changed & self._tracks.keys():
            self._tracks[key].saved = True
        self._changed.clear()
        self._forgotten.clear()
        self.counts.add("checkpoints")
        return count

    def forget_arrivals(self, now: float) -> None:
        """The clock of arrivals counts from another start of the machine: what was before it tells no gap."""
        rule = self.rules.join
        self._open.clear()
        for key, track in self._tracks.items():
            if self.rules.order.by == "arrival":
                track.place = None
            if rule.every and rule.by_arrival:
                track.held.done = None
                if track.held.bucket is not None:
                    track.held.bucket = math.floor(now / rule.every) - 1
                self._await(key, track)

    def load(self, store: StateStore, swap: bool = False) -> Any:
        """Take the last checkpoint; gives its position.

        Raises:
            StateError: see `StateStore.load`.
        """
        position = store.load(self.pool, swap=swap)
        for key, note in store.notes().items():
            track = self._tracks[key] = Track(len(self.rules.join.features))
            track.load(note)
            track.saved = True
            self._await(key, track)
        return position


def _flat(ys: Any, count: int) -> Any:
    parts = ys.values() if isinstance(ys, dict) else [ys]
    return np.concatenate([np.asarray(part, np.float64).reshape(count, -1) for part in parts], axis=1)
