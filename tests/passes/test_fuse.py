"""fuse_bias and fuse_padding: fewer nodes, the same outputs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelstm.graph.bind import bind
from edgelstm.graph.dims import symbol
from edgelstm.graph.ir import Graph, TensorType
from edgelstm.graph.ops import make_node
from edgelstm.passes.fuse import fuse_bias, fuse_padding
from edgelstm.program.reference import Reference


def product_and_sum(bias, *, flipped=False, outputs=("y",), biased=False, rank=3, time=None):
    rng = np.random.default_rng(3)
    constants = {"w": rng.normal(size=(4, 5)).astype(np.float32), "c": np.asarray(bias, np.float32)}
    if biased:
        constants["b"] = rng.normal(size=4).astype(np.float32)
    lead = (symbol("B"), time or symbol("T"))[: rank - 1]
    return Graph(
        inputs={"x": TensorType("float32", (*lead, 5))},
        outputs={name: name for name in outputs},
        nodes=(
            make_node("linear", ["x", "w", *(["b"] if biased else [])], ["product"], "head"),
            make_node("add", ["c", "product"] if flipped else ["product", "c"], ["y"], "bias"),
        ),
        constants=constants,
    )


def outputs_of(graph):
    sizes = {"B": 2, "T": 3}
    bound = bind(graph, {name: sizes[name] for name in sizes if any(name in str(t) for t in graph.inputs.values())})
    shape = bound.inputs["x"].shape
    return Reference(bound).call({"x": np.random.default_rng(4).normal(size=shape).astype(np.float32)})


@given(
    shape=st.sampled_from([(), (1,), (4,), (1, 4), (1, 1, 4), (1, 1, 1)]),
    flipped=st.booleans(),
    seed=st.integers(0, 99),
)
def test_same_outputs_with_one_node(shape, flipped, seed):
    graph = product_and_sum(np.random.default_rng(seed).normal(size=shape), flipped=flipped)
    fused = fuse_bias(graph)
    assert [node.op for node in fused.nodes] == ["linear"]
    assert fused.nodes[0].name == "head"
    assert set(fused.constants) == set(fused.nodes[0].inputs[1:])
    np.testing.assert_allclose(outputs_of(fused)["y"], outputs_of(graph)["y"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "graph",
    [
        product_and_sum(np.zeros(4), outputs=("y", "product")),  # the product itself is shown
        product_and_sum(np.zeros(4), biased=True),
        product_and_sum(np.zeros((3, 4)), time=3),  # one row for each moment
        product_and_sum(np.zeros((1, 1, 4)), rank=2),  # the sum has an axis more
    ],
)
def test_leaves_alone_what_is_not_a_bias(graph):
    assert fuse_bias(graph) is graph


def test_leaves_alone_a_product_that_is_used_twice():
    graph = product_and_sum(np.zeros(4))
    twice = (*graph.nodes, make_node("tanh", ["product"], ["z"], "other"))
    graph = Graph(graph.inputs, {"y": "y", "z": "z"}, twice, graph.constants)
    assert fuse_bias(graph) is graph


def test_pure():
    graph = product_and_sum(np.ones(4))
    before = (graph.nodes, dict(graph.constants))
    fuse_bias(graph)
    assert before == (graph.nodes, dict(graph.constants))


def padded(users, perm=None, shown=False):
    """x with zeros in front, then convolutions (or another operator) over it."""
    rng = np.random.default_rng(3)
    shape, pads = ((2, 3, 6), (0, 0, 2, 0, 0, 1)) if perm is None else ((2, 6, 3), (0, 2, 0, 0, 1, 0))
    nodes = [make_node("pad", ["x"], ["padded"], pads=pads, mode="constant", value=0.0)]
    source = "padded"
    if perm is not None:
        nodes.append(make_node("transpose", ["padded"], ["turned"], perm=perm))
        source = "turned"
    window = {"strides": (1,), "pads": (1, 0), "dilations": (1,)}
    nodes += [
        make_node("conv", [source, "w"], [f"y{k}"], **window) if op == "conv" else make_node(op, [source], [f"y{k}"])
        for k, op in enumerate(users)
    ]
    outputs = {f"y{k}": f"y{k}" for k in range(len(users))} | ({"padded": "padded"} if shown else {})
    constants = {"w": rng.normal(size=(4, 3, 3)).astype(np.float32)}
    return Graph({"x": TensorType("float32", shape)}, outputs, tuple(nodes), constants)


@pytest.mark.parametrize(
    ("graph", "left"),
    [
        (padded(["conv"]), 0),
        (padded(["conv", "conv"]), 0),
        (padded(["conv", "tanh"]), 1),
        (padded(["conv"], shown=True), 1),
        (padded(["conv"], (0, 2, 1)), 0),
        (padded(["conv", "conv"], (0, 2, 1)), 0),
        (padded(["tanh"], (2, 0, 1)), 1),
        (padded(["conv"], (0, 2, 1), shown=True), 1),
    ],
)
def test_zeros_around_a_sequence_go_into_the_convolutions(graph, left):
    fused = fuse_padding(graph)
    assert sum(node.op == "pad" for node in fused.nodes) == left
    x = np.random.default_rng(4).normal(size=[int(n) for n in graph.inputs["x"].shape]).astype(np.float32)
    expected, found = Reference(graph).call({"x": x}), Reference(fused).call({"x": x})
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-6, atol=1e-6)
