"""Messages to readings, predictions to messages: CSV, JSON, plain numbers, Influx lines."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from edgelstm.errors import InputError
from edgelstm.pipeline import influx
from edgelstm.pipeline.fields import (
    ONLY,
    UNITS,
    Fields,
    MalformedError,
    to_key,
    to_number,
    to_sequence,
    to_text,
    to_time,
)
from edgelstm.pipeline.reading import Key, Prediction, Reading

FORMATS = ("csv", "json", "influx", "plain")


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
    """The format of that name; `columns` name those of a CSV without a header.

    Raises:
        InputError: an output is named like a field that passes through, or a feature has no column.
    """
    if kind == "json":
        return Json(fields, outputs)
    if kind == "influx":
        return Influx(fields, outputs)
    return Plain(fields) if kind == "plain" else Csv(fields, outputs, columns)


class Json:
    """One object a message. Fields that are no feature pass through."""

    def __init__(self, fields: Fields, outputs: Sequence[str]) -> None:
        self._fields = fields
        known = (*fields.features, fields.key, fields.sequence, fields.time)
        _no_replacement(outputs, known if fields.passes else (fields.key or "key", fields.time or "time"))
        self._outputs = tuple(outputs) if fields.passes else ()

    def read(self, message: bytes, arrival: float, key: Key | None = None) -> Reading | None:
        """See `Format`."""
        try:
            content = _DECODER.decode(to_text(message))
        except (ValueError, RecursionError) as error:
            raise MalformedError(f"not JSON ({error})") from None
        if not isinstance(content, dict):
            raise MalformedError(f"expected an object, got {type(content).__name__}")
        if not content.keys().isdisjoint(self._outputs):
            raise _replaced(content, self._outputs)
        fields = self._fields
        if key is None:
            key = to_key(content.get(fields.key)) if fields.key else ONLY
        values = {name: to_number(content[name]) for name in fields.features if name in content}
        sequence = to_sequence(content.get(fields.sequence)) if fields.sequence else None
        time = to_time(content.get(fields.time), fields) if fields.time else None
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
        self._columns: list[str] = []
        self._header: list[str] = []  # as it was read
        self.header: bytes | None = None  # what stands before the first prediction
        if columns:
            self._set(columns, "input.columns")
            self._header = list(columns)

    def _set(self, columns: Sequence[str], where: str) -> None:
        fields = self._fields
        roles = [(name, "model.features") for name in fields.features]
        roles += [(fields.key, "input.key"), (fields.sequence, "input.sequence"), (fields.time, "input.time")]
        roles = [(name, setting) for name, setting in roles if name]
        if missing := [f"{name!r} of {setting}" for name, setting in roles if name not in columns]:
            raise InputError(
                f"{where}: expected a column for each feature and field, got {', '.join(map(repr, columns))}; missing: "
                f"{', '.join(missing)}. Set those to the names of the columns, or input.columns to names for all "
                "columns in their order"
            )
        if twins := [name for name, _ in roles if columns.count(name) > 1]:
            raise InputError(f"{where}: the column {twins[0]!r} stands twice; rename one")
        self._columns = list(columns)
        self._features = [(name, columns.index(name)) for name in fields.features]
        self._key, self._sequence, self._time = (
            columns.index(name) if name else -1 for name in (fields.key, fields.sequence, fields.time)
        )

    def _take_header(self, message: bytes) -> None:
        try:
            cells = _cells(message)
        except MalformedError as error:
            raise InputError(f"the first line of the CSV, its header, cannot be read: {error}") from None
        self._header, columns = cells, [cell.strip() for cell in cells]
        self._set(columns, "the first line of the CSV, its header")
        _no_replacement(self._outputs, columns)
        self.header = _line([*columns, *self._outputs])

    def read(self, message: bytes, arrival: float, key: Key | None = None) -> Reading | None:
        """See `Format`.

        Raises:
            InputError: the first line is no header for these features.
        """
        if not self._columns:
            self._take_header(message)
            return None
        cells = _cells(message)
        if len(cells) != len(self._columns):
            raise MalformedError(f"expected {len(self._columns)} columns, got {len(cells)}")
        fields = self._fields
        values = {name: to_number(cells[at]) for name, at in self._features}
        if cells == self._header and all(map(math.isnan, values.values())):  # of a file that another was put behind
            return None
        if fields.parts:
            values = {name: values[name] for name, at in self._features if cells[at].strip()}
        if key is None:
            key = to_key(cells[self._key] or None) if fields.key else ONLY
        sequence = to_sequence(cells[self._sequence]) if fields.sequence else None
        time = to_time(cells[self._time], fields) if fields.time else None
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

    def __init__(self, fields: Fields, outputs: Sequence[str]) -> None:
        self._fields = fields
        self._outputs = tuple(outputs) if fields.passes else ()
        _no_replacement(self._outputs, (*fields.features, fields.sequence))

    def read(self, message: bytes, arrival: float, key: Key | None = None) -> Reading | None:
        """See `Format`."""
        text = to_text(message).strip()
        if not text or text.startswith("#"):
            return None
        try:
            line = influx.parse(text)
        except ValueError as error:
            raise MalformedError(f"not a line of Influx's protocol: {error}") from None
        if not line.fields.keys().isdisjoint(self._outputs):
            raise _replaced(line.fields, self._outputs)
        values = {}
        for name in self._fields.features:
            if name in line.fields:
                value = influx.number(line.fields[name])
                values[name] = math.nan if value is None else value
        told = line.fields.get(self._fields.sequence, "") if self._fields.sequence else ""
        sequence = to_sequence(told.rstrip("iu")) if self._fields.sequence else None
        time = None if line.timestamp is None else line.timestamp * 1e-9
        if time is None and self._fields.time:
            raise MalformedError("the timestamp is missing, by which gaps.by orders readings")
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
        cells = to_text(message).replace(",", " ").split()
        if len(cells) != len(self._fields.features):
            raise MalformedError(f"expected {len(self._fields.features)} numbers, got {len(cells)}")
        values = dict(zip(self._fields.features, map(to_number, cells), strict=True))
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
    value = to_number(to_text(message).strip())
    return Reading(ONLY if key is None else key, {feature: value}, None, None, arrival)


def _no_replacement(outputs: Sequence[str], passing: Sequence[str]) -> None:
    if twins := [name for name in outputs if name in passing]:
        raise InputError(
            f"the output {twins[0]!r} is named like a field that stands beside it and would replace it: set "
            "model.outputs to names of their own, or rename the field"
        )


def _replaced(content: Mapping[str, Any], outputs: Sequence[str]) -> MalformedError:
    name = next(name for name in outputs if name in content)
    return MalformedError(
        f"the output {name!r} would replace the field of that name: set model.outputs to names of their own, or rename "
        "the field"
    )


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a name stands twice")
    return content


def _stamp(prediction: Prediction, fields: Fields) -> float | None:
    """A prediction's time in the unit that readings tell theirs in."""
    return None if prediction.time is None else prediction.time / UNITS[fields.unit]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


_DECODER = json.JSONDecoder(object_pairs_hook=_no_twins)


_say, _say_escaped = (
    json.JSONEncoder(ensure_ascii=escaped, allow_nan=False, separators=(",", ":")).encode for escaped in (False, True)
)


def _encode(content: Mapping[str, Any]) -> bytes:
    try:
        return _say(content).encode()
    except (ValueError, RecursionError):  # NaN, Inf or half a surrogate pair in a field that passes through
        return _say_escaped({name: value if _can_be_said(value) else None for name, value in content.items()}).encode()


def _can_be_said(value: Any) -> bool:
    try:
        _say_escaped(value)
    except (ValueError, RecursionError):
        return False
    return True


def _cells(message: bytes) -> list[str]:
    try:
        return next(csv.reader([to_text(message)], strict=True), [])
    except csv.Error as error:
        raise MalformedError(f"not CSV ({error})") from None


def _line(cells: Sequence[str]) -> bytes:
    target = io.StringIO()
    csv.writer(target, lineterminator="").writerow(cells)
    return target.getvalue().encode()
