"""State pairs are proved by data flow, element by element, or told by the caller; never guessed."""

from dataclasses import replace

import numpy as np
import pytest

from edgelstm.errors import InputError
from edgelstm.graph.dims import symbol
from edgelstm.graph.ir import Graph, State, TensorType
from edgelstm.graph.ops import make_node
from edgelstm.passes.states import pair_states

T, B = symbol("T"), symbol("B")
H = 4


def cell_attrs(op, **more):
    count = {"rnn": 1, "gru": 2, "lstm": 3}[op]
    names = {"rnn": ("tanh",), "gru": ("sigmoid", "tanh"), "lstm": ("sigmoid", "tanh", "tanh")}[op]
    zeros = (0.0,) * count
    return {"hidden_size": H, "activations": names, "activation_alpha": zeros, "activation_beta": zeros, **more}


def weights(op, width, name):
    rng = np.random.default_rng(0)
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[op] * H
    shapes = {f"{name}.w": (1, gates, width), f"{name}.r": (1, gates, H)}
    return {key: rng.normal(0, 0.3, shape).astype(np.float32) for key, shape in shapes.items()}


def part(source, output, axis, start):
    return make_node("slice", [source], [output], axes=(axis,), starts=(start,), stops=(start + 1,), steps=(1,))


def squeeze(source, output):
    return make_node("reshape", [source], [output], shape=(T, B, H))


def stacked(order=(0, 1), final=("h1", "h2"), cells=("c1", "c2")):
    """Two LSTM layers with h0 and c0 (2, B, H) cut apart and put together again, as PyTorch exports them."""
    first, second = order
    nodes = [
        part("h0", "h01", 0, first),
        part("h0", "h02", 0, second),
        part("c0", "c01", 0, first),
        part("c0", "c02", 0, second),
        make_node("lstm", ["x", "l1.w", "l1.r", "", "", "h01", "c01"], ["y1", "h1", "c1"], "l1", **cell_attrs("lstm")),
        squeeze("y1", "x2"),
        make_node("lstm", ["x2", "l2.w", "l2.r", "", "", "h02", "c02"], ["y2", "h2", "c2"], "l2", **cell_attrs("lstm")),
        squeeze("y2", "y"),
        make_node("concat", list(final), ["hn"], axis=0),
        make_node("concat", list(cells), ["cn"], axis=0),
    ]
    state = TensorType("float32", (2, B, H))
    return Graph(
        inputs={"x": TensorType("float32", (T, B, 3)), "h0": state, "c0": state},
        outputs={"y": "y", "hn": "hn", "cn": "cn"},
        nodes=tuple(nodes),
        constants={**weights("lstm", 3, "l1"), **weights("lstm", H, "l2")},
    )


def pairs(graph, told=None):
    return {state.input: (state.output, state.how) for state in pair_states(graph, told).states}


FLOW = "data flow"


def test_two_layers_cut_apart_and_put_together():
    assert pairs(stacked()) == {"h0": ("hn", FLOW), "c0": ("cn", FLOW)}


def test_layers_in_the_other_order():
    """Both the start states and the last ones stand in reverse."""
    graph = stacked(order=(1, 0), final=("h2", "h1"), cells=("c2", "c1"))
    assert pairs(graph) == {"h0": ("hn", FLOW), "c0": ("cn", FLOW)}


def test_layers_that_come_out_in_another_order_than_they_go_in():
    assert pairs(stacked(final=("h2", "h1"))) == {"c0": ("cn", FLOW)}


def test_h_and_c_that_are_swapped_on_the_way_out():
    """Shapes and names would pair h0 with hn; data flow knows that hn shows c."""
    graph = stacked(final=("c1", "c2"), cells=("h1", "h2"))
    assert pairs(graph) == {"h0": ("cn", FLOW), "c0": ("hn", FLOW)}


def test_h_and_c_that_are_mixed_up():
    assert pairs(stacked(final=("h1", "c2"), cells=("c1", "h2"))) == {}


def test_last_state_of_one_layer_shown_twice():
    assert pairs(stacked(final=("h1", "h1"))) == {"c0": ("cn", FLOW)}


def test_one_tensor_of_layer_unit_and_kind():
    """DTLN and its like: one state (B, layers, H, 2) whose last axis tells h from c."""
    nodes = [make_node("transpose", ["s"], ["t"], perm=(3, 1, 0, 2))]  # (2, layers, B, H)
    lasts = []
    source = "x"
    for layer in (0, 1):
        for kind, letter in ((0, "h"), (1, "c")):
            nodes.append(
                make_node("slice", ["t"], [f"{letter}{layer}cut"], axes=(0, 1), starts=(kind, layer),
                          stops=(kind + 1, layer + 1), steps=(1, 1))
            )  # fmt: skip
            nodes.append(make_node("reshape", [f"{letter}{layer}cut"], [f"{letter}{layer}"], shape=(1, B, H)))
        inputs = [source, f"l{layer}.w", f"l{layer}.r", "", "", f"h{layer}", f"c{layer}"]
        outputs = [f"y{layer}", f"hn{layer}", f"cn{layer}"]
        nodes.append(make_node("lstm", inputs, outputs, f"l{layer}", **cell_attrs("lstm")))
        nodes.append(squeeze(f"y{layer}", f"x{layer}"))
        source = f"x{layer}"
        shown = (make_node("reshape", [f"{k}n{layer}"], [f"{k}l{layer}"], shape=(B, 1, H, 1)) for k in "hc")
        nodes.extend(shown)
        lasts.append(f"s{layer}")
        nodes.append(make_node("concat", [f"hl{layer}", f"cl{layer}"], [f"s{layer}"], axis=3))
    nodes.append(make_node("concat", lasts, ["sn"], axis=1))
    graph = Graph(
        inputs={"x": TensorType("float32", (T, B, 3)), "s": TensorType("float32", (B, 2, H, 2))},
        outputs={"y": source, "sn": "sn"},
        nodes=tuple(nodes),
        constants={**weights("lstm", 3, "l0"), **weights("lstm", H, "l1")},
    )
    assert pairs(graph) == {"s": ("sn", FLOW)}
    turned = replace(graph, nodes=tuple(replace(n, attrs={"axis": 1}, inputs=n.inputs[::-1]) if n.outputs == ("sn",)
                                        else n for n in nodes))  # fmt: skip
    assert pairs(turned) == {}


@pytest.mark.parametrize("op", ["rnn", "gru", "lstm"])
def test_one_cell(op):
    graph = single(op)
    assert pairs(graph)["h0"] == ("h", FLOW)


def single(op, last="h"):
    inputs = ["x", "l.w", "l.r", "", "", "h0"] + (["c0"] if op == "lstm" else [])
    outputs = ["y", "h"] + (["c"] if op == "lstm" else [])
    state = TensorType("float32", (1, B, H))
    kinds = {"x": TensorType("float32", (T, B, 3)), "h0": state} | ({"c0": state} if op == "lstm" else {})
    return Graph(
        inputs=kinds,
        outputs={"y": "y", "last": last},
        nodes=(make_node(op, inputs, outputs, **cell_attrs(op)),),
        constants=weights(op, 3, "l"),
    )


def test_a_state_that_is_shown_changed_is_no_state():
    graph = single("gru")
    changed = replace(graph, nodes=(*graph.nodes, make_node("tanh", ["h"], ["t"])), outputs={"last": "t"})
    assert pairs(changed) == {}


def test_a_start_state_that_is_changed_first_is_no_state():
    graph = single("gru")
    (cell,) = graph.nodes
    first = make_node("affine", ["h0"], ["half"], alpha=0.5)
    changed = replace(graph, nodes=(first, replace(cell, inputs=(*cell.inputs[:5], "half", ""))))
    assert pairs(changed) == {}


def test_a_start_state_for_all_rows_is_no_state():
    graph = single("gru")
    shared = replace(graph, inputs={**graph.inputs, "h0": TensorType("float32", (1, 1, H))})
    assert pairs(shared) == {}


def test_without_cells_nothing_is_proved():
    kind = TensorType("float32", (B, 3))
    graph = Graph({"s": kind}, {"s_next": "t"}, (make_node("tanh", ["s"], ["t"]),), {})
    assert pairs(graph) == {}
    assert pairs(graph, {"s": "s_next"}) == {"s": ("t", "caller")}


def test_the_caller_has_the_last_word():
    assert pairs(stacked(), {"h0": "cn", "c0": "hn"}) == {"h0": ("cn", "caller"), "c0": ("hn", "caller")}


def test_the_caller_names_one_and_data_flow_the_other():
    assert pairs(stacked(), {"h0": "hn"}) == {"h0": ("hn", "caller"), "c0": ("cn", FLOW)}


def test_pairs_told_before_stay():
    graph = replace(stacked(), states=(State("h0", "cn", "caller"), State("c0", "hn", FLOW)))
    assert pairs(graph) == {"h0": ("cn", "caller")}
    assert pairs(graph, {"h0": "hn"}) == {"h0": ("hn", "caller"), "c0": ("cn", FLOW)}


def test_states_may_swap_places():
    kind = TensorType("float32", (B, 3))
    graph = Graph({"a": kind, "b": kind}, {"an": "b", "bn": "a"}, (), {}, (State("a", "b"), State("b", "a")))
    assert pairs(graph) == {"a": ("b", "caller"), "b": ("a", "caller")}


def test_inputs_of_any_size_are_taken_without_much_memory():
    """A damaged file may claim an input of gigabytes; proving pairs must not make room for it."""
    graph = single("gru")
    kinds = {**graph.inputs, "large": TensorType("float32", (1 << 30,))}
    chain = [make_node("concat", ["h0", "h0"], ["d0"], axis=2)]
    chain += [make_node("concat", [f"d{k}", f"d{k}"], [f"d{k + 1}"], axis=2) for k in range(24)]
    assert pairs(replace(graph, inputs=kinds, nodes=(*graph.nodes, *chain)))["h0"] == ("h", FLOW)


@pytest.mark.parametrize(
    ("told", "match"),
    [
        ({"nothing": "hn"}, "'nothing' is not an input of the model; it has x, h0, c0"),
        ({"h0": "nothing"}, "'nothing' is not an output of the model; it has y, hn, cn"),
        ({"h0": "y"}, "'h0' is .* but 'y' is .*; a state keeps its type"),
        ({"h0": "hn", "c0": "hn"}, "one output is named for two inputs"),
    ],
)
def test_pairs_that_do_not_fit(told, match):
    with pytest.raises(InputError, match=match):
        pair_states(stacked(), told)


def test_the_graph_is_not_changed():
    graph = stacked()
    pair_states(graph)
    assert graph.states == ()
