"""A disk that is really full, and one that may not be written to: a small file system of the test's own."""

import json
import sqlite3
import subprocess
from contextlib import closing

import numpy as np
import pytest

from edgelstm.runtime.model import Model
from tests.pipeline.broker import Broker, Feed, Listener, expected, serve
from tests.pipeline.test_serve import ROOT, command, events, line, run, saved, start  # noqa: F401 - a fixture
from tests.runtime import models
from tests.support import require_module, wait_for

pytest.importorskip("numba")


@pytest.fixture
def disk(tmp_path):
    """A file system of 1 MB."""
    path = tmp_path / "disk"
    path.mkdir()
    try:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(path)], capture_output=True)
    except FileNotFoundError:
        pytest.skip("mount is not installed")
    if done.returncode:
        pytest.skip(f"this user may not mount: {done.stderr.decode().strip()}")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def fill(path):
    with (path / "filler").open("wb", buffering=0) as target:
        while True:
            try:
                target.write(b"\0" * 4096)
            except OSError:
                return


def stored(path, what):
    """A number from the file of states, which another process writes."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            return db.execute(f"SELECT {what}").fetchone()[0] or 0
    except sqlite3.OperationalError:  # it is just being made
        return 0


def rounds(count, keys):
    """What `keys` streams give at each of so many equal readings."""
    pool = Model(models.forecaster()).pool(capacity=keys)
    xs = np.array([(n, 1, 2) for n in range(keys)], np.float32)
    return [pool.step([f"k{n}" for n in range(keys)], xs)[:, 0].tolist() for _ in range(count)]


def test_a_full_disk_is_told_and_forgotten_when_there_is_room(saved, disk, tmp_path):  # noqa: F811
    keys, log = 400, tmp_path / "log"
    whole = rounds(8, keys)

    def begin():
        log.write_bytes(b"")
        return start(saved, "--state-path", str(disk / "s.db"), "--state-every", "0.1", stderr=log.open("ab"))

    def ask(process):
        process.stdin.write("".join(line(f"k{n}", 0, (n, 1, 2)) for n in range(keys)).encode())
        process.stdin.flush()
        return [json.loads(process.stdout.readline())["y0"] for _ in range(keys)]

    def wait_for_failure():
        wait_for(lambda: b"checkpoint failed" in log.read_bytes())
        assert b"full" in log.read_bytes()

    process = begin()
    assert ask(process) == whole[0]
    wait_for(lambda: stored(disk / "s.db", "count(*) FROM states") == keys)
    fill(disk)
    assert [ask(process), ask(process)] == whole[1:3]
    wait_for_failure()
    process.kill()
    process.communicate()
    assert b"Traceback" not in log.read_bytes()
    (disk / "filler").unlink()
    # What stands there is a checkpoint, whole: the first so many lines were taken, and no others.
    process = begin()
    found = ask(process)
    taken = [next(n for n in range(1, 4) if whole[n][key] == y) for key, y in enumerate(found)]
    assert taken == sorted(taken, reverse=True)
    assert taken[0] - taken[-1] <= 1
    fill(disk)
    again = ask(process)
    wait_for_failure()
    before = stored(disk / "s.db", "sum(checkpoints) FROM owners")
    (disk / "filler").unlink()  # there is room again: everything is written
    wait_for(lambda: stored(disk / "s.db", "sum(checkpoints) FROM owners") > before)
    process.kill()
    process.communicate()
    assert again == [whole[n + 1][key] for key, n in enumerate(taken)]
    process = begin()
    assert ask(process) == [whole[n + 2][key] for key, n in enumerate(taken)]
    process.communicate(timeout=300)
    assert process.returncode == 0


def test_a_disk_that_may_not_be_written_to_is_refused_by_name(saved, disk):  # noqa: F811
    for turn in range(2):
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        done = subprocess.run(
            command(saved, "--state-path", str(disk / "s.db")), input=b"", capture_output=True, cwd=ROOT, timeout=300
        )
        assert done.returncode == 2
        assert b"s.db" in done.stderr
        assert b"Traceback" not in done.stderr
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        assert not list(disk.iterdir()) or turn  # nothing is half written
        assert run(saved, line("k", turn), "--state-path", str(disk / "s.db"))[0] == 0


@pytest.mark.slow
def test_messages_that_find_no_room_stay_with_the_broker(disk, tmp_path):
    """At QoS 1 with a full disk: predictions go on, nothing is confirmed; killed there, nothing is lost."""
    require_module("paho.mqtt.client")
    count, keys = 1200, 10
    log = tmp_path / "serve.log"
    with Broker(tmp_path) as broker:
        more = ["--state-path", str(disk / "s.db"), "--input-sequence", "seq", "--gaps-by", "sequence"]
        process = serve(broker, tmp_path, *more)
        listener = Listener(broker)

        def wait(condition):
            wait_for(condition, log.read_text)

        wait(lambda: log.exists() and b"connected" in log.read_bytes())
        feed = Feed(broker, count, keys, 200)
        feed.start()
        wait(lambda: len(listener.found) > 200)
        fill(disk)
        wait(lambda: b"full" in log.read_bytes())
        wait(lambda: len(listener.found) > 700)
        process.kill()
        process.wait()
        (disk / "filler").unlink()
        process = serve(broker, tmp_path, *more)
        feed.join()
        wait(lambda: len(listener.found) == count)
        process.terminate()
        assert process.wait(300) == 0
    assert not listener.different
    assert listener.found == expected(count, keys)
