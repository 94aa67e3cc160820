"""Exporters' known faults: warned of, and put right on request."""

import numpy as np
import pytest

pytest.importorskip("onnx")

from edgelstm_converters.onnx import load_onnx
from edgelstm_converters.onnx.lint import made_by_pytorch
from onnx import helper

import edgelstm
from edgelstm.errors import InputError
from edgelstm.runtime.model import Model
from tests.converters.onnx.build import model, run_graph, run_onnxruntime, typed

H, F = 4, 3
RNG = np.random.default_rng(1)


def floats(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def cell(
    op="GRU", gates=3, inputs=("x", "W", "R", "B"), outputs=("y",), extra=None, producer="pytorch", b=None, **attrs
):
    constants = {
        "W": floats(1, gates * H, F),
        "R": floats(1, gates * H, H),
        "B": floats(1, 2 * gates * H) if b is None else b,
    }
    node = helper.make_node(op, list(inputs), list(outputs), "cell", hidden_size=H, **attrs)
    made = model([node], {"x": ["t", "b", F], **(extra or {})}, [name for name in outputs if name], constants)
    made.producer_name = producer
    return made


def found(report, kind, subject):
    return [entry for entry in report if (entry.kind, entry.subject) == (kind, subject)]


def test_a_gru_of_pytorch_with_the_reset_before_is_warned_of():
    made = cell()
    result = load_onnx(made)
    (entry,) = found(result.report, "warning", "linear_before_reset")
    assert "GRU node 'cell'" in str(entry)
    assert result.graph.nodes[0].attrs["linear_before_reset"] == 0


def test_and_repaired_on_request():
    made = typed(cell(linear_before_reset=0))
    result = load_onnx(made, repair=True)
    assert found(result.report, "repaired", "linear_before_reset")
    assert not found(result.report, "warning", "linear_before_reset")
    assert result.graph.nodes[0].attrs["linear_before_reset"] == 1
    assert made.graph.node[0].attribute[1].i == 0  # the caller's model stays what it was
    right = type(made)()
    right.CopyFrom(made)
    for attribute in right.graph.node[0].attribute:
        if attribute.name == "linear_before_reset":
            attribute.i = 1
    x = floats(5, 2, F)
    want = run_onnxruntime(right, {"x": x})
    np.testing.assert_allclose(run_graph(result.graph, {"x": x})["y"], want["y"], atol=1e-6)


@pytest.mark.parametrize(("producer", "attrs"), [("tf2onnx", {}), ("", {}), ("pytorch", {"linear_before_reset": 1})])
def test_other_grus_are_left_alone(producer, attrs):
    result = load_onnx(cell(producer=producer, **attrs), repair=True)
    assert not found(result.report, "warning", "linear_before_reset")
    assert result.graph.nodes[0].attrs["linear_before_reset"] == attrs.get("linear_before_reset", 0)


def test_what_the_dynamo_exporter_leaves_in_a_file_names_it():
    made = cell(producer="")
    assert not made_by_pytorch(made)
    entry = made.graph.metadata_props.add()
    entry.key, entry.value = "pkg.torch.export.ExportedProgram.graph_signature", ""
    assert made_by_pytorch(made)


def test_a_length_fixed_by_the_exporter():
    made = cell("RNN", 1)
    assert not found(load_onnx(made).report, "warning", "length")
    made.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 7
    result = load_onnx(made)
    (entry,) = found(result.report, "warning", "length")
    assert "7" in entry.text
    with pytest.raises(InputError, match="7"):
        run_graph(result.graph, {"x": floats(8, 2, F)})


def test_a_gate_that_belongs_to_no_cell():
    # an LSTM with one more factor: no cell of the table
    nodes = [
        helper.make_node("Concat", ["x", "h"], ["xh"], axis=1),
        *[helper.make_node("MatMul", ["xh", f"k{n}"], [f"a{n}"]) for n in range(3)],
        helper.make_node("Sigmoid", ["a0"], ["i"]),
        helper.make_node("Tanh", ["a1"], ["g"]),
        helper.make_node("Sigmoid", ["a2"], ["o"]),
        helper.make_node("Mul", ["i", "g"], ["c"], "gate"),
        helper.make_node("Mul", ["c", "c"], ["c2"]),
        helper.make_node("Mul", ["o", "c2"], ["h_next"]),
    ]
    kernels = {f"k{n}": floats(F + H, H) for n in range(3)}
    result = load_onnx(model(nodes, {"x": ["b", F], "h": ["b", H]}, ["h_next"], kernels))
    (entry,) = found(result.report, "warning", "cell")
    assert "'gate'" in entry.where
    assert not found(load_onnx(cell("LSTM", 4)).report, "warning", "cell")


def test_one_bias_written_twice():
    half = floats(1, 4 * H)
    made = typed(cell("LSTM", 4, b=np.concatenate([half, half], axis=1)))
    result = load_onnx(made)
    assert found(result.report, "warning", "B")
    x = floats(5, 2, F)
    np.testing.assert_allclose(run_graph(result.graph, {"x": x})["y"], run_onnxruntime(made, {"x": x})["y"], atol=1e-6)
    repaired = load_onnx(made, repair=True)
    assert found(repaired.report, "repaired", "B")
    made.graph.initializer[2].CopyFrom(
        helper.make_tensor("B", 1, (1, 8 * H), np.concatenate([half, 0 * half], axis=1).ravel())
    )
    want = run_onnxruntime(made, {"x": x})["y"]
    np.testing.assert_allclose(run_graph(repaired.graph, {"x": x})["y"], want, atol=1e-6)


@pytest.mark.parametrize("b", [np.zeros((1, 8 * H), np.float32), None])
def test_biases_that_are_zero_or_differ_are_not(b):
    assert not found(load_onnx(cell("LSTM", 4, b=b)).report, "warning", "B")


def test_a_state_that_no_output_shows():
    state = {"h0": [1, "b", H], "c0": [1, "b", H]}
    inputs = ("x", "W", "R", "B", "", "h0", "c0")
    made = cell("LSTM", 4, inputs, ("y",), state)
    entries = found(load_onnx(made).report, "warning", "state")
    assert ["'h0'" in str(entry) or "'c0'" in str(entry) for entry in entries] == [True, True]
    assert not found(load_onnx(cell("LSTM", 4, inputs, ("y", "hn", "cn"), state)).report, "warning", "state")
    assert not found(load_onnx(cell("LSTM", 4)).report, "warning", "state")  # it starts from zeros

    repaired = Model(load_onnx(made, repair=True).graph)
    assert {(state.name, state.output) for state in repaired.states} == {("h0", "h0.next"), ("c0", "c0.next")}
    x, h, c = floats(6, 1, F), floats(1, 1, H), floats(1, 1, H)
    whole = repaired.run({"x": x, "h0": h, "c0": c})
    first = repaired.run({"x": x[:2], "h0": h, "c0": c})
    rest = repaired.run({"x": x[2:], "h0": first["h0.next"], "c0": first["c0.next"]})
    np.testing.assert_array_equal(np.concatenate([first["y"], rest["y"]]), whole["y"])


def test_repair_through_load_and_the_command_line(tmp_path, capsys):
    from edgelstm.cli import main

    path = tmp_path / "gru.onnx"
    path.write_bytes(cell().SerializeToString())
    assert edgelstm.load(path).graph.nodes[0].attrs["linear_before_reset"] == 0
    assert edgelstm.load(path, repair=True).graph.nodes[0].attrs["linear_before_reset"] == 1
    assert main(["convert", str(path)]) == 0
    assert "warning  GRU node 'cell': linear_before_reset" in capsys.readouterr().out
    assert main(["convert", str(path), "--repair"]) == 0
    assert "repaired GRU node 'cell': linear_before_reset" in capsys.readouterr().out
    assert edgelstm.load(tmp_path / "gru.edgelstm").graph.nodes[0].attrs["linear_before_reset"] == 1
    with pytest.raises(InputError, match="repair"):
        edgelstm.load(tmp_path / "gru.edgelstm", repair=True)
