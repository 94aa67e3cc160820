"""Files that real exporters wrote: sizes found, golden outputs met, other sizes right or refused."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

from edgelstm_converters.onnx import load_onnx

from edgelstm.errors import InputError
from edgelstm.runtime.model import Model
from tests.converters.onnx.build import run_graph, run_onnxruntime

MODELS = Path(__file__).parents[2] / "models"
TORCH = sorted((MODELS / "torch_exports").glob("*.onnx"))
KERAS = sorted((MODELS / "keras_exports").glob("*.onnx"))
DYNAMIC = [path for path in TORCH if ".dyn." in path.name]
TOLERANCE = 1e-5

# Sizes that the file fixes: by default T and B in the PyTorch files without .dyn, T in the Keras files.
FROZEN = {
    "cell_step.torchscript.onnx": {"B": 2},
    "conv1d_bn_lstm.torchscript.onnx": {"T": 16, "B": 2},
    "packed_bigru.torchscript.onnx": {"T": 7, "B": 3},
    "seq2seq_decoder_step.torchscript.onnx": {"B": 2},
    "stateful_lstm2.torchscript.onnx": {"T": 4, "B": 1},
    "stateful_lstm2.torchscript.dyn.onnx": {"B": 1},
    "lstm_seq_any_length.onnx": {},
    "lstm_stateful.onnx": {"T": 7, "B": 2},
    "conv1d_lstm.onnx": {"T": 8},
}


def ids(path):
    return path.name


@pytest.fixture(scope="module")
def golden():
    return np.load(MODELS / "torch_exports" / "golden.npz")


def torch_case(path, golden):
    model = path.name.split(".")[0]
    inputs = [golden[f"{model}/in{k}"] for k in range(sum(name.startswith(f"{model}/in") for name in golden.files))]
    outputs = [golden[f"{model}/out{k}"] for k in range(sum(name.startswith(f"{model}/out") for name in golden.files))]
    return inputs, outputs


def keras_case(path):
    arrays = np.load(path.with_suffix(".npz"))
    return [arrays["x"]], [arrays["y"]]


def case(path, golden):
    return torch_case(path, golden) if path in TORCH else keras_case(path)


def assert_close(found, expected):
    assert len(expected) == len(found)
    for got, want in zip(found.values(), expected, strict=True):
        assert want.shape == got.shape
        np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE)


def test_every_file_is_here():
    assert (len(TORCH), len(KERAS)) == (36, 12)


@pytest.mark.parametrize("path", TORCH + KERAS, ids=ids)
def test_golden_by_the_definitions(path, golden):
    graph = load_onnx(path).graph
    inputs, expected = case(path, golden)
    assert_close(run_graph(graph, dict(zip(graph.inputs, inputs, strict=True))), expected)


@pytest.mark.parametrize("path", TORCH + KERAS, ids=ids)
def test_golden_by_the_machine(path, golden):
    model = Model(load_onnx(path).graph)
    inputs, expected = case(path, golden)
    assert_close(model.run(dict(zip(model.inputs, inputs, strict=True))), expected)


def test_golden_byte_sb_bilstm():
    arrays = np.load(MODELS / "byte_sb_bilstm" / "io.npz")
    graph = load_onnx(MODELS / "byte_sb_bilstm" / "model.onnx").graph
    assert str(graph.inputs["input"]) == "uint8(B, T)"
    assert_close(run_graph(graph, {"input": arrays["input"]}), [arrays["Add_26"]])


@pytest.mark.parametrize("path", TORCH + KERAS, ids=ids)
def test_sizes_that_the_file_fixes(path):
    graph = load_onnx(path).graph
    usual = {"T": 7} if path in KERAS else {} if path in DYNAMIC else {"T": 7, "B": 2}
    assert FROZEN.get(path.name, usual) == dict(graph.frozen)


@pytest.mark.parametrize("name", ["conv1d_lstm", "time_distributed"])
def test_a_size_that_a_reshape_holds_names_the_constant(name):
    graph = load_onnx(MODELS / "keras_exports" / f"{name}.onnx").graph
    assert {"T"} == set(graph.pinned)
    assert "Reshape node" in graph.pinned["T"]
    assert "(-1, " in graph.pinned["T"]


def other_feeds(graph, sizes, seed):
    rng = np.random.default_rng(seed)
    feeds = {}
    for name, kind in graph.inputs.items():
        shape = [sizes[str(dim)] if not isinstance(dim, int) else dim for dim in kind.shape]
        if kind.dtype == "float32":
            feeds[name] = rng.normal(size=shape).astype(np.float32)
        elif len(shape) == 1:  # lengths
            feeds[name] = rng.integers(1, sizes["T"] + 1, shape)
            feeds[name][0] = sizes["T"]
        else:
            feeds[name] = rng.integers(0, 20, shape)
    return feeds


@pytest.mark.parametrize("path", DYNAMIC, ids=ids)
@pytest.mark.parametrize(("batch", "time"), [(1, 1), (1, 19), (5, 12), (3, 4)])
def test_other_sizes_against_onnxruntime(path, batch, time):
    graph = load_onnx(path).graph
    time = max(time, 2) if path.name.startswith("conv1d") else time  # its pooling takes two readings
    feeds = other_feeds(graph, {"T": time, "B": graph.frozen.get("B", batch), "src": 6}, seed=batch * 100 + time)
    assert_close(run_graph(graph, feeds), list(run_onnxruntime(str(path), feeds).values()))


@pytest.mark.parametrize("path", [path for path in TORCH if ".dyn." not in path.name], ids=ids)
def test_a_fixed_file_runs_at_its_size_only(path, golden):
    graph = load_onnx(path).graph
    inputs, _ = case(path, golden)
    name = next(iter(graph.inputs))
    feeds = dict(zip(graph.inputs, inputs, strict=True))
    axis = 0 if "B" in str(graph.inputs[name].shape[0]) else 1
    feeds[name] = np.concatenate([feeds[name], feeds[name]], axis)
    with pytest.raises(InputError):
        run_graph(graph, feeds)


def test_dimensions_are_found_by_what_they_reach_not_by_name(golden):
    import onnx

    path = MODELS / "torch_exports" / "lstm_bf_linear_last.torchscript.dyn.onnx"
    model = onnx.load(path)
    for dim, name in zip(model.graph.input[0].type.tensor_type.shape.dim, ("time", "batch", ""), strict=True):
        if name:
            dim.dim_param = name  # the other way round
    graph = load_onnx(model).graph
    assert str(graph.inputs["in0"]) == "float32(B, T, 6)"
    inputs, expected = torch_case(path, golden)
    assert_close(run_graph(graph, {"in0": inputs[0]}), expected)


@pytest.mark.parametrize("path", TORCH + KERAS, ids=ids)
def test_nothing_of_the_shape_arithmetic_is_left(path):
    graph = load_onnx(path).graph
    assert not {"broadcast", "equal", "where", "div"} & {node.op for node in graph.nodes}
    for node in graph.nodes:
        if node.op in ("lstm", "gru", "rnn") and not any(
            name in graph.inputs for name in graph.inputs if "in1" in name
        ):
            assert all(not name for name in node.inputs[5:])  # zeros are no start state
