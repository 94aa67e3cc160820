import numpy as np
import pytest
from hypothesis import assume, given, settings

from tests.cells import calm, cells, make_cell
from tests.machine.kernels.cell_programs import assert_close, expected, run_cell


@settings(max_examples=150, deadline=None)
@given(cells(("gru",), plain=True, max_hidden=70))
def test_plain_cell_agrees_with_the_reference(cell):
    assert_close(run_cell(cell), expected(cell))


@settings(max_examples=200, deadline=None)
@given(cells(("gru",), max_hidden=40))
def test_any_cell_agrees_with_the_reference(cell):
    assume(calm(cell, 3))
    assert_close(run_cell(cell), expected(cell))


@pytest.mark.parametrize("reset_after", [0, 1])
@pytest.mark.parametrize("clip", [0.0, 3.0])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_bits_depend_on_neither_batch_nor_length(reset_after, clip, direction):
    """Rows alone, and steps one at a time, give the bits of the whole."""
    sizes = {"inputs": 9, "hidden": 37, "linear_before_reset": reset_after, "clip": clip, "direction": direction}
    cell = make_cell("gru", moments=6, batch=3, **sizes)
    whole = run_cell(cell)
    x, h0 = cell.arrays[0], cell.arrays[5]
    for b in range(3):
        h = h0[:, b : b + 1]
        for t in range(6) if direction == "forward" else reversed(range(6)):
            arrays = [x[t : t + 1, b : b + 1], *cell.arrays[1:5], h, *cell.arrays[6:]]
            one = run_cell(type(cell)(cell.node, tuple(arrays)))
            np.testing.assert_array_equal(one["y"][0, :, 0], whole["y"][t, :, b])
            h = one["h"]
        np.testing.assert_array_equal(h[:, 0], whole["h"][:, b])


@pytest.mark.parametrize("reset_after", [0, 1])
def test_nothing_is_read_past_a_length(reset_after):
    cell = make_cell(
        "gru", moments=5, batch=3, lengths=[2, 0, 5], direction="bidirectional", linear_before_reset=reset_after
    )
    want = expected(cell)
    cell.arrays[0][2:, 0] = np.nan
    cell.arrays[0][:, 1] = np.nan
    got = run_cell(cell)
    assert_close(got, want)
    np.testing.assert_array_equal(got["h"][:, 1], cell.arrays[5][:, 1])


@pytest.mark.parametrize("wanted", [("y",), ("h",)])
def test_outputs_that_nobody_wants(wanted):
    cell = make_cell("gru", moments=3, linear_before_reset=1)
    assert_close(run_cell(cell, wanted), expected(cell))


@pytest.mark.parametrize("reset_after", [0, 1])
def test_saturated_gates_stay_within_bounds(reset_after):
    """z, r and n far out in every combination: |h| <= 1, and a closed update keeps h to rounding."""
    rng = np.random.default_rng(2)
    big = rng.choice([-1e30, -1e4, -20, 0, 20, 1e4, 1e30], (1, 48, 1)).astype(np.float32)
    cell = make_cell("gru", inputs=1, hidden=16, moments=1, batch=1, linear_before_reset=reset_after)
    arrays = (np.ones((1, 1, 1), np.float32), big, 0 * cell.arrays[2], 0 * cell.arrays[3], *cell.arrays[4:])
    cell = type(cell)(cell.node, arrays)
    got = run_cell(cell)
    assert np.abs(got["h"]).max() <= 1
    assert_close(got, expected(cell))


def test_nan_reaches_every_unit_that_depends_on_it():
    cell = make_cell("gru", moments=2, batch=2, linear_before_reset=1)
    cell.arrays[0][0, 1, 0] = np.nan
    got = run_cell(cell)
    assert np.isnan(got["y"][:, :, 1]).all()
    assert np.isfinite(got["y"][:, :, 0]).all()
