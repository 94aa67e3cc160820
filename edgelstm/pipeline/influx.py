"""The Influx line protocol: measurement,tag=value field=value,... timestamp."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from edgelstm.pipeline.fields import to_number

# Stretches up to an unescaped separator; a backslash before anything else stands for itself.
_NAME = re.compile(r"(?:\\.|[^,= \\]|\\$)+")
_MEASUREMENT = re.compile(r"(?:\\.|[^, \\]|\\$)+")
_STRING = re.compile(r'"(?:\\.|[^"\\])*"')
_BARE = re.compile(r"[^, ]+")
_ESCAPED = re.compile(r"\\([,= \\])")
_TRUE, _FALSE = frozenset(("t", "T", "true", "True", "TRUE")), frozenset(("f", "F", "false", "False", "FALSE"))


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Attributes:
        series: measurement and tags as they stand in the line, which is the key.
        fields: name → its value as text, as it stands in the line.
        timestamp: nanoseconds, or None.
    """

    series: str
    fields: Mapping[str, str]
    timestamp: int | None


def parse(text: str) -> Line:
    """Read a line.

    Raises:
        ValueError: it does not follow the protocol; says where.
    """
    at = _expect(_MEASUREMENT, text, 0, "a measurement")
    while text[at : at + 1] == ",":
        at = _expect(_NAME, text, at + 1, "the name of a tag")
        if text[at : at + 1] != "=":
            raise ValueError(f"column {at + 1}: expected = after the name of a tag")
        at = _expect(_NAME, text, at + 1, "the value of a tag")
    series = text[:at]
    if text[at : at + 1] != " ":
        raise ValueError(f"column {at + 1}: expected a space before the fields")
    fields: dict[str, str] = {}
    while text[at : at + 1] in (" ", ",") and at < len(text):
        start = at + 1
        end = _expect(_NAME, text, start, "the name of a field")
        if text[end : end + 1] != "=":
            raise ValueError(f"column {end + 1}: expected = after the name of a field")
        quoted = text[end + 1 : end + 2] == '"'
        at = _expect(_STRING if quoted else _BARE, text, end + 1, "the value of a field")
        name = _ESCAPED.sub(r"\1", text[start:end])
        if name in fields:
            raise ValueError(f"column {start + 1}: the field {name!r} stands twice")
        fields[name] = text[end + 1 : at]
        if text[at : at + 1] == " ":
            break
    rest = text[at:].strip()
    if rest and not re.fullmatch(r"-?\d{1,19}", rest):
        raise ValueError(f"column {at + 2}: expected a timestamp in nanoseconds, got {rest[:20]!r}")
    return Line(series, fields, int(rest) if rest else None)


def number(text: str) -> float | None:
    """A field's value as a number; None where it is a string."""
    if text.startswith('"'):
        return None
    if text in _TRUE or text in _FALSE:
        return float(text in _TRUE)
    return to_number(text[:-1] if text[-1:] in ("i", "u") else text)


def write(line: Line, more: Mapping[str, float]) -> str:
    """The line with more fields; those that are not finite, which the protocol cannot say, are left out."""
    fields = {_escape(name): value for name, value in line.fields.items()}
    fields |= {_escape(name): repr(value) for name, value in more.items() if value - value == 0}
    text = f"{line.series} {','.join(f'{name}={value}' for name, value in fields.items())}"
    return text if line.timestamp is None else f"{text} {line.timestamp}"


def _escape(name: str) -> str:
    return re.sub(r"([,= ])", r"\\\1", name)


def _expect(pattern: re.Pattern[str], text: str, at: int, what: str) -> int:
    found = pattern.match(text, at)
    if not found:
        raise ValueError(f"column {at + 1}: expected {what}")
    return found.end()
