"""The connection to an MQTT broker: paho-mqtt's client, a bounded queue of what came, and what goes out."""

from __future__ import annotations

import socket
import ssl
import sys
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgelstm.errors import DependencyError, InputError
from edgelstm.pipeline.config import Config
from edgelstm.pipeline.outgoing import Outgoing
from edgelstm.pipeline.packets import Message, Packets, topic_of
from edgelstm.pipeline.service import Service
from edgelstm.pipeline.wire import Context, Wire

RECEIVE_MAXIMUM = 65_535
_FULL = 1.0  # seconds for which a full queue keeps the client from its other duties


class Bridge:
    """A client whose messages wait in a bounded queue. It runs in a thread of its own."""

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
        self._urgent = False  # someone waits for confirmations, which come behind messages
        self._connections = self._connected = 0
        self._wire: Wire | None = None
        self._five = config.mqtt_version == 5
        self._outgoing = Outgoing(self._five)
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=config.mqtt_client,
            protocol=paho.MQTTv5 if self._five else paho.MQTTv311,
            clean_session=None if self._five else False,
        )
        client.on_connect, client.on_disconnect = self._on_connect, self._on_stop
        client.on_connect_fail, client.on_subscribe = self._on_fail, self._on_subscribe
        client.reconnect_delay_set(1, 60)
        client.tls_set_context(Context(_encryption(config), self._wrap))  # type: ignore[arg-type]
        if config.mqtt_username:
            client.username_pw_set(config.mqtt_username, _password(config))
        if config.mqtt_status:
            client.will_set(config.mqtt_status, b"offline", 1, True)
        more: dict[str, Any] = {}
        if self._five:
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
            self.retain(self._config.mqtt_status, b"offline")
            self.unconfirmed(0, 2.0)
        self._client.disconnect()
        self._client.loop_stop()

    def take(self, most: int, seconds: float) -> list[Message]:
        """Messages that came; waits for the first one."""
        self._outgoing.drain()
        with self._change:
            if not self._queue:
                self._change.wait(seconds)
            taken = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
            self._change.notify_all()
        return taken

    def waiting(self) -> int:
        """Messages in the queue."""
        return len(self._queue)

    def confirm(self, messages: Sequence[Message]) -> None:
        """They are safe."""
        self._outgoing.confirm(messages)

    def publish(self, messages: Sequence[tuple[bytes, bytes]]) -> int:
        """Topics, as `packets.topic_of` gives them, and payloads; gives how many are lost for want of a connection."""
        return self._outgoing.send(messages, self._config.mqtt_qos)

    def retain(self, topic: str, payload: bytes) -> None:
        """A message that the broker keeps."""
        self._outgoing.send([(topic_of(topic), payload)], 1, True)

    def unconfirmed(self, most: int = 0, seconds: float = 0.0) -> int:
        """Predictions that the broker has not confirmed; waits until there are at most so many."""
        with self._change:
            self._urgent = seconds > 0
            self._change.notify_all()
        left = self._outgoing.unconfirmed(most, seconds)
        self._urgent = False
        return left

    # In the client's thread.

    def _wrap(self, under: socket.socket) -> Wire:
        self._connections += 1
        self._wire = Wire(under, self._connections, self._five, self._take, self._may_read)
        return self._wire

    def _take(self, came: Packets) -> None:
        if came.confirmed:
            self._outgoing.confirmed(came.confirmed)
        lost: Sequence[Message] = ()
        with self._change:
            self._queue += came.messages
            over = len(self._queue) - self._config.mqtt_queue
            if over > 0 and self._config.mqtt_on_full == "drop-oldest":
                lost = [self._queue.popleft() for _ in range(over)]
            elif over > 0 and self._config.mqtt_on_full == "drop-newest":
                lost = [self._queue.pop() for _ in range(over)]
            self._change.notify_all()
        if lost:
            self._service.counts.add("dropped", len(lost))
            self.confirm(lost)

    def _may_read(self) -> bool:
        if self._config.mqtt_on_full != "block":
            return True
        with self._change:
            return self._change.wait_for(lambda: self._urgent or len(self._queue) < self._config.mqtt_queue, _FULL)

    def _on_connect(self, client: Any, _data: Any, _flags: Any, reason: Any, properties: Any = None) -> None:
        if reason.is_failure or self._wire is None:
            self._service.log.error("the broker refused", why=str(reason))
            return
        self._connected += 1
        if self._connected > 1:
            self._service.counts.add("reconnects")
        self._service.log.info("connected", broker=f"{self._config.mqtt_host}:{self._config.mqtt_port}")
        for topic in self._config.mqtt_topics:
            client.subscribe(topic, self._config.mqtt_qos)
        self._outgoing.opened(self._wire, getattr(properties, "ReceiveMaximum", RECEIVE_MAXIMUM))
        if self._config.mqtt_status:
            self.retain(self._config.mqtt_status, b"online")

    def _on_subscribe(self, _client: Any, _data: Any, _mid: Any, reasons: Any, _properties: Any = None) -> None:
        for reason in reasons:
            if reason.is_failure:
                self._service.log.error("the broker refused a subscription", why=str(reason))

    def _on_stop(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any = None) -> None:
        self._outgoing.closed()
        if reason.is_failure:
            self._service.log.warn("connection lost, trying again", why=str(reason))

    def _on_fail(self, _client: Any, _data: Any) -> None:
        broker = f"{self._config.mqtt_host}:{self._config.mqtt_port}"
        why = str(sys.exception())  # which paho keeps to itself
        self._service.log.warn("the broker cannot be reached, trying again", broker=broker, why=why)


def _encryption(config: Config) -> ssl.SSLContext | None:
    if not config.mqtt_tls:
        return None
    told = "mqtt.ca"
    try:
        context = ssl.create_default_context(cafile=config.mqtt_ca or None)
        told = "mqtt.certificate, mqtt.private-key"
        if config.mqtt_certificate:
            context.load_cert_chain(config.mqtt_certificate, config.mqtt_private_key or None)
    except OSError as error:  # which does not name the file
        raise InputError(f"{told}: expected readable files of PEM that belong together: {error}") from None
    return context


def _password(config: Config) -> str | None:
    return Path(config.mqtt_password_file).read_text(encoding="utf-8").strip() if config.mqtt_password_file else None
