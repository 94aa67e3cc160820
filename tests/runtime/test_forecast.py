"""Forecasts are a loop over the model's own predictions, and leave the live stream alone to the bit."""

import numpy as np
import pytest

import edgelstm
from edgelstm.errors import InputError, StateError, StreamError
from edgelstm.graph.dims import BATCH, TIME, symbol
from edgelstm.graph.ir import Graph, TensorType
from edgelstm.graph.ops import make_node
from edgelstm.program.executor import ReferenceExecutor
from edgelstm.runtime import executors
from edgelstm.runtime.model import Model


def model(features=1, outputs=1, units=5, seed=0, returns="sequences"):
    """An LSTM and a Linear."""
    rng = np.random.default_rng(seed)
    arrays = {
        "cell.weight_ih_l0": rng.normal(size=(4 * units, features)),
        "cell.weight_hh_l0": rng.normal(size=(4 * units, units)) / 3,
        "cell.bias_ih_l0": rng.normal(size=4 * units),
        "cell.bias_hh_l0": rng.normal(size=4 * units),
        "head.weight": rng.normal(size=(outputs, units)),
        "head.bias": rng.normal(size=outputs),
    }
    layers = [{"kind": "lstm", "arrays": "cell", "return": returns}, {"kind": "linear", "arrays": "head"}]
    return edgelstm.from_arrays(arrays, layers)


def two_by_name():
    """Two inputs a and b (2,) each; outputs p = tanh(a) + b and q, the running value of an RNN over a."""
    shape = (symbol(TIME), symbol(BATCH), 2)
    nodes = (
        make_node(
            "rnn",
            ["a", "w", "r"],
            ["y", "h"],
            hidden_size=2,
            activations=("tanh",),
            activation_alpha=(0.0,),
            activation_beta=(0.0,),
        ),
        make_node("reshape", ["y"], ["q"], shape=shape),
        make_node("tanh", ["a"], ["t"]),
        make_node("add", ["t", "b"], ["p"]),
    )
    constants = {
        "w": np.array([[[0.5, 0.1], [0.2, -0.4]]], np.float32),
        "r": np.array([[[0.3, 0.2], [-0.1, 0.6]]], np.float32),
    }
    kinds = {"a": TensorType("float32", shape), "b": TensorType("float32", shape)}
    return Model(Graph(kinds, {"p": "p", "q": "q"}, nodes, constants))


def warm(stream, steps=4, seed=1):
    """The stream after some readings."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        reading = {name: rng.normal(size=kind.shape) for name, kind in stream.inputs.items()}
        stream.step(reading if len(reading) > 1 else next(iter(reading.values())))
    return stream


def bits(stream):
    """All that a stream is."""
    memory = stream._arenas
    views = [memory.state, *memory.inputs.values(), *memory.outputs.values()]
    return [view.tobytes() for view in views], stream._held.seen, stream._fresh


@pytest.mark.parametrize("features", [1, 3])
def test_predictions_are_fed_back_one_after_the_other(features):
    stream = warm(model(features, features).stream())
    twin = stream.fork()
    expected = [stream.last["y"]]
    for _ in range(9):
        expected.append(twin.step(expected[-1]))
    before = bits(stream)
    found = stream.forecast(10)
    assert found.shape == (10, features)
    assert np.array_equal(expected, found)
    assert np.array_equal(found, stream.forecast(10))
    assert np.array_equal(found[:1], stream.forecast(1))
    assert before == bits(stream)


def test_forecast_goes_on_from_run_as_from_step():
    readings = np.random.default_rng(2).normal(size=(6, 1)).astype(np.float32)
    stepped, ran = model().stream(), model().stream()
    for reading in readings:
        stepped.step(reading)
    ran.run(readings)
    assert np.array_equal(stepped.forecast(5), ran.forecast(5))


def test_known_covariates_stand_beside_the_predictions():
    stream = warm(model(features=3).stream())
    future = np.random.default_rng(3).normal(size=(6, 2)).astype(np.float32)
    twin, expected = stream.fork(), [stream.last["y"]]
    for row in future[:5]:
        expected.append(twin.step([row[0], expected[-1][0], row[1]]))
    before = bits(stream)
    for given in (future, future[:5], future.tolist()):
        assert np.array_equal(expected, stream.forecast(6, future=given, feedback=[1]))
    assert np.array_equal(expected, stream.forecast(6, future=future, feedback={1: 0}))
    assert np.array_equal(expected, stream.forecast(6, future={"x": future}, feedback={("x", 1): ("y", 0)}))
    future[5] = np.nan  # the reading after the last prediction is not made
    assert np.array_equal(expected, stream.forecast(6, future=future, feedback=[1]))
    assert before == bits(stream)


def test_one_covariate_may_be_given_as_plain_numbers():
    stream = warm(model(features=2).stream())
    future = np.array([0.1, 0.2, 0.3])
    assert np.array_equal(stream.forecast(4, future[:, None], [0]), stream.forecast(4, future, [0]))


def test_outputs_may_change_places_or_be_left_out():
    stream = warm(model(features=2, outputs=3).stream())
    twin, expected = stream.fork(), [stream.last["y"]]
    for _ in range(4):
        expected.append(twin.step([expected[-1][2], expected[-1][0]]))
    assert np.array_equal(expected, stream.forecast(5, feedback={0: 2, 1: 0}))


def test_several_inputs_and_outputs_by_name():
    stream = warm(two_by_name().stream())
    future = np.random.default_rng(4).normal(size=(4, 2)).astype(np.float32)
    twin, expected = stream.fork(), [stream.last]
    for row in future[:3]:
        expected.append(twin.step({"a": expected[-1]["p"], "b": row}))
    before = bits(stream)
    found = stream.forecast(4, future={"b": future}, feedback={"a": "p"})
    for name in ("p", "q"):
        assert np.array_equal([row[name] for row in expected], found[name])
    both = stream.forecast(4, feedback={"a": "p", "b": "q"})
    assert np.array_equal(found["p"][0], both["p"][0])
    mixed = stream.forecast(4, future={"b": future[:, :1]}, feedback={"a": "p", ("b", 1): ("q", 0)})
    assert mixed["p"].shape == (4, 2)
    assert before == bits(stream)


@pytest.mark.parametrize("policy", ["error", "hold", "reset"])
def test_a_prediction_that_is_not_finite_stops_the_forecast_alone(policy):
    stream = edgelstm.from_arrays(
        {"cell.weight_ih": np.ones((3, 1)), "cell.weight_hh": np.ones((3, 1)), "head.weight": np.full((1, 1), 3e38)},
        [
            {"kind": "gru_cell", "arrays": "cell"},
            {"kind": "linear", "arrays": "head"},
            {"kind": "activation", "activation": {"function": "affine", "alpha": 3e38, "beta": 0.0}},
        ],
    ).stream(on_invalid=policy)
    stream.step([0.5])
    before = bits(stream)
    with pytest.raises(InputError, match="forecast: after prediction 1 of 5"):
        stream.forecast(5)
    assert before == bits(stream)


def test_a_prediction_is_needed_to_begin_with():
    stream = model().stream()
    start = stream.state
    changes = {
        "new": lambda: None,
        "reset": stream.reset,
        "restored": lambda: stream.restore(stream.snapshot()),
        "set": lambda: setattr(stream, "state", start),
        "empty run": lambda: stream.run(np.zeros((0, 1))),
    }
    for name, change in changes.items():
        change()
        assert (stream.last is None) == (name != "empty run"), name
        if name != "empty run":
            with pytest.raises(StreamError, match="step a reading first"):
                stream.forecast(2)
        stream.step([0.1])
        assert stream.forecast(2).shape == (2, 1)


def test_a_reading_that_is_refused_leaves_the_prediction():
    stream = warm(model().stream())
    expected = stream.forecast(3)
    with pytest.raises(InputError):
        stream.step([np.nan])
    assert np.array_equal(expected, stream.forecast(3))


@pytest.mark.parametrize("returns", ["last", "sequences"])
def test_a_model_over_windows_forecasts_once_its_window_is_full(returns):
    whole = model(returns=returns)
    stream = whole.stream(window=4)
    feedback = None if returns == "last" else {0: 3}  # of the outputs at all steps, the last one is fed back
    readings = np.random.default_rng(5).normal(size=(6, 1)).astype(np.float32)
    for index, reading in enumerate(readings):
        if index < 4:
            with pytest.raises(StreamError, match="filling its window"):
                stream.forecast(2, feedback=feedback)
        stream.step(reading)
    window, expected = list(readings[-4:]), []
    for _ in range(10):
        expected.append(whole.predict(np.stack(window[-4:])[None])[0])
        window.append(expected[-1].reshape(-1, 1)[-1])
    assert np.array_equal(expected, stream.forecast(10, feedback=feedback))


def test_the_tutorial_of_windows_of_twenty():
    """Keras' LSTM(50) and Dense(1) over the last 20 values of a sine, and its own loop of predictions."""
    rng, units, window = np.random.default_rng(6), 50, 20
    arrays = {
        "lstm/kernel": rng.normal(size=(1, 4 * units)) / 4,
        "lstm/recurrent_kernel": rng.normal(size=(units, 4 * units)) / 8,
        "lstm/bias": np.zeros(4 * units),
        "dense/kernel": rng.normal(size=(units, 1)) / 4,
        "dense/bias": np.zeros(1),
    }
    layers = [{"kind": "lstm", "arrays": "lstm", "return": "last"}, {"kind": "linear", "arrays": "dense"}]
    network = edgelstm.from_arrays(arrays, layers, layout="keras")
    sine = np.sin(np.arange(60) / 5).astype(np.float32)[:, None]
    stream = network.stream(window=window)
    stream.run(sine)
    seen, expected = sine, []
    for _ in range(10):
        expected.append(network.predict(seen[None, -window:])[0])
        seen = np.concatenate([seen, expected[-1][None]])
    assert np.array_equal(expected, stream.forecast(10))


def test_without_the_compiled_machine(monkeypatch):
    compiled = warm(model(features=3).stream())
    future = np.random.default_rng(3).normal(size=(6, 2)).astype(np.float32)
    expected = compiled.forecast(6, future=future, feedback=[1])
    monkeypatch.setattr(executors, "make_executor", ReferenceExecutor)
    plain = warm(model(features=3).stream())
    assert isinstance(plain._executor, ReferenceExecutor)
    before = bits(plain)
    np.testing.assert_allclose(plain.forecast(6, future=future, feedback=[1]), expected, rtol=0, atol=1e-5)
    assert before == bits(plain)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "a number of steps from 1, got 0"),
        ({"n": 2.0}, "a number of steps from 1"),
        ({"n": True}, "a number of steps from 1"),
        ({"n": 3}, r"outputs \(y \(2,\)\) and inputs \(x \(3,\)\) differ; say with feedback="),
        ({"n": 3, "feedback": [0]}, "one feature for each of 2 outputs"),
        ({"n": 3, "feedback": "x"}, "a list of features of a single input"),
        ({"n": 3, "feedback": [0, 3]}, "input 'x' has the values 0 to 2, got 3"),
        ({"n": 3, "feedback": [0, -1]}, "input 'x' has the values 0 to 2, got -1"),
        ({"n": 3, "feedback": [1, 1]}, "value 1 of input 'x' is replaced twice"),
        ({"n": 3, "feedback": {0: 2}}, "output 'y' has the values 0 to 1, got 2"),
        ({"n": 3, "feedback": {"z": "y"}}, "no input 'z'; there are x"),
        ({"n": 3, "feedback": {"x": "z"}}, "no output 'z'; there are y"),
        ({"n": 3, "feedback": {"x": "y"}}, "input 'x' has 3 values there, output 'y' 2"),
        ({"n": 3, "feedback": {0.5: 0}}, "a name, a feature's number"),
        ({"n": 3, "feedback": [0, 1]}, r"must be given for every step: x \(n, 1\)"),
        ({"n": 3, "feedback": [0, 1], "future": np.zeros((1, 1))}, r"future of x: expected \(3, 1\)"),
        ({"n": 3, "feedback": [0, 1], "future": np.zeros((3, 2))}, r"future of x: expected \(3, 1\)"),
        ({"n": 3, "feedback": [0, 1], "future": [[0.0], [np.nan]]}, "row 1 holds NaN"),
        ({"n": 3, "feedback": [0, 1], "future": {"z": np.zeros((3, 1))}}, "future: expected x"),
        ({"n": 3, "feedback": {0: 0, 1: 1, 2: 1}, "future": np.zeros((3, 1))}, "nothing is left to be given"),
    ],
)
def test_refusals_leave_the_stream_alone(arguments, message):
    stream = warm(model(features=3, outputs=2).stream())
    before = bits(stream)
    with pytest.raises(InputError, match=message):
        stream.forecast(**arguments)
    assert before == bits(stream)


def test_token_models_are_sent_to_generate():
    tokens = edgelstm.from_arrays(
        {
            "e.weight": np.eye(3),
            "c.weight_ih": np.ones((9, 3)),
            "c.weight_hh": np.ones((9, 3)),
        },
        [{"kind": "embedding", "arrays": "e"}, {"kind": "gru_cell", "arrays": "c"}],
    ).stream()
    tokens.step(1)
    with pytest.raises(InputError, match=r"edgelstm\.generate"):
        tokens.forecast(3, feedback={"x": ("y", 0)})


def test_forks_stand_at_the_same_state_and_go_their_own_way():
    stream = warm(model().stream(on_invalid="hold"))
    fork = stream.fork()
    assert bits(stream) == bits(fork)
    before = bits(stream)
    assert np.array_equal(fork.step([np.nan]), stream.fork("hold").step([np.nan]))
    assert before == bits(stream)
    with pytest.raises(InputError, match="on_invalid"):
        stream.fork("ignore")
    with pytest.raises(StateError, match="not alike"):
        stream.follow(model(seed=1).stream())
