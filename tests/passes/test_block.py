"""A graph of many steps at once against the one-step graph that it stands for."""

from __future__ import annotations

import numpy as np
import pytest

from edgelstm.graph.bind import bind
from edgelstm.graph.dims import BATCH, TIME, symbol
from edgelstm.graph.ir import Graph, TensorType
from edgelstm.graph.ops import make_node
from edgelstm.passes.block import to_block
from edgelstm.passes.states import pair_states
from edgelstm.passes.stream import StreamOptions, to_step
from edgelstm.reference import evaluate as apply

HIDDEN, FEATURES = 5, 3
T, B = symbol(TIME), symbol(BATCH)
PLAIN = StreamOptions()


def cell(rng, name, x, inputs, **more):
    shapes = {"w": (1, 4 * HIDDEN, inputs), "r": (1, 4 * HIDDEN, HIDDEN), "b": (1, 8 * HIDDEN)}
    constants = {f"{name}.{role}": rng.normal(0, 0.5, shape).astype(np.float32) for role, shape in shapes.items()}
    attrs = {"hidden_size": HIDDEN, "direction": "forward", "activations": ("sigmoid", "tanh", "tanh")}
    attrs |= {"activation_alpha": (0.0,) * 3, "activation_beta": (0.0,) * 3}
    return make_node("lstm", [x, *constants], [f"{name}.y", f"{name}.h"], **attrs, **more), constants


def evaluate(graph, feeds, sizes):
    """Every value of a graph by name."""
    values = {**graph.constants, **feeds}
    for node in bind(graph, sizes).nodes:
        results = apply(node, [values[name] if name else None for name in node.inputs])
        values |= zip(node.outputs, results, strict=True)
    return values


def graph(*, last=False, window=False):
    """Two layers and a head; `last`: the head takes the last state; `window`: it takes two readings."""
    rng = np.random.default_rng(0)
    first, constants = cell(rng, "a", "x", FEATURES)
    flat = make_node("reshape", ["a.y"], ["flat"], shape=(T, B, HIDDEN))
    second, more = cell(rng, "b", "flat", HIDDEN)
    constants |= more | {"head": rng.normal(0, 0.5, (2, HIDDEN)).astype(np.float32)}
    nodes = [first, flat, second, make_node("reshape", ["b.y"], ["tall"], shape=(T, B, HIDDEN))]
    if window:
        rolled = {"kernel": (2,), "strides": (1,), "pads": (1, 0), "dilations": (1,)}
        nodes += [
            make_node("transpose", ["tall"], ["turned"], perm=(1, 2, 0)),
            make_node("max_pool", ["turned"], ["most"], **rolled),
            make_node("transpose", ["most"], ["wide"], perm=(2, 0, 1)),
        ]
    nodes.append(make_node("linear", ["b.h" if last else "wide" if window else "tall", "head"], ["z"]))
    nodes.append(make_node("tanh", ["z"], ["y"]))
    return pair_states(Graph({"x": TensorType("float32", (T, B, FEATURES))}, {"y": "y"}, tuple(nodes), constants), None)


def whole_and_step(options=PLAIN, **kind):
    whole = graph(**kind)
    return whole, to_step(whole, options), options


def test_a_block_does_what_its_steps_do():
    """Both by the reference, which knows nothing of how `run` goes layer by layer."""
    whole, step, options = whole_and_step()
    block = to_block(whole, step, options)
    assert block is not None
    xs = np.random.default_rng(1).normal(size=(4, 1, FEATURES)).astype(np.float32)
    states = {state.input: np.zeros((1, 1, HIDDEN), np.float32) for state in step.graph.states}
    at_once = evaluate(block, {"x": xs, **states}, {TIME: 4})
    for number, x in enumerate(xs):
        values = evaluate(step.graph, {"x": x[None], **states}, {})
        states = {state.input: values[state.output] for state in step.graph.states}
        np.testing.assert_allclose(at_once["y"][number], values["y"][0], rtol=1e-6, atol=1e-6)
    for state in block.states:
        np.testing.assert_allclose(at_once[state.output], states[state.input], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["last", "window"])
def test_layers_that_look_at_other_readings_have_none(kind):
    assert to_block(*whole_and_step(**{kind: True})) is None


def test_nor_have_windows():
    assert to_block(*whole_and_step(StreamOptions(window=4))) is None
