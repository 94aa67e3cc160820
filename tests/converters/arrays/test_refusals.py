"""What does not fit is refused by name: keys, roles, arrays, shapes, dtypes, values."""

import numpy as np
import pytest
from edgelstm_converters import array_book
from edgelstm_converters.arrays import arrays_to_graph

from edgelstm.errors import EdgeLSTMError, InputError, UnsupportedError


def lstm(inputs=3, units=4, prefix="net"):
    shapes = {
        "weight_ih_l0": (4 * units, inputs),
        "weight_hh_l0": (4 * units, units),
        "bias_ih_l0": (4 * units,),
        "bias_hh_l0": (4 * units,),
    }
    rng = np.random.default_rng(0)
    return {f"{prefix}.{name}": rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def head(inputs=4, outputs=2):
    return {"fc.weight": np.ones((outputs, inputs), np.float32), "fc.bias": np.ones(outputs, np.float32)}


LSTM = {"kind": "lstm", "arrays": "net"}
FC = {"kind": "linear", "arrays": "fc"}


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        ([{**LSTM, "dropout": 0.1}], r"layers\[0\] \(lstm 'net'\): unknown key 'dropout'; a lstm entry reads .*'clip'"),
        ([LSTM, {**FC, "activaton": "relu"}], r"layers\[1\] \(linear 'fc'\): unknown key 'activaton'"),
        ([LSTM], r"2 of 6 arrays belong to no layer: 'fc.weight', 'fc.bias'"),
        (
            [LSTM, {**FC, "arrays": {"weight": "fc.weight", "bias": "fc.bias", "scale": "x"}}],
            "unknown array role 'scale'",
        ),
        ([LSTM, {**FC, "arrays": {"weight": "fc.w"}}], "there is no array 'fc.w'"),
        ([LSTM, {**FC, "arrays": "head"}], r"there is no array for 'head.weight'"),
        ([LSTM, {"kind": "linear"}], "expected a key 'arrays'"),
        ([LSTM, {**FC, "activation": "swish"}], "activation: expected one of .*relu.* or None for none, got 'swish'"),
        ([LSTM, {**FC, "activation": 3}], "activation: expected a name"),
        ([LSTM, {**FC, "activation": {"function": "elu", "beta": 1}}], "elu has no constant beta; it has alpha"),
        ([LSTM, {**FC, "activation": {"function": "elu", "alpha": "a"}}], "alpha: expected a finite number, got 'a'"),
        ([LSTM, {**FC, "activation": {"alpha": 1}}], "expected a name or"),
        ([{**LSTM, "hidden_size": 5}, FC], "hidden_size: declared 5, but the shape of the arrays makes it 4"),
        ([{**LSTM, "hidden_size": "4"}, FC], "hidden_size: expected a whole number of at least 1, got '4'"),
        ([{**LSTM, "num_layers": 2}, FC], "num_layers: declared 2, .* makes it 1"),
        ([{**LSTM, "bidirectional": True}, FC], "bidirectional: declared True, but the arrays hold one direction only"),
        ([{**LSTM, "return": "first"}, FC], "return: expected one of 'sequences', 'last'"),
        ([{**LSTM, "activation": "softmax"}, FC], "activation: expected one of sigmoid.* or linear, got 'softmax'"),
        ([{**LSTM, "h0": np.zeros(3)}, FC], r"array 'net.h0': expected shape \(1, 4\) or .*, got \(3,\)"),
        ([{**LSTM, "h0": "missing"}, FC], "there is no array 'missing'"),
        ([{**LSTM, "clip": -1}, FC], "clip: expected a positive number"),
        (
            [{**LSTM, "return": "last"}, {"kind": "pool", "pool": "mean"}, FC],
            "expected a sequence, but an earlier layer",
        ),
        ([LSTM, {"kind": "pool", "pool": "median"}, FC], "pool: expected one of 'last', 'first', 'mean', 'max'"),
        ([FC, LSTM], r"array 'net.weight_ih_l0': expected 2 input features, the width of the layer before, got 3"),
        ([{"kind": "gru", "arrays": "net"}, FC], r"array 'net.weight_hh_l0': expected rows that are a multiple of 3"),
        ([LSTM, {"kind": "embedding", "arrays": "fc"}], "an embedding must be the first layer"),
        ([LSTM, {"kind": "batch_norm", "arrays": "fc"}], "kind: expected one of lstm, gru.*, got 'batch_norm'"),
        ([LSTM, {"arrays": "fc"}], "expected a key 'kind'"),
        ([LSTM, "fc"], r"layers\[1\]: expected a dict"),
        ([], "expected 1 to 1000 layers, got 0; the arrays suggest"),
        ("lstm", "layers: expected a list of dicts"),
        ([{"kind": "activation", "activation": "relu"}], "expected at least one layer that has weights"),
        ([LSTM, FC, {"kind": "ignore", "arrays": "other"}], "there is no array 'other' to leave out"),
        ([LSTM, FC, {"kind": "ignore", "arrays": [3]}], "expected a list of array names"),
        ([LSTM, FC, {"kind": "ignore", "arrays": [], "why": ""}], "unknown key 'why'"),
    ],
)
def test_layers_that_do_not_fit(layers, says):
    with pytest.raises(EdgeLSTMError, match=says):
        arrays_to_graph({**lstm(), **head()}, layers)


def changed(name, value):
    return {**lstm(), **head(), name: value}


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        (changed("net.bias_ih_l0", np.zeros(15, np.float32)), r"'net.bias_ih_l0': expected shape \(16\), got \(15,\)"),
        (changed("net.weight_ih_l0", np.zeros((15, 3), np.float32)), r"'net.weight_ih_l0': expected shape \(16, any\)"),
        (changed("net.weight_hh_l0", np.zeros((16, 3), np.float32)), r"'net.weight_hh_l0': expected shape \(16, 4\)"),
        (changed("net.weight_hh_l0", np.zeros((0, 0), np.float32)), "none of size 0"),
        (changed("fc.bias", np.zeros(3, np.float32)), r"'fc.bias': expected shape \(2\), got \(3,\)"),
        (changed("fc.weight", np.zeros((2, 5), np.float32)), "'fc.weight': expected 4 input features"),
        (
            changed("fc.weight", np.full((2, 4), np.nan, np.float32)),
            r"'fc.weight': expected finite values, got nan at \(0, 0\)",
        ),
        (
            changed("fc.bias", np.array([0, np.inf], np.float32)),
            r"'fc.bias': expected finite values, got inf at \(1,\)",
        ),
        (changed("fc.bias", np.array([0, 1e300])), "too large for float32"),
        (changed("fc.weight", np.ones((2, 4), np.int8)), "'fc.weight': expected float32 .*, got int8; scale integer"),
        (changed("fc.weight", np.ones((2, 4), complex)), "'fc.weight': expected float32 .*, got complex128"),
        (changed("fc.weight", "ones"), "'fc.weight': expected an array of numbers, got str"),
        (changed("fc.weight", np.ones((1,) * 9, np.float32)), "expected at most 8 axes, got 9"),
        (changed("net.weight_hr_l0", np.zeros((2, 4), np.float32)), r"'net.weight_hh_l0': expected shape \(16, 2\)"),
        (changed("net.weight_hh_l2", np.zeros((16, 4), np.float32)), "belong to no layer: 'net.weight_hh_l2'"),
        (changed("net/bias_ih_l0", np.zeros(16, np.float32)), "more than one array could be 'bias_ih_l0'"),
        ({key: value for key, value in changed("a", 0).items() if key not in ("a", "net.bias_hh_l0")}, "its twin"),
        ({}, "expected at least one array"),
        ([1], "expected a mapping"),
        ({3: np.ones(2)}, "expected names that are text"),
    ],
)
def test_arrays_that_do_not_fit(arrays, says):
    with pytest.raises(InputError, match=says):
        arrays_to_graph(arrays, [LSTM, FC])


def test_backward_weights_in_some_layers_only():
    second = {name.replace("_l0", "_l1"): value for name, value in lstm(4).items()}
    back = {f"{name}_reverse": value for name, value in second.items()}
    with pytest.raises(InputError, match=r"layer 1: expected|expected backward weights in every layer"):
        arrays_to_graph({**lstm(), **second, **back}, [LSTM])


def test_a_bias_in_some_layers_only():
    arrays = {**lstm(4), **{name.replace("_l0", "_l1"): value for name, value in lstm(4).items() if "weight" in name}}
    with pytest.raises(InputError, match="layer 1: expected biases in every layer and direction or in none"):
        arrays_to_graph(arrays, [LSTM])


def test_last_of_two_directions_has_two_readings():
    back = {f"{name}_reverse": value for name, value in lstm().items()}
    with pytest.raises(InputError, match=r"'last' has two readings .*'last_step'.*'final_state'"):
        arrays_to_graph({**lstm(), **back}, [{**LSTM, "return": "last"}])


@pytest.mark.parametrize("name", ["hard_sigmoid", "leaky_relu"])
def test_functions_that_versions_of_keras_define_differently(name):
    arrays = {"fc/kernel": np.ones((4, 2), np.float32)}
    with pytest.raises(InputError, match=f"{name} has other constants in other versions"):
        arrays_to_graph(arrays, [{**FC, "activation": name}], "keras")


def test_an_rnn_must_name_its_function():
    arrays = {name: value[:4] for name, value in lstm().items()}
    with pytest.raises(InputError, match="activation: expected a function such as 'tanh'"):
        arrays_to_graph(arrays, [{"kind": "rnn", "arrays": "net"}])


def test_onnx_directions_and_functions_must_match_the_arrays():
    arrays = {"net.W": np.ones((2, 12, 3), np.float32), "net.R": np.ones((2, 12, 4), np.float32)}
    entry = {"kind": "gru", "arrays": "net"}
    with pytest.raises(InputError, match="linear_before_reset: expected True or False, got nothing"):
        arrays_to_graph(arrays, [entry], "onnx")
    entry["linear_before_reset"] = 0
    with pytest.raises(InputError, match="direction: declared 'reverse', but W has 2"):
        arrays_to_graph(arrays, [{**entry, "direction": "reverse"}], "onnx")
    with pytest.raises(InputError, match="activations: expected a list of 2 functions for each of 2"):
        arrays_to_graph(arrays, [{**entry, "activations": ["Sigmoid", "Tanh"]}], "onnx")
    with pytest.raises(UnsupportedError, match="activations: expected one of"):
        arrays_to_graph(arrays, [{**entry, "activations": ["Sigmoid", "Tanh", "Sigmoid", "Sin"]}], "onnx")


def test_layout_is_one_of_three():
    with pytest.raises(InputError, match="layout: expected one of 'torch', 'keras', 'onnx', got 'tf'"):
        arrays_to_graph(lstm(), layout="tf")


def test_sizes_are_checked_before_anything_is_copied(monkeypatch):
    huge = np.broadcast_to(np.float32(0), (1 << 20, 1 << 20))
    with pytest.raises(InputError, match=r"array 'net.weight_ih_l0': expected at most"):
        arrays_to_graph({**lstm(), "net.weight_ih_l0": huge})
    monkeypatch.setattr(array_book, "MAX_BYTES", 500)
    with pytest.raises(InputError, match=r"expected at most 500 bytes as float32, got more by array 'net.bias_ih_l0'"):
        arrays_to_graph(lstm())


def test_the_callers_arrays_stay_as_they_are():
    arrays = {**lstm(), **head()}
    before = {name: value.copy() for name, value in arrays.items()}
    made = arrays_to_graph(arrays, [LSTM, FC])
    for value in arrays.values():
        np.add(value, 1, out=value)  # writable still, and no longer the model's
    again = arrays_to_graph(before, [LSTM, FC])
    for name, constant in made.graph.constants.items():
        assert not constant.flags.writeable
        np.testing.assert_array_equal(constant, again.graph.constants[name])
