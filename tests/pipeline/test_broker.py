"""A real mosquitto, run in earnest: TLS, user and password, MQTT 3.1.1, a last will, a broker that goes away."""

import json
import signal
import subprocess

import pytest

from tests.pipeline.broker import Broker, serve
from tests.support import require_module, require_program, wait_for

pytest.importorskip("numba")
CLOSED = """
allow_anonymous false
password_file {folder}/users
cafile {folder}/ca.pem
certfile {folder}/server.pem
keyfile {folder}/server.key
require_certificate true
"""


def certificates(folder):
    """An authority, and a certificate each for the broker and the service, with all that Python 3.13 asks for."""
    openssl = require_program("openssl")

    def run(*more):
        subprocess.run([openssl, *more], cwd=folder, check=True, capture_output=True)

    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    authority = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    run(*new, "-x509", *authority, "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n")
    for name in ("server", "client"):
        run(*new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        sign = ["x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]
        run(*sign, "-days", "2", "-extfile", "names", "-out", f"{name}.pem")
    subprocess.run([require_program("mosquitto_passwd"), "-b", "-c", "users", "edge", "secret"], cwd=folder, check=True)
    (folder / "password").write_text("secret\n")


class Watcher:
    """A client of its own over TLS that keeps what comes."""

    def __init__(self, broker, folder):
        paho = require_module("paho.mqtt.client")
        self.found = []
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="watcher")
        self.client.username_pw_set("edge", "secret")
        self.client.tls_set(str(folder / "ca.pem"), str(folder / "client.pem"), str(folder / "client.key"))
        self.client.on_connect = lambda c, *_: c.subscribe([("out/#", 1), ("status", 1), ("homeassistant/#", 1)])
        self.client.on_message = lambda _c, _d, message: self.found.append((message.topic, message.payload))
        self.client.connect("localhost", broker.port)
        self.client.loop_start()

    def wait(self, condition):
        wait_for(lambda: condition(self.found), lambda: self.found[-3:])


def test_over_tls_with_a_password_by_3_1_1(tmp_path):
    """mosquitto's own window of 20; then the process is killed, and the broker says so."""
    require_module("paho.mqtt.client")
    certificates(tmp_path)
    with Broker(tmp_path, inflight=20, more=CLOSED.format(folder=tmp_path)) as broker:
        more = ["--mqtt-host", "localhost", "--mqtt-version", "3", "--mqtt-status", "status", "--mqtt-tls"]
        more += ["--mqtt-ca", str(tmp_path / "ca.pem"), "--mqtt-certificate", str(tmp_path / "client.pem")]
        more += ["--mqtt-private-key", str(tmp_path / "client.key"), "--mqtt-discovery", "homeassistant"]
        more += ["--mqtt-username", "edge"]
        refused = serve(broker, tmp_path, *more)
        watcher = Watcher(broker, tmp_path)
        wait_for(lambda: b"refused" in (tmp_path / "serve.log").read_bytes())
        assert b"Not authorized" in (tmp_path / "serve.log").read_bytes()
        refused.terminate()
        assert refused.wait(300) == 0
        process = serve(broker, tmp_path, *more, "--mqtt-password-file", str(tmp_path / "password"))
        watcher.wait(lambda found: ("status", b"online") in found)
        for number in range(300):
            content = {"seq": number, "a": 1.0, "b": 2.0, "c": 3.0}
            watcher.client.publish(f"in/k{number % 3}", json.dumps(content), 1)
        watcher.wait(lambda found: sum(topic.startswith("out/") for topic, _ in found) == 300)
        assert sum(topic.startswith("homeassistant/sensor/edgelstm/") for topic, _ in watcher.found) == 6
        process.send_signal(signal.SIGKILL)
        process.wait()
        watcher.wait(lambda found: ("status", b"offline") in found)
        watcher.client.loop_stop()


def test_the_service_comes_back_to_a_broker_that_went_away(tmp_path):
    require_module("paho.mqtt.client")
    with Broker(tmp_path) as broker:
        process = serve(broker, tmp_path, "--operation-log", "json")

        def wait(event, count):
            wait_for(lambda: (tmp_path / "serve.log").read_text().count(event) >= count)
            assert (tmp_path / "serve.log").read_text().count(event) == count

        wait('"connected"', 1)
        for turn in (1, 2):
            broker.stop()
            wait('"connection lost, trying again"', turn)
            broker.start()
            wait('"connected"', turn + 1)
        process.terminate()
        assert process.wait(300) == 0
    assert json.loads((tmp_path / "serve.log").read_text().splitlines()[-1])["reconnects"] == 2
