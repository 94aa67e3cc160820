"""Readings from an MQTT broker, predictions back to it.

At QoS 1 a message is confirmed once it is in the durable inbox or covered by a checkpoint, never before. A prediction
is covered by a checkpoint only after the broker has confirmed it, so that none is lost; after a crash it may be
published again, with the same bits.
"""

from __future__ import annotations

import json
import re
import time
from zlib import crc32

from edgelstm.errors import InputError, StateError
from edgelstm.pipeline.bridge import RECEIVE_MAXIMUM, Bridge
from edgelstm.pipeline.core import BATCH
from edgelstm.pipeline.inbox import SETUP, Inbox
from edgelstm.pipeline.packets import Message, topic_of
from edgelstm.pipeline.reading import Key, Prediction, Reading
from edgelstm.pipeline.service import Service
from edgelstm.pipeline.stdio import Stop
from edgelstm.pipeline.topics import fill, is_topic, overlap

__all__ = ["SETUP", "serve"]

_REST = 0.05  # seconds to wait for messages
_COMMIT = 1.0  # seconds after which messages are kept at the latest
_STALL = 0.005  # a broker that waits for confirmations sends nothing for so long
_NARROW = 10  # unconfirmed messages from which a pause may mean that the broker waits: half of mosquitto's window
_AGAIN = 1.0  # seconds until what could not be written is tried again
_STALLS = 20  # pauses with as many messages each that tell the broker's window
_UNPUBLISHED = 20_000  # predictions that may be on their way


def serve(service: Service, stop: Stop) -> None:
    """Until a signal stops it; then everything that came is published, saved and confirmed."""
    bridge = Bridge(service.config, service)
    service.waiting = bridge.waiting
    _Loop(service, bridge).run(stop)


class _Loop:
    def __init__(self, service: Service, bridge: Bridge) -> None:
        self._service, self._bridge, self._config = service, bridge, service.config
        self._inbox = Inbox(service.store, RECEIVE_MAXIMUM) if service.store is not None else None
        self._durable = self._inbox if service.config.mqtt_qos == 1 else None
        self._most = RECEIVE_MAXIMUM // 2 if service.config.mqtt_version == 5 else _NARROW  # before they are kept
        self._oldest = self._failed = 0.0
        self._topics: dict[Key, bytes] = {}  # key → where its predictions go
        self._told_window, self._stalls, self._window = False, 0, 0

    def run(self, stop: Stop) -> None:
        self._replay()
        self._service.went_on(time.monotonic())
        self._bridge.start()
        healthy = 0.0
        while not stop.asked:
            if stop.swap:
                stop.swap = False
                stop.swapped(self._service)
            self._turn(_STALL if self._durable is not None and self._durable.waiting else _REST)
            now = time.monotonic()
            if now - healthy >= 1:
                healthy = now
                self._service.healthy()
        while messages := self._bridge.take(BATCH, 0.0):
            self._handle(messages)
        self._save(10.0)
        self._bridge.stop()

    def _turn(self, seconds: float) -> None:
        began = time.monotonic()
        messages = self._bridge.take(min(2 * BATCH, self._most), seconds)
        now = time.monotonic()
        if messages:
            self._handle(messages)
        reached = messages[-1].arrival if messages and self._bridge.waiting() else began  # all before it was handled
        self._publish(self._service.pipeline.tick(reached))
        if self._durable is not None:
            count = self._durable.waiting
            idle = not messages and count >= _NARROW
            due = idle or now - self._oldest >= _COMMIT or count >= self._most
            if count and due and now - self._failed >= _AGAIN:
                self._keep(self._durable, idle)
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
        fresh = [message for message in messages if not message.retained]
        if len(fresh) < len(messages):  # kept by the broker from some time ago: no readings of now
            self._service.counts.add("late", len(messages) - len(fresh))
            self._bridge.confirm([message for message in messages if message.retained])
        if self._durable is None:
            self._bridge.confirm(fresh)
        else:
            if not self._durable.waiting:
                self._oldest = time.monotonic()
            count, fresh = len(fresh), self._durable.admit(fresh)
            self._service.counts.add("duplicate", count - len(fresh))
        readings = [self._read(message.topic, message.payload, message.arrival) for message in fresh]
        self._publish(self._service.process([reading for reading in readings if reading is not None]))

    def _read(self, topic: str, payload: bytes, arrival: float) -> Reading | None:
        config = self._config
        try:
            key = fill(config.mqtt_key, topic) if config.mqtt_key and not config.input_key else None
            if config.mqtt_feature:
                feature = fill(config.mqtt_feature, topic)
                return self._service.read_feature(feature, payload, f"topic {topic}", arrival, key)
        except InputError as error:
            self._service.counts.add("malformed")
            self._service.complain(str(error))
            return None
        return self._service.read(payload, f"topic {topic}", arrival, key)

    def _publish(self, found: list[Prediction]) -> None:
        if found and self._config.mqtt_publish:
            write, messages = self._service.format.write, []
            for prediction in found:
                topic = self._topic(prediction.key)
                if topic is not None:
                    messages.append((topic, write(prediction)))
            lost = self._bridge.publish(messages)
            self._service.counts.add("published", len(messages) - lost)
            self._service.counts.add("unpublished", lost)
        self._bridge.unconfirmed(_UNPUBLISHED, 1.0)  # the broker is away or slow: wait, as memory is bounded

    def _topic(self, key: Key) -> bytes | None:
        """Where the predictions of a key go; None, counted and told, where no topic may hold it."""
        if (known := self._topics.get(key)) is not None:
            return known
        name = self._config.mqtt_publish.replace("{key}", str(key))
        if not is_topic(name) or any(overlap(name, other) for other in self._config.mqtt_topics):
            why = "would come back as readings" if is_topic(name) else "no topic may hold it"
            self._service.counts.add("unpublished")
            self._service.complain(f"key {str(key)[:40]!r}: its predictions are not published: {why}")
            return None
        if len(self._topics) >= self._config.model_capacity:  # keys come and go for years
            self._topics.clear()
        if self._config.mqtt_discovery:
            self._discover(str(key))
        found = self._topics[key] = topic_of(name)
        return found

    def _keep(self, inbox: Inbox, idle: bool) -> None:
        """Write what came into the inbox, then confirm it."""
        # Stalls with as many messages again and again: the broker waits. Pauses of the senders differ.
        count = inbox.waiting
        self._stalls = self._stalls + 1 if idle and count == self._window else 0
        self._window = count
        if self._stalls >= _STALLS and not self._told_window:
            self._told_window = True
            self._service.log.info(
                "the broker waits for confirmations: its window limits the rate",
                window=count,
                hint="mosquitto: max_inflight_messages 0",
            )
        try:
            inbox.keep()
        except StateError as error:
            self._service.counts.add("checkpoint_errors")
            self._service.log.error("messages could not be kept", why=str(error))
            self._failed = time.monotonic()
            return
        self._bridge.confirm(inbox.release())

    def _save(self, seconds: float) -> None:
        """A checkpoint, once the broker has all predictions."""
        if self._bridge.unconfirmed(0, seconds):
            self._service.postpone(1.0)
            return
        if self._inbox is not None and self._service.checkpoint(None, self._inbox.cover):
            self._bridge.confirm(self._inbox.release())

    def _discover(self, key: str) -> None:
        """Tell Home Assistant of a key's predictions."""
        config = self._config
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


def _plain(name: str) -> str:
    """A name as Home Assistant's topics may hold it; a mark tells names apart that look alike then."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    return plain if plain == name else f"{plain}_{crc32(name.encode()):08x}"
