"""How long a start state shows."""

import numpy as np
import pytest

from edgelstm.errors import InputError
from edgelstm.graph.dims import symbol
from edgelstm.graph.ir import Graph, TensorType
from edgelstm.graph.ops import make_node
from edgelstm.runtime.model import Model
from tests.runtime import models


def leaky(keep):
    """h' = keep h + x: a start state is down to a thousandth after log(0.001) / log(keep) steps."""
    T, B = symbol("T"), symbol("B")
    node = make_node(
        "rnn",
        ["x", "w", "r"],
        ["y"],
        hidden_size=1,
        activations=("affine",),
        activation_alpha=(1.0,),
        activation_beta=(0.0,),
    )
    constants = {"w": np.ones((1, 1, 1), np.float32), "r": np.full((1, 1, 1), keep, np.float32)}
    return Model(Graph({"x": TensorType("float32", (T, B, 1))}, {"y": "y"}, (node,), constants))


@pytest.mark.parametrize("keep", [0.5, 0.9, 0.99])
def test_a_leak_is_measured(keep):
    found = leaky(keep).horizon(tolerance=1e-3, longest=4000)
    exact = np.log(1e-3) / np.log(keep)
    assert found.steps is not None
    assert 0.3 * exact <= found.steps <= 1.3 * exact + 2


def test_what_never_forgets_is_told():
    assert leaky(1.0).horizon(longest=500).steps is None


def test_readings_of_ones_own():
    assert leaky(0.5).horizon(np.ones((50, 1), np.float32)).readings <= 50
    with pytest.raises(InputError, match="at least 4"):
        leaky(0.5).horizon(np.ones((2, 1), np.float32))
    with pytest.raises(InputError, match="tolerance"):
        leaky(0.5).horizon(tolerance=2)


def test_a_stream_tells_when_it_is_warm():
    stream, plain = Model(models.forecaster()).stream(), Model(models.forecaster()).stream()
    assert stream.warm
    stream.horizon = 5
    assert not stream.warm
    for x in models.readings(4):
        assert stream.step(x).tobytes() == plain.step(x).tobytes()
    assert not stream.warm
    stream.step(models.readings(1)[0])
    assert stream.warm
    stream.reset()
    assert not stream.warm
    stream.run(models.readings(5))
    assert stream.warm
    with pytest.raises(InputError, match="horizon"):
        stream.horizon = -1
