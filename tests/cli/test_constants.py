"""`--constant` and `[model] constants`: inputs of an ONNX file that never change."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

from onnx import helper

import edgelstm
from edgelstm.errors import InputError
from edgelstm.pipeline.config import make_config
from edgelstm.pipeline.log import Log
from edgelstm.pipeline.service import Service
from edgelstm.runtime.load import parse_constants
from tests.cli.support import assert_one_sentence, call, saved
from tests.converters.onnx.build import model, typed, value
from tests.support import require_module

GAIN = "gain=[0.5, 2]"
FIXED = ("--constant", "sr=16000", "--constant", GAIN)


def branch(op: str, name: str) -> object:
    return helper.make_graph([helper.make_node(op, ["louder"], [name], name)], name, [], [value(name, None)])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An RNN whose outputs are multiplied by an input, then turned by tanh or relu as another input says."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("RNN", ["x", "w", "r"], ["all"], "rnn", hidden_size=2),
        helper.make_node("Squeeze", ["all", "one"], ["rows"], "squeeze"),
        helper.make_node("Mul", ["rows", "gain"], ["louder"], "louder"),
        helper.make_node("Equal", ["sr", "wanted"], ["is"], "compare"),
        helper.make_node("If", ["is"], ["y"], "if", then_branch=branch("Tanh", "a"), else_branch=branch("Relu", "b")),
    ]
    constants = {name: rng.uniform(-0.5, 0.5, (1, 2, 2)).astype(np.float32) for name in "wr"}
    constants |= {"one": np.array([1]), "wanted": np.int64(16000)}
    inputs = {"x": ["t", 1, 2], "gain": [2], "sr": ([], "int64")}
    file = tmp_path / "fixed.onnx"
    file.write_bytes(typed(model(nodes, inputs, ["y"], constants)).SerializeToString())
    return file


def test_compare_gives_them_to_both_sides(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require_module("onnxruntime")
    code, out, err = call(capsys, "compare", path, "--against", "onnxruntime", "--batch", 1, *FIXED)
    assert (code, err) == (0, ""), out
    other = (*FIXED[2:], "--constant", "sr=8000")
    assert call(capsys, "compare", path, "--against", "onnxruntime", "--batch", 1, *other)[0] == 0


def test_run_asks_for_the_other_inputs_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("1,2\n-1,0.5\n"))
    code, out, _ = call(capsys, "run", path, *FIXED)
    stream = edgelstm.load(path, constants={"sr": 16000, "gain": [0.5, 2]}).stream()
    assert code == 0
    found = [[float(field) for field in line.split(",")] for line in out.splitlines()]
    assert np.float32(found).tolist() == [stream.step(x).tolist() for x in ([1, 2], [-1, 0.5])]


def test_every_command_takes_them(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    converted = tmp_path / "m.edgelstm"
    for command in (
        ("inspect", path),
        ("bench", path, "--steps", 10, "--warm-up", 0),
        ("horizon", path, "--longest", 200, "--tolerance", 0.1),
        ("quantize", path, "-o", tmp_path / "q.edgelstm"),
        ("convert", path, "-o", converted, "--quiet"),
        ("compare", path, "--against", converted, "--batch", 1),
        ("compare", path, "--against", converted, "--stream", "--steps", 20),
    ):
        code, _, err = call(capsys, *command, *FIXED)
        assert (code, err) == (0, ""), command
    assert list(edgelstm.load(converted).inputs) == ["x"]


def test_serve_takes_them(path: Path) -> None:
    settings = {"model_path": str(path), "model_features": ["a", "b"], "model_constants": ["sr=16000", GAIN]}
    service = Service(make_config(settings), Log())
    assert list(service.pool.inputs) == ["x"]
    service.close()


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("sr", "NAME=VALUE"),
        ("=1", "NAME=VALUE"),
        ("sr=fast", "NAME=VALUE"),
        ("sr=null", "NAME=VALUE"),
        ("rate=1", "no inputs called rate"),
        ("sr=0.5", "expected int64, got 0.5"),
        ("sr=[16000]", r"expected the shape \(\)"),
        ("gain=1", r"expected the shape \(2\)"),
        ("gain=[[1, 2], [3]]", "expected numbers as the input declares them"),
        ('gain=["a", "b"]', "expected numbers as the input declares them"),
    ],
)
def test_what_does_not_fit_is_refused(path: Path, told: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "inspect", path, "--constant", told)
    assert code == 2
    assert_one_sentence(err)
    with pytest.raises(InputError, match=message):
        edgelstm.load(path, constants=parse_constants([told]))


@pytest.mark.parametrize("command", [("inspect",), ("convert", "-o", "out.edgelstm")])
def test_they_are_for_onnx_files(command: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, *command, saved(tmp_path), "--constant", "sr=16000")
    assert code == 2
    assert_one_sentence(err)
    assert "ONNX" in err
