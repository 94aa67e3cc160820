"""The commands, on a few short cases: they work, and write what they say. Never how fast."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import machine, readme, suite
from benchmarks.measure import Timing
from benchmarks.results import Row
from benchmarks.worker import Request
from tests.support import require_module

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments, **variables):
    places = os.pathsep.join([str(ROOT), str(ROOT / "converters"), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": places} | variables
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_a_quick_run_writes_table_and_figures(tmp_path):
    for name in ("onnx", "onnxruntime", "numba"):
        require_module(name)
    sent = tmp_path / "sent.json"
    chosen = ("--only", "steps", "--cases", "^LSTM", "--engines", "edgelstm,onnxruntime")
    done = run("benchmarks", "--quick", *chosen, "--out", tmp_path, "--submit", sent)
    assert done.returncode == 0, done.stderr
    assert "| LSTM 16→32 |" in done.stdout
    (row,) = json.loads((tmp_path / "steps.json").read_text())["rows"]
    assert set(row["figures"]) == {"edgelstm", "onnxruntime"}
    assert row["bound"] > 0
    content = json.loads(sent.read_text())
    assert content["label"] == "measured"
    assert content["steps"] == [row]
    assert {"celsius", "throttled", "throttle_flags"} <= set(content["before"]) & set(content["after"])


def test_the_command_line_runs_the_suite(tmp_path):
    require_module("onnx")
    done = run("edgelstm", "bench", "--suite", "--quick", "--only", "size", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "size.md").exists()


def test_engines_take_turns_in_processes_of_their_own(monkeypatch):
    order = []

    def worker(request, asked):
        order.append(request.engines)
        return [Row("g", "l", {name: Timing(1.0, 1.0, 1.0) for name in request.engines})]

    monkeypatch.setattr(suite, "_worker", worker)
    (rows,) = suite.run([Request("threads", ("edgelstm", "onnxruntime"))], 2)
    assert order == [("edgelstm",), ("onnxruntime",), ("onnxruntime",), ("edgelstm",)]
    assert set(rows[0].figures) == {"edgelstm", "onnxruntime"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("benchmarks", "nonsense"), "no question is called 'nonsense'"),
        (("benchmarks", "--engines", "abacus"), "no engine is called 'abacus'"),
        (("benchmarks", "targets", "--only", "nonsense"), "no target holds 'nonsense'"),
        (("edgelstm", "bench", "--suite", "model.onnx"), "leave model.onnx out"),
        (("edgelstm", "bench", "--quick"), "give a MODEL, or --suite"),
        (("edgelstm", "bench", "model.onnx", "--quick"), "--quick goes with --suite"),
    ],
)
def test_what_does_not_fit_is_said(arguments, said):
    done = run(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_worker_that_fails_is_not_silent():
    with pytest.raises(RuntimeError, match="the worker ended"):
        suite.run([Request("steps", ("edgelstm",), cases="(")], 1)


def test_readme_is_rewritten_between_its_marks_alone(tmp_path, monkeypatch, capsys):
    path = tmp_path / "README.md"
    path.write_text(f"before\n{readme.BEGIN}old\n{readme.END}after\n")
    monkeypatch.setattr(suite, "run", lambda asked, runs, tell: [[Row("LSTM", "16→32")] for _ in asked])
    assert readme.main(["--file", str(path)]) == 0
    text = path.read_text()
    assert text.startswith(f"before\n{readme.BEGIN}Measured on ")
    assert text.endswith(f"\n{readme.END}after\n")
    assert "old" not in text
    assert text.count("| LSTM 16→32 |") == 3


def test_the_readme_has_its_marks():
    text = readme.README.read_text(encoding="utf-8")
    assert text.count(readme.BEGIN) == text.count(readme.END) == 1


def test_throttle_flags_of_a_raspberry_pi(tmp_path, monkeypatch):
    tool = tmp_path / "vcgencmd"
    tool.write_text("#!/bin/sh\necho throttled=0x50005\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    found = machine.condition()
    assert found["throttled"] == "0x50005"
    assert found["throttle_flags"] == [
        "under-voltage",
        "throttled",
        "under-voltage has occurred",
        "throttling has occurred",
    ]


def test_a_machine_that_tells_nothing(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(machine, "_read", lambda path: "")
    assert set(machine.condition().values()) == {None}
    assert machine.describe()["governor"] == "unknown"
