"""More readings than can be served: memory stays flat, drops are counted; brokers that are not there."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

import edgelstm
from edgelstm.runtime.model import Model
from tests.pipeline.broker import ROOT, Broker, free_port, serve
from tests.runtime import models
from tests.support import require_module, require_program, wait_for

pytest.importorskip("numba")
SECONDS = 60 if os.environ.get("EDGELSTM_SOAK") else 8


def memory(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(row for row in status.splitlines() if row.startswith("VmRSS")).split()[1])


def wait_until_connected(folder, process):
    log = folder / "serve.log"
    wait_for(lambda: b"connected" in log.read_bytes() or process.poll() is not None, log.read_text)
    assert process.poll() is None, log.read_text()


def heavy(path):
    """A model with which no machine takes in what mosquitto_pub puts out: a tenth, or less."""
    rng, hidden = np.random.default_rng(0), 320
    shapes = {"weight_ih_l0": (4 * hidden, 3), "weight_hh_l0": (4 * hidden, hidden)}
    shapes |= {"bias_ih_l0": (4 * hidden,), "bias_hh_l0": (4 * hidden,)}
    edgelstm.from_arrays({name: rng.normal(0, 0.02, shape) for name, shape in shapes.items()}).save(path)


def metric(port, name):
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    return int(float(next(row for row in text.splitlines() if row.startswith(f"edgelstm_{name} ")).split()[1]))


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["drop-oldest", "drop-newest", "block"])
def test_a_flood_is_dropped_as_told(tmp_path, policy):
    """Every message is either processed or counted as dropped; where the queue blocks at QoS 1, all are processed."""
    require_module("paho.mqtt.client")
    require_module("prometheus_client")
    publish, metrics = require_program("mosquitto_pub"), free_port()
    heavy(tmp_path / "model.edgelstm")
    lines, part = tmp_path / "lines", 50_000  # at QoS 1 mosquitto_pub stops at a packet id that comes again
    message = json.dumps({"a": 1.0, "b": 2.0, "c": 3.0}) + "\n"
    lines.write_text(message * part)
    qos, seconds = ("1", SECONDS / 4) if policy == "block" else ("0", SECONDS)  # the broker has to hold what blocks
    with Broker(tmp_path, more="allow_anonymous true\nautosave_interval 1800") as broker:
        more = ["--mqtt-qos", qos, "--mqtt-queue", "500", "--mqtt-on-full", policy, "--operation-log", "json"]
        process = serve(broker, tmp_path, *more, "--mqtt-publish", "", "--operation-metrics", str(metrics))
        wait_until_connected(tmp_path, process)
        start, sent, seen = time.monotonic(), 0, []
        while time.monotonic() < start + seconds:
            with lines.open() as source:
                feed = subprocess.Popen([publish, "-p", str(broker.port), "-t", "in/k", "-q", qos, "-l"], stdin=source)
                while feed.poll() is None:
                    time.sleep(0.5)
                    seen.append(memory(process.pid))
            sent += part
        took, steps = time.monotonic() - start, metric(metrics, "steps_total")
        while metric(metrics, "received_total") + metric(metrics, "dropped_total") < sent:
            assert time.monotonic() < start + 4 * SECONDS + 300
            time.sleep(0.2)
            seen.append(memory(process.pid))
        process.terminate()
        assert process.wait(300) == 0
    told = json.loads((tmp_path / "serve.log").read_bytes().splitlines()[-1])
    print(f"{policy}: {sent / took:,.0f} sent and {steps / took:,.0f} taken a second; {max(seen)} kB; {told}")
    assert told["event"] == "stopped"
    assert told["steps"] == told["received"] > 1000
    assert told["received"] + told.get("dropped", 0) == sent
    assert (told.get("dropped", 0) > 1000) == (policy != "block")
    quarter = len(seen) // 4
    assert max(seen[quarter:]) < max(seen[: quarter + 1]) + 16_000


def test_a_broker_that_is_not_there_is_waited_for(tmp_path):
    require_module("paho.mqtt.client")
    broker = Broker(tmp_path)
    process = serve(broker, tmp_path)
    wait_for(lambda: b"cannot be reached" in (tmp_path / "serve.log").read_bytes())
    assert "refused" in (tmp_path / "serve.log").read_text()  # the reason
    assert process.poll() is None
    broker.start()
    wait_until_connected(tmp_path, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(300) == 0
    broker.stop()


def test_mqtt_without_its_package_names_the_extra(tmp_path):
    code = "import sys; sys.modules['paho'] = None\n"
    code += "from edgelstm.cli import main; sys.exit(main(sys.argv[1:]))"
    Model(models.forecaster()).save(tmp_path / "m.edgelstm")
    more = ["serve", "--model-path", str(tmp_path / "m.edgelstm"), "--model-features", "a,b,c", "--input-from", "mqtt"]
    more += ["--mqtt-topics", "a", "--state-path", str(tmp_path / "s.db")]
    done = subprocess.run([sys.executable, "-c", code, *more], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 2
    assert "edgelstm[mqtt]" in done.stderr
