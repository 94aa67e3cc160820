"""Whole readings from parts: features that arrive in several messages, holes that are held, and resampling."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from edgelstm.pipeline.reading import Reading

ON_INVALID = ("skip", "hold", "reset")
SAMPLES = ("mean", "last")
BEYOND = 2.0**128 - 2.0**103  # numbers from here on, and below its negative, are infinite as float32


@dataclass(frozen=True, slots=True)
class JoinRule:
    """How messages of a key become readings.

    Attributes:
        features: names, in the model's order.
        join: whether a reading may be put together from several messages; else each message must be whole.
        trigger: the features that complete a reading when they come; all, where empty.
        max_age: feature → seconds for which its last value may stand in.
        on_invalid: what NaN, Inf, numbers beyond float32 and unreadable ones do.
        every: seconds of one reading where messages are resampled; 0: every message is one.
        sample: "mean" or "last" of the messages in that time.
        by_arrival: ages and resampling go by the time of arrival instead of the sender's.
    """

    features: tuple[str, ...]
    join: bool = False
    trigger: tuple[str, ...] = ()
    max_age: Mapping[str, float] = field(default_factory=dict)
    on_invalid: str = "hold"
    every: float = 0.0
    sample: str = "mean"
    by_arrival: bool = True

    def clock(self, reading: Reading) -> float:
        """The time that ages and resampling go by."""
        return reading.arrival if self.by_arrival or reading.time is None else reading.time


class Held:
    """The last values of one key, and what has come of the current stretch of time."""

    __slots__ = ("bucket", "counts", "done", "sums", "times", "values")

    def __init__(self, width: int) -> None:
        self.values = [math.nan] * width
        self.times = [-math.inf] * width
        self.bucket: int | None = None
        self.done: int | None = None  # the last stretch of time that gave a reading
        self.sums, self.counts = [0.0] * width, [0] * width

    def save(self) -> list[Any]:
        """As JSON can hold it; what has never come is None."""
        clean = [None if math.isnan(v) else v for v in self.values]
        times = [None if math.isinf(t) else t for t in self.times]
        return [clean, times, self.bucket, self.done, self.sums, self.counts]

    def load(self, saved: Sequence[Any]) -> None:
        """The inverse of `save`."""
        values, times, self.bucket, self.done, self.sums, self.counts = saved
        self.values = [math.nan if v is None else v for v in values]
        self.times = [-math.inf if t is None else t for t in times]


class Joined(NamedTuple):
    """What a message gave: a whole reading or none, and what was noticed.

    Attributes:
        x: the features in order, or None.
        noticed: counters to raise, such as "invalid".
        reset: the stream is to be put back to its start.
        bucket: the number of the stretch of time, where readings are resampled.
    """

    x: list[float] | None
    noticed: tuple[str, ...] = ()
    reset: bool = False
    bucket: int | None = None


def join(rule: JoinRule, held: Held, reading: Reading) -> Joined:
    """Take one message in."""
    now = rule.clock(reading)
    if rule.every:
        return _resample(rule, held, reading, now)
    if not reading.values:
        return Joined(None, ("incomplete",))
    given = [reading.values.get(name) for name in rule.features]
    if not rule.join and any(value is None for value in given):
        return Joined(None, ("incomplete",))
    return _fill(rule, held, given, now, _complete(rule, reading.values))


def _complete(rule: JoinRule, values: Mapping[str, float]) -> bool:
    return not rule.join or any(name in values for name in (rule.trigger or rule.features))


def _fill(rule: JoinRule, held: Held, given: Sequence[float | None], now: float, complete: bool) -> Joined:
    """Hold what is new, stand in for what is not there."""
    invalid, values, times = False, held.values, held.times
    for index, value in enumerate(given):
        if value is not None and -BEYOND < value < BEYOND:
            values[index], times[index] = value, now
            continue
        invalid = invalid or value is not None
        times[index] = min(times[index], now)  # a clock that was put back makes nothing younger for long
    noticed = ("invalid",) if invalid else ()
    if invalid and rule.on_invalid != "hold":
        return Joined(None, noticed, rule.on_invalid == "reset")
    if not complete:
        return Joined(None, noticed)
    old = rule.max_age and any(
        now - time > rule.max_age.get(name, math.inf) for name, time in zip(rule.features, times, strict=True)
    )
    if old or any(map(math.isnan, values)):
        return Joined(None, (*noticed, "incomplete"))
    return Joined(list(values), noticed)


def _resample(rule: JoinRule, held: Held, reading: Reading, now: float) -> Joined:
    """A message of a later stretch of time completes the one before it.

    One of the stretch before is late; one of longer ago tells that the clock was put back.
    """
    bucket = math.floor(now / rule.every)
    if bucket == (held.done if held.bucket is None else held.bucket - 1):
        return Joined(None, ("late",))
    done = Joined(None)
    if bucket != held.bucket:
        done = close(rule, held)
        held.bucket = bucket
    noticed = [] if reading.values else ["incomplete"]
    for index, name in enumerate(rule.features):
        value = reading.values.get(name)
        if value is None:
            continue
        if not -BEYOND < value < BEYOND:
            noticed.append("invalid")
        elif rule.sample == "last" or not held.counts[index]:
            held.sums[index], held.counts[index] = value, 1
        else:
            held.sums[index] += value
            held.counts[index] += 1
    return Joined(done.x, (*done.noticed, *noticed[:1]), done.reset, done.bucket)


def close(rule: JoinRule, held: Held) -> Joined:
    """End the current stretch of time."""
    bucket = held.bucket
    if bucket is None:
        return Joined(None)
    given = [total / count if count else None for total, count in zip(held.sums, held.counts, strict=True)]
    held.sums, held.counts = [0.0] * len(given), [0] * len(given)
    held.bucket = None
    joined = _fill(rule, held, given, (bucket + 1) * rule.every, complete=any(v is not None for v in given))
    return Joined(joined.x, joined.noticed, joined.reset, bucket)
