"""How far predictions may be apart on machines whose last bits differ."""

import json
import sys

import numpy as np
import pytest

import edgelstm
from edgelstm.machine import native
from edgelstm.native.golden import MARGIN, TOLERANCE, Golden, inexact, make, tolerance
from edgelstm.passes.stream import StreamOptions
from edgelstm.runtime.executors import make_executor
from tests.native import support


def golden(*predictions):
    return Golden(b"", 2, np.array(predictions))


def test_last_bits_are_allowed_little():
    assert tolerance(golden(1.0, 2.0), [golden(1.0, 2.0)]) == TOLERANCE
    assert tolerance(golden(), [golden(), golden()]) == TOLERANCE


def test_a_rounding_that_went_the_other_way_is_allowed_what_it_was_seen_to_cost():
    others = [golden(1.0, 2.03), golden(1.0, 2.0)]
    assert tolerance(golden(1.0, 2.03), others) == pytest.approx(MARGIN * 0.01)


def test_int8_is_allowed_the_roundings_that_these_readings_just_do_not_meet():
    """What a device without FMA meets is readings whose last bits differ, for it."""
    step, programs = support.model("int8")._step(StreamOptions())
    program = programs.program({})
    expected, allowed = make(program, make_executor(program), step), inexact(program, step)
    others = [make(program, make_executor(program), step, nudged=seed) for seed in range(100, 150)]
    apart = [np.abs(expected.predictions - one.predictions) / (1 + np.abs(one.predictions)) for one in others]
    assert TOLERANCE < np.max(apart) <= allowed < 0.1


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
