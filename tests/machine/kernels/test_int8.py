"""Kernels on int8 weights against the definition: all cells, both kinds of activations, some matrices in float."""

import numpy as np
import pytest

from edgelstm.errors import FormatError, ProgramError
from edgelstm.graph.check import check
from edgelstm.program.lower import BY_NUMBER
from edgelstm.program.lowering import lower
from edgelstm.program.reference import Reference
from edgelstm.program.verify import verify
from edgelstm.quantization.scheme import quantize_weights
from tests.machine.kernels.harness import Machine
from tests.machine.kernels.int8_cases import GATES, cell, conv, linear, table

CLOSE = 5e-6  # quantized activations are the same integers; what is left is the rounding of sums


def agree(graph, feeds, close=CLOSE):
    program = lower(graph)
    assert any(BY_NUMBER[row[0]].name.endswith("int8") for row in program.code.tolist())
    got, want = Machine(program).run(feeds), Reference(graph).call(feeds)
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, atol=close, rtol=close, err_msg=name)
    return got


@pytest.mark.parametrize("sizes", [(1, 1), (5, 20), (16, 32), (70, 130)])
@pytest.mark.parametrize("op", GATES)
def test_cells(op, sizes):
    agree(*cell(op, *sizes))


@pytest.mark.parametrize("op", GATES)
def test_weights_alone(op):
    agree(*cell(op, 7, 33, moments=4, int8=()))


@pytest.mark.parametrize(("role", "stored"), [("x", "w"), ("h", "r")])
@pytest.mark.parametrize("op", GATES)
def test_one_matrix_of_two(op, role, stored):
    agree(*cell(op, 9, 40, int8=(role,), stored=(stored,)))


@pytest.mark.parametrize("general", [{}, {"clip": 0.6}])
@pytest.mark.parametrize("after", [0, 1])
def test_both_kinds_of_reset(after, general):
    agree(*cell("gru", 6, 40, linear_before_reset=after, direction="reverse", **general))


def test_projection():
    agree(*cell("lstm", 7, 33, proj=9, stored=("w", "r", "proj"), int8=("x", "h", "proj")))


def test_peepholes_clip_and_both_directions():
    agree(*cell("lstm", 7, 33, peepholes=True, direction="bidirectional", clip=0.7))


@pytest.mark.parametrize(
    ("op", "acts"), [("rnn", ("relu",)), ("gru", ("sigmoid", "relu")), ("lstm", ("sigmoid", "tanh", "relu"))]
)
def test_states_without_a_bound(op, acts):
    graph, feeds = cell(op, 6, 30, acts=acts)
    feeds["h0"] *= 40
    agree(graph, feeds, close=1e-4)


@pytest.mark.parametrize("op", GATES)
def test_a_state_beyond_one_is_not_cut(op):
    graph, feeds = cell(op, 6, 30)
    feeds["h0"] *= 3
    agree(graph, feeds)


def test_fixed_scale_saturates():
    graph, feeds = cell("lstm", 6, 30, x_scale=0.01, x_zero=-20)
    agree(graph, feeds)


@pytest.mark.parametrize("value", [0.0, 1e-40, 1e-30, 1e-3])
def test_rows_of_one_size(value):
    graph, feeds = cell("lstm", 6, 30)
    feeds["x"][:] = np.float32(value) * np.sign(feeds["x"])
    agree(graph, feeds)


def test_the_largest_numbers_give_numbers():
    graph, feeds = cell("lstm", 6, 30)
    feeds["x"][:] = np.float32(3e38) * np.sign(feeds["x"])
    got = Machine(lower(graph)).run(feeds)
    assert all(np.isfinite(value).all() for value in got.values())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_shows(value):
    graph, feeds = cell("rnn", 6, 30)
    feeds["x"][0, 1, 3] = value
    got = agree(graph, feeds)["y"]
    assert np.isnan(got[:, :, 1]).all()
    assert np.isfinite(got[:, :, 0]).all()


def test_zero_rows_of_weights():
    w, scale = quantize_weights(np.zeros((2, 3), np.float32), 1)
    assert scale.tolist() == [[1.0], [1.0]]
    assert not w.any()


@pytest.mark.parametrize(("int8", "fixed"), [(("x",), {}), ((), {}), (("x",), {"x_scale": 0.01})])
@pytest.mark.parametrize("sizes", [(33, 1, 3), (64, 200, 2), (7, 70, 5), (1, 16, 1)])
def test_linear(sizes, int8, fixed):
    agree(*linear(*sizes, int8=int8, **fixed))


@pytest.mark.parametrize("int8", [("x",), ()])
@pytest.mark.parametrize(
    ("channels", "outputs", "size", "kernel", "window"),
    [
        (17, 5, (9,), (3,), {}),
        (6, 70, (9,), (3,), {"pads": (2, 1), "strides": (2,), "dilations": (2,)}),
        (6, 20, (7, 5), (3, 2), {"pads": (1, 0, 1, 1)}),
    ],
)
def test_conv(channels, outputs, size, kernel, window, int8):
    agree(*conv(channels, outputs, size, kernel, int8=int8, **window))


def test_table():
    graph, feeds = table(11, 75, [0, 10, -1, 3])
    machine = Machine(lower(graph))
    got = machine.run(feeds)["y"]
    np.testing.assert_array_equal(got, (graph.constants["t"] * graph.scales["t"])[feeds["i"]])
    with pytest.raises(IndexError):
        machine.run({"i": np.array([0, 11, 0, 0])})


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("units", [20, 64, 72])
@pytest.mark.parametrize("op", GATES)
def test_a_whole_sequence_is_its_steps(op, units, direction):
    """13 steps: twice the six whose inputs an LSTM takes in together, and one that is left over."""
    times = range(13) if direction == "forward" else range(12, -1, -1)
    for general in ({}, {"clip": 0.9}):
        graph, feeds = cell(op, 5, units, moments=13, batch=1, direction=direction, **general)
        whole = Machine(lower(graph)).run(feeds)
        one, _ = cell(op, 5, units, moments=1, batch=1, **general)
        machine = Machine(lower(one))
        states = {name: feeds[name] for name in feeds if name != "x"}
        for t in times:
            step = machine.run({"x": feeds["x"][t : t + 1], **states})
            states = {f"{name[0]}0": step[name] for name in step if name != "y"}
            np.testing.assert_array_equal(step["y"][0], whole["y"][t])
        for name in step.keys() - {"y"}:
            np.testing.assert_array_equal(step[name], whole[name])


@pytest.mark.parametrize(
    ("field", "value"), [("w_mode", 3), ("r_mode", -1), ("x_scale", -1), ("x_zero", 128), ("h_bounded", 2), ("I", 100)]
)
def test_damaged_rows_are_refused(field, value):
    program = lower(cell("lstm", 6, 30)[0])
    (index,) = (n for n, row in enumerate(program.code.tolist()) if BY_NUMBER[row[0]].name == "lstm_int8")
    program.code[index, BY_NUMBER[50].column(field)] = value
    with pytest.raises(ProgramError, match=rf"row {index} \(lstm_int8\)"):
        verify(program)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_a_scale_that_is_none_is_refused(bad):
    graph, _ = cell("lstm", 6, 30)
    graph.scales["r"].flags.writeable = True
    graph.scales["r"][0, 7] = bad
    with pytest.raises(FormatError, match="scales of 'r': expected finite numbers above 0"):
        check(graph)


def test_what_does_not_fit_is_refused():
    from dataclasses import replace

    graph, _ = cell("lstm", 6, 30)
    with pytest.raises(FormatError, match="'w' is int8 without scales"):
        check(replace(graph, scales={"r": graph.scales["r"]}))
    (node,) = graph.nodes
    for attrs, message in (
        ({"int8": ("y",)}, "int8 names 'y'"),
        ({"int8": ("proj",)}, "int8 names 'proj'"),
        ({"x_zero": 128}, "x_zero is 128"),
        ({"x_scale": -1.0}, "x_scale is -1.0"),
    ):
        with pytest.raises(FormatError, match=message):
            check(replace(graph, nodes=(replace(node, attrs={**node.attrs, **attrs}),)))
