"""Rows of a batch that go together have the bits that each has alone, however many there are and whatever the CPU."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelstm.machine import tile
from edgelstm.machine.kernels import gru_rows, lstm_rows, rnn_rows
from edgelstm.machine.kernels.cell_rows import rows_together
from edgelstm.program.lower.gru import GRU
from edgelstm.program.lower.lstm import LSTM
from edgelstm.program.lower.recurrent import TALLEST, TOGETHER
from edgelstm.program.lower.rnn import RNN
from edgelstm.program.lowering import lower
from tests.cells import make_cell
from tests.machine.kernels.cell_programs import cell_graph, expected, run_cell
from tests.machine.kernels.harness import Machine, run

CELLS = ("lstm", "gru", "rnn")
PER_ROW = {"x", "h0", "c0"}


def row(cell, b):
    """The same cell with row b of the batch alone."""
    names = zip(cell.node.inputs, cell.arrays, strict=True)
    return type(cell)(cell.node, tuple(a[:, b : b + 1] if name in PER_ROW else a for name, a in names))


def assert_bits_of_rows_alone(cell, together):
    for b in range(cell.arrays[0].shape[1]):
        for name, value in run_cell(row(cell, b)).items():
            np.testing.assert_array_equal(value.take([0], axis=-2), together[name].take([b], axis=-2), err_msg=name)


@st.composite
def batches(draw):
    op = draw(st.sampled_from(CELLS))
    attrs = {"linear_before_reset": draw(st.sampled_from([0, 1, 1]))} if op == "gru" else {}
    if op == "rnn" and draw(st.booleans()):
        attrs = {"activations": ("Relu",), "clip": 2.0}
    return make_cell(
        op,
        moments=draw(st.integers(1, 4)),
        batch=draw(st.integers(1, 20)),
        inputs=draw(st.integers(1, 20)),
        hidden=draw(st.integers(1, 70)),
        direction=draw(st.sampled_from(["forward", "reverse", "bidirectional"])),
        initial=draw(st.booleans()),
        bias=draw(st.booleans()),
        seed=draw(st.integers(0, 99)),
        **attrs,
    )


@settings(max_examples=60, deadline=None)
@given(batches())
def test_any_batch_has_the_bits_of_its_rows_alone(cell):
    assert_bits_of_rows_alone(cell, run_cell(cell))


@pytest.mark.parametrize("op", CELLS)
def test_more_rows_than_go_through_the_weights_together(op):
    attrs = {"linear_before_reset": 1} if op == "gru" else {}
    cell = make_cell(op, moments=2, batch=2 * TOGETHER + TALLEST + 3, inputs=5, hidden=18, **attrs)
    assert_bits_of_rows_alone(cell, run_cell(cell))


@pytest.mark.parametrize("room", [24, 6, 2], ids=["AVX-512", "AVX2, AArch64", "SSE, ARMv7"])
@pytest.mark.parametrize("op", CELLS)
def test_every_shape_of_tile_gives_the_same_bits(op, room, monkeypatch):
    """The tiles of other CPUs, made for this one."""
    monkeypatch.setattr(tile, "_room", lambda _context: room)
    made = {
        "lstm": lambda: rows_together(LSTM, lstm_rows.BLOCK, lstm_rows.update_c, lstm_rows.update_h, carries_c=True),
        "gru": lambda: rows_together(GRU, gru_rows.BLOCK, gru_rows.update),
        "rnn": lambda: rows_together(RNN, rnn_rows.BLOCK, rnn_rows.update, blocks=2),
    }[op]()

    def kernel(context, row):
        assert made(context, row) == 10

    for hidden in (7, 16, 33):
        attrs = {"linear_before_reset": 1} if op == "gru" else {}
        cell = make_cell(op, moments=3, batch=10, inputs=3, hidden=hidden, **attrs)
        graph = cell_graph(cell)
        given = dict(zip(cell.node.inputs, cell.arrays, strict=True))
        got = Machine(lower(graph), {op: kernel}).run({name: given[name] for name in graph.inputs})
        for name, value in expected(cell).items():
            np.testing.assert_allclose(got[name], value, rtol=0, atol=2e-6)
        assert_bits_of_rows_alone(cell, got)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 20), st.integers(0, 20), st.integers(1, 70), st.booleans())
def test_rows_of_a_linear_layer_have_the_bits_of_each_alone(rows, inputs, outputs, bias):
    rng = np.random.default_rng(rows)
    x, w = rng.normal(size=(rows, inputs)).astype("f4"), rng.normal(size=(outputs, inputs)).astype("f4")
    b = rng.normal(size=outputs).astype("f4") if bias else None
    fixed = (1, 2) if bias else (1,)
    whole = run("linear", x, w, b, constants=fixed)
    np.testing.assert_allclose(whole, x.astype("f8") @ w.T.astype("f8") + (0 if b is None else b), rtol=0, atol=2e-5)
    for r in range(rows):
        np.testing.assert_array_equal(run("linear", x[r : r + 1], w, b, constants=fixed)[0], whole[r])
