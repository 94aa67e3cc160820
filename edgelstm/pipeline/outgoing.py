"""Predictions on their way to the broker, and confirmations of what came from it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence

from edgelstm.pipeline import packets
from edgelstm.pipeline.packets import Message
from edgelstm.pipeline.wire import Wire

_FIRST, _LAST = 1024, 65_535  # packet ids; those below are the client's own, for its subscriptions


class Outgoing:
    """At QoS 1, messages are kept until the broker confirms them, and sent again, in order, on a new connection.

    No more are on their way at a time than the broker's receive maximum; others wait. Any thread may call.
    """

    def __init__(self, five: bool) -> None:
        self._five = five
        self._lock = threading.RLock()
        self._wire: Wire | None = None
        self._window = _LAST
        self._sent: dict[int, bytes] = {}  # packet id → packet, in order
        self._waiting: deque[tuple[bytes, bytes, bool]] = deque()
        self._next = _FIRST

    def opened(self, wire: Wire, window: int) -> None:
        """The broker took the connection, and so many unconfirmed messages at a time."""
        with self._lock:
            self._wire, self._window = wire, min(window, _LAST - _FIRST)
            wire.write(b"".join(map(packets.again, self._sent.values())), 1.0)
            self._pump(1.0)

    def closed(self) -> None:
        """The connection is lost."""
        with self._lock:
            self._wire = None

    def send(self, messages: Sequence[tuple[bytes, bytes]], qos: int, retain: bool = False) -> int:
        """Topics, as `packets.topic_of` gives them, and payloads; gives how many are lost, which only QoS 0 may be."""
        if not messages:
            return 0
        if qos:
            with self._lock:
                self._waiting += [(topic, payload, retain) for topic, payload in messages]
                self._pump(1.0)
            return 0
        wire = self._wire
        data = b"".join([packets.publish(topic, payload, 0, retain, self._five) for topic, payload in messages])
        return 0 if wire is not None and wire.write(data, 1.0) else len(messages)

    def confirmed(self, ids: Sequence[int]) -> None:
        """By the broker."""
        with self._lock:
            for number in ids:
                self._sent.pop(number, None)
            if self._waiting:
                self._pump(0.0)

    def confirm(self, messages: Sequence[Message]) -> None:
        """To the broker. Only on the connection they came by: on a new one they come again."""
        wire = self._wire
        if wire is not None:
            wire.write(
                packets.confirm([one.packet for one in messages if one.packet and one.connection == wire.number])
            )

    def unconfirmed(self, most: int = 0, seconds: float = 0.0) -> int:
        """Messages that the broker has not confirmed; waits until there are at most so many."""
        end = time.monotonic() + seconds
        while (left := len(self._sent) + len(self._waiting)) > most and time.monotonic() < end:
            time.sleep(0.001)
        return left

    def drain(self) -> None:
        """Go on with what the broker was too slow to take."""
        if (wire := self._wire) is not None:
            wire.drain()

    def _pump(self, seconds: float) -> None:
        """Send what waits, as far as the window goes."""
        if self._wire is None:
            return
        fresh = []
        while self._waiting and len(self._sent) < self._window:
            while self._next in self._sent:
                self._next = self._next + 1 if self._next < _LAST else _FIRST
            topic, payload, retain = self._waiting.popleft()
            packet = packets.publish(topic, payload, self._next, retain, self._five)
            self._sent[self._next] = packet
            self._next = self._next + 1 if self._next < _LAST else _FIRST
            fresh.append(packet)
        if fresh:
            self._wire.write(b"".join(fresh), seconds)
