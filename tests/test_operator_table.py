"""docs/operators.md says what the tables in the code say."""

from pathlib import Path

from tests.support import require_module
from tools import operator_table


def test_the_page_is_current():
    require_module("onnx")
    assert Path(operator_table.PAGE).read_text(encoding="utf-8") == operator_table.page()


def test_every_operator_says_what_a_stream_makes_of_it():
    require_module("onnx")
    rows = [line for line in operator_table.page().split("\n") if line.startswith("| `")]
    assert rows
    assert all(row.rstrip(" |").split("|")[-1].strip() for row in rows)
