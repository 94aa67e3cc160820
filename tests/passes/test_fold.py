"""Choices that are known, and things that are computed twice."""

import numpy as np

from edgelstm.graph.dims import symbol
from edgelstm.graph.ir import Graph, State, TensorType
from edgelstm.graph.ops import make_node
from edgelstm.passes.fold import fold_choices
from edgelstm.passes.share import share

B = symbol("B")
X = TensorType("float32", (B, 3))


def graph(nodes, outputs, constants=(), inputs=("x",), states=()):
    return Graph(dict.fromkeys(inputs, X), dict(outputs), tuple(nodes), dict(constants), tuple(states))


def where(condition):
    nodes = [make_node("where", ["c", "x", "y"], ["z"]), make_node("tanh", ["z"], ["t"])]
    return graph(nodes, {"t": "t"}, {"c": np.asarray(condition)}, ("x", "y"))


def test_a_condition_that_is_true_everywhere_takes_its_first_branch():
    for condition, branch in (([[True]], "x"), ([[False] * 3], "y")):
        folded = fold_choices(where(condition))
        assert [(node.op, node.inputs) for node in folded.nodes] == [("tanh", (branch,))]


def test_a_mixed_condition_stays():
    before = where([[True, False, True]])
    assert fold_choices(before) is before


def test_a_choice_that_broadcasts_its_branch_stays():
    nodes = [make_node("where", ["c", "k", "x"], ["z"])]
    before = graph(nodes, {"z": "z"}, {"c": np.asarray([[True]]), "k": np.zeros((1, 3), np.float32)})
    assert fold_choices(before) is before


def test_an_output_keeps_its_node():
    nodes = [make_node("where", ["c", "x", "y"], ["z"])]
    folded = fold_choices(graph(nodes, {"z": "z"}, {"c": np.asarray([[True]])}, ("x", "y")))
    assert [(node.op, node.inputs, node.outputs) for node in folded.nodes] == [("identity", ("x",), ("z",))]


def test_equal_nodes_and_constants_are_shared():
    one, two = np.ones((2, 3), np.float32), np.ones((2, 3), np.float32)
    nodes = [
        make_node("linear", ["x", "one"], ["a"]),
        make_node("linear", ["x", "two"], ["b"]),
        make_node("tanh", ["a"], ["c"]),
        make_node("tanh", ["b"], ["d"]),
        make_node("add", ["c", "d"], ["e"]),
    ]
    shared = share(graph(nodes, {"e": "e"}, {"one": one, "two": two}))
    assert [(node.op, node.inputs) for node in shared.nodes] == [
        ("linear", ("x", "one", "")),
        ("tanh", ("a",)),
        ("add", ("c", "c")),
    ]
    assert list(shared.constants) == ["one"]


def test_what_differs_is_not():
    nodes = [
        make_node("elu", ["x"], ["a"], alpha=1.0),
        make_node("elu", ["x"], ["b"], alpha=2.0),
        make_node("sub", ["a", "b"], ["c"]),
        make_node("sub", ["b", "a"], ["d"]),
        make_node("add", ["c", "d"], ["e"]),
    ]
    before = graph(nodes, {"e": "e"})
    assert share(before) is before


def test_what_outputs_and_states_show_keeps_its_node():
    nodes = [make_node("tanh", ["x"], ["a"]), make_node("tanh", ["x"], ["b"]), make_node("tanh", ["x"], ["s"])]
    before = graph(nodes, {"a": "a", "b": "b"}, states=[State("x", "s")])
    assert [node.outputs for node in share(before).nodes] == [("a",), ("b",), ("s",)]
