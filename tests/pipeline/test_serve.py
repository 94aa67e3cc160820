"""`edgelstm serve` as a process: lines in, lines out, signals, crashes, bad input."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

import edgelstm
from edgelstm.runtime.model import Model
from edgelstm.runtime.store import StateStore
from tests.runtime import models
from tests.support import require_module, require_program

pytest.importorskip("numba")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.edgelstm"
    Model(models.forecaster()).save(path)
    return path


def command(saved, *more):
    serve = [sys.executable, "-m", "edgelstm", "serve", "--model-path", str(saved), "--model-features", "a,b,c"]
    return [*serve, "--input-key", "id", "--operation-log", "json", *more]


def start(saved, *more, **options):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen(command(saved, *more), cwd=ROOT, **pipes)


def run(saved, text, *more):
    process = start(saved, *more)
    out, err = process.communicate(text if isinstance(text, bytes) else text.encode(), timeout=300)
    return process.returncode, [json.loads(line) for line in out.splitlines()], events(err)


def events(err):
    return [json.loads(line) for line in err.splitlines() if line.startswith(b"{")]


def wait_for_event(process, event):
    """Read its log up to there; one that never comes ends the process, and fails."""
    timer = threading.Timer(300, process.kill)
    timer.start()
    told = b""
    while b'"event"' not in told or json.loads(told)["event"] != event:
        told = process.stderr.readline()
        assert told, f"{event!r} was never told"
    timer.cancel()


def line(key, sequence, values=(1, 2, 3)):
    return json.dumps({"id": key, "n": sequence, **dict(zip("abc", values, strict=True))}) + "\n"


def test_bad_lines_are_counted_and_never_fatal(saved):
    bad = [
        b"nonsense\n",
        b"\xff\xfe\n",
        b"[]\n",
        b'{"id":"k"}\n',
        b'{"id":"k","a":1,"a":2}\n',
        b"{" * 70_000 + b"\n",
        b"\n",
    ]
    bad += [b"x" * 300_000 + b"\n", b'{"id":"k","a":"x","b":2,"c":3}\n']
    code, found, told = run(
        saved, line("k", 0).encode() + b"".join(bad) + line("k", 1).encode(), "--input-longest", "65536"
    )
    assert code == 0
    assert len(found) == 3  # the last value stands in for one that cannot be read
    stopped = told[-1]
    assert stopped["event"] == "stopped"
    assert stopped["malformed"] + stopped["oversized"] == 6
    assert (stopped["incomplete"], stopped["invalid"]) == (1, 1)
    assert any("line 3" in event.get("what", "") for event in told)


def test_states_survive_a_restart(saved, tmp_path):
    more = ["--state-path", str(tmp_path / "s.db"), "--input-sequence", "n", "--gaps-by", "sequence"]
    text = [line(f"k{n % 3}", n // 3, (n, 1, -n)) for n in range(30)]
    _, whole, _ = run(saved, "".join(text))
    _, first, _ = run(saved, "".join(text[:17]), *more)
    _, second, told = run(saved, "".join(text[14:]), *more)
    assert first + second == whole
    assert told[-1]["duplicate"] == 3


def test_a_csv_that_cannot_serve_ends_at_once(saved):
    """Its input is still open: nothing is waited for."""
    process = start(saved, "--input-format", "csv", "--input-join")
    process.stdin.write(b"id,a,b\n")
    process.stdin.flush()
    assert process.wait(300) == 2
    told = process.stderr.read().splitlines()[-1]
    process.stdin.close()
    process.stdout.close()
    process.stderr.close()
    assert b"got 'id', 'a', 'b'; missing: 'c' of model.features" in told


def test_one_process_at_a_time_keeps_states_in_a_file(saved, tmp_path):
    more = ["--state-path", str(tmp_path / "s.db")]
    first = start(saved, *more)
    first.stdin.write(line("k", 0).encode())
    first.stdin.flush()
    assert first.stdout.readline()
    (tmp_path / "link").symlink_to(tmp_path)
    second = subprocess.run(
        command(saved, "--state-path", str(tmp_path / "link" / "s.db")), input=b"", capture_output=True, cwd=ROOT
    )
    assert second.returncode == 2
    assert b"another `edgelstm serve`" in second.stderr
    assert StateStore(tmp_path / "s.db").wear().checkpoints == 0  # reading is free
    first.kill()
    first.communicate()
    assert run(saved, line("k", 0), *more)[0] == 0  # the lock went with its holder


@pytest.mark.parametrize(("closed", "code"), [("<&-", 2), (">&-", 2), ("2>&-", 0)])
def test_streams_that_are_closed(saved, closed, code):
    """With standard error closed, logs go nowhere, and never among the predictions."""
    text = shlex.join(command(saved)) + f" {closed}"
    done = subprocess.run(["sh", "-c", text], input=line("k", 0).encode(), capture_output=True, cwd=ROOT)
    assert done.returncode == code
    assert b"Traceback" not in done.stderr
    assert [json.loads(row)["id"] for row in done.stdout.splitlines()] == (["k"] if code == 0 else [])
    assert (b"is closed" in done.stderr) == (code == 2)


def test_half_a_line_is_no_line_when_a_signal_ends_it(saved):
    process = start(saved, "--input-format", "csv", "--input-columns", "id,a,b,c")
    process.stdin.write(b"k,1,2,3\nk,1,2,3")
    process.stdin.flush()
    assert process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(300) == 0
    out, err = process.communicate()
    assert out == b""
    assert events(err)[-1]["steps"] == 1
    assert "line 2: not whole" in events(err)[-2]["what"]


def test_a_signal_drains_and_saves(saved, tmp_path):
    process = start(saved, "--state-path", str(tmp_path / "s.db"))
    process.stdin.write(line("k", 0).encode())
    process.stdin.flush()
    assert b"y0" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0
    assert events(err)[-1]["checkpoints"] == 1


def test_a_file_is_told_from_another(saved, tmp_path):
    """States go on in either; places only in the file that they belong to."""
    source, other, state = tmp_path / "a.csv", tmp_path / "b.csv", tmp_path / "s.db"

    def serve(path):
        more = ["--input-format", "csv", "--input-file", str(path), "--state-path", str(state)]
        done = subprocess.run(command(saved, *more), capture_output=True, cwd=ROOT, stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout.decode().removeprefix("id,a,b,c,y0,y1\n").splitlines(), done.stderr.decode()

    stream = Model(models.forecaster()).stream()

    def rows(*numbers):
        return [f"k,{n},1,2," + ",".join(str(float(y)) for y in stream.step([n, 1, 2])) for n in numbers]

    source.write_text("\n\nid,a,b,c\nk,1,1,2\nk,2,1,2")  # no newline at the end
    assert serve(source)[:2] == (0, rows(1, 2))
    source.write_text(source.read_text() + "\nk,3,1,2\n")
    assert serve(source)[:2] == (0, rows(3))
    other.write_text("id,a,b,c\nk,4,1,2\n")
    assert serve(other)[:2] == (0, rows(4))
    other.write_text("id,a,b,c\nk,5,1,2\n")  # as files are written over each day
    assert serve(other)[:2] == (0, rows(5))
    other.write_text("id,a,b,c\nk,5,1,2\nk,6,1,2")
    assert serve(other)[:2] == (0, rows(6))
    other.write_text(other.read_text() + "7\n")
    code, found, told = serve(other)
    assert (code, found) == (2, [])
    assert "its last line has grown" in told
    os.mkfifo(tmp_path / "pipe")
    descriptor = os.open(tmp_path / "pipe", os.O_RDWR)
    code, _, told = serve(tmp_path / "pipe")
    os.close(descriptor)
    assert code == 2
    assert "expected a file that can be read again" in told


@pytest.mark.slow
def test_a_file_goes_on_where_it_was_killed(saved, tmp_path):
    source, state = tmp_path / "in.jsonl", tmp_path / "s.db"
    source.write_text("".join(line(f"k{n % 7}", n, (n % 5, 1, -1)) for n in range(60_000)))
    _, whole, _ = run(saved, "", "--input-file", str(source))
    more = ["--input-file", str(source), "--state-path", str(state), "--state-every", "0.05"]
    found = {}
    for attempt in range(6):
        process = start(saved, *more, stdin=subprocess.DEVNULL, stdout=(tmp_path / f"out{attempt}").open("wb"))
        time.sleep(1.5)
        if attempt < 5:
            process.kill()
        process.communicate()
        rows = (tmp_path / f"out{attempt}").read_bytes().split(b"\n")[:-1]
        for row in map(json.loads, rows):
            assert found.setdefault(row["n"], row) == row
    assert [found[n] for n in sorted(found)] == whole


def test_the_model_is_swapped_on_request(saved, tmp_path):
    path = tmp_path / "m.edgelstm"
    Model(models.forecaster()).save(path)
    process = start(path)

    def ask():
        process.stdin.write(line("k", 0).encode())
        process.stdin.flush()
        return json.loads(process.stdout.readline())["y0"]

    old, new = Model(models.forecaster()).stream(), Model(models.forecaster(seed=3))
    assert ask() == float(old.step([1, 2, 3])[0])
    new.save(path)
    process.send_signal(signal.SIGHUP)
    wait_for_event(process, "model swapped")
    stream = new.stream(state=old.state)
    assert ask() == float(stream.step([1, 2, 3])[0])
    process.communicate()


def test_a_model_of_another_shape_is_not_swapped_in(saved, tmp_path):
    """Four features instead of three, the same states: the old one goes on."""
    path = tmp_path / "m.edgelstm"
    Model(models.forecaster()).save(path)
    process = start(path)
    process.stdin.write(line("k", 0).encode())
    process.stdin.flush()
    assert process.stdout.readline()
    rng, gates = np.random.default_rng(0), 4 * models.HIDDEN
    shapes = {"weight_ih_l0": (gates, 4), "weight_hh_l0": (gates, models.HIDDEN)}
    shapes |= {"bias_ih_l0": (gates,), "bias_hh_l0": (gates,)}
    edgelstm.from_arrays({name: rng.normal(0, 1, shape) for name, shape in shapes.items()}).save(path)
    process.send_signal(signal.SIGHUP)
    wait_for_event(process, "the model was not swapped")
    out, _ = process.communicate(line("k", 1).encode(), timeout=300)
    stream = Model(models.forecaster()).stream()
    stream.step([1, 2, 3])
    assert json.loads(out)["y0"] == float(stream.step([1, 2, 3])[0])


@pytest.mark.parametrize(("call", "error"), [("pwrite64", "ENOSPC"), ("pwrite64", "EROFS")])
def test_a_disk_that_fails_is_told_and_readings_go_on(saved, tmp_path, call, error):
    path, strace = tmp_path / "s.db", require_program("strace")
    inject = [
        "-e",
        f"trace={call}",
        "-P",
        str(path),
        "-P",
        f"{path}-wal",
        "-e",
        f"inject={call}:error={error}:when=40+",
    ]
    more = ["--state-path", str(path), "--state-every", "0.05"]
    process = subprocess.Popen(
        [strace, "-f", "-o", "/dev/null", *inject, *command(saved, *more)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    for number in range(20):
        process.stdin.write(line(f"k{number}", number).encode())
        process.stdin.flush()
        if not process.stdout.readline():
            break
        time.sleep(0.06)
    _, err = process.communicate(timeout=300)
    if b"ptrace" in err:
        pytest.skip("strace may not trace here")
    assert process.returncode == 0
    told = events(err)[-1]
    assert told["steps"] == told["published"] == 20
    assert told["checkpoints"] >= 1
    assert told["checkpoint_errors"] >= 1
    code, _, again = run(saved, line("k0", 99), "--state-path", str(path))
    assert code == 0
    assert 1 <= next(event for event in again if event["event"] == "serving")["streams"] < 20


def test_states_of_another_model_are_refused(saved, tmp_path):
    path = tmp_path / "m.edgelstm"
    Model(models.forecaster(seed=3)).save(path)
    more = ["--state-path", str(tmp_path / "s.db")]
    run(saved, line("k", 0), *more)
    done = subprocess.run(command(path, *more), input=b"", capture_output=True, cwd=ROOT, check=False, timeout=300)
    assert done.returncode == 2
    assert b"belong to the model" in done.stderr
    assert run(path, line("k", 1), *more, "--state-swap")[0] == 0


def test_metrics_tell_what_happens(saved):
    require_module("prometheus_client")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    process = start(saved, "--operation-metrics", str(port))
    process.stdin.write((line("k", 0) + "bad\n").encode())
    process.stdin.flush()
    process.stdout.readline()
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    process.communicate()
    for row in (
        "edgelstm_steps_total 1.0",
        "edgelstm_malformed_total 1.0",
        "edgelstm_streams 1.0",
        "edgelstm_model_info",
    ):
        assert row in text


def test_a_state_that_cannot_be_written_is_refused_at_the_start(saved, tmp_path):
    for path in (tmp_path / "none" / "s.db", tmp_path):
        done = subprocess.run(
            command(saved, "--state-path", str(path)),
            input=b"",
            capture_output=True,
            cwd=ROOT,
            check=False,
            timeout=300,
        )
        assert done.returncode == 2
        assert b"Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_output_ends_with_one_sentence(saved):
    process = start(saved, stdout=Path("/dev/full").open("wb"))  # noqa: SIM115 - closed with the process
    _, err = process.communicate(line("k", 0).encode(), timeout=300)
    assert process.returncode == 2
    assert b"No space left" in err
    assert b"Traceback" not in err


@pytest.mark.slow
def test_ten_million_steps_leave_nothing_behind(saved, tmp_path):
    count = 10_000_000 if os.environ.get("EDGELSTM_SOAK") else 200_000
    process = start(saved, "--state-path", str(tmp_path / "s.db"), "--state-every", "0.2", stdout=subprocess.DEVNULL)
    folder = Path(f"/proc/{process.pid}")
    part = "".join(line(f"k{n % 100}", n) for n in range(1000)).encode()
    seen = []
    for number in range(count // 1000):
        process.stdin.write(part)
        if number % max(1, count // 20_000) == 0 and number > count // 4000:
            memory = next(r for r in (folder / "status").read_text().splitlines() if r.startswith("VmRSS"))
            seen.append((int(memory.split()[1]), len(list((folder / "fd").iterdir()))))
    process.communicate(timeout=3000)
    assert max(memory for memory, _ in seen) < seen[0][0] + 8_000
    assert max(files for _, files in seen) <= seen[0][1] + 1
