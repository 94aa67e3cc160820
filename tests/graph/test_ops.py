"""Nodes are made whole or refused; shape rules say what fits, at every size."""

from dataclasses import replace

import numpy as np
import pytest

from edgelstm.errors import FormatError, InputError
from edgelstm.graph.bind import bind, free_symbols, substitute_graph
from edgelstm.graph.check import check
from edgelstm.graph.dims import symbol
from edgelstm.graph.ir import Graph, Node, TensorType
from edgelstm.graph.ops import infer, infer_all, make_node
from tests.strategies import random_case

T, B = symbol("T"), symbol("B")


def kind(*shape, dtype="float32"):
    return TensorType(dtype, shape)


def result(op, *kinds, **attrs):
    """The types that one node gives."""
    names = [f"x{index}" if value is not None else "" for index, value in enumerate(kinds)]
    node = make_node(op, names, ["y"], "here", **attrs)
    given = [*kinds, *[None] * (len(node.inputs) - len(kinds))]
    found = infer(node, given)
    return found[0] if len(found) == 1 else found


def refused(match, op, *kinds, **attrs):
    with pytest.raises(InputError, match=match) as caught:
        result(op, *kinds, **attrs)
    return str(caught.value)


# Making nodes.


def test_a_node_is_filled_up():
    node = make_node("linear", ["x", "w"], ["y"])
    assert node.inputs == ("x", "w", "")
    assert make_node("leaky_relu", ["x"], ["y"]).attrs == {"alpha": 0.01}
    gates = {"activations": ("tanh",), "activation_alpha": (0.0,), "activation_beta": (0.0,)}
    cell = make_node("rnn", ["x", "w", "r"], ["y"], hidden_size=3, **gates)
    assert cell.outputs == ("y", "")
    assert cell.attrs["clip"] == 0.0
    assert cell.attrs["direction"] == "forward"


@pytest.mark.parametrize(
    ("op", "inputs", "outputs", "attrs", "match"),
    [
        ("system", ["x"], ["y"], {}, "operator 'system' is not in the table; known: abs, add"),
        ("elu", ["x"], ["y"], {"gamma": 1.0}, "elu has no attribute gamma; it has alpha"),
        ("tanh", ["x"], ["y"], {"alpha": 1.0}, "tanh has no attribute alpha; it has none"),
        ("cast", ["x"], ["y"], {}, "cast needs the attribute to"),
        ("conv", ["x", "w"], ["y"], {"pads": (0, 0)}, "conv needs the attribute strides, dilations"),
        ("tanh", ["x", "z"], ["y"], {}, "tanh takes at most 1 inputs, got 2"),
        ("tanh", ["x"], ["y", "z"], {}, "tanh gives at most 1 outputs, got 2"),
    ],
)
def test_nodes_that_are_not_made(op, inputs, outputs, attrs, match):
    with pytest.raises(InputError, match=match):
        make_node(op, inputs, outputs, **attrs)


def test_errors_name_the_node():
    assert refused("float32", "tanh", kind(2, dtype="int64")).startswith("tanh node 'here': input x")
    assert Node("tanh", ("x",), ("y",)).where == "tanh node 'y'"
    assert Node("tanh", ("x",), ("",)).where == "tanh node ''"
    assert Node("tanh", (), ()).where == "tanh node ''"


# Shape rules.


def test_pointwise():
    assert result("tanh", kind(T, 3)) == kind(T, 3)
    assert result("neg", kind(2, dtype="uint8")) == kind(2, dtype="uint8")
    assert result("cast", kind(T, dtype="bool"), to="int64") == kind(T, dtype="int64")
    refused("input x is missing", "tanh", None)
    refused("expected bool", "not", kind(2))


def test_broadcasting():
    assert result("add", kind(T, 1, 3), kind(B, 1)) == kind(T, B, 3)
    assert result("equal", kind(2, dtype="bool"), kind(2, dtype="bool")) == kind(2, dtype="bool")
    assert result("less", kind(T), kind()) == kind(T, dtype="bool")
    assert result("where", kind(T, 1, dtype="bool"), kind(3), kind()) == kind(T, 3)
    refused("expected equal sizes, got T and B", "add", kind(T), kind(B))
    refused("expected equal sizes, got 2 and 3", "add", kind(2), kind(3))
    refused("two inputs of one dtype", "add", kind(2), kind(2, dtype="int64"))
    refused("float32", "pow", kind(2, dtype="int64"), kind(2, dtype="int64"))
    refused("two branches of one dtype", "where", kind(dtype="bool"), kind(2), kind(2, dtype="bool"))
    refused("expected bool", "where", kind(2), kind(2), kind(2))


def test_reductions():
    assert result("reduce_sum", kind(T, B, 3), axes=(0, -1), keepdims=1) == kind(1, B, 1)
    assert result("reduce_mean", kind(T, B, 3), axes=(1,), keepdims=0) == kind(T, 3)
    assert result("argmax", kind(T, 3), axis=-1, keepdims=0) == kind(T, dtype="int64")
    refused("axis 3 is outside", "reduce_max", kind(T, B, 3), axes=(3,))
    refused("axis -4 is outside", "reduce_max", kind(T, B, 3), axes=(-4,))
    refused("one axis twice", "reduce_max", kind(T, B, 3), axes=(2, -1))
    refused("float32", "reduce_mean", kind(2, dtype="int64"), axes=(0,))
    refused("outside", "softmax", kind(T), axis=1)
    refused("outside", "softmax", kind())


def test_products():
    assert result("linear", kind(T, B, 3), kind(4, 3)) == kind(T, B, 4)
    assert result("linear", kind(3), kind(4, 3), kind(4)) == kind(4)
    assert result("matmul", kind(B, T, 3), kind(3, 2)) == kind(B, T, 2)
    assert result("matmul", kind(3), kind(3)) == kind()
    assert result("matmul", kind(3), kind(B, 3, 2)) == kind(B, 2)
    assert result("matmul", kind(B, 2, 3), kind(3)) == kind(B, 2)
    assert result("matmul", kind(B, T, 3), kind(B, 3, T)) == kind(B, T, T)
    refused("features of x against columns of w", "linear", kind(T, 4), kind(4, 3))
    refused("rows of w against b", "linear", kind(T, 3), kind(4, 3), kind(3))
    refused("at least 1 axis", "linear", kind(), kind(4, 3))
    refused("columns of a against rows of b", "matmul", kind(2, 3), kind(2, 3))
    refused("at least 1 axis each", "matmul", kind(), kind(3))


WINDOW = {"strides": (1,), "pads": (0, 0), "dilations": (1,)}


def test_windows():
    assert result("conv", kind(B, 4, T), kind(6, 2, 3), group=2, **WINDOW) == kind(B, 6, T - 2)
    strided = {"strides": (2,), "pads": (1, 0), "dilations": (2,)}
    assert result("conv", kind(B, 4, T), kind(6, 4, 3), **strided) == kind(B, 6, (T - 4) // 2 + 1)
    assert result("max_pool", kind(B, 4, 7), kernel=(3,), **{**WINDOW, "strides": (2,)}) == kind(B, 4, 3)
    two = {"strides": (1, 1), "pads": (0, 1, 0, 1), "dilations": (1, 1)}
    assert result("conv", kind(B, 1, 5, T), kind(2, 1, 2, 3), kind(2), **two) == kind(B, 2, 4, T)
    refused("does not fit a length of 2", "max_pool", kind(B, 4, 2), kernel=(3,), **WINDOW)
    refused("channels of x against w", "conv", kind(B, 3, T), kind(6, 2, 3), **WINDOW)
    refused("group 2 does not divide 3", "conv", kind(B, 4, T), kind(3, 2, 3), group=2, **WINDOW)
    refused("group 0", "conv", kind(B, 0, T), kind(3, 2, 3), group=0, **WINDOW)
    refused("expected w with 3 axes", "conv", kind(B, 4, T), kind(3, 4, 1, 1), **WINDOW)
    refused("output channels of w against b", "conv", kind(B, 4, T), kind(3, 4, 1), kind(2), **WINDOW)
    refused("kernel, strides, dilations for 1 axes", "max_pool", kind(B, 4, 7), kernel=(3, 3), **WINDOW)
    refused("2 pads", "max_pool", kind(B, 4, 7), kernel=(3,), **{**WINDOW, "pads": (0,)})
    for wrong in ({"strides": (0,)}, {"dilations": (0,)}, {"pads": (-1, 0)}):
        refused("at least", "max_pool", kind(B, 4, 7), kernel=(3,), **{**WINDOW, **wrong})
    refused("at least", "max_pool", kind(B, 4, 7), kernel=(0,), **WINDOW)
    refused("3 or 4 axes", "conv", kind(4, T), kind(6, 4), **WINDOW)


def test_reshaping():
    assert result("reshape", kind(T, B, 6), shape=(T * B, 2, 3)) == kind(T * B, 2, 3)
    refused("elements of", "reshape", kind(T, B, 6), shape=(T, B, 5))
    refused("elements of", "reshape", kind(T, B), shape=(B, B))
    refused("sizes of at least 0", "reshape", kind(0, B), shape=(0, B, -7))
    assert result("transpose", kind(T, B, 3), perm=(2, 0, 1)) == kind(3, T, B)
    for perm in ((0, 1), (0, 0, 1), (0, 1, 3), (-1, 0, 1)):
        refused("does not permute", "transpose", kind(T, B, 3), perm=perm)
    assert result("broadcast", kind(1, 3), shape=(T, B, 3)) == kind(T, B, 3)
    refused("broadcast of", "broadcast", kind(2), shape=(3,))
    refused("too many axes", "broadcast", kind(1, 1), shape=(3,))


def cut(*parts):
    axes, starts, stops, steps = zip(*parts, strict=True)
    return {"axes": axes, "starts": starts, "stops": stops, "steps": steps}


def test_slices():
    assert result("slice", kind(T, 5), **cut((0, T - 1, T, 1), (-1, 1, 5, 2))) == kind(1, 2)
    assert result("slice", kind(T), **cut((0, T - 1, -1, -1))) == kind(T)
    assert result("slice", kind(T), **cut((0, 0, T, 2))) == kind((T + 1) // 2)
    assert result("slice", kind(5), **cut((0, 2, 2, 1))) == kind(0)
    assert result("slice", kind(5), **cut((0, 4, -1, -3))) == kind(2)
    refused("a step of 0", "slice", kind(5), **cut((0, 0, 5, 0)))
    refused("leaves axis 0", "slice", kind(5), **cut((0, 0, 6, 1)))
    refused("leaves axis 0", "slice", kind(5), **cut((0, -1, 5, 1)))
    refused("leaves axis 0", "slice", kind(5), **cut((0, 5, -1, -1)))
    refused("leaves axis 0", "slice", kind(5), **cut((0, 4, -2, -1)))
    refused("leaves axis 0", "slice", kind(T), **cut((0, 0, T + 1, 1)))
    refused("negative length", "slice", kind(5), **cut((0, 4, 2, 1)))
    refused("axis 2 is outside", "slice", kind(T, 5), **cut((2, 0, 1, 1)))
    refused("one axis twice", "slice", kind(T, 5), **cut((1, 0, 1, 1), (-1, 0, 1, 1)))
    attrs = {**cut((0, 0, 1, 1)), "steps": (1, 1)}
    refused("as many starts", "slice", kind(T), **attrs)


def test_joining():
    assert result("concat", kind(T, 2), kind(T, 3), axis=-1) == kind(T, 5)
    assert result("concat", kind(T, 2), kind(B, 2), axis=0) == kind(T + B, 2)
    refused("at least one input", "concat", axis=0)
    refused("axis 0 of the inputs", "concat", kind(T, 2), kind(B, 2), axis=1)
    refused("one dtype and rank", "concat", kind(T, 2), kind(T), axis=0)
    refused("one dtype and rank", "concat", kind(2), kind(2, dtype="bool"), axis=0)
    refused("number 1 is missing", "concat", kind(2), None, axis=0)
    assert result("pad", kind(T, 2), pads=(1, 0, 2, 3)) == kind(T + 3, 5)
    refused("4 pads", "pad", kind(T, 2), pads=(1, 0))
    refused("at least 0", "pad", kind(T, 2), pads=(-1, 0, 0, 0))
    refused("mode 'wrap'", "pad", kind(T), pads=(1, 1), mode="wrap")


def test_selecting():
    assert result("gather", kind(7, 3), kind(B, T, dtype="uint8")) == kind(B, T, 3)
    assert result("gather", kind(2, 7, 3), kind(dtype="int32"), axis=1) == kind(2, 3)
    refused("int64 or int32 or uint8", "gather", kind(7), kind(2))
    refused("outside", "gather", kind(7), kind(2, dtype="int64"), axis=1)
    refused("outside", "gather", kind(), kind(2, dtype="int64"))
    order = {"batch_axis": 1, "time_axis": 0}
    assert result("reverse_sequence", kind(T, B, 2), kind(B, dtype="int64"), **order) == kind(T, B, 2)
    refused("rows of x against lengths", "reverse_sequence", kind(T, B), kind(T, dtype="int64"), **order)
    refused("to be 0 and 1", "reverse_sequence", kind(T, B), kind(B, dtype="int64"), batch_axis=1, time_axis=1)
    refused("to be 0 and 1", "reverse_sequence", kind(T), kind(T, dtype="int64"), **order)


def test_layer_norm():
    assert result("layer_norm", kind(T, 3, 4), kind(3, 4), kind(3, 4), axis=1) == kind(T, 3, 4)
    refused("input scale: expected 1 axes", "layer_norm", kind(T, 3), kind(3, 3))
    refused("bias against the normalised axes", "layer_norm", kind(T, 3), kind(3), kind(4))


def cell(op, hidden=4, width=3, directions=1, output=None, direction="forward"):
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[op] * hidden
    out = output or hidden
    count = directions * {"rnn": 1, "gru": 2, "lstm": 3}[op]
    attrs = {
        "hidden_size": hidden,
        "direction": direction,
        "activations": ("tanh",) * count,
        "activation_alpha": (0.0,) * count,
        "activation_beta": (0.0,) * count,
    }
    return [kind(T, B, width), kind(directions, gates, width), kind(directions, gates, out)], attrs


def test_cells():
    kinds, attrs = cell("gru")
    assert result("gru", *kinds, **attrs) == [kind(T, 1, B, 4), kind(1, B, 4)]
    kinds, attrs = cell("lstm", directions=2, direction="bidirectional", output=5)
    projection = kind(2, 5, 4)
    full = [*kinds, kind(2, 32), kind(B, dtype="int32"), kind(2, B, 5), kind(2, 1, 4), kind(2, 12), projection]
    assert result("lstm", *full, **attrs) == [kind(T, 2, B, 5), kind(2, B, 5), kind(2, B, 4)]


@pytest.mark.parametrize(
    ("index", "wrong", "match"),
    [
        (0, kind(T, 3), "input x: expected 3 axes"),
        (1, kind(1, 16, 4), "axis 2 of w"),
        (1, kind(2, 16, 3), "axis 0 of w"),
        (2, kind(1, 12, 4), "axis 1 of r"),
        (3, kind(1, 16), "axis 1 of b"),
        (3, kind(1, 32, 1), "input b: expected 2 axes"),
        (4, kind(T, dtype="int64"), "axis 0 of lengths"),
        (4, kind(B), "input lengths: expected int64"),
        (5, kind(1, T, 4), "axis 1 of h0"),
        (6, kind(1, B, 5), "axis 2 of c0"),
        (7, kind(1, 16), "axis 1 of p"),
        (8, kind(1, 4, 5), "axis 2 of proj"),
    ],
)
def test_cells_that_do_not_fit(index, wrong, match):
    kinds, attrs = cell("lstm")
    kinds = [*kinds, *[None] * 6]
    kinds[index] = wrong
    refused(match, "lstm", *kinds, **attrs)


def test_a_direction_that_is_none():
    kinds, attrs = cell("rnn")
    refused("direction 'backwards'", "rnn", *kinds, **{**attrs, "direction": "backwards"})


# Whole graphs.


def graph_of(*nodes, inputs=None, constants=None, outputs=None):
    return Graph(inputs or {"x": kind(T, 3)}, outputs or {}, nodes, constants or {})


def test_types_of_all_values():
    graph = graph_of(make_node("tanh", ["x"], ["a"]), make_node("add", ["a", "k"], ["b"]),
                     constants={"k": np.ones(3, np.float32)})  # fmt: skip
    assert infer_all(graph) == {"x": kind(T, 3), "k": kind(3), "a": kind(T, 3), "b": kind(T, 3)}


def test_values_out_of_order_or_made_twice():
    with pytest.raises(InputError, match="'a' is not made before it is used"):
        infer_all(graph_of(make_node("tanh", ["a"], ["b"])))
    with pytest.raises(InputError, match="'x' is made twice"):
        infer_all(graph_of(make_node("tanh", ["x"], ["x"])))


def test_check_of_activations():
    kinds, attrs = cell("gru")
    node = make_node("gru", ["x", "w", "r"], ["y"], "g", **attrs)
    rng = np.random.default_rng(0)
    constants = {name: rng.normal(size=k.shape).astype(np.float32) for name, k in zip("wr", kinds[1:], strict=True)}
    graph = graph_of(node, inputs={"x": kinds[0]}, constants=constants)
    check(graph)
    for wrong, match in (
        ({"activations": ("tanh",)}, "gru node 'g': expected 2 activations, got 1"),
        ({"activation_alpha": (0.0,) * 3}, "expected 2 activation_alpha, got 3"),
        ({"activations": ("tanh", "exp")}, "activation 'exp' is not known"),
        ({"activations": ("Tanh", "tanh")}, "activation 'Tanh' is not known"),
        ({"linear_before_reset": 2}, "linear_before_reset is 2; expected 0 or 1"),
        ({"clip": 1}, "clip is 1; expected float"),
        ({"hidden_size": 0}, "hidden_size is 0|axis 1 of w"),
    ):
        broken = replace(graph, nodes=(replace(node, attrs={**node.attrs, **wrong}),))
        with pytest.raises(FormatError, match=match):
            check(broken)


def test_check_passes_what_the_generator_makes():
    for seed in range(100):
        check(random_case(seed).graph)


# Sizes.


def test_free_symbols():
    graph = graph_of(inputs={"x": kind(T, 3), "z": kind(2 * B + 1, symbol("n"))})
    assert free_symbols(graph) == ("B", "T", "n")


def test_bind():
    graph = graph_of(make_node("reshape", ["x"], ["y"], shape=(3, T)), outputs={"y": "y"})
    bound = bind(graph, {"T": 5})
    assert bound.inputs == {"x": kind(5, 3)}
    assert bound.nodes[0].attrs["shape"] == (3, 5)
    assert graph.inputs == {"x": kind(T, 3)}
    with pytest.raises(InputError, match="sizes for T are missing"):
        bind(graph, {})


def test_bind_at_sizes_that_do_not_fit():
    window = make_node("conv", ["x", "w"], ["y"], strides=(1,), pads=(0, 0), dilations=(1,))
    graph = graph_of(window, inputs={"x": kind(1, 2, T)}, constants={"w": np.ones((3, 2, 4), np.float32)})
    assert bind(graph, {"T": 4}).nodes
    with pytest.raises(InputError, match=r"a window of 4 .* does not fit a length of 3"):
        bind(graph, {"T": 3})
    with pytest.raises(InputError, match=r"'x' would have the shape float32\(-2\) at these sizes"):
        bind(graph_of(inputs={"x": kind(T - 4)}), {"T": 2})


def test_bind_repeats_start_states():
    kinds, attrs = cell("lstm")
    rng = np.random.default_rng(0)
    constants = {name: rng.normal(size=k.shape).astype(np.float32) for name, k in zip("wr", kinds[1:], strict=True)}
    constants |= {"h0": np.ones((1, 1, 4), np.float32), "c0": np.ones((1, 1, 4), np.float32)}
    nodes = tuple(
        make_node("lstm", ["x", "w", "r", "", "", "h0", "c0"], ["", "", name], **attrs) for name in ("c", "d")
    )
    bound = bind(graph_of(*nodes, inputs={"x": kinds[0]}, constants=constants), {"T": 2, "B": 3})
    types = infer_all(bound)
    cells = [node for node in bound.nodes if node.op == "lstm"]
    assert [types[name] for node in cells for name in node.inputs[5:7]] == [kind(1, 3, 4)] * 4
    one = bind(graph_of(*nodes, inputs={"x": kinds[0]}, constants=constants), {"T": 2, "B": 1})
    assert [node.op for node in one.nodes] == ["lstm", "lstm"]


def test_substitution_drops_what_was_frozen():
    graph = replace(graph_of(), frozen={"T": 4, "B": 1})
    assert substitute_graph(graph, {"T": 4}).frozen == {"B": 1}
