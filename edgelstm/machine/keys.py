"""From key objects in a Python list to the slots of a pool, by what they contain.

Buckets of four addresses of the pool's own key objects, and of four words (high half: of the key's hash; low half: its
slot) fill a cache line each. A key stands in its bucket or in one of the next. Every line is asked for some keys
before it is read, for ten thousand keys lie in caches far away. What is no string of ASCII, bytes or integer, and what
finds no room, is not found here; the pool's dict knows it. Read while the GIL is held, where `objects.py` knows how.
"""

from __future__ import annotations

import numba

from edgelstm.machine.objects import (
    ASCII,
    BUCKETS,
    BYTES,
    BYTES_DATA,
    INT_DATA,
    INT_DIGITS,
    INT_SHIFT,
    INTEGER,
    ITEMS,
    MASK,
    SEED,
    SIZE,
    STATE,
    STRING,
    STRING_DATA,
    TYPE,
    WAYS,
)
from edgelstm.machine.simd import prefetch, read64, write64

_MULTIPLIER = 0x9E3779B97F4A7C15 - (1 << 64)  # 2**64 over the golden ratio
_LOW, _HIGH = 0xFFFFFFFF, -1 << 32
_NEAR = 32  # buckets that a key may stand in: at two keys a bucket, 16 are too few for one table in 10,000
_AHEAD = 12  # keys that are asked for before they are read


@numba.njit(forceinline=True)
def _mix(total):
    total *= _MULTIPLIER
    return total ^ ((total >> 32) & _LOW)


@numba.njit(forceinline=True)
def _content(table, key):
    """Where a key's bytes begin and how many they are; -1 of them where that is not known."""
    kind = read64(key, TYPE)
    if kind == read64(table, STRING):
        count = read64(key, SIZE) if read64(key, STATE) & read64(table, ASCII) else -1
        return key + read64(table, STRING_DATA), count
    if kind == read64(table, BYTES):
        return key + BYTES_DATA, read64(key, SIZE)
    if kind == read64(table, INTEGER):
        digits = abs(read64(key, SIZE)) >> read64(table, INT_SHIFT)
        return key + INT_DATA, INT_DIGITS - INT_DATA + 4 * digits
    return key, -1


@numba.njit(forceinline=True)
def _last(count):
    """Which bits of the last word belong to `count` bytes. Words are aligned, so the rest can be read, too."""
    return -1 if count & 7 == 0 else (1 << (8 * (count & 7))) - 1


@numba.njit(error_model="numpy")
def _hash(table, key):
    """Of what a key contains and of its type; never 0, which stands for unknown."""
    at, count = _content(table, key)
    if count < 0:
        return 0
    total = _mix(read64(table, SEED) ^ read64(key, TYPE)) + count
    words = (count + 7) >> 3
    for i in range(words):
        word = read64(at, i)
        if i == words - 1:
            word &= _last(count)
        total = _mix(total ^ word)
    return _mix(total) | 1


@numba.njit(error_model="numpy")
def _equal(table, key, other):
    if key == other:
        return True
    at, count = _content(table, key)
    beside, size = _content(table, other)
    if read64(key, TYPE) != read64(other, TYPE) or count != size or count < 0:
        return False
    words = (count + 7) >> 3
    for i in range(words):
        differ = read64(at, i) ^ read64(beside, i)
        if i == words - 1:
            differ &= _last(count)
        if differ != 0:
            return False
    return True


@numba.njit(forceinline=True)
def _bucket(table, number):
    return read64(table, BUCKETS) + 16 * WAYS * (number & read64(table, MASK))


@numba.njit(error_model="numpy")
def _way(table, key, key_hash):
    """Where the first way with this half of the hash, and with this key unless that is 0, stands; 0 without any."""
    for number in range(key_hash >> 1, (key_hash >> 1) + _NEAR):
        bucket = _bucket(table, number)
        for way in range(WAYS):
            there = read64(bucket, way)
            if there == 0 or (read64(bucket, WAYS + way) ^ key_hash) & _HIGH != 0:
                continue
            if key == 0 or _equal(table, key, there):
                return bucket + 8 * way
    return 0


@numba.njit(forceinline=True)
def _ask(key):
    """For the two cache lines that a short key may lie across."""
    prefetch(key)
    prefetch(key + 63)


@numba.njit(error_model="numpy")
def find_keys(table, keys, hashes, slots):
    """The hashes of a list's keys and their slots, -1 where one is not found; answers how many are not."""
    count, items = read64(keys, SIZE), read64(keys, ITEMS)
    for i in range(min(_AHEAD, count)):
        _ask(read64(items, i))
    for i in range(count):
        if i + _AHEAD < count:
            _ask(read64(items, i + _AHEAD))
        key_hash = _hash(table, read64(items, i))
        write64(hashes, i, key_hash)
        prefetch(_bucket(table, key_hash >> 1))
    for i in range(count):
        key_hash = read64(hashes, i)
        way = _way(table, 0, key_hash) if key_hash != 0 else 0
        write64(slots, i, way)
        if way != 0:
            _ask(read64(way, 0))
    missed = 0
    for i in range(count):
        way, slot, key = read64(slots, i), -1, read64(items, i)
        if way != 0 and not _equal(table, key, read64(way, 0)):
            way = _way(table, key, read64(hashes, i))
        if way != 0:
            slot = read64(way, WAYS) & _LOW
        missed += slot < 0
        write64(slots, i, slot)
    return missed


@numba.njit(forceinline=True)
def _way_of(bucket, address):
    """The way that holds an address, 0 for a free one; -1 without any."""
    for way in range(WAYS):
        if read64(bucket, way) == address:
            return way
    return -1


@numba.njit(error_model="numpy")
def note_keys(table, keys, hashes, slots):
    """Enter a list's keys, which live until they are taken out, with their slots; a slot of -1 takes one out."""
    count, items = read64(keys, SIZE), read64(keys, ITEMS)
    for i in range(count):
        key, slot, key_hash = read64(items, i), read64(slots, i), _hash(table, read64(items, i))
        write64(hashes, i, key_hash)
        if key_hash == 0:
            continue
        for number in range(key_hash >> 1, (key_hash >> 1) + _NEAR):
            bucket = _bucket(table, number)
            way = _way_of(bucket, key if slot < 0 else 0)
            if way >= 0:
                write64(bucket, way, 0 if slot < 0 else key)
                write64(bucket, WAYS + way, (key_hash & _HIGH) | max(slot, 0))
                break
    return 0
