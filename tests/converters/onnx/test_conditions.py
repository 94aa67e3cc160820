"""If: on an input that is fixed when the model is loaded, and on sizes that the file leaves free."""

import numpy as np
import pytest

pytest.importorskip("onnx")

from edgelstm_converters.onnx import load_onnx
from onnx import helper

import edgelstm
from edgelstm.errors import InputError, UnsupportedError
from tests.converters.onnx.build import DTYPES, model, run_graph, run_onnxruntime, typed, value


def branch(op, name, *more, source="x", **attrs):
    nodes = [helper.make_node(op, [source, *more], [name], f"{name} made", **attrs)]
    return helper.make_graph(nodes, name, [], [value(name, None)])


def by_rate():
    """tanh or relu of x, as an input says; what is not taken may be anything."""
    nodes = [
        helper.make_node("Equal", ["sr", "wanted"], ["is"], "compare"),
        helper.make_node(
            "If", ["is"], ["y"], "choice", then_branch=branch("Tanh", "a"), else_branch=branch("Relu", "b")
        ),
    ]
    inputs = {"x": ["n", 2], "sr": ([], "int64")}
    return typed(model(nodes, inputs, ["y"], {"wanted": np.int64(16000)}))


@pytest.mark.parametrize("rate", [16000, 8000])
def test_a_fixed_input_decides(rate, tmp_path):
    made = by_rate()
    path = tmp_path / "rate.onnx"
    path.write_bytes(made.SerializeToString())
    x = np.array([[-1.0, 2.0]], np.float32)
    loaded = edgelstm.load(path, constants={"sr": rate})
    assert list(loaded.inputs) == ["x"]
    want = run_onnxruntime(made, {"x": x, "sr": np.asarray(rate, np.int64)})["y"]
    np.testing.assert_allclose(loaded.run({"x": x})["y"], want, atol=1e-6)


def test_constants_of_inputs_that_there_are_not(tmp_path):
    path = tmp_path / "rate.onnx"
    path.write_bytes(by_rate().SerializeToString())
    with pytest.raises(InputError, match="rate"):
        edgelstm.load(path, constants={"rate": 8000})
    with pytest.raises(InputError, match=r"constants= and external_data= are for ONNX files"):
        edgelstm.load(tmp_path / "m.edgelstm", constants={"sr": 8000})


def squeezing(then="Squeeze", rank=2):
    """How PyTorch exports x.squeeze(1) of a pooled value: squeezed where there is one window, else as it is."""
    nodes = [
        helper.make_node("MaxPool", ["x"], ["p"], "pool", kernel_shape=[3], strides=[3]),
        helper.make_node("Shape", ["p"], ["s"], "shape"),
        helper.make_node("Gather", ["s", "last"], ["n"], "size"),
        helper.make_node("Equal", ["n", "one"], ["is"], "compare"),
        helper.make_node(
            "If",
            ["is"],
            ["q"],
            "choice",
            then_branch=branch(then, "a", *["last"] * (then == "Squeeze"), source="p"),
            else_branch=branch("Identity", "b", source="p"),
        ),
    ]
    if rank == 2:
        nodes.append(helper.make_node("Gemm", ["q", "w"], ["y"], "dense"))
    else:
        nodes.append(helper.make_node("Neg", ["q"], ["y"], "negated"))
    constants = {"last": np.array([-1]), "one": np.array([1]), "w": np.arange(12, dtype=np.float32).reshape(4, 3)}
    made = model(nodes, {"x": ["b", 4, "n"]}, ["y"], constants)
    made.graph.output[0].CopyFrom(value("y", None))
    return made


def test_a_branch_that_fits_at_some_sizes_is_taken_and_kept_to_them():
    made = squeezing()
    result = load_onnx(made)
    x = np.random.default_rng(0).standard_normal((2, 4, 5)).astype(np.float32)
    for size in (3, 4, 5):
        want = run_onnxruntime(made, {"x": x[..., :size]})["y"]
        np.testing.assert_allclose(run_graph(result.graph, {"x": x[..., :size]})["y"], want, rtol=1e-5)
    with pytest.raises(InputError, match="takes a size of 1 only, got 2"):
        run_graph(result.graph, {"x": np.concatenate([x, x], -1)[..., :6]})
    assert any("refused at run time" in entry.text for entry in result.report)


def test_a_model_that_fits_either_way_is_refused():
    with pytest.raises(UnsupportedError, match=r"'choice': its condition .* depends on the size"):
        load_onnx(squeezing(rank=3))


def test_a_condition_on_order_is_refused():
    made = squeezing()
    made.graph.node[3].op_type = "Less"
    with pytest.raises(UnsupportedError, match=r"'choice': its condition .* depends on the size"):
        load_onnx(made)


def test_a_size_guard_survives_the_file(tmp_path):
    source = tmp_path / "m.onnx"
    source.write_bytes(squeezing().SerializeToString())
    edgelstm.load(source).save(tmp_path / "m.edgelstm")
    loaded = edgelstm.load(tmp_path / "m.edgelstm")
    loaded.run({"x": np.zeros((2, 4, 5), np.float32)})
    with pytest.raises(InputError, match="takes a size of 1 only, got 2"):
        loaded.run({"x": np.zeros((2, 4, 6), np.float32)})


def test_many_conditions_on_sizes_take_bounded_time():
    nodes, last = [], "x"
    for index in range(40):
        nodes += [
            helper.make_node("Shape", [last], [f"s{index}"], f"shape{index}"),
            helper.make_node("Gather", [f"s{index}", "axis"], [f"n{index}"], f"size{index}"),
            helper.make_node("Equal", [f"n{index}", "seven"], [f"is{index}"], f"compare{index}"),
            helper.make_node(
                "If",
                [f"is{index}"],
                [f"y{index}"],
                f"choice{index}",
                then_branch=branch("Tanh", f"a{index}", source=last),
                else_branch=branch("Relu", f"b{index}", source=last),
            ),
        ]
        last = f"y{index}"
    made = model(nodes, {"x": ["n", 2]}, [last], {"axis": np.array([0]), "seven": np.array([7])})
    made.graph.output[0].CopyFrom(value(last, None))
    with pytest.raises(UnsupportedError, match="depends on the size"):
        load_onnx(made)


def test_an_input_kept_by_adding_nothing_of_it():
    nodes = [
        helper.make_node("Mul", ["sr", "zero"], ["z"], "times"),
        helper.make_node("Cast", ["z"], ["f"], "cast", to=DTYPES["float32"]),
        helper.make_node("Add", ["x", "f"], ["y"], "plus"),
    ]
    made = typed(model(nodes, {"x": ["n", 2], "sr": ([], "int64")}, ["y"], {"zero": np.int64(0)}))
    graph = load_onnx(made).graph
    assert [node.op for node in graph.nodes] == ["identity"]
    x = np.ones((3, 2), np.float32)
    np.testing.assert_array_equal(run_graph(graph, {"x": x, "sr": np.int64(9)})["y"], x)
