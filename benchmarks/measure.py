"""Time several things so that the machine's drift touches all of them alike."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import repeat


@dataclass(frozen=True, slots=True)
class Timing:
    """Microseconds a call: the median over rounds, and the spread between the first and third quartile."""

    median: float
    low: float
    high: float


def interleaved(
    calls: Mapping[str, Callable[[], object]], rounds: int = 21, seconds: float = 0.02
) -> dict[str, Timing]:
    """Time every call in turn, round after round; each round repeats a call for about `seconds`."""
    _warm_up(calls)
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
    return {name: _timing(values) for name, values in samples.items()}


def _warm_up(calls: Mapping[str, Callable[[], object]], seconds: float = 1.0) -> None:
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


def _timing(values: list[float]) -> Timing:
    low, median, high = statistics.quantiles(values, n=4)
    return Timing(median, low, high)
