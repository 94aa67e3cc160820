"""An index in the data never leaves part of a step in the state, and a history is not copied to make sure of it."""

from dataclasses import replace

import numpy as np
import pytest

from edgelstm.graph.ir import Graph, State, TensorType
from edgelstm.graph.ops import make_node
from edgelstm.program.executor import ReferenceExecutor
from edgelstm.program.fallible import can_stop, can_stop_halfway
from edgelstm.program.lower.gather import BOUND, PUT
from edgelstm.program.lower.movement import COPY
from edgelstm.program.lowering import lower
from edgelstm.program.status import INDEX, OK

SIZE = 4


def history(*more, index="n", every=(1, 0), states=(), tick=""):
    """A cell in place, then a history of its outputs, of `SIZE` places."""
    cell = {"hidden_size": 3, "activations": ("tanh",), "activation_alpha": (0.0,), "activation_beta": (0.0,)}
    put = make_node("put", ["past", "e", index], ["after"], axis=1)
    nodes = (
        make_node("rnn", ["x", "w", "r", "", "", "h"], ["y", "h2"], **cell),
        make_node("reshape", ["y"], ["e"], shape=(1, 1, 3)),
        *more,
        replace(put, every=every),
        make_node("add", ["n", "one"], ["n2"]),
    )
    return Graph(
        inputs={
            "x": TensorType("float32", (1, 1, 2)),
            "h": TensorType("float32", (1, 1, 3)),
            "past": TensorType("float32", (1, SIZE, 3)),
            "n": TensorType("int32", (1,)),
        },
        outputs={"after": "after"},
        nodes=nodes,
        constants={
            "w": np.ones((1, 3, 2), np.float32) / 4,
            "r": np.ones((1, 3, 3), np.float32) / 4,
            "one": np.ones(1, np.int32),
        },
        states=(State("h", "h2"), State("past", "after"), State("n", "n2"), *states),
        tick=tick,
    )


def later():
    """The index is computed in the step, so it cannot be looked at before."""
    return history(make_node("add", ["n", "one"], ["later"]), index="later")


def machine(program):
    return pytest.importorskip("edgelstm.machine.executor").Machine(program)


@pytest.mark.parametrize("kind", [ReferenceExecutor, machine])
@pytest.mark.parametrize(("graph", "steps"), [(history(), SIZE), (later(), SIZE - 1)], ids=["given", "computed"])
def test_a_full_history_leaves_everything_as_it_was(kind, graph, steps):
    executor = kind(lower(graph))
    rng = np.random.default_rng(3)
    for _ in range(steps):
        executor.arenas.inputs["x"][...] = rng.standard_normal((1, 1, 2))
        assert executor.execute(True) == OK
    past = executor.arenas.states["past"][0, :, 0]
    assert np.count_nonzero(past) == steps
    before = executor.arenas.state.copy()
    for _ in range(2):
        assert executor.execute(True) == INDEX
        np.testing.assert_array_equal(executor.arenas.state, before)


def test_a_given_index_is_looked_at_first():
    program = lower(history())
    assert program.code[0, 0] == BOUND.number
    assert can_stop(program)
    assert not can_stop_halfway(program)


def test_an_index_that_is_computed_can_stop_halfway():
    assert can_stop_halfway(lower(later()))


def test_what_has_no_index_cannot_stop():
    graph = history()
    nodes = tuple(node for node in graph.nodes if node.op != "put")
    states = (State("h", "h2"), State("n", "n2"))
    inputs = {name: kind for name, kind in graph.inputs.items() if name != "past"}
    program = lower(replace(graph, nodes=nodes, inputs=inputs, outputs={"e": "e"}, states=states))
    assert not can_stop(program)
    assert not can_stop_halfway(program)


def test_a_history_is_written_in_place():
    code = lower(history()).code
    copies = [COPY.read(row.tolist()) for row in code if row[0] == COPY.number]
    assert all(copy["n5"] < SIZE for copy in copies)  # the count alone


@pytest.mark.parametrize(
    ("field", "value"), [("size", SIZE + 1), ("backward", 1), ("indices", None)], ids=["size", "backward", "place"]
)
def test_a_look_that_proves_too_little_is_not_relied_upon(field, value):
    program = lower(history())
    code = program.code.copy()
    other = int(code[code[:, 0] == PUT.number][0, PUT.column("value")])
    code[0, BOUND.column(field)] = other if value is None else value
    assert can_stop_halfway(replace(program, code=code))


def test_a_look_at_other_steps_is_not_relied_upon():
    tick = (State("n", "n2"),)
    graph = replace(history(every=(2, 0)), tick="n", states=(*history().states[:2], *tick))
    program = lower(graph)
    assert not can_stop_halfway(program)
    code = program.code.copy()
    assert code[1, 0] == BOUND.number
    code[0, 3] = 1  # the gate before it: due at other steps than the history
    assert can_stop_halfway(replace(program, code=code))
