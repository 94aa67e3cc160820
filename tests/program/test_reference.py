import numpy as np
import pytest

from edgelstm.graph.ir import Graph, TensorType
from edgelstm.graph.ops import make_node
from edgelstm.program.reference import Reference
from tests.cells import make_cell


def graph():
    """x -> gru "encoder" -> its last state -> linear -> cast to int and back."""
    cell = make_cell("gru", inputs=2, hidden=3, moments=4, batch=2, initial=False, linear_before_reset=1)
    attrs = dict(cell.node.attrs)
    nodes = (
        make_node("gru", ["x", "w", "r", "b"], ["", "h"], "encoder", **attrs),
        make_node("reshape", ["h"], ["last"], shape=(2, 3)),
        make_node("linear", ["last", "v"], ["score"]),
        make_node("less", ["score", "limit"], ["low"]),
        make_node("cast", ["low"], ["mark"], to="float32"),
        make_node("add", ["mark", "score"], ["sum"]),
    )
    constants = {name: value for name, value in zip("xwrb", cell.arrays, strict=False) if name != "x"}
    constants |= {"v": np.array([[1, -2, 3]], np.float32), "limit": np.float32([0.25])}
    x = {"x": TensorType("float32", (4, 2, 2))}
    return Graph(x, {"score": "score", "total": "sum", "low": "low"}, nodes, constants), cell.arrays[0]


def test_float32_and_float64_agree():
    made, x = graph()
    single, double = Reference(made).call({"x": x}), Reference(made, "float64").call({"x": x})
    assert [value.dtype for value in single.values()] == [np.float32, np.float32, bool]
    assert [value.dtype for value in double.values()] == [np.float64, np.float64, bool]
    for name in single:
        assert single[name].shape == (2, 1)
        np.testing.assert_allclose(single[name], double[name], atol=1e-6)
    assert not np.array_equal(single["score"], double["score"])
    np.testing.assert_array_equal(single["total"], single["score"] + single["low"])


def test_trace_is_named_after_the_node():
    made, x = graph()
    seen = Reference(made, "float64").trace({"x": x})
    assert {key: set(value) for key, value in seen.items()} == {"encoder": {"z", "r", "n", "h"}}
    last = seen["encoder"]["h"][-1, 0]
    np.testing.assert_allclose(last @ [[1], [-2], [3]], Reference(made, "float64").call({"x": x})["score"])


def test_an_unknown_operator_is_found_before_it_runs():
    made, _ = graph()
    nodes = (*made.nodes, type(made.nodes[0])("dream", ("x",), ("y",)))
    with pytest.raises(KeyError, match="dream"):
        Reference(Graph(made.inputs, made.outputs, nodes, made.constants))
