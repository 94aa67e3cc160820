"""Power cuts: the process killed at random moments, the broker stopped; nothing lost, nothing applied twice."""

import os
import random
import signal
import time

import pytest

from tests.pipeline.broker import Broker, Feed, Listener, expected, serve
from tests.support import require_module, wait_for

pytest.importorskip("numba")
SOAK = bool(os.environ.get("EDGELSTM_SOAK"))
KILLS = 200 if SOAK else 20
BROKER_AWAY = 100 if SOAK else 10


@pytest.fixture
def broker(tmp_path):
    require_module("paho.mqtt.client")
    with Broker(tmp_path) as started:
        yield started


def check(listener, count, keys):
    whole = expected(count, keys)
    assert not listener.different
    assert listener.found.keys() == whole.keys()
    assert listener.found == whole


@pytest.mark.slow
@pytest.mark.parametrize("by", ["none", "sequence"])
def test_killed_at_random_moments(broker, tmp_path, by):
    """By the DUP flag alone, and by sequence numbers."""
    kills = KILLS // 2
    rng, keys, rate = random.Random(by), 20, 300
    more = ["--input-sequence", "seq", "--gaps-by", by]
    process = serve(broker, tmp_path, *more)
    listener = Listener(broker)
    wait_for(lambda: b"connected" in (tmp_path / "serve.log").read_bytes())
    count = rate * 3 * kills
    feed = Feed(broker, count, keys, rate)
    feed.start()
    for _ in range(kills):
        time.sleep(rng.uniform(0.05, 4.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = serve(broker, tmp_path, *more)
    feed.join()
    wait_for(lambda: len(listener.found) == count, lambda: len(listener.found))
    process.terminate()
    process.wait(300)
    check(listener, count, keys)


@pytest.mark.slow
def test_broker_stopped_and_started(broker, tmp_path):
    keys, rate, seconds = 10, 100, BROKER_AWAY
    process = serve(broker, tmp_path, "--input-sequence", "seq")
    listener = Listener(broker)
    wait_for(lambda: b"connected" in (tmp_path / "serve.log").read_bytes())
    count = rate * (seconds + 6)
    feed = Feed(broker, count, keys, rate)
    feed.start()
    time.sleep(3)
    broker.stop()
    time.sleep(seconds)
    broker.start()
    feed.join()
    wait_for(lambda: len(listener.found) == count, lambda: len(listener.found))
    process.terminate()
    process.wait(300)
    check(listener, count, keys)
