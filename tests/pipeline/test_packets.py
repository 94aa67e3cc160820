"""PUBLISH and PUBACK against paho's own reading and writing of them, cut anywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelstm.pipeline import packets
from tests.support import require_module

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0+#"), min_size=1, max_size=40)
MESSAGES = st.lists(st.tuples(NAMES, st.binary(max_size=300), st.integers(0, 65535), st.booleans()), max_size=8)


class Wires:
    """What paho believes to be its socket."""

    def __init__(self, data=b""):
        self.data = data

    def send(self, data):
        self.data += bytes(data)
        return len(data)

    def recv(self, size):
        part, self.data = self.data[:size], self.data[size:]
        if not part:
            raise BlockingIOError
        return part

    def close(self):
        pass


def paho_client(five, data=b""):
    paho = require_module("paho.mqtt.client")
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5 if five else paho.MQTTv311)
    client._sock = Wires(data)
    return client


@pytest.mark.parametrize("five", [False, True])
@given(messages=MESSAGES)
def test_what_is_written_is_what_paho_reads(five, messages):
    data = b"".join(packets.publish(packets.topic_of(topic), *rest, five) for topic, *rest in messages)
    client, found = paho_client(five, data), []
    client.on_message = lambda _c, _d, m: found.append((m.topic, m.payload, m.mid, m.retain, m.qos))
    while client._sock.data:
        client._packet_read()
    assert found == [(t, p, i, r, int(i > 0)) for t, p, i, r in messages]


@pytest.mark.parametrize("five", [False, True])
@given(messages=MESSAGES, cuts=st.lists(st.integers(1, 400), min_size=1, max_size=10))
def test_what_paho_writes_is_read_wherever_it_is_cut(five, messages, cuts):
    client, info = paho_client(five), require_module("paho.mqtt.client").MQTTMessageInfo
    for topic, payload, packet, retain in messages:
        client._send_publish(packet, topic.encode(), payload, int(packet > 0), retain, packet % 2 == 1, info(packet))
        client._send_pingreq()
    data, found, others, rest, turn = client._sock.data, [], b"", b"", 0
    while data:
        cut = cuts[turn % len(cuts)]
        rest, data, turn = rest + data[:cut], data[cut:], turn + 1
        got = packets.split(rest, five, 5.0, 3)
        assert got.needed <= 600
        found, others, rest = found + got.messages, others + got.others, rest[got.used :]
    assert not rest
    assert others == b"\xc0\x00" * len(messages)
    assert found == [packets.Message(t, p, i, i % 2 == 1, 5.0, r, 3) for t, p, i, r in messages]


def test_properties_are_passed_over():
    """MQTT 5.0, section 3.3: a topic a/b, packet 10, a content type and an expiry, payload hi."""
    properties = b"\x02\0\0\0\x3c" + b"\x03\0\x04text"
    body = b"\0\x03a/b\0\x0a" + bytes([len(properties)]) + properties + b"hi"
    found = packets.split(b"\x3a" + bytes([len(body)]) + body, True, 0.0, 0).messages
    assert found == [packets.Message("a/b", b"hi", 10, True, 0.0)]


def test_confirmations():
    assert packets.confirm([1, 65535]) == b"\x40\x02\x00\x01\x40\x02\xff\xff"
    five = b"\x40\x04\x00\x07\x10\x00"  # MQTT 5: with the reason that nobody listens
    assert packets.split(packets.confirm([1, 65535]) + five, True, 0.0, 0).confirmed == [1, 65535, 7]


@given(st.binary(max_size=200), st.booleans())
def test_noise_is_never_fatal(data, five):
    found = packets.split(data, five, 0.0, 0)
    assert 0 <= found.used <= len(data)


def test_a_packet_that_is_cut_short_within_is_left_to_the_client():
    for body in (b"", b"\0", b"\0\x09ab", b"\0\x02ab"):
        data = b"\x32" + bytes([len(body)]) + body
        assert packets.split(data, False, 0.0, 0)[:3] == ([], [], data)
