"""Files in which exporters took recurrent layers apart: put together again, golden outputs met, streams derived."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

from edgelstm_converters.onnx import load_onnx

from edgelstm.errors import InputError, StreamError
from edgelstm.runtime.model import Model
from tests.converters.onnx.build import run_graph

MODELS = Path(__file__).parents[2] / "models"
UNROLLED = sorted((MODELS / "unrolled").glob("*.onnx"))
TOLERANCE = 1e-5
LAYERS = {
    "torch_rnn_stacked": ["rnn", "rnn"],
    "torch_rnn_both_ways": ["rnn", "rnn"],
    "keras_lstm_stacked": ["lstm", "lstm"],
    "keras_lstm_both_ways": ["lstm", "lstm"],
}
BACKWARD = ("torch_rnn_both_ways", "torch_rnn_cell_backward", "keras_lstm_both_ways", "keras_lstm_backward")


def ids(path):
    return path.name


def name_of(path):
    return path.name.split(".")[0]


@pytest.fixture(scope="module")
def golden():
    return {kind: dict(np.load(MODELS / "unrolled" / f"{kind}.npz")) for kind in ("torch", "keras")}


def arrays_of(path, golden, role):
    kind, name = name_of(path).split("_", 1)
    found = golden[kind]
    return [found[f"{name}/{role}{k}"] for k in range(sum(key.startswith(f"{name}/{role}") for key in found))]


def cells(graph):
    return [node.op for node in graph.nodes if node.op in ("lstm", "gru", "rnn")]


def expected_cells(path):
    name = name_of(path)
    return LAYERS.get(name, [next(op for op in ("lstm", "gru", "rnn") if op in name)])


def test_every_file_is_here():
    assert len(UNROLLED) == 29


@pytest.mark.parametrize("path", UNROLLED, ids=ids)
def test_each_layer_is_one_node(path):
    graph = load_onnx(path).graph
    assert expected_cells(path) == cells(graph)
    assert not {node.op for node in graph.nodes} & {"sigmoid", "tanh", "mul", "add"}


@pytest.mark.parametrize("path", UNROLLED, ids=ids)
def test_golden(path, golden):
    result = load_onnx(path)
    assert any("put together" in entry.text for entry in result.report)
    inputs, outputs = arrays_of(path, golden, "in"), arrays_of(path, golden, "out")
    feeds = dict(zip(result.graph.inputs, inputs, strict=True))
    for found in (run_graph(result.graph, feeds), Model(result.graph).run(feeds)):
        for got, want in zip(found.values(), outputs, strict=True):
            np.testing.assert_allclose(got.reshape(want.shape), want, rtol=0, atol=TOLERANCE)


SEQUENCES = [path for path in UNROLLED if "_step" not in path.name]


@pytest.mark.parametrize("path", SEQUENCES, ids=ids)
def test_the_length_is_free_but_only_its_own_runs(path, golden):
    model = Model(load_onnx(path).graph)
    assert model.graph.frozen["T"] == 7
    inputs = arrays_of(path, golden, "in")
    axis = 0 if name_of(path) == "torch_rnn_relu" else 1
    inputs[0] = np.concatenate([inputs[0], inputs[0]], axis)
    with pytest.raises(InputError, match="7"):
        model.run(dict(zip(model.inputs, inputs, strict=True)))


@pytest.mark.parametrize("path", SEQUENCES, ids=ids)
def test_streams(path, golden):
    model = Model(load_onnx(path).graph)
    inputs, outputs = arrays_of(path, golden, "in"), arrays_of(path, golden, "out")
    if name_of(path) in BACKWARD:
        with pytest.raises(StreamError, match="reverse"):
            model.stream()
        return
    axis = 0 if name_of(path) == "torch_rnn_relu" else 1
    time_major = np.moveaxis(inputs[0], axis, 0)
    for row in range(time_major.shape[1]):
        start = {model.states[0].name: inputs[1][:, row : row + 1]} if "h0" in name_of(path) else None
        stream = model.stream(start)
        readings = [stream.step(reading) for reading in time_major[:, row]]
        last = next(iter(readings[-1].values())) if isinstance(readings[-1], dict) else readings[-1]
        want = outputs[0] if axis else np.moveaxis(outputs[0], 0, 1)
        want = want[row] if want.ndim == 2 else want[row, -1]
        np.testing.assert_allclose(np.asarray(last).reshape(want.shape), want, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("path", [path for path in UNROLLED if "_step" in path.name], ids=ids)
def test_states_of_one_step_are_paired(path):
    model = Model(load_onnx(path).graph)
    assert len(model.states) == (2 if "lstm" in path.name else 1)
    assert {state.how for state in model.states} == {"data flow"}


def test_the_batch_of_unrolled_files_is_free_too(golden):
    path = MODELS / "unrolled" / "torch_rnn_last.dynamo.onnx"
    graph = load_onnx(path).graph
    assert (str(graph.inputs["x"]), dict(graph.frozen)) == ("float32(B, T, 3)", {"T": 7, "B": 2})
