"""Topics of MQTT: what filters match, patterns with the levels of a topic, names that no topic may hold.

Source: MQTT 5.0, section 4.7.
"""

from __future__ import annotations

import re
from functools import lru_cache

from edgelstm.errors import InputError

_FILTER = re.compile(r"(?:[^+#\x00/]*|\+)(?:/(?:[^+#\x00/]*|\+))*(?:(?<=/)#)?|#")
_SHARED = re.compile(r"\$share/[^/]*/")
_FORBIDDEN = re.compile("[+#\\x00\\ud800-\\udfff]")
_LONGEST = 65_535  # bytes
_PLACE = re.compile(r"\{(topic|-?[1-9]\d*)\}")


def is_filter(text: str) -> bool:
    """Whether one may subscribe to it: + and # stand for whole levels, # for the last ones."""
    return bool(text) and _FILTER.fullmatch(text) is not None


def is_topic(name: str) -> bool:
    """Whether one may publish to it."""
    return bool(name) and not _FORBIDDEN.search(name) and len(name.encode()) <= _LONGEST


def is_pattern(text: str) -> bool:
    """Whether `fill` can fill it in."""
    return not re.search("[{}]", _PLACE.sub("", text))


def overlap(one: str, other: str) -> bool:
    """Whether a topic may match both filters; a topic is a filter that matches itself."""
    a, b = _SHARED.sub("", one).split("/"), _SHARED.sub("", other).split("/")
    if a[0][:1] != b[0][:1] and "$" in (a[0][:1], b[0][:1]):
        return False  # wildcards do not match the broker's own topics
    for x, y in zip(a, b, strict=False):
        if "#" in (x, y):
            return True
        if x != y and "+" not in (x, y):
            return False
    shorter, longer = sorted((a, b), key=len)
    return len(a) == len(b) or longer[len(shorter) :] == ["#"]  # a/# matches a as well


@lru_cache(maxsize=32_768)
def fill(pattern: str, topic: str) -> str:
    """A pattern such as "{1}/{-1}" with the levels of a topic, which count from 1; {topic} is all of it.

    Raises:
        InputError: the topic has no such level.
    """
    levels = topic.split("/")

    def level(match: re.Match[str]) -> str:
        if match[1] == "topic":
            return topic
        number = int(match[1])
        if abs(number) > len(levels):
            raise InputError(f"{pattern!r}: the topic {topic!r} has no level {number}")
        return levels[number - 1 if number > 0 else number]

    return _PLACE.sub(level, pattern)
