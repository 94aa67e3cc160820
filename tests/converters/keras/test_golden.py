"""Files that Keras wrote give what Keras answered: whole, on the reference, and one reading at a time."""

from pathlib import Path

import numpy as np
import pytest

import edgelstm
from edgelstm.errors import StreamError
from edgelstm.graph.bind import bind
from edgelstm.program.reference import Reference
from edgelstm.runtime.model import Model
from tests.support import require_module

load_keras = require_module("edgelstm_converters.keras").load_keras

FOLDER = Path(__file__).parents[2] / "models" / "keras_files"
GOLDEN = {version: dict(np.load(FOLDER / f"{version}.npz")) for version in ("k2", "k3")}
TOLERANCE = 1e-5
WHOLE = sorted(
    path.name
    for path in FOLDER.iterdir()
    if path.suffix in (".keras", ".h5") and "weights" not in path.name and not path.name.startswith("masked")
)
WEIGHTS = ["gru_variants.k3.weights.h5", "lstm_functions.k2_weights.h5"]
STREAMS = [
    "conv_causal.k2.h5", "conv_causal.k3.keras", "embedding_gru.k3.keras", "function_layers.k2.h5",
    "function_layers.k3.keras", "functions.k3.keras", "gru_variants.k3.keras", "lstm_dense.k3.keras",
    "lstm_functions.k2.keras", "lstm_functions.k3.keras", "lstm_stack.k3.keras", "nested.k3.keras",
    "residual.k3.keras", "stateful.k3.keras", "states.k3.keras", "window_lstm.k3.keras",
]  # fmt: skip
# What needs later readings, or a length that is built in.
REFUSED = [
    "attention_pooling.k3.keras", "autoencoder.k3.keras", "bidirectional.k3.keras", "bidirectional.k2.h5",
    "bidirectional_last.k3.keras", "encoder_decoder.k2.keras", "encoder_decoder.k3.keras",
    "reshaped.k3.keras", "simple_rnn.k3.keras",
]  # fmt: skip


def golden(name):
    """The arrays of a model in the model's order: inputs, outputs."""
    model, version = name.split(".")[0], name.split(".")[1][:2]
    found = GOLDEN[version]
    return tuple([found[key] for key in found if key.startswith(f"{model}/{part}/")] for part in "xy")


def feeds(model, arrays):
    return dict(zip(model.inputs, arrays, strict=True))


def check(outputs, expected):
    assert len(expected) == len(outputs)
    for found, wanted in zip(outputs.values(), expected, strict=True):
        assert wanted.shape == found.shape
        np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", WHOLE)
def test_whole_files(name):
    model = edgelstm.load(FOLDER / name)
    x, y = golden(name)
    check(model.run(feeds(model, x)), y)


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_with_the_models_description(name):
    stem = name.split(".")
    config = FOLDER / f"{stem[0]}.{stem[1][:2]}.json"
    version = None if "k2" in name else "3"  # Keras 3 writes its version neither into weights nor into to_json()
    x, y = golden(name)
    for given in (config, str(config), config.read_text(encoding="utf-8")):
        model = Model(load_keras(FOLDER / name, config=given, keras_version=version).graph)
        check(model.run(feeds(model, x)), y)


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_with_a_list_of_layers(name):
    x, y = golden(name)
    sixth = {"function": "hard_sigmoid", "alpha": 1 / 6, "beta": 0.5}
    fifth = {"function": "hard_sigmoid", "alpha": 0.2, "beta": 0.5}
    if name.startswith("gru"):
        layers = [
            {"kind": "gru", "arrays": "gru_0"},
            {"kind": "gru", "arrays": "gru_1"},
            {"kind": "gru", "arrays": "gru_2", "reset_after": True},
            {
                "kind": "gru", "arrays": "gru_3", "reset_after": False, "activation": "relu",
                "recurrent_activation": sixth, "return": "last",
            },
        ]  # fmt: skip
    else:
        layers = [
            {"kind": "lstm", "activation": "softsign", "recurrent_activation": fifth},
            {"kind": "lstm", "arrays": "lstm_1", "activation": "elu"},
            {"kind": "lstm", "arrays": "lstm_2", "activation": "linear"},
        ]
        # `lstm` is the beginning of `lstm_1` too, so its arrays are named.
        layers[0]["arrays"] = {role: f"lstm/lstm/lstm_cell/{role}:0" for role in ("kernel", "recurrent_kernel", "bias")}
    model = edgelstm.load(FOLDER / name, layers=layers)
    check(model.run(feeds(model, x)), y)


@pytest.mark.parametrize("name", ["gru_variants.k3.keras", "residual.k3.keras", "conv_valid.k3.keras"])
def test_other_lengths_and_batches(name):
    """Keras gives every row of a batch what it gives the row alone; a free length may be any."""
    model = edgelstm.load(FOLDER / name)
    x, y = golden(name)
    for row in range(len(x[0])):
        check(model.run(feeds(model, [array[row : row + 1] for array in x])), [array[row : row + 1] for array in y])
    if y[0].ndim == 3:
        check(model.run(feeds(model, [array[:, :4] for array in x])), [array[:, :4] for array in y])


@pytest.mark.parametrize("name", WHOLE)
def test_float64_reference(name):
    """The equations themselves, apart from kernels: what is left is Keras's own rounding."""
    graph = load_keras(FOLDER / name).graph
    x, y = golden(name)
    sizes = {}
    for kind, array in zip(graph.inputs.values(), x, strict=True):
        sizes |= {str(dim): size for dim, size in zip(kind.shape, array.shape, strict=True) if not isinstance(dim, int)}
    check(Reference(bind(graph, sizes), "float64").call(dict(zip(graph.inputs, x, strict=True))), y)


@pytest.mark.parametrize("name", STREAMS)
def test_streams_reading_by_reading(name):
    model = edgelstm.load(FOLDER / name)
    x, y = golden(name)
    given = feeds(model, x)
    carried = {state.name for state in model.states if state.output}
    timed = [key for key in model.inputs if key not in carried]
    shown = [key for key in model.outputs if key not in {state.output for state in model.states}]
    expected = dict(zip(model.outputs, y, strict=True))
    for row in range(len(x[0])):
        stream = model.stream(state={key: given[key][row : row + 1] for key in carried})
        for step in range(x[0].shape[1]):
            reading = {key: given[key][row, step] for key in timed}
            found = stream.step(reading[timed[0]] if len(timed) == 1 else reading)
            found = found if isinstance(found, dict) else {shown[0]: found}
            for key in shown:
                whole = expected[key][row]
                if whole.ndim == 2:
                    np.testing.assert_allclose(found[key], whole[step], rtol=0, atol=TOLERANCE)
        for key in shown:
            if expected[key][row].ndim == 1:  # the last step's output, or that of the pool
                np.testing.assert_allclose(found[key], expected[key][row], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    "name", ["conv_causal.k3.keras", "lstm_stack.k3.keras", "nested.k3.keras", "gru_variants.k3.keras"]
)
def test_streamed_in_pieces_is_the_whole_bit_for_bit(name):
    model = edgelstm.load(FOLDER / name)
    ((x,), _), stream = golden(name), model.stream()
    whole = model.run({"x": x[:1]})["y"][0]
    pieces = [stream.run(x[0, start:stop]) for start, stop in ((0, 1), (1, 6), (6, x.shape[1]))]
    np.testing.assert_array_equal(np.concatenate(pieces)[-len(whole) :] if whole.ndim > 1 else pieces[-1][-1], whole)


@pytest.mark.parametrize("name", REFUSED)
def test_models_that_cannot_stream_say_so(name):
    with pytest.raises(StreamError):
        edgelstm.load(FOLDER / name).stream()


def test_strided_stream_emits_when_it_has_an_output():
    model = edgelstm.load(FOLDER / "conv_valid.k3.keras")
    x, y = golden("conv_valid.k3.keras")
    for row, wanted in zip(x[0], y[0], strict=True):
        np.testing.assert_allclose(model.stream().run(row)[-1], wanted, rtol=0, atol=TOLERANCE)


def test_a_model_of_fixed_windows_takes_a_window_a_step():
    model = edgelstm.load(FOLDER / "conv_same.k3.keras")
    x, y = golden("conv_same.k3.keras")
    np.testing.assert_allclose(model.stream().step(x[0][0]), y[0][0], rtol=0, atol=TOLERANCE)


def test_every_whole_file_is_streamed_or_refused():
    assert set(WHOLE) == {*STREAMS, *REFUSED, "conv_valid.k3.keras", "conv_same.k3.keras"}


def test_saved_and_loaded_again(tmp_path):
    model = edgelstm.load(FOLDER / "residual.k3.keras")
    model.save(tmp_path / "m.edgelstm")
    x, y = golden("residual.k3.keras")
    check(edgelstm.load(tmp_path / "m.edgelstm").run(feeds(model, x)), y)
