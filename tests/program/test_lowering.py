"""Where values live: buffers are reused only when nobody needs them, states are carried whatever the data flow."""

import numpy as np
import pytest

from edgelstm.errors import InputError, UnsupportedError
from edgelstm.graph.dims import symbol
from edgelstm.graph.ir import Graph, Node, State, TensorType
from edgelstm.graph.ops import make_node
from edgelstm.program.executor import ReferenceExecutor
from edgelstm.program.lower.movement import COPY
from edgelstm.program.lowering import lower, rounded, to_words
from edgelstm.program.opcodes import LANES, SCRATCH, STATE, WEIGHTS, Opcode, float_bits, operand
from edgelstm.program.program import Port, aligned
from edgelstm.program.status import INVALID, OK

machine = pytest.importorskip("edgelstm.machine.executor")


def kind(*shape, dtype="float32"):
    return TensorType(dtype, shape)


def run(graph, steps):
    """Outputs and states after each step, the machine's and the reference's, which must be the same bits."""
    program = lower(graph)
    executors = [machine.Machine(program), ReferenceExecutor(program)]
    seen = []
    for feeds in steps:
        for one in executors:
            for name, value in feeds.items():
                one.arenas.inputs[name][...] = value
            assert one.execute(True) == OK
        a, b = (one.arenas for one in executors)
        for mine, theirs in ((a.outputs, b.outputs), (a.states, b.states)):
            for name, view in mine.items():
                np.testing.assert_array_equal(view, theirs[name], name)
        seen.append({name: view.copy() for name, view in (a.outputs | a.states).items()})
    return seen


def used_scratch(graph):
    return lower(graph).scratch_words


# Reuse of buffers.


def chain(length, width=100):
    nodes = [make_node("neg", ["x" if k == 0 else f"v{k}"], [f"v{k + 1}"]) for k in range(length)]
    return Graph({"x": kind(width)}, {"y": f"v{length}"}, tuple(nodes), {})


def test_a_chain_reuses_its_buffers():
    assert used_scratch(chain(40)) == used_scratch(chain(3))
    assert used_scratch(chain(3)) > used_scratch(chain(1))
    x = np.arange(100, dtype=np.float32)
    (seen,) = run(chain(5), [{"x": x}])
    np.testing.assert_array_equal(seen["y"], -x)


def test_a_diamond_keeps_what_is_needed_later():
    """a is needed by both arms, b until the last node."""
    nodes = (
        make_node("affine", ["x"], ["a"], alpha=2.0),
        make_node("affine", ["a"], ["b"], beta=1.0),
        make_node("affine", ["b"], ["c"], alpha=3.0),
        make_node("affine", ["c"], ["d"], beta=5.0),
        make_node("add", ["a", "d"], ["e"]),
        make_node("add", ["e", "b"], ["y"]),
    )
    x = np.arange(40, dtype=np.float32)
    (seen,) = run(Graph({"x": kind(40)}, {"y": "y"}, nodes, {}), [{"x": x}])
    a, b = 2 * x, 2 * x + 1
    np.testing.assert_array_equal(seen["y"], a + (3 * b + 5) + b)


def test_random_webs_of_additions():
    """Integers, so that any clobbered word shows exactly."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        names, nodes = ["x"], []
        for k in range(25):
            pair = [names[int(i)] for i in rng.integers(max(0, len(names) - 6), len(names), 2)]
            op = str(rng.choice(["add", "sub", "maximum", "reshape", "slice", "identity"]))
            name = f"v{k}"
            if op in ("add", "sub", "maximum"):
                nodes.append(make_node(op, pair, [name]))
            elif op == "reshape":
                nodes.append(make_node("reshape", pair[:1], [name], shape=(23,)))
            elif op == "slice":
                part = make_node("slice", pair[:1], [f"{name}/a"], axes=(0,), starts=(4,), stops=(23,), steps=(1,))
                rest = make_node("slice", pair[:1], [f"{name}/b"], axes=(0,), starts=(0,), stops=(4,), steps=(1,))
                nodes += [part, rest, make_node("concat", [f"{name}/a", f"{name}/b"], [name], axis=0)]
            else:
                nodes.append(make_node("identity", pair[:1], [name]))
            names.append(name)
        shown = {f"o{k}": str(name) for k, name in enumerate(rng.choice(names, 4))}
        graph = Graph({"x": kind(23, dtype="int32")}, shown, tuple(nodes), {})
        run(graph, [{"x": rng.integers(-9, 10, 23)} for _ in range(2)])


def test_a_view_keeps_its_source_alive():
    nodes = (
        make_node("affine", ["x"], ["a"], alpha=2.0),
        make_node("slice", ["a"], ["tail"], axes=(0,), starts=(32,), stops=(64,), steps=(1,)),
        make_node("reshape", ["tail"], ["r"], shape=(4, 8)),
        make_node("affine", ["x"], ["b"], alpha=7.0),
        make_node("affine", ["b"], ["c"], alpha=1.0),
        make_node("transpose", ["r"], ["y"], perm=(1, 0)),
    )
    x = np.arange(64, dtype=np.float32)
    (seen,) = run(Graph({"x": kind(64)}, {"y": "y", "c": "c"}, nodes, {}), [{"x": x}])
    np.testing.assert_array_equal(seen["y"], (2 * x[32:]).reshape(4, 8).T)


def test_what_nobody_uses_gives_its_room_back():
    nodes = tuple(make_node("exp", ["x"], [f"dead{k}"]) for k in range(30))
    assert used_scratch(Graph({"x": kind(64)}, {}, nodes, {})) <= used_scratch(chain(3, 64))


def test_a_node_that_uses_one_value_twice():
    nodes = (
        make_node("affine", ["x"], ["a"]),
        make_node("mul", ["a", "a"], ["b"]),
        make_node("add", ["b", "b"], ["y"]),
    )
    (seen,) = run(Graph({"x": kind(5)}, {"y": "y"}, nodes, {}), [{"x": np.arange(5)}])
    np.testing.assert_array_equal(seen["y"], 2 * np.arange(5) ** 2)


def test_buffers_have_room_for_vectors_that_read_past_their_end():
    for words in range(100):
        assert rounded(words) % LANES == 0
        assert words + LANES - 1 <= rounded(words) < words + 2 * LANES


# Outputs.


def test_outputs_that_are_inputs_constants_and_each_other():
    constants = {"k": np.array([5, 6], np.float32), "n": np.array(7, np.int64)}
    nodes = (make_node("neg", ["x"], ["y"]), make_node("reshape", ["y"], ["z"], shape=(2, 1)))
    outputs = {"a": "x", "b": "k", "c": "y", "d": "y", "e": "z", "f": "n", "g": "i"}
    graph = Graph({"x": kind(2), "i": kind(2, dtype="uint8")}, outputs, nodes, constants)
    first, second = run(graph, [{"x": [1, 2], "i": [3, 4]}, {"x": [3, 4], "i": [5, 255]}])
    np.testing.assert_array_equal(first["a"], [1, 2])
    np.testing.assert_array_equal(second["a"], [3, 4])
    np.testing.assert_array_equal(second["b"], [5, 6])
    np.testing.assert_array_equal(second["c"], second["d"])
    np.testing.assert_array_equal(second["e"], [[-3], [-4]])
    assert second["f"] == 7
    np.testing.assert_array_equal(second["g"], [5, 255])


# States.


def test_states_that_swap_places():
    inputs = {"a": kind(3), "b": kind(3), "x": kind(1)}
    graph = Graph(inputs, {}, (), {"one": np.ones(3, np.float32)}, (State("a", "b"), State("b", "a")), {"a": "one"})
    first, second = run(graph, [{"x": 0}, {"x": 0}])
    np.testing.assert_array_equal(first["a"], 0)
    np.testing.assert_array_equal(first["b"], 1)
    np.testing.assert_array_equal(second["a"], 1)
    np.testing.assert_array_equal(second["b"], 0)


def test_states_that_go_round_by_way_of_views():
    """A delay line: each state is what the next one was, seen through reshapes."""
    inputs = {"x": kind(2), "d1": kind(2), "d2": kind(1, 2), "d3": kind(2, 1)}
    nodes = (
        make_node("reshape", ["d1"], ["r1"], shape=(1, 2)),
        make_node("reshape", ["d2"], ["r2"], shape=(2, 1)),
        make_node("neg", ["x"], ["y"]),
    )
    states = (State("d3", "r2"), State("d1", "x"), State("d2", "r1"))
    graph = Graph(inputs, {"old": "d3", "y": "y"}, nodes, {}, states)
    seen = run(graph, [{"x": [k, -k]} for k in range(1, 7)])
    for k, values in enumerate(seen, 1):
        then = max(k - 3, 0)
        np.testing.assert_array_equal(values["old"], [[then], [-then]])


def test_an_output_shows_a_state_as_it_was_before_the_step():
    inputs = {"x": kind(2), "s": kind(2)}
    nodes = (make_node("add", ["s", "x"], ["t"]),)
    graph = Graph(inputs, {"before": "s", "after": "t"}, nodes, {}, (State("s", "t"),))
    first, second = run(graph, [{"x": [1, 2]}, {"x": [10, 20]}])
    np.testing.assert_array_equal(first["before"], [0, 0])
    np.testing.assert_array_equal(first["after"], [1, 2])
    np.testing.assert_array_equal(second["before"], [1, 2])
    np.testing.assert_array_equal(second["after"], [11, 22])


def test_a_state_that_becomes_an_input_or_a_constant():
    inputs = {"x": kind(2), "s": kind(2), "t": kind(2)}
    constants = {"k": np.array([8, 9], np.float32)}
    graph = Graph(inputs, {"s": "s", "t": "t"}, (), constants, (State("s", "x"), State("t", "k")))
    _, second = run(graph, [{"x": [1, 2]}, {"x": [3, 4]}])
    np.testing.assert_array_equal(second["s"], [3, 4])  # the state's port, after the step
    np.testing.assert_array_equal(second["t"], [8, 9])


def test_two_states_that_follow_one_value():
    inputs = {"x": kind(2), "s": kind(2), "t": kind(2)}
    nodes = (make_node("neg", ["x"], ["y"]),)
    graph = Graph(inputs, {}, nodes, {}, (State("s", "y"), State("t", "y")))
    (seen,) = run(graph, [{"x": [1, 2]}])
    np.testing.assert_array_equal(seen["s"], seen["t"])


def gru(h0="h0", h="h"):
    rng = np.random.default_rng(0)
    attrs = {
        "hidden_size": 3,
        "activations": ("sigmoid", "tanh"),
        "activation_alpha": (0.0, 0.0),
        "activation_beta": (0.0, 0.0),
    }
    constants = {"w": rng.normal(size=(1, 9, 2)).astype(np.float32), "r": rng.normal(size=(1, 9, 3)).astype(np.float32)}
    return make_node("gru", ["x", "w", "r", "", "", h0], ["y", h], **attrs), constants


def close(graph, steps):
    """Like `run`, for graphs with cells, whose bits differ between the executors."""
    program = lower(graph)
    executors = [machine.Machine(program), ReferenceExecutor(program)]
    for feeds in steps:
        for one in executors:
            for name, value in feeds.items():
                one.arenas.inputs[name][...] = value
            assert one.execute(True) == OK
        a, b = (one.arenas for one in executors)
        for mine, theirs in ((a.outputs, b.outputs), (a.states, b.states)):
            for name, view in mine.items():
                np.testing.assert_allclose(view, theirs[name], atol=2e-6, err_msg=name)
    return program


STEPS = [{"x": np.random.default_rng(k).normal(size=(1, 1, 2))} for k in range(4)]


def copies(program):
    return int((program.code[:, 0] == COPY.number).sum())


def test_a_cell_writes_its_last_state_in_place():
    node, constants = gru()
    inputs = {"x": kind(1, 1, 2), "h0": kind(1, 1, 3)}
    program = close(Graph(inputs, {"y": "y"}, (node,), constants, (State("h0", "h"),)), STEPS)
    assert copies(program) == 0


def test_a_state_that_is_shown_is_not_overwritten_early():
    node, constants = gru()
    inputs = {"x": kind(1, 1, 2), "h0": kind(1, 1, 3)}
    later = make_node("neg", ["h0"], ["old"])
    graph = Graph(inputs, {"y": "y", "old": "old", "h0": "h0"}, (node, later), constants, (State("h0", "h"),))
    assert copies(close(graph, STEPS)) >= 1


def test_an_output_that_shows_the_new_state_in_place():
    node, constants = gru()
    inputs = {"x": kind(1, 1, 2), "h0": kind(1, 1, 3)}
    squeezed = make_node("reshape", ["h"], ["hs"], shape=(3,))
    graph = Graph(inputs, {"h": "h", "hs": "hs"}, (node, squeezed), constants, (State("h0", "h"),))
    close(graph, STEPS)


def test_two_cells_whose_states_change_places():
    first, constants = gru("a", "a2")
    second, _ = gru("b", "b2")
    second = Node(second.op, second.inputs, ("z", "b2"), second.attrs)
    inputs = {"x": kind(1, 1, 2), "a": kind(1, 1, 3), "b": kind(1, 1, 3)}
    states = (State("a", "b2"), State("b", "a2"))
    start = {"k": np.full((1, 1, 3), 0.5, np.float32)}
    graph = Graph(inputs, {"y": "y", "z": "z"}, (first, second), {**constants, **start}, states, {"a": "k"})
    close(graph, STEPS)


def test_two_cells_that_start_from_one_state():
    first, constants = gru("a", "a2")
    second = Node("gru", first.inputs, ("z", "z2"), first.attrs)
    inputs = {"x": kind(1, 1, 2), "a": kind(1, 1, 3)}
    graph = Graph(inputs, {"y": "y", "z": "z"}, (first, second), constants, (State("a", "a2"),))
    close(graph, STEPS)


def test_start_values_are_repeated_to_the_state():
    inputs = {"s": kind(2, 3), "n": kind(2, dtype="int64"), "f": kind(2, dtype="bool")}
    constants = {"a": np.arange(3, dtype=np.float32), "b": np.array(-5), "c": np.array([True, False])}
    states = tuple(State(name, name) for name in inputs)
    program = lower(Graph(inputs, {}, (), constants, states, {"s": "a", "n": "b", "f": "c"}))
    views = ReferenceExecutor(program).arenas.states
    np.testing.assert_array_equal(views["s"], [[0, 1, 2], [0, 1, 2]])
    np.testing.assert_array_equal(views["n"], [-5, -5])
    np.testing.assert_array_equal(views["f"], [1, 0])


# Inputs and weights.


def test_float_inputs_stand_first():
    inputs = {"i": kind(3, dtype="int64"), "x": kind(2), "m": kind(1, dtype="bool"), "z": kind(4)}
    program = lower(Graph(inputs, {}, (), {}))
    assert [port.name for port in program.inputs] == ["i", "x", "m", "z"]
    starts = {port.name: port.start for port in program.inputs}
    assert max(starts["x"], starts["z"]) < min(starts["i"], starts["m"])
    assert {port.operand % 4 for port in program.inputs} == {SCRATCH}


def test_inputs_that_are_not_finite_are_refused_before_anything_happens():
    inputs = {"x": kind(2), "s": kind(2), "i": kind(2, dtype="int32")}
    graph = Graph(inputs, {"y": "t"}, (make_node("add", ["x", "s"], ["t"]),), {}, (State("s", "t"),))
    for make in (machine.Machine, ReferenceExecutor):
        one = make(lower(graph))
        one.arenas.inputs["i"][...] = -1  # all bits set: a NaN, if it were a float
        one.arenas.inputs["x"][...] = [1, 2]
        assert one.execute(True) == OK
        one.arenas.inputs["x"][...] = [1, np.nan]
        assert one.execute(True) == INVALID
        np.testing.assert_array_equal(one.arenas.states["s"], [1, 2])
        assert one.execute(False) == OK
        assert np.isnan(one.arenas.states["s"][1])


def test_a_constant_is_placed_once_and_only_if_used():
    array = np.ones(50, np.float32)
    nodes = (make_node("add", ["x", "k"], ["a"]), make_node("mul", ["a", "k"], ["y"]))
    one = lower(Graph({"x": kind(50)}, {"y": "y"}, nodes, {"k": array}))
    two = lower(Graph({"x": kind(50)}, {"y": "y"}, nodes, {"k": array, "unused": np.ones(1000, np.float32)}))
    assert one.weights.size == two.weights.size == rounded(50) + LANES


def test_weights_are_read_only_and_aligned():
    program = lower(Graph({"x": kind(5)}, {"y": "y"}, (make_node("add", ["x", "k"], ["y"]),), {"k": np.ones(5, "f4")}))
    assert not program.weights.flags.writeable
    assert program.weights.ctypes.data % 64 == 0
    assert aligned(100).ctypes.data % 64 == 0


def test_integers_beyond_32_bits():
    graph = Graph({"x": kind(1, dtype="int64")}, {"y": "y"}, (make_node("add", ["x", "k"], ["y"]),),
                  {"k": np.array([1 << 40])})  # fmt: skip
    with pytest.raises(InputError, match=r"'k' holds .* integers must fit 32 bits"):
        lower(graph)


def test_words():
    assert to_words(np.array([1.5], np.float32), "k").view(np.int32)[0] == float_bits(1.5)
    assert to_words(np.array([-3]), "k").view(np.int32)[0] == -3
    assert to_words(np.array([True, False]), "k").view(np.int32).tolist() == [1, 0]


def test_a_size_that_is_not_settled():
    graph = Graph({"x": kind(symbol("T"))}, {"y": "y"}, (make_node("neg", ["x"], ["y"]),), {})
    with pytest.raises(InputError, match="a program needs sizes for all of them"):
        lower(graph)


def test_a_program_that_no_memory_holds():
    graph = Graph({"x": kind(1)}, {"y": "y"}, (make_node("broadcast", ["x"], ["y"], shape=(1 << 20, 1 << 12)),), {})
    with pytest.raises(UnsupportedError, match="memory"):
        lower(graph)


def test_weights_that_are_computed():
    graph = Graph({"x": kind(2, 3), "w": kind(4, 3)}, {"y": "y"}, (make_node("linear", ["x", "w"], ["y"]),), {})
    with pytest.raises(UnsupportedError, match=r"w \('w'\) is computed at run time"):
        lower(graph)


def test_an_unknown_operator():
    graph = Graph({"x": kind(2)}, {}, (), {})
    node = make_node("neg", ["x"], ["y"])
    from edgelstm.program import lower as families

    handlers = dict(families.LOWER)
    try:
        del families.LOWER["neg"]
        with pytest.raises(UnsupportedError, match="neg node 'y': no lowering"):
            lower(Graph(graph.inputs, {"y": "y"}, (node,), {}))
    finally:
        families.LOWER.update(handlers)


def test_a_row_takes_its_own_fields():
    opcode = Opcode(99, "test", ("x", "n"), lambda fields: [])
    assert opcode.row(x=4, n=2)[:4] == [99, 4, 2, 0]
    assert opcode.read(opcode.row(x=4, n=2)) == {"x": 4, "n": 2}
    assert opcode.column("n") == 2
    with pytest.raises(TypeError, match="test takes"):
        opcode.row(x=4)
    with pytest.raises(TypeError, match="test takes"):
        opcode.row(x=4, n=2, more=1)


def test_ports():
    port = Port("p", "int64", (2, 3), operand(STATE, 16))
    assert (port.words, port.start, port.word_dtype) == (6, 16, np.int32)
    assert Port("p", "float32", (), operand(WEIGHTS, 0)).words == 1
