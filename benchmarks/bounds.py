"""What the machine itself can do, measured in the same run: the bound that stands beside each figure."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numba
import numpy as np

from edgelstm.machine.simd import LANES, fma, load, splat, store
from edgelstm.program.program import aligned

PARTS = 8


@numba.njit
def _read(address, vectors, repeats, result):
    """Read everything, part by part, to and fro, each part as two streams: the order that serves caches best."""
    a, b, c, d = splat(np.float32(0)), splat(np.float32(0)), splat(np.float32(0)), splat(np.float32(0))
    half = vectors // (2 * PARTS)
    for turn in range(repeats):
        for number in range(PARTS):
            first = address + 128 * half * (PARTS - 1 - number if turn & 1 else number)
            second = first + 64 * half
            for index in range(0, half, 2):
                a = a + load(first, index * LANES)
                b = b + load(second, index * LANES)
                c = c + load(first, (index + 1) * LANES)
                d = d + load(second, (index + 1) * LANES)
    store(result, 0, (a + b) + (c + d))


@numba.njit
def _multiply(operands, repeats, result):
    """Eight independent chains; all that they hold comes from memory, so that none can be computed beforehand."""
    x, y = load(operands, 0), load(operands, LANES)
    a, b, c, d = (
        load(operands, 2 * LANES),
        load(operands, 3 * LANES),
        load(operands, 4 * LANES),
        load(operands, 5 * LANES),
    )
    e, f, g, h = (
        load(operands, 6 * LANES),
        load(operands, 7 * LANES),
        load(operands, 8 * LANES),
        load(operands, 9 * LANES),
    )
    for _ in range(repeats):
        a, b, c, d = fma(a, x, y), fma(b, x, y), fma(c, x, y), fma(d, x, y)
        e, f, g, h = fma(e, x, y), fma(f, x, y), fma(g, x, y), fma(h, x, y)
    store(result, 0, ((a + b) + (c + d)) + ((e + f) + (g + h)))


@dataclass(frozen=True, slots=True)
class Bound:
    """The least time that a step can take, and what sets it."""

    microseconds: float
    reason: str


class Limits:
    """Read bandwidth by working set, and multiply-adds a second, of one core."""

    def __init__(self) -> None:
        self._result = aligned(LANES)
        result = self._result.ctypes.data
        operands = aligned(10 * LANES)
        operands[:] = np.random.default_rng(0).uniform(0.5, 0.9, operands.size)
        self.fma_rate = _best(lambda: _multiply(operands.ctypes.data, 20_000, result), 20_000 * 8 * LANES)
        self._bandwidth: dict[int, float] = {}

    def bandwidth(self, size: int) -> float:
        """Bytes a second when `size` bytes are read again and again."""
        step = 64 * 4 * PARTS
        size = -(-size // step) * step
        if size not in self._bandwidth:
            words = aligned(size // 4)
            address, result, repeats = words.ctypes.data, self._result.ctypes.data, max(1, 20_000_000 // size)
            self._bandwidth[size] = _best(lambda: _read(address, size // 64, repeats, result), size * repeats)
        return self._bandwidth[size]

    def step(self, weights: int, size: int = 4) -> Bound:
        """The bound of a step over so many weights of `size` bytes, one multiply-add each; of int8, by bytes alone."""
        by_memory = weights * size / self.bandwidth(weights * size) * 1e6
        by_rate = weights / self.fma_rate * 1e6 if size == 4 else 0.0
        return Bound(by_memory, "bytes") if by_memory > by_rate else Bound(by_rate, "FMAs")


@cache
def limits() -> Limits:
    """Measured once a process."""
    return Limits()


def _best(call: Callable[[], object], work: float) -> float:
    call()
    best = 1e9
    for _ in range(7):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return work / best
