"""Whole sequences through a model: run, predict, trace, and the programs it keeps."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from edgelstm.errors import FormatError, InputError, StateError, StreamError
from edgelstm.graph.dims import symbol
from edgelstm.graph.ir import Graph, State, TensorType
from edgelstm.graph.ops import make_node
from edgelstm.program.executor import ReferenceExecutor
from edgelstm.runtime import executors
from edgelstm.runtime.executors import MAX_IDLE, MAX_PROGRAMS
from edgelstm.runtime.model import Model
from tests.runtime.models import HIDDEN, OUTPUTS, B, T, forecaster, last_step, lstm_attrs, model, readings, stateful


@pytest.fixture(params=["machine", "reference"])
def executor(request, monkeypatch):
    if request.param == "machine":
        pytest.importorskip("numba")
    else:
        monkeypatch.setattr(executors, "make_executor", ReferenceExecutor)
    return request.param


pytestmark = pytest.mark.usefixtures("executor")


def batch(rows, length, seed=0):
    return np.random.default_rng(seed).normal(0, 1, (rows, length, 3)).astype(np.float32)


def assert_same(found, expected, executor):
    """To the bit on the machine; NumPy sums in another order for other shapes."""
    np.testing.assert_allclose(found, expected, atol=0 if executor == "machine" else 1e-6, rtol=0)


# What a model tells of itself.


def test_inputs_outputs_and_states():
    network = model(stateful)
    assert {name: str(kind) for name, kind in network.inputs.items()} == {
        "x": "float32(B, T, 3)",
        "h0": "float32(1, B, 5)",
        "c0": "float32(1, B, 5)",
    }
    assert list(network.outputs) == ["y", "hn", "cn"]
    assert [(s.name, s.output, s.how) for s in network.states] == [
        ("h0", "hn", "data flow"),
        ("c0", "cn", "data flow"),
    ]
    assert [(s.name, s.output, s.how) for s in model().states] == [
        ("cell.h", "", "implicit"),
        ("cell.c", "", "implicit"),
    ]
    assert repr(network).startswith("Model(x: float32(B, T, 3), h0:")


def test_a_model_cannot_be_changed():
    network = model()
    with pytest.raises(TypeError):
        network.inputs["x"] = None
    with pytest.raises(TypeError):
        network.metadata["x"] = "y"


def test_a_graph_that_is_not_whole():
    with pytest.raises(FormatError, match="shows 'nothing'"):
        Model(replace(forecaster(), outputs={"y": "nothing"}))


# run.


def test_run_takes_every_input_states_included(executor):
    network = model(stateful)
    x, h, c = batch(2, 4), *np.random.default_rng(1).normal(size=(2, 1, 2, HIDDEN)).astype(np.float32)
    first = network.run({"x": x[:, :2], "h0": h, "c0": c})
    second = network.run({"x": x[:, 2:], "h0": first["hn"], "c0": first["cn"]})
    whole = network.run({"x": x, "h0": h, "c0": c})
    assert_same(np.concatenate([first["y"], second["y"]], 1), whole["y"], executor)
    assert_same(second["hn"], whole["hn"], executor)
    assert_same(second["cn"], whole["cn"], executor)


@pytest.mark.parametrize(("rows", "length"), [(1, 1), (3, 1), (1, 7), (5, 2), (0, 3), (2, 0), (0, 0)])
def test_run_at_any_size(rows, length):
    y = model().run({"x": batch(rows, length)})["y"]
    assert y.shape == (rows, length, OUTPUTS)
    assert y.dtype == np.float32


def test_an_empty_sequence_leaves_the_state_as_it_was():
    h = np.full((1, 2, HIDDEN), 0.5, np.float32)
    result = model(stateful).run({"x": batch(2, 0), "h0": h, "c0": 2 * h})
    np.testing.assert_array_equal(result["hn"], h)
    np.testing.assert_array_equal(result["cn"], 2 * h)


def test_results_are_fresh_arrays():
    network = model()
    first = network.run({"x": batch(2, 3)})["y"]
    kept = first.copy()
    network.run({"x": batch(2, 3, seed=5)})
    np.testing.assert_array_equal(first, kept)


def test_inputs_are_not_changed():
    x = batch(2, 3)
    kept = x.copy()
    model().run({"x": x})
    np.testing.assert_array_equal(x, kept)


def test_run_casts():
    x = batch(1, 3)
    np.testing.assert_array_equal(model().run({"x": x.tolist()})["y"], model().run({"x": x})["y"])
    np.testing.assert_array_equal(model().run({"x": x.astype(np.float64)})["y"], model().run({"x": x})["y"])


@pytest.mark.parametrize(
    ("feeds", "match"),
    [
        ({}, "inputs: expected x; missing x"),
        ({"x": batch(1, 2), "z": 1}, "unknown z"),
        ({"x": batch(1, 2)[0]}, r"input 'x': expected shape \(B, T, 3\), got \(2, 3\)"),
        ({"x": np.zeros((1, 2, 4))}, r"input 'x': expected shape \(B, T, 3\), got \(1, 2, 4\)"),
        ({"x": "text"}, "input 'x': expected float32"),
        ({"x": np.zeros((1, 2, 3), complex)}, "expected float32, got complex128"),
    ],
)
def test_feeds_that_do_not_fit(feeds, match):
    with pytest.raises(InputError, match=match):
        model().run(feeds)


def test_sizes_that_contradict_each_other():
    with pytest.raises(InputError, match=r"B is 3 in .* but 2 in another input or axis"):
        model(stateful).run({"x": batch(2, 4), "h0": np.zeros((1, 3, HIDDEN)), "c0": np.zeros((1, 3, HIDDEN))})


def test_a_frozen_size():
    network = model(frozen={"T": 4})
    assert network.run({"x": batch(1, 4)})["y"].shape == (1, 4, OUTPUTS)
    with pytest.raises(InputError, match=r"exported with T = 4 and runs only at that size, got 5"):
        network.run({"x": batch(1, 5)})
    with pytest.raises(InputError, match="T = 4"):
        network.predict(batch(1, 5))
    assert network.stream().step(readings(1)[0]).shape == (OUTPUTS,)


def test_a_pinned_size_tells_why():
    graph = forecaster()
    inputs = {"x": TensorType("float32", (B, 4, 3))}
    nodes = tuple(
        replace(node, attrs={"shape": (4, B, HIDDEN)}) if node.op == "reshape" else node for node in graph.nodes
    )
    network = Model(replace(graph, inputs=inputs, nodes=nodes, pinned={"T": "the constant 'shape7' says 4"}))
    with pytest.raises(InputError, match="the constant 'shape7' says 4"):
        network.run({"x": batch(1, 5)})
    with pytest.raises(StreamError, match=r"exactly 4 steps \(the constant 'shape7' says 4\)"):
        network.stream()


def test_an_index_that_selects_nothing():
    graph = Graph({"i": TensorType("int64", (B, T))}, {"y": "y"}, (make_node("gather", ["k", "i"], ["y"]),),
                  {"k": np.zeros((4, 2), np.float32)})  # fmt: skip
    network = Model(graph)
    assert network.run({"i": [[0, -4, 3]]})["y"].shape == (1, 3, 2)
    for wrong in (4, -5):
        with pytest.raises(InputError, match=r"out of range|expected indices"):
            network.run({"i": [[0, wrong]]})


def with_lengths():
    graph = forecaster()
    cell = graph.nodes[1]
    nodes = (graph.nodes[0], replace(cell, inputs=(*cell.inputs[:4], "n", *cell.inputs[5:])), *graph.nodes[2:])
    inputs = {**graph.inputs, "n": TensorType("int32", (B,))}
    outputs = {**graph.outputs, "h": "h"}
    nodes = tuple(replace(n, outputs=("y", "h", "")) if n.op == "lstm" else n for n in nodes)
    return Graph(inputs, outputs, nodes, graph.constants)


def test_lengths_of_the_model(executor):
    network, x = Model(with_lengths()), batch(3, 4)
    result = network.run({"x": x, "n": [4, 0, 2]})
    alone = network.run({"x": x[2:, :2], "n": [2]})
    assert_same(result["h"][:, 2], alone["h"][:, 0], executor)
    np.testing.assert_array_equal(result["h"][:, 1], 0)


@pytest.mark.parametrize("wrong", [-1, 5])
def test_lengths_that_no_sequence_has(wrong):
    with pytest.raises(InputError, match="length"):
        Model(with_lengths()).run({"x": batch(2, 4), "n": [4, wrong]})


def test_run_lets_nan_through():
    x = batch(2, 3)
    x[1, 2, 0] = np.nan
    y = model().run({"x": x})["y"]
    assert np.isnan(y[1, 2]).all()
    assert np.isfinite(y[0]).all()
    assert np.isfinite(y[1, :2]).all()


# predict.


def test_predict_starts_at_zero():
    x = batch(2, 4)
    zero = np.zeros((1, 2, HIDDEN))
    expected = model(stateful).run({"x": x, "h0": zero, "c0": zero})["y"]
    np.testing.assert_array_equal(model(stateful).predict(x), expected)
    np.testing.assert_array_equal(model().predict(x), expected)


def test_predict_starts_as_the_model_says():
    graph = stateful()
    start = np.full((1, 1, HIDDEN), 0.3, np.float32)
    network = Model(replace(graph, constants={**graph.constants, "k": start}, initial={"c0": "k"}))
    x = batch(2, 4)
    states = {"h0": np.zeros((1, 2, HIDDEN)), "c0": np.repeat(start, 2, 1)}
    np.testing.assert_array_equal(network.predict(x), network.run({"x": x, **states})["y"])


@pytest.mark.parametrize("make", [forecaster, last_step])
def test_predict_with_lengths(make, executor):
    network, x = model(make), batch(5, 6)
    lengths = [6, 0, 3, 1, 3]
    found = network.predict(x, lengths=lengths)
    for row, length in enumerate(lengths):
        expected = np.zeros_like(found[row])
        if length:
            alone = network.predict(x[row : row + 1, :length])[0]
            if make is forecaster:
                expected[:length] = alone
            else:
                expected = alone
        assert_same(found[row], expected, executor)


def test_predict_with_lengths_runs_backward_layers_from_each_rows_end(executor):
    graph = forecaster()
    nodes = tuple(replace(n, attrs={**n.attrs, "direction": "reverse"}) if n.op == "lstm" else n for n in graph.nodes)
    network, x = Model(replace(graph, nodes=nodes)), batch(2, 5)
    found = network.predict(x, lengths=[5, 2])
    assert_same(found[1, :2], network.predict(x[1:, :2])[0], executor)
    np.testing.assert_array_equal(found[1, 2:], 0)


@pytest.mark.parametrize(
    ("lengths", "match"),
    [
        ([1], r"lengths: expected 2 integers from 0 to 4, got \[1\]"),
        ([1, 5], "from 0 to 4"),
        ([-1, 2], "from 0 to 4"),
        ([1.5, 2], "expected int64"),
        ([[1, 2]], "expected 2 integers"),
        (3, "expected 2 integers"),
        ("ab", "lengths"),
    ],
)
def test_lengths_that_do_not_fit(lengths, match):
    with pytest.raises(InputError, match=match):
        model().predict(batch(2, 4), lengths=lengths)


def test_lengths_of_no_rows():
    assert model().predict(batch(0, 4), lengths=[]).shape == (0, 4, OUTPUTS)


def test_lengths_need_time_and_batch():
    kind = TensorType("float32", (T, 3))
    graph = Graph({"x": kind}, {"y": "y"}, (make_node("tanh", ["x"], ["y"]),), {})
    with pytest.raises(InputError, match="a batch axis and a time axis"):
        Model(graph).predict(np.zeros((4, 3)), lengths=[3])


def test_predict_needs_one_input_and_one_output():
    two = replace(forecaster(), inputs={**forecaster().inputs, "z": TensorType("float32", (1,))})
    with pytest.raises(InputError, match=r"the model has the inputs x, z; expected one: use run\(\)"):
        Model(two).predict(batch(1, 2))
    with pytest.raises(InputError, match="the model has the outputs y, late; expected one"):
        Model(replace(forecaster(), outputs={"y": "out", "late": "late"})).predict(batch(1, 2))


# States by name, and trace.


def test_states_that_the_caller_pairs():
    network = Model(stateful(), states={"h0": "cn", "c0": "hn"})
    assert {s.name: (s.output, s.how) for s in network.states} == {"h0": ("cn", "caller"), "c0": ("hn", "caller")}
    stream = network.stream()
    stream.step(readings(1)[0])
    swapped, plain = stream.state, Model(stateful()).stream()
    plain.step(readings(1)[0])
    np.testing.assert_array_equal(swapped["h0"], plain.state["c0"])


def test_states_that_are_not_there():
    with pytest.raises(InputError, match="'z' is not an input"):
        Model(stateful(), states={"z": "hn"})
    with pytest.raises(StateError, match="no state is called 'h0'"):
        model().stream(state={"h0": np.zeros((1, 1, HIDDEN))})


def test_trace_tells_gates_and_states():
    seen = model().trace(batch(2, 4))
    assert set(seen) == {"cell"}
    assert {"i", "o", "f", "g", "c", "h"} <= set(seen["cell"])
    assert seen["cell"]["c"].shape == (4, 1, 2, HIDDEN)
    full = model(stateful).trace({"x": batch(2, 4), "h0": np.zeros((1, 2, HIDDEN)), "c0": np.zeros((1, 2, HIDDEN))})
    np.testing.assert_array_equal(full["cell"]["h"], seen["cell"]["h"])


# Streams of models that cannot be rewritten blindly.


def test_a_batch_of_fixed_size_streams_row_by_row():
    """A model exported for two sensors at once: a reading holds both, each with its own state."""
    graph = forecaster()
    fixed = replace(
        graph,
        inputs={"x": TensorType("float32", (2, T, 3))},
        nodes=tuple(replace(n, attrs={"shape": (T, 2, HIDDEN)}) if n.op == "reshape" else n for n in graph.nodes),
    )
    network, x = Model(fixed), batch(2, 5)
    whole = network.predict(x)
    one = network.stream()
    steps = np.stack([one.step(x[:, t]) for t in range(5)], 1)
    np.testing.assert_allclose(steps, whole, atol=1e-6)
    assert one.state["cell.h"].shape == (1, 2, HIDDEN)


def test_a_cell_over_an_input_without_time_starts_anew_at_every_step():
    """An encoder of one fixed vector, beside a sequence: its state has nothing to carry."""
    graph = forecaster()
    nodes = (
        make_node("reshape", ["s"], ["s.t"], shape=(1, B, 3)),
        make_node("lstm", ["s.t", "w", "r", "b"], ["", "code"], "encoder", **lstm_attrs()),
        *graph.nodes[:-1],
        make_node("reshape", ["code"], ["code.flat"], shape=(1, B, HIDDEN)),
        make_node("linear", ["code.flat", "head.w"], ["bias"]),
        make_node("add", ["late", "bias"], ["sum"]),
        make_node("transpose", ["sum"], ["out"], perm=(1, 0, 2)),
    )
    inputs = {**graph.inputs, "s": TensorType("float32", (B, 3))}
    network, x = Model(replace(graph, inputs=inputs, nodes=nodes)), batch(1, 5)
    s = np.ones((1, 3), np.float32)
    whole = network.run({"x": x, "s": s})["y"]
    one = network.stream()
    steps = np.stack([one.step({"x": x[0, t], "s": s[0]}) for t in range(5)])
    np.testing.assert_allclose(steps, whole[0], atol=1e-6)


def test_a_model_of_one_step_carries_the_states_it_is_told():
    """No time axis at all: a chunk in, a chunk out, the state beside it."""
    kind = TensorType("float32", (B, 3))
    nodes = (make_node("add", ["x", "s"], ["t"]), make_node("tanh", ["t"], ["y"]))
    graph = Graph({"x": kind, "s": kind}, {"y": "y", "s_next": "t"}, nodes, {}, (State("s", "t"),))
    one = Model(graph).stream()
    np.testing.assert_allclose(one.step([1, 0, 0]), np.tanh([1, 0, 0]), atol=1e-6)
    np.testing.assert_allclose(one.step([1, 0, 1]), np.tanh([2, 0, 1]), atol=1e-6)


def test_a_free_dimension_needs_a_size():
    kind = TensorType("float32", (B, T, symbol("N")))
    graph = Graph({"x": kind}, {"y": "y"}, (make_node("tanh", ["x"], ["y"]),), {})
    with pytest.raises(StreamError, match=r"free dimensions N need sizes: pass sizes=\{'N': ...\}"):
        Model(graph).stream()
    assert Model(graph).stream(sizes={"N": 4}).step(np.zeros(4)).shape == (4,)


# Programs.


def test_programs_are_kept_and_bounded():
    network = model()
    for length in range(1, MAX_PROGRAMS + 6):
        network.run({"x": batch(1, length)})
    entries = network._programs._entries
    assert len(entries) == MAX_PROGRAMS
    newest = [dict(key)["T"] for key in entries]
    assert newest == list(range(6, MAX_PROGRAMS + 6))
    network.run({"x": batch(1, 6)})
    network.run({"x": batch(1, 99)})
    kept = [dict(key)["T"] for key in entries]
    assert 6 in kept
    assert 7 not in kept
    assert network._programs.program({"B": 1, "T": 6}) is network._programs.program({"T": 6, "B": 1})


def test_executors_are_kept_and_bounded():
    network = model()
    programs = network._programs
    held = [programs.executor({"B": 1, "T": 2}) for _ in range(MAX_IDLE + 3)]
    inside = [one.__enter__() for one in held]
    assert len(set(map(id, inside))) == len(inside)
    for one in held:
        one.__exit__(None, None, None)
    (entry,) = programs._entries.values()
    assert len(entry.idle[1]) == MAX_IDLE
    with programs.executor({"B": 1, "T": 2}) as again:
        assert any(again is one for one in inside)


def test_many_threads_run_one_model():
    network, x = model(), batch(4, 8)
    expected = [network.predict(x[:rows]) for rows in range(1, 5)]
    same = []

    def work(rows):
        same.extend(np.array_equal(network.predict(x[:rows]), expected[rows - 1]) for _ in range(20))

    threads = [threading.Thread(target=work, args=(rows,)) for rows in (1, 2, 3, 4, 1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same == [True] * 20 * len(threads)


def test_save_and_load(tmp_path):
    import edgelstm

    path = tmp_path / "m.edgelstm"
    network = model(stateful)
    network.save(path)
    read = edgelstm.load(path)
    assert read.hash == network.hash
    np.testing.assert_array_equal(read.predict(batch(2, 3)), network.predict(batch(2, 3)))
    told = edgelstm.load(path, states={"h0": "cn", "c0": "hn"})
    assert [s.how for s in told.states] == ["caller", "caller"]
    told.save(path)
    assert {s.name: s.output for s in edgelstm.load(path).states} == {"h0": "cn", "c0": "hn"}


@pytest.mark.parametrize("name", ["m.bin", "m", "m.json"])
def test_files_of_an_unknown_kind(tmp_path, name):
    import edgelstm

    with pytest.raises(FormatError, match="unknown kind of file"):
        edgelstm.load(tmp_path / name)


def test_layers_belong_to_state_dicts(tmp_path):
    import edgelstm

    with pytest.raises(InputError, match="layers= describes"):
        edgelstm.load(tmp_path / "m.onnx", layers=[])
