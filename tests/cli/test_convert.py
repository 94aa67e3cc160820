"""`edgelstm convert`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import edgelstm
from tests.cli.support import assert_one_sentence, call, saved, weights
from tests.support import require_module

ONNX = Path(__file__).resolve().parents[2] / "edgelstm" / "cli" / "demo_data" / "forecaster.onnx"


def test_onnx(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require_module("onnx")
    out = tmp_path / "m.edgelstm"
    code, text, _ = call(capsys, "convert", ONNX, "-o", out)
    assert code == 0
    lines = text.splitlines()
    assert any(line.startswith("mapped") and "hidden_size: 32" in line for line in lines)
    assert any(line.startswith("assumed") and "clip" in line for line in lines)
    assert lines[-1].startswith(f"wrote {out}")
    x = np.linspace(4, 20, 50, dtype=np.float32).reshape(50, 1, 1)
    np.testing.assert_array_equal(edgelstm.load(out).predict(x), edgelstm.load(ONNX).predict(x))


LAYERS = [{"kind": "lstm", "arrays": "lstm"}, {"kind": "linear", "arrays": "head", "activation": "tanh"}]


@pytest.mark.parametrize("text", [json.dumps(LAYERS), f"layers={LAYERS}  # as a refusal prints it"])
def test_state_dict_with_layers(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    save_file(weights(), tmp_path / "w.safetensors")
    (tmp_path / "layers.txt").write_text(text)
    code, out, _ = call(capsys, "convert", tmp_path / "w.safetensors", "--layers", tmp_path / "layers.txt")
    assert code == 0
    assert "mapped" in out
    x = np.ones((1, 5, 3), np.float32)
    expected = edgelstm.from_arrays(weights(), layers=LAYERS).predict(x)
    np.testing.assert_array_equal(edgelstm.load(tmp_path / "w.edgelstm").predict(x), expected)


def test_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_file(weights(), tmp_path / "w.safetensors")
    code, text, _ = call(capsys, "convert", tmp_path / "w.safetensors", "--quiet")
    assert code == 0
    assert text.startswith(f"wrote {tmp_path / 'w.edgelstm'}")
    assert len(text.splitlines()) == 1


def test_refuses_to_overwrite_the_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path)
    before = path.read_bytes()
    code, _, err = call(capsys, "convert", path, "-o", path)
    assert code == 2
    assert_one_sentence(err)
    assert path.read_bytes() == before


def test_refuses_another_suffix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "convert", saved(tmp_path), "-o", tmp_path / "m.bin")
    assert code == 2
    assert_one_sentence(err)
    assert not (tmp_path / "m.bin").exists()


def test_refused_attribute_stands_in_the_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx = require_module("onnx")
    model = onnx.load(ONNX)
    (cell,) = (node for node in model.graph.node if node.op_type == "LSTM")
    cell.attribute.append(onnx.helper.make_attribute("activations", ["Sigmoid", "Tanh", "Swish"]))
    path = tmp_path / "odd.onnx"
    path.write_bytes(model.SerializeToString())
    code, out, err = call(capsys, "convert", path)
    assert code == 2
    assert_one_sentence(err)
    assert "Swish" in err
    kinds = {line.split()[0] for line in out.splitlines()}
    assert {"mapped", "assumed", "refused"} <= kinds
    assert "Swish" in out.splitlines()[-1]


def test_refused_operator_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx = require_module("onnx")
    node = onnx.helper.make_node("Frobnicate", ["x"], ["y"], name="odd one")
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 1]) for name in "xy"]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", value[:1], value[1:]))
    path = tmp_path / "odd.onnx"
    path.write_bytes(model.SerializeToString())
    code, out, err = call(capsys, "convert", path)
    assert code == 2
    assert_one_sentence(err)
    assert "Frobnicate" in err
    assert out.splitlines() == ["refused  Frobnicate node 'odd one': operator: not supported"]
    assert not (tmp_path / "odd.edgelstm").exists()


SCALING: dict[str, Any] = {
    "inputs": {"x": {"mean": [1.0, 2.0, 3.0], "scale": [2.0, 4.0, 0.5]}},
    "outputs": {"y": {"mean": 20.0, "scale": 8.0}},
    "features": ["wind", "tide", "rain"],
    "units": {"x": ["m/s", "m", "mm"], "y": ["°C", "°C"]},
}


@pytest.mark.parametrize("fold", [True, False])
def test_scaling_becomes_part_of_the_model(tmp_path: Path, capsys: pytest.CaptureFixture[str], fold: bool) -> None:
    path, file, out = saved(tmp_path), tmp_path / "scaling.json", tmp_path / "scaled.edgelstm"
    file.write_text(json.dumps(SCALING | {"fold": fold}, ensure_ascii=False), encoding="utf-8")
    code, _, _ = call(capsys, "convert", path, "--scaling", file, "-o", out)
    assert code == 0
    plain, scaled = edgelstm.load(path), edgelstm.load(out)
    x = np.random.default_rng(0).normal(3, 2, (1, 6, 3)).astype(np.float32)
    expected = plain.predict(((x - [1, 2, 3]) / [2, 4, 0.5]).astype(np.float32)) * 8.0 + 20
    np.testing.assert_allclose(scaled.predict(x), expected, rtol=0, atol=2e-5)
    code, text, _ = call(capsys, "inspect", out)
    assert code == 0
    assert "wind" in text
    assert "°C" in text
    assert '"scale": [2.0, 4.0, 0.5]' in text
    code, text, _ = call(capsys, "inspect", out, "--json")
    shown = json.loads(json.loads(text)["metadata"]["preprocessing"])
    assert shown == {key: value for key, value in SCALING.items() if key != "features"} | {
        "features": {"x": SCALING["features"]}
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "expected JSON"),
        ("[]", "expected an object with some of inputs, outputs"),
        ("{}", "got nothing"),
        ('{"input": {}}', "got input"),
        ('{"inputs": [1]}', "inputs: expected an object by name, got [1]"),
        ('{"fold": 1}', "fold: expected true or false, got 1"),
        ('{"inputs": {"nothing": {"mean": 0, "scale": 1}}}', "nothing"),
        ('{"inputs": {"x": {"mean": 0, "scale": 0}}}', "scale of 0"),
        ('{"inputs": {"x": {"mean": NaN, "scale": 1}}}', "finite"),
        ('{"features": ["one"]}', "expected 3"),
        ('{"features": [1, 2, 3]}', "list of texts"),
        ('{"units": {"x": 5}}', "list of texts"),
    ],
)
def test_scaling_that_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str) -> None:
    path, out = saved(tmp_path), tmp_path / "out.edgelstm"
    (tmp_path / "scaling.json").write_text(text)
    code, _, err = call(capsys, "convert", path, "--scaling", tmp_path / "scaling.json", "-o", out)
    assert code == 2
    assert_one_sentence(err)
    assert words in err
    assert not out.exists()
