"""From keys to slots in compiled code: a table beside the pool's dict, see `machine/keys.py`."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgelstm.machine.arrays import address
from edgelstm.machine.objects import WAYS, Layout
from edgelstm.program.program import aligned

Index: TypeAlias = npt.NDArray[np.int64]
Look: TypeAlias = Callable[[int, int, int, int], int]

MAX_BUCKETS = 1 << 20


class KeyTable:
    """Keys → slots. `find` and `note` are the compiled `find_keys` and `note_keys`; `layout` says how to read keys.

    Hashes are seeded, so that nobody can choose keys that all go to one bucket.
    """

    def __init__(self, find: Look, note: Look, capacity: int, layout: Layout) -> None:
        count = min(MAX_BUCKETS, 1 << max(4, (capacity // 2).bit_length()))
        self._find, self._note = find, note
        self._buckets = aligned(count * 4 * WAYS)
        # In the order of BUCKETS to INT_SHIFT in machine/objects.py.
        where = [int(self._buckets.ctypes.data), count - 1, secrets.randbits(63), id(str), id(bytes), id(int)]
        self._table = np.array([*where, layout.ascii, layout.string_data, layout.int_shift], np.int64)
        self._at = int(self._table.ctypes.data)
        self._hashes = np.empty(0, np.int64)

    def slots(self, keys: Any) -> tuple[Index, int] | None:
        """The slots of keys and where those stand; None where one is not found here, or this is no list of keys."""
        if type(keys) is not list:
            keys = listed(keys)
            if keys is None:
                return None
        found = np.empty(len(keys), np.int64)
        at = address(found)
        return None if self._find(self._at, id(keys), self._room(len(keys)), at) else (found, at)

    def add(self, keys: list[Any], slots: Index) -> None:
        """Key objects, which the caller keeps alive until `drop`."""
        self._note(self._at, id(keys), self._room(len(keys)), address(slots))

    def drop(self, keys: list[Any]) -> None:
        """Those very objects are let go."""
        self.add(keys, np.full(len(keys), -1, np.int64))

    def _room(self, count: int) -> int:
        """Where the hashes of so many keys may stand."""
        if len(self._hashes) < count:
            self._hashes = np.empty(2 * count, np.int64)
        return address(self._hashes)


def listed(keys: Any) -> list[Any] | None:
    """Tuples and arrays as the list that holds their keys."""
    if isinstance(keys, np.ndarray):
        return keys.tolist() if keys.ndim == 1 else None
    return list(keys) if type(keys) is tuple else None
