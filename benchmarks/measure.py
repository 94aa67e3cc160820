"""Time several things so that the machine's drift touches all of them alike."""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat


@dataclass(frozen=True, slots=True)
class Timing:
    """The median over rounds and the first and third quartile; microseconds a call unless a question says otherwise."""

    median: float
    low: float
    high: float

    def scaled(self, scale: float) -> Timing:
        """In another unit."""
        return Timing(self.median * scale, self.low * scale, self.high * scale)

    def rate(self, work: float) -> Timing:
        """`work` a microsecond: millions a second."""
        return Timing(work / self.median, work / self.high, work / self.low)


def pin(processors: int) -> None:
    """Keep this process on so many processors, the last ones: the first serves interrupts. Call before engines load."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-processors:])


def interleaved(
    calls: Mapping[str, Callable[[], object]], rounds: int = 21, seconds: float = 0.02
) -> dict[str, Timing]:
    """Time every call in turn, round after round; each round repeats a call for about `seconds`."""
    _warm_up(calls, min(1.0, 5 * rounds * seconds))
    counts = {name: _calibrate(call, seconds) for name, call in calls.items()}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, call in calls.items():
                samples[name].append(_time(call, counts[name]) / counts[name] * 1e6)
    finally:
        if collecting:
            gc.enable()
    return {name: spread(values) for name, values in samples.items()}


def _warm_up(calls: Mapping[str, Callable[[], object]], seconds: float) -> None:
    """A processor that was idle takes a while to reach its speed, longest with wide vectors."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for call in calls.values():
            call()


def _time(call: Callable[[], object], count: int) -> float:
    start = time.perf_counter()
    for _ in repeat(None, count):
        call()
    return time.perf_counter() - start


def _calibrate(call: Callable[[], object], seconds: float) -> int:
    count = 1
    while (took := _time(call, count)) < seconds / 4:
        count *= 2
    return max(1, round(count * seconds / took))


def spread(values: Sequence[float]) -> Timing:
    """Of some samples."""
    if len(values) < 2:
        return Timing(values[0], values[0], values[0])
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Timing(median, low, high)
