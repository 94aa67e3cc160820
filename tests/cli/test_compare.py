"""`edgelstm compare`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import edgelstm
from edgelstm.cli import compare
from tests.cli.support import assert_one_sentence, call, saved, weights
from tests.support import require_module

FORECASTER = Path(__file__).resolve().parents[2] / "edgelstm" / "cli" / "demo_data" / "forecaster.onnx"


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The model of `saved`, one weight of its head changed by 1e-3."""
    arrays = weights()
    arrays["head.bias"][1] += np.float32(1e-3)
    path = tmp_path / "other.edgelstm"
    edgelstm.from_arrays(arrays).save(path)
    return path


def test_against_onnxruntime(capsys: pytest.CaptureFixture[str]) -> None:
    require_module("onnxruntime")
    code, out, _ = call(capsys, "compare", FORECASTER, "--against", "onnxruntime", "--steps", 100, "--json")
    facts = json.loads(out)
    assert code == 0
    (output,) = facts["outputs"]
    assert output["name"] == "forecast"
    assert len(output["max_by_step"]) == 100
    assert max(output["max_by_step"]) == output["max"] <= 1e-5


def test_against_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path)
    code, out, _ = call(capsys, "compare", path, "--against", path, "--tolerance", 0)
    assert code == 0
    assert "max 0, rms 0" in out


def test_past_the_tolerance_is_exit_1(tmp_path: Path, other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "compare", saved(tmp_path), "--against", other, "--json")
    facts = json.loads(out)
    assert (code, err) == (1, "")
    (output,) = facts["outputs"]
    assert not facts["within"]
    assert output["max"] == pytest.approx(1e-3, rel=1e-2)
    assert output["rms"] == pytest.approx(1e-3 / 2**0.5, rel=1e-2)  # one of two outputs differs


def test_within_a_wider_tolerance_is_exit_0(tmp_path: Path, other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "compare", saved(tmp_path), "--against", other, "--tolerance", 2e-3)
    assert code == 0
    assert "within the tolerance" in out


@pytest.mark.parametrize(
    ("ours", "theirs", "largest"),
    [
        ([1.0, np.nan], [1.0, np.nan], 0.0),
        ([1.0, np.inf], [1.0, np.inf], 0.0),
        ([1.0, np.nan], [1.0, 2.0], np.inf),
        ([1.0, 2.0], [np.nan, 2.0], np.inf),
        ([np.inf, 2.0], [-np.inf, 2.0], np.inf),
        ([1.0, 2.0], [1.0, 2.5], 0.5),
    ],
)
def test_what_is_not_finite_differs_from_everything_else(
    ours: list[float], theirs: list[float], largest: float
) -> None:
    assert compare._difference("y", np.array(ours), np.array(theirs), None)["max"] == largest


def test_other_number_of_outputs_is_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edgelstm.from_arrays(weights(outputs=3)).save(tmp_path / "wide.edgelstm")
    code, out, _ = call(capsys, "compare", saved(tmp_path), "--against", tmp_path / "wide.edgelstm")
    assert code == 1
    assert "shapes differ" in out


def test_given_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path)
    np.savez(tmp_path / "x.npz", x=np.ones((3, 7, 3), np.float32))
    code, out, _ = call(capsys, "compare", path, "--against", path, "--inputs", tmp_path / "x.npz", "--json")
    assert code == 0
    assert len(json.loads(out)["outputs"][0]["max_by_step"]) == 7


@pytest.mark.parametrize(
    "arguments",
    [
        ("--against", "onnxruntime"),  # the model is no .onnx file
        ("--against", "missing.edgelstm"),
        ("--against", "SELF", "--tolerance", "-1"),
        ("--against", "SELF", "--tolerance", "nan"),
        ("--against", "SELF", "--steps", "0"),
        ("--against", "SELF", "--inputs", "SELF"),
    ],
    ids=" ".join,
)
def test_bad_usage(tmp_path: Path, arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path)
    code, _, err = call(capsys, "compare", path, *(str(path) if a == "SELF" else a for a in arguments))
    assert code == 2
    assert_one_sentence(err)
