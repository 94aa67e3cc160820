import numpy as np
import pytest
from hypothesis import assume, given, settings

from tests.cells import calm, cells, make_cell
from tests.machine.kernels.cell_programs import assert_close, expected, run_cell


@settings(max_examples=150, deadline=None)
@given(cells(("rnn",), plain=True, max_hidden=90))
def test_plain_cell_agrees_with_the_reference(cell):
    assert_close(run_cell(cell), expected(cell))


@settings(max_examples=150, deadline=None)
@given(cells(("rnn",), max_hidden=40))
def test_any_cell_agrees_with_the_reference(cell):
    assume(calm(cell, 3))
    assert_close(run_cell(cell), expected(cell))


@pytest.mark.parametrize("activation", ["Tanh", "Relu"])
@pytest.mark.parametrize("hidden", [5, 64, 83])
def test_bits_depend_on_neither_batch_nor_length(activation, hidden):
    """Rows alone, and steps one at a time, give the bits of the whole."""
    cell = make_cell("rnn", inputs=9, hidden=hidden, moments=6, batch=3, activations=(activation,))
    whole = run_cell(cell)
    x, h0 = cell.arrays[0], cell.arrays[5]
    for b in range(3):
        h = h0[:, b : b + 1]
        for t in range(6):
            one = run_cell(type(cell)(cell.node, (x[t : t + 1, b : b + 1], *cell.arrays[1:5], h, *cell.arrays[6:])))
            np.testing.assert_array_equal(one["y"][0, :, 0], whole["y"][t, :, b])
            h = one["h"]
        np.testing.assert_array_equal(h[:, 0], whole["h"][:, b])


def test_nothing_is_read_past_a_length():
    cell = make_cell("rnn", moments=5, batch=3, lengths=[2, 0, 5], direction="bidirectional")
    want = expected(cell)
    cell.arrays[0][2:, 0] = np.nan
    cell.arrays[0][:, 1] = np.nan
    got = run_cell(cell)
    assert_close(got, want)
    np.testing.assert_array_equal(got["h"][:, 1], cell.arrays[5][:, 1])


@pytest.mark.parametrize("wanted", [("y",), ("h",)])
def test_outputs_that_nobody_wants(wanted):
    cell = make_cell("rnn", moments=3)
    assert_close(run_cell(cell, wanted), expected(cell))
