"""How far predictions may be apart on machines whose last bits differ."""

import json
import sys

import numpy as np
import pytest

import edgelstm
from edgelstm.machine import native
from edgelstm.native.golden import MARGIN, TOLERANCE, Golden, tolerance
from tests.native import support


def golden(*predictions):
    return Golden(b"", 2, np.array(predictions))


def test_last_bits_are_allowed_little():
    assert tolerance(golden(1.0, 2.0), golden(1.0, 2.0)) == TOLERANCE
    assert tolerance(golden(), golden()) == TOLERANCE


def test_a_rounding_that_went_the_other_way_is_allowed_what_it_was_seen_to_cost():
    assert tolerance(golden(1.0, 2.03), golden(1.0, 2.0)) == pytest.approx(MARGIN * 0.01)


@pytest.mark.slow
@pytest.mark.skipif("x86-64-v2" not in native.suitable(), reason="runs the library for x86-64 without FMA")
@pytest.mark.parametrize("kind", support.KINDS)
def test_the_self_test_holds_without_fma(kind, tmp_path):
    folder = support.built(kind, "x86-64-v2", tmp_path)
    told = json.loads((folder / "card.json").read_text())["golden"]
    assert not told["exact"]
    assert (told["tolerance"] == TOLERANCE) == (kind != "int8")
    edgelstm.load(folder)
    assert "0 wrong" in support.run(sys.executable, "-S", "-I", folder / "model.py").stdout
