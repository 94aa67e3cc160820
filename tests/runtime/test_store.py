"""States on disk: whole checkpoints or none."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgelstm.errors import StateError
from edgelstm.runtime.model import Model
from edgelstm.runtime.store import StateStore
from tests.runtime import models
from tests.support import require_program

pytest.importorskip("numba")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model():
    return Model(models.forecaster())


def states(pool):
    return {key: pool.snapshot(key) for key in pool}


def test_a_pool_comes_back_to_the_bit(model, tmp_path):
    pool = model.pool(capacity=9)
    pool.step(["a", 1, b"a", "1", -(2**63)], models.readings(5))
    with StateStore(tmp_path / "s.db") as store:
        assert store.load(model.pool(capacity=9)) is None
        assert store.checkpoint(pool, {"offset": 5}) == 5
    again = model.pool(capacity=9)
    with StateStore(tmp_path / "s.db") as store:
        assert store.load(again) == {"offset": 5}
    assert states(again) == states(pool)


def test_only_what_changed_is_written(model, tmp_path):
    pool = model.pool(capacity=9)
    store = StateStore(tmp_path / "s.db")
    pool.step(["a", "b", "c"], models.readings(3))
    assert store.checkpoint(pool) == 3
    assert store.checkpoint(pool) == 0
    pool.step(["b"], models.readings(1))
    pool.evict(["c"])
    pool.reset(["a"])
    assert store.checkpoint(pool) == 2
    again = model.pool(capacity=9)
    store.load(again)
    assert states(again) == states(pool)
    assert store.checkpoint(again) == 0
    again.step(["d"], models.readings(1))
    assert store.checkpoint(again) == 1


def test_another_pool_replaces_what_was(model, tmp_path):
    store = StateStore(tmp_path / "s.db")
    first, second = model.pool(capacity=3), model.pool(capacity=3)
    first.step(["a", "b"], models.readings(2))
    second.step(["b", "c"], models.readings(2, seed=5))
    store.checkpoint(first)
    store.checkpoint(second)
    again = model.pool(capacity=3)
    store.load(again)
    assert states(again) == states(second)


def test_states_of_another_model_are_refused_with_both_named(model, tmp_path):
    store, other = StateStore(tmp_path / "s.db"), Model(models.forecaster(seed=7))
    pool = model.pool(capacity=3)
    pool.step(["a"], models.readings(1))
    store.checkpoint(pool)
    target = other.pool(capacity=3)
    with pytest.raises(StateError, match=f"{model.hash[:16]}.*{other.hash[:16]}"):
        store.load(target)
    assert not len(target)
    store.load(target, swap=True)
    assert target.changes(0)[1] == pool.changes(0)[1]
    with pytest.raises(StateError, match="expected"):
        store.load(model.pool(capacity=3, on_invalid="hold"), swap=True)


def test_a_stream_and_a_pool_share_a_file(model, tmp_path):
    store, stream, pool = StateStore(tmp_path / "s.db"), model.stream(on_invalid="hold"), model.pool(capacity=2)
    stream.step([1, 2, 3])
    pool.step(["a"], models.readings(1))
    store.checkpoint(stream, 1, name="stream")
    store.checkpoint(pool, 2, name="pool")
    again = model.stream(on_invalid="hold")
    assert store.load(again, name="stream") == 1
    assert again.snapshot() == stream.snapshot()
    other = Model(models.forecaster(seed=7)).stream(on_invalid="hold")
    with pytest.raises(StateError, match="belong to the model"):
        store.load(other, name="stream")
    store.load(other, name="stream", swap=True)
    assert {name: a.tobytes() for name, a in other.state.items()} == {n: a.tobytes() for n, a in stream.state.items()}


def test_notes_and_other_tables_are_part_of_the_transaction(model, tmp_path):
    store = StateStore(tmp_path / "s.db", "CREATE TABLE IF NOT EXISTS letters (text)")
    pool = model.pool(capacity=2)
    pool.step(["a"], models.readings(1))
    store.checkpoint(pool, notes={"a": b"n", "b": b"m"}, also=lambda db: db.execute("INSERT INTO letters VALUES ('x')"))

    def fail(db):
        db.execute("INSERT INTO letters VALUES ('y')")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.checkpoint(pool, "never", notes={"a": None}, also=fail)
    assert store.notes() == {"a": b"n", "b": b"m"}
    assert store.execute("SELECT text FROM letters") == [("x",)]
    assert store.load(model.pool(capacity=2)) is None


def test_wear_counts_bytes(model, tmp_path):
    store, pool = StateStore(tmp_path / "s.db"), model.pool(capacity=4)
    assert store.wear().checkpoints == 0
    pool.step(["a", "b"], models.readings(2))
    store.checkpoint(pool)
    size = 2 * (1 + 4 * 2 * models.HIDDEN)
    assert store.wear().bytes == size
    assert store.wear().bytes_a_day == size * 86400 / 60


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "text").write_text("not a database " * 100)
    with pytest.raises(StateError, match="not a database"):
        StateStore(tmp_path / "text")
    with sqlite3.connect(tmp_path / "other.db") as db:
        db.execute("CREATE TABLE t (a)")
    with pytest.raises(StateError, match="no store of states"):
        StateStore(tmp_path / "other.db")
    StateStore(tmp_path / "new.db").close()
    with sqlite3.connect(tmp_path / "new.db") as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StateError, match="has version 99"):
        StateStore(tmp_path / "new.db")
    with pytest.raises(StateError, match="folder must exist"):
        StateStore(tmp_path / "missing" / "s.db")


def test_a_full_disk_keeps_the_last_checkpoint(model, tmp_path):
    store, pool = StateStore(tmp_path / "s.db"), model.pool(capacity=4000)
    pool.step(["a"], models.readings(1))
    store.checkpoint(pool, 1)
    pages = store.execute("PRAGMA page_count")[0][0]
    store.execute(f"PRAGMA max_page_count = {pages}")
    pool.step([f"k{n}" for n in range(3000)], models.readings(3000))
    with pytest.raises(StateError, match="full"):
        store.checkpoint(pool, 2)
    again = model.pool(capacity=4)
    assert StateStore(tmp_path / "s.db").load(again) == 1
    assert list(again) == ["a"]
    store.execute("PRAGMA max_page_count = 100000")
    assert store.checkpoint(pool, 3) == 3000


FAULTY = """
import sys
from edgelstm.errors import StateError
from edgelstm.runtime.model import Model
from edgelstm.runtime.store import StateStore
from tests.runtime import models
model = Model(models.forecaster())
pool = model.pool(capacity=50)
try:
    store = StateStore(sys.argv[1])
    store.execute("PRAGMA wal_autocheckpoint = 3")  # the log goes into the file several times
    pool_keys = [f"k{n}" for n in range(40)]
    for number in range(1, 6):
        pool.step(pool_keys, models.readings(40, seed=number))
        store.checkpoint(pool, number)
        print(number, flush=True)
except StateError:
    print("refused", flush=True)
"""
CALLS = ("pwrite64", "fdatasync", "fsync", "ftruncate", "unlink", "rename", "write")


@pytest.fixture(scope="module")
def whole(model):
    """Position → the states of the checkpoint there."""
    found, pool, keys = {None: {}}, model.pool(capacity=50), [f"k{n}" for n in range(40)]
    for number in range(1, 6):
        pool.step(keys, models.readings(40, seed=number))
        found[number] = states(pool)
    return found


def fail(model, whole, folder, call, nth, error):
    """Let the N-th call fail, see that what is found after is a whole checkpoint; whether there was such a call."""
    strace = require_program("strace")
    path, log = folder / f"{call}{nth}{error}.db", folder / "strace"
    command = [strace, "-f", "-o", str(log), "-e", f"trace={call}", "-P", str(path), "-P", f"{path}-wal"]
    command += ["-P", f"{path}-shm", "-e", f"inject={call}:error={error}:when={nth}"]
    command += [sys.executable, "-c", FAULTY, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=300)
    if "ptrace" in done.stderr:
        pytest.skip("strace may not trace here")
    told = [int(line) for line in done.stdout.split() if line.isdecimal()]
    assert not done.returncode, done.stderr
    again = model.pool(capacity=50)
    with StateStore(path) as store:
        position = store.load(again)
    assert states(again) == whole[position]
    assert (position or 0) >= max(told, default=0)
    return "INJECTED" in log.read_text()


@pytest.mark.parametrize(("call", "nth", "error"), [("pwrite64", 23, "ENOSPC"), ("fdatasync", 6, "EIO")])
def test_a_fault_at_the_system_call_leaves_old_or_new(model, whole, tmp_path, call, nth, error):
    assert fail(model, whole, tmp_path, call, nth, error)


@pytest.mark.slow
@pytest.mark.parametrize("error", ["EIO", "ENOSPC", "EROFS"])
@pytest.mark.parametrize("call", CALLS)
def test_faults_at_every_system_call_leave_old_or_new(model, whole, tmp_path, call, error):
    """The N-th call fails, for every N that there is."""
    step = 1 if os.environ.get("EDGELSTM_SOAK") else 9
    count = 0
    while fail(model, whole, tmp_path, call, 1 + count * step, error):
        count += 1
        assert count < 1000
    assert count or call in ("fsync", "rename", "write", "ftruncate")


def test_a_killed_writer_leaves_a_whole_checkpoint(model, whole, tmp_path):
    for stop in (1, 3):
        path = tmp_path / f"{stop}.db"
        process = subprocess.Popen([sys.executable, "-c", FAULTY, str(path)], stdout=subprocess.PIPE, cwd=ROOT)
        for _ in range(stop):
            process.stdout.readline()
        process.kill()
        process.communicate()
        again = model.pool(capacity=50)
        position = StateStore(path).load(again)
        assert position >= stop
        assert states(again) == whole[position]


def test_keys_beyond_64_bits_are_refused_by_name(model, tmp_path):
    pool = model.pool(capacity=1)
    pool.step([2**64], np.ones((1, 3)))
    with pytest.raises(StateError, match="must fit 64 bits"):
        StateStore(tmp_path / "s.db").checkpoint(pool)
