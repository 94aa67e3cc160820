"""`edgelstm inspect`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.support import call, saved


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "inspect", saved(tmp_path, inputs=3, hidden=4, outputs=2), "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["B", "T", 3]}]
    assert facts["outputs"] == [{"name": "y", "dtype": "float32", "shape": ["B", "T", 2]}]
    assert [layer["op"] for layer in facts["layers"]] == ["lstm", "linear"]
    assert [layer["size"] for layer in facts["layers"]] == ["3 -> 4", "4 -> 2"]
    assert facts["multiply_adds_per_step"] == 16 * 3 + 16 * 4 + 2 * 4
    assert facts["parameters"] == 16 * 3 + 16 * 4 + 32 + 2 * 4 + 2
    assert facts["streams"] == "yes"
    assert len(facts["states"]) == 2
    assert len(facts["hash"]) == 64


def test_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "inspect", saved(tmp_path))
    assert code == 0
    rows = dict(line.split("  ", 1) for line in out.splitlines() if "  " in line)
    assert rows["multiply-adds"].strip() == "120 per step"


def test_model_that_cannot_be_streamed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    import edgelstm

    rng = np.random.default_rng(0)
    shapes = {"weight_ih_l0": (16, 3), "weight_hh_l0": (16, 4), "bias_ih_l0": (16,), "bias_hh_l0": (16,)}
    both = {
        f"lstm.{name}{ending}": rng.standard_normal(shape).astype(np.float32)
        for name, shape in shapes.items()
        for ending in ("", "_reverse")
    }
    edgelstm.from_arrays(both).save(tmp_path / "both.edgelstm")
    code, out, _ = call(capsys, "inspect", tmp_path / "both.edgelstm", "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["streams"].startswith("no: ")
    assert facts["multiply_adds"] == f"{2 * (16 * 3 + 16 * 4)}*B*T"
    assert "multiply_adds_per_step" not in facts
