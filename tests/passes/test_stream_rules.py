"""What streams and what is refused, operator by operator; every refusal names the node and says what to do.

That what streams is right, `test_stream_random.py` and `tests/runtime/test_stream_equals_whole.py` hold.
"""

from dataclasses import replace

import numpy as np
import pytest

from edgelstm.errors import StreamError
from edgelstm.graph.check import check
from edgelstm.graph.dims import symbol
from edgelstm.graph.ir import Graph, State, TensorType
from edgelstm.graph.ops import make_node
from edgelstm.passes.stream import StreamOptions, to_step
from edgelstm.runtime.model import Model

T, B, N = symbol("T"), symbol("B"), symbol("N")


def kind(*shape, dtype="float32"):
    return TensorType(dtype, shape)


INPUTS = {
    "x": kind(T, B, 4),
    "image": kind(B, 4, T),
    "i": kind(T, B, dtype="int64"),
    "lengths": kind(B, dtype="int64"),
    "still": kind(B, 4),
    "h0": kind(1, B, 3),
}
RNG = np.random.default_rng(0)


def array(*shape):
    return RNG.normal(size=shape).astype(np.float32)


CONSTANTS = {
    "w": array(1, 12, 4),
    "r": array(1, 12, 3),
    "w2": array(2, 12, 4),
    "r2": array(2, 12, 3),
    "head": array(5, 4),
    "kernel": array(2, 4, 3),
    "table": array(7, 2),
    "square": array(4, 4),
    "scale": array(4),
    "point": array(2, 4, 1),
    "pick": np.array([0, 0]),
}


def lstm(inputs=("x", "w", "r"), outputs=("y", "h", "c"), direction="forward", name="cell"):
    count = 6 if direction == "bidirectional" else 3
    zeros = (0.0,) * count
    names = ("sigmoid", "tanh", "tanh") * (count // 3)
    attrs = {"hidden_size": 3, "activations": names, "activation_alpha": zeros, "activation_beta": zeros}
    return make_node("lstm", inputs, outputs, name, direction=direction, **attrs)


def node(op, inputs, name="y", **attrs):
    return make_node(op, inputs, [name], f"the {op}", **attrs)


def graph(*nodes, outputs=None, inputs=None, **more):
    nodes = tuple(nodes)
    used = {name for one in nodes for name in one.inputs} | set((outputs or {}).values())
    kinds = {name: value for name, value in (inputs or INPUTS).items() if name in used}
    constants = {name: value for name, value in CONSTANTS.items() if name in used}
    made = Graph(kinds, outputs or {"y": next(filter(None, nodes[-1].outputs))}, nodes, constants, **more)
    check(made)
    return made


WINDOW = {"strides": (1,), "pads": (0, 0), "dilations": (1,)}


def cut(axis, start, stop, step=1):
    return {"axes": (axis,), "starts": (start,), "stops": (stop,), "steps": (step,)}


# What streams: the nodes, and how many states the step carries.

STREAMS = {
    "pointwise": ([node("tanh", ["x"])], 0),
    "with something still": ([node("add", ["x", "still"])], 0),
    "cast": ([node("cast", ["i"], to="float32")], 0),
    "linear": ([node("linear", ["x", "head"])], 0),
    "product with a constant": ([node("matmul", ["x", "square"])], 0),
    "cell": ([lstm()], 2),
    "stacked cells": (
        [lstm(outputs=("y1",)), node("reshape", ["y1"], "y2", shape=(T, B, 3)), node("tanh", ["y2"])],
        2,
    ),
    "softmax over features": ([node("softmax", ["x"], axis=-1)], 0),
    "argmax over features": ([node("argmax", ["x"], axis=2)], 0),
    "reduction over features": ([node("reduce_max", ["x"], axes=(2,))], 0),
    "layer norm over features": ([node("layer_norm", ["x", "scale"])], 0),
    "embedding": ([node("gather", ["table", "i"])], 0),
    "transpose": ([node("transpose", ["x"], perm=(2, 1, 0))], 0),
    "reshape beside time": ([node("reshape", ["x"], shape=(T, B, 2, 2))], 0),
    "slice of features": ([node("slice", ["x"], **cut(2, 1, 3))], 0),
    "the last step": ([node("slice", ["x"], **cut(0, T - 1, T))], 0),
    "all steps": ([node("slice", ["x"], **cut(0, 0, T))], 0),
    "features joined": ([node("concat", ["x", "x"], axis=-1)], 0),
    "features padded": ([node("pad", ["x"], pads=(0, 0, 1, 0, 0, 1))], 0),
    "something still repeated over time": ([node("broadcast", ["still"], shape=(T, B, 4))], 0),
    "convolution of one step": ([node("conv", ["image", "point"], **WINDOW)], 0),
    "last state": ([lstm(outputs=("", "h"))], 2),
}


@pytest.mark.parametrize("what", STREAMS)
def test_streams(what):
    nodes, count = STREAMS[what]
    step = to_step(graph(*nodes))
    assert len(step.graph.states) == count
    assert set(step.firings.values()) == {(1, 0)}
    assert not step.graph.tick
    assert all(isinstance(dim, int) for each in step.graph.inputs.values() for dim in each.shape)


def test_axes_of_time_and_batch():
    step = to_step(graph(node("transpose", ["x"], perm=(2, 1, 0))))
    assert step.axes == {"x": (0, 1), "y": (1, 2)}
    last = to_step(graph(node("slice", ["x"], **cut(0, T - 1, T))))
    assert set(last.axes["y"]) >= {1}


# What carries more than cells do.

GENERAL = {
    "causal convolution": [node("conv", ["image", "kernel"], strides=(1,), pads=(2, 0), dilations=(1,))],
    "running sum": [node("reduce_sum", ["x"], axes=(0,))],
    "running mean": [node("reduce_mean", ["x"], axes=(0,), keepdims=0)],
    "running maximum": [node("reduce_max", ["x"], axes=(0,))],
    "running mean of time and features": [node("reduce_mean", ["x"], axes=(0, 2), keepdims=0)],
    "ends that begin at different readings": [
        node("conv", ["image", "kernel"], "a", **WINDOW),
        make_node("reduce_max", ["a"], ["a.end"], axes=(2,)),
        make_node("reduce_max", ["image"], ["b.end"], axes=(2,)),
        node("concat", ["a.end", "b.end"], axis=1),
    ],
}


@pytest.mark.parametrize("what", GENERAL)
def test_streams_with_a_memory_of_its_own(what):
    assert to_step(graph(*GENERAL[what])).graph.states


# A value that is repeated over time, and x beside it, which says how often; the axis of time in what it makes.

REPEATED = make_node("broadcast", ["still"], ["steps"], "the repeat", shape=(T, B, 4))
IMAGE = make_node("transpose", ["steps"], ["picture"], perm=(1, 2, 0))
LAST = None

OVER_REPEATED = {
    "cell": ([lstm(["steps", "w", "r"], outputs=("y",))], 0),
    "reshape": ([node("reshape", ["steps"], shape=(T, B, 2, 2))], 0),
    "joined with a sequence": ([node("concat", ["x", "steps"], axis=2)], 0),
    "joined with a later sequence": (
        [
            make_node("slice", ["x"], ["later"], **cut(0, 2, T)),
            make_node("broadcast", ["still"], ["few"], shape=(T - 2, B, 4)),
            node("concat", ["later", "few"], axis=2),
        ],
        0,
    ),
    "all but the first": ([node("slice", ["steps"], **cut(0, 1, T))], 0),
    "the last": ([node("slice", ["steps"], **cut(0, T - 1, T))], LAST),
    "sum": ([node("reduce_sum", ["steps"], axes=(0,))], LAST),
    "product": ([node("reduce_prod", ["steps"], axes=(0,))], LAST),
    "causal convolution": ([IMAGE, node("conv", ["picture", "kernel"], strides=(1,), pads=(2, 0), dilations=(1,))], 2),
    "maximum in a window": ([IMAGE, node("max_pool", ["picture"], kernel=(2,), **WINDOW)], 2),
}


@pytest.mark.parametrize("what", OVER_REPEATED)
def test_a_repeated_value_streams_as_the_whole_sequence_has_it(what):
    nodes, axis = OVER_REPEATED[what]
    model = Model(graph(REPEATED, *nodes, node("tanh", ["x"], "beside"), outputs={"y": "y", "beside": "beside"}))
    x, still = array(6, 1, 4), array(1, 4)
    whole = model.run({"x": x, "still": still})["y"]
    stream = model.stream()
    steps = [stream.step({"x": reading[0], "still": still[0]}).get("y") for reading in x]
    given = np.stack([step for step in steps if step is not None])
    given, expected = (given[-1], whole) if axis is LAST else (given, np.moveaxis(whole, axis, 0))
    np.testing.assert_allclose(given.ravel(), expected.ravel(), rtol=0, atol=1e-6)


# What is refused.

SCORES = [
    make_node("transpose", ["x"], ["values"], perm=(1, 0, 2)),
    make_node("transpose", ["x"], ["keys"], perm=(1, 2, 0)),
    make_node("matmul", ["values", "keys"], ["scores"], "all against all"),
]
EVEN = [
    make_node("slice", ["x"], ["even"], **cut(0, 0, T, 2)),
    make_node("reduce_max", ["even"], ["a"], axes=(0,)),
]

REFUSED = {
    "backward cell": ([lstm(direction="reverse")], "lstm node 'cell' runs reverse, from the end of the sequence"),
    "bidirectional cell": (
        [lstm(["x", "w2", "r2"], direction="bidirectional")],
        "lstm node 'cell' runs bidirectional, from the end",
    ),
    "sequence lengths": ([lstm(["x", "w", "r", "", "lengths"])], "lstm node 'cell' takes sequence lengths"),
    "start from the end of another": (
        [lstm(outputs=("", "h1", "c1"), name="first"), lstm(["x", "w", "r", "", "", "h1", "c1"], name="second")],
        "lstm node 'second' starts from the end of another sequence",
    ),
    "cell over the batch": (
        [make_node("transpose", ["x"], ["t"], perm=(1, 0, 2)), lstm(["t", "w", "r"])],
        "lstm node 'cell' runs over 1 steps that are not the model's time axis",
    ),
    "computed start state": (
        [make_node("tanh", ["h0"], ["h1"]), lstm(["x", "w", "r", "", "", "h1"])],
        r"its start state 'h1' is computed by the model; pair it with states=",
    ),
    "start state used twice": (
        [lstm(["x", "w", "r", "", "", "h0"], outputs=("y1",)), node("add", ["y1", "h0"])],
        r"its start state 'h0' is used elsewhere, too; .* states=\{'h0'",
    ),
    "cell over the last step": (
        [make_node("slice", ["x"], ["end"], **cut(0, T - 1, T)), lstm(["end", "w", "r"])],
        "lstm node 'cell' runs over",
    ),
    "argmax over time": ([node("argmax", ["x"], axis=0)], "argmax node 'the argmax' runs over all time steps"),
    "reversed": (
        [node("reverse_sequence", ["x", "lengths"], batch_axis=1, time_axis=0)],
        "reverse_sequence node .* reverses time",
    ),
    "backwards": (
        [node("slice", ["x"], **cut(0, T - 1, -1, -1))],
        r"slice node 'the slice' takes the time steps T-1:-1:-1; a stream knows the first and the last ones only",
    ),
    "the first half": (
        [node("slice", ["x"], **cut(0, 0, (T + 1) // 2))],
        "slice node 'the slice' takes the time steps",
    ),
    "joined along time": ([node("concat", ["x", "x"], axis=0)], "concat node 'the concat' joins pieces along"),
    "time merged with features": (
        [make_node("transpose", ["x"], ["t"], perm=(1, 0, 2)), node("reshape", ["t"], shape=(B, 4 * T))],
        "reshape node 'the reshape' mixes the time axis with others",
    ),
    "a vector times a sequence": (
        [node("matmul", ["x", "scale"])],
        "matmul node 'the matmul' multiplies a vector by a sequence",
    ),
    "attention that is not causal": (
        [*SCORES, node("softmax", ["scores"], axis=-1)],
        "softmax node 'the softmax' weighs later time steps, too: mask them",
    ),
    "scores that are summed as they are": (
        [*SCORES, node("matmul", ["scores", "values"])],
        "matmul node 'the matmul' sums over later time steps, too: mask them",
    ),
    "scores that are reduced as they are": (
        [*SCORES, node("reduce_max", ["scores"], axes=(2,))],
        "reduce_max node 'the reduce_max' reduces over later time steps, too: mask them",
    ),
    "logarithms of weights over time": (
        [*SCORES, node("log_softmax", ["keys"], axis=2)],
        "log_softmax node 'the log_softmax' gives a logarithm for every time step so far",
    ),
    "all against all, shown": (SCORES, r"output 'y' .* changes for every past step with each reading: use predict\(\)"),
    "steps against their mirror": (
        [*SCORES, make_node("transpose", ["scores"], ["mirror"], perm=(0, 2, 1)), node("add", ["scores", "mirror"])],
        "add node 'the add' mixes readings of different times",
    ),
    "queries and keys of different strides": (
        [*SCORES[:2], make_node("slice", ["keys"], ["some"], **cut(2, 0, T, 2)), node("matmul", ["values", "some"])],
        "matmul node 'the matmul' mixes values that are known at different readings",
    ),
    "ends of different strides": (
        [*EVEN, make_node("reduce_max", ["x"], ["b"], axes=(0,)), node("add", ["a", "b"])],
        "add node 'the add' mixes values that come every 1 and every 2 readings",
    ),
    "ends of even and of odd readings": (
        [
            *EVEN,
            make_node("slice", ["x"], ["late"], **cut(0, 1, T)),
            make_node("slice", ["late"], ["odd"], **cut(0, 0, T - 1, 2)),
            make_node("reduce_max", ["odd"], ["b"], axes=(0,)),
            node("add", ["a", "b"]),
        ],
        "add node 'the add' mixes values that are known at different readings",
    ),
    "a sum of integers over time": (
        [node("reduce_sum", ["i"], axes=(0,))],
        "reduce_sum node 'the reduce_sum' reduces int64 values over all time steps",
    ),
    "repeated values joined along time": (
        [REPEATED, node("concat", ["steps", "steps"], axis=0)],
        "concat node 'the concat' joins pieces along the time axis",
    ),
    "a cell over a value repeated otherwise": (
        [make_node("broadcast", ["still"], ["few"], shape=(T - 2, B, 4)), lstm(["few", "w", "r"])],
        "lstm node 'cell' takes a value that was repeated over T-2 steps, which are not the model's",
    ),
    "picked by index": ([node("gather", ["x", "pick"])], "gather node 'the gather' picks from a sequence by index"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_by_name(what):
    nodes, match = REFUSED[what]
    with pytest.raises(StreamError, match=match) as caught:
        to_step(graph(*nodes))
    assert "predict()" in str(caught.value) or "states=" in str(caught.value)


def test_an_output_that_waits_for_later_readings():
    centred = node("conv", ["image", "kernel"], strides=(1,), pads=(1, 1), dilations=(1,))
    with pytest.raises(StreamError, match=r"output 'y' waits for 1 readings .* stream\(lookahead=1\)"):
        to_step(graph(centred))
    assert to_step(graph(centred), StreamOptions(lookahead=1)).firings["y"] == (1, 1)


def test_a_bidirectional_layer_with_a_lookahead():
    layer = lstm(["x", "w2", "r2"], outputs=("y",), direction="bidirectional")
    step = to_step(graph(layer), StreamOptions(lookahead=3))
    assert step.firings["y"] == (1, 3)


def test_a_window_over_the_whole_model():
    step = to_step(graph(lstm(direction="reverse", outputs=("y",))), StreamOptions(window=4))
    assert step.firings["y"][1] == 3


def test_a_window_of_a_model_with_states():
    carried = graph(lstm(["x", "w", "r", "", "", "h0"]), states=(State("h0", "h"),), outputs={"y": "y", "h": "h"})
    with pytest.raises(StreamError, match="window= runs the model from its start at every step"):
        to_step(carried, StreamOptions(window=4))


def test_a_free_dimension_without_a_size():
    free = graph(node("tanh", ["z"]), inputs={"z": kind(T, B, N)})
    with pytest.raises(StreamError, match=r"the free dimensions N need sizes: pass sizes=\{'N': ...\}"):
        to_step(free)
    assert to_step(free, StreamOptions(sizes=(("N", 3),))).graph.inputs["z"] == kind(1, 1, 3)


@pytest.mark.parametrize("name", ["n", "T", "B"])
def test_a_size_without_a_dimension(name):
    free = graph(node("tanh", ["z"]), inputs={"z": kind(T, B, N)})
    with pytest.raises(StreamError, match=rf"sizes: '{name}' is no free dimension to settle \(N\)"):
        to_step(free, StreamOptions(sizes=(("N", 3), (name, 2))))


@pytest.mark.parametrize("shape", [(T, T), (2 * T, 3), (T + 1,)])
def test_time_that_is_not_one_plain_axis(shape):
    with pytest.raises(StreamError, match=r"input 'z' is .*: a stream needs one axis of length T"):
        to_step(graph(node("tanh", ["z"]), inputs={"z": kind(*shape)}))


def test_a_frozen_length_tells_why():
    fixed = graph(lstm(["z", "w", "r"]), inputs={"z": kind(5, B, 4)}, pinned={"T": "the constant k says 5"})
    with pytest.raises(StreamError, match=r"runs over exactly 5 steps \(the constant k says 5\)"):
        to_step(fixed)


def test_states_that_the_model_has_are_not_made_again():
    carried = graph(
        lstm(["x", "w", "r", "", "", "h0"]), states=(State("h0", "h", "data flow"),), outputs={"y": "y", "hn": "h"}
    )
    step = to_step(carried)
    assert [(s.input, s.how) for s in step.graph.states] == [("h0", "data flow"), ("cell.c", "implicit")]
    assert list(step.graph.outputs) == ["y"]


def test_a_state_that_is_shown_changed_beside_one_that_is_not():
    """Which of the two h goes on, the cell's or the one that is shown, only the caller knows."""
    wide = {"x": kind(T, B, 4), "h0": kind(1, B, 3), "c0": kind(1, B, 3)}
    changed = graph(
        lstm(["x", "w", "r", "", "", "h0", "c0"]),
        node("tanh", ["h"], "other"),
        inputs=wide,
        states=(State("c0", "c", "data flow"),),
        outputs={"y": "y", "hn": "other", "cn": "c"},
    )
    with pytest.raises(StreamError, match=r"start state 'h0' might go on as the output 'hn'.*states=\{'h0': "):
        to_step(changed)
    told = replace(changed, states=(*changed.states, State("h0", "other", "caller")))
    assert [state.output for state in to_step(told).graph.states] == ["c", "other"]


def test_state_names_do_not_collide():
    twice = graph(lstm(outputs=("y", "h", "c")), lstm(outputs=("z", "k", "l")), outputs={"y": "y", "z": "z"})
    names = [state.input for state in to_step(twice).graph.states]
    assert len(set(names)) == 4
    assert names[0] == "cell.h"


def test_the_graph_is_not_changed():
    made = graph(lstm())
    to_step(made)
    assert made.states == ()
    assert made.inputs["x"] == kind(T, B, 4)
