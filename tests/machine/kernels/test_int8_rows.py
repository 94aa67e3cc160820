"""Rows of a batch on int8 weights have the bits that each has alone, however many go together."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelstm.graph.check import check
from edgelstm.graph.ir import Graph, TensorType
from edgelstm.program.lowering import lower
from edgelstm.program.reference import Reference
from tests.machine.kernels.harness import Machine
from tests.machine.kernels.int8_cases import KINDS, bent, cell, linear

CELLS = (("lstm", {}), ("gru", {"linear_before_reset": 1}), ("gru", {"linear_before_reset": 0}), ("rnn", {}))


def run(graph, feeds):
    return Machine(lower(graph)).run(feeds)


def one_row(graph, feeds, b):
    """The same graph for row b alone; its rows are axis 1 everywhere, but in lengths."""
    axis = {name: 0 if value.ndim == 1 else 1 for name, value in feeds.items()}
    picked = {name: np.ascontiguousarray(np.take(value, [b], axis[name])) for name, value in feeds.items()}
    kinds = {name: TensorType(kind.dtype, picked[name].shape) for name, kind in graph.inputs.items()}
    return Graph(kinds, graph.outputs, graph.nodes, graph.constants, scales=graph.scales), picked


def agree_alone(graph, feeds, rows):
    got = run(graph, feeds)
    for b in range(rows):
        for name, want in run(*one_row(graph, feeds, b)).items():
            have = np.take(got[name], [b], axis=-2)
            np.testing.assert_array_equal(have.view(np.int32), want.view(np.int32), err_msg=f"{name}, row {b}")
    return got


@settings(max_examples=40, deadline=None)
@given(
    which=st.sampled_from(CELLS),
    rows=st.integers(1, 20),
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 90)),
    moments=st.integers(1, 4),
    int8=st.sampled_from([("x", "h"), ("x",), ("h",), ()]),
    direction=st.sampled_from(["forward", "reverse", "bidirectional"]),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**32 - 1),
)
def test_rows_are_as_each_alone(which, rows, sizes, moments, int8, direction, kind, seed):
    op, attrs = which
    shape = {"moments": moments, "batch": rows, "int8": int8, "direction": direction, "seed": seed}
    graph, feeds = bent(*cell(op, *sizes, **shape, **attrs), kind, np.random.default_rng(seed))
    agree_alone(graph, feeds, rows)


@pytest.mark.parametrize(("op", "attrs"), CELLS)
@pytest.mark.parametrize("rows", [47, 48, 49, 97])
def test_more_rows_than_go_together(op, attrs, rows):
    agree_alone(*cell(op, 5, 20, moments=2, batch=rows, **attrs), rows)


@pytest.mark.parametrize(("op", "attrs"), CELLS)
def test_rows_against_the_definition(op, attrs):
    graph, feeds = cell(op, 9, 40, moments=3, batch=11, **attrs)
    got, want = run(graph, feeds), Reference(graph).call(feeds)
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, atol=5e-6, rtol=5e-6, err_msg=name)


@pytest.mark.parametrize(("op", "attrs"), CELLS)
def test_rows_of_several_lengths(op, attrs):
    """They go alone: the same bits, and nothing past a length."""
    graph, feeds = cell(op, 5, 20, moments=4, batch=7, **attrs)
    (node,) = graph.nodes
    node = replace(node, inputs=(*node.inputs[:4], "lengths", *node.inputs[5:]))
    feeds["lengths"] = np.array([4, 0, 1, 3, 2, 4, 1], np.int64)
    kinds = {**graph.inputs, "lengths": TensorType("int64", (7,))}
    graph = Graph(kinds, graph.outputs, (node,), graph.constants, scales=graph.scales)
    check(graph)
    got = agree_alone(graph, feeds, 7)
    assert not got["y"][1:, 0, 2].any()


@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30, 3.0])
def test_one_row_of_unusual_numbers_does_not_touch_the_others(op, value):
    graph, feeds = cell(op, 5, 20, moments=2, batch=9)
    feeds["x"][0, 4, 1] = value
    feeds["h0"][0, 6, 2] = value
    agree_alone(graph, feeds, 9)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 60),
    sizes=st.tuples(st.integers(1, 70), st.integers(1, 200)),
    int8=st.sampled_from([("x",), ()]),
    fixed=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_linear_rows_are_as_each_alone(rows, sizes, int8, fixed, seed):
    graph, feeds = linear(*sizes, rows, int8=int8, seed=seed, **({"x_scale": 0.01, "x_zero": -20} if fixed else {}))
    got = run(graph, feeds)["y"]
    single = Graph({"x": TensorType("float32", (1, sizes[0]))}, graph.outputs, graph.nodes, graph.constants,
                   scales=graph.scales)  # fmt: skip
    machine = Machine(lower(single))
    for b in range(rows):
        want = machine.run({"x": feeds["x"][b : b + 1]})["y"]
        np.testing.assert_array_equal(got[b : b + 1].view(np.int32), want.view(np.int32), err_msg=f"row {b}")
