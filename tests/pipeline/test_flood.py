"""More readings than can be served: memory stays flat, drops are counted; brokers that are not there."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgelstm.runtime.model import Model
from tests.pipeline.broker import ROOT, Broker, serve
from tests.runtime import models
from tests.support import require_module, require_program

pytest.importorskip("numba")
SECONDS = 60 if os.environ.get("EDGELSTM_SOAK") else 8


def memory(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(row for row in status.splitlines() if row.startswith("VmRSS")).split()[1])


def wait_until_connected(folder, process):
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        if b"connected" in (folder / "serve.log").read_bytes():
            return
        time.sleep(0.1)
    pytest.fail((folder / "serve.log").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["drop-oldest", "drop-newest"])
def test_a_flood_is_dropped_as_told(tmp_path, policy):
    require_module("paho.mqtt.client")
    publish = require_program("mosquitto_pub")
    lines = tmp_path / "lines"
    message = json.dumps({"a": 1.0, "b": 2.0, "c": 3.0}) + "\n"
    lines.write_text(message * 200_000)
    with Broker(tmp_path) as broker:
        more = ["--mqtt-qos", "0", "--mqtt-queue", "500", "--mqtt-on-full", policy, "--operation-log", "json"]
        process = serve(broker, tmp_path, *more)
        wait_until_connected(tmp_path, process)
        end, seen = time.monotonic() + SECONDS, []
        while time.monotonic() < end:
            with lines.open() as source:
                feed = subprocess.Popen([publish, "-p", str(broker.port), "-t", "in/k", "-l"], stdin=source)
                while feed.poll() is None:
                    time.sleep(0.5)
                    seen.append(memory(process.pid))
        process.terminate()
        process.wait(60)
    told = json.loads((tmp_path / "serve.log").read_bytes().splitlines()[-1])
    assert told["event"] == "stopped"
    assert told["dropped"] > 1000
    assert told["steps"] == told["received"] > 1000
    quarter = len(seen) // 4
    assert max(seen[quarter:]) < max(seen[: quarter + 1]) + 16_000


def test_a_broker_that_is_not_there_is_waited_for(tmp_path):
    require_module("paho.mqtt.client")
    broker = Broker(tmp_path)
    process = serve(broker, tmp_path)
    end = time.monotonic() + 120
    while time.monotonic() < end and b"cannot be reached" not in (tmp_path / "serve.log").read_bytes():
        time.sleep(0.1)
    assert process.poll() is None
    broker.start()
    wait_until_connected(tmp_path, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
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
