"""The `.edgelstm` format: what is written reads back, and each rejection of FORMAT.md by its own test."""

import copy
import json
import os
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgelstm import file
from edgelstm.errors import EdgeLSTMError, FormatError
from edgelstm.graph.check import KINDS
from edgelstm.graph.dims import symbol
from edgelstm.graph.ir import Graph, State, TensorType
from edgelstm.graph.ops import make_node
from edgelstm.runtime.model import Model
from tests.strategies import random_case

T, B = symbol("T"), symbol("B")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.edgelstm"


def small():
    """A graph with something in every field."""
    return Graph(
        inputs={"x": TensorType("float32", (T, B, 3)), "s": TensorType("float32", (B, 3))},
        outputs={"y": "y", "s_next": "u"},
        nodes=(
            make_node("linear", ["x", "w"], ["y"], "head"),
            make_node("affine", ["s"], ["u"], alpha=0.5),
            make_node("reshape", ["y"], ["z"], shape=(T * B, 4)),
            make_node("transpose", ["y"], ["q"], perm=(1, 0, 2)),
        ),
        constants={"w": np.ones((4, 3), np.float32), "start": np.zeros((1, 3), np.float32)},
        states=(State("s", "u", "caller"),),
        initial={"s": "start"},
        frozen={"B": 1},
        pinned={"n": "because"},
        metadata={"name": "small", "features": "a,b"},
    )


def equal(a, b):
    assert list(a.inputs.items()) == list(b.inputs.items())
    assert list(a.outputs.items()) == list(b.outputs.items())
    assert a.nodes == b.nodes
    for x, y in zip(a.nodes, b.nodes, strict=True):
        for key, value in x.attrs.items():
            assert type(value) is type(y.attrs[key]), key
    assert set(a.constants) == set(b.constants)
    for name, array in a.constants.items():
        assert array.dtype == b.constants[name].dtype
        assert array.shape == b.constants[name].shape
        assert array.tobytes() == b.constants[name].tobytes()
    for part in ("states", "initial", "frozen", "pinned", "metadata"):
        assert getattr(a, part) == getattr(b, part), part


def test_round_trip(path):
    file.save(small(), path)
    equal(small(), file.load(path))


def test_round_trip_of_random_graphs_covers_every_kind_of_attribute(path):
    kinds = set()
    for seed in range(150):
        graph = random_case(seed, streamable=seed % 3 == 0).graph
        file.save(graph, path)
        read = file.load(path)
        equal(graph, read)
        assert file.to_bytes(read) == file.to_bytes(graph)
        kinds |= {KINDS[name] for node in graph.nodes for name in node.attrs}
    assert kinds == set(KINDS.values())


def test_equal_graphs_give_equal_bytes():
    assert file.to_bytes(small()) == file.to_bytes(small())
    assert Model(small()).hash == Model(small()).hash


def test_metadata_is_no_part_of_a_models_hash():
    assert Model(replace(small(), metadata={})).hash == Model(small()).hash
    other = replace(small(), constants={**small().constants, "w": np.full((4, 3), 2, np.float32)})
    assert Model(other).hash != Model(small()).hash


def test_constants_that_are_not_contiguous(path):
    array = np.arange(12, dtype=np.float32).reshape(3, 4).T
    file.save(replace(small(), constants={**small().constants, "w": array}), path)
    np.testing.assert_array_equal(file.load(path).constants["w"], array)


def test_constants_are_read_only(path):
    file.save(small(), path)
    with pytest.raises(ValueError, match="read-only"):
        file.load(path).constants["w"][0, 0] = 1


def test_an_old_file_stays_when_writing_fails(path, monkeypatch):
    file.save(small(), path)
    before = path.read_bytes()

    def fail(_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        file.write_atomically(path, b"new")
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        file.load(tmp_path / "none.edgelstm")


def test_booleans_are_booleans_whatever_their_bytes(path):
    graph = replace(small(), constants={**small().constants, "b": np.ones(3, bool)})
    raw = file.to_bytes(graph)
    path.write_bytes(raw.replace(b"\x01\x01\x01", b"\x01\x07\x00"))
    assert file.load(path).constants["b"].view(np.uint8).tolist() == [1, 1, 0]


# Rejections.


def content():
    """The JSON of the small graph."""
    raw = file.to_bytes(small())
    length = int.from_bytes(raw[:8], "little")
    return json.loads(json.loads(raw[8 : 8 + length])["__metadata__"][file.KEY])


def write(path, text, tensors=None):
    kept = {name: np.array(array) for name, array in small().constants.items()} if tensors is None else tensors
    path.write_bytes(safetensors.numpy.save(kept, None if text is None else {file.KEY: text}))


def refused(path, match):
    with pytest.raises(FormatError, match=match) as caught:
        file.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def changed(path, match, change, tensors=None):
    """The small file with its JSON changed is refused."""
    data = copy.deepcopy(content())
    change(data)
    write(path, json.dumps(data), tensors)
    refused(path, match)


def test_the_unchanged_content_is_read(path):
    write(path, json.dumps(content()))
    equal(small(), file.load(path))


def test_empty_file(path):
    path.write_bytes(b"")
    refused(path, "not a whole")


def test_text_file(path):
    path.write_text("hello, I am no model" * 10)
    refused(path, "not a whole")


def test_truncated_files(path):
    whole = file.to_bytes(small())
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        refused(path, "not a whole")


def test_bytes_after_the_end(path):
    path.write_bytes(file.to_bytes(small()) + b"x")
    refused(path, "not a whole")


def test_header_longer_than_the_file(path):
    path.write_bytes((1 << 60).to_bytes(8, "little") + b"{}")
    refused(path, "not a whole")


def test_safetensors_without_a_graph(path):
    write(path, None)
    refused(path, "without an edgelstm graph")


def test_file_that_is_too_large(path, monkeypatch):
    file.save(small(), path)
    monkeypatch.setattr(file, "MAX_FILE_BYTES", 100)
    refused(path, "at most 100 are read")


def test_graph_that_is_too_long(path, monkeypatch):
    file.save(small(), path)
    monkeypatch.setattr(file, "MAX_GRAPH_CHARACTERS", 100)
    refused(path, "at most 100 are read")


def test_graph_that_is_no_json(path):
    write(path, "{not json")
    refused(path, "damaged")


@pytest.mark.parametrize("text", ["[]", "null", "3", '"x"', "{}", "NaN"])
def test_json_that_is_no_graph(path, text):
    write(path, text)
    refused(path, "damaged")


def test_json_nested_without_end(path):
    write(path, "[" * 100_000)
    refused(path, "damaged")


@pytest.mark.parametrize("version", [0, 2, "1", None, 1.5])
def test_another_version(path, version):
    changed(path, "format version .* reads 1", lambda d: d.update(version=version))


@pytest.mark.parametrize("field", ["inputs", "outputs", "nodes", "states", "initial", "frozen", "pinned", "metadata"])
def test_a_missing_field(path, field):
    changed(path, field, lambda d: d["graph"].pop(field))


@pytest.mark.parametrize("field", ["inputs", "outputs", "nodes", "states", "initial", "frozen", "pinned", "metadata"])
@pytest.mark.parametrize("value", [3, "text", [3], [[]], {"a": []}, None])
def test_a_field_of_another_type(path, field, value):
    changed(path, "damaged", lambda d: d["graph"].update({field: value}))


def test_unknown_field(path):
    changed(path, "unknown|expected", lambda d: d["graph"].update(extra=1))


def test_unknown_operator(path):
    changed(path, "not in the table", lambda d: d["graph"]["nodes"][0].update(op="system"))


@pytest.mark.parametrize("key", ["op", "name", "inputs", "outputs", "attrs"])
def test_node_without_a_field(path, key):
    changed(path, key, lambda d: d["graph"]["nodes"][0].pop(key))


def test_node_without_outputs(path):
    changed(path, "outputs", lambda d: d["graph"]["nodes"][0].update(outputs=[]))


@pytest.mark.parametrize("inputs", [[], ["x"], ["x", "w", "", ""]])
def test_node_with_another_number_of_inputs(path, inputs):
    changed(path, "inputs", lambda d: d["graph"]["nodes"][0].update(inputs=inputs))


def test_node_with_another_number_of_outputs(path):
    changed(path, "outputs", lambda d: d["graph"]["nodes"][0].update(outputs=["y", "extra"]))


def test_node_with_no_wanted_output(path):
    changed(path, "output", lambda d: d["graph"]["nodes"][2].update(outputs=[""]))


def test_missing_attribute(path):
    changed(path, "expected the attributes", lambda d: d["graph"]["nodes"][1]["attrs"].pop("alpha"))


def test_unknown_attribute(path):
    changed(path, "expected the attributes", lambda d: d["graph"]["nodes"][1]["attrs"].update(gamma=1.0))


@pytest.mark.parametrize("value", [1, "1.0", [1.0], True, None, 1e999])
def test_attribute_that_is_no_finite_float(path, value):
    changed(path, "alpha|damaged", lambda d: d["graph"]["nodes"][1]["attrs"].update(alpha=value))


def test_attribute_that_no_float32_holds(path):
    changed(path, "alpha", lambda d: d["graph"]["nodes"][1]["attrs"].update(alpha=1e300))


@pytest.mark.parametrize("value", [1, [1.0, 0, 2], ["1", 0, 2], [True, False, 2], "102", None])
def test_attribute_that_is_no_list_of_integers(path, value):
    changed(path, "perm|damaged", lambda d: d["graph"]["nodes"][3]["attrs"].update(perm=value))


@pytest.mark.parametrize("value", [4, ["T*", 4], [1.5], [None], ["T" * 300], [[1]]])
def test_attribute_that_is_no_shape(path, value):
    changed(path, "damaged", lambda d: d["graph"]["nodes"][2]["attrs"].update(shape=value))


def test_attribute_list_that_is_too_long(path):
    changed(path, "perm", lambda d: d["graph"]["nodes"][3]["attrs"].update(perm=[0] * 5000))


def test_too_many_nodes(path, monkeypatch):
    monkeypatch.setattr("edgelstm.graph.check.MAX_NODES", 3)
    file.save(small(), path)
    refused(path, "4 nodes; at most 3")


def test_unknown_dtype_of_an_input(path):
    changed(path, "dtype 'float16'", lambda d: d["graph"]["inputs"][0].__setitem__(1, "float16"))


def test_unknown_dtype_of_a_constant(path):
    tensors = {"w": np.ones((4, 3), np.float64), "start": np.zeros((1, 3), np.float32)}
    changed(path, "float64", lambda d: None, tensors)


def test_constant_that_is_missing(path):
    changed(path, "not made", lambda d: None, {"start": np.zeros((1, 3), np.float32)})


def test_constant_of_another_shape(path):
    tensors = {"w": np.ones((4, 5), np.float32), "start": np.zeros((1, 3), np.float32)}
    changed(path, "features of x", lambda d: None, tensors)


def test_constant_named_as_an_input(path):
    tensors = {**small().constants, "x": np.zeros(3, np.float32)}
    changed(path, "both an input and a constant", lambda d: None, {k: np.array(v) for k, v in tensors.items()})


def test_value_used_before_it_is_made(path):
    changed(path, "not made before", lambda d: d["graph"]["nodes"].reverse())


def test_value_made_twice(path):
    changed(path, "made twice", lambda d: d["graph"]["nodes"][1].update(outputs=["y"]))


def test_node_that_gives_one_value_twice(path):
    def change(data):
        data["graph"]["nodes"] = [
            {
                "op": "rnn",
                "name": "r",
                "inputs": ["x", "wx", "wr", "", "", "", ""],
                "outputs": ["y", "y"],
                "attrs": {
                    "hidden_size": 3,
                    "direction": "forward",
                    "activations": ["tanh"],
                    "activation_alpha": [0.0],
                    "activation_beta": [0.0],
                    "clip": 0.0,
                    "int8": [],
                    "x_scale": 0.0,
                    "x_zero": 0,
                },
            }
        ]
        data["graph"].update(states=[], outputs=[["y", "y"]], initial={})

    tensors = {name: np.ones((1, 3, 3), np.float32) for name in ("wx", "wr")}
    changed(path, "made twice", change, tensors)


def test_input_without_a_name(path):
    def change(data):
        data["graph"]["inputs"].append(["", "float32", [1]])

    changed(path, "name", change)


def test_input_named_twice(path):
    changed(path, "twice", lambda d: d["graph"]["inputs"].append(d["graph"]["inputs"][0]))


def test_output_named_twice(path):
    changed(path, "twice", lambda d: d["graph"]["outputs"].append(["y", "u"]))


def test_output_that_is_not_made(path):
    changed(path, "'nothing', which is not made", lambda d: d["graph"]["outputs"].append(["z", "nothing"]))


def test_too_many_axes(path):
    changed(path, "axes; at most 6", lambda d: d["graph"]["nodes"][2]["attrs"].update(shape=["T", "B", 1, 1, 1, 1, 4]))


def test_negative_size(path):
    changed(path, "negative", lambda d: d["graph"]["inputs"].append(["n", "float32", [-1]]))


def test_size_that_no_memory_holds(path):
    changed(path, "large", lambda d: d["graph"]["inputs"].append(["n", "float32", [10**12, 10**12]]))


def test_state_of_an_unknown_input(path):
    changed(path, "state 'nothing'", lambda d: d["graph"]["states"].append(["nothing", "u", "caller"]))


def test_state_of_another_type(path):
    changed(path, "does not fit", lambda d: d["graph"].update(states=[["s", "y", "caller"]]))


def test_state_named_twice(path):
    changed(path, "twice", lambda d: d["graph"]["states"].append(["s", "u", "caller"]))


def test_state_found_in_an_unknown_way(path):
    changed(path, "magic", lambda d: d["graph"].update(states=[["s", "u", "magic"]]))


def test_start_value_of_no_input(path):
    changed(path, "start value", lambda d: d["graph"].update(initial={"y": "start"}))


def test_start_value_that_is_no_constant(path):
    changed(path, "start value", lambda d: d["graph"].update(initial={"s": "x"}))


def test_start_value_of_another_shape(path):
    changed(path, "start value", lambda d: d["graph"].update(initial={"s": "w"}))


@pytest.mark.parametrize(("axes", "match"), [((9,), "axis 9"), ((0, 0), "twice"), ((-4,), "axis -4")])
def test_slice_of_axes_that_are_not_there(path, axes, match):
    def change(data):
        node = {"op": "slice", "name": "", "inputs": ["y"], "outputs": ["cut"]}
        n = len(axes)
        node["attrs"] = {"axes": list(axes), "starts": [0] * n, "stops": [1] * n, "steps": [1] * n}
        data["graph"]["nodes"].append(node)

    changed(path, match, change)


def test_slice_with_lists_of_different_lengths(path):
    def change(data):
        attrs = {"axes": [0, 1], "starts": [0], "stops": [1, 1], "steps": [1, 1]}
        node = {"op": "slice", "name": "", "inputs": ["y"], "outputs": ["cut"], "attrs": attrs}
        data["graph"]["nodes"].append(node)

    changed(path, "slice", change)


@pytest.mark.parametrize("key", ["frozen", "pinned", "metadata", "initial"])
def test_tables_of_another_kind_of_value(path, key):
    changed(path, "damaged", lambda d: d["graph"].update({key: {"B": [1]}}))


def eight_bits():
    """The small graph with its weights stored as int8."""
    constants = {**small().constants, "w": np.arange(-6, 6, dtype=np.int8).reshape(4, 3)}
    return replace(small(), constants=constants, scales={"w": np.full((4, 1), 0.5, np.float32)})


def test_round_trip_of_int8(path):
    file.save(eight_bits(), path)
    read = file.load(path)
    equal(eight_bits(), read)
    np.testing.assert_array_equal(read.scales["w"], eight_bits().scales["w"])
    assert set(read.constants) == {"w", "start"}


def test_round_trip_of_float16(path):
    graph = replace(small(), constants={**small().constants, "w": np.ones((4, 3), np.float16)})
    file.save(graph, path)
    equal(graph, file.load(path))


@pytest.mark.parametrize(
    ("scale", "match"),
    [
        (np.ones((4, 1), np.float64), "expected float32 with 2 axes"),
        (np.ones(4, np.float32), "expected float32 with 2 axes"),
        (np.ones((2, 1), np.float32), "does not fit"),
        (np.zeros((4, 1), np.float32), "above 0"),
        (np.full((4, 1), np.nan, np.float32), "above 0"),
        (np.full((4, 1), np.inf, np.float32), "finite"),
    ],
)
def test_scales_that_do_not_fit(path, scale, match):
    file.save(replace(eight_bits(), scales={"w": scale}), path)
    refused(path, match)


def test_int8_without_scales(path):
    file.save(replace(eight_bits(), scales={}), path)
    refused(path, "int8 without scales")


def test_scales_of_what_is_not_int8(path):
    file.save(replace(small(), scales={"w": np.ones((4, 1), np.float32)}), path)
    refused(path, "no int8 constant")


def test_scales_whose_tensor_is_missing(path):
    changed(path, "'nothing'", lambda d: d["graph"].update(scales={"w": "nothing"}))


def test_scales_that_two_constants_share(path):
    changed(path, "one tensor", lambda d: d["graph"].update(scales={"w": "start", "v": "start"}))


def test_frozen_size_below_zero(path):
    changed(path, "frozen", lambda d: d["graph"].update(frozen={"B": -1}))


# Fuzz: whatever stands in a file, loading gives a graph or a FormatError.


def survives(path, data):
    path.write_bytes(data)
    try:
        graph = file.load(path)
    except FormatError:
        return False
    try:
        Model(graph)
    except EdgeLSTMError:
        return False
    return True


FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(st.binary(max_size=400))
def test_random_bytes(path, data):
    assert not survives(path, data)


@FUZZ
@given(st.data())
def test_flipped_bytes(path, data):
    raw = bytearray(file.to_bytes(random_case(data.draw(st.integers(0, 20))).graph))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    survives(path, bytes(raw))


JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.integers(), st.floats(), st.text(max_size=5),
              st.sampled_from(["x", "y", "T", "T*B", "float32", "w", "", "caller", "tanh", "forward"])),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
)  # fmt: skip


def places(value, found, where=()):
    found.append(where)
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        places(item, found, (*where, key))
    return found


def mutate(content, draw):
    """One to three places of a JSON document replaced, removed or doubled."""
    for _ in range(draw(st.integers(1, 3))):
        where = draw(st.sampled_from(places(content, [])))
        if not where:
            continue
        parent = content
        for key in where[:-1]:
            parent = parent[key]
        match draw(st.integers(0, 3)):
            case 0:
                del parent[where[-1]]
            case 1 if isinstance(parent, list):
                parent.append(copy.deepcopy(parent[where[-1]]))
            case _:
                parent[where[-1]] = draw(JUNK)
    return content


def mutated_graph(path, data, seeds):
    graph = random_case(data.draw(st.integers(0, seeds)), nodes=4).graph
    raw = file.to_bytes(graph)
    length = int.from_bytes(raw[:8], "little")
    document = json.loads(json.loads(raw[8 : 8 + length])["__metadata__"][file.KEY])
    tensors = {name: np.array(array) for name, array in graph.constants.items()}
    survives(path, safetensors.numpy.save(tensors, {file.KEY: json.dumps(mutate(document, data.draw))}))


@settings(FUZZ, max_examples=400)
@given(st.data())
def test_mutated_graphs(path, data):
    mutated_graph(path, data, 60)


@pytest.mark.slow
@settings(FUZZ, max_examples=20_000)
@given(st.data())
def test_many_mutated_graphs(path, data):
    mutated_graph(path, data, 2000)
