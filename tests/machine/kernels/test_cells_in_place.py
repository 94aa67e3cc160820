"""Carried states are written over themselves, and the bits are those of the whole run."""

from dataclasses import replace

import numpy as np
import pytest

from edgelstm.program.lowering import lower
from edgelstm.program.opcodes import STATE
from tests.cells import OUTPUTS, make_cell
from tests.machine.kernels.cell_programs import cell_graph, run_cell
from tests.machine.kernels.harness import SENTINEL, Machine

CASES = [
    ("rnn", {}),
    ("rnn", {"activations": ("Softsign",)}),
    ("gru", {"linear_before_reset": 0}),
    ("gru", {"linear_before_reset": 1}),
    ("gru", {"linear_before_reset": 0, "clip": 2.0}),
    ("gru", {"linear_before_reset": 1, "clip": 2.0}),
    ("lstm", {}),
    ("lstm", {"peepholes": True, "input_forget": 1}),
    ("lstm", {"projection": 7}),
]


@pytest.mark.parametrize(("op", "attrs"), CASES)
@pytest.mark.parametrize("hidden", [3, 37, 64])
def test_steps_in_place_are_the_whole_run(op, attrs, hidden):
    cell = make_cell(op, inputs=5, hidden=hidden, moments=7, batch=2, **attrs)
    whole = run_cell(cell)
    x, start = cell.arrays[0], [value for value in cell.arrays[5:7] if value is not None]
    pairs = [(f"{name}0", name) for name in OUTPUTS[op][1:]]
    one = type(cell)(cell.node, (x[:1], *cell.arrays[1:]))
    program = lower(replace(cell_graph(one, states=pairs), outputs={"y": "y"}))
    assert len(program.code) == 1  # nothing is copied
    assert all(port.operand % 4 == STATE for port in program.states)
    machine = Machine(program)
    outside = np.ones(machine.state.size, bool)
    for port, value in zip(program.states, start, strict=True):
        machine.state[port.start : port.start + port.words] = value.ravel()
        outside[port.start : port.start + port.words] = False
    machine.state[outside] = SENTINEL
    for t in range(7):
        got = machine.run({"x": x[t : t + 1]})["y"]
        np.testing.assert_array_equal(got[0], whole["y"][t])
    for port, (_, name) in zip(program.states, pairs, strict=True):
        carried = machine.state[port.start : port.start + port.words]
        np.testing.assert_array_equal(carried, whole[name].ravel())
    np.testing.assert_array_equal(machine.state[outside].view(np.int32), SENTINEL.view(np.int32))
