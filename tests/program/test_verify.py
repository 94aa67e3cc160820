"""What verify lets through runs in bounds; everything else is refused, each reason by its own test."""

import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgelstm.errors import ProgramError
from edgelstm.graph.ir import Graph, State, TensorType
from edgelstm.graph.ops import make_node
from edgelstm.program.lower.matmul import MATMUL
from edgelstm.program.lower.movement import COPY
from edgelstm.program.lower.pointwise import UNARY
from edgelstm.program.lowering import lower
from edgelstm.program.opcodes import LANES, ROW, SCRATCH, STATE, WEIGHTS, operand
from edgelstm.program.program import Port
from edgelstm.program.verify import verify

ROOT = Path(__file__).resolve().parents[2]
KILLED = (-signal.SIGSEGV, -signal.SIGBUS)


def guarded(first, last, *more):
    pytest.importorskip("numba")
    command = [sys.executable, "-m", "tests.program.guarded", str(first), str(last), *more]
    path = [str(ROOT), str(ROOT / "converters")]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment(path), timeout=600)


def environment(path):
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*path, os.environ.get("PYTHONPATH", "")])}


def outcomes(first, last):
    done = guarded(first, last)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"killed by {done.returncode} after {lines[-1:]}: {done.stderr[-500:]}"
    counts = Counter(line.split()[1] for line in lines)
    assert counts["runs"] == counts["ran"]
    return counts


def test_mutated_programs_are_rejected_or_run_in_bounds():
    counts = outcomes(0, 4000)
    assert counts["rejected"] + counts["ran"] == 4000
    assert counts["rejected"] > 1000
    assert counts["ran"] > 1000


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_many_mutated_programs_are_rejected_or_run_in_bounds(part):
    counts = outcomes(100_000 + part * 20_000, 120_000 + part * 20_000)
    assert counts["rejected"]
    assert counts["ran"]


def test_the_guard_sees_what_verify_would_have_refused():
    assert guarded(0, 4000, "unverified").returncode in KILLED


# One test a rejection.


@pytest.fixture(scope="module")
def program():
    """One of everything that a test changes: an input, a state, weights, an integer, a few instructions."""
    graph = Graph(
        inputs={
            "x": TensorType("float32", (2, 3)),
            "s": TensorType("float32", (2, 3)),
            "i": TensorType("int64", (2,)),
        },
        outputs={"y": "u", "j": "j", "p": "p"},
        nodes=(
            make_node("tanh", ["x"], ["t"]),
            make_node("add", ["t", "s"], ["u"]),
            make_node("neg", ["i"], ["j"]),
            make_node("matmul", ["u", "k"], ["p"]),
        ),
        constants={"k": np.ones((3, 3), np.float32)},
        states=(State("s", "u"),),
    )
    made = lower(graph)
    verify(made)
    return made


def row_of(program, opcode):
    return int(np.flatnonzero(program.code[:, 0] == opcode.number)[0])


def with_field(program, opcode, **fields):
    code = program.code.copy()
    for name, value in fields.items():
        code[row_of(program, opcode), opcode.column(name)] = value
    return replace(program, code=code)


def with_port(program, role, **changes):
    ports = getattr(program, role)
    return replace(program, **{role: (replace(ports[0], **changes), *ports[1:])})


def refused(program, match):
    with pytest.raises(ProgramError, match=match):
        verify(program)


def test_table_of_another_dtype(program):
    refused(replace(program, code=program.code.astype(np.int32)), "must be int64")


def test_table_of_another_width(program):
    refused(replace(program, code=program.code[:, :-1]), f"rows, {ROW}")


def test_table_of_another_rank(program):
    refused(replace(program, code=program.code.ravel()), "rows")


def test_unknown_opcode(program):
    code = program.code.copy()
    code[1, 0] = 999
    refused(replace(program, code=code), "row 1: 999 is not an opcode")


def test_unused_column(program):
    code = program.code.copy()
    code[row_of(program, UNARY), ROW - 1] = 1
    refused(replace(program, code=code), "unused columns must be 0")


def test_field_out_of_range_names_the_row(program):
    row = row_of(program, UNARY)
    refused(with_field(program, UNARY, function=50), rf"row {row} \(unary\): unknown function 50")


def test_operand_that_is_no_place(program):
    refused(with_field(program, UNARY, x=operand(SCRATCH, 0) + 1), "not an operand|not a place")


def test_absent_operand_that_is_needed(program):
    refused(with_field(program, UNARY, x=-1), "not an operand")


def test_read_past_the_end(program):
    last = program.scratch_words - program.inputs[0].words
    refused(with_field(program, UNARY, x=operand(SCRATCH, last + 1)), "leave scratch")


def test_read_into_the_slack(program):
    """A region may end where the slack begins, not later: vectors read LANES - 1 words on."""
    words = program.inputs[0].words
    last = program.scratch_words - words - (LANES - 1)
    verify(with_field(program, UNARY, x=operand(SCRATCH, last)))
    refused(with_field(program, UNARY, x=operand(SCRATCH, last + 1)), "leave scratch")


def test_write_past_the_end(program):
    words = program.inputs[0].words
    last = program.scratch_words - words
    verify(with_field(program, UNARY, y=operand(SCRATCH, last)))
    refused(with_field(program, UNARY, y=operand(SCRATCH, last + 1)), "leave scratch")


def test_write_to_the_weights(program):
    refused(with_field(program, UNARY, y=operand(WEIGHTS, 0)), "writes to the weights")


def test_walk_that_starts_before_its_arena(program):
    graph = Graph(
        inputs={"x": TensorType("float32", (4,))},
        outputs={"y": "y"},
        nodes=(make_node("slice", ["x"], ["y"], axes=(0,), starts=(3,), stops=(-1,), steps=(-1,)),),
        constants={},
    )
    backwards = lower(graph)
    refused(with_field(backwards, COPY, x=operand(SCRATCH, 1)), "before its operand")


def test_write_that_falls_on_itself(program):
    graph = Graph(
        inputs={"x": TensorType("float32", (4, 3))},
        outputs={"y": "y"},
        nodes=(make_node("transpose", ["x"], ["y"], perm=(1, 0)),),
        constants={},
    )
    moved = lower(graph)
    refused(with_field(moved, COPY, y5=0), "falls on itself")


def test_size_beyond_every_limit(program):
    refused(with_field(program, UNARY, count=1 << 31), "count is 2147483648")


def test_sizes_whose_product_is_beyond_every_arena(program):
    refused(with_field(program, MATMUL, m=1 << 30, n=1 << 30), "leave")


def test_size_below_zero(program):
    refused(with_field(program, UNARY, count=-4), "count is -4")


def test_input_outside_scratch(program):
    refused(with_port(program, "inputs", operand=operand(STATE, 0)), "input 'x' must live in scratch")


def test_state_outside_the_state(program):
    refused(with_port(program, "states", operand=operand(SCRATCH, 0)), "state 's' must live in state")


@pytest.mark.parametrize("role", ["inputs", "outputs", "states"])
def test_port_past_the_end(program, role):
    arena = getattr(program, role)[0].operand % 4
    refused(with_port(program, role, operand=operand(arena, 1 << 20)), "port .* leave")


def test_port_of_no_arena(program):
    refused(with_port(program, "outputs", operand=3), "not a place")


def test_port_of_a_negative_place(program):
    refused(with_port(program, "outputs", operand=-2), "not a place")


def test_port_of_a_negative_size(program):
    refused(with_port(program, "outputs", shape=(-2, 3)), "not a place|negative")


def test_port_of_two_negative_sizes(program):
    refused(with_port(program, "outputs", shape=(-2, -1)), "negative|not a place")


def test_integers_staged_among_the_floats(program):
    first, *rest = program.inputs
    late = Port("z", "float32", (1,), operand(SCRATCH, program.inputs[-1].start + 16))
    refused(replace(program, inputs=(first, *rest, late)), "float32 inputs must stand before")


def test_scratch_that_is_too_small(program):
    refused(replace(program, scratch_words=program.scratch_words - 32), "leave scratch")


def test_state_that_is_too_small(program):
    refused(replace(program, initial_state=program.initial_state[:-32]), "leave state")


def test_weights_that_are_too_small(program):
    refused(replace(program, weights=program.weights[:-32]), "leave weights")
