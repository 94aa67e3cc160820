"""Tables and pictures: who is best, which way, and why a figure is missing."""

import json

import pytest

from benchmarks import report
from benchmarks.measure import Timing
from benchmarks.questions import NAMES, question
from benchmarks.results import Row
from tests.support import require_module


def exactly(value):
    return Timing(value, value, value)


def test_numbers_have_three_digits():
    shown = [report.number(value) for value in (0, 0.0049, 0.27, 1.5, 10.06, 123.4, 12345.6)]
    assert shown == ["0", "0.005", "0.270", "1.50", "10.1", "123", "12346"]


@pytest.mark.parametrize(("name", "expected"), [("steps", "2.00× LiteRT"), ("pools", "0.25× ONNX Runtime")])
def test_the_best_peer_is_named_and_better_means_better(name, expected):
    row = Row("g", "l", {"edgelstm": exactly(1.0), "onnxruntime": exactly(4.0), "litert": exactly(2.0)})
    lines = report.table(question(name), [row]).splitlines()
    assert lines[0] == "|  | edgelstm | ONNX Runtime | LiteRT | against the best peer |"
    assert lines[2].endswith(f"| {expected} |")


def test_a_reason_is_said_once_with_its_rows():
    rows = [
        Row("g", "1", missing={"ncnn": "no rows"}),
        Row("g", "2", {"ncnn": exactly(1.0)}, {"tract": "not installed"}),
    ]
    assert report.notes(rows) == ["ncnn: no rows (g 1)", "tract: not installed (g 2)"]
    assert report.notes([rows[0]]) == ["ncnn: no rows"]


def test_files(tmp_path):
    require_module("matplotlib")
    rows = [
        Row("g", "1", {"edgelstm": Timing(1.0, 0.9, 1.2), "litert": exactly(2.0)}, bound=0.5),
        Row("g", "2", {"edgelstm": exactly(3.0)}, {"litert": "why"}),
    ]
    paths = report.write(tmp_path, "steps", question("steps"), rows, {"cpu": "a CPU"})
    assert [path.name for path in paths] == ["steps.md", "steps.json", "steps.svg"]
    assert "LiteRT: why (g 2)" in paths[0].read_text()
    assert json.loads(paths[1].read_text())["rows"][0]["figures"]["litert"]["median"] == 2.0
    assert paths[2].read_text().lstrip().startswith("<?xml")


@pytest.mark.parametrize("name", NAMES)
def test_every_question_says_what_it_is(name):
    found = question(name)
    assert found.TITLE
    assert found.UNIT
    assert found.THREADS in (1, 2)
    assert isinstance(found.MORE_IS_BETTER, bool)
    whole, quick = found.cases(quick=False), found.cases(quick=True)
    assert 0 < len(quick) <= len(whole)
    assert len({str(case) for case in whole}) == len(whole)
