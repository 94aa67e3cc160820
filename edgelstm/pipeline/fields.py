"""Which field of a message is what, and how fields are read as numbers, keys and times."""

from __future__ import annotations

import math
import re
from codecs import BOM_UTF8
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from edgelstm.pipeline.reading import Key

UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
ONLY = "stream"  # the key where messages carry none
_LONGEST_SEQUENCE = 1 << 53  # a float tells integers apart up to here
_SURROGATES = re.compile("[\ud800-\udfff]")  # JSON can say halves of a pair, UTF-8 cannot


class MalformedError(ValueError):
    """A message that cannot be read; says why."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Which field of a message is what.

    Attributes:
        features: names of the model's features.
        key: name of the field that tells whose reading it is, or "".
        sequence, time: names of the fields that order readings, or ""; of Influx lines any name asks for the timestamp.
        unit: of times that are numbers: "s", "ms", "us" or "ns".
        parts: readings are put together from several messages, so that an empty cell of a CSV holds none.
        passes: fields that are no feature come out again; not so where one prediction stands for several messages.
    """

    features: tuple[str, ...]
    key: str = ""
    sequence: str = ""
    time: str = ""
    unit: str = "s"
    parts: bool = False
    passes: bool = True


def to_text(message: bytes) -> str:
    """A message as text, without a byte order mark.

    Raises:
        MalformedError: it is not UTF-8.
    """
    try:
        return message.removeprefix(BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError(f"not UTF-8 at byte {error.start}") from None


def to_number(value: Any) -> float:
    """NaN for what is no number: the join decides what becomes of it."""
    try:
        if isinstance(value, str) and "_" in value:  # Python's way to write thousands, and nobody else's
            return math.nan
        return float(value) if isinstance(value, (int, float, str)) else math.nan
    except (ValueError, OverflowError):
        return math.nan


def to_key(value: Any) -> Key:
    """A key.

    Raises:
        MalformedError: it is missing, or can be none.
    """
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63:
        return value
    if isinstance(value, str) and not _SURROGATES.search(value):
        return value
    raise MalformedError(f"the key is missing, or neither text nor an integer of 64 bits: {str(value)[:40]!r}")


def to_sequence(value: Any) -> int:
    """A sequence number.

    Raises:
        MalformedError: it is missing or no integer of 53 bits.
    """
    try:
        if isinstance(value, str) and "_" in value:
            value = float("nan")
        number = int(value) if not isinstance(value, float) else int(value) if value == int(value) else None
    except (ValueError, TypeError, OverflowError):
        number = None
    if number is None or isinstance(value, bool) or abs(number) >= _LONGEST_SEQUENCE:
        raise MalformedError(f"the sequence number is missing or no integer: {str(value)[:40]!r}")
    return number


def to_time(value: Any, fields: Fields) -> float:
    """A time in seconds, from a number in `fields.unit` or ISO 8601.

    Raises:
        MalformedError: it is missing or neither.
    """
    try:
        if isinstance(value, str) and not (value := value.strip()).replace(".", "", 1).replace("-", "", 1).isdecimal():
            stamp = datetime.fromisoformat(value)
            return stamp.timestamp()
        time = float(value) * UNITS[fields.unit]
    except (ValueError, TypeError, OverflowError):
        time = math.nan
    if isinstance(value, bool) or not math.isfinite(time):
        raise MalformedError(f"the time is missing, or neither a number nor ISO 8601: {str(value)[:40]!r}")
    return time
