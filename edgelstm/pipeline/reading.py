"""What adapters and the core loop hand each other."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

Key: TypeAlias = str | int | bytes


class Reading(NamedTuple):
    """One message: some or all features of one key.

    Attributes:
        key: whose reading it is.
        values: feature → number; a feature that is absent was not in the message, NaN was there but unreadable.
        sequence: the sender's count, if it keeps one.
        time: the sender's timestamp in seconds, if it gave one.
        arrival: when the message came in, in seconds of a clock that never jumps.
        context: what the output format needs of the message; the core loop passes it on.
    """

    key: Key
    values: Mapping[str, float]
    sequence: int | None = None
    time: float | None = None
    arrival: float = 0.0
    context: Any = None


class Prediction(NamedTuple):
    """What the model said about one reading.

    Attributes:
        key, sequence, time, context: of the reading.
        outputs: name → number.
        warm: whether the stream has taken enough readings not to depend on its start any more.
        extra: anomaly score and flag, where they are asked for.
    """

    key: Key
    outputs: Mapping[str, float]
    sequence: int | None
    time: float | None
    context: Any
    warm: bool = True
    extra: Mapping[str, float] = MappingProxyType({})
