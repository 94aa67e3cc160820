"""Loop and Scan over recurrent cells: nodes over whole sequences, golden outputs met; other loops refused by name."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

import onnx
from edgelstm_converters.onnx import load_onnx
from onnx import TensorProto, helper, numpy_helper

from edgelstm.errors import EdgeLSTMError, InputError, UnsupportedError
from edgelstm.graph.ops import infer_all as graph_types
from edgelstm.runtime.model import Model
from tests.converters.onnx.build import model, run_graph, run_onnxruntime

LOOPS = Path(__file__).parents[2] / "models" / "tf2onnx_loops"
FILES = sorted(LOOPS.glob("*.onnx"))
LAYERS = {
    "stacked": ["rnn", "gru"],
    "cells": ["lstm", "gru"],
    "rnn_both_ways": ["rnn", "rnn"],
    "lstm_masked_both_ways": ["lstm", "lstm"],
    "embedding_masked": ["lstm"],
}
UNITS, WIDTH = 4, 3
RNG = np.random.default_rng(2)


def ids(path):
    return path.stem


def cells(graph):
    return [node.op for node in graph.nodes if node.op in ("lstm", "gru", "rnn")]


@pytest.fixture(scope="module")
def golden():
    return np.load(LOOPS / "golden.npz")


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_golden(path, golden):
    graph = load_onnx(path).graph
    assert LAYERS.get(path.stem, [path.stem.split("_")[0]]) == cells(graph)
    x, y = golden[f"{path.stem}/x"], golden[f"{path.stem}/y"]
    for found in (run_graph(graph, {"x": x}), Model(graph).run({"x": x})):
        (got,) = found.values()
        np.testing.assert_allclose(got, y, rtol=0, atol=1e-5)


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_other_lengths(path):
    graph = load_onnx(path).graph
    x = RNG.normal(size=(3, 11, WIDTH)).astype(np.float32)
    if "masked" in path.stem:
        x[0, :3] = x[1, 4:6] = x[2, 9:] = 0
    if path.stem == "embedding_masked":
        x = RNG.integers(0, 3, (3, 11)).astype(np.int32)
    if "T" in graph.frozen:
        with pytest.raises(InputError, match="7"):
            run_graph(graph, {"x": x})
    else:
        (got,) = run_graph(graph, {"x": x}).values()
        (want,) = run_onnxruntime(str(path), {"x": x}).values()
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("path", [path for path in FILES if "both_ways" not in path.stem], ids=ids)
def test_streams(path, golden):
    loaded = Model(load_onnx(path).graph)
    x, y = golden[f"{path.stem}/x"], golden[f"{path.stem}/y"]
    for row in range(len(x)):
        stream = loaded.stream()
        last = [stream.step(reading) for reading in x[row]][-1]
        want = y[row] if y.ndim == 2 else y[row, -1]
        np.testing.assert_allclose(last, want, rtol=0, atol=1e-5)


# Loops and scans written by hand.


def floats(*shape):
    return (RNG.normal(size=shape) * 0.6).astype(np.float32)


CONSTANTS = {"W": floats(WIDTH, UNITS), "R": floats(UNITS, UNITS), "one": np.int64(1), "true": np.asarray(True)}


def tensor(name, kind=TensorProto.FLOAT, shape=None):
    return helper.make_tensor_value_info(name, kind, shape)


def rnn_body(nodes=(), inputs=(), outputs=(), h="h_next"):
    """One step: h_next = tanh(x W + h R), with other nodes, inputs and outputs around it."""
    made = [
        helper.make_node("MatMul", ["x_t", "W"], ["xw"]),
        helper.make_node("MatMul", ["h", "R"], ["hr"]),
        helper.make_node("Add", ["xw", "hr"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["h_next"], "update"),
        *nodes,
    ]
    return helper.make_graph(made, "body", list(inputs), [tensor(h), *outputs])


def looped(nodes=(), outputs=("y",), h="h_next", before=(), limit="n", condition="true", extra=()):
    """A Loop over the entries of x (T, B, WIDTH) with the state h."""
    take = helper.make_node("Gather", ["x", "i"], ["x_t"], axis=0)
    keep = helper.make_node("Identity", ["go"], ["go_on"])
    body = rnn_body(nodes, [tensor("i", TensorProto.INT64, []), tensor("go", TensorProto.BOOL, []), tensor("h")], [], h)
    body.node.insert(0, take)
    body.node.insert(1, keep)
    body.output.insert(0, tensor("go_on", TensorProto.BOOL, []))
    body.output.extend(tensor(name) for name in ("h_copy", *extra)[: len(outputs)])
    body.node.append(helper.make_node("Identity", ["h_next"], ["h_copy"]))
    length = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["n"]),
        *before,
        helper.make_node("Loop", [limit, condition, "h0"], ["h_last", *outputs], "steps", body=body),
    ]
    constants = {**CONSTANTS, "zero": np.int64(0)}
    return model(length, {"x": ["t", "b", WIDTH], "h0": ["b", UNITS]}, ["h_last", *outputs], constants)


def rnn(x, h, backward=False):
    found = []
    for entry in x[::-1] if backward else x:
        h = np.tanh(entry @ CONSTANTS["W"] + h @ CONSTANTS["R"])
        found.append(h)
    return h, np.stack(found)


def test_a_loop_with_a_limit():
    graph = load_onnx(looped()).graph
    assert cells(graph) == ["rnn"]
    assert str(graph.inputs["x"]) == f"float32(T, B, {WIDTH})"
    x, h = floats(5, 2, WIDTH), floats(2, UNITS)
    found, (last, y) = run_graph(graph, {"x": x, "h0": h}), rnn(x, h)
    np.testing.assert_allclose(found["h_last"], last, atol=1e-6)
    np.testing.assert_allclose(found["y"], y, atol=1e-6)
    assert [(state.name, state.output) for state in Model(graph).states] == [("h0", "h_last")]


def test_what_surrounds_the_cell_is_computed_for_all_steps():
    nodes = [
        helper.make_node("Mul", ["h_next", "h_next"], ["square"]),
        helper.make_node("ReduceSum", ["square", "axis"], ["energy"], keepdims=1),
        helper.make_node("Softmax", ["h_next"], ["soft"], axis=-1),
        helper.make_node("Concat", ["soft", "x_t", "energy"], ["together"], axis=1),
        helper.make_node("Constant", [], ["axis"], value_ints=[1]),
    ]
    graph = load_onnx(looped([nodes[-1], *nodes[:-1]], ("y", "z"), extra=("together",))).graph
    x, h = floats(5, 2, WIDTH), floats(2, UNITS)
    found, (_, y) = run_graph(graph, {"x": x, "h0": h}), rnn(x, h)
    soft = np.exp(y) / np.exp(y).sum(-1, keepdims=True)
    want = np.concatenate([soft, x, (y**2).sum(-1, keepdims=True)], axis=-1)
    np.testing.assert_allclose(found["z"], want, atol=1e-6)


NUMBER_FROM_DATA = [
    helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
    helper.make_node("Cast", ["s"], ["m"], to=TensorProto.INT64),
]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"nodes": [helper.make_node("Mul", ["h", "h_next"], ["mixed"], "mixed")], "h": "mixed"},
            ("'steps'", "'mixed'", "depends on the step before"),
        ),
        ({"before": NUMBER_FROM_DATA, "limit": "m"}, ("'steps'", "number of steps")),
    ],
    ids=["no cell", "steps from data"],
)
def test_other_loops_are_refused(change, words):
    with pytest.raises(UnsupportedError) as caught:
        load_onnx(looped(**change))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("backward", [0, 1])
@pytest.mark.parametrize("axis", [0, 1])
def test_scan(axis, backward):
    body = rnn_body([helper.make_node("Identity", ["h_next"], ["y_t"])], [tensor("h"), tensor("x_t")], [tensor("y_t")])
    attrs = {
        "num_scan_inputs": 1,
        "scan_input_axes": [axis],
        "scan_input_directions": [backward],
        "scan_output_axes": [axis],
        "scan_output_directions": [backward],
    }
    node = helper.make_node("Scan", ["h0", "x"], ["h_last", "y"], "steps", body=body, **attrs)
    dims = ["t", "b", WIDTH] if axis == 0 else ["b", "t", WIDTH]
    made = model([node], {"x": dims, "h0": ["b", UNITS]}, ["h_last", "y"], CONSTANTS)
    graph = load_onnx(made).graph
    assert cells(graph) == ["rnn"]
    x, h = floats(5, 2, WIDTH), floats(2, UNITS)
    last, y = rnn(x, h, bool(backward))
    y = y[::-1] if backward else y
    if axis:
        x, y = x.transpose(1, 0, 2), y.transpose(1, 0, 2)
    found = run_graph(graph, {"x": x, "h0": h})
    np.testing.assert_allclose(found["h_last"], last, atol=1e-6)
    np.testing.assert_allclose(found["y"], y, atol=1e-6)


def test_a_scan_that_sums_is_refused():
    body = helper.make_graph(
        [helper.make_node("Add", ["h", "x_t"], ["s"], "total"), helper.make_node("Identity", ["s"], ["y_t"])],
        "body",
        [tensor("h"), tensor("x_t")],
        [tensor("s"), tensor("y_t")],
    )
    node = helper.make_node("Scan", ["h0", "x"], ["h_last", "y"], "steps", body=body, num_scan_inputs=1)
    with pytest.raises(UnsupportedError, match=r"Scan node 'steps': its body is no LSTM.*'total'"):
        load_onnx(model([node], {"x": ["t", "b", WIDTH], "h0": ["b", WIDTH]}, ["h_last", "y"]))


def test_a_loop_in_a_real_file_with_another_body_is_refused():
    made = onnx.load(LOOPS / "rnn.onnx")
    (loop,) = [node for node in made.graph.node if node.op_type == "Loop"]
    (body,) = [attribute.g for attribute in loop.attribute if attribute.name == "body"]
    (update,) = [node for node in body.node if node.op_type == "Tanh"]
    update.op_type = "Sin"
    with pytest.raises(UnsupportedError, match="Sin"):
        load_onnx(made)
    update.op_type = "Softmax"  # mixes the units of a step
    with pytest.raises(EdgeLSTMError, match=r"Loop node .*softmax node"):
        load_onnx(made)


def test_counters_that_do_not_count_by_one_are_refused():
    made = onnx.load(LOOPS / "rnn.onnx")
    (loop,) = [node for node in made.graph.node if node.op_type == "Loop"]
    (body,) = [attribute.g for attribute in loop.attribute if attribute.name == "body"]
    (step,) = [tensor for tensor in body.initializer if tensor.data_type == TensorProto.INT32]
    step.CopyFrom(numpy_helper.from_array(np.int32(2), step.name))
    with pytest.raises(UnsupportedError, match="Loop node"):
        load_onnx(made)


@pytest.mark.parametrize("path", [path for path in FILES if "masked" in path.stem], ids=ids)
def test_a_mask_is_an_input_of_the_cell(path):
    graph = load_onnx(path).graph
    for node in graph.nodes:
        if node.op in ("lstm", "gru", "rnn"):
            assert graph_types(graph)[node.inputs[-1]].dtype == "bool"


def test_a_mask_over_a_state_that_starts_elsewhere_is_refused():
    """What is given out where the mask holds must be what the cell keeps: also before the first step that is taken."""
    made = onnx.load(LOOPS / "lstm_masked.onnx")
    (loop,) = [node for node in made.graph.node if node.op_type == "Loop"]
    start = helper.make_node("Add", [loop.input[4], "start"], ["h_start"])
    made.graph.initializer.append(numpy_helper.from_array(np.float32(0.5), "start"))
    made.graph.node.insert(list(made.graph.node).index(loop), start)
    (loop,) = [node for node in made.graph.node if node.op_type == "Loop"]
    loop.input[4] = "h_start"
    with pytest.raises(UnsupportedError, match=r"Loop node .*depends on the step before"):
        load_onnx(made)
