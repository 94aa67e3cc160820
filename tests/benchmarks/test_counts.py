"""The gate: a step of the library for x86-64-v3 may not need more instructions than the committed counts say."""

from importlib.metadata import version

import pytest

from benchmarks import boards, counts
from benchmarks.layers import Layer
from edgelstm.machine import native
from tests.support import require_module, require_program

AGAIN = "python -m benchmarks counts --write"


@pytest.fixture(scope="module")
def measured():
    if "x86-64-v3" not in native.suitable():
        pytest.skip("valgrind emulates AVX2 only where the processor has it")
    for program in ("valgrind", "cc"):
        require_program(program)
    for module in ("ziglang", "numba", "onnx"):
        require_module(module)
    return counts.measure()


def test_no_step_has_grown(measured):
    grown = [str(change) for change in counts.changes(counts.committed(), measured) if change.grown]
    assert grown == [], (
        f"by more than {counts.MARGIN:.0%}, with llvmlite {version('llvmlite')}. If it is meant: {AGAIN}"
    )


def test_counts_are_the_same_again(measured):
    layer = counts.LAYERS[0]
    assert counts.measure([layer]) == {str(layer): measured[str(layer)]}


def test_every_layer_is_committed():
    assert set(counts.committed()) == {str(layer) for layer in counts.LAYERS}


def test_the_gate_finds_what_grew():
    before = {"a": 1000.0, "b": 1000.0, "c": 1000.0, "d": 1000.0}
    found = counts.changes(before, {"a": 1000.0, "b": 1009.0, "c": 1011.0, "d": 900.0})
    assert [(change.layer, change.grown) for change in found] == [("b", False), ("c", True), ("d", False)]
    assert str(found[1]) == "c: 1000 → 1011 instructions a step (+1.1%)"


def test_bounds_of_boards():
    """6144 weights of four bytes, 16 of them a cycle, at 1.8 GHz."""
    board = next(board for board in boards.BOARDS if board.target == "pi4")
    assert board.bound(Layer("LSTM", 16, 32)) == pytest.approx(6144 * 4 / 16 / 1800)
    assert board.bound(Layer("LSTM", 16, 32, int8=True)) == pytest.approx(6144 / 16 / 1800)
