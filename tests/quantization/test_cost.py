"""The cost table is what its generator makes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import require_module, require_program

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_modelled_rows_are_those_of_the_generator():
    require_program("llvm-mca-19")
    require_module("llvmlite")
    done = subprocess.run(
        [sys.executable, "tools/model_costs.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    table = (ROOT / "edgelstm" / "quantization" / "costs.json").read_text("utf-8")
    made, kept = json.loads(done.stdout)["targets"], json.loads(table)["targets"]
    for name, row in kept.items():
        for field, value in row.items():
            assert made[name][field] == (pytest.approx(value, rel=0.05) if isinstance(value, float) else value)


def test_every_row_says_where_it_comes_from():
    table = json.loads((ROOT / "edgelstm" / "quantization" / "costs.json").read_text("utf-8"))
    assert all(row["source"].startswith(("measured", "modelled")) for row in table["targets"].values())
