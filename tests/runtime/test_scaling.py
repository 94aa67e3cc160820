"""Models that take readings as sensors give them: values, streams, files, names and units."""

import json
from pathlib import Path

import numpy as np
import pytest

import edgelstm
from edgelstm.errors import InputError
from edgelstm.runtime.scaling import with_scaling
from tests.support import require_module

MODELS = Path(__file__).parent.parent / "models"
FILES = [
    *(
        f"torch_exports/{name}.torchscript.dyn.onnx"
        for name in ("lstm_bf_linear_last", "gru_bf_linear_all", "rnn_relu_bf")
    ),
    *(f"torch_exports/{name}.torchscript.dyn.onnx" for name in ("bilstm_bf", "conv1d_bn_lstm", "lstm_mean_pool")),
    *(f"keras_exports/{name}.onnx" for name in ("lstm_dense", "gru_reset_after", "time_distributed", "conv1d_lstm")),
]


def load(name):
    require_module("onnx")
    return edgelstm.load(MODELS / name)


def ports(model):
    return next(iter(model.inputs)), next(iter(model.outputs))


def length(model, given):
    """Steps that the model runs over."""
    steps = model.inputs[given].shape[1]
    return steps if isinstance(steps, int) else model.graph.frozen.get("T", 9)


def scales(rng, size, far):
    spread = rng.uniform(0.2, 5.0, size)
    return spread * rng.uniform(-3, 3, size) + far * spread, spread


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("far", [0.0, 100.0])
@pytest.mark.parametrize("fold", [True, False])
def test_exported_models_scale_as_by_hand(name, far, fold):
    model, rng = load(name), np.random.default_rng(len(name))
    given, shown = ports(model)
    size, out = model.inputs[given].shape[-1], model.outputs[shown].shape[-1]
    (mean, spread), (center, range_) = scales(rng, size, far), scales(rng, out, far)
    readings = (rng.normal(size=(1, length(model, given), size)) * spread + mean).astype(np.float32)
    hand = (readings - np.float32(mean)) / np.float32(spread)
    expected = model.predict(hand) * np.float32(range_) + np.float32(center)
    scaled = with_scaling(model, {given: (mean, spread)}, {shown: (center, range_)}, fold=fold)
    found = scaled.predict(readings)
    if fold:
        assert (np.abs(found - expected) / range_).max() <= 1e-6 + far * 2**-23  # means are added in float32
    else:
        assert np.array_equal(expected, found)


def model(features=2, outputs=1, units=4):
    rng = np.random.default_rng(0)
    arrays = {
        "cell.weight_ih_l0": rng.normal(size=(4 * units, features)),
        "cell.weight_hh_l0": rng.normal(size=(4 * units, units)),
        "cell.bias_ih_l0": rng.normal(size=4 * units),
        "cell.bias_hh_l0": rng.normal(size=4 * units),
        "head.weight": rng.normal(size=(outputs, units)),
        "head.bias": rng.normal(size=outputs),
    }
    return edgelstm.from_arrays(arrays, [{"kind": "lstm", "arrays": "cell"}, {"kind": "linear", "arrays": "head"}])


def test_streams_and_files_keep_the_scaling(tmp_path):
    scaled = with_scaling(
        model(),
        {"x": ([20.0, 1013.0], [8.0, 6.0])},
        {"y": {"mean": 20.0, "scale": 8.0}},
        features=["temperature", "pressure"],
        units={"x": ["°C", "hPa"], "y": ["°C"]},
    )
    scaled.save(tmp_path / "model.edgelstm")
    again = edgelstm.load(tmp_path / "model.edgelstm")
    readings = np.random.default_rng(1).normal(size=(5, 2)) * [8, 6] + [20, 1013]
    whole = scaled.predict(readings[None])[0]
    for one in (scaled, again):
        stream = one.stream()
        assert np.array_equal(whole, [stream.step(reading) for reading in readings])
    assert scaled.hash == again.hash != model().hash
    assert json.loads(again.metadata["features"]) == ["temperature", "pressure"]
    assert json.loads(again.metadata["units"]) == ["°C", "hPa"]
    assert json.loads(again.metadata["preprocessing"]) == {
        "inputs": {"x": {"mean": [20.0, 1013.0], "scale": [8.0, 6.0]}},
        "outputs": {"y": {"mean": 20.0, "scale": 8.0}},
        "features": {"x": ["temperature", "pressure"]},
        "units": {"x": ["°C", "hPa"], "y": ["°C"]},
    }


def test_a_forecast_in_real_units():
    plain = model(1)
    scaled = with_scaling(plain, {"x": (20.0, 4.0)}, {"y": (20.0, 4.0)})
    one, other = scaled.stream(), plain.stream()
    for celsius in (18.0, 21.0, 23.5):
        one.step([celsius])
        other.step([(celsius - 20) / 4])
    np.testing.assert_allclose(one.forecast(12), other.forecast(12) * 4 + 20, rtol=0, atol=1e-4)


def test_the_model_given_stays_as_it_is():
    before = model()
    after = with_scaling(before, {"x": (1, 2)})
    assert before.hash == model().hash != after.hash
    assert "preprocessing" not in before.metadata


def test_one_thing_after_the_other():
    step = with_scaling(model(), {"x": ([1, 2], [3, 4])}, features=["a", "b"])
    both = with_scaling(step, outputs={"y": (5, 6)}, units=["m", "s"])
    at_once = with_scaling(model(), {"x": ([1, 2], [3, 4])}, {"y": (5, 6)}, ["a", "b"], ["m", "s"])
    assert at_once.hash == both.hash
    assert at_once.metadata == both.metadata
    with pytest.raises(InputError, match="input 'x' has been scaled before"):
        with_scaling(both, {"x": (0, 1)})


def test_names_of_one_input_among_several_are_kept_apart():
    assert "features" not in with_scaling(model(), units=["m", "s"]).metadata
    assert with_scaling(model()).metadata == model().metadata


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": {"x": 3}}, r"scaling of input 'x': expected \(mean, scale\), got 3"),
        ({"inputs": {"x": (1, 2, 3)}}, "expected"),
        ({"inputs": {"x": "ab"}}, "expected"),
        ({"inputs": {"x": {"mean": 1}}}, "expected mean and scale, got mean"),
        ({"inputs": {"x": ("a", 1)}}, "finite float32 numbers"),
        ({"inputs": {"x": ([[1], [2, 3]], 1)}}, "expected numbers"),
        ({"inputs": {"x": (np.nan, 1)}}, "finite float32 numbers"),
        ({"inputs": {"x": (1e39, 1)}}, "finite float32 numbers"),
        ({"inputs": {"x": (0, [1, 0])}}, "a scale of 0"),
        ({"inputs": {"x": (0, 1e-40)}}, "a scale of 0 or next to it"),
        ({"inputs": {"x": ([0, 0, 0], 1)}}, "does not broadcast"),
        ({"outputs": {"z": (0, 1)}}, "no output 'z'"),
        ({"features": ["a"]}, "features of 'x': expected 2"),
        ({"features": ["a", "a"]}, "each name once"),
        ({"features": "ab"}, "a list of texts"),
        ({"features": ["a", 1]}, "a list of texts"),
        ({"units": {"z": ["m"]}}, "no input or output 'z'; there are x, y"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(InputError, match=message):
        with_scaling(model(), **arguments)
