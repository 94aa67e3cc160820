"""Free, frozen and pinned sizes: what a file leaves open, what it fixes, and what contradicts."""

import numpy as np
import pytest
from edgelstm_converters.onnx import load_onnx
from edgelstm_converters.onnx.symbols import Origin, Symbols
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from edgelstm.errors import FormatError, InputError, UnsupportedError
from tests.converters.onnx.build import model, run_graph, run_onnxruntime, value

RNG = np.random.default_rng(2)
UNITS, FEATURES = 4, 3


def floats(*shape):
    return RNG.normal(size=shape).astype(np.float32)


WEIGHTS = {"w": floats(1, 4 * UNITS, FEATURES), "r": floats(1, 4 * UNITS, UNITS)}


def lstm(x="x", h="", c="", outputs=("y",)):
    return helper.make_node("LSTM", [x, "w", "r", "", "", h, c], list(outputs), "cell", hidden_size=UNITS)


def op(op_type, *inputs, outputs=("z",), **attrs):
    return helper.make_node(op_type, list(inputs), list(outputs), f"{op_type} {outputs[0]}", **attrs)


def ints(*values):
    return np.asarray(values, np.int64)


def graph_of(nodes, inputs, outputs=("y",), **constants):
    return load_onnx(model(nodes, inputs, outputs, {**WEIGHTS, **constants})).graph


# --- frozen -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("time", [1, 7])
@pytest.mark.parametrize("batch", [1, 2])
def test_integers_at_the_axes_of_a_cell_are_frozen(time, batch):
    graph = graph_of([lstm()], {"x": [time, batch, FEATURES]})
    assert str(graph.inputs["x"]) == "float32(T, B, 3)"
    assert {"T": time, "B": batch} == dict(graph.frozen)
    assert not graph.pinned


def test_names_stay_free():
    graph = graph_of([lstm()], {"x": ["B", "T", FEATURES]})
    assert str(graph.inputs["x"]) == "float32(T, B, 3)"
    assert not graph.frozen


def test_unnamed_dimensions_are_free():
    graph = graph_of([lstm()], {"x": [None, None, None]})
    assert str(graph.inputs["x"]) == "float32(T, B, 3)"


def test_an_integer_that_is_no_axis_of_a_cell_is_put_back():
    graph = graph_of([lstm(), op("Tanh", "m", outputs=["t"])], {"x": ["a", "b", 3], "m": [5, "n"]}, ("y", "t"))
    assert str(graph.inputs["m"]) == "float32(5, n)"
    assert not graph.frozen


def test_two_inputs_of_one_frozen_size_are_one_size():
    graph = graph_of([lstm(h="h", c="c")], {"x": [7, 2, 3], "h": [1, 2, UNITS], "c": [1, 2, UNITS]})
    assert list(map(str, graph.inputs.values())) == ["float32(T, B, 3)", "float32(1, B, 4)", "float32(1, B, 4)"]
    with pytest.raises(InputError):
        run_graph(graph, {"x": floats(7, 2, 3), "h": floats(1, 1, UNITS), "c": floats(1, 1, UNITS)})


def test_a_window_gives_no_batch_axis():
    nodes = [
        op("Conv", "x", "k", outputs=["f"], strides=[4]),  # (N, 3, L) -> (N, 3, 2)
        op("Transpose", "f", outputs=["g"], perm=[0, 2, 1]),
        lstm("g"),
    ]
    graph = graph_of(nodes, {"x": ["n", 3, 8]}, k=floats(3, 3, 4))
    assert str(graph.inputs["x"]) == "float32(T, 3, 8)"


def test_the_time_axis_may_come_from_a_window():
    nodes = [
        op("Conv", "x", "k", outputs=["f"], strides=[2]),
        op("Transpose", "f", outputs=["g"], perm=[2, 0, 1]),
        lstm("g"),
    ]
    graph = graph_of(nodes, {"x": ["n", 3, "samples"]}, k=floats(3, 3, 4))
    assert str(graph.inputs["x"]) == "float32(B, 3, T)"


# --- pinned ---------------------------------------------------------------------------------------------


def test_a_reshape_to_sizes_of_its_own_freezes_them():
    nodes = [op("Reshape", "x", "s", outputs=["z"]), lstm("z")]
    graph = graph_of(nodes, {"x": [7, 2, 1, 3]}, s=ints(7, 2, 3))
    assert str(graph.inputs["x"]) == "float32(T, B, 1, 3)"
    assert {"T": 7, "B": 2} == dict(graph.frozen)


def test_sizes_that_a_reshape_multiplies_stay():
    nodes = [op("Reshape", "x", "s", outputs=["flat"]), op("Reshape", "flat", "t", outputs=["z"]), lstm("z")]
    graph = graph_of(nodes, {"x": [7, 2, 3]}, s=ints(14, 3), t=ints(7, 2, 3))
    assert {"T", "B"} == set(graph.pinned)
    assert "Reshape flat" in graph.pinned["T"]
    assert "(14, 3)" in graph.pinned["T"]
    with pytest.raises(InputError, match="Reshape flat"):
        run_graph(graph, {"x": floats(14, 1, 3)})


def test_a_reshape_freezes_one_size_and_leaves_the_other():
    nodes = [
        op("Reshape", "x", "s", outputs=["flat"]),
        op("Reshape", "flat", "t", outputs=["z"]),
        op("Transpose", "z", outputs=["u"], perm=[1, 0, 2]),
        lstm("u"),
    ]
    graph = graph_of(nodes, {"x": ["n", 7, 3]}, s=ints(-1, 3), t=ints(-1, 7, 3))
    assert str(graph.inputs["x"]) == "float32(B, T, 3)"
    assert dict(graph.frozen) == {"T": 7}
    assert "(-1, 7, 3)" in graph.pinned["T"]


def test_a_named_size_that_the_graph_does_not_honour_is_refused_at_others():
    nodes = [op("Reshape", "x", "s", outputs=["z"]), lstm("z")]
    graph = graph_of(nodes, {"x": ["time", "batch", 3]}, s=ints(7, 2, 3))
    assert {"time", "batch"} <= set(graph.pinned)
    for other in ((14, 1), (7, 1), (8, 2)):
        with pytest.raises(InputError, match=r"Reshape z.*7, 2, 3"):
            run_graph(graph, {"x": floats(*other, 3)})


def test_a_size_that_is_reckoned_with_stays_where_a_reshape_holds_it():
    nodes = [
        op("Reshape", "x", "s", outputs=["z"]),
        op("Shape", "z", outputs=["n"], end=1),
        op("Cast", "n", outputs=["f"], to=1),
        lstm("z"),
        op("Mul", "y", "f", outputs=["scaled"]),
    ]
    graph = graph_of(nodes, {"x": [7, 2, 1, 3]}, ("scaled",), s=ints(7, 2, 3))
    assert "T" not in graph.frozen
    assert "Reshape z" in graph.pinned["T"]


def test_a_start_state_with_different_rows_pins_the_batch():
    graph = graph_of([lstm(h="h0")], {"x": ["t", "b", 3]}, h0=floats(1, 2, UNITS))
    assert str(graph.inputs["x"]) == "float32(T, 2, 3)"
    assert "rows of initial_h" in graph.pinned["B"]


def test_a_size_of_the_file_settles_a_sum():
    """x and m are added after x is joined to itself: m is twice as long as x."""
    nodes = [op("Concat", "x", "x", outputs=["c"], axis=0), op("Add", "c", "m", outputs=["y"])]
    graph = graph_of(nodes, {"x": ["n", 3], "m": [8, 3]})
    assert str(graph.inputs["x"]) == "float32(4, 3)"
    with pytest.raises(FormatError, match="the size in the file"):
        graph_of(nodes, {"x": ["n", 3], "m": [7, 3]})


# --- start states ---------------------------------------------------------------------------------------


def test_zeros_are_no_start_state():
    (cell,) = graph_of([lstm(h="h0", c="h0")], {"x": ["t", 2, 3]}, h0=np.zeros((1, 2, UNITS), np.float32)).nodes
    assert cell.inputs[5:7] == ("", "")


def test_equal_rows_are_one_row_for_any_batch():
    row = floats(1, 1, UNITS)
    made = model([lstm(h="h0")], {"x": ["t", 2, 3]}, ["y"], {**WEIGHTS, "h0": np.repeat(row, 2, 1)})
    graph = load_onnx(made).graph
    assert dict(graph.frozen) == {"B": 2}
    np.testing.assert_array_equal(row, graph.constants[graph.nodes[0].inputs[5]])
    feeds = {"x": floats(4, 2, 3)}
    np.testing.assert_allclose(run_graph(graph, feeds)["y"], run_onnxruntime(made, feeds)["y"], atol=1e-6)


def test_a_trained_row_is_repeated_to_the_batch():
    """Expand of a constant (1, 1, H) to the batch of x, as PyTorch writes h0.expand(-1, B, -1)."""
    nodes = [
        op("Shape", "x", outputs=["s"], start=1, end=2),
        op("Concat", "one", "s", "units", outputs=["t"], axis=0),
        op("Expand", "h0", "t", outputs=["h"]),
        lstm(h="h", c="h"),
    ]
    made = model(
        nodes, {"x": ["t", "b", 3]}, ["y"], {**WEIGHTS, "one": ints(1), "units": ints(UNITS), "h0": floats(1, 1, UNITS)}
    )
    graph = load_onnx(made).graph
    assert [node.op for node in graph.nodes] == ["lstm"]
    for batch in (1, 3):
        feeds = {"x": floats(4, batch, 3)}
        np.testing.assert_allclose(run_graph(graph, feeds)["y"], run_onnxruntime(made, feeds)["y"], atol=1e-6)


def test_a_row_repeated_by_a_constant_count_leaves_the_batch_open():
    nodes = [op("Tile", "h0", "n", outputs=["h"]), lstm(h="h")]
    graph = graph_of(nodes, {"x": ["t", 2, 3]}, h0=floats(1, 1, UNITS), n=ints(1, 2, 1))
    assert dict(graph.frozen) == {"B": 2}
    with pytest.raises(FormatError, match="expected 3 rows, got 2"):
        graph_of(nodes, {"x": ["t", 3, 3]}, h0=floats(1, 1, UNITS), n=ints(1, 2, 1))


def test_a_fixed_size_used_as_a_number_becomes_exact():
    nodes = [
        op("Shape", "x", outputs=["s"], end=1),
        op("Cast", "s", outputs=["f"], to=1),
        lstm(),
        op("Div", "y", "f", outputs=["mean"]),
    ]
    graph = graph_of(nodes, {"x": [7, 2, 3]}, ("mean",))
    assert str(graph.inputs["x"]) == "float32(7, B, 3)"
    assert "its use as float32" in graph.pinned["T"]


@pytest.mark.parametrize("shape", [(2, 2, UNITS), (1, 3, UNITS), (1, 2, UNITS + 1)])
def test_start_states_that_do_not_fit_are_refused_even_when_zero(shape):
    with pytest.raises(FormatError, match="initial_h"):
        graph_of([lstm(h="h0")], {"x": [7, 2, 3]}, h0=np.zeros(shape, np.float32))


def test_lengths_that_are_the_whole_axis_are_dropped():
    nodes = [
        op("Shape", "x", outputs=["s"], end=1),
        op("Shape", "x", outputs=["b"], start=1, end=2),
        op("Expand", "s", "b", outputs=["n64"]),
        op("Cast", "n64", outputs=["n"], to=6),
        helper.make_node("LSTM", ["x", "w", "r", "", "n"], ["y"], "cell", hidden_size=UNITS),
    ]
    (cell,) = graph_of(nodes, {"x": ["t", "b", 3]}).nodes
    assert cell.inputs[4] == ""


# --- If -------------------------------------------------------------------------------------------------


def branches(condition_shape=None):
    then = helper.make_graph([op("Tanh", "x", outputs=["a"])], "then", [], [value("a", condition_shape)])
    other = helper.make_graph([op("Relu", "x", outputs=["b"])], "else", [], [value("b", condition_shape)])
    return helper.make_node("If", ["c"], ["y"], "choice", then_branch=then, else_branch=other)


SIZE_IS_4 = [
    op("Shape", "x", outputs=["s"]),
    op("Gather", "s", "axis", outputs=["n"]),
    op("Equal", "n", "four", outputs=["c"]),
]


@pytest.mark.parametrize(("size", "taken"), [(4, "tanh"), (5, "relu")])
def test_a_condition_on_a_frozen_size_is_decided(size, taken):
    nodes = [*SIZE_IS_4, branches(["n", size])]
    graph = graph_of(nodes, {"x": ["n", size]}, axis=np.int64(1), four=np.int64(4))
    assert [taken] == [node.op for node in graph.nodes]
    assert f"float32(B, {size})" == str(graph.inputs["x"])


def test_a_condition_on_a_free_size_is_refused():
    nodes = [*SIZE_IS_4, branches(["n", "m"])]
    with pytest.raises(UnsupportedError, match=r"'choice'.*depends on the size"):
        graph_of(nodes, {"x": ["n", "m"]}, axis=np.int64(1), four=np.int64(4))


def test_weights_inside_the_taken_branch_are_found():
    inner = [
        op("Constant", outputs=["k"], value=numpy_helper.from_array(np.ones((3, 2), np.float32))),
        op("MatMul", "x", "k", outputs=["a"]),
    ]
    then = helper.make_graph(inner, "then", [], [value("a", ["n", 2])])
    other = helper.make_graph([op("Relu", "x", outputs=["b"])], "else", [], [value("b", ["n", 3])])
    node = helper.make_node("If", ["c"], ["y"], "choice", then_branch=then, else_branch=other)
    graph = graph_of([node], {"x": ["n", 3]}, c=np.asarray(True))
    assert [node.op for node in graph.nodes] == ["linear"]


# --- pairs of states --------------------------------------------------------------------------------------


def test_the_caller_pairs_states():
    made = model(
        [lstm(h="h", c="c", outputs=("y", "hn", "cn"))],
        {"x": ["t", "b", 3], "h": [1, "p", UNITS], "c": [1, "q", UNITS]},
        ["y", "hn", "cn"],
        WEIGHTS,
    )
    graph = load_onnx(made, states={"h": "hn", "c": "cn"}).graph
    assert [(s.input, s.output) for s in graph.states] == [("h", "hn"), ("c", "cn")]


def test_a_state_keeps_its_type():
    made = model(
        [lstm(h="h", outputs=("y", "hn", ""))], {"x": ["t", "b", 3], "h": [1, "b", UNITS]}, ["y", "hn"], WEIGHTS
    )
    with pytest.raises(InputError, match="keeps its type"):
        load_onnx(made, states={"h": "y"})


# --- the equations themselves -------------------------------------------------------------------------------


def table(**sizes):
    symbols = Symbols()
    dims = {name: symbols.new(Origin(name, 0, "" if size else name, size)) for name, size in sizes.items()}
    return symbols, dims


def test_equal_sizes_are_learned_in_any_order():
    symbols, dims = table(a=None, b=7, c=None)
    symbols.same(dims["a"], dims["b"], "first")
    symbols.same(dims["c"], dims["a"], "second")
    assert symbols.resolve(dims["c"]) == symbols.resolve(dims["b"])
    assert symbols.hint(dims["c"]) == 7


def test_a_sum_determines_a_size():
    symbols, dims = table(a=None)
    symbols.same(dims["a"] + 6, 14, "the features")
    assert symbols.resolve(dims["a"]) == 8
    assert "the features" in symbols.why("a.0")


def test_a_common_factor_is_divided_out():
    symbols, dims = table(a=None, b=None)
    symbols.same(dims["a"] * dims["b"], dims["a"] * 5, "the elements")
    assert symbols.resolve(dims["b"]) == 5


def test_one_against_another_size_is_a_broadcast_only_where_it_may_be():
    symbols, dims = table(a=1, b=7)
    assert dims["b"] == symbols.same(dims["a"], dims["b"], "broadcast, axis 0")
    symbols, dims = table(a=1, b=7)
    with pytest.raises(InputError):
        symbols.same(dims["a"], dims["b"], "columns against rows")


def test_what_cannot_be_stated_is_refused():
    symbols, dims = table(a=None, b=None)
    with pytest.raises(UnsupportedError):
        symbols.same(dims["a"] * dims["b"], 14, "the elements")


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=8), st.integers(1, 9))
def test_learned_equations_hold_at_the_sizes_of_the_file(pairs, size):
    symbols, dims = table(**{f"d{index}": size for index in range(6)})
    names = list(dims)
    for left, right in pairs:
        symbols.same(dims[names[left]], dims[names[right]], "equal")
    for left, right in pairs:
        assert symbols.resolve(dims[names[left]]) == symbols.resolve(dims[names[right]])
    for dim in dims.values():
        assert size == symbols.hint(dim)


# --- the report -----------------------------------------------------------------------------------------------


def test_the_report_lists_what_was_mapped_and_what_was_assumed():
    report = load_onnx(model([lstm()], {"x": ["t", "b", 3]}, ["y"], WEIGHTS)).report
    found = {(entry.kind, entry.subject) for entry in report}
    assert ("mapped", "hidden_size") in found
    assert {("assumed", name) for name in ("direction", "activations", "clip", "input_forget", "layout")} <= found
    assert ("mapped", "T") in found
    assert "mapped   " in str(report)
    assert len(report) == len(list(report))


def test_a_step_added_to_a_memory_of_any_length_leaves_its_length_free():
    """The step's one position is learned to be 1 while the sum is looked at, and broadcasts all the same."""
    nodes = [op("Squeeze", "y", "axis", outputs=("rows",)), op("Transpose", "rows", outputs=("step",), perm=[1, 0, 2])]
    turned = op("Transpose", "x", outputs=("t",), perm=[1, 0, 2])
    graph = graph_of(
        [turned, lstm("t"), *nodes, op("Add", "step", "memory")],
        {"x": ["B", 1, FEATURES], "memory": ["B", "S", UNITS]},
        ("z",),
        axis=ints(1),
    )
    assert str(graph.inputs["memory"]) == f"float32(B, S, {UNITS})"
    assert not graph.pinned
