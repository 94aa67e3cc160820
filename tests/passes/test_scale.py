"""A scaled graph gives what scaling by hand gives, wherever the scaling went."""

from dataclasses import replace

import numpy as np
import pytest

from edgelstm.errors import InputError
from edgelstm.graph.bind import bind
from edgelstm.graph.check import check
from edgelstm.graph.dims import BATCH, TIME, symbol
from edgelstm.graph.ir import Graph, State, TensorType
from edgelstm.graph.ops import infer_all, make_node
from edgelstm.passes.scale import FOLD_LIMIT, Scaling, scale_graph
from edgelstm.program.reference import Reference
from tests.strategies import random_case

T, B = symbol(TIME), symbol(BATCH)
SIZES = {TIME: 4, BATCH: 2}
CELL = {"gru": 3, "lstm": 4, "rnn": 1}


def scaling(mean, scale):
    return Scaling(np.asarray(mean, np.float64), np.asarray(scale, np.float64))


def exact(rng, shape, near=True):
    """Mean and scale that float64 scales by without rounding, along the last axis."""
    size = (shape[-1],) if shape and isinstance(shape[-1], int) and rng.random() < 0.8 else ()
    scale = 2.0 ** rng.integers(-3, 4, size) * rng.choice([1.0, 1.0, -1.0], size)
    return scaling(scale * rng.integers(-4, 5, size) * (1 if near else 100), scale)


def call(graph, feeds, dtype="float64"):
    return Reference(bind(graph, SIZES), dtype).call(feeds)


def by_hand(graph, feeds, inputs, outputs):
    scaled = {name: (x - inputs[name].mean) / inputs[name].scale if name in inputs else x for name, x in feeds.items()}
    found = call(graph, scaled)
    return {name: y * outputs[name].scale + outputs[name].mean if name in outputs else y for name, y in found.items()}


def raw(feeds, inputs):
    return {
        name: x.astype(np.float64) * inputs[name].scale + inputs[name].mean if name in inputs else x
        for name, x in feeds.items()
    }


def ops(graph):
    return [node.op for node in graph.nodes]


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("fold", [True, False])
def test_random_graphs(seed, fold):
    graph = random_case(seed).graph
    rng, types = np.random.default_rng([seed, 7]), infer_all(graph)
    carried = {name for state in graph.states for name in (state.input, state.output)}
    inputs = {n: exact(rng, k.shape) for n, k in graph.inputs.items() if k.dtype == "float32" and n not in carried}
    shown = {name: types[value] for name, value in graph.outputs.items() if value not in carried}
    outputs = {n: exact(rng, k.shape) for n, k in shown.items() if k.dtype == "float32" and rng.random() < 0.7}
    scaled = scale_graph(graph, inputs, outputs, fold)
    check(scaled)
    assert list(graph.inputs.items()) == list(scaled.inputs.items())
    assert list(graph.outputs) == list(scaled.outputs)
    feeds = raw(random_case(seed).feeds(rng, SIZES), inputs)
    expected, found = by_hand(graph, feeds, inputs, outputs), call(scaled, feeds)
    for name, value in expected.items():
        size = 1 + (np.abs(outputs[name].scale).max() + np.abs(outputs[name].mean).max() if name in outputs else 0)
        tolerance = 1e-5 * size if fold else 0  # folded biases are rounded to float32
        np.testing.assert_allclose(found[name], value, rtol=1e-5 if fold else 0, atol=tolerance, err_msg=name)


def layer(kind, features=3, units=4, bias=True, seed=0, **attrs):
    """Nodes and constants of one layer from x (T, B, features) to y, and the features of y."""
    rng = np.random.default_rng(seed)

    def weights(*shape):
        return rng.normal(size=shape).astype(np.float32)

    constants, name = {}, "b" if bias else ""
    if kind == "linear":
        constants = {"w": weights(units, features), "b": weights(units)}
        nodes = [make_node("linear", ["x", "w", name], ["y"])]
    elif kind == "conv":
        group = attrs.get("group", 1)
        constants = {"w": weights(units, features // group, 2), "b": weights(units)}
        nodes = [
            make_node("transpose", ["x"], ["ncl"], perm=(1, 2, 0)),
            make_node("conv", ["ncl", "w", name], ["ncl/y"], strides=(1,), dilations=(1,), **{"pads": (0, 0), **attrs}),
            make_node("transpose", ["ncl/y"], ["y"], perm=(2, 0, 1)),
        ]
    else:
        gates, directions = CELL[kind], 2 if attrs.get("direction") == "bidirectional" else 1
        constants = {
            "w": weights(directions, gates * units, features),
            "r": weights(directions, gates * units, units),
            "b": weights(directions, 2 * gates * units),
        }
        count = {"rnn": 1, "gru": 2, "lstm": 3}[kind] * directions
        cell = {"activations": ("tanh",) * count, "activation_alpha": (0.0,) * count, "activation_beta": (0.0,) * count}
        nodes = [
            make_node(kind, ["x", "w", "r", name], ["seq"], hidden_size=units, **cell, **attrs),
            make_node("transpose", ["seq"], ["tb"], perm=(0, 2, 1, 3)),
            make_node("reshape", ["tb"], ["y"], shape=(T, B, units * directions)),
        ]
    used = {given for node in nodes for given in node.inputs}
    graph = Graph(
        {"x": TensorType("float32", (T, B, features))},
        {"y": "y"},
        tuple(nodes),
        {name: array for name, array in constants.items() if name in used},
    )
    check(graph)
    return graph


LAYERS = [
    ("linear", {}),
    ("linear", {"bias": False}),
    ("conv", {}),
    ("conv", {"bias": False, "group": 3, "units": 6}),
    ("rnn", {}),
    ("gru", {"linear_before_reset": 0}),
    ("gru", {"linear_before_reset": 1, "bias": False}),
    ("lstm", {}),
    ("lstm", {"direction": "bidirectional", "bias": False}),
    ("lstm", {"direction": "reverse", "clip": 0.5}),
]


@pytest.mark.parametrize(("kind", "attrs"), LAYERS)
def test_layers_take_the_scaling_of_their_input_into_their_weights(kind, attrs):
    graph, rng = layer(kind, **attrs), np.random.default_rng(1)
    inputs = {"x": scaling(rng.normal(size=3) * 3, rng.uniform(1, 4, 3))}
    scaled = scale_graph(graph, inputs, {})
    assert ops(graph) == ops(scaled)
    feeds = {"x": rng.normal(size=(4, 2, 3)) * 5}
    np.testing.assert_allclose(call(scaled, feeds)["y"], by_hand(graph, feeds, inputs, {})["y"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("kind", "attrs"), LAYERS)
def test_a_mean_far_from_zero_is_subtracted_first(kind, attrs):
    graph, rng = layer(kind, **attrs), np.random.default_rng(2)
    inputs = {"x": scaling([1013.0, 20.0, 0.0], [5.0, 7.0, 1.0])}
    scaled = scale_graph(graph, inputs, {})
    assert ["sub", *ops(graph)] == ops(scaled)
    feeds = {"x": (rng.normal(size=(4, 2, 3)) * inputs["x"].scale + inputs["x"].mean).astype(np.float32)}
    found = call(scaled, feeds, "float32")["y"]
    np.testing.assert_allclose(found, by_hand(graph, feeds, inputs, {})["y"], rtol=0, atol=1e-5)


def test_the_limit_of_folding():
    for factor, expected in ((FOLD_LIMIT, ["linear"]), (FOLD_LIMIT * 1.01, ["sub", "linear"])):
        assert expected == ops(scale_graph(layer("linear"), {"x": scaling([0, -2 * factor, 0], [1, 2, 1])}, {}))
    for factor, expected in ((FOLD_LIMIT, ["linear"]), (FOLD_LIMIT * 1.01, ["linear", "add"])):
        assert expected == ops(scale_graph(layer("linear"), {}, {"y": scaling([0, 0, 0, -2 * factor], [1, 1, 1, 2])}))


def test_padding_adds_zeros_that_have_no_mean():
    graph, rng = layer("conv", pads=(1, 1)), np.random.default_rng(3)
    inputs = {"x": scaling([1.0, 2.0, 3.0], [2.0, 3.0, 4.0])}
    scaled = scale_graph(graph, inputs, {})
    assert ["sub", *ops(graph)] == ops(scaled)
    feeds = {"x": rng.normal(size=(4, 2, 3))}
    np.testing.assert_allclose(call(scaled, feeds)["y"], by_hand(graph, feeds, inputs, {})["y"], rtol=0, atol=1e-5)
    only = scale_graph(graph, {"x": scaling(0, [2.0, 3.0, 4.0])}, {})
    assert ops(graph) == ops(only)


def test_every_user_of_an_input_must_weigh_it():
    graph = layer("linear")
    product = make_node("mul", ["x", "x"], ["square"])
    both = replace(graph, nodes=(*graph.nodes, product), outputs={"y": "y", "square": "square"})
    inputs = {"x": scaling([1.0, 2.0, 3.0], [2.0, 3.0, 4.0])}
    scaled = scale_graph(both, inputs, {})
    assert ["sub", "div", "linear", "mul"] == ops(scaled)
    feeds = {"x": np.random.default_rng(4).normal(size=(4, 2, 3))}
    for name, value in by_hand(both, feeds, inputs, {}).items():
        np.testing.assert_allclose(call(scaled, feeds)[name], value, rtol=0, atol=1e-12)
    shown = replace(graph, outputs={"y": "y", "same": "x"})
    assert ["sub", "div", "linear"] == ops(scale_graph(shown, inputs, {}))
    assert np.array_equal(
        by_hand(shown, feeds, inputs, {})["same"], call(scale_graph(shown, inputs, {}), feeds)["same"]
    )


def test_two_layers_may_share_an_input_and_its_weights():
    rng = np.random.default_rng(5)
    graph = layer("linear", features=4)
    nodes = (*graph.nodes, make_node("linear", ["x", "w"], ["z"]), make_node("linear", ["z", "w"], ["deep"]))
    both = replace(graph, nodes=nodes, outputs={"y": "y", "deep": "deep"})
    inputs = {"x": scaling(rng.normal(size=4), rng.uniform(1, 3, 4))}
    scaled = scale_graph(both, inputs, {})
    assert ["linear"] * 3 == ops(scaled)
    feeds = {"x": rng.normal(size=(4, 2, 4))}
    for name, value in by_hand(both, feeds, inputs, {}).items():
        np.testing.assert_allclose(call(scaled, feeds)[name], value, rtol=0, atol=1e-5)


def test_outputs_are_made_in_their_own_units():
    rng, outputs = np.random.default_rng(6), {"y": scaling([1.0, -2.0, 3.0, 0.0], [2.0, 0.5, 4.0, 1.0])}
    feeds = {"x": rng.normal(size=(4, 2, 3))}
    graph = layer("linear")
    moved = replace(
        graph,
        nodes=(
            *graph.nodes,
            make_node("transpose", ["y"], ["turned"], perm=(1, 2, 0)),
            make_node("slice", ["turned"], ["late"], axes=(2,), starts=(1,), stops=(T,), steps=(1,)),
            make_node("transpose", ["late"], ["back"], perm=(0, 2, 1)),
        ),
        outputs={"y": "back"},
    )
    shown_twice = replace(graph, outputs={"y": "y", "plain": "y"})
    cases = [
        (graph, []),
        (layer("linear", bias=False), []),
        (moved, []),
        (shown_twice, ["mul", "add"]),
        (layer("lstm"), ["mul", "add"]),
    ]
    for case, more in cases:
        scaled = scale_graph(case, {}, outputs)
        assert [*ops(case), *more] == ops(scaled)
        for name, value in by_hand(case, feeds, {}, outputs).items():
            np.testing.assert_allclose(call(scaled, feeds)[name], value, rtol=0, atol=1e-5)


def test_weights_that_float32_would_not_hold_stay_as_they_are():
    for scale, size in ((1e-37, 1e3), (1e37, 1e-3)):
        graph = layer("linear", units=3)
        graph = replace(graph, constants={**graph.constants, "w": graph.constants["w"] * np.float32(size)})
        assert ["div", "linear"] == ops(scale_graph(graph, {"x": scaling(0, [scale, 1, 1])}, {}))
        assert ["linear", "mul"] == ops(scale_graph(graph, {}, {"y": scaling(0, [1, 1 / scale, 1])}))


def test_shapes_of_more_axes_are_kept_as_nodes_or_folded_along_one():
    kind = TensorType("float32", (B, 3, 5, T))
    rng = np.random.default_rng(7)
    nodes = (make_node("conv", ["x", "w"], ["y"], strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1)),)
    graph = Graph({"x": kind}, {"y": "y"}, nodes, {"w": rng.normal(size=(2, 3, 5, 1)).astype(np.float32)})
    feeds = {"x": rng.normal(size=(2, 3, 5, 4))}
    for shape, expected in (
        ((3, 1, 1), ["conv"]),
        ((5, 1), ["sub", "div", "conv"]),
        ((3, 5, 1), ["sub", "div", "conv"]),
    ):
        inputs = {"x": scaling(rng.normal(size=shape), rng.uniform(1, 2, shape))}
        scaled = scale_graph(graph, inputs, {})
        assert expected == ops(scaled)
        np.testing.assert_allclose(call(scaled, feeds)["y"], by_hand(graph, feeds, inputs, {})["y"], rtol=0, atol=1e-5)


def test_neutral_scaling_adds_nothing():
    graph = layer("lstm")
    for fold in (True, False):
        scaled = scale_graph(graph, {"x": scaling(0, 1)}, {"y": scaling([0, 0, 0, 0], 1)}, fold)
        assert ops(graph) == ops(scaled)
        feeds = {"x": np.random.default_rng(8).normal(size=(4, 2, 3))}
        assert np.array_equal(call(graph, feeds)["y"], call(scaled, feeds)["y"])


def test_unused_weights_are_dropped():
    graph = layer("linear")
    assert len(scale_graph(graph, {"x": scaling(1, 2)}, {"y": scaling(1, 2)}).constants) == len(graph.constants)


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ({"z": scaling(0, 1)}, {}, "there is no input 'z'; there are x"),
        ({}, {"z": scaling(0, 1)}, "there is no output 'z'; there are y"),
        ({"x": scaling([0, 0], 1)}, {}, r"input 'x' is float32\(T, B, 3\); \(2,\) does not broadcast"),
        ({"x": scaling(np.zeros((2, 1, 1, 3)), 1)}, {}, "does not broadcast"),
        ({"x": scaling(np.zeros((2, 1)), 1)}, {}, "does not broadcast"),
        ({}, {"y": scaling(0, [1, 1])}, "does not broadcast"),
    ],
)
def test_refusals(inputs, outputs, message):
    with pytest.raises(InputError, match=message):
        scale_graph(layer("linear"), inputs, outputs)


def test_states_and_integers_are_not_scaled():
    kinds = {"x": TensorType("int64", (T, B)), "h": TensorType("float32", (1, B, 3))}
    nodes = (make_node("identity", ["h"], ["h2"]), make_node("identity", ["x"], ["y"]))
    graph = Graph(kinds, {"y": "y", "after": "h2"}, nodes, {}, (State("h", "h2"),))
    for inputs, outputs, message in (
        ({"h": scaling(0, 2)}, {}, "'h' is a state"),
        ({}, {"after": scaling(0, 2)}, "'after' is a state"),
        ({"x": scaling(0, 2)}, {}, "'x' is int64"),
        ({}, {"y": scaling(0, 2)}, "'y' is int64"),
    ):
        with pytest.raises(InputError, match=message):
            scale_graph(graph, inputs, outputs)
