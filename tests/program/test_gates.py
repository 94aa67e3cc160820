"""Nodes that run at some steps only: the machine skips their rows, the reference does not evaluate them."""

from dataclasses import replace

import numpy as np
import pytest

from edgelstm.errors import FormatError, InputError, ProgramError
from edgelstm.graph.bind import bind, free_symbols
from edgelstm.graph.check import check
from edgelstm.graph.ir import Graph, State, TensorType
from edgelstm.graph.ops import make_node
from edgelstm.passes.stream import to_step
from edgelstm.program.executor import ReferenceExecutor
from edgelstm.program.lower.gate import GATE
from edgelstm.program.lower.pointwise import UNARY
from edgelstm.program.lowering import lower
from edgelstm.program.opcodes import SCRATCH, operand
from edgelstm.program.status import OK
from edgelstm.program.verify import verify
from tests.gates import gated
from tests.program.test_executors_agree import worst
from tests.strategies import random_case

executor = pytest.importorskip("edgelstm.machine.executor")

EVERY = (3, 2)


def lstm_graph(every=(1, 0)):
    """tanh of x at every step; an LSTM over it, its states in place, and a count that is not, now and then."""
    rng = np.random.default_rng(0)

    def f(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    cell = {
        "hidden_size": 5,
        "activations": ("sigmoid", "tanh", "tanh"),
        "activation_alpha": (0.0,) * 3,
        "activation_beta": (0.0,) * 3,
    }
    nodes = (
        make_node("tanh", ["x"], ["t"]),
        replace(make_node("lstm", ["t", "w", "r", "", "", "h", "c"], ["y", "h2", "c2"], **cell), every=every),
        replace(make_node("reshape", ["y"], ["z"], shape=(5,)), every=every),
        replace(make_node("affine", ["n"], ["n2"], alpha=1.0, beta=1.0), every=every),
        make_node("add", ["tick", "one"], ["tick2"]),
    )
    state = TensorType("float32", (1, 1, 5))
    return Graph(
        inputs={
            "x": TensorType("float32", (1, 1, 3)),
            "h": state,
            "c": state,
            "n": TensorType("float32", (2,)),
            "tick": TensorType("int32", (1,)),
        },
        outputs={"t": "t", "z": "z", "n": "n2"},
        nodes=nodes,
        constants={"w": f(1, 20, 3), "r": f(1, 20, 5), "one": np.ones(1, np.int32)},
        states=(State("tick", "tick2"), State("h", "h2"), State("c", "c2"), State("n", "n2")),
        tick="tick",
    )


@pytest.mark.parametrize("kind", [ReferenceExecutor, executor.Machine])
def test_a_node_that_runs_now_and_then_sees_only_those_steps(kind):
    some, each = kind(lower(lstm_graph(EVERY))), kind(lower(lstm_graph()))
    xs = np.random.default_rng(1).standard_normal((12, 1, 1, 3)).astype(np.float32)
    for step, x in enumerate(xs):
        some.arenas.inputs["x"][...] = x
        assert some.execute(True) == OK
        np.testing.assert_allclose(some.arenas.outputs["t"], np.tanh(x), atol=1e-6)
        if step % 3 == 2:
            each.arenas.inputs["x"][...] = x
            assert each.execute(True) == OK
            for name in ("z", "n"):
                np.testing.assert_array_equal(some.arenas.outputs[name], each.arenas.outputs[name])
        for name in ("h", "c", "n"):
            np.testing.assert_array_equal(some.arenas.states[name], each.arenas.states[name])
    assert some.arenas.states["tick"] == 12
    assert each.arenas.states["n"][0] == 4


def test_rows_that_belong_together_stand_behind_one_gate():
    code = lower(lstm_graph(EVERY)).code
    gates = code[code[:, 0] == GATE.number]
    assert [GATE.read(row.tolist())["rows"] for row in gates] == [2, 1]  # lstm and affine; the copy of n


def test_a_gate_over_no_rows_is_not_emitted():
    graph = lstm_graph()
    nodes = tuple(replace(node, every=EVERY) if node.op == "reshape" else node for node in graph.nodes)
    assert GATE.number not in lower(replace(graph, nodes=nodes)).code[:, 0]


def compare(seed):
    """Random nodes gated, on the reference and on the machine."""
    rng = np.random.default_rng([seed, 2])
    case = random_case(seed, streamable=seed % 2 == 0)
    if seed % 2 == 0:
        bound = to_step(case.graph).graph
    else:
        sizes = {"T": int(rng.integers(1, 5)), "B": int(rng.integers(1, 3))}
        bound = bind(case.graph, {name: sizes[name] for name in free_symbols(case.graph)})
    graph = gated(bound, rng)
    program = lower(graph)
    machine, reference = executor.Machine(program), ReferenceExecutor(program)
    every = {name: node.every for node in graph.nodes for name in node.outputs}
    carried = {state.input for state in graph.states}
    for step in range(8):
        for name, kind in graph.inputs.items():
            if name not in carried:
                value = case.draw(rng, name, kind.shape)
                machine.arenas.inputs[name][...] = reference.arenas.inputs[name][...] = value
        assert machine.execute(True) == reference.execute(True) == OK
        for name, value in graph.outputs.items():
            stride, first = every.get(value, (1, 0))
            if step >= first and (step - first) % stride == 0:
                error = worst(reference.arenas.outputs[name], machine.arenas.outputs[name])
                assert error <= 1, f"seed {seed}, step {step}, output {name}: {error:.2f} tolerances"
        for name in carried:
            error = worst(reference.arenas.states[name], machine.arenas.states[name])
            assert error <= 1, f"seed {seed}, step {step}, state {name}: {error:.2f} tolerances"
    return any(node.every != (1, 0) for node in graph.nodes)


@pytest.mark.parametrize("batch", range(4))
def test_executors_agree_on_gated_graphs(batch):
    assert sum(compare(seed) for seed in range(batch, 120, 4)) > 15


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(20))
def test_executors_agree_on_many_gated_graphs(batch):
    for seed in range(200 + batch, 3200, 20):
        compare(seed)


# One test a refusal.


def with_gate(**fields):
    program = lower(lstm_graph(EVERY))
    code = program.code.copy()
    row = int(np.flatnonzero(code[:, 0] == GATE.number)[0])
    for name, value in fields.items():
        code[row, GATE.column(name)] = value
    return replace(program, code=code), row


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"rows": -1}, "rows is -1"),
        ({"rows": 1 << 40}, "rows is"),
        ({"stride": 0}, "stride is 0"),
        ({"stride": -3}, "stride is -3"),
        ({"first": -1}, "first is -1"),
        ({"tick": -1}, "not an operand"),
        ({"tick": operand(SCRATCH, 1 << 20)}, "leave scratch"),
    ],
)
def test_damaged_gates_are_refused(fields, match):
    with pytest.raises(ProgramError, match=match):
        verify(with_gate(**fields)[0])


def test_a_gate_may_guard_every_row_that_follows_and_no_more():
    program, row = with_gate()
    left = len(program.code) - row - 1
    verify(with_gate(rows=left)[0])
    with pytest.raises(ProgramError, match=rf"row {row} \(gate\): guards more rows than follow"):
        verify(with_gate(rows=left + 1)[0])
    code = np.concatenate([program.code[program.code[:, 0] == UNARY.number][:1], program.code[row : row + 1]])
    with pytest.raises(ProgramError, match="more rows than follow"):
        verify(replace(program, code=code))


def test_a_graph_that_counts_no_steps_has_no_gates():
    graph = lstm_graph(EVERY)
    with pytest.raises(InputError, match="counts no steps"):
        lower(replace(graph, tick=""))


def test_whole_graphs_have_no_steps():
    whole = lstm_graph()
    with pytest.raises(FormatError, match="counts steps in 'tick'"):
        check(whole)
    with pytest.raises(FormatError, match="runs at some steps only"):
        check(replace(lstm_graph(EVERY), tick=""))
