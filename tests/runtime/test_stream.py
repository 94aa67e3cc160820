"""What a stream takes, gives, keeps and refuses."""

import threading
import time

import numpy as np
import pytest

from edgelstm.errors import InputError, StateError, StreamError
from edgelstm.graph.ir import Graph, State, TensorType
from edgelstm.graph.ops import make_node
from edgelstm.runtime.model import Model
from tests.runtime.models import HIDDEN, OUTPUTS, B, T, forecaster, last_step, model, readings, stateful

XS = readings(6)


@pytest.fixture(params=["machine", "reference"])
def executor(request, monkeypatch):
    """Every test on both executors."""
    if request.param == "machine":
        pytest.importorskip("numba")
        return request.param
    from edgelstm.program.executor import ReferenceExecutor
    from edgelstm.runtime import executors

    monkeypatch.setattr(executors, "make_executor", ReferenceExecutor)
    return request.param


pytestmark = pytest.mark.usefixtures("executor")


def two_inputs():
    """x (B, T, 3) float and i (B, T) integers -> y (B, T, 3) and j (B, T)."""
    nodes = (
        make_node("gather", ["table", "i"], ["e"]),
        make_node("add", ["x", "e"], ["y"]),
        make_node("neg", ["i"], ["j"]),
    )
    inputs = {"x": TensorType("float32", (B, T, 3)), "i": TensorType("int64", (B, T))}
    table = {"table": np.arange(12, dtype=np.float32).reshape(4, 3)}
    return Graph(inputs, {"y": "y", "j": "j"}, nodes, table)


# What goes in.


def test_step_gives_a_fresh_array():
    stream = model().stream()
    first = stream.step(XS[0])
    kept = first.copy()
    second = stream.step(XS[1])
    assert first.shape == second.shape == (OUTPUTS,)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, kept)
    assert not np.shares_memory(first, second)


def test_an_output_that_is_a_number():
    node = make_node("reduce_sum", ["x"], ["y"], axes=(2,), keepdims=0)
    total = Model(Graph({"x": TensorType("float32", (B, T, 3))}, {"y": "y"}, (node,), {}))
    stream, xs = total.stream(), np.arange(18, dtype=np.float32).reshape(6, 3)
    expected = xs.sum(axis=1)
    for _ in range(2):  # the second time on the fast road
        for x, y in zip(xs, expected, strict=True):
            assert stream.step(x).shape == ()
            out = np.empty((), np.float32)
            assert stream.step(x, out=out) is out
            assert out == y
        np.testing.assert_array_equal(stream.run(xs), expected)
    with pytest.raises(InputError, match="out"):
        stream.step(xs[0], out=np.empty(2, np.float32))
    with pytest.raises(InputError, match="nan"):
        stream.step(np.full(3, np.nan, np.float32))


def test_out_is_filled_and_returned():
    fresh, given = model().stream(), model().stream()
    out = np.empty(OUTPUTS, np.float32)
    for x in XS:
        assert given.step(x, out=out) is out
        np.testing.assert_array_equal(out, fresh.step(x))


@pytest.mark.parametrize(
    "x",
    [
        XS[0].tolist(),
        tuple(XS[0].tolist()),
        XS[0].astype(np.float64),
        np.asfortranarray(np.stack([XS[0], XS[1]]))[0],
        XS[::-1][5],
    ],
    ids=["list", "tuple", "float64", "strided", "reversed"],
)
def test_step_casts(x):
    np.testing.assert_array_equal(model().stream().step(x), model().stream().step(XS[0]))


def test_integers_and_booleans_are_taken_as_floats():
    expected = model().stream().step(np.array([1, 0, 1], np.float32))
    np.testing.assert_array_equal(model().stream().step([1, 0, 1]), expected)
    np.testing.assert_array_equal(model().stream().step([True, False, True]), expected)


@pytest.mark.parametrize(
    ("x", "match"),
    [
        (np.zeros(4, np.float32), r"input 'x': expected a reading of shape \(3,\), got \(4,\)"),
        (np.zeros((1, 3), np.float32), r"expected a reading of shape \(3,\)"),
        (1.0, "expected a reading of shape"),
        ("abc", "expected float32"),
        ([1, "a", 2], "expected float32"),
        ([[1], [2, 3], [4]], "expected float32 numbers"),
        ([1j, 0, 0], "expected float32, got complex"),
        (None, "expected float32"),
        ({"z": XS[0]}, "inputs: expected x; missing x and unknown z"),
    ],
)
def test_readings_that_do_not_fit(x, match):
    stream = model().stream()
    stream.step(XS[0])
    before = stream.snapshot()
    with pytest.raises(InputError, match=match):
        stream.step(x)
    assert stream.snapshot() == before


@pytest.mark.parametrize(
    ("out", "match"),
    [
        (np.empty(3, np.float32), r"out: expected a writable float32 array of shape \(2,\), got float32 \(3,\)"),
        (np.empty(2), "got float64"),
        (np.empty((1, 2), np.float32), "got float32"),
        ([0, 0], "got list"),
        (np.broadcast_to(np.float32(0), 2), "writable"),
    ],
)
def test_out_that_does_not_fit(out, match):
    stream = model().stream()
    before = stream.snapshot()
    with pytest.raises(InputError, match=match):
        stream.step(XS[0], out=out)
    assert stream.snapshot() == before


def test_out_need_not_be_contiguous():
    wide = np.zeros((OUTPUTS, 2), np.float32)
    expected = model().stream().step(XS[0])
    stream = model().stream()
    assert stream.step(XS[0], out=wide[:, 0]) is not None
    np.testing.assert_array_equal(wide[:, 0], expected)
    np.testing.assert_array_equal(wide[:, 1], 0)


def test_run_is_as_many_steps():
    one, other = model().stream(), model().stream()
    np.testing.assert_array_equal(one.run(XS), np.stack([other.step(x) for x in XS]))
    assert one.snapshot() == other.snapshot()


def test_run_of_nothing():
    stream = model().stream()
    before = stream.snapshot()
    assert stream.run(np.zeros((0, 3), np.float32)).shape == (0, OUTPUTS)
    assert stream.snapshot() == before


def test_run_takes_lists():
    np.testing.assert_array_equal(model().stream().run(XS.tolist()), model().stream().run(XS))


@pytest.mark.parametrize("xs", [XS[0], np.zeros((2, 4)), np.zeros((1, 2, 3))])
def test_runs_that_do_not_fit(xs):
    with pytest.raises(InputError, match=r"any number of readings of shape \(3,\)"):
        model().stream().run(xs)


def test_an_output_of_the_last_step_is_there_at_every_step():
    network, stream = model(last_step), model(last_step).stream()
    for count, x in enumerate(XS, 1):
        np.testing.assert_array_equal(stream.step(x), network.predict(XS[None, :count])[0])


# Several inputs and outputs.


def test_dicts_by_name():
    stream = Model(two_inputs()).stream()
    result = stream.step({"x": [0.5, 0, 0], "i": 2})
    np.testing.assert_array_equal(result["y"], [6.5, 7, 8])
    assert result["j"] == -2
    assert result["j"].dtype == np.int64
    assert result["j"].shape == ()
    rows = stream.run({"x": np.zeros((2, 3)), "i": [1, 3]})
    np.testing.assert_array_equal(rows["j"], [-1, -3])
    assert rows["y"].shape == (2, 3)


@pytest.mark.parametrize(
    ("x", "match"),
    [
        (XS[0], "the stream has the inputs x, i: give a dict by name"),
        ({"x": XS[0]}, "missing i"),
        ({"x": XS[0], "i": 1.5}, "input 'i': expected int64, got float64"),
        ({"x": XS[0], "i": 1 << 40}, "expected integers from"),
        ({"x": XS[0], "i": 4}, "out of range|expected indices"),
        ({"x": XS[0], "i": -5}, "out of range|expected indices"),
    ],
)
def test_dicts_that_do_not_fit(x, match):
    with pytest.raises(InputError, match=match):
        Model(two_inputs()).stream().step(x)


def test_out_takes_one_output():
    with pytest.raises(InputError, match="out: the stream has the outputs y, j"):
        Model(two_inputs()).stream().step({"x": XS[0], "i": 1}, out=np.empty(3, np.float32))


def test_runs_of_unequal_lengths():
    with pytest.raises(InputError, match="as many readings of every input"):
        Model(two_inputs()).stream().run({"x": np.zeros((2, 3)), "i": [1]})


def test_an_index_out_of_range_leaves_the_state():
    """A cell that stepped before the index was looked up steps back."""
    nodes = list(forecaster().nodes)
    nodes += [make_node("gather", ["table", "i"], ["e"]), make_node("add", ["out", "e"], ["sum"])]
    graph = Graph(
        {**forecaster().inputs, "i": TensorType("int64", (B, T))},
        {"y": "sum"},
        tuple(nodes),
        {**forecaster().constants, "table": np.zeros((4, OUTPUTS), np.float32)},
    )
    stream = Model(graph).stream()
    stream.step({"x": XS[0], "i": 1})
    before = stream.snapshot()
    with pytest.raises(InputError, match=r"out of range|expected indices"):
        stream.step({"x": XS[1], "i": 9})
    assert stream.snapshot() == before
    with pytest.raises(InputError, match=r"out of range|expected indices"):
        stream.run({"x": XS[:3], "i": [1, 2, 9]})
    assert stream.snapshot() == before


# State.


def test_state_is_a_copy_by_name():
    stream = model().stream()
    assert set(stream.state) == {"cell.h", "cell.c"}
    assert stream.state["cell.h"].shape == (1, 1, HIDDEN)
    stream.step(XS[0])
    state = stream.state
    state["cell.h"][:] = 9
    assert not (stream.state["cell.h"] == 9).any()


def test_state_names_are_the_models_own():
    stream = model(stateful).stream()
    assert set(stream.state) == {"h0", "c0"}
    assert [s.output for s in model(stateful).states] == ["hn", "cn"]


def test_setting_state():
    first, second = model().stream(), model().stream()
    first.run(XS[:3])
    second.state = first.state
    np.testing.assert_array_equal(first.step(XS[3]), second.step(XS[3]))


def test_setting_part_of_the_state():
    stream = model().stream()
    stream.step(XS[0])
    before = stream.state
    stream.state = {"cell.c": np.ones((1, 1, HIDDEN))}
    np.testing.assert_array_equal(stream.state["cell.c"], 1)
    np.testing.assert_array_equal(stream.state["cell.h"], before["cell.h"])


def test_start_state_as_an_argument():
    stream = model().stream()
    stream.run(XS[:2])
    other = model().stream(state=stream.state)
    np.testing.assert_array_equal(stream.step(XS[2]), other.step(XS[2]))


@pytest.mark.parametrize(
    ("state", "match"),
    [
        ({"nothing": np.zeros(1)}, "no state is called 'nothing'; this stream has cell.h, cell.c"),
        ({"cell.h": np.zeros(3)}, r"state 'cell.h': expected float32 \(1, 1, 5\), got float64 \(3,\)"),
        ({"cell.h": np.full((1, 1, HIDDEN), np.nan)}, "NaN or Inf"),
        ({"cell.h": [["a"]]}, "expected float32"),
        ({"cell.c": np.zeros((1, 1, HIDDEN)), "cell.h": np.zeros(2)}, "cell.h"),
    ],
)
def test_states_that_do_not_fit_change_nothing(state, match):
    stream = model().stream()
    stream.step(XS[0])
    before = stream.snapshot()
    with pytest.raises(StateError, match=match):
        stream.state = state
    assert stream.snapshot() == before
    with pytest.raises(StateError, match=match):
        model().stream(state=state)


def test_states_that_start_at_infinity_may_hold_it():
    graph = Graph(
        {"x": TensorType("float32", (B, 3, T))},
        {"y": "y"},
        (make_node("max_pool", ["x"], ["y"], "pool", kernel=(3,), strides=(1,), pads=(2, 0), dilations=(1,)),),
        {},
    )
    stream = Model(graph).stream()
    stream.step(XS[0])
    (name,) = (name for name in stream.state if "window" in name)
    other = Model(graph).stream(state=stream.state)
    assert np.isneginf(other.state[name]).any()
    np.testing.assert_array_equal(stream.step(XS[1]), other.step(XS[1]))
    for bad in (np.nan, np.inf):
        with pytest.raises(StateError, match="NaN or Inf"):
            stream.state = {name: np.full(stream.state[name].shape, bad)}


def test_a_sequence_given_to_a_model_without_time():
    graph = Graph({"x": TensorType("float32", (B, 4, 3))}, {"y": "y"}, (make_node("neg", ["x"], ["y"]),), {})
    with pytest.raises(InputError, match=r"\(4, 3\), got \(3,\); no axis of this input is time: .* axis of 4 dynamic"):
        Model(graph).stream().step(XS[0])
    with pytest.raises(InputError, match="no axis of this input is time"):
        Model(graph).stream().run(XS)


def test_reset():
    stream = model().stream()
    first = stream.run(XS)
    stream.reset()
    np.testing.assert_array_equal(stream.run(XS), first)


def test_start_values_of_the_model():
    start = np.full((1, 1, HIDDEN), 0.5, np.float32)
    whole = stateful()
    graph = Graph(whole.inputs, whole.outputs, whole.nodes, {**whole.constants, "k": start}, initial={"h0": "k"})
    stream = Model(graph).stream()
    np.testing.assert_array_equal(stream.state["h0"], start)
    np.testing.assert_array_equal(stream.state["c0"], 0)
    y = stream.step(XS[0])
    np.testing.assert_array_equal(Model(graph).predict(XS[None, :1])[0, 0], y)
    stream.reset()
    np.testing.assert_array_equal(stream.state["h0"], start)


def test_states_of_integers_and_booleans():
    """A counter modulo 256, a flag that stays once set, and a state that is a single number."""
    kind = {"n": TensorType("uint8", (1,)), "f": TensorType("bool", (1,)), "z": TensorType("float32", ())}
    nodes = (
        make_node("add", ["n", "one"], ["n2"]),
        make_node("greater", ["x", "limit"], ["high"]),
        make_node("reshape", ["high"], ["high1"], shape=(1,)),
        make_node("or", ["f", "high1"], ["f2"]),
        make_node("affine", ["z"], ["z2"], alpha=0.5, beta=1.0),
    )
    constants = {"one": np.ones(1, np.uint8), "limit": np.full(1, 2, np.float32)}
    states = (State("n", "n2"), State("f", "f2"), State("z", "z2"))
    inputs = {"x": TensorType("float32", (T, 1)), **kind}
    nodes = tuple(n for n in nodes if n.outputs[0] not in ("high", "high1", "f2"))
    nodes += (make_node("not", ["f"], ["f2"]), make_node("neg", ["x"], ["y"]))
    stream = Model(Graph(inputs, {"y": "y"}, nodes, constants, states)).stream()
    stream.state = {"n": np.array([254], np.uint8)}
    for expected, flag in ((255, 1), (0, 0), (1, 1)):
        stream.step(1.0)
        assert stream.state["n"] == expected
        assert stream.state["f"] == flag
    assert stream.state["z"] == 1.75
    assert stream.state["z"].shape == ()
    other = Model(Graph(inputs, {"y": "y"}, nodes, constants, states)).stream()
    other.restore(stream.snapshot())
    assert other.snapshot() == stream.snapshot()


# Readings that are not finite.

BAD = [np.nan, np.inf, -np.inf]


def with_bad(value, place=1):
    x = XS[2].copy()
    x[place] = value
    return x


@pytest.mark.parametrize("bad", BAD)
def test_error_is_the_default_and_leaves_the_state(bad):
    stream = model().stream()
    stream.run(XS[:2])
    before = stream.snapshot()
    with pytest.raises(
        InputError, match=r"input 'x': expected finite numbers, got .* at \[1\]; the state is as before"
    ):
        stream.step(with_bad(bad))
    with pytest.raises(InputError, match="finite"):
        stream.step(with_bad(bad), out=np.empty(OUTPUTS, np.float32))
    assert stream.snapshot() == before


@pytest.mark.parametrize("bad", BAD)
def test_error_names_the_reading_of_a_run_and_leaves_the_state(bad):
    stream = model().stream()
    stream.step(XS[0])
    before = stream.snapshot()
    with pytest.raises(InputError, match=r"reading 2: .*the state is as before the call"):
        stream.run(np.stack([XS[0], XS[1], with_bad(bad)]))
    assert stream.snapshot() == before


@pytest.mark.parametrize("bad", BAD)
def test_hold_repeats_the_last_good_value_of_each_place(bad):
    stream, expected = model().stream(on_invalid="hold"), model().stream()
    held = XS[2].copy()
    held[1] = XS[1][1]
    good = expected.run(np.stack([XS[0], XS[1], held, XS[3]]))
    mixed = np.stack([XS[0], XS[1], with_bad(bad), XS[3]])
    np.testing.assert_array_equal(stream.run(mixed), good)
    stream = model().stream(on_invalid="hold")
    np.testing.assert_array_equal(np.stack([stream.step(x) for x in mixed]), good)


def test_hold_twice_holds_what_was_held():
    stream, expected = model().stream(on_invalid="hold"), model().stream()
    held = XS[2].copy()
    held[1] = XS[1][1]
    again = XS[3].copy()
    again[1] = XS[1][1]
    other = XS[3].copy()
    other[1] = np.nan
    good = expected.run(np.stack([XS[1], held, again]))
    np.testing.assert_array_equal(stream.run(np.stack([XS[1], with_bad(np.nan), other])), good)


def test_hold_has_nothing_to_hold_at_first():
    stream = model().stream(on_invalid="hold")
    before = stream.snapshot()
    with pytest.raises(InputError, match="no good reading has come yet"):
        stream.step(with_bad(np.nan))
    assert stream.snapshot() == before
    stream.step(XS[0])
    stream.reset()
    with pytest.raises(InputError, match="no good reading has come yet"):
        stream.step(with_bad(np.nan))


def test_hold_goes_on_after_a_restore():
    stream = model().stream(on_invalid="hold")
    stream.run(XS[:2])
    blob = stream.snapshot()
    other = model().stream(on_invalid="hold")
    other.restore(blob)
    np.testing.assert_array_equal(other.step(with_bad(np.nan)), stream.step(with_bad(np.nan)))


def test_hold_whatever_happened_in_between():
    """What is held is the last good reading, however the stream was driven and whatever its program does."""
    for drive in ("step", "run", "out"):
        stream, expected = model().stream(on_invalid="hold"), model().stream()
        if drive == "run":
            stream.run(XS[:2])
        for x in XS[:2] if drive != "run" else ():
            stream.step(x, out=np.empty(OUTPUTS, np.float32) if drive == "out" else None)
        expected.run(XS[:2])
        held = XS[2].copy()
        held[1] = XS[1][1]
        np.testing.assert_array_equal(stream.step(with_bad(np.nan)), expected.step(held), drive)


@pytest.mark.parametrize("bad", BAD)
def test_reset_starts_again_and_says_so(bad):
    stream, fresh = model().stream(on_invalid="reset"), model().stream()
    stream.run(XS[:2])
    assert np.isnan(stream.step(with_bad(bad))).all()
    assert stream.snapshot() == fresh.snapshot()
    np.testing.assert_array_equal(stream.step(XS[0]), fresh.step(XS[0]))
    stream = model().stream(on_invalid="reset")
    rows = stream.run(np.stack([XS[0], with_bad(bad), XS[1]]))
    assert np.isnan(rows[1]).all()
    np.testing.assert_array_equal(rows[2], model().stream().step(XS[1]))


def test_propagate_computes_with_what_it_is_given():
    stream = model().stream(on_invalid="propagate")
    assert np.isnan(stream.step(with_bad(np.nan))).all()
    assert np.isnan(stream.run(XS)).all()
    assert np.isnan(stream.state["cell.h"]).all()
    stream.state = {"cell.h": np.full((1, 1, HIDDEN), np.nan)}
    stream.reset()
    np.testing.assert_array_equal(stream.step(XS[0]), model().stream().step(XS[0]))


def test_a_float64_beyond_float32_is_not_finite():
    with pytest.raises(InputError, match="finite"):
        model().stream().step([1e300, 0, 0])


def test_unknown_policy():
    with pytest.raises(InputError, match="on_invalid: expected one of error, hold, reset, propagate, got 'ignore'"):
        model().stream(on_invalid="ignore")


def test_policies_with_several_inputs():
    stream = Model(two_inputs()).stream(on_invalid="hold")
    stream.step({"x": [1, 2, 3], "i": 1})
    result = stream.step({"x": [np.nan, 5, 6], "i": 0})
    np.testing.assert_array_equal(result["y"], [1, 6, 8])


# Threads.


def test_whoever_comes_second_is_refused_whatever_they_ask():
    stream, alone = model().stream(), model().stream()
    for one in (stream, alone):
        one.step(XS[0])
    blob = stream.snapshot()
    calls = (
        lambda: stream.step(XS[0]),
        lambda: stream.step(XS[0], out=np.empty(OUTPUTS, np.float32)),
        lambda: stream.step([9, 9, 9]),
        lambda: stream.run(XS[:1]),
        lambda: stream.state,
        lambda: setattr(stream, "state", {"cell.h": np.ones((1, 1, HIDDEN))}),
        stream.reset,
        stream.snapshot,
        lambda: stream.restore(blob),
        stream.fork,
    )
    with stream._executor.taken() as free:
        assert free
        for call in calls:
            with pytest.raises(StreamError, match="in use by another thread"):
                call()
    np.testing.assert_array_equal(stream.run(XS), alone.run(XS))
    assert stream.snapshot() == alone.snapshot()


def test_two_threads_in_one_stream(executor):
    """The first is not disturbed. Runs are short, so that the second may come too late for some."""
    stream, alone = model().stream(), model().stream()
    many = readings(600_000 if executor == "machine" else 3000)
    refusals, results = 0, []
    for _ in range(100):
        thread = threading.Thread(target=lambda: results.append(stream.run(many)))
        thread.start()
        while not stream._executor.busy and thread.is_alive():
            time.sleep(0.0001)
        while thread.is_alive():
            try:
                stream.snapshot()
            except StreamError:
                refusals += 1
        thread.join()
        np.testing.assert_array_equal(results.pop(), alone.run(many))
        if refusals:
            break
    assert refusals
    assert stream.snapshot() == alone.snapshot()


def test_many_threads_in_streams_of_their_own():
    network = model()
    expected = network.stream().run(XS)
    results = {}

    def work(k):
        stream = network.stream()
        results[k] = [np.stack([stream.step(x) for x in XS])]
        stream.reset()
        results[k].append(stream.run(XS))
        results[k].append(network.predict(XS[None])[0])

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    for arrays in results.values():
        for array in arrays:
            np.testing.assert_allclose(array, expected, atol=1e-6)
