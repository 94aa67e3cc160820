"""The commands on files that exporters wrote: several inputs and outputs, integers, states, free dimensions."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import edgelstm
from edgelstm.cli import columns
from tests.cli.support import assert_one_sentence, call
from tests.support import require_module

EXPORTS = Path(__file__).resolve().parents[1] / "models" / "torch_exports"
STREAMING = [
    "cell_step",
    "embedding_lstm_lm",
    "gru_bf_linear_all",
    "lstm_bf_linear_last",
    "rnn_relu_bf",
    "seq2seq_decoder_step",
    "stateful_lstm2",
]


def sizes_of(name: str) -> dict[str, int]:
    """Free dimensions besides time and batch."""
    return {"src": 7} if name.startswith("seq2seq") else {}


def size_options(name: str) -> list[str]:
    return [f"--size={size}={count}" for size, count in sizes_of(name).items()]


@pytest.mark.parametrize("name", STREAMING)
def test_run_gives_what_the_stream_gives(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    require_module("onnx")
    path = EXPORTS / f"{name}.torchscript.dyn.onnx"
    model = edgelstm.load(path)
    stream = model.stream(sizes=sizes_of(name))
    ports = columns.stream_ports(stream)
    rng = np.random.default_rng(0)
    lines, expected = [], []
    for _ in range(3):
        feeds = {
            port: rng.standard_normal(columns.shape(kind)).astype(np.float32)
            if kind.dtype == "float32"
            else rng.integers(5, size=columns.shape(kind))
            for port, kind in ports.inputs.items()
        }
        lines.append(",".join(str(value) for array in feeds.values() for value in array.reshape(-1)))
        prediction = stream.step(feeds)
        arrays = prediction.values() if isinstance(prediction, dict) else [prediction]
        expected.append(np.concatenate([array.reshape(-1) for array in arrays]))
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
    code, out, _ = call(capsys, "run", path, *size_options(name))
    assert code == 0
    got = [[np.float32(field) for field in line.split(",")] for line in out.splitlines()]
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("name", STREAMING)
def test_bench_and_inspect(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    require_module("onnx")
    path = EXPORTS / f"{name}.torchscript.dyn.onnx"
    code, out, _ = call(capsys, "bench", path, "--steps", 20, "--warm-up", 2, *size_options(name), "--json")
    assert code == 0
    assert json.loads(out)["p50_us"] > 0
    code, out, _ = call(capsys, "inspect", path, *size_options(name), "--json")
    assert code == 0
    assert json.loads(out)["multiply_adds_per_step"] > 0


@pytest.mark.parametrize("name", ["attention_pool", "packed_bigru", "seq2seq_decoder_step", "embedding_gru_lm"])
def test_compare_against_onnxruntime(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    require_module("onnxruntime")
    path = EXPORTS / f"{name}.torchscript.dyn.onnx"
    code, out, err = call(capsys, "compare", path, "--against", "onnxruntime", "--size", "src=7")
    assert (code, err) == (0, "")
    assert "within the tolerance" in out


def test_readings_without_an_output_give_empty_fields(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    require_module("onnx")
    path = EXPORTS / "bilstm_bf.torchscript.dyn.onnx"
    stream = edgelstm.load(path).stream(lookahead=3)
    (kind,) = stream.inputs.values()
    width = columns.count(kind)
    readings = np.random.default_rng(0).standard_normal((6, width)).astype(np.float32)
    expected = stream.run(readings)
    lines = (",".join(map(str, reading)) for reading in readings)
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
    code, out, _ = call(capsys, "run", path, "--lookahead", 3)
    assert code == 0
    rows = [line.split(",") for line in out.splitlines()]
    assert len(rows) == 6
    assert len({len(row) for row in rows}) == 1
    assert [not any(row) for row in rows] == [True] * 3 + [False] * 3
    np.testing.assert_array_equal([[np.float32(field) for field in row] for row in rows[3:]], expected)


def test_stream_of_a_model_that_needs_the_future(capsys: pytest.CaptureFixture[str]) -> None:
    require_module("onnx")
    code, _, err = call(capsys, "run", EXPORTS / "bilstm_bf.torchscript.dyn.onnx")
    assert code == 2
    assert_one_sentence(err)
    assert "bidirectional" in err


@pytest.mark.parametrize("size", ["src", "=7", "src=0", "src=-1", "src=x"])
def test_size_that_is_none(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = EXPORTS / "seq2seq_decoder_step.torchscript.dyn.onnx"
    code, _, err = call(capsys, "inspect", path, "--size", size)
    assert code == 2
    assert_one_sentence(err)


def test_size_that_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    require_module("onnxruntime")
    path = EXPORTS / "seq2seq_decoder_step.torchscript.dyn.onnx"
    code, _, err = call(capsys, "compare", path, "--against", "onnxruntime")
    assert code == 2
    assert_one_sentence(err)
    assert "src" in err
