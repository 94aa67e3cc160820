"""Weights that other people trained, against the outputs of their own runtimes."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import edgelstm
from edgelstm.errors import InputError

MODELS = Path(__file__).parents[2] / "models"
RTNEURAL = {
    "lstm": [
        {"kind": "linear", "arrays": "0.time-distributed-dense", "activation": "tanh"},
        {"kind": "lstm", "arrays": "1.lstm"},
        {"kind": "linear", "arrays": "2.dense"},
    ],
    "lstm_1d": [{"kind": "lstm", "arrays": "0.lstm"}, {"kind": "linear", "arrays": "1.dense"}],
    "gru": [
        {"kind": "linear", "arrays": "0.time-distributed-dense", "activation": "tanh"},
        {"kind": "gru", "arrays": "1.gru"},
        {"kind": "linear", "arrays": "2.dense", "activation": "sigmoid"},
        {"kind": "linear", "arrays": "3.dense"},
    ],
    "gru_1d": [
        {"kind": "gru", "arrays": "0.gru"},
        {"kind": "linear", "arrays": "1.dense", "activation": "sigmoid"},
        {"kind": "linear", "arrays": "2.dense"},
    ],
    "lstm_torch": [
        {"kind": "lstm", "arrays": "lstm"},
        {"kind": "lstm", "arrays": "lstm2", "num_layers": 3},
        {"kind": "linear", "arrays": "dense"},
    ],
    "gru_torch": [
        {"kind": "gru", "arrays": "gru"},
        {"kind": "gru", "arrays": "gru2", "num_layers": 3},
        {"kind": "linear", "arrays": "dense"},
    ],
}


def stream(model, xs):
    """One sample at a time, as a plug-in would."""
    live = model.stream()
    return np.array([live.step([x])[0] for x in xs])


def read_rtneural(name):
    state = np.load(MODELS / "rtneural" / "state_dicts.npz")
    golden = np.load(MODELS / "rtneural" / "golden.npz")
    arrays = {key.partition("/")[2]: state[key] for key in state if key.startswith(f"{name}/")}
    return arrays, golden[f"{name}_x"], golden[f"{name}_y"]


def from_json(name):
    """Arrays and layers of an RTNeural file of Keras weights: its gates are in the order of Keras."""
    arrays, layers = {}, []
    for index, layer in enumerate(json.loads((MODELS / "rtneural" / f"{name}.json").read_text())["layers"]):
        kind = "linear" if "dense" in layer["type"] else layer["type"]
        roles = ("kernel", "bias") if kind == "linear" else ("kernel", "recurrent_kernel", "bias")
        for role, weights in zip(roles, layer["weights"], strict=True):
            arrays[f"{index}/{role}"] = np.array(weights, np.float32)
        entry = {"kind": kind, "arrays": str(index)}
        entry |= {"hidden_size": layer["shape"][-1]} if kind != "linear" else {"out_features": layer["shape"][-1]}
        if layer["activation"]:
            entry["activation"] = layer["activation"]
        layers.append(entry)
    return arrays, layers


@pytest.mark.parametrize("name", RTNEURAL)
def test_rtneural_sample_by_sample(name):
    arrays, x, y = read_rtneural(name)
    model = edgelstm.from_arrays(arrays, RTNEURAL[name])
    np.testing.assert_allclose(stream(model, x), y, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["lstm", "lstm_1d", "gru", "gru_1d"])
def test_rtneural_in_the_layout_of_keras(name):
    _, x, y = read_rtneural(name)
    model = edgelstm.from_arrays(*from_json(name), layout="keras")
    np.testing.assert_allclose(model.predict(x[None, :, None])[0, :, 0], y, rtol=0, atol=1e-6)


def test_rtneural_file_that_declares_16_units_over_weights_for_20():
    with pytest.raises(InputError, match=r"hidden_size: declared 16, .* makes it 20"):
        edgelstm.from_arrays(*from_json("bad_lstm"), layout="keras")


def read_nam():
    """A flat list: for each layer W (4H, I + H) and b in PyTorch's gate order, h0, c0; then the head."""
    model = json.loads((MODELS / "nam_lstm" / "lstm.nam").read_text())
    units, inputs = model["config"]["hidden_size"], model["config"]["input_size"]
    shapes = {
        "w": (4 * units, inputs + units),
        "b": (4 * units,),
        "h0": (units,),
        "c0": (units,),
        "head.weight": (1, units),
        "head.bias": (1,),
    }
    flat = np.array(model["weights"], np.float32)
    ends = np.cumsum([np.prod(shape) for shape in shapes.values()])
    assert ends[-1] == flat.size
    parts = {name: part.reshape(shapes[name]) for name, part in zip(shapes, np.split(flat, ends[:-1]), strict=True)}
    return parts, inputs


def test_nam_starts_from_its_trained_state():
    parts, inputs = read_nam()
    roles = {
        "weight_ih": parts["w"][:, :inputs],
        "weight_hh": parts["w"][:, inputs:],
        "bias_ih": parts["b"],
        "bias_hh": np.zeros_like(parts["b"]),
        "h0": "h0",
        "c0": "c0",
    }
    arrays = {name: parts[name] for name in ("h0", "c0", "head.weight", "head.bias")}
    model = edgelstm.from_arrays(arrays, [{"kind": "lstm_cell", "arrays": roles}, {"kind": "linear", "arrays": "head"}])
    golden = np.load(MODELS / "nam_lstm" / "golden.npz")
    np.testing.assert_allclose(stream(model, golden["x"]), golden["lstm_y"], rtol=0, atol=1e-6)
    fresh = model.stream().state
    assert sorted(tuple(state.ravel()) for state in fresh.values()) == sorted(
        tuple(parts[name]) for name in ("h0", "c0")
    )


# The logits reach 121, where float32 values are 7.6e-6 apart: 1e-5 and four roundings of the value.
LOGITS = {"rtol": 5e-7, "atol": 1e-5}
G2PM = [
    {"kind": "embedding", "arrays": "embedding"},
    {"kind": "lstm", "arrays": "lstm", "bidirectional": True},
    {"kind": "linear", "arrays": "logit_layer.0", "activation": "relu"},
    {"kind": "linear", "arrays": "logit_layer.2"},
]


@pytest.fixture(scope="module")
def g2pm():
    folder = MODELS / "g2pm"
    return dict(np.load(folder / "weights.npz")), np.load(folder / "golden.npz")


@pytest.mark.parametrize("index", range(3))
def test_g2pm_sentences(g2pm, index):
    weights, golden = g2pm
    tokens = golden["token_ids"][index : index + 1, : golden["lengths"][index]]
    y = edgelstm.from_arrays(weights, G2PM).predict(tokens)
    np.testing.assert_allclose(y[0], golden[f"logits_{index}"], **LOGITS)


def test_g2pm_hidden_outputs_and_the_padded_batch(g2pm):
    """The backward direction starts at each row's own end, not in the padding."""
    weights, golden = g2pm
    rest = [name for name in weights if name.startswith("logit_layer")]
    hidden = edgelstm.from_arrays(weights, [*G2PM[:2], {"kind": "ignore", "arrays": rest}])
    lengths, rows, targets = golden["lengths"], np.arange(len(golden["lengths"])), golden["batch_target_idx"]
    y = hidden.predict(golden["token_ids"], lengths=lengths)
    np.testing.assert_allclose(y[rows, targets], golden["batch_hidden"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(y[0, : lengths[0]], golden["bilstm_0"], rtol=0, atol=1e-5)
    logits = edgelstm.from_arrays(weights, G2PM).predict(golden["token_ids"], lengths=lengths)
    np.testing.assert_allclose(logits[rows, targets], golden["batch_logits"], **LOGITS)
    whole = edgelstm.from_arrays(weights, G2PM).predict(golden["token_ids"])
    assert abs(whole[rows, targets] - golden["batch_logits"]).max() > 1e-2


def test_g2pm_is_refused_by_a_stream(g2pm):
    with pytest.raises(edgelstm.StreamError, match="bidirectional"):
        edgelstm.from_arrays(g2pm[0], G2PM).stream()


def test_the_reduced_g2pm_keeps_every_row_that_occurs():
    spec = importlib.util.spec_from_file_location("reduce", MODELS / "g2pm" / "reduce.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    table = np.arange(20.0).reshape(10, 2)
    golden = dict.fromkeys([*module.KEPT, *(f"{n}_{i}" for i in module.SENTENCES for n in ("bilstm", "logits"))], 0)
    golden["token_ids"] = np.array([[7, 3, 0], [3, 9, 0]])
    weights, small = module.reduce({"embedding.weight": table, "other": 1}, golden)
    np.testing.assert_array_equal(weights["embedding.weight"][small["token_ids"]], table[golden["token_ids"]])
    assert len(weights["embedding.weight"]) == 4
    assert weights["other"] == 1
