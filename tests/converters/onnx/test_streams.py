"""Exporters' files as streams: forward ones step by step as a whole run, the others refused by name."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")

from edgelstm_converters.onnx import load_onnx

from edgelstm.errors import StreamError
from edgelstm.graph.dims import symbol
from edgelstm.runtime.model import Model

MODELS = Path(__file__).parents[2] / "models"
FILES = {path.name: path for folder in ("torch_exports", "keras_exports") for path in (MODELS / folder).glob("*.onnx")}
T, B = symbol("T"), symbol("B")

# What a file of each kind looks like from one step to the next.
NOT_CAUSAL = {
    "attention_pool": "bidirectional",
    "bilstm2_hn_softmax": "bidirectional",
    "bilstm_bf": "bidirectional",
    "packed_bigru": "GRU",
    "bilstm_stacked": "bidirectional",
    "conv1d_bn_lstm": "Conv|MaxPool",
    "conv1d_lstm": "MaxPool",
    "lstm_backwards": "ReverseV2",
}
POOLED = ("lstm_mean_pool",)  # what pooling over time means to a stream is for the tests of streams
STEPS = ("cell_step", "seq2seq_decoder_step")  # one step already, no time axis
FORWARD = sorted(name for name in FILES if name.split(".")[0] not in (*NOT_CAUSAL, *STEPS, *POOLED))


def model_of(name):
    return Model(load_onnx(FILES[name]).graph)


@pytest.mark.parametrize("name", sorted(name for name in FILES if name.split(".")[0] in NOT_CAUSAL))
def test_what_needs_the_future_is_refused_by_name(name):
    with pytest.raises(StreamError, match=NOT_CAUSAL[name.split(".")[0]]):
        model_of(name).stream()


def row(array, shape):
    """The first row of the batch, time first if there is a time axis."""
    kept = [dim for dim in shape if dim != B]
    array = np.take(array, 0, shape.index(B))
    return np.moveaxis(array, kept.index(T), 0) if T in kept else array


@pytest.mark.parametrize("name", FORWARD)
def test_step_by_step_is_the_whole_run_bit_for_bit(name):
    model = model_of(name)
    rng = np.random.default_rng(8)
    states = {state.name: state.output for state in model.states if state.how != "implicit"}
    sizes = {"T": 9, "B": 2, **model.graph.frozen}
    feeds = {}
    for key, kind in model.inputs.items():
        shape = [dim if isinstance(dim, int) else sizes[str(dim)] for dim in kind.shape]
        integer = kind.dtype != "float32"
        feeds[key] = rng.integers(0, 20, shape) if integer else rng.normal(size=shape).astype(np.float32)
        if key in states:
            feeds[key][:] = 0
    whole = model.run(feeds)
    (x,) = (key for key in feeds if key not in states)
    (y,) = (key for key in whole if key not in states.values())
    stream = model.stream()
    found = np.stack([stream.step(reading) for reading in row(feeds[x], model.inputs[x].shape)])
    kind = model.outputs[y]
    expected = row(whole[y], kind.shape)
    np.testing.assert_array_equal(found if T in kind.shape else found[-1], expected)


def test_every_file_is_one_or_the_other():
    named = {name.split(".")[0] for name in FILES}
    assert named == {name.split(".")[0] for name in FORWARD} | set(NOT_CAUSAL) | set(STEPS) | set(POOLED)
    assert 29 == len(FORWARD)
