"""The two MQTT packets that come by the thousand, PUBLISH and PUBACK, read and written many at a time.

Layout: MQTT 3.1.1, sections 2.2, 3.3 and 3.4; MQTT 5.0 adds properties behind a length, which are passed over.
"""

from __future__ import annotations

from typing import NamedTuple

_PUBLISH, _PUBACK = 0x30, 0x40
_LONGEST = 4  # bytes of a length


class Message(NamedTuple):
    """One message of the broker.

    Attributes:
        packet: its id, 0 at QoS 0.
        repeated: its DUP flag.
        arrival: when it came, in seconds of a clock that never jumps.
        retained: the broker kept it from some time ago.
        connection: the number of the connection on which it came.
    """

    topic: str
    payload: bytes
    packet: int
    repeated: bool
    arrival: float
    retained: bool = False
    connection: int = 0


class Packets(NamedTuple):
    """What some bytes of a connection hold.

    Attributes:
        messages: at QoS 0 and 1.
        confirmed: ids of packets that the broker confirms.
        others: all other packets, whole, as they came.
        used: bytes that this covers.
        needed: bytes from there on that make up the next packet, as far as its start tells.
    """

    messages: list[Message]
    confirmed: list[int]
    others: bytes
    used: int
    needed: int


def split(data: bytes, five: bool, arrival: float, connection: int) -> Packets:
    """Read whole packets; `five`: of MQTT 5. One that breaks the rules is among the others, for the client to judge."""
    messages: list[Message] = []
    confirmed: list[int] = []
    others, start, size = b"", 0, len(data)
    while start < size:
        found = _length(data, start + 1)
        if found is None:
            break
        body, end = found
        if end > size:
            return Packets(messages, confirmed, others, start, end - start)
        kind = data[start]
        if kind & 0xF4 == _PUBLISH and (message := _message(data, kind, body, end, five, arrival, connection)):
            messages.append(message)
        elif kind == _PUBACK and end >= body + 2:
            confirmed.append(data[body] << 8 | data[body + 1])
        else:
            others += data[start:end]
        start = end
    return Packets(messages, confirmed, others, start, 2)


def _message(
    data: bytes, kind: int, body: int, end: int, five: bool, arrival: float, connection: int
) -> Message | None:
    """None where the packet is cut short within."""
    at = body + 2
    if at > end:
        return None
    text = at + (data[body] << 8 | data[body + 1])
    topic = data[at:text].decode("utf-8", "replace")
    at, packet = text, 0
    if kind & 2:
        at += 2
        if at > end:
            return None
        packet = data[text] << 8 | data[text + 1]
    if five:
        properties = _length(data, at)
        if properties is None:
            return None
        at = properties[1]
    if at > end:
        return None
    return Message(topic, data[at:end], packet, kind & 8 != 0, arrival, kind & 1 != 0, connection)


def _length(data: bytes, at: int) -> tuple[int, int] | None:
    """Where what a length stands before begins and ends; None where the length is cut off."""
    value = shift = 0
    for position in range(at, min(at + _LONGEST, len(data))):
        byte = data[position]
        value |= (byte & 127) << shift
        if byte < 128:
            return position + 1, position + 1 + value
        shift += 7
    return None


def topic_of(name: str) -> bytes:
    """A topic as packets hold it.

    Raises:
        OverflowError: it is longer than 65535 bytes.
    """
    text = name.encode()
    return len(text).to_bytes(2, "big") + text


def publish(topic: bytes, payload: bytes, packet: int, retain: bool, five: bool) -> bytes:
    """A PUBLISH at QoS 1, or at QoS 0 if `packet` is 0; `topic` as `topic_of` gives it."""
    rest = topic
    if packet:
        rest += packet.to_bytes(2, "big")
    if five:
        rest += b"\0"  # no properties
    size, length = len(rest) + len(payload), b""
    while size > 127:
        length += bytes((size & 127 | 128,))
        size >>= 7
    return bytes((_PUBLISH | (2 if packet else 0) | retain,)) + length + bytes((size,)) + rest + payload


def again(packet: bytes) -> bytes:
    """A PUBLISH with its DUP flag set."""
    return bytes((packet[0] | 8,)) + packet[1:]


def confirm(packets: list[int]) -> bytes:
    """A PUBACK for each."""
    return b"".join([b"\x40\x02" + packet.to_bytes(2, "big") for packet in packets])
