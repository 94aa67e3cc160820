"""One step of a cell, taken apart at random, is one node again and computes the same."""

import numpy as np
import pytest

from edgelstm.graph.bind import bind
from edgelstm.graph.check import check
from edgelstm.passes.reroll import reroll
from edgelstm.passes.states import pair_states
from edgelstm.program.reference import Reference
from tests.passes.reroll.apart import Apart, B, gru, lstm, rnn, weights

UNITS, WIDTH, BATCH = 4, 3, 2


def evaluate(graph, feeds):
    return Reference(
        bind(graph, {"B": BATCH} if any("B" in str(k) for k in graph.inputs.values()) else {}), "float64"
    ).call(feeds)


def check_same(graph, rerolled, rng):
    """Same outputs in float64, and the graph stands."""
    check(rerolled)
    feeds = {
        name: rng.normal(size=[dim if isinstance(dim, int) else BATCH for dim in kind.shape])
        for name, kind in graph.inputs.items()
    }
    expected, found = evaluate(graph, feeds), evaluate(rerolled, feeds)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-12)


def cells(graph):
    return [node for node in graph.nodes if node.op in ("lstm", "gru", "rnn")]


def arithmetic(graph):
    return {node.op for node in graph.nodes} & {"linear", "matmul", "sigmoid", "tanh", "relu", "mul", "add", "sub"}


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("batch", [(B,), (1,), (1, B), (3, 2)])
def test_lstm(seed, batch):
    rng = np.random.default_rng(seed)
    apart = Apart(rng, batch)
    x, h, c = (apart.input(name, *batch, n) for name, n in (("x", WIDTH), ("h", UNITS), ("c", UNITS)))
    functions = [("sigmoid", "tanh", "tanh"), ("hard_sigmoid", "relu", "softsign"), ("sigmoid", "relu", "relu")][
        seed % 3
    ]
    apart.outputs["hn"], apart.outputs["cn"] = lstm(
        apart, x, h, c, weights("lstm", UNITS, WIDTH, rng, seed % 5 > 0), UNITS, functions
    )
    graph = apart.graph()
    rerolled = reroll(graph)
    (cell,) = cells(rerolled)
    assert cell.op == "lstm"
    assert cell.attrs["activations"] == functions
    assert not arithmetic(rerolled)
    check_same(graph, rerolled, rng)
    assert {(state.input, state.output) for state in pair_states(rerolled).states} == {
        ("h", apart.outputs["hn"]),
        ("c", apart.outputs["cn"]),
    }


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("after", [False, True])
def test_gru(seed, after):
    rng = np.random.default_rng(seed)
    apart = Apart(rng)
    x, h = apart.input("x", B, WIDTH), apart.input("h", B, UNITS)
    apart.outputs["hn"] = gru(apart, x, h, weights("gru", UNITS, WIDTH, rng, seed % 5 > 0), UNITS, after)
    graph = apart.graph()
    rerolled = reroll(graph)
    (cell,) = cells(rerolled)
    assert cell.op == "gru"
    assert cell.attrs["linear_before_reset"] == after
    assert not arithmetic(rerolled)
    check_same(graph, rerolled, rng)
    assert [state.input for state in pair_states(rerolled).states] == ["h"]


def test_the_gru_of_the_textbooks_is_the_same_with_z_negated():
    rng = np.random.default_rng(3)
    apart = Apart(rng)
    x, h = apart.input("x", B, WIDTH), apart.input("h", B, UNITS)
    z = apart.op("sigmoid", apart.op("linear", h, apart.constant(rng.normal(size=(UNITS, UNITS)))))
    r = apart.op("sigmoid", apart.op("linear", x, apart.constant(rng.normal(size=(UNITS, WIDTH)))))
    inner = apart.op("linear", apart.op("mul", r, h), apart.constant(rng.normal(size=(UNITS, UNITS))))
    n = apart.op("tanh", apart.op("add", inner, apart.op("linear", x, apart.constant(rng.normal(size=(UNITS, WIDTH))))))
    rest = apart.op("sub", apart.constant(np.float32(1)), z)
    apart.outputs["hn"] = apart.op("add", apart.op("mul", rest, h), apart.op("mul", z, n))
    graph = apart.graph()
    rerolled = reroll(graph)
    assert [node.op for node in cells(rerolled)] == ["gru"]
    assert not arithmetic(rerolled)
    check_same(graph, rerolled, rng)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("function", ["tanh", "relu"])
def test_rnn(seed, function):
    rng = np.random.default_rng(seed)
    apart = Apart(rng)
    x, h = apart.input("x", B, WIDTH), apart.input("h", B, UNITS)
    apart.outputs["hn"] = rnn(apart, x, h, weights("rnn", UNITS, WIDTH, rng), UNITS, function)
    graph = apart.graph()
    rerolled = reroll(graph)
    (cell,) = cells(rerolled)
    assert (cell.op, cell.attrs["activations"]) == ("rnn", (function,))
    check_same(graph, rerolled, rng)
    assert [state.input for state in pair_states(rerolled).states] == ["h"]


def test_two_cells_one_on_the_other():
    rng = np.random.default_rng(7)
    apart = Apart(rng)
    x, h, c, g = (apart.input(name, B, n) for name, n in (("x", WIDTH), ("h", UNITS), ("c", UNITS), ("g", UNITS)))
    first, apart.outputs["cn"] = lstm(apart, x, h, c, weights("lstm", UNITS, WIDTH, rng), UNITS)
    apart.outputs["hn"] = first
    apart.outputs["gn"] = gru(apart, first, g, weights("gru", UNITS, UNITS, rng), UNITS)
    graph = apart.graph()
    rerolled = reroll(graph)
    assert [node.op for node in cells(rerolled)] == ["lstm", "gru"]
    check_same(graph, rerolled, rng)
    assert {state.input for state in pair_states(rerolled).states} == {"h", "c", "g"}


def step(names, rng):
    """An LSTM step with x as wide as h."""
    apart = Apart(rng)
    x, h, c = (apart.input(name, B, UNITS) for name in names)
    apart.outputs["hn"], apart.outputs["cn"] = lstm(apart, x, h, c, weights("lstm", UNITS, UNITS, rng), UNITS)
    return apart.graph()


def test_names_tell_the_state_from_an_input_of_its_width():
    graph = step(("x", "h", "c"), np.random.default_rng(8))
    rerolled = reroll(graph)
    assert {state.input for state in pair_states(rerolled).states} == {"h", "c"}


def test_where_nothing_tells_them_apart_the_cell_stays_as_it_is_unless_the_caller_says():
    rng = np.random.default_rng(9)
    graph = step(("in0", "in1", "in2"), rng)
    assert not cells(reroll(graph))
    told = pair_states(graph, {"in1": "hn", "in2": "cn"})
    rerolled = reroll(told)
    assert [node.op for node in cells(rerolled)] == ["lstm"]
    check_same(graph, rerolled, rng)


@pytest.mark.parametrize("break_it", ["other activation", "dense on top", "no product"])
def test_what_is_no_cell_stays(break_it):
    rng = np.random.default_rng(10)
    apart = Apart(rng)
    h, c = (apart.input(name, B, UNITS) for name in ("h", "c"))
    if break_it == "other activation":  # one gate differs from the others
        _, r, _ = weights("lstm", UNITS, WIDTH, rng)
        i, o, f, g = (apart.op("linear", h, apart.constant(r[n * UNITS : (n + 1) * UNITS])) for n in range(4))
        i, o, f, g = (
            apart.op(name, v) for name, v in (("sigmoid", i), ("hard_sigmoid", o), ("sigmoid", f), ("tanh", g))
        )
        cn = apart.op("add", apart.op("mul", f, c), apart.op("mul", i, g))
        apart.outputs["hn"] = apart.op("mul", o, apart.op("tanh", cn))
    elif break_it == "dense on top":  # a plain dense layer of one input is no recurrent cell
        apart.outputs["hn"] = apart.op("tanh", apart.op("linear", h, apart.constant(rng.normal(size=(UNITS, UNITS)))))
    else:
        apart.outputs["hn"] = apart.op("mul", apart.op("sigmoid", h), apart.op("tanh", c))
    graph = apart.graph()
    assert reroll(graph) == graph
