"""`edgelstm horizon`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import edgelstm
from tests.cli.support import assert_one_sentence, call, saved


def test_readings_of_a_csv_with_columns_that_are_no_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, data = saved(tmp_path), tmp_path / "readings.csv"
    xs = np.random.default_rng(0).standard_normal((300, 3)).astype(np.float32)
    lines = [f"day {n},{a},{b},{c}" for n, (a, b, c) in enumerate(xs.tolist())]
    data.write_text("\n".join(["when,a,b,c", *lines]) + "\n")
    code, out, _ = call(capsys, "horizon", path, "--data", data, "--columns", "a,b,c", "--json")
    expected = edgelstm.load(path).horizon(xs)
    assert code == 0
    assert json.loads(out)["steps"] == expected.steps
    code, _, err = call(capsys, "horizon", path, "--data", data)
    assert code == 2
    assert_one_sentence(err)
    assert "expected 3 columns" in err


def test_readings_without_a_header(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "readings.csv"
    data.write_text("1,2,3\n" * 200)
    code, out, _ = call(capsys, "horizon", saved(tmp_path), "--data", data)
    assert code == 0
    assert "readings" in out
