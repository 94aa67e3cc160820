"""Files of hostile shape: bounded time and memory, each refusal by its own test."""

import os
import time

import numpy as np
import onnx
import pytest
from edgelstm_converters.onnx import external, load_onnx, reader, registry, symbols
from edgelstm_converters.onnx.folding import MAX_STEPS, MAX_SYMBOLIC
from onnx import TensorProto, helper, numpy_helper

import edgelstm
from edgelstm.errors import EdgeLSTMError, FormatError, InputError, UnsupportedError
from tests.converters.onnx.build import model, run_graph, value

SECONDS = 20  # of this process, for one refusal, generously; others on the machine do not count


@pytest.fixture(autouse=True)
def in_time():
    start = time.process_time()
    yield
    assert time.process_time() - start < SECONDS


def refused(made, kind, *words):
    with pytest.raises(kind) as caught:
        load_onnx(made)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def node(op, inputs, outputs, name="", **attrs):
    return helper.make_node(op, inputs, outputs, name or outputs[0], **attrs)


def tanh(**changes):
    made = model([node("Tanh", ["x"], ["y"])], {"x": ["n", 2]}, ["y"])
    for name, entry in changes.items():
        setattr(made, name, entry)
    return made


# Graphs that are none.


def test_a_cycle():
    nodes = [node("Add", ["x", "b"], ["a"]), node("Tanh", ["a"], ["b"]), node("Relu", ["b"], ["y"])]
    refused(model(nodes, {"x": [2]}, ["y"]), FormatError, "not a valid ONNX model")


def test_a_node_that_uses_its_own_output():
    refused(model([node("Add", ["x", "y"], ["y"])], {"x": [2]}, ["y"]), FormatError, "not a valid ONNX model")


def test_nodes_out_of_order():
    nodes = [node("Tanh", ["a"], ["y"]), node("Relu", ["x"], ["a"])]
    refused(model(nodes, {"x": [2]}, ["y"]), FormatError, "not a valid ONNX model")


def test_a_dangling_name():
    refused(model([node("Add", ["x", "nowhere"], ["y"])], {"x": [2]}, ["y"]), FormatError, "nowhere")


def test_an_output_that_nothing_makes():
    made = tanh()
    made.graph.output[0].name = "nothing"
    refused(made, FormatError, "nothing")


@pytest.mark.parametrize("what", ["node outputs", "inputs", "initializers", "an input and an output"])
def test_names_that_stand_twice(what):
    nodes = [node("Tanh", ["x"], ["a"]), node("Relu", ["a"], ["y"])]
    made = model(nodes, {"x": [2], "z": [2]}, ["y"], {"k": np.zeros(2, np.float32), "l": np.ones(2, np.float32)})
    match what:
        case "node outputs":
            made.graph.node[1].output[0] = "a"
        case "inputs":
            made.graph.input[1].name = "x"
        case "initializers":
            made.graph.initializer[1].name = "k"
        case "an input and an output":
            made.graph.node[0].output[0] = "z"
    refused(made, FormatError)


@pytest.mark.parametrize("name", ["value", "other", "place"])
def test_a_name_that_is_not_text(name):
    """Of an output that nothing takes, as well."""
    nodes = [node("RNN", ["value", "k", "k"], ["y", "other"], "place", hidden_size=2)]
    made = model(nodes, {"value": ["n", 1, 2]}, ["y"], {"k": np.ones((1, 2, 2), np.float32)}).SerializeToString()
    load_onnx(made)
    refused(made.replace(name.encode(), b"\xb2" * len(name)), FormatError, "not text")


# Sizes.


@pytest.mark.parametrize("size", [-1, -(1 << 62)])
def test_a_negative_size_of_a_tensor(size):
    made = model([node("Add", ["x", "k"], ["y"])], {"x": [2]}, ["y"], {"k": np.zeros(2, np.float32)})
    made.graph.initializer[0].dims[0] = size
    refused(made, FormatError, "'k'", "negative size")


@pytest.mark.parametrize("dims", [[1 << 40], [1 << 31, 0], [1 << 30, 1 << 30], [2, 1 << 20]])
def test_an_enormous_size_of_a_tensor(dims):
    made = model([node("Add", ["x", "k"], ["y"])], {"x": [2]}, ["y"], {"k": np.zeros(2, np.float32)})
    del made.graph.initializer[0].dims[:]
    made.graph.initializer[0].dims.extend(dims)
    refused(made, FormatError, "'k'")


def test_entries_that_do_not_fill_the_shape():
    tensor = TensorProto(name="k", data_type=TensorProto.FLOAT, dims=[1 << 20, 1 << 10], float_data=[1.0, 2.0])
    made = model([node("Add", ["x", "k"], ["y"])], {"x": [2]}, ["y"])
    made.graph.initializer.append(tensor)
    refused(made, FormatError)


def test_too_many_axes_of_a_tensor():
    made = model([node("Add", ["x", "k"], ["y"])], {"x": [2]}, ["y"], {"k": np.zeros(1, np.float32)})
    made.graph.initializer[0].dims.extend([1] * 100)
    refused(made, FormatError, "'k'", "101 axes")


@pytest.mark.parametrize("size", [-1, 1 << 40])
def test_an_input_of_a_senseless_size(size):
    refused(model([node("Tanh", ["x"], ["y"])], {"x": [2, size]}, ["y"]), FormatError, "'x'")


def test_an_input_that_is_too_large_to_run(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(model([node("Tanh", ["x"], ["y"])], {"x": ["b", "t", 1 << 20, 1 << 20]}, ["y"]), path)
    with pytest.raises(FormatError, match="too large"):
        edgelstm.load(path)


def test_too_many_axes_of_a_value():
    axes = np.arange(70)
    refused(model([node("Unsqueeze", ["x", "a"], ["y"])], {"x": [2]}, ["y"], {"a": axes}), UnsupportedError, "71 axes")


# Numbers of things.


def test_too_many_nodes(monkeypatch):
    monkeypatch.setattr(reader, "MAX_NODES", 100)
    nodes = [node("Tanh", [f"v{k}"], [f"v{k + 1}"]) for k in range(101)]
    refused(model(nodes, {"v0": [2]}, ["v101"]), FormatError, "more than 100 nodes")


def test_as_many_nodes_as_are_taken_are_read_in_time():
    nodes = [node("Tanh", [f"v{k}"], [f"v{k + 1}"]) for k in range(4000)]
    assert len(load_onnx(model(nodes, {"v0": [2]}, ["v4000"])).graph.nodes) == 4000


def test_too_many_inputs():
    count = reader.MAX_PORTS + 1
    made = model([node("Tanh", ["x0"], ["y"])], {f"x{k}": [1] for k in range(count)}, ["y"])
    refused(made, FormatError, f"{count} inputs")


def test_too_many_outputs():
    count = reader.MAX_PORTS + 1
    made = model([node("Tanh", ["x"], ["y"])], {"x": [1]}, ["y"] * count)
    refused(made, FormatError, f"{count} outputs")


def test_graphs_nested_too_deep(monkeypatch):
    monkeypatch.setattr(reader, "MAX_DEPTH", 4)  # protobuf itself stops near the real limit
    deep = helper.make_graph([node("Tanh", ["x"], ["z"])], "g", [], [value("z", [2])])
    for _ in range(reader.MAX_DEPTH + 2):
        flat = helper.make_graph([node("Relu", ["x"], ["z"])], "g", [], [value("z", [2])])
        deep = helper.make_graph(
            [node("If", ["c"], ["z"], then_branch=deep, else_branch=flat)], "g", [], [value("z", [2])]
        )
    made = model(list(deep.node), {"x": [2], "c": ([], "bool")}, ["z"])
    refused(made, FormatError, "nested more than 4 deep")
    refused(made.SerializeToString(), FormatError, "nested more than 4 deep")


def function(name, *calls):
    nodes = [helper.make_node(op, ["a"], [f"b{k}"], domain="own" if op[0] == "F" else "") for k, op in enumerate(calls)]
    nodes.append(helper.make_node("Tanh", [f"b{len(calls) - 1}"] if calls else ["a"], ["y"]))
    return helper.make_function(
        "own", name, ["a"], ["y"], nodes, [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    )


def calling(*functions):
    made = model([helper.make_node("F0", ["x"], ["y"], "call", domain="own")], {"x": [2]}, ["y"])
    made.opset_import.append(helper.make_opsetid("own", 1))
    made.functions.extend(functions)
    return made


def test_functions_are_written_out():
    made = calling(function("F0", "F1", "F1"), function("F1"))
    assert [each.op for each in load_onnx(made).graph.nodes] == ["tanh", "tanh"]


def test_functions_that_multiply():
    made = calling(*(function(f"F{k}", f"F{k + 1}", f"F{k + 1}") for k in range(25)), function("F25"))
    refused(made, FormatError, "more than")


def test_functions_that_call_themselves():
    refused(calling(function("F0", "F1"), function("F1", "F0")), FormatError, "calls itself")


# Work.


def test_constants_that_multiply():
    shape = np.asarray([3000, 3000])
    nodes = [
        node("ConstantOfShape", ["s"], ["a"]),
        node("MatMul", ["a", "a"], ["b"]),
        node("Add", ["x", "b"], ["y"]),
    ]
    refused(model(nodes, {"x": [1]}, ["y"], {"s": shape}), UnsupportedError, "too l")


def test_a_layer_over_constants_of_many_steps():
    shape = np.asarray([MAX_STEPS + 1, 1, 1])
    nodes = [
        node("ConstantOfShape", ["s"], ["a"]),
        node("RNN", ["a", "w", "r"], ["b"], hidden_size=1),
        node("Add", ["x", "b"], ["y"]),
    ]
    one = np.ones((1, 1, 1), np.float32)
    made = model(nodes, {"x": [1]}, ["y"], {"s": shape, "w": one, "r": one})
    refused(made, UnsupportedError, "computed for too long")


def test_a_long_list_of_sizes():
    nodes = [
        node("Shape", ["x"], ["n"]),
        node("Expand", ["n", "s"], ["many"]),
        node("Add", ["many", "many"], ["y"]),
    ]
    made = model(nodes, {"x": ["n"]}, ["y"], {"s": np.asarray([MAX_SYMBOLIC + 1])})
    refused(made, EdgeLSTMError)


def test_repetition_that_grows():
    nodes, last = [], "x"
    for k in range(12):
        nodes.append(node("Concat", [last, last], [f"v{k}"], axis=0))
        last = f"v{k}"
    nodes.append(node("Tile", [last, "r"], ["y"]))
    made = model(nodes, {"x": [1 << 20]}, ["y"], {"r": np.asarray([1 << 20])})
    refused(made, UnsupportedError)


@pytest.mark.parametrize("bounds", [(0, 1 << 60, 1), (0.0, 1e30, 1e-30), (0.0, np.inf, 1.0), (0, 5, 0)])
def test_ranges_without_end(bounds):
    kinds = {name: np.asarray(number) for name, number in zip("abc", bounds, strict=True)}
    kinds = {name: array.astype(np.float32) if array.dtype == np.float64 else array for name, array in kinds.items()}
    made = model([node("Range", ["a", "b", "c"], ["r"]), node("Mul", ["x", "r"], ["y"])], {"x": [1]}, ["y"], kinds)
    refused(made, EdgeLSTMError)


# Versions.


def test_an_opset_that_is_not_known_yet():
    made = tanh()
    made.opset_import[0].version = registry.NEWEST + 1
    refused(made, UnsupportedError, f"opset {registry.NEWEST + 1} is newer than {registry.NEWEST}")


def test_every_version_of_every_operator_that_this_onnx_has_is_known():
    """A newer onnx brings versions that nobody has looked at: look, then raise NEWEST."""
    assert onnx.defs.onnx_opset_version() <= registry.NEWEST
    for op in registry.supported():
        history = [s.since_version for s in onnx.defs.get_all_schemas_with_history() if s.name == op and not s.domain]
        assert any(first <= max(history) <= last for first, last in registry.versions(op)), op


def test_an_operator_before_its_first_version():
    made = model([node("Xor", ["x", "x"], ["y"])], {"x": ([2], "bool")}, ["y"], opset=6)
    refused(made, UnsupportedError, "Xor of opset 6 (from 7 on)")


# Data in another file.


W = np.arange(6, dtype=np.float32).reshape(3, 2)


WEIGHTS = W.tobytes()


def outside(tmp_path, location="w.bin", data=WEIGHTS, **entries):
    """A model whose one weight stands in another file."""
    made = model([node("MatMul", ["x", "w"], ["y"])], {"x": ["n", 3]}, ["y"], {"w": W})
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, entry in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(entry))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "m.onnx").write_bytes(made.SerializeToString())
    if data is not None:
        (folder / "w.bin").write_bytes(data)
    return folder / "m.onnx"


def refused_outside(path, *words):
    with pytest.raises(FormatError) as caught:
        load_onnx(path, external_data=True)
    for word in ("'w'", *words):
        assert word in str(caught.value), str(caught.value)


def test_data_in_another_file_is_read_where_it_is_allowed(tmp_path):
    path = outside(tmp_path, data=b"skip" + W.tobytes(), offset=4, length=W.nbytes)
    with pytest.raises(UnsupportedError, match="external_data=True"):
        edgelstm.load(path)
    x = np.ones((1, 3), np.float32)
    graph = edgelstm.load(path, external_data=True).graph
    np.testing.assert_array_equal(run_graph(graph, {"x": x})["y"], x @ W)


def test_data_in_a_folder_below(tmp_path):
    path = outside(tmp_path, "part/w.bin")
    (path.parent / "part").mkdir()
    (path.parent / "w.bin").rename(path.parent / "part" / "w.bin")
    assert load_onnx(path, external_data=True).graph.constants


@pytest.mark.parametrize(
    "location", ["../w.bin", "/etc/hostname", "part/../../w.bin", "..\\w.bin", "C:\\w.bin", "", ".", "w\0.bin"]
)
def test_a_place_outside_the_folder(tmp_path, location):
    path = outside(tmp_path, location)
    (tmp_path / "w.bin").write_bytes(W.tobytes())
    refused_outside(path)


def test_a_symbolic_link(tmp_path):
    path = outside(tmp_path, data=None)
    (tmp_path / "secret").write_bytes(W.tobytes())
    (path.parent / "w.bin").symlink_to(tmp_path / "secret")
    refused_outside(path, "link")


def test_a_link_on_the_way(tmp_path):
    path = outside(tmp_path, "part/w.bin", data=None)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "w.bin").write_bytes(W.tobytes())
    (path.parent / "part").symlink_to(tmp_path / "elsewhere")
    refused_outside(path, "link")


def test_a_hard_link(tmp_path):
    path = outside(tmp_path, data=None)
    (tmp_path / "secret").write_bytes(W.tobytes())
    os.link(tmp_path / "secret", path.parent / "w.bin")
    refused_outside(path, "link")


def test_a_pipe_does_not_block(tmp_path):
    path = outside(tmp_path, data=None)
    os.mkfifo(path.parent / "w.bin")
    refused_outside(path, "no plain file")


def test_a_file_that_is_not_there(tmp_path):
    refused_outside(outside(tmp_path, data=None), "cannot be opened")


def test_a_file_that_is_too_short(tmp_path):
    refused_outside(outside(tmp_path, data=W.tobytes()[:-1]), "23 bytes, expected 24")


@pytest.mark.parametrize(
    "entries", [{"length": 4}, {"offset": -4}, {"offset": "1e1"}, {"offset": 10**17}, {"checksum": "0"}], ids=str
)
def test_entries_that_do_not_fit(tmp_path, entries):
    refused_outside(outside(tmp_path, **entries))


def test_more_data_than_is_read(tmp_path, monkeypatch):
    path = outside(tmp_path)
    monkeypatch.setattr(external, "MAX_BYTES", W.nbytes - 1)
    with pytest.raises(FormatError, match="takes over 23 bytes"):
        load_onnx(path, external_data=True)


def test_data_beside_bytes(tmp_path):
    with pytest.raises(InputError, match="needs a path"):
        load_onnx(outside(tmp_path).read_bytes(), external_data=True)


def test_data_of_a_constant_node(tmp_path):
    tensor = numpy_helper.from_array(W, "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")
    made = model([node("Constant", [], ["w"], value=tensor), node("MatMul", ["x", "w"], ["y"])], {"x": [1, 3]}, ["y"])
    path = tmp_path / "m.onnx"
    path.write_bytes(made.SerializeToString())
    with pytest.raises(UnsupportedError, match="another file"):
        load_onnx(path)
    with pytest.raises(FormatError, match="not inside the model's folder"):
        load_onnx(path, external_data=True)


def test_many_small_works_are_counted_together(monkeypatch):
    monkeypatch.setattr(symbols, "MAX_WORK", 1 << 30)
    nodes = [node("ConstantOfShape", ["s"], ["a"]), node("CumSum", ["a", "axis"], ["v0"])]
    nodes += [node("Exp", [f"v{k}"], [f"v{k + 1}"]) for k in range(400)]
    nodes.append(node("Add", ["x", "v400"], ["y"]))
    made = model(nodes, {"x": [1]}, ["y"], {"s": np.asarray([1 << 23]), "axis": np.int64(0)})
    refused(made, UnsupportedError, "computed for too long")


def test_sizes_and_floats_do_not_mix():
    nodes = [node("Shape", ["x"], ["n"]), node("Mul", ["n", "half"], ["m"]), node("Reshape", ["x", "m"], ["y"])]
    refused(model(nodes, {"x": ["n"]}, ["y"], {"half": np.float32(0.5)}), FormatError, "one dtype")


def test_a_huge_stride_is_refused():
    nodes = [node("ConvTranspose", ["x", "w"], ["y"], strides=[1 << 30])]
    made = model(nodes, {"x": [1, 1, 3]}, ["y"], {"w": np.ones((1, 1, 3), np.float32)})
    refused(made, UnsupportedError, "strides of at most")
