"""Keras and ONNX arrays, against the equations of Keras written out and against the same weights in another layout."""

import numpy as np
import pytest
from edgelstm_converters.arrays import arrays_to_graph

from edgelstm.errors import InputError
from tests.converters.evaluate import evaluate

T, B, FEATURES, UNITS = 6, 2, 3, 4
GATES = {"lstm": 4, "gru": 3, "rnn": 1}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def keras_arrays(kind, seed=0, prefix="net/cell", two_biases=False):
    rng = np.random.default_rng(seed)
    width = GATES[kind] * UNITS
    shapes = {"kernel": (FEATURES, width), "recurrent_kernel": (UNITS, width)}
    shapes["bias"] = (2, width) if two_biases else (width,)
    return {f"{prefix}/{name}:0": rng.normal(0, 0.7, shape).astype(np.float32) for name, shape in shapes.items()}


def keras_lstm(x, kernel, recurrent, bias, f=np.tanh, gate=sigmoid):
    """Gates i, f, c, o."""
    h = c = np.zeros((x.shape[0], UNITS))
    ys = []
    for t in range(x.shape[1]):
        i, forget, candidate, o = np.split(x[:, t] @ kernel + h @ recurrent + bias, 4, axis=1)
        c = gate(forget) * c + gate(i) * f(candidate)
        h = gate(o) * f(c)
        ys.append(h)
    return np.stack(ys, 1)


def keras_gru(x, kernel, recurrent, bias, reset_after):
    """Gates z, r, h."""
    h = np.zeros((x.shape[0], UNITS))
    ys = []
    one, two = bias if reset_after else (bias, np.zeros_like(bias))
    for t in range(x.shape[1]):
        xz, xr, xh = np.split(x[:, t] @ kernel + one, 3, axis=1)
        uz, ur, uh = np.split(recurrent, 3, axis=1)
        bz, br, bh = np.split(two, 3)
        z, r = sigmoid(xz + h @ uz + bz), sigmoid(xr + h @ ur + br)
        n = np.tanh(xh + (r * (h @ uh + bh) if reset_after else (r * h) @ uh))
        h = z * h + (1 - z) * n
        ys.append(h)
    return np.stack(ys, 1)


def readings(seed=0):
    return np.random.default_rng(seed).standard_normal((B, T, FEATURES)).astype(np.float32)


def test_keras_lstm():
    arrays, x = keras_arrays("lstm"), readings()
    y = evaluate(arrays_to_graph(arrays, [{"kind": "lstm", "arrays": "net"}], "keras").graph, x)
    np.testing.assert_allclose(y, keras_lstm(x, *arrays.values()), rtol=0, atol=1e-6)


def test_keras_lstm_with_other_functions():
    arrays, x = keras_arrays("lstm"), readings()
    gate = {"function": "hard_sigmoid", "alpha": 0.2, "beta": 0.5}
    layers = [{"kind": "lstm", "arrays": "net", "activation": "relu", "recurrent_activation": gate}]
    expected = keras_lstm(x, *arrays.values(), lambda v: np.maximum(v, 0), lambda v: np.clip(0.2 * v + 0.5, 0, 1))
    np.testing.assert_allclose(evaluate(arrays_to_graph(arrays, layers, "keras").graph, x), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("reset_after", [False, True])
def test_keras_gru_shows_by_its_bias_how_it_resets(reset_after):
    arrays, x = keras_arrays("gru", two_biases=reset_after), readings()
    made = arrays_to_graph(arrays, [{"kind": "gru", "arrays": "net"}], "keras")
    expected = keras_gru(x, *arrays.values(), reset_after)
    np.testing.assert_allclose(evaluate(made.graph, x), expected, rtol=0, atol=1e-6)
    with pytest.raises(InputError, match=r"reset_after: declared .*bias of shape"):
        arrays_to_graph(arrays, [{"kind": "gru", "arrays": "net", "reset_after": not reset_after}], "keras")


def test_keras_gru_without_bias_must_say_how_it_resets():
    arrays, x = keras_arrays("gru"), readings()
    del arrays["net/cell/bias:0"]
    with pytest.raises(InputError, match="reset_after: expected True or False, got nothing"):
        arrays_to_graph(arrays, [{"kind": "gru", "arrays": "net"}], "keras")
    for after in (False, True):
        made = arrays_to_graph(arrays, [{"kind": "gru", "arrays": "net", "reset_after": after}], "keras")
        zeros = np.zeros((2, 3 * UNITS)) if after else np.zeros(3 * UNITS)
        expected = keras_gru(x, *arrays.values(), zeros, after)
        np.testing.assert_allclose(evaluate(made.graph, x), expected, rtol=0, atol=1e-6)


def test_keras_simple_rnn_and_dense():
    arrays, x = keras_arrays("rnn", prefix="simple_rnn/simple_rnn_cell"), readings()
    kernel, recurrent, bias = arrays.values()
    h, ys = np.zeros((B, UNITS)), []
    for t in range(T):
        h = np.maximum(x[:, t] @ kernel + h @ recurrent + bias, 0)
        ys.append(h)
    dense = {"dense/kernel:0": np.arange(8, dtype=np.float32).reshape(4, 2) / 8, "dense/bias:0": np.ones(2, np.float32)}
    layers = [{"kind": "rnn", "arrays": "simple_rnn", "activation": "relu"}, {"kind": "linear", "arrays": "dense"}]
    y = evaluate(arrays_to_graph({**arrays, **dense}, layers, "keras").graph, x)
    expected = np.stack(ys, 1) @ dense["dense/kernel:0"] + 1
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5)


def test_keras_bidirectional_scopes():
    forward = keras_arrays("lstm", 1, "bidirectional/forward_lstm/lstm_cell")
    backward = keras_arrays("lstm", 2, "bidirectional/backward_lstm/lstm_cell")
    x = readings()
    entry = {"kind": "lstm", "arrays": "bidirectional", "bidirectional": True}
    ahead, back = keras_lstm(x, *forward.values()), keras_lstm(x[:, ::-1], *backward.values())
    y = evaluate(arrays_to_graph({**forward, **backward}, [entry], "keras").graph, x)
    np.testing.assert_allclose(y, np.concatenate([ahead, back[:, ::-1]], -1), rtol=0, atol=1e-6)
    ends = arrays_to_graph({**forward, **backward}, [{**entry, "return": "final_state"}], "keras")
    np.testing.assert_allclose(
        evaluate(ends.graph, x), np.concatenate([ahead[:, -1], back[:, -1]], -1), rtol=0, atol=1e-6
    )


def onnx_arrays(kind, directions, peepholes=False):
    rng = np.random.default_rng(11)
    width = GATES[kind] * UNITS
    shapes = {"W": (directions, width, FEATURES), "R": (directions, width, UNITS), "B": (directions, 2 * width)}
    if peepholes:
        shapes["P"] = (directions, 3 * UNITS)
    return {f"cell.{name}": rng.normal(0, 0.7, shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("kind", "direction", "more"),
    [
        ("lstm", "forward", {}),
        ("lstm", "reverse", {"clip": 0.5, "input_forget": True}),
        ("lstm", "bidirectional", {"activations": ["Sigmoid", "Tanh", "Tanh", "HardSigmoid", "Relu", "Softsign"]}),
        ("gru", "bidirectional", {"linear_before_reset": 1}),
        ("gru", "reverse", {"linear_before_reset": 0}),
        ("rnn", "forward", {"activations": [{"function": "ScaledTanh", "alpha": 1.5, "beta": 0.5}]}),
    ],
)
def test_onnx_arrays_reach_the_cell_as_they_are(kind, direction, more):
    directions = 2 if direction == "bidirectional" else 1
    arrays = onnx_arrays(kind, directions, peepholes=kind == "lstm")
    entry = {"kind": kind, "arrays": "cell", "direction": direction, **more}
    (node,) = [n for n in arrays_to_graph(arrays, [entry], "onnx").graph.nodes if n.op == kind]
    constants = arrays_to_graph(arrays, [entry], "onnx").graph.constants
    for role, position in {"W": 1, "R": 2, "B": 3, **({"P": 7} if kind == "lstm" else {})}.items():
        np.testing.assert_array_equal(constants[node.inputs[position]], arrays[f"cell.{role}"])
    assert direction == node.attrs["direction"]
    assert node.attrs["clip"] == more.get("clip", 0.0)
    if kind == "gru":
        assert node.attrs["linear_before_reset"] == more["linear_before_reset"]
    if direction == "bidirectional" and kind == "lstm":
        assert node.attrs["activations"] == ("sigmoid", "tanh", "tanh", "hard_sigmoid", "relu", "softsign")
        assert node.attrs["activation_alpha"] == (0.0, 0.0, 0.0, 0.2, 0.0, 0.0)
    if kind == "rnn":
        assert (node.attrs["activation_alpha"], node.attrs["activation_beta"]) == ((1.5,), (0.5,))
    if kind == "lstm":
        assert node.attrs["input_forget"] == int(more.get("input_forget", 0))


def test_onnx_and_keras_give_the_same_lstm():
    arrays, x = keras_arrays("lstm"), readings()
    kernel, recurrent, bias = arrays.values()
    order = np.concatenate([np.arange(UNITS) + UNITS * gate for gate in (0, 3, 1, 2)])  # i, o, f, c
    other = {
        "W": kernel.T[None, order],
        "R": recurrent.T[None, order],
        "B": np.concatenate([bias[order], np.zeros_like(bias)])[None],
        "dense": np.eye(UNITS, 2, dtype=np.float32),
    }
    cell = {"kind": "lstm", "arrays": {"W": "W", "R": "R", "B": "B"}}
    dense = {"kind": "linear", "arrays": {"kernel": "dense"}}
    y = evaluate(arrays_to_graph(other, [cell, dense], "onnx").graph, x)
    expected = evaluate(arrays_to_graph(arrays, [{"kind": "lstm", "arrays": "net"}], "keras").graph, x)
    np.testing.assert_array_equal(y, expected[..., :2])
