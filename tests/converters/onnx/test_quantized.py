"""Quantized ONNX files: their own integers and scales, beside ONNX Runtime on the same file."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgelstm
from edgelstm.errors import FormatError, UnsupportedError
from tests.support import require_module

MODELS = Path(__file__).parents[2] / "models" / "torch_exports"
RNG = np.random.default_rng(0)


def peer(path, feeds):
    runtime = require_module("onnxruntime")
    return runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, feeds)


def int8_constants(model):
    return sorted(array.shape for array in model.graph.constants.values() if array.dtype == np.int8)


def two_products(path):
    w, w2 = (np.random.default_rng(k).standard_normal(s).astype(np.float32) for k, s in enumerate([(6, 20), (20, 3)]))
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="m1"),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("MatMul", ["r", "w2"], ["y"], name="m2"),
    ]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["B", "T", size]) for n, size in (("x", 6), ("y", 3))]
    tensors = [numpy_helper.from_array(w, "w"), numpy_helper.from_array(w2, "w2")]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


@pytest.mark.parametrize("per_channel", [False, True])
def test_dynamic_lstm_and_matmul(tmp_path, per_channel):
    quantization = require_module("onnxruntime.quantization")
    source = MODELS / "lstm_bf_linear_last.torchscript.dyn.onnx"
    path = tmp_path / "q.onnx"
    quantization.quantize_dynamic(
        source,
        path,
        weight_type=quantization.QuantType.QInt8,
        per_channel=per_channel,
        op_types_to_quantize=["LSTM", "MatMul", "Gemm"],
    )
    kinds = {node.op_type for node in onnx.load(path).graph.node}
    assert {"DynamicQuantizeLSTM", "MatMulInteger", "DynamicQuantizeLinear"} <= kinds
    model, plain = edgelstm.load(path), edgelstm.load(source)
    assert int8_constants(model) == [(1, 32, 6), (1, 32, 8), (3, 8)]
    assert [node.attrs["int8"] for node in model.graph.nodes if "int8" in node.attrs] == [("x", "h"), ("x",)]
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    ours = next(array for array in model.graph.constants.values() if array.shape == (1, 32, 8))
    assert any(
        array.shape == (1, 8, 32) and np.array_equal(array.transpose(0, 2, 1), ours) for array in stored.values()
    )
    x = RNG.standard_normal((2, 9, 6)).astype(np.float32)
    (name,), (want,) = model.inputs, plain.run({next(iter(plain.inputs)): x}).values()
    (got,) = model.run({name: x}).values()
    (theirs,) = peer(path, {name: x})
    assert np.abs(got - want).max() <= max(2 * np.abs(theirs - want).max(), 2e-3)


@pytest.mark.parametrize(("form", "per_channel"), [("QDQ", True), ("QDQ", False), ("QOperator", False)])
def test_static_products_are_the_same_numbers(tmp_path, form, per_channel):
    quantization = require_module("onnxruntime.quantization")

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self.rows = iter([{"x": np.random.default_rng(k).standard_normal((2, 9, 6), np.float32)} for k in range(4)])

        def get_next(self):
            return next(self.rows, None)

    source, path = tmp_path / "m.onnx", tmp_path / "q.onnx"
    two_products(source)
    quantization.quantize_static(
        source,
        path,
        Reader(),
        quant_format=quantization.QuantFormat[form],
        per_channel=per_channel,
        weight_type=quantization.QuantType.QInt8,
    )
    model = edgelstm.load(path)
    assert int8_constants(model) == [(3, 20), (20, 6)]
    x = RNG.standard_normal((2, 9, 6)).astype(np.float32)
    np.testing.assert_allclose(model.run({"x": x})["y"], peer(path, {"x": x})[0], atol=1e-5)


def quantized_product(path, scale=0.5, zero=3, kind=np.uint8):
    """x quantized and dequantized, times an int8 matrix with its own scale."""
    w = RNG.integers(-127, 128, (6, 4)).astype(np.int8)
    tensors = [
        numpy_helper.from_array(np.float32(scale), "s"),
        numpy_helper.from_array(np.asarray(zero, kind), "z"),
        numpy_helper.from_array(w, "w"),
        numpy_helper.from_array(np.float32(0.01), "ws"),
        numpy_helper.from_array(np.int8(0), "wz"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="quantize"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wf"], name="weights"),
        helper.make_node("MatMul", ["d", "wf"], ["y"], name="product"),
    ]
    ports = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["B", k]) for n, k in (("x", 6), ("y", 4))]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return w


@pytest.mark.parametrize(("zero", "kind"), [(3, np.uint8), (-5, np.int8), (0, np.uint8)])
def test_values_saturate_as_in_the_file(tmp_path, zero, kind):
    w = quantized_product(tmp_path / "q.onnx", zero=zero, kind=kind)
    model = edgelstm.load(tmp_path / "q.onnx")
    x = (RNG.standard_normal((5, 6)) * 100).astype(np.float32)
    want = peer(tmp_path / "q.onnx", {"x": x})[0]
    np.testing.assert_allclose(model.run({"x": x})["y"], want, rtol=1e-5, atol=1e-4)
    (name,) = model.graph.scales
    np.testing.assert_array_equal(model.graph.constants[name], w.T)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_a_scale_that_is_none_is_refused(tmp_path, scale):
    quantized_product(tmp_path / "q.onnx", scale=scale)
    with pytest.raises(
        FormatError, match=r"QuantizeLinear node 'quantize': scale 's' holds .* expected finite numbers"
    ):
        edgelstm.load(tmp_path / "q.onnx")


def test_a_zero_point_of_another_range_is_refused(tmp_path):
    quantized_product(tmp_path / "q.onnx")
    model = onnx.load(tmp_path / "q.onnx")
    (tensor,) = (entry for entry in model.graph.initializer if entry.name == "wz")
    tensor.CopyFrom(numpy_helper.from_array(np.uint8(200), "wz"))
    with pytest.raises(FormatError, match="zero point 'wz' is uint8: expected int8"):
        edgelstm_load(model, tmp_path)


def test_an_integer_tensor_where_numbers_belong_is_refused(tmp_path):
    quantized_product(tmp_path / "q.onnx")
    model = onnx.load(tmp_path / "q.onnx")
    model.graph.node.insert(1, helper.make_node("Cast", ["q"], ["n"], name="cast", to=TensorProto.FLOAT))
    with pytest.raises(UnsupportedError, match="Cast node 'cast': takes the integer tensor 'q'"):
        edgelstm_load(model, tmp_path)


def edgelstm_load(model, folder):
    onnx.save(model, folder / "changed.onnx")
    return edgelstm.load(folder / "changed.onnx")
