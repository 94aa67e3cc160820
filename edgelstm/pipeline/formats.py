"""Messages to readings, predictions to messages: CSV, JSON, plain numbers, Influx lines."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from edgelstm.pipeline import influx
from edgelstm.pipeline.reading import Key, Prediction, Reading

FORMATS = ("csv", "json", "influx", "plain")
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_LONGEST_SEQUENCE = 1 << 53  # a float tells integers apart up to here
ONLY = "stream"  # the key where messages carry none


class MalformedError(ValueError):
    """A message that cannot be read; says why."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Which field of a message is what.

    Attributes:
        features: names of the model's features.
        key: name of the field that tells whose reading it is, or "".
        sequence, time: names of the fields that order readings, or "".
        unit: of times that are numbers: "s", "ms", "us" or "ns".
    """

    features: tuple[str, ...]
    key: str = ""
    sequence: str = ""
    time: str = ""
    unit: str = "s"


class Format(Protocol):
    """One way to write messages."""

    def read(self, message: bytes, arrival: float, key: Key | None = None) -> Reading | None:
        """A message; None where it holds no reading, such as a header. `key` wins over what the message says.

        Raises:
            MalformedError: it cannot be read.
        """

    def write(self, prediction: Prediction) -> bytes:
        """A prediction as a message, without a newline."""


def make_format(kind: str, fields: Fields, outputs: Sequence[str], columns: Sequence[str] = ()) -> Format:
    """The format of that name; `columns` name those of a CSV without a header."""
    if kind == "json":
        return Json(fields)
    if kind == "influx":
        return Influx(fields)
    return Plain(fields) if kind == "plain" else Csv(fields, outputs, columns)


class Json:
    """One object a message. Fields that are no feature pass through."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    def read(self, message: bytes, arrival: float, key: Key | None = None) -> Reading | None:
        """See `Format`."""
        try:
            content = _DECODER.decode(_text(message))
        except (ValueError, RecursionError) as error:
            raise MalformedError(f"not JSON ({error})") from None
        if not isinstance(content, dict):
            raise MalformedError(f"expected an object, got {type(content).__name__}")
        fields = self._fields
        if key is None:
            key = _key(content.get(fields.key)) if fields.key else ONLY
        values = {name: _number(content[name]) for name in fields.features if name in content}
        sequence = _sequence(content.get(fields.sequence)) if fields.sequence else None
        time = _time(content.get(fields.time), fields) if fields.time else None
        return Reading(key, values, sequence, time, arrival, content)

    def write(self, prediction: Prediction) -> bytes:
        """See `Format`."""
        if isinstance(prediction.context, Mapping):
            content = dict(prediction.context)
        else:
            content = {self._fields.key or "key": prediction.key}
            if prediction.time is not None:
                content[self._fields.time or "time"] = _stamp(prediction, self._fields)
        content |= {name: _finite(value) for name, value in {**prediction.outputs, **prediction.extra}.items()}
        if not prediction.warm:
            content["warm"] = False
        return _encode(content)


class Csv:
    """One line a message, the first one a header unless columns are named. All columns pass through."""

    def __init__(self, fields: Fields, outputs: Sequence[str], columns: Sequence[str]) -> None:
        self._fields, self._outputs = fields, tuple(outputs)
        self._columns: tuple[str, ...] = ()
        self.header: bytes | None = None  # what stands before the first prediction
        if columns:
            self._set(columns)
            self.header = None

    def _set(self, columns: Sequence[str]) -> None:
        if len(set(columns)) != len(columns):
            raise MalformedError("a column stands twice in the header")
        needed = [*self._fields.features, self._fields.key, self._fields.sequence, self._fields.time]
        if missing := [name for name in needed if name and name not in columns]:
            raise MalformedError(f"the header has no column {missing[0]!r}; it has {', '.join(columns)}")
        self._columns = tuple(columns)
        self.header = _line([*columns, *self._outputs])

    def read(self, message: bytes, arrival: float, key: Key | None = None) -> Reading | None:
        """See `Format`."""
        try:
            rows = list(csv.reader([_text(message)], strict=True))
        except csv.Error as error:
            raise MalformedError(f"not CSV ({error})") from None
        cells = rows[0] if rows else []
        if not self._columns:
            self._set([cell.strip().removeprefix("\ufeff") for cell in cells])
            return None
        if len(cells) != len(self._columns):
            raise MalformedError(f"expected {len(self._columns)} columns, got {len(cells)}")
        row, fields = dict(zip(self._columns, cells, strict=True)), self._fields
        if key is None:
            key = row[fields.key] if fields.key else ONLY
        values = {name: _number(row[name]) for name in fields.features}
        sequence = _sequence(row[fields.sequence]) if fields.sequence else None
        time = _time(row[fields.time], fields) if fields.time else None
        return Reading(key, values, sequence, time, arrival, cells)

    def write(self, prediction: Prediction) -> bytes:
        """See `Format`."""
        kept = prediction.context
        if kept is None:
            told = {self._fields.key: prediction.key, self._fields.time: _stamp(prediction, self._fields)}
            kept = [told.get(column, "") for column in self._columns]
        return _line([*kept, *(repr(v) for v in {**prediction.outputs, **prediction.extra}.values())])


class Influx:
    """One line a message; measurement and tags are the key, timestamps and other fields pass through."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    def read(self, message: bytes, arrival: float, key: Key | None = None) -> Reading | None:
        """See `Format`."""
        text = _text(message).strip()
        if not text or text.startswith("#"):
            return None
        try:
            line = influx.parse(text)
        except ValueError as error:
            raise MalformedError(f"not a line of Influx's protocol: {error}") from None
        values = {}
        for name in self._fields.features:
            if name in line.fields:
                value = influx.number(line.fields[name])
                values[name] = math.nan if value is None else value
        told = line.fields.get(self._fields.sequence, "") if self._fields.sequence else ""
        sequence = _sequence(told.rstrip("iu")) if self._fields.sequence else None
        time = None if line.timestamp is None else line.timestamp * 1e-9
        return Reading(key if key is not None else line.series, values, sequence, time, arrival, line)

    def write(self, prediction: Prediction) -> bytes:
        """See `Format`."""
        line = prediction.context
        if not isinstance(line, influx.Line):
            stamp = None if prediction.time is None else round(prediction.time * 1e9)
            line = influx.Line(str(prediction.key), {}, stamp)
        return influx.write(line, {**prediction.outputs, **prediction.extra}).encode()


class Plain:
    """A payload that is one number a feature, separated by commas or blanks; predictions likewise."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields

    def read(self, message: bytes, arrival: float, key: Key | None = None) -> Reading | None:
        """See `Format`."""
        cells = _text(message).replace(",", " ").split()
        if len(cells) != len(self._fields.features):
            raise MalformedError(f"expected {len(self._fields.features)} numbers, got {len(cells)}")
        values = dict(zip(self._fields.features, map(_number, cells), strict=True))
        return Reading(key if key is not None else ONLY, values, None, None, arrival)

    def write(self, prediction: Prediction) -> bytes:
        """See `Format`."""
        return " ".join(repr(value) for value in {**prediction.outputs, **prediction.extra}.values()).encode()


def read_number(fields: Fields, feature: str, message: bytes, arrival: float, key: Key | None) -> Reading:
    """A message that is one feature's number alone.

    Raises:
        MalformedError: it is not text, or there is no such feature.
    """
    if feature not in fields.features:
        raise MalformedError(f"{feature[:40]!r} is no feature")
    value = _number(_text(message).strip())
    return Reading(ONLY if key is None else key, {feature: value}, None, None, arrival)


def _text(message: bytes) -> str:
    try:
        return message.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError(f"not UTF-8 at byte {error.start}") from None


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a name stands twice")
    return content


def _number(value: Any) -> float:
    """NaN for what is no number: the join decides what becomes of it."""
    try:
        return float(value) if isinstance(value, (int, float, str)) else math.nan
    except (ValueError, OverflowError):
        return math.nan


def _key(value: Any) -> Key:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63:
        return value
    if isinstance(value, str) and not _SURROGATES.search(value):
        return value
    raise MalformedError(f"the key is missing, or neither text nor an integer of 64 bits: {str(value)[:40]!r}")


def _sequence(value: Any) -> int:
    try:
        number = int(value) if not isinstance(value, float) else int(value) if value == int(value) else None
    except (ValueError, TypeError, OverflowError):
        number = None
    if number is None or isinstance(value, bool) or abs(number) >= _LONGEST_SEQUENCE:
        raise MalformedError(f"the sequence number is missing or no integer: {str(value)[:40]!r}")
    return number


def _time(value: Any, fields: Fields) -> float:
    try:
        if isinstance(value, str) and not value.replace(".", "", 1).replace("-", "", 1).isdecimal():
            stamp = datetime.fromisoformat(value)
            return stamp.timestamp()
        time = float(value) * UNITS[fields.unit]
    except (ValueError, TypeError, OverflowError):
        time = math.nan
    if isinstance(value, bool) or not math.isfinite(time):
        raise MalformedError(f"the time is missing, or neither a number nor ISO 8601: {str(value)[:40]!r}")
    return time


def _stamp(prediction: Prediction, fields: Fields) -> float | None:
    """A prediction's time in the unit that readings tell theirs in."""
    return None if prediction.time is None else prediction.time / UNITS[fields.unit]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


_DECODER = json.JSONDecoder(object_pairs_hook=_no_twins)
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_ESCAPING = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_SURROGATES = re.compile("[\ud800-\udfff]")  # JSON can say halves of a pair, UTF-8 cannot


def _encode(content: Mapping[str, Any]) -> bytes:
    try:
        return _ENCODER.encode(content).encode()
    except (ValueError, RecursionError):  # NaN, Inf or half a surrogate pair in a field that passes through
        return _ESCAPING.encode(
            {name: value if _can_be_said(value) else None for name, value in content.items()}
        ).encode()


def _can_be_said(value: Any) -> bool:
    try:
        _ESCAPING.encode(value)
    except (ValueError, RecursionError):
        return False
    return True


def _line(cells: Sequence[str]) -> bytes:
    target = io.StringIO()
    csv.writer(target, lineterminator="").writerow(cells)
    return target.getvalue().encode()
