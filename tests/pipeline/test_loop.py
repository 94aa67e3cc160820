"""The loop between a broker and the model, with a broker that the test plays: windows, topics, keys, announcements."""

import json
import threading

import pytest

from edgelstm.errors import InputError
from edgelstm.pipeline.bridge import Bridge
from edgelstm.pipeline.config import make_config
from edgelstm.pipeline.inbox import SETUP
from edgelstm.pipeline.log import Log
from edgelstm.pipeline.mqtt import _Loop
from edgelstm.pipeline.packets import Message, Packets
from edgelstm.pipeline.service import Service
from edgelstm.runtime.model import Model
from tests.runtime import models
from tests.support import require_module

pytest.importorskip("numba")


class Played:
    """A bridge without a client."""

    read = staticmethod(json.loads)

    def __init__(self):
        self.queue, self.confirmed, self.published, self.retained = [], [], [], {}

    def waiting(self):
        return len(self.queue)

    def take(self, most, _seconds):
        taken, self.queue = self.queue[:most], self.queue[most:]
        return taken

    def confirm(self, messages):
        self.confirmed.append([message.packet for message in messages])

    def publish(self, messages):
        for topic, payload in messages:
            assert int.from_bytes(topic[:2], "big") == len(topic) - 2
            self.published.append((topic[2:].decode(), self.read(payload)))
        return 0

    def unconfirmed(self, _most=0, _seconds=0.0):
        return 0

    def retain(self, topic, payload):
        assert topic not in self.retained
        self.retained[topic] = json.loads(payload)


@pytest.fixture
def make(tmp_path):
    path = tmp_path / "m.edgelstm"
    Model(models.forecaster()).save(path)
    made = []

    def build(**more):
        settings = {"model_path": str(path), "model_features": "a,b,c", "input_from": "mqtt", "mqtt_topics": "in/#"}
        settings |= {"state_path": str(tmp_path / "s.db"), "mqtt_publish": "out/{key}", "mqtt_key": "{-1}"}
        service = Service(make_config(settings | more), Log(), SETUP)
        made.append(service)
        return service

    build.folder = tmp_path
    yield build
    for service in made:
        service.close()


def played(service):
    bridge = Played()
    return bridge, _Loop(service, bridge)


def message(number, topic="in/k", content=None, repeated=False):
    payload = json.dumps(content if content is not None else {"a": number, "b": 1, "c": 2}).encode()
    return Message(topic, payload, number + 1, repeated, 0.0)


@pytest.mark.parametrize(("version", "most"), [(3, 10), (5, 32767)])
def test_a_narrow_window_is_never_used_up(make, version, most):
    """mosquitto gives a 3.1.1 client 20 messages: half of them are confirmed at a time."""
    bridge, loop = played(make(mqtt_version=version))
    bridge.queue = [message(number) for number in range(40)]
    for _ in range(6):
        loop._turn(0.0)
    assert [packet for group in bridge.confirmed for packet in group] == list(range(1, 41))
    assert max(map(len, bridge.confirmed)) <= most
    assert len(bridge.published) == 40
    assert len(list(loop._inbox.replay())) == 40


def test_what_was_kept_is_replayed_once_and_repeats_are_told(make):
    bridge, loop = played(make())
    bridge.queue = [message(number) for number in range(12)]
    for _ in range(2):
        loop._turn(0.0)
    assert len(bridge.confirmed) == 1
    again, after = played(make())
    after._replay()
    assert again.published == bridge.published
    again.queue = [message(number, repeated=True) for number in range(8, 12)] + [message(12), message(3)]
    after._turn(0.0)
    assert len(again.published) == 14  # packet 4 came without the DUP flag: its id is used anew
    assert after._service.counts["duplicate"] == 4


@pytest.mark.parametrize("more", [{"gaps_by": "arrival", "gaps_interval": "1s"}, {"input_every": "1s"}])
def test_another_start_of_the_machine_is_no_gap(make, monkeypatch, more):
    """Its clock of arrivals is further on than that of the start before; what is replayed is still of that one."""
    monkeypatch.setattr("edgelstm.pipeline.service.boot", lambda: "first")
    for name, missing in (("first", 5000), ("second", 0)):
        service = make(gaps_on_gap="skip", mqtt_topics=f"{name}/#", state_path=str(make.folder / name), **more)
        _, loop = played(service)
        loop._bridge.queue = [message(n)._replace(arrival=100.0 + n) for n in range(4)]
        loop._turn(0.0)
        loop._save(0.0)
        loop._bridge.queue = [message(n)._replace(arrival=100.0 + n) for n in range(4, 8)]
        loop._turn(0.0)
        loop._keep(loop._inbox, False)
        monkeypatch.setattr("edgelstm.pipeline.service.boot", lambda name=name: name)
        after = make(gaps_on_gap="skip", mqtt_topics=f"{name}/#", state_path=str(make.folder / name), **more)
        bridge, loop = played(after)
        loop._replay()
        assert not after.counts["missing"]
        after.went_on(5108.0)
        bridge.queue = [message(n)._replace(arrival=5108.0 + n) for n in range(3)]
        loop._turn(0.0)
        assert after.counts["missing"] == missing, (name, after.counts)
        monkeypatch.setattr("edgelstm.pipeline.service.boot", lambda: "first")


def test_messages_that_wait_are_not_late(make):
    """A stretch of time ends after the messages that came in it, however long those wait."""
    service = make(input_every="10s")
    bridge, loop = played(service)
    bridge.queue = [message(n)._replace(arrival=0.01 * n) for n in range(2000)]
    while bridge.queue:
        loop._turn(0.0)
    assert not service.counts["late"]
    assert [row["y0"] for _, row in bridge.published] == [
        float(y[0]) for y in Model(models.forecaster()).pool(1).step(["k", "k"], [[499.5, 1, 2], [1499.5, 1, 2]])
    ]


def test_keys_that_no_topic_may_hold_are_counted(make):
    service = make(input_key="id", mqtt_key="", input_longest=100_000)
    bridge, loop = played(service)
    keys = ["good", "a/#", "+", "nul\0", "x" * 70_000, 7, "ü", ""]
    bridge.queue = [message(n, content={"id": key, "a": 1, "b": 2, "c": 3}) for n, key in enumerate(keys)]
    loop._turn(0.0)
    assert [topic for topic, _ in bridge.published] == ["out/good", "out/7", "out/ü", "out/"]
    assert service.counts["unpublished"] == 4
    assert service.checkpoint()


def test_features_on_topics_of_their_own(make):
    service = make(mqtt_feature="{-1}", mqtt_key="{2}", input_join=True, input_trigger="c", input_format="plain")
    bridge, loop = played(service)
    parts = [("in/k/a", b"1"), ("in/k/b", b"2"), ("in/q/b", b"0"), ("in/k/c", b"3"), ("in/k/d", b"4"), ("in", b"5")]
    bridge.read = lambda payload: [float(y) for y in payload.split()]
    bridge.queue = [Message(topic, payload, n + 1, False, 0.0) for n, (topic, payload) in enumerate(parts)]
    loop._turn(0.0)
    expected = Model(models.forecaster()).stream().step([1, 2, 3])
    assert bridge.published == [("out/k", expected.tolist())]
    assert service.counts["malformed"] == 2


def test_lines_of_influx_may_tell_their_key(make):
    bridge, loop = played(make(input_format="influx", mqtt_key=""))
    bridge.read = lambda payload: payload.decode()
    lines = [b"m,id=1 a=1,b=2,c=3", b"m,id=2 a=1,b=2,c=3", b"m,id=1 a=1,b=2,c=3"]
    bridge.queue = [Message("in/all", line, n + 1, False, 0.0) for n, line in enumerate(lines)]
    loop._turn(0.0)
    assert [topic for topic, _ in bridge.published] == ["out/m,id=1", "out/m,id=2", "out/m,id=1"]
    assert bridge.published[0][1].removeprefix("m,id=1") == bridge.published[1][1].removeprefix("m,id=2")


def test_predictions_never_come_back_as_readings(make):
    service = make(mqtt_publish="{key}/x", mqtt_topics="in/x", input_key="id", mqtt_key="")
    bridge, loop = played(service)
    bridge.queue = [message(n, content={"id": key, "a": 1, "b": 2, "c": 3}) for n, key in enumerate(["in", "out"])]
    loop._turn(0.0)
    assert [topic for topic, _ in bridge.published] == ["out/x"]
    assert service.counts["unpublished"] == 1


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"model_outputs": "p"}, "model.outputs: expected 2 names"),
        ({"model_outputs": ["a\nb", "p"]}, "outputs: expected names of one line"),
        ({"model_features": ["a", "", "c"]}, "features: expected names of one line"),
        ({"model_outputs": "a,p"}, "the output 'a' is named like a field"),
        ({"model_outputs": "anomaly,p", "anomaly_feature": "a"}, "'anomaly' stands twice"),
        ({"model_outputs": "warm,p", "model_horizon": 3}, "'warm' stands twice"),
        ({"model_features": "a,b"}, "expected 3 names"),
        ({"input_format": "csv", "input_columns": "a,b"}, "missing: 'c' of model.features"),
        ({"operation_health": "/nowhere/health"}, "/nowhere/health"),
    ],
)
def test_what_cannot_be_served_is_refused_at_the_start(make, more, why):
    with pytest.raises((InputError, OSError), match=why):
        make(**more)


def test_features_that_never_come_are_told(make, capsys):
    service = make(mqtt_topics="in/#")
    bridge, loop = played(service)
    bridge.queue = [message(0, content={"A": 1}), message(1, content={"a": 1, "b": 2}), message(2, content={"a": "x"})]
    loop._turn(0.0)
    told = capsys.readouterr().err
    assert "topic in/k: none of the features a, b, c" in told
    assert "topic in/k: the feature 'c' is missing" in told
    assert "topic in/k: the feature 'a' is no number of float32" in told
    assert service.counts["incomplete"] == 3


def test_home_assistant_is_told_of_every_key_once(make):
    service = make(mqtt_discovery="homeassistant", model_outputs="next hour,q", mqtt_client="edge 1")
    bridge, loop = played(service)
    for n, key in enumerate(["pump", "pump", "a b", "a_b"]):
        bridge.queue = [message(n, f"in/{key}")]
        loop._turn(0.0)
    assert len(bridge.retained) == 6
    assert all(topic.count("/") == 4 and topic.isascii() and " " not in topic for topic in bridge.retained)
    content = bridge.retained[next(topic for topic in bridge.retained if "/pump_next" in topic)]
    assert content["state_topic"] == "out/pump"
    assert content["value_template"] == '{{ value_json["next hour"] }}'
    assert content["device"]["name"] == "pump"
    assert len({content["unique_id"] for content in bridge.retained.values()}) == 6


def test_messages_that_cannot_be_kept_are_not_confirmed(make, monkeypatch):
    service = make()
    bridge, loop = played(service)
    service.store.execute(f"PRAGMA max_page_count = {service.store.execute('PRAGMA page_count')[0][0]}")
    bridge.queue = [message(number, content={"a": 1, "b": 2, "c": 3, "more": "x" * 9000}) for number in range(20)]
    for _ in range(5):
        loop._turn(0.0)
    assert len(bridge.published) == 20
    assert not bridge.confirmed
    assert service.counts["checkpoint_errors"] == 1  # tried again after a second, not at every turn
    service.store.execute("PRAGMA max_page_count = 100000")
    monkeypatch.setattr("edgelstm.pipeline.mqtt._AGAIN", 0.0)
    loop._turn(0.0)
    assert sum(map(len, bridge.confirmed)) == 20


def test_a_checkpoint_that_fails_makes_the_last_one_no_younger(make):
    service = make()
    bridge, loop = played(service)
    bridge.queue = [message(0)]
    loop._turn(0.0)
    before = service.saved
    service.store.execute("PRAGMA query_only = 1")
    assert not service.checkpoint()
    assert service.saved == before
    assert not service.due()  # tried again in time, not at once
    service.store.execute("PRAGMA query_only = 0")
    assert service.checkpoint()
    assert service.saved > before


def test_retained_messages_are_no_readings_of_now(make):
    service = make()
    bridge, loop = played(service)
    bridge.queue = [message(0)._replace(retained=True), message(1)]
    loop._turn(0.0)
    assert len(bridge.published) == 1
    assert bridge.confirmed == [[1]]
    assert service.counts["late"] == 1


def test_a_repeat_is_confirmed_with_its_first_delivery(make):
    """The connection broke before the first was kept: the repeat, on the new one, must not be confirmed earlier."""
    bridge, loop = played(make())
    bridge.queue = [message(n) for n in range(3)] + [message(n, repeated=True) for n in range(3)]
    loop._turn(0.0)
    assert not bridge.confirmed
    loop._oldest -= 10
    loop._turn(0.0)
    assert bridge.confirmed == [[1, 2, 3, 1, 2, 3]]
    assert len(bridge.published) == len(list(loop._inbox.replay())) == 3


def flood(service, count, part=7):
    """Messages that come faster than they are taken; gives the bridge."""
    require_module("paho.mqtt.client")
    bridge = Bridge(service.config, service)
    for first in range(0, count, part):
        bridge._take(numbered(range(first, min(first + part, count))))
        assert bridge.waiting() <= service.config.mqtt_queue
    return bridge


def numbered(numbers):
    return Packets([Message("in/k", b"%d" % number, 0, False, 0.0) for number in numbers], [], b"", 0, 2)


@pytest.mark.parametrize(("policy", "left"), [("drop-oldest", range(9_900, 10_000)), ("drop-newest", range(100))])
def test_a_full_queue_drops_as_told(make, policy, left):
    service = make(mqtt_qos=0, mqtt_queue=100, mqtt_on_full=policy)
    bridge = flood(service, 10_000)
    assert [int(one.payload) for one in bridge.take(1000, 0)] == list(left)
    assert service.counts["dropped"] == 9_900


def test_a_full_queue_blocks_the_client(make, monkeypatch):
    monkeypatch.setattr("edgelstm.pipeline.bridge._FULL", 300.0)
    service = make(mqtt_qos=0, mqtt_queue=10, mqtt_on_full="block")
    bridge, may = flood(service, 10), []
    client = threading.Thread(target=lambda: may.append(bridge._may_read()))
    client.start()
    client.join(0.1)
    assert client.is_alive()
    bridge.take(1, 1)
    client.join(300)
    assert may == [True]
    monkeypatch.setattr("edgelstm.pipeline.bridge._FULL", 0.1)
    bridge._take(numbered([10]))
    assert not bridge._may_read()  # not for good: the client has other duties
    assert [int(one.payload) for one in bridge.take(100, 1)] == list(range(1, 11))
    assert not service.counts["dropped"]
