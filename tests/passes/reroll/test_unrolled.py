"""A cell that was unrolled over fixed steps is one node over as many, whatever way the steps were taken apart."""

import numpy as np
import pytest

from edgelstm.graph.bind import bind
from edgelstm.graph.check import check
from edgelstm.passes.reroll import reroll
from edgelstm.program.reference import Reference
from tests.passes.reroll.apart import Apart, B, gru, lstm, rnn, weights

UNITS, WIDTH, BATCH, STEPS = 4, 3, 2, 6


def entry(apart, x, t, axis=1):
    part = apart.op("slice", x, axes=(axis,), starts=(t,), stops=(t + 1,), steps=(1,))
    return apart.op("reshape", part, shape=(B, WIDTH))


def unrolled(op, rng, backward=False, start=True, after=True, outputs="all"):
    """A layer over x (B, STEPS, WIDTH)."""
    apart = Apart(rng)
    x = apart.input("x", B, STEPS, WIDTH)
    arrays = weights(op, UNITS, WIDTH, rng)
    h, c = (apart.input(name, B, UNITS) for name in ("h", "c")) if start else ("", "")
    if not start:
        h = c = apart.op("broadcast", apart.constant(np.zeros((1, UNITS))), shape=(B, UNITS))
    if op != "lstm" and start:
        del apart.inputs["c"]
    found = []
    steps = range(STEPS)
    for t in reversed(steps) if backward else steps:
        seed = int(rng.integers(1 << 30))
        apart.rng = np.random.default_rng(seed)  # each step is taken apart in its own way
        x_t = entry(apart, x, t)
        if op == "lstm":
            h, c = lstm(apart, x_t, h, c, arrays, UNITS)
        else:
            h = gru(apart, x_t, h, arrays, UNITS, after) if op == "gru" else rnn(apart, x_t, h, arrays, UNITS)
        found.append(h)
    apart.outputs["last"] = h
    if outputs == "all":
        order = found[::-1] if backward else found
        apart.outputs["y"] = apart.op("concat", *(apart.op("reshape", v, shape=(B, 1, UNITS)) for v in order), axis=1)
    return apart.graph()


def run(graph, feeds, time=None):
    sizes = {"B": BATCH, **({"T": time} if time and "T" in graph.frozen else {})}
    return Reference(bind(graph, sizes), "float64").call(feeds)


def feeds_of(graph, rng, steps=STEPS):
    sizes = {"B": BATCH, "T": steps}
    return {
        name: rng.normal(size=[dim if isinstance(dim, int) else sizes[str(dim)] for dim in kind.shape])
        for name, kind in graph.inputs.items()
    }


def cells(graph):
    return [node for node in graph.nodes if node.op in ("lstm", "gru", "rnn")]


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("op", ["lstm", "gru", "gru_before", "rnn"])
@pytest.mark.parametrize("seed", range(3))
def test_one_node_over_all_steps(op, start, backward, seed):
    rng = np.random.default_rng(seed)
    graph = unrolled(op.split("_")[0], rng, backward, start, op != "gru_before")
    rerolled = reroll(graph)
    check(rerolled)
    (cell,) = cells(rerolled)
    assert cell.attrs["direction"] == ("reverse" if backward else "forward")
    assert "concat" not in {node.op for node in rerolled.nodes}
    assert dict(rerolled.frozen) == {"T": STEPS}
    feeds = feeds_of(graph, rng)
    expected, found = run(graph, feeds), run(rerolled, feeds, STEPS)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-12)


def test_another_length_is_what_another_unrolling_gives():
    short = reroll(unrolled("lstm", np.random.default_rng(5)))
    rng = np.random.default_rng(6)
    feeds = feeds_of(short, rng, STEPS + 3)
    whole = run(short, feeds, STEPS + 3)
    first = run(short, {**feeds, "x": feeds["x"][:, :STEPS]}, STEPS)
    np.testing.assert_allclose(whole["y"][:, :STEPS], first["y"], atol=1e-12)


def test_two_layers():
    rng = np.random.default_rng(2)
    apart = Apart(rng)
    x = apart.input("x", B, STEPS, WIDTH)
    one, two = weights("lstm", UNITS, WIDTH, rng), weights("gru", UNITS, UNITS, rng)
    h, c, g = (apart.input(name, B, UNITS) for name in ("h", "c", "g"))
    for t in range(STEPS):
        h, c = lstm(apart, entry(apart, x, t), h, c, one, UNITS)
        g = gru(apart, h, g, two, UNITS)
    apart.outputs["last"] = g
    graph = apart.graph()
    rerolled = reroll(graph)
    assert [node.op for node in cells(rerolled)] == ["lstm", "gru"]
    feeds = feeds_of(graph, rng)
    np.testing.assert_allclose(run(rerolled, feeds, STEPS)["last"], run(graph, feeds)["last"], atol=1e-12)


def test_inputs_projected_before_they_are_taken_apart():
    rng = np.random.default_rng(4)
    apart = Apart(rng)
    w, r, b = weights("rnn", UNITS, WIDTH, rng)
    x, h = apart.input("x", B, STEPS, WIDTH), apart.input("h", B, UNITS)
    projected = apart.op("transpose", apart.op("linear", x, apart.constant(w), apart.constant(b[0])), perm=(1, 0, 2))
    for t in range(STEPS):
        part = apart.op("slice", projected, axes=(0,), starts=(t,), stops=(t + 1,), steps=(1,))
        part = apart.op("reshape", part, shape=(B, UNITS))
        h = apart.op("tanh", apart.op("add", part, apart.op("linear", h, apart.constant(r), apart.constant(b[1]))))
    apart.outputs["last"] = h
    graph = apart.graph()
    rerolled = reroll(graph)
    assert [node.op for node in cells(rerolled)] == ["rnn"]
    assert "linear" not in {node.op for node in rerolled.nodes}
    feeds = feeds_of(graph, rng)
    np.testing.assert_allclose(run(rerolled, feeds, STEPS)["last"], run(graph, feeds)["last"], atol=1e-12)


def test_a_decoder_that_feeds_itself_stays_as_steps():
    rng = np.random.default_rng(11)
    apart = Apart(rng)
    arrays, head = weights("gru", UNITS, WIDTH, rng), apart.constant(rng.normal(size=(WIDTH, UNITS)))
    x, h = apart.input("x", B, WIDTH), apart.input("h", B, UNITS)
    for _ in range(3):
        h = gru(apart, x, h, arrays, UNITS)
        x = apart.op("linear", h, head)
    apart.outputs["x"] = x
    graph = apart.graph()
    rerolled = reroll(graph)
    assert [node.op for node in cells(rerolled)] == ["gru"] * 3
    feeds = feeds_of(graph, rng)
    np.testing.assert_allclose(run(rerolled, feeds)["x"], run(graph, feeds)["x"], atol=1e-12)


def test_a_cell_state_that_is_used_between_steps_keeps_the_steps():
    rng = np.random.default_rng(12)
    apart = Apart(rng)
    x, h, c = apart.input("x", B, STEPS, WIDTH), apart.input("h", B, UNITS), apart.input("c", B, UNITS)
    arrays = weights("lstm", UNITS, WIDTH, rng)
    for t in range(3):
        h, c = lstm(apart, entry(apart, x, t), h, c, arrays, UNITS)
        apart.outputs[f"c{t}"] = c
    graph = apart.graph()
    rerolled = reroll(graph)
    assert len(cells(rerolled)) == 3
    feeds = feeds_of(graph, rng)
    expected, found = run(graph, feeds), run(rerolled, feeds)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-12)


def with_tail(tail):
    """A plain layer, its outputs y (B, STEPS, UNITS) followed by something."""
    rng = np.random.default_rng(13)
    graph = unrolled("rnn", rng)
    apart = Apart(rng)
    apart.nodes, apart.constants, apart.inputs = list(graph.nodes), dict(graph.constants), dict(graph.inputs)
    apart.outputs["z"] = tail(apart, graph.outputs["y"])
    return reroll(apart.graph())


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        (lambda a, y: a.op("add", y, a.constant(np.ones((STEPS, UNITS)))), ("add node", str(STEPS))),
        (
            lambda a, y: a.op("linear", a.op("reshape", y, shape=(B, STEPS * UNITS)), a.constant(np.ones((2, 24)))),
            ("linear node", "24"),
        ),
        (
            lambda a, y: a.op("mul", a.op("reduce_sum", y, axes=(1,)), a.constant(np.float32(1 / STEPS))),
            ("reduce_sum node", "divides by 6"),
        ),
        (
            lambda a, y: a.op("slice", y, axes=(1,), starts=(2,), stops=(4,), steps=(1,)),
            ("slice node", "2:4"),
        ),
    ],
    ids=["positions", "flatten", "divide", "slice"],
)
def test_a_length_that_something_needs_stays_and_is_named(tail, words):
    graph = with_tail(tail)
    assert not graph.frozen
    assert graph.inputs["x"].shape[1] == STEPS
    for word in (*words, f"exactly {STEPS} steps"):
        assert word in graph.pinned["T"]


@pytest.mark.parametrize(
    "tail",
    [
        lambda a, y: a.op("reduce_mean", y, axes=(1,)),
        lambda a, y: a.op("softmax", a.op("reshape", y, shape=(B, STEPS, 2, 2)), axis=1),
        lambda a, y: a.op(
            "linear", a.op("slice", y, axes=(1,), starts=(5,), stops=(6,), steps=(1,)), a.constant(np.ones((2, 4)))
        ),
        lambda a, y: a.op("slice", y, axes=(1,), starts=(5,), stops=(-1,), steps=(-1,)),
    ],
    ids=["mean", "softmax", "last", "reversed"],
)
def test_a_length_that_nothing_needs_is_free(tail):
    graph = with_tail(tail)
    check(graph)
    assert dict(graph.frozen) == {"T": STEPS}
    assert str(graph.inputs["x"]) == f"float32(B, T, {WIDTH})"


def test_steps_over_a_free_axis_fix_its_length():
    rng = np.random.default_rng(14)
    apart = Apart(rng)
    from edgelstm.graph.dims import symbol

    x, h = apart.input("x", B, symbol("length"), WIDTH), apart.input("h", B, UNITS)
    arrays = weights("rnn", UNITS, WIDTH, rng)
    for t in range(STEPS):
        h = rnn(apart, entry(apart, x, t), h, arrays, UNITS)
    apart.outputs["last"] = h
    graph = reroll(apart.graph())
    assert [node.op for node in cells(graph)] == ["rnn"]
    assert dict(graph.frozen) == {"T": STEPS}


def choice(apart, mask, new, old, form):
    """new where the mask holds, else old, in one of the ways that exporters write it."""
    if form == "where":
        return apart.op("where", mask, new, old)
    if form == "where not":
        return apart.op("where", apart.op("not", mask), old, new)
    taken, left = (apart.op("cast", value, to="float32") for value in (mask, apart.op("not", mask)))
    return apart.either("add", apart.either("mul", taken, new), apart.either("mul", old, left))


@pytest.mark.parametrize("form", ["where", "where not", "products"])
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("twin", [False, True], ids=["state alone", "with a twin to give out"])
def test_masked_steps_keep_their_state(op, backward, form, twin):
    rng = np.random.default_rng(15)
    apart = Apart(rng)
    x = apart.input("x", B, STEPS, WIDTH)
    zeros = apart.constant(np.zeros((1, UNITS)))
    filled = apart.op("less", apart.op("reduce_max", x, axes=(2,), keepdims=0), apart.constant(np.float32(0.8)))
    arrays = weights(op, UNITS, WIDTH, rng)
    h = c = shown = zeros
    found = []
    for t in reversed(range(STEPS)) if backward else range(STEPS):
        mask = apart.op("slice", filled, axes=(1,), starts=(t,), stops=(t + 1,), steps=(1,))
        x_t, start = entry(apart, x, t), apart.op("broadcast", zeros, shape=(B, UNITS))
        h, c = (start if value == zeros else value for value in (h, c))
        if op == "lstm":
            new, new_c = lstm(apart, x_t, h, c, arrays, UNITS)
            c = choice(apart, mask, new_c, c, form)
        else:
            new = gru(apart, x_t, h, arrays, UNITS) if op == "gru" else rnn(apart, x_t, h, arrays, UNITS)
        shown = choice(apart, mask, new, start if shown == zeros else shown, form) if twin else ""
        h = choice(apart, mask, new, h, form)
        found.append(shown or h)
    found = found[::-1] if backward else found
    apart.outputs["y"] = apart.op("concat", *(apart.op("reshape", v, shape=(B, 1, UNITS)) for v in found), axis=1)
    graph = apart.graph()
    rerolled = reroll(graph)
    check(rerolled)
    (cell,) = cells(rerolled)
    assert cell.inputs[-1]
    assert (dict(rerolled.frozen), dict(rerolled.pinned)) == ({"T": STEPS}, {})
    feeds = feeds_of(graph, rng)
    keep = feeds["x"].max(-1) >= 0.8
    assert 0 < keep.sum() < keep.size
    np.testing.assert_allclose(run(rerolled, feeds, STEPS)["y"], run(graph, feeds)["y"], rtol=0, atol=1e-12)
