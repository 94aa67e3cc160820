"""Rows of the recurrent and linear instructions: what they hold, and that damaged ones are refused.

The row of a cell is the last: the lengths are looked at before.
"""

from dataclasses import replace

import numpy as np
import pytest

from edgelstm.errors import ProgramError, UnsupportedError
from edgelstm.graph.ir import Graph, TensorType
from edgelstm.graph.ops import make_node
from edgelstm.program.lower import BY_NUMBER, gru, linear, rnn
from edgelstm.program.lowering import lower
from edgelstm.program.verify import verify
from tests.cells import make_cell
from tests.machine.kernels.cell_programs import cell_graph


def linear_graph():
    x, w = TensorType("float32", (3, 5)), np.zeros((4, 5), np.float32)
    return Graph({"x": x}, {"y": "y"}, (make_node("linear", ["x", "w"], ["y"]),), {"w": w})


def cell(op, **attrs):
    return cell_graph(make_cell(op, lengths=[1, 3], direction="reverse", **attrs))


GRAPHS = {
    "linear": linear_graph(),
    "rnn": cell("rnn"),
    "gru before": cell("gru", linear_before_reset=0),
    "gru after": cell("gru", linear_before_reset=1),
    "gru general": cell("gru", linear_before_reset=1, clip=1.0),
}
BITS = ("clip", "alpha", "beta")  # any 32 bits are a float32


def damaged(name, field, value):
    program = lower(GRAPHS[name])
    code = program.code.copy()
    opcode = BY_NUMBER[int(code[-1, 0])]
    code[-1, opcode.column(field)] = value
    return replace(program, code=code)


def fields(name):
    return BY_NUMBER[int(lower(GRAPHS[name]).code[-1, 0])].fields


@pytest.mark.parametrize(("name", "field"), [(name, field) for name in GRAPHS for field in fields(name)])
@pytest.mark.parametrize("value", [-3, 3 << 30, 1 << 40])
def test_a_field_out_of_range_is_refused(name, field, value):
    if value == -3 and field.startswith(BITS):
        verify(damaged(name, field, value))
        return
    with pytest.raises(ProgramError, match=r"row \d"):
        verify(damaged(name, field, value))


@pytest.mark.parametrize("name", GRAPHS)
def test_an_operand_that_must_be_there(name):
    for field in ("x", "w", "work") if name != "linear" else ("x", "w", "y"):
        with pytest.raises(ProgramError, match=r"row \d"):
            verify(damaged(name, field, -1))


@pytest.mark.parametrize("field", ["T", "B", "I", "H", "x_time", "y_row", "work"])
def test_one_more_than_there_is_room_for(field):
    """Every size and place stands in some region's bound."""
    program = lower(GRAPHS["gru general"])
    opcode = BY_NUMBER[int(program.code[-1, 0])]
    value = int(program.code[-1, opcode.column(field)])
    with pytest.raises(ProgramError):
        verify(damaged("gru general", field, value + 4 * program.scratch_words))


def test_gru_packs_reset_after_with_both_biases_of_the_candidate():
    w, r = np.arange(6, dtype=np.float32).reshape(3, 2), 10 + np.arange(3, dtype=np.float32).reshape(3, 1)
    b = 100 + np.arange(6, dtype=np.float32)
    packed = gru.pack(w, r, b, reset_after=True)
    assert packed.shape == (1, 4 + 3 * 3, 16)
    assert not packed[:, :, 1:].any()
    # biases z, r, n of x, n of h; then z, r, n of each k of x; of each k of h
    assert packed[0, :, 0].tolist() == [203, 205, 102, 105, 0, 2, 4, 1, 3, 5, 10, 11, 12]


def test_gru_packs_reset_before_with_the_candidate_last():
    w, r = np.arange(12, dtype=np.float32).reshape(6, 2), np.arange(12, dtype=np.float32).reshape(6, 2)
    packed = gru.pack(w, r, None, reset_after=False)
    assert packed[0, 4:, 0].tolist() == [0, 4, 8, 1, 5, 9, 0, 4, 1, 5, 8, 9]
    assert packed[0, 4:, 1].tolist() == [2, 6, 10, 3, 7, 11, 2, 6, 3, 7, 10, 11]


def test_linear_and_rnn_pack_blocks_of_sixteen():
    w = np.arange(34, dtype=np.float32).reshape(17, 2)
    packed = linear.pack(w, np.arange(17, dtype=np.float32))
    assert packed.shape == (2, 3, 1, 16)
    np.testing.assert_array_equal(packed[0, 0, 0], np.arange(16))
    np.testing.assert_array_equal(packed[0, 2, 0], w[:16, 1])
    assert packed[1, :, 0, 0].tolist() == [16, 32, 33]
    assert not packed[1, :, 0, 1:].any()
    assert rnn.pack(w, np.zeros((17, 17), np.float32), None).shape == (2, 20, 1, 16)


@pytest.mark.parametrize("op", ["gru", "rnn"])
def test_weights_made_at_run_time_are_refused(op):
    made = cell_graph(make_cell(op))
    free = {**made.inputs, "r": TensorType("float32", made.constants["r"].shape)}
    constants = {name: value for name, value in made.constants.items() if name != "r"}
    with pytest.raises(UnsupportedError, match=r"r \('r'\) is computed at run time"):
        lower(replace(made, inputs=free, constants=constants))
