"""Where CPython keeps what lists, strings, bytes and integers contain. Imports no numba.

Compiled code that looks keys up (see `keys.py`) reads them there, as long as this process's Python shows that it keeps
them so; `layout` tries it on samples.
"""

from __future__ import annotations

import ctypes
import platform
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache, reduce
from operator import and_, or_
from typing import Any

# In words of 64 bits.
TYPE = 1
SIZE = 2  # items of a list, bytes of ASCII and bytes; of an integer its digits and sign
ITEMS = 3  # of a list: the address of its items' addresses
STATE = 4  # of a string: its low half says whether it is ASCII
# In bytes.
BYTES_DATA = 32
INT_DATA, INT_DIGITS = 16, 24  # an integer is its size and its digits, of 4 bytes each

# What `find_keys` is told: one word each.
BUCKETS, MASK, SEED, STRING, BYTES, INTEGER, ASCII, STRING_DATA, INT_SHIFT = range(9)
WAYS = 4  # keys a bucket: four addresses and four words


@dataclass(frozen=True, slots=True)
class Layout:
    """What differs between Pythons.

    Attributes:
        ascii: bits of a string's state that all strings of ASCII alone have.
        string_data: bytes from a string to its characters.
        int_shift: how far the count of an integer's digits is shifted in its size.
    """

    ascii: int
    string_data: int
    int_shift: int


@cache
def layout() -> Layout | None:
    """This Python's layout; None where it is not known."""
    standard = platform.python_implementation() == "CPython" and ctypes.sizeof(ctypes.c_void_p) == 8
    if not standard or sysconfig.get_config_var("Py_GIL_DISABLED") or sys.byteorder != "little":
        return None
    ascii_bits = _ascii_bits()
    found = Layout(ascii_bits, sys.getsizeof("") - 1, 3 if sys.version_info >= (3, 12) else 0)
    return found if ascii_bits and _lists() and _strings(found) and _integers(found) else None


def _words(of: Any, count: int) -> list[int]:
    return list((ctypes.c_int64 * count).from_address(id(of)))


def _state(text: str) -> int:
    return _words(text, STATE + 1)[STATE] & 0xFFFFFFFF


def _ascii_bits() -> int:
    inside = [_state(text) for text in ("", "a", "name", "".join(["x y", "z" * 40]), sys.intern("edge lstm"))]
    outside = [_state(text) for text in ("é", "né", "é" * 50, "€", "x€" * 30, "𝄞", sys.intern("näme"))]
    return reduce(and_, inside) & ~reduce(or_, outside)


def _lists() -> bool:
    sample = ["a", b"b", 3]
    words = _words(sample, ITEMS + 1)
    if words[TYPE] != id(list) or words[SIZE] != len(sample):
        return False
    return list((ctypes.c_int64 * 3).from_address(words[ITEMS])) == [id(item) for item in sample]


def _strings(found: Layout) -> bool:
    for text in ("", "a", "pump/1", "x" * 1000):
        plain = text.encode()
        for value, start in ((text, found.string_data), (plain, BYTES_DATA)):
            words = _words(value, SIZE + 1)
            if words[TYPE] != id(type(value)) or words[SIZE] != len(plain):
                return False
            if ctypes.string_at(id(value) + start, len(plain) + 1) != plain + b"\0":
                return False
    return True


def _integers(found: Layout) -> bool:
    for number in (1, -1, 77, 2**29, -(2**29), 2**31, 2**45, -(2**70)):
        words = _words(number, SIZE + 1)
        count = abs(words[SIZE]) >> found.int_shift
        if words[TYPE] != id(int) or count != (number.bit_length() + 29) // 30:
            return False
        digits = (ctypes.c_uint32 * count).from_address(id(number) + INT_DIGITS)
        if sum(digit << 30 * place for place, digit in enumerate(digits)) != abs(number):
            return False
    return True
