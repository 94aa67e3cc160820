"""From key objects to slots by identity: for callers that hand over the same key objects again and again.

A key that the pool holds lives, so its address is its own. Buckets of four addresses and four slots fill a cache line
each; what does not fit, and equal keys that are other objects, are looked up in the pool's dict instead.
"""

from __future__ import annotations

import ctypes
import platform
import sysconfig
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelstm.machine.arrays import address
from edgelstm.program.program import aligned

WAYS = 4
MULTIPLIER = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio: spreads addresses
SHIFT = 40
MAX_BUCKETS = 1 << 16


@cache
def layout_is_known() -> bool:
    """Whether a list holds the address of its items, and how many, where `find_keys` looks."""
    if platform.python_implementation() != "CPython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return False
    sample = ["a", "b", "c"]
    words = (ctypes.c_int64 * 4).from_address(id(sample))
    if words[1] != id(list) or words[2] != len(sample):
        return False
    return list((ctypes.c_int64 * 3).from_address(words[3])) == [id(item) for item in sample]


class KeyCache:
    """Addresses of key objects → slots. `find` is the compiled `find_keys`."""

    def __init__(self, capacity: int, find: Callable[[int, int, int, int], int]) -> None:
        count = min(MAX_BUCKETS, 1 << max(4, capacity.bit_length()))
        self._mask, self._find = count - 1, find
        self._table = aligned(count * 4 * WAYS).view(np.int64).reshape(count, 2 * WAYS)
        self._at = int(self._table.ctypes.data)

    def add(self, key: object, slot: int) -> None:
        """A key object, which the caller keeps alive until `drop`."""
        row = self._table[self._bucket(id(key))]
        for way in range(WAYS):
            if not row[way]:
                row[way], row[WAYS + way] = id(key), slot
                return

    def drop(self, key: object) -> None:
        """The key object is let go."""
        row = self._table[self._bucket(id(key))]
        row[:WAYS][row[:WAYS] == id(key)] = 0

    def slots(self, keys: list[Any]) -> tuple[npt.NDArray[np.int64], int] | None:
        """The slots of all keys and where they stand, or None where one is not known by its address."""
        found = np.empty(len(keys), np.int64)
        at = address(found)
        return None if self._find(self._at, self._mask, id(keys), at) else (found, at)

    def _bucket(self, address: int) -> int:
        return ((address >> 4) * MULTIPLIER & (1 << 64) - 1) >> SHIFT & self._mask
