"""A published state dict whose front end convolves along the features of each step."""

from pathlib import Path

import numpy as np
import pytest

import edgelstm
from tests.support import require_module

FOLDER = Path(__file__).parents[2] / "models" / "beatnet"
LAYERS = [
    {"kind": "feature_conv1d", "arrays": "conv1", "features": 272, "activation": "relu", "max_pool": 2},
    {"kind": "linear", "arrays": "linear0", "activation": None},
    {"kind": "lstm", "arrays": "lstm", "num_layers": 2},
    {"kind": "linear", "arrays": "linear", "activation": None},
]


@pytest.fixture(scope="module")
def model():
    require_module("torch")
    return edgelstm.load(FOLDER / "model_1_weights.pt", layers=LAYERS)


def test_streams_to_the_logits_and_states_of_the_original(model):
    with np.load(FOLDER / "golden.npz") as golden:
        x, logits, h, c = (golden[f"m1_{name}"].astype(np.float32) for name in ("features", "logits", "hn", "cn"))
    stream = model.stream()
    y = np.stack([stream.step(reading) for reading in x])
    np.testing.assert_allclose(y, logits, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(y, model.predict(x[None])[0])
    state = stream.state
    for layer in range(2):
        np.testing.assert_allclose(state[f"lstm.l{layer}.h"].ravel(), h[layer], rtol=0, atol=1e-4)
        np.testing.assert_allclose(state[f"lstm.l{layer}.c"].ravel(), c[layer], rtol=0, atol=1e-4)


def test_a_width_that_does_not_fit_is_refused(model):
    layers = [{**LAYERS[0], "features": 270}, *LAYERS[1:]]
    with pytest.raises(edgelstm.InputError, match="linear0"):
        edgelstm.load(FOLDER / "model_1_weights.pt", layers=layers)
    with pytest.raises(edgelstm.InputError, match="features"):
        edgelstm.load(FOLDER / "model_1_weights.pt", layers=[{**LAYERS[0], "features": None}, *LAYERS[1:]])
