"""`run` goes layer by layer where it can; nobody sees it but the clock."""

import math

import numpy as np
import pytest

from edgelstm.quantization.quantize import quantize
from edgelstm.runtime import stream as runtime
from edgelstm.runtime.load import from_arrays
from edgelstm.runtime.model import Model
from tests.native.support import FEATURES, torch_weights
from tests.runtime.models import forecaster, last_step, readings, stateful

pytest.importorskip("numba")

MANY = runtime.BLOCK * runtime.LEAST_BLOCKS + 5


def has_blocks(model):
    return model._step(model._options)[1].blocks is not None


def same_as_steps(stream, other, xs):
    """Whether `run` and steps give the same bits, and leave the same state."""
    at_once, one_by_one = stream.run(xs), [other.step(x) for x in xs]
    states = zip(stream.state.values(), other.state.values(), strict=True)
    return at_once.tobytes() == b"".join(y.tobytes() for y in one_by_one) and all(
        a.tobytes() == b.tobytes() for a, b in states
    )


@pytest.mark.parametrize("graph", [forecaster, stateful])
@pytest.mark.parametrize("on_invalid", ["error", "propagate"])
def test_run_gives_the_bits_of_steps(graph, on_invalid):
    model = Model(graph())
    assert has_blocks(model)
    stream, other = model.stream(on_invalid=on_invalid), model.stream(on_invalid=on_invalid)
    for seed in (1, 2):
        assert same_as_steps(stream, other, readings(MANY, seed))
    assert stream.step(readings(1)[0]).tobytes() == other.step(readings(1)[0]).tobytes()


def test_a_layer_on_the_last_state_alone_goes_step_by_step():
    model = Model(last_step())
    assert not has_blocks(model)
    assert same_as_steps(model.stream(), model.stream(), readings(MANY))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_layers_on_layers_give_the_bits_of_steps(cell):
    model = from_arrays(torch_weights(cell, 3))
    assert has_blocks(model)
    xs = np.random.default_rng(3).normal(size=(MANY, FEATURES)).astype(np.float32)
    assert same_as_steps(model.stream(), model.stream(), xs)


def test_int8_weights_give_the_bits_of_steps():
    model = quantize(Model(forecaster()), objective="size", tolerance=math.inf)
    assert has_blocks(model)
    assert same_as_steps(model.stream(), model.stream(), readings(MANY))
