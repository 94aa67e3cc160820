"""What is not honoured is refused by name: one test for each kind of refusal."""

import subprocess
import sys

import numpy as np
import pytest
from edgelstm_converters.onnx import load_onnx
from onnx import TensorProto, helper

from edgelstm.errors import EdgeLSTMError, FormatError, InputError, UnsupportedError
from tests.converters.onnx.build import DTYPES, model, value

H, F = 4, 3  # units and features
WEIGHTS = {
    "W": np.full((1, 4 * H, F), 0.1, np.float32),
    "R": np.full((1, 4 * H, H), 0.1, np.float32),
}


def lstm(constants=WEIGHTS, inputs=("x", "W", "R"), opset=17, **attrs):
    node = helper.make_node("LSTM", list(inputs), ["y"], "cell", **attrs)
    return model([node], {"x": ["t", "b", F]}, ["y"], constants, opset)


def unary(op, name="n", x=("a", "b"), opset=17, dtype="float32", constants=None, inputs=("x",), **attrs):
    return model(
        [helper.make_node(op, list(inputs), ["y"], name, **attrs)], {"x": (list(x), dtype)}, ["y"], constants, opset
    )


def refused(made, kind, *words):
    with pytest.raises(kind) as caught:
        load_onnx(made)
    text = str(caught.value)
    for word in words:
        assert word in text, text
    assert "\n" not in text


def test_the_model_that_the_others_damage_is_taken():
    assert load_onnx(lstm(hidden_size=H)).graph.nodes[0].op == "lstm"


# --- files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b"time,temperature\n0,1.5\n", "text"),
        (b"PK\x03\x04" + bytes(40), "zip"),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), "HDF5"),
        (b"\x1c\0\0\0TFL3" + bytes(40), "TensorFlow Lite"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"\xff" * 64, "other data"),
        (b"\x08\x08", "without a graph"),
    ],
)
def test_wrong_files(tmp_path, data, word):
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    refused(path, FormatError, str(path), word)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.onnx"):
        load_onnx(tmp_path / "none.onnx")
    refused(tmp_path, FormatError, "folder")


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.95, 0.999])
def test_truncated_file(tmp_path, cut):
    data = lstm(hidden_size=H).SerializeToString()
    path = tmp_path / "cut.onnx"
    path.write_bytes(data[: int(len(data) * cut)])
    refused(path, FormatError, "cut.onnx")


def test_every_truncation_is_one_of_our_errors():
    data = lstm(hidden_size=H).SerializeToString()
    taken = 0
    for end in range(len(data)):
        try:
            load_onnx(data[:end])
            taken += 1
        except EdgeLSTMError:
            pass
    assert taken <= 3  # cuts inside trailing fields that say nothing about the graph


def test_flipped_bytes_are_our_errors_or_harmless():
    data = bytearray(lstm(hidden_size=H).SerializeToString())
    rng = np.random.default_rng(0)
    refusals = 0
    for _ in range(400):
        damaged = bytearray(data)
        for position in rng.integers(0, len(data), 3):
            damaged[position] = int(rng.integers(0, 256))
        try:
            load_onnx(bytes(damaged))
        except EdgeLSTMError:
            refusals += 1
    assert refusals > 50


def test_too_large_is_refused_unread(tmp_path):
    path = tmp_path / "big.onnx"
    path.write_bytes(lstm().SerializeToString())
    with pytest.raises(FormatError, match="at most 100"):
        load_onnx(path, max_bytes=100)


def test_data_outside_the_file():
    made = lstm(hidden_size=H)
    tensor = made.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    refused(made, UnsupportedError, "'W'", "another file", "external_data=False")


def test_tensor_without_its_bytes():
    made = lstm(hidden_size=H)
    made.graph.initializer[0].dims[1] = 1 << 30
    refused(made, FormatError, "'W'", "bytes")


def test_invalid_onnx():
    made = lstm(hidden_size=H)
    made.graph.node[0].output[0] = "x"
    refused(made, FormatError, "not a valid ONNX model")


def test_a_constant_that_would_fill_memory():
    shape = np.asarray([1 << 20, 1 << 20], np.int64)
    made = model(
        [helper.make_node("ConstantOfShape", ["s"], ["c"]), helper.make_node("Add", ["x", "c"], ["y"], "sum")],
        {"x": [1 << 20, 1 << 20]},
        ["y"],
        {"s": shape},
    )
    load_onnx(made)  # repeated zeros are not written out
    made = model([helper.make_node("ConstantOfShape", ["s"], ["y"])], {"x": [1]}, ["y"], {"s": shape})
    refused(made, UnsupportedError, "too large")


# --- operators and attributes -----------------------------------------------------------------------------


def test_unknown_operator():
    refused(unary("Hardmax"), UnsupportedError, "Hardmax", "'n'")


def test_unknown_operators_are_named_all_at_once():
    nodes = [helper.make_node("Hardmax", ["x"], ["h"], "one"), helper.make_node("Det", ["h"], ["y"], "two")]
    refused(model(nodes, {"x": [3, 3]}, ["y"]), UnsupportedError, "Hardmax", "'one'", "Det", "'two'")


def test_operator_of_another_domain():
    made = model([helper.make_node("FusedGemm", ["x"], ["y"], "n", domain="com.microsoft")], {"x": [2]}, ["y"])
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    refused(made, UnsupportedError, "com.microsoft.FusedGemm", "'n'")


def loop():
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Tanh", ["s"], ["s2"])],
        "body",
        [value("i", [], "int64"), value("c", [], "bool"), value("s", [2])],
        [value("c2", [], "bool"), value("s2", [2])],
    )
    constants = {"n": np.int64(3), "go": np.asarray(True)}
    return model(
        [helper.make_node("Loop", ["n", "go", "x"], ["y"], "unrolled", body=body)], {"x": [2]}, ["y"], constants
    )


def test_loop():
    refused(loop(), UnsupportedError, "Loop", "'unrolled'", "depends on the step before")


def test_unknown_attribute():
    # the checker of onnx knows attributes too; either way the name is in the message
    refused(lstm(hidden_size=H, forget_bias=1.0), EdgeLSTMError, "forget_bias")


def test_an_attribute_that_nobody_reads():
    from edgelstm_converters.onnx.attributes import AttrReader
    from edgelstm_converters.onnx.report import Report

    reader = AttrReader(helper.make_node("Tanh", ["x"], ["y"], "n", speed=3), "Tanh node 'n'", Report())
    with pytest.raises(UnsupportedError, match=r"Tanh node 'n': unknown attribute speed=3"):
        reader.finish()


def test_attribute_of_another_type():
    refused(lstm(hidden_size=float(H)), FormatError, "hidden_size")


@pytest.mark.parametrize(
    ("attrs", "words"),
    [
        ({"hidden_size": 5}, ("hidden_size=5", "R")),
        ({"direction": "sideways"}, ("direction", "sideways")),
        ({"activations": ["Sigmoid", "Tanh"]}, ("activations", "3", "2")),
        ({"activations": ["Sigmoid", "Tanh", "Gelu"]}, ("Gelu",)),
        ({"activations": ["Sigmoid", "Tanh", "Elu"], "activation_alpha": [0.5, 0.5]}, ("activation_alpha", "2 values")),
        ({"activation_beta": [0.5]}, ("activation_beta",)),
        ({"clip": -1.0}, ("clip",)),
        ({"layout": 2}, ("layout=2",)),
        ({"input_forget": 2}, ("input_forget=2",)),
    ],
)
def test_attributes_of_cells(attrs, words):
    refused(lstm(**attrs), EdgeLSTMError, "'cell'", *words)


def test_linear_before_reset():
    node = helper.make_node("GRU", ["x", "W", "R"], ["y"], "cell", linear_before_reset=2)
    made = model([node], {"x": ["t", "b", F]}, ["y"], {"W": WEIGHTS["W"][:, : 3 * H], "R": WEIGHTS["R"][:, : 3 * H]})
    refused(made, FormatError, "linear_before_reset=2")


def test_without_onnx_the_extra_is_named():
    code = "import sys; sys.modules['onnx'] = None; import edgelstm_converters.onnx"
    paths = [path for path in sys.path if path]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={"PYTHONPATH": ":".join(paths)}
    )
    assert "DependencyError" in done.stderr
    assert "edgelstm[onnx]" in done.stderr


def test_training_mode():
    refused(
        unary("Dropout", inputs=("x", "r", "t"), constants={"r": np.float32(0.5), "t": np.asarray(True)}),
        UnsupportedError,
        "training_mode",
    )


def test_an_output_that_is_not_given():
    node = helper.make_node("MaxPool", ["x"], ["y", "indices"], "pool", kernel_shape=[2])
    refused(model([node], {"x": [1, 2, 8]}, ["y", "indices"]), UnsupportedError, "'indices'", "'pool'")


# --- dtypes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8"])
def test_input_dtypes(dtype):
    refused(unary("Identity", dtype=dtype), UnsupportedError, "'x'", {"float64": "double"}.get(dtype, dtype))


def test_cast_to_a_dtype_that_is_not_carried():
    refused(unary("Cast", to=DTYPES["float16"]), UnsupportedError, "float16", "'n'", "float32")


def test_weights_in_float16():
    constants = {name: array.astype(np.float16) for name, array in WEIGHTS.items()}
    node = helper.make_node("LSTM", ["x", "W", "R"], ["y"], "cell")
    made = model(
        [helper.make_node("Cast", ["x0"], ["x"], to=DTYPES["float16"]), node], {"x0": [2, 2, F]}, ["y"], constants
    )
    refused(made, UnsupportedError, "float16")


# --- shapes -----------------------------------------------------------------------------------------------


def test_features_that_do_not_fit_the_weights():
    made = lstm(hidden_size=H)
    made.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 5
    refused(made, FormatError, "'cell'", "axis 2 of w", "5", "3")


def test_contradicting_constants():
    constants = {"a": np.zeros((2, 3), np.float32), "b": np.zeros((4, 5), np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "a"], ["m"]), helper.make_node("MatMul", ["m", "b"], ["y"], "second")]
    refused(model(nodes, {"x": ["n", 2]}, ["y"], constants), FormatError, "'second'")


def test_reshape_that_cannot_be_proved():
    made = model(
        [helper.make_node("Reshape", ["x", "s"], ["y"], "r")],
        {"x": ["a", "b", 3]},
        ["y"],
        {"s": np.asarray([-1, 5, 3])},
    )
    graph = load_onnx(made).graph  # b can only be 5 for every a
    assert tuple(dim for dim in graph.inputs["x"].shape if dim == 5) == (5,)
    made = model(
        [helper.make_node("Reshape", ["x", "s"], ["y"], "r")], {"x": ["a", 3]}, ["y"], {"s": np.asarray([-1, 5])}
    )
    refused(made, UnsupportedError, "'r'", "5")


def test_data_that_decides_on_shapes():
    made = model([helper.make_node("Reshape", ["x", "s"], ["y"], "r")], {"x": [6], "s": ([2], "int64")}, ["y"])
    refused(made, UnsupportedError, "'r'", "the shape")


def test_condition_from_data():
    branch = [
        helper.make_graph([helper.make_node(op, ["x"], ["z"])], op, [], [value("z", [2])]) for op in ("Tanh", "Relu")
    ]
    node = helper.make_node("If", ["c"], ["y"], "choice", then_branch=branch[0], else_branch=branch[1])
    made = model([node], {"x": [2], "c": ([1], "bool")}, ["y"])
    refused(made, UnsupportedError, "'choice'", "condition")


def test_a_size_used_as_data():
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Cast", ["s"], ["f"], "as_number", to=DTYPES["float32"]),
        helper.make_node("Div", ["x", "f"], ["y"], "mean"),
    ]
    refused(model(nodes, {"x": ["n"]}, ["y"]), UnsupportedError, "'mean'", "run time")


def test_weights_computed_at_run_time():
    node = helper.make_node("LSTM", ["x", "W", "R"], ["y"], "cell")
    made = model([node], {"x": ["t", "b", F], "W": [1, 4 * H, F]}, ["y"], {"R": WEIGHTS["R"]})
    refused(made, UnsupportedError, "W", "'cell'", "constant")
    assert load_onnx(made, constants={"W": WEIGHTS["W"]}).graph.nodes[0].op == "lstm"


@pytest.mark.parametrize("states", [{"h": "y"}, {"x": "none"}])
def test_state_pairs_that_do_not_exist(states):
    with pytest.raises(InputError, match="states"):
        load_onnx(lstm(hidden_size=H), states=states)


def test_refusals_stand_in_the_report():
    from edgelstm_converters.onnx.importer import Importer
    from edgelstm_converters.onnx.reader import read_model

    made, where = read_model(unary("Hardmax"))
    work = Importer(made, where, {})
    with pytest.raises(UnsupportedError):
        work.run()
    assert [entry.kind for entry in work.report] == ["refused"]
