"""What is not honoured is refused by class, layer, key and value."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import edgelstm
from edgelstm.errors import EdgeLSTMError, FormatError, InputError, UnsupportedError
from tests.converters.keras.build import FOLDER, changed, members, sequential
from tests.support import require_module

load_keras = require_module("edgelstm_converters.keras").load_keras

DENSE = {"layers/dense/vars/0": np.ones((3, 2), np.float32), "layers/dense/vars/1": np.zeros(2, np.float32)}
LSTM = {
    "layers/lstm/cell/vars/0": np.ones((3, 8), np.float32),
    "layers/lstm/cell/vars/1": np.ones((2, 8), np.float32),
    "layers/lstm/cell/vars/2": np.zeros(8, np.float32),
}
CONV = {"layers/conv1d/vars/0": np.ones((2, 3, 4), np.float32), "layers/conv1d/vars/1": np.zeros(4, np.float32)}
NORM = {f"layers/batch_normalization/vars/{i}": np.ones(3, np.float32) for i in range(4)}
ITEM = {"layers/layer_normalization/vars/0": np.ones(3, np.float32)}


def inner(kind, **config):
    return {"class_name": kind, "config": {"name": "inner", **config}}


# class, config, arrays, what the message says
CASES = [
    ("Lambda", {"function": ["code", None, None]}, DENSE, "Lambda layer 'layer0'.*its code is never run"),
    ("RNN", {"cell": {}}, DENSE, "RNN layer 'layer0'.*use LSTM"),
    ("ConvLSTM1D", {"filters": 2}, DENSE, "ConvLSTM1D layer 'layer0'.*supported are"),
    ("Dense", {"units": 2, "activation": "sparsemax"}, DENSE, "activation: expected one of .*got 'sparsemax'"),
    ("Dense", {"units": 2, "activation": inner("PReLU")}, DENSE, "activation = .*PReLU.* is not supported"),
    ("Dense", {"units": 2, "lora_rank": 4}, DENSE, "Dense layer 'layer0': lora_rank = 4 is not supported"),
    ("Dense", {"units": 2, "quantization_mode": "int8"}, DENSE, "quantization_mode = 'int8' is not supported"),
    ("Dense", {"units": 2, "dtype": "int8_from_float32"}, DENSE, "dtype = 'int8_from_float32' is not supported"),
    (
        "Dense",
        {"units": 2, "dtype": {"class_name": "QuantizedDTypePolicy", "config": {"name": "int8"}}},
        DENSE,
        "dtype = .*Quantized.* is not supported",
    ),
    ("LSTM", {"units": 2, "activation": "gelu"}, LSTM, "LSTM layer 'layer0': activation = 'gelu' is not supported"),
    ("LSTM", {"units": 2, "time_major": True}, LSTM, "time_major = True is not supported"),
    ("LSTM", {"units": 2, "projection": 3}, LSTM, "projection = 3 is not supported"),
    (
        "Bidirectional",
        {"merge_mode": None, "layer": inner("LSTM", units=2)},
        LSTM,
        "Bidirectional layer 'layer0': merge_mode = None is not supported",
    ),
    ("Bidirectional", {"merge_mode": "sum", "layer": inner("Dense", units=2)}, LSTM, "layer = 'Dense' is not supp"),
    (
        "Bidirectional",
        {"merge_mode": "sum", "layer": inner("LSTM", units=2, go_backwards=True)},
        LSTM,
        "go_backwards = True is not supported",
    ),
    (
        "Bidirectional",
        {
            "merge_mode": "sum",
            "layer": inner("LSTM", units=2),
            "backward_layer": inner("LSTM", units=3, go_backwards=True),
        },
        LSTM,
        "backward_layer.*differ in units",
    ),
    (
        "Bidirectional",
        {"merge_mode": "sum", "layer": inner("LSTM", units=2, time_major=True)},
        LSTM,
        "LSTM layer 'inner': time_major",
    ),
    ("TimeDistributed", {"layer": inner("Conv1D", filters=2)}, DENSE, "layer = 'Conv1D' is not supported"),
    ("TimeDistributed", {"layer": inner("Lambda")}, DENSE, "layer = 'Lambda' is not supported"),
    ("Conv1D", {"filters": 4, "kernel_size": 2, "padding": "full"}, CONV, "padding = 'full' is not supported"),
    (
        "Conv1D",
        {"filters": 4, "kernel_size": [2], "data_format": "channels_first"},
        CONV,
        "data_format = 'channels_first' is not supported",
    ),
    (
        "Conv1D",
        {"filters": 4, "kernel_size": [2], "padding": "same", "strides": [2]},
        CONV,
        "padding='same' with a stride of 2 needs a fixed length; the model leaves it free",
    ),
    ("MaxPooling1D", {"pool_size": 2, "data_format": "channels_first"}, DENSE, "data_format = 'channels_first'"),
    ("GlobalAveragePooling1D", {"data_format": "channels_first"}, DENSE, "data_format = 'channels_first'"),
    ("BatchNormalization", {"axis": 1}, NORM, r"axis = \[1\] is not supported"),
    ("BatchNormalization", {"axis": -1, "renorm": True}, NORM, "renorm = True is not supported"),
    ("LayerNormalization", {"axis": [1, 2]}, ITEM, r"axis = \[1, 2\] is not supported"),
    ("LayerNormalization", {"rms_scaling": True}, ITEM, "rms_scaling = True is not supported"),
    ("ReLU", {"threshold": 1.0}, DENSE, "threshold = 1.0 is not supported"),
    ("Flatten", {}, DENSE, "flattening needs a fixed length; the model leaves it free"),
    ("Reshape", {"target_shape": [4, 3]}, DENSE, r"target_shape \(4, 3\) needs a fixed length"),
]


@pytest.mark.parametrize(("kind", "config", "arrays", "message"), CASES, ids=lambda value: str(value)[:30])
def test_refused_by_name(tmp_path, kind, config, arrays, message):
    with pytest.raises(UnsupportedError, match=message) as caught:
        load_keras(sequential(tmp_path, [(kind, config)], arrays))
    assert "model.keras" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "config", "arrays", "message"),
    [
        ("LSTM", {"units": 3}, LSTM, "units: expected 2, as the arrays have, got 3"),
        ("LSTM", {"units": 2, "use_bias": False}, LSTM, "expected the arrays kernel, recurrent_kernel in"),
        ("LSTM", {"units": "2"}, LSTM, "units: expected a whole number"),
        ("LSTM", {"units": 2, "use_bias": 1}, LSTM, "use_bias: expected true or false, got 1"),
        ("GRU", {"units": 2}, LSTM, "expected the arrays kernel, recurrent_kernel, bias in .*found none"),
        ("Dense", {"units": 3}, DENSE, "declared 3, but array .* makes it 2"),
        ("Conv1D", {"filters": 3, "kernel_size": 2}, CONV, r"expected shape \(2, any, 3\), got \(2, 3, 4\)"),
        ("Dense", {"units": 2, "activation": "relu", "name": ""}, DENSE, "name: expected at most"),
        ("Softmax", {"axis": 0}, DENSE, "axis: expected one of 3 axes other than the batch's, got 0"),
        ("Concatenate", {}, DENSE, "expected at least 2 inputs"),
        ("RepeatVector", {"n": 3}, DENSE, "expected an input of 2 axes"),
        ("Dropout", {}, DENSE, "2 arrays of the file belong to no layer"),
        ("ELU", {"alpha": "x"}, DENSE, "alpha: expected a finite number"),
    ],
)
def test_what_does_not_fit(tmp_path, kind, config, arrays, message):
    with pytest.raises(EdgeLSTMError, match=message):
        load_keras(sequential(tmp_path, [(kind, config)], arrays))


def test_hard_sigmoid_of_an_unknown_version(tmp_path):
    layers = [("LSTM", {"units": 2, "recurrent_activation": "hard_sigmoid"})]
    path = sequential(tmp_path, layers, LSTM, version="")
    with pytest.raises(FormatError, match=r"hard_sigmoid differs between Keras 2 and 3.*keras_version"):
        load_keras(path)
    alphas = [
        load_keras(path, keras_version=version).graph.nodes[1].attrs["activation_alpha"][0] for version in ("2.15", "3")
    ]
    assert alphas == [0.2, 1 / 6]
    with pytest.raises(InputError, match="keras_version: expected a version such as"):
        load_keras(path, keras_version="new")


def test_a_version_that_is_not_the_files():
    with pytest.raises(InputError, match=r"expected what the file says, 3\.15\.1, got '2'"):
        load_keras(FOLDER / "lstm_dense.k3.keras", keras_version="2")


def test_no_function_at_all(tmp_path):
    """Keras reads null as the linear function, not as the class's default."""
    null = load_keras(sequential(tmp_path, [("LSTM", {"units": 2, "activation": None})], LSTM)).graph
    assert [node.attrs["activations"] for node in null.nodes if node.op == "lstm"] == [("sigmoid", "affine", "affine")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"module": "my_package.layers"}, "a class of 'my_package.layers', not of Keras"),
        ({"registered_name": "mine>LSTM"}, "a class of 'mine>LSTM', not of Keras"),
        ({"module": "keras.src.ops.numpy", "class_name": "GetItem"}, "a bare operation between layers"),
        ({"class_name": "Mystery"}, "Mystery layer 'lstm'.*not supported"),
        ({"class_name": None}, "expected a layer with a class_name"),
        ({"config": 3}, "config: expected an object"),
    ],
)
def test_foreign_classes(tmp_path, change, message):
    def edit(config):
        config["config"]["layers"][1] |= change

    with pytest.raises(EdgeLSTMError, match=message):
        load_keras(changed(tmp_path, "lstm_dense.k3.keras", edit))


def test_subclassed_models(tmp_path):
    def edit(config):
        config |= {"class_name": "MyModel", "module": "keras"}

    with pytest.raises(UnsupportedError, match="a subclass of Model computes is code that is not in the file"):
        load_keras(changed(tmp_path, "lstm_dense.k3.keras", edit))


def test_no_input_shape(tmp_path):
    def edit(config):
        del config["config"]["layers"][0]
        config.pop("build_config", None)
        config["config"].pop("build_input_shape", None)

    with pytest.raises(UnsupportedError, match="does not say the shape of the input"):
        load_keras(changed(tmp_path, "lstm_dense.k3.keras", edit))


def calls(config, name):
    (layer,) = [layer for layer in config["config"]["layers"] if layer["name"] == name]
    return layer["inbound_nodes"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda call: call["kwargs"].update(training=True), "argument training = True is not supported"),
        (lambda call: call["kwargs"].update(mask=call["args"][0]), "argument mask = .* is not supported"),
        (lambda call: call.update(args=[]), "a call without inputs"),
        (lambda call: call.update(args=[1.5]), "argument = 1.5 is not supported"),
        (lambda call: call["args"][0]["config"].update(keras_history=["lstm", 0, 0]), "depend on its own output"),
        (lambda call: call["args"][0]["config"].update(keras_history=["nobody", 0, 0]), "'nobody' .* is not in the m"),
        (lambda call: call["args"][0]["config"].update(keras_history=["x", 0, 3]), "has no output number 3"),
    ],
)
def test_calls(tmp_path, change, message):
    with pytest.raises(EdgeLSTMError, match=message):
        load_keras(changed(tmp_path, "states.k3.keras", lambda config: change(calls(config, "lstm"))))


def test_a_model_with_layers_given_too():
    for more in ({"layers": []}, {"config": {}}):
        with pytest.raises(InputError, match="describes its model itself"):
            load_keras(FOLDER / "lstm_dense.k3.keras", **more)
    with pytest.raises(InputError, match="say the same"):
        load_keras(FOLDER / "gru_variants.k3.weights.h5", layers=[], config={})


def test_weights_alone():
    with pytest.raises(InputError, match="holds weights alone, not the layers") as caught:
        edgelstm.load(FOLDER / "gru_variants.k3.weights.h5")
    for number in range(4):
        assert f"{{'kind': 'gru', 'arrays': 'gru_{number}', 'activation'" in str(caught.value)


def test_a_model_in_an_old_model(tmp_path):
    """The `.h5` of Keras 2 has one list of weights for a whole inner model."""
    config = json.loads(members("nested.k3.keras")["config.json"])
    with pytest.raises(UnsupportedError, match=r"a model inside a model.*save it as \.keras"):
        load_keras(FOLDER / "lstm_functions.k2_weights.h5", config=config)


def test_mixed_precision_is_said(tmp_path):
    path = sequential(tmp_path, [("Dense", {"units": 2, "dtype": "mixed_float16"})], DENSE)
    assert any("layer0: dtype mixed_float16: computed in float32" in line for line in load_keras(path).report)


def test_fixed_lengths_are_kept(tmp_path):
    model = edgelstm.load(FOLDER / "window_lstm.k3.keras")
    with pytest.raises(InputError, match="T = 20 and runs only at that size"):
        model.run({"x": np.zeros((1, 19, 1), np.float32)})
    pinned = edgelstm.load(FOLDER / "conv_same.k3.keras")
    with pytest.raises(InputError, match="the length is fixed at 13"):
        pinned.run({"x": np.zeros((1, 12, 2), np.float32)})


def test_without_h5py():
    script = (
        "import sys; sys.modules['h5py'] = None\n"
        "import edgelstm\n"
        "try: edgelstm.load('model.keras')\n"
        "except edgelstm.EdgeLSTMError as error: print(type(error).__name__, error)\n"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.startswith("DependencyError")
    assert "install edgelstm[keras]" in done.stdout


def test_the_report_says_what_was_read():
    report = load_keras(FOLDER / "stateful.k3.keras").report
    assert "mapped   lstm: LSTM, 4 units; sigmoid, tanh, tanh" in report
    assert "assumed  lstm: stateful: a stream carries the state; predict starts every sequence from zeros" in report
    assert "assumed  B is 1 in the file; a stream takes any, run and predict that one" in report
    report = load_keras(FOLDER / "gru_variants.k3.keras").report
    assert "mapped   gru_1: GRU, 4 units; sigmoid, tanh, return_sequences, reset_after=False" in report
