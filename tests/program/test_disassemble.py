"""A program as text."""

import numpy as np

from edgelstm.graph.ir import Graph, State, TensorType
from edgelstm.graph.ops import make_node
from edgelstm.program.disassemble import disassemble, place
from edgelstm.program.lower import BY_NUMBER
from edgelstm.program.lowering import lower
from edgelstm.program.opcodes import ABSENT, SCRATCH, STATE, WEIGHTS, operand


def test_places():
    assert place(operand(WEIGHTS, 5)) == "weights+5"
    assert place(operand(STATE, 0)) == "state+0"
    assert place(operand(SCRATCH, 32)) == "scratch+32"
    assert place(ABSENT) == "-"


def test_every_line_names_its_instruction_and_places():
    graph = Graph(
        inputs={"x": TensorType("float32", (2, 3)), "s": TensorType("float32", (2, 3))},
        outputs={"y": "y"},
        nodes=(make_node("add", ["x", "s"], ["t"]), make_node("linear", ["t", "w"], ["y"])),
        constants={"w": np.ones((4, 3), np.float32)},
        states=(State("s", "t"),),
    )
    lines = disassemble(lower(graph)).splitlines()
    assert [line.split()[:2] for line in lines] == [["0", "binary"], ["1", "linear"], ["2", "copy"]]
    assert "a=scratch+0 b=state+0" in lines[0]
    assert "w=weights+0" in lines[1]
    assert "y=state+0" in lines[2]


def test_operands_are_told_from_sizes():
    for opcode in BY_NUMBER.values():
        assert set(opcode.operands) <= set(opcode.fields)
        assert opcode.operands
        # every region of an instruction starts at one of its operands
        assert not {"work", "h0", "lengths", "w", "bias"} & set(opcode.fields) - set(opcode.operands)
