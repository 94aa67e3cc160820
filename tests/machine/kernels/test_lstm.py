import numpy as np
import pytest
from hypothesis import assume, given, settings

from edgelstm.program.lower.lstm import pack, pack_projection
from edgelstm.reference import evaluate
from tests.cells import calm, cells, make_cell
from tests.machine.features import needs_fma
from tests.machine.kernels.cell_programs import assert_close, expected, run_cell


def settled(cell):
    """Whether the definition itself, in float32, stays close to float64: products of gates can blow rounding up."""
    exact, single = expected(cell), evaluate(cell.node, cell.arrays)
    errors = [np.abs(value - want).max(initial=0) for value, want in zip(single, exact.values(), strict=True)]
    return calm(cell) and max(errors) <= 5e-7


@settings(max_examples=150, deadline=None)
@given(cells(("lstm",), plain=True, max_hidden=70))
def test_plain_cell_agrees_with_the_reference(cell):
    assert_close(run_cell(cell), expected(cell))


@settings(max_examples=200, deadline=None)
@given(cells(("lstm",), max_hidden=40))
def test_any_cell_agrees_with_the_reference(cell):
    assume(settled(cell))
    assert_close(run_cell(cell), expected(cell))


@pytest.mark.parametrize("attrs", [{}, {"clip": 3.0}, {"projection": 6}, {"peepholes": True, "input_forget": 1}])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_bits_depend_on_neither_batch_nor_length(attrs, direction):
    """Rows alone, and steps one at a time, give the bits of the whole."""
    cell = make_cell("lstm", moments=6, batch=3, inputs=9, hidden=37, direction=direction, **attrs)
    whole = run_cell(cell)
    x, (h0, c0) = cell.arrays[0], cell.arrays[5:7]
    for b in range(3):
        h, c = h0[:, b : b + 1], c0[:, b : b + 1]
        for t in range(6) if direction == "forward" else reversed(range(6)):
            arrays = [x[t : t + 1, b : b + 1], *cell.arrays[1:5], h, c, *cell.arrays[7:]]
            one = run_cell(type(cell)(cell.node, tuple(arrays)))
            np.testing.assert_array_equal(one["y"][0, :, 0], whole["y"][t, :, b])
            h, c = one["h"], one["c"]
        np.testing.assert_array_equal(h[:, 0], whole["h"][:, b])
        np.testing.assert_array_equal(c[:, 0], whole["c"][:, b])


@pytest.mark.parametrize("hidden", [64, 72, 100])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_steps_whose_inputs_go_together_have_the_bits_of_steps_alone(hidden, direction):
    """13 steps: twice six together, and one that is left over."""
    cell = make_cell("lstm", moments=13, batch=1, inputs=9, hidden=hidden, direction=direction, scale=0.3)
    whole = run_cell(cell)
    assert_close(whole, expected(cell))
    x, (h, c) = cell.arrays[0], cell.arrays[5:7]
    for t in range(13) if direction == "forward" else reversed(range(13)):
        one = run_cell(type(cell)(cell.node, (x[t : t + 1], *cell.arrays[1:5], h, c, *cell.arrays[7:])))
        np.testing.assert_array_equal(one["y"][0], whole["y"][t])
        h, c = one["h"], one["c"]
    np.testing.assert_array_equal(c, whole["c"])


@pytest.mark.parametrize("hidden", [1, 15, 16, 17, 31, 32, 33, 48, 49, 64])
def test_every_way_of_filling_blocks(hidden):
    cell = make_cell("lstm", moments=3, batch=1, inputs=2, hidden=hidden, scale=0.7)
    assert_close(run_cell(cell), expected(cell))


@needs_fma
def test_a_gate_is_one_chain_of_fmas_from_the_bias_on():
    """The summation order is part of the contract: bias, then k ascending over x, then over h."""
    rng = np.random.default_rng(3)
    cell = make_cell("lstm", moments=1, batch=1, inputs=23, hidden=5, activations=("Affine",) * 3, alpha=(1.0,) * 3)
    x, w, r, b, h0, c0 = (cell.arrays[k] for k in (0, 1, 2, 3, 5, 6))
    x[:], w[:], r[:] = (rng.standard_normal(value.shape) for value in (x, w, r))
    got = run_cell(cell)
    gates = (b[0, :20] + b[0, 20:]).astype(np.float32)
    for k in range(23):
        gates = _fma(w[0, :, k], x[0, 0, k], gates)
    for k in range(5):
        gates = _fma(r[0, :, k], h0[0, 0, k], gates)
    i, o, f, g = gates.reshape(4, 5)
    c = _fma(f, c0[0, 0], i * g)
    np.testing.assert_array_equal(got["c"][0, 0], c)
    np.testing.assert_array_equal(got["h"][0, 0], o * c)


def _fma(a, b, c):
    """Rounded once: float64 holds the product exactly, and its sum is off by far less than half a float32 ulp."""
    exact = np.asarray(a, np.longdouble) * np.asarray(b, np.longdouble) + np.asarray(c, np.longdouble)
    return exact.astype(np.float32)


def test_nothing_is_read_past_a_length():
    cell = make_cell("lstm", moments=5, batch=3, lengths=[2, 0, 5], direction="bidirectional")
    want = expected(cell)
    cell.arrays[0][2:, 0] = np.nan
    cell.arrays[0][:, 1] = np.nan
    got = run_cell(cell)
    assert_close(got, want)
    np.testing.assert_array_equal(got["h"][:, 1], cell.arrays[5][:, 1])
    np.testing.assert_array_equal(got["c"][:, 1], cell.arrays[6][:, 1])


@pytest.mark.parametrize("length", [2**31 - 1, -1, 4])
def test_a_length_out_of_range_stops_the_program(length):
    cell = make_cell("lstm", moments=3, batch=2, lengths=[3, 0])
    cell.arrays[4][1] = length
    with pytest.raises(IndexError):
        run_cell(cell)


@pytest.mark.parametrize("wanted", [("y",), ("h",), ("c",)])
def test_outputs_that_nobody_wants(wanted):
    cell = make_cell("lstm", moments=3)
    assert_close(run_cell(cell, wanted), expected(cell))


def test_saturated_gates_stay_within_bounds():
    """Gates far out in every combination: |h| <= 1, and the cell adds, keeps or forgets as the sigmoids say."""
    rng = np.random.default_rng(2)
    big = rng.choice([-1e30, -1e4, -40, 0, 40, 1e4, 1e30], (1, 4 * 64, 1)).astype(np.float32)
    cell = make_cell("lstm", inputs=1, hidden=64, moments=1, batch=1)
    arrays = (np.ones((1, 1, 1), np.float32), big, 0 * cell.arrays[2], 0 * cell.arrays[3], *cell.arrays[4:])
    cell = type(cell)(cell.node, arrays)
    got = run_cell(cell)
    assert np.abs(got["h"]).max() <= 1
    assert_close(got, expected(cell))


def test_large_cell_states_survive():
    """A counter far from zero neither overflows nor loses its relative accuracy."""
    cell = make_cell("lstm", moments=2, batch=1, inputs=2, hidden=32)
    cell.arrays[6][:] = np.geomspace(1, 1e15, 32)
    got, want = run_cell(cell), expected(cell)
    np.testing.assert_allclose(got["c"], want["c"], rtol=2e-6)


def test_nan_reaches_every_unit_that_depends_on_it():
    cell = make_cell("lstm", moments=2, batch=2)
    cell.arrays[0][0, 1, 0] = np.nan
    got = run_cell(cell)
    assert np.isnan(got["y"][:, :, 1]).all()
    assert np.isfinite(got["y"][:, :, 0]).all()


def test_weights_are_packed_by_block_then_k_then_gate_then_lane():
    units, inputs = 18, 2
    w = np.arange(4 * units * inputs, dtype=np.float32).reshape(4 * units, inputs)
    r = -np.arange(4 * units * units, dtype=np.float32).reshape(4 * units, units)
    packed = pack(w, r, None)
    assert packed.shape == (2, 1 + inputs + units, 4, 16)
    assert packed[1, 1 + 1, 2, 1] == w[2 * units + 17, 1]
    assert packed[0, 1 + inputs + 5, 3, 9] == r[3 * units + 9, 5]
    assert not packed[1, :, :, 2:].any()
    assert not packed[:, 0].any()
    assert pack_projection(r[:3])[0, 7, 2] == r[2, 7]
