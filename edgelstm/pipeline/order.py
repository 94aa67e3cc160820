"""Late, duplicate, out-of-order and missing readings of one key.

What decides is a sequence number, the sender's timestamp, or the time of arrival by a clock that never jumps.
A wall clock that is set (a Raspberry Pi has none at boot) makes no gap, unless timestamps are asked to decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from typing import NamedTuple

from edgelstm.pipeline.reading import Reading

BY = ("none", "sequence", "time", "arrival")
POLICIES = ("skip", "hold", "reset")
FRESH, DUPLICATE, LATE, RESTART = "fresh", "duplicate", "late", "restarted"


@dataclass(frozen=True, slots=True)
class OrderRule:
    """How readings of a key follow each other.

    Attributes:
        by: "none", "sequence", "time" (the sender's clock) or "arrival" (this machine's, which never jumps).
        interval: seconds between readings, for "time" and "arrival".
        on_gap: what missing readings do: "skip" them, "hold" the last one in their place, or "reset" the stream.
        longest: a gap of more readings than this resets the stream whatever `on_gap` says.
        restart: a sequence, or time in intervals, that falls back by more than this begins anew instead of being late.
    """

    by: str = "none"
    interval: float = 0.0
    on_gap: str = "skip"
    longest: int = 1000
    restart: int = 1000


class Verdict(NamedTuple):
    """What a reading is, how many are missing before it, and its place."""

    what: str
    missing: int
    place: float | None


def judge(rule: OrderRule, last: float | None, reading: Reading) -> Verdict:
    """Compare a reading with the place of the last one of its key."""
    place = place_of(rule, reading)
    if place is None or last is None:
        return Verdict(FRESH, 0, place if place is not None else last)
    if rule.by == "arrival":
        if place < last:  # another boot: nothing is known of the time between
            return Verdict(FRESH, 0, place)
        return Verdict(FRESH, max(0, floor((place - last) / rule.interval + 0.5) - 1), place)
    if place == last:
        return Verdict(DUPLICATE, 0, last)
    step = rule.interval if rule.by == "time" else 1
    if place < last:
        if last - place > rule.restart * step:
            return Verdict(RESTART, 0, place)
        return Verdict(LATE, 0, last)
    return Verdict(FRESH, max(0, floor((place - last) / step + 0.5) - 1), place)


def place_of(rule: OrderRule, reading: Reading) -> float | None:
    """The number that orders a reading; None where it carries none."""
    if rule.by == "sequence":
        return reading.sequence
    if rule.by == "time":
        return reading.time
    return reading.arrival if rule.by == "arrival" else None
