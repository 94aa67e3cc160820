"""`edgelstm run`: one line in, one line out."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import edgelstm
from tests.cli.support import assert_one_sentence, call, saved
from tests.support import require_module

FORECASTER = Path(__file__).resolve().parents[2] / "edgelstm" / "cli" / "demo_data" / "forecaster.onnx"

Feed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Feed:
    def run(text: str, *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        return call(capsys, "run", *arguments)

    return run


def expected(path: Path, readings: list[list[float]]) -> list[list[float]]:
    stream = edgelstm.load(path).stream()
    return [stream.step(reading).tolist() for reading in readings]


def numbers(out: str) -> list[list[float]]:
    return [[float(field) for field in line.split(",")] for line in out.splitlines()]


def test_without_a_header(tmp_path: Path, feed: Feed) -> None:
    path = saved(tmp_path)
    code, out, err = feed("1,2,3\n-1,0.5,2e-1\n", path)
    assert (code, err) == (0, "")
    # The text of a prediction reads back as the same float32.
    assert np.float32(numbers(out)).tolist() == expected(path, [[1, 2, 3], [-1, 0.5, 0.2]])


@pytest.mark.parametrize("threads", ["2", "3"])
def test_threads_do_not_show(tmp_path: Path, feed: Feed, threads: str) -> None:
    path, text = saved(tmp_path), "1,2,3\n-1,0.5,2e-1\n"
    assert feed(text, path, "--threads", threads) == feed(text, path)


def test_no_threads(tmp_path: Path, feed: Feed) -> None:
    code, out, err = feed("1,2,3\n", saved(tmp_path), "--threads", "0")
    assert (code, out) == (2, "")
    assert "threads: expected an integer from 1 to 256, got 0" in err


def test_header_with_unnamed_features_takes_columns_in_order(tmp_path: Path, feed: Feed) -> None:
    path = saved(tmp_path)
    code, out, err = feed("time,a,b,c\nnoon,1,2,3\n", path, "--keep", "time")
    assert code == 0
    assert err == "edgelstm: columns taken in order: a as x[0], b as x[1], c as x[2]\n"
    header, line = out.splitlines()
    assert header == "time,y[0],y[1]"
    assert line.startswith("noon,")
    assert np.float32(numbers(line[5:])).tolist() == expected(path, [[1, 2, 3]])


def test_columns_are_matched_by_feature_name(feed: Feed) -> None:
    require_module("onnx")
    text = 'note,temperature (celsius),time\n"warm, calm",18.5,noon\n,18.25,later\n'
    code, out, err = feed(text, FORECASTER, "--keep", "time,note")
    assert (code, err) == (0, "")
    rows = out.splitlines()
    assert rows[0] == "time,note,forecast"
    assert rows[1].startswith('noon,"warm, calm",')
    assert rows[2].startswith("later,,")
    got = [[float(np.float32(row.rpartition(",")[2]))] for row in rows[1:]]
    assert got == expected(FORECASTER, [[18.5], [18.25]])


def test_feature_that_is_not_in_the_header(feed: Feed) -> None:
    require_module("onnx")
    code, out, err = feed("time,water\nnoon,18\n", FORECASTER)
    assert (code, out) == (2, "")
    assert_one_sentence(err)
    assert "'temperature (celsius)'" in err
    assert "--columns" in err


def test_columns_option_by_name_and_by_number(tmp_path: Path, feed: Feed) -> None:
    path = saved(tmp_path)
    _, by_name, err = feed("c,junk,a,b\n3,x,1,2\n", path, "--columns", "a,b,c")
    assert err == ""
    _, by_number, _ = feed("3,x,1,2\n", path, "--columns", "3,4,1", "--keep", "2")
    want = expected(path, [[1, 2, 3]])
    assert np.float32(numbers(by_name.splitlines()[1])).tolist() == want
    assert by_number.startswith("x,")
    assert np.float32(numbers(by_number[2:])).tolist() == want


@pytest.mark.parametrize(
    ("text", "arguments", "named"),
    [
        ("1,2\n", (), "2"),
        ("1,2,3,4\n", (), "4"),
        ("1,2,3\n1,2\n", (), "line 2"),
        ("1,2,3\n1,2,3,4\n", (), "line 2"),
        ("1,2,3\n1,two,3\n", (), "line 2, column 2"),
        ("1,2,3\n1,nan,3\n", (), "line 2"),
        ("1,2,3\n1,,3\n", (), "line 2"),
        ("1,2,3\n1,inf,3\n", (), "line 2"),
        ("1,2,3\n1,1e60,3\n", (), "line 2"),
        ('1,2,3\n1,"2,3\n', (), "line"),
        ("a,b,c\n1,2,3\n", ("--keep", "time"), "'time'"),
        ("a,a,c\n1,2,3\n", ("--columns", "a,c,c"), "2 times"),
        ("a,b,c\n1,2,3\n", ("--columns", "a,b"), "--columns"),
        ("1,2,3\n", ("--columns", "1,2,4"), "'4'"),
        ("1,2,3\n", ("--keep", "time"), "'time'"),
    ],
)
def test_bad_line_is_one_sentence_and_exit_2(
    tmp_path: Path, feed: Feed, text: str, arguments: tuple[str, ...], named: str
) -> None:
    code, _, err = feed(text, saved(tmp_path), *arguments)
    assert code == 2
    assert err.startswith("edgelstm: ")
    assert "Traceback" not in err
    assert named in err


def test_lines_before_a_bad_one_are_predicted(tmp_path: Path, feed: Feed) -> None:
    code, out, _ = feed("1,2,3\n4,5,6\noops,5,6\n", saved(tmp_path))
    assert code == 2
    assert len(out.splitlines()) == 2


@pytest.mark.parametrize("policy", ["hold", "reset", "propagate"])
def test_on_invalid(tmp_path: Path, feed: Feed, policy: str) -> None:
    path = saved(tmp_path)
    code, out, err = feed("1,2,3\n1,nan,4\n1,,5\n2,2,2\n", path, "--on-invalid", policy)
    assert (code, err) == (0, "")
    stream = edgelstm.load(path).stream(on_invalid=policy)
    readings = [[1, 2, 3], [1, np.nan, 4], [1, np.nan, 5], [2, 2, 2]]
    want = np.array([stream.step(reading) for reading in readings])
    np.testing.assert_array_equal(np.float32(numbers(out)), want)


def test_nothing_in_nothing_out(tmp_path: Path, feed: Feed) -> None:
    assert feed("", saved(tmp_path)) == (0, "", "")


def test_file_of_a_spreadsheet(feed: Feed) -> None:
    require_module("onnx")
    text = "\ufefftemperature (celsius),time\r\n18.5,noon\r\n"
    code, out, err = feed(text, FORECASTER, "--keep", "time")
    assert (code, err) == (0, "")
    assert out.startswith("time,forecast\nnoon,")


def piped(text: bytes, *arguments: object, before: str = "") -> subprocess.CompletedProcess[bytes]:
    script = f"{before}\nimport sys\nfrom edgelstm.cli import main\nsys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", script, "run", *map(str, arguments)],
        input=text,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONIOENCODING": "ascii"},
    )


def test_kept_columns_keep_their_bytes(tmp_path: Path) -> None:
    done = piped("18.5,Müllheim ☀\n".encode() + b"18.6,M\xfcllheim\n", saved(tmp_path, inputs=1), "--keep", "2")
    assert (done.returncode, done.stderr) == (0, b"")
    first, second = done.stdout.splitlines()
    assert first.startswith("Müllheim ☀,".encode())
    assert second.startswith(b"M\xfcllheim,")


def test_without_numba_it_runs_in_numpy_and_says_so_once(tmp_path: Path) -> None:
    hide = """
import importlib.util as util
find = util.find_spec
util.find_spec = lambda name, *rest: None if name == "numba" else find(name, *rest)
"""
    path = saved(tmp_path)
    done = piped(b"1,2,3\n4,5,6\n", path, before=hide)
    assert done.returncode == 0
    assert done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"edgelstm: warning: no compiled machine and no numba")
    np.testing.assert_allclose(numbers(done.stdout.decode()), expected(path, [[1, 2, 3], [4, 5, 6]]), atol=2e-6)


def test_blank_lines_are_skipped(tmp_path: Path, feed: Feed) -> None:
    path = saved(tmp_path)
    _, out, _ = feed("1,2,3\n\n4,5,6\n\n", path)
    assert len(out.splitlines()) == 2


def test_each_line_is_answered_before_the_next_one_comes(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "edgelstm", "run", str(saved(tmp_path, inputs=1, outputs=1))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    for reading in ("x", "1", "2", "3"):
        process.stdin.write(f"{reading}\n")
        process.stdin.flush()
        answer = process.stdout.readline().strip()  # would wait for ever if lines were held back
        assert answer == "y" if reading == "x" else float(answer)
    process.stdin.close()
    assert process.wait(timeout=300) == 0
    process.stdout.close()
