"""Readings from an MQTT broker, predictions back to it.

At QoS 1 a message is confirmed once it is in the durable inbox or covered by a checkpoint, never before. A prediction
is covered by a checkpoint only after the broker has confirmed it, so that none is lost; after a crash it may be
published again, with the same bits.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any
from zlib import crc32

from edgelstm.errors import DependencyError, InputError, StateError
from edgelstm.pipeline.config import Config
from edgelstm.pipeline.core import BATCH
from edgelstm.pipeline.inbox import SETUP, Inbox, Message
from edgelstm.pipeline.reading import Prediction, Reading
from edgelstm.pipeline.service import Service
from edgelstm.pipeline.stdio import Stop

__all__ = ["SETUP", "Bridge", "serve"]

RECEIVE_MAXIMUM = 65_535
_COMMIT = 1.0  # seconds after which messages are kept at the latest
_STALL = 0.005  # a broker that waits for confirmations sends nothing for so long
_NARROW = 10  # unconfirmed messages from which a pause may mean that the broker waits: half of mosquitto's window
_TOPIC = re.compile("[+#\\x00\\ud800-\\udfff]")  # what no topic may hold
_LONGEST_TOPIC = 65_535  # bytes
_AGAIN = 1.0  # seconds until what could not be written is tried again
_STALLS = 20  # pauses with as many messages each that tell the broker's window
_UNPUBLISHED = 20_000  # predictions that may be on their way


class Bridge:
    """A client whose messages wait in a bounded queue; callbacks run in the client's own thread."""

    def __init__(self, config: Config, service: Service) -> None:
        try:
            import paho.mqtt.client as paho
            from paho.mqtt.enums import CallbackAPIVersion
            from paho.mqtt.packettypes import PacketTypes
            from paho.mqtt.properties import Properties
        except ImportError:
            raise DependencyError("MQTT needs paho-mqtt 2 or newer: install edgelstm[mqtt]") from None
        self._config, self._service = config, service
        self._queue: deque[Message] = deque()
        self._change = threading.Condition()
        self._connected = 0
        self._sent: set[int] = set()  # predictions that the broker has not confirmed
        self._done: deque[int] = deque()  # filled by the client's thread, which must not wait for locks here
        five = config.mqtt_version == 5
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=config.mqtt_client,
            protocol=paho.MQTTv5 if five else paho.MQTTv311,
            clean_session=None if five else False,
            manual_ack=True,
        )
        client = self._client
        client.on_connect, client.on_message, client.on_disconnect = self._on_connect, self._on_message, self._on_stop
        client.on_connect_fail, client.on_publish = self._on_fail, self._on_publish
        client.max_inflight_messages_set(0)
        client.max_queued_messages_set(0)
        client.reconnect_delay_set(1, 60)
        if config.mqtt_username:
            client.username_pw_set(config.mqtt_username, _password(config))
        if config.mqtt_tls:
            client.tls_set(config.mqtt_ca or None, config.mqtt_certificate or None, config.mqtt_private_key or None)
        if config.mqtt_status:
            client.will_set(config.mqtt_status, b"offline", 1, True)
        more: dict[str, Any] = {}
        if five:
            properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.ReceiveMaximum, properties.SessionExpiryInterval = RECEIVE_MAXIMUM, 0xFFFF_FFFF
            more = {"clean_start": False, "properties": properties}
        client.connect_async(config.mqtt_host, config.mqtt_port, keepalive=30, **more)

    def start(self) -> None:
        """Connect, and go on trying."""
        self._client.loop_start()

    def stop(self) -> None:
        """Say goodbye."""
        if self._config.mqtt_status and self._client.is_connected():
            sent = self._client.publish(self._config.mqtt_status, b"offline", 1, True)
            with suppress(RuntimeError, ValueError):  # the connection went meanwhile
                sent.wait_for_publish(2)
        self._client.disconnect()
        self._client.loop_stop()

    def take(self, most: int, seconds: float) -> list[Message]:
        """Messages that came; waits for the first one."""
        with self._change:
            if not self._queue:
                self._change.wait(seconds)
            taken = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
            self._change.notify_all()
        return taken

    def waiting(self) -> int:
        """Messages in the queue."""
        return len(self._queue)

    def confirm(self, messages: list[Message]) -> None:
        """They are safe."""
        for message in messages:
            if message.packet:
                self._client.ack(message.packet, 1)

    def publish(self, topic: str, payload: bytes) -> None:
        """Hand a prediction to the client, which sends it again after a reconnection."""
        sent = self._client.publish(topic, payload, self._config.mqtt_qos)
        if self._config.mqtt_qos:
            self._sent.add(sent.mid)

    def unconfirmed(self, most: int = 0, seconds: float = 0.0) -> int:
        """Predictions that the broker has not confirmed; waits until there are at most so many."""
        end = time.monotonic() + seconds
        while True:
            while self._done:
                self._sent.discard(self._done.popleft())
            if len(self._sent) <= most or time.monotonic() >= end:
                return len(self._sent)
            time.sleep(0.001)

    def retain(self, topic: str, payload: bytes) -> None:
        """A message that the broker keeps."""
        self._client.publish(topic, payload, 1, True)

    def _on_connect(self, client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any = None) -> None:
        if reason.is_failure:
            self._service.log.error("the broker refused", why=str(reason))
            return
        self._connected += 1
        if self._connected > 1:
            self._service.counts.add("reconnects")
        self._service.log.info("connected", broker=f"{self._config.mqtt_host}:{self._config.mqtt_port}")
        for topic in self._config.mqtt_topics:
            client.subscribe(topic, self._config.mqtt_qos)
        if self._config.mqtt_status:
            client.publish(self._config.mqtt_status, b"online", 1, True)

    def _on_stop(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any = None) -> None:
        if reason.is_failure:
            self._service.log.warn("connection lost, trying again", why=str(reason))
        with self._change:  # what was not confirmed comes again; to confirm it on a new connection would be wrong
            self._change.notify_all()

    def _on_fail(self, _client: Any, _data: Any) -> None:
        self._service.log.warn("the broker cannot be reached, trying again", broker=self._config.mqtt_host)

    def _on_publish(self, _client: Any, _data: Any, mid: int, _reason: Any, _properties: Any = None) -> None:
        self._done.append(mid)

    def _on_message(self, _client: Any, _data: Any, message: Any) -> None:
        if message.retain:  # kept by the broker from some time ago: no reading of now
            self._service.counts.add("late")
            if message.qos:
                self._client.ack(message.mid, message.qos)
            return
        came = Message(
            message.topic, bytes(message.payload), message.mid if message.qos else 0, message.dup, time.monotonic()
        )
        with self._change:
            if len(self._queue) >= self._config.mqtt_queue and not self._make_room(came):
                return
            self._queue.append(came)
            self._change.notify_all()

    def _make_room(self, came: Message) -> bool:
        """What a full queue does; whether the message goes in."""
        policy = self._config.mqtt_on_full
        if policy == "block":
            while len(self._queue) >= self._config.mqtt_queue:
                if not self._change.wait(10):
                    return True  # never let the connection starve for good
            return True
        self._service.counts.add("dropped")
        lost = came if policy == "drop-newest" else self._queue.popleft()
        self.confirm([lost])
        return policy == "drop-oldest"


def serve(service: Service, stop: Stop) -> None:
    """Until a signal stops it; then everything that came is published, saved and confirmed."""
    bridge = Bridge(service.config, service)
    service.waiting = bridge.waiting
    _Loop(service, bridge).run(stop)


class _Loop:
    def __init__(self, service: Service, bridge: Bridge) -> None:
        self._service, self._bridge, self._config = service, bridge, service.config
        self._durable = service.store is not None and service.config.mqtt_qos == 1
        self._inbox = Inbox(service.store, RECEIVE_MAXIMUM) if service.store is not None else None
        self._unkept: list[Message] = []  # neither in the inbox nor in a checkpoint
        self._most = RECEIVE_MAXIMUM // 2 if service.config.mqtt_version == 5 else _NARROW  # before they are kept
        self._oldest = self._failed = 0.0
        self._found: set[Any] = set()  # keys that Home Assistant was told of
        self._told_window, self._stalls, self._window = False, 0, 0

    def run(self, stop: Stop) -> None:
        self._replay()
        self._bridge.start()
        healthy = 0.0
        while not stop.asked:
            if stop.swap:
                stop.swap = False
                stop.swapped(self._service)
            self._turn(0.05 if not self._unkept else _STALL)
            now = time.monotonic()
            if now - healthy >= 1:
                healthy = now
                self._service.healthy()
        while messages := self._bridge.take(BATCH, 0.0):
            self._handle(messages)
        self._save(10.0)
        self._bridge.stop()

    def _turn(self, seconds: float) -> None:
        messages = self._bridge.take(min(2 * BATCH, self._most), seconds)
        now = time.monotonic()
        if messages:
            self._handle(messages)
        self._publish(self._service.pipeline.tick(now))
        idle = not messages and len(self._unkept) >= _NARROW
        due = idle or now - self._oldest >= _COMMIT or len(self._unkept) >= self._most
        if self._unkept and due and now - self._failed >= _AGAIN:
            self._keep(idle)
        if self._service.due():
            self._save(0.5)

    def _replay(self) -> None:
        """What was confirmed after the last checkpoint."""
        if self._inbox is None:
            return
        count = 0
        part: list[Reading] = []
        for topic, payload, arrival in self._inbox.replay():
            count += 1
            reading = self._read(topic, payload, arrival)
            part += [reading] if reading is not None else []
            if len(part) >= BATCH:
                self._publish(self._service.process(part))
                part = []
        self._publish(self._service.process(part))
        if count:
            self._service.log.info("replayed", messages=count)

    def _handle(self, messages: list[Message]) -> None:
        fresh = []
        for message in messages:
            if self._durable and self._inbox is not None and message.packet and self._inbox.is_repeated(message):
                self._service.counts.add("duplicate")
                if all(message.packet != other.packet for other in self._unkept):
                    self._bridge.confirm([message])  # else it is confirmed when the first one is kept
            else:
                fresh.append(message)
        if self._durable and fresh:
            if not self._unkept:
                self._oldest = time.monotonic()
            self._unkept += [message for message in fresh if message.packet]
            assert self._inbox is not None
            self._inbox.remember(self._unkept[-len(fresh) :])
        elif not self._durable:
            self._bridge.confirm(fresh)
        readings = [self._read(message.topic, message.payload, message.arrival) for message in fresh]
        self._publish(self._service.process(reading for reading in readings if reading is not None))

    def _read(self, topic: str, payload: bytes, arrival: float) -> Reading | None:
        config = self._config
        try:
            key = None if config.input_key else fill(config.mqtt_key, topic)
            if config.mqtt_feature:
                feature = fill(config.mqtt_feature, topic)
                return self._service.read_feature(feature, payload, f"topic {topic}", arrival, key)
        except InputError as error:
            self._service.counts.add("malformed")
            self._service.complain(str(error))
            return None
        return self._service.read(payload, f"topic {topic}", arrival, key)

    def _publish(self, found: list[Prediction]) -> None:
        config = self._config
        for prediction in found if config.mqtt_publish else ():
            key = str(prediction.key)
            topic = config.mqtt_publish.replace("{key}", key)
            if _TOPIC.search(topic) or len(topic.encode()) > _LONGEST_TOPIC:
                self._service.counts.add("unpublished")
                self._service.complain(f"key {key[:40]!r}: no topic may hold its prediction")
                continue
            if config.mqtt_discovery and key not in self._found:
                self._discover(key)
            self._bridge.publish(topic, self._service.format.write(prediction))
            self._service.counts.add("published")
        self._bridge.unconfirmed(_UNPUBLISHED, 1.0)  # the broker is away or slow: wait, as memory is bounded

    def _keep(self, idle: bool) -> None:
        """Write what came into the inbox, then confirm it."""
        assert self._inbox is not None
        # Stalls with as many messages again and again: the broker waits. Pauses of the senders differ.
        self._stalls = self._stalls + 1 if idle and len(self._unkept) == self._window else 0
        self._window = len(self._unkept)
        if self._stalls >= _STALLS and not self._told_window:
            self._told_window = True
            self._service.log.info(
                "the broker waits for confirmations: its window limits the rate",
                window=len(self._unkept),
                hint="mosquitto: max_inflight_messages 0",
            )
        try:
            self._inbox.keep(self._unkept)
        except StateError as error:
            self._service.counts.add("checkpoint_errors")
            self._service.log.error("messages could not be kept", why=str(error))
            self._failed = time.monotonic()
            return
        self._bridge.confirm(self._unkept)
        self._unkept = []

    def _save(self, seconds: float) -> None:
        """A checkpoint, once the broker has all predictions."""
        if self._bridge.unconfirmed(0, seconds):
            self._service.saved = time.monotonic() - self._config.state_every + 1  # again in a second
            return
        inbox, unkept = self._inbox, self._unkept
        if inbox is None:
            return
        if self._service.checkpoint(None, lambda db: inbox.cover(db, unkept)):
            self._bridge.confirm(unkept)
            self._unkept = []

    def _discover(self, key: str) -> None:
        """Tell Home Assistant of a key's predictions."""
        config = self._config
        if len(self._found) > config.model_capacity:  # keys come and go for years; to be told again does no harm
            self._found.clear()
        self._found.add(key)
        for output in self._service.pipeline.rules.outputs:
            content = {
                "name": output,
                "unique_id": f"{config.mqtt_client}/{key}/{output}",
                "state_topic": config.mqtt_publish.replace("{key}", key),
                "value_template": f"{{{{ value_json[{json.dumps(output)}] }}}}",
                "device": {"identifiers": [f"{config.mqtt_client}/{key}"], "name": key},
            }
            topic = f"{config.mqtt_discovery}/sensor/{_plain(config.mqtt_client)}/{_plain(key)}_{_plain(output)}/config"
            self._bridge.retain(topic, json.dumps(content).encode())


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
        if not number or abs(number) > len(levels):
            raise InputError(f"{pattern!r}: the topic {topic!r} has no level {number}")
        return levels[number - 1 if number > 0 else number]

    return re.sub(r"\{(topic|-?\d+)\}", level, pattern)


def _plain(name: str) -> str:
    """A name as Home Assistant's topics may hold it; a mark tells names apart that look alike then."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    return plain if plain == name else f"{plain}_{crc32(name.encode()):08x}"


def _password(config: Config) -> str | None:
    return Path(config.mqtt_password_file).read_text(encoding="utf-8").strip() if config.mqtt_password_file else None
