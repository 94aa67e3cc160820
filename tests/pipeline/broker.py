"""A real mosquitto on the loopback, `edgelstm serve` beside it, and what publishes and listens."""

import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from edgelstm.runtime.model import Model
from tests.runtime import models
from tests.support import require_module, require_program, wait_for

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
listener {port} 127.0.0.1
persistence true
persistence_location {folder}/
max_inflight_messages {inflight}
max_queued_messages 0
autosave_interval 1
"""
FEATURES = ("a", "b", "c")


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Broker:
    """mosquitto, started and stopped by the test."""

    def __init__(self, folder, inflight=0, more="allow_anonymous true"):
        self.program, self.port = require_program("mosquitto"), free_port()
        self.config = folder / "mosquitto.conf"
        data = folder / "broker"
        data.mkdir()
        self.config.write_text(CONFIG.format(port=self.port, folder=data, inflight=inflight) + f"user root\n{more}\n")
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            [self.program, "-c", str(self.config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + 300
        while time.monotonic() < end and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("mosquitto did not start")

    def stop(self):
        self.process.terminate()
        self.process.wait(300)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.stop()


def properties_of_connect():
    properties = require_module("paho.mqtt.properties")
    return properties.Properties(require_module("paho.mqtt.packettypes").PacketTypes.CONNECT)


def client(broker, name, listen="", on_message=None):
    """A client with a persistent session."""
    paho = require_module("paho.mqtt.client")
    made = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5)
    made.max_inflight_messages_set(0)
    made.max_queued_messages_set(0)
    made.reconnect_delay_set(1, 1)
    if listen:
        made.on_connect = lambda c, *_: c.subscribe(listen, 1)
        made.on_message = on_message
    properties = properties_of_connect()
    properties.SessionExpiryInterval, properties.ReceiveMaximum = 3600, 65535
    made.connect("127.0.0.1", broker.port, 30, clean_start=False, properties=properties)
    made.loop_start()
    return made


class Listener:
    """Keeps every prediction: (key, sequence) → its outputs, and whether repeats were alike."""

    def __init__(self, broker):
        self.found, self.order, self.repeats, self.different = {}, {}, 0, []
        self.client = client(broker, "listener", "out/#", self.take)

    def take(self, _client, _data, message):
        content = json.loads(message.payload)
        key, sequence = message.topic.removeprefix("out/"), content["seq"]
        outputs = (content["y0"], content["y1"])
        if (key, sequence) in self.found:
            self.repeats += 1
            if self.found[key, sequence] != outputs:
                self.different.append((key, sequence))
        self.found[key, sequence] = outputs


class Feed(threading.Thread):
    """Publishes at a rate, in order; keys take turns.

    While a connection comes back, paho-mqtt sends what is published then before what waits for the connection. So
    nothing is published from the loss of one until there is another and the broker has confirmed all that was
    published before.
    """

    def __init__(self, broker, count, keys, rate):
        super().__init__()
        self.count, self.keys, self.rate = count, keys, rate
        self.connected, self.losses, self.confirmed = True, 0, 0
        self.client = client(broker, "feed")
        self.client.on_disconnect, self.client.on_connect = self.lose, self.come_back
        self.client.on_publish = self.confirm

    def lose(self, *_):
        self.connected = False
        self.losses += 1

    def come_back(self, *_):
        self.connected = True

    def confirm(self, *_):
        self.confirmed += 1

    def run(self):
        start, known = time.monotonic(), 0
        for number in range(self.count):
            key, sequence = number % self.keys, number // self.keys
            content = {"seq": sequence, **dict(zip(FEATURES, reading(key, sequence), strict=True))}
            while known != self.losses:
                known = self.losses
                wait_for(lambda before=number: self.connected and self.confirmed >= before)
            self.client.publish(f"in/k{key}", json.dumps(content), 1)
            late = start + number / self.rate - time.monotonic()
            if late > 0:
                time.sleep(late)


def reading(key, sequence):
    rng = np.random.default_rng([key, sequence])
    return [float(np.float32(value)) for value in rng.normal(0, 1, 3)]


def expected(count, keys):
    """What an uninterrupted run gives: (key, sequence) → outputs."""
    pool, found = Model(models.forecaster()).pool(capacity=keys), {}
    names = [f"k{key}" for key in range(keys)]
    for sequence in range(-(-count // keys)):
        present = names[: min(keys, count - sequence * keys)]
        ys = pool.step(present, np.array([reading(key, sequence) for key in range(len(present))], np.float32))
        for name, y in zip(present, ys.tolist(), strict=True):
            found[name, sequence] = tuple(y)
    return found


def serve(broker, folder, *more):
    """The process under test."""
    model = folder / "model.edgelstm"
    if not model.exists():
        Model(models.forecaster()).save(model)
    command = [sys.executable, "-m", "edgelstm", "serve", "--model-path", str(model), "--model-features", "a,b,c"]
    command += ["--input-from", "mqtt", "--mqtt-port", str(broker.port), "--mqtt-topics", "in/#", "--mqtt-key", "{-1}"]
    command += ["--mqtt-publish", "out/{key}", "--state-path", str(folder / "state.db"), "--state-every", "0.3"]
    return subprocess.Popen([*command, *more], cwd=ROOT, stderr=(folder / "serve.log").open("ab"))
