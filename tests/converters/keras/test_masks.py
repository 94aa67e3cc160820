"""Masking and Embedding(mask_zero=True): steps that Keras leaves out are left out, whole and one reading at a time."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edgelstm
from edgelstm.errors import UnsupportedError
from edgelstm.graph.bind import bind
from edgelstm.program.reference import Reference
from tests.converters.keras.build import sequential
from tests.support import require_module

load_keras = require_module("edgelstm_converters.keras").load_keras

FOLDER = Path(__file__).parents[2] / "models" / "keras_files"
GOLDEN = {version: dict(np.load(FOLDER / f"masks_{version}.npz")) for version in ("k2", "k3")}
FILES = sorted(path.name for path in FOLDER.glob("masked*.keras"))
SEQUENCES = ["masked.k2.keras", "masked.k3.keras"]
LAST = ["masked_last.k2.keras", "masked_last.k3.keras", "masked_nested.k2.keras", "masked_nested.k3.keras"]
DENSE = {"layers/dense/vars/0": np.ones((3, 2), np.float32), "layers/dense/vars/1": np.zeros(2, np.float32)}


def golden(name):
    model, version, _ = name.split(".")
    found = GOLDEN[version]
    return tuple([found[key] for key in found if key.startswith(f"{model}/{part}/")] for part in "xy")


def check(outputs, expected):
    for found, wanted in zip(outputs.values(), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)  # NaN where Keras has it: a mean over no step


@pytest.mark.parametrize("name", FILES)
def test_whole_files(name):
    model = edgelstm.load(FOLDER / name)
    x, y = golden(name)
    check(model.run(dict(zip(model.inputs, x, strict=True))), y)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_float64_reference(name):
    graph = load_keras(FOLDER / name).graph
    x, y = golden(name)
    sizes = {}
    for kind, array in zip(graph.inputs.values(), x, strict=True):
        sizes |= {str(dim): size for dim, size in zip(kind.shape, array.shape, strict=True) if not isinstance(dim, int)}
    check(Reference(bind(graph, sizes), "float64").call(dict(zip(graph.inputs, x, strict=True))), y)


@pytest.mark.parametrize("name", [*SEQUENCES, *LAST, "masked_mean.k2.keras", "masked_mean.k3.keras"])
def test_streams_reading_by_reading(name):
    (x,), (y,) = golden(name)
    model = edgelstm.load(FOLDER / name)
    for row, wanted in zip(x, y, strict=True):
        stream = model.stream()
        steps = [stream.step(reading) for reading in row]
        np.testing.assert_allclose(steps if wanted.ndim == 2 else steps[-1], wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", SEQUENCES)
def test_other_lengths_and_batches_bit_for_bit(name):
    (x,), _ = golden(name)
    model = edgelstm.load(FOLDER / name)
    whole = model.run({"x": x})["y"]
    for row in range(len(x)):
        np.testing.assert_array_equal(model.run({"x": x[row : row + 1, :6]})["y"], whole[row : row + 1, :6])
    stream = model.stream()
    pieces = [stream.run(x[0, start:stop]) for start, stop in ((0, 1), (1, 3), (3, 9))]
    np.testing.assert_array_equal(np.concatenate(pieces), whole[0])


@pytest.mark.parametrize("name", SEQUENCES)
def test_masked_readings_change_nothing_that_comes_after(name):
    (x,), _ = golden(name)
    model = edgelstm.load(FOLDER / name)
    rest = np.delete(x[:1], [0, 1, 4], axis=1)  # the steps of row 0 that are masked
    np.testing.assert_array_equal(model.run({"x": rest})["y"], np.delete(model.run({"x": x[:1]})["y"], [0, 1, 4], 1))


def test_saved_and_loaded_again(tmp_path):
    for name in FILES:
        model = edgelstm.load(FOLDER / name)
        model.save(tmp_path / "m.edgelstm")
        x, y = golden(name)
        check(edgelstm.load(tmp_path / "m.edgelstm").run(dict(zip(model.inputs, x, strict=True))), y)


def test_a_mask_that_nothing_heeds_ends_as_in_keras(tmp_path):
    pooled = [("Masking", {"mask_value": 0.0}), ("GlobalMaxPooling1D", {}), ("Dense", {"units": 2})]
    conversion = load_keras(sequential(tmp_path, pooled, DENSE))
    assert any("layer1: GlobalMaxPooling1D ends the mask of its input" in line for line in conversion.report)


def test_a_layer_that_cannot_carry_a_mask(tmp_path):
    layers = [("Masking", {"mask_value": 0.0}), ("Softmax", {}), ("Dense", {"units": 2})]
    with pytest.raises(UnsupportedError, match="Softmax layer 'layer1': mask = True is not supported"):
        load_keras(sequential(tmp_path, layers, DENSE))


def test_the_version_decides_whether_a_mask_is_heard_beside_a_start_state():
    """The two answers differ, so a file that does not say its version is refused."""
    layers = require_module("edgelstm_converters.keras.layers.mask")
    config = require_module("edgelstm_converters.keras.config")
    flow = require_module("edgelstm_converters.keras.builder").Flow
    inputs = [flow("x", hold="mask"), flow("h"), flow("c")]
    layer = config.Layer("LSTM", "lstm", "file", {}, "", 2)
    assert not layers.unheard(layer, inputs)
    assert layers.unheard(replace(layer, version=3), inputs)
    assert not layers.unheard(replace(layer, version=3), inputs[:1])
    with pytest.raises(UnsupportedError, match="keras_version="):
        layers.unheard(replace(layer, version=0), inputs)
