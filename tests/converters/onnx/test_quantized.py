"""Quantized ONNX files: their own integers and scales, beside ONNX Runtime on the same file."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgelstm
from edgelstm.errors import FormatError, UnsupportedError
from tests.support import require_module

EXPORTS = Path(__file__).parents[2] / "models"
MODELS = EXPORTS / "torch_exports"
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


# --- whole files as ONNX Runtime's quantizer writes them ---------------------------------------------------------

EXPORTED = [
    "torch_exports/lstm_bf_linear_last.torchscript.dyn",
    "torch_exports/embedding_lstm_lm.torchscript.dyn",
    "torch_exports/embedding_gru_lm.torchscript.dyn",
    "torch_exports/conv1d_bn_lstm.torchscript.dyn",
    "torch_exports/attention_pool.torchscript.dyn",
    "torch_exports/cell_step.torchscript.dyn",
    "torch_exports/stateful_lstm2.torchscript.dyn",
    "keras_exports/bilstm_stacked",
    "keras_exports/time_distributed",
]


def random_feeds(session, seed):
    rng, sizes, feeds = np.random.default_rng(seed), {}, {}
    for entry in session.get_inputs():
        shape = [
            size if isinstance(size, int) else sizes.setdefault(size or (entry.name, axis), 7 if axis else 2)
            for axis, size in enumerate(entry.shape)
        ]
        floats = entry.type == "tensor(float)"
        kind = np.float32 if floats else np.int64
        feeds[entry.name] = rng.standard_normal(shape).astype(kind) if floats else rng.integers(0, 5, shape, kind)
    return feeds


@pytest.mark.parametrize("form", ["dynamic", "QDQ", "QOperator"])
@pytest.mark.parametrize("name", EXPORTED)
def test_exported_models(tmp_path, name, form):
    quantization, runtime = require_module("onnxruntime.quantization"), require_module("onnxruntime")
    source, path = EXPORTS / f"{name}.onnx", tmp_path / "q.onnx"
    session = runtime.InferenceSession(str(source), providers=["CPUExecutionProvider"])

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self.rows = iter([random_feeds(session, seed) for seed in range(4)])

        def get_next(self):
            return next(self.rows, None)

    kind = quantization.QuantType.QInt8
    if form == "dynamic":
        quantization.quantize_dynamic(source, path, weight_type=kind)
    else:
        quantization.quantize_static(
            source, path, Reader(), quant_format=quantization.QuantFormat[form], weight_type=kind
        )
    feeds = random_feeds(session, 99)
    want = session.run(None, feeds)
    model = edgelstm.load(path)
    assert int8_constants(model)
    got, theirs = list(model.run(feeds).values()), peer(path, feeds)
    for ours, other, exact in zip(got, theirs, want, strict=True):
        if form == "dynamic":
            assert np.abs(ours - exact).max() <= max(2 * np.abs(other - exact).max(), 2e-3)
        else:
            np.testing.assert_allclose(ours, other, atol=1e-5)


def test_a_quantized_embedding_stays_int8(tmp_path):
    quantization = require_module("onnxruntime.quantization")
    path = tmp_path / "q.onnx"
    source = MODELS / "embedding_lstm_lm.torchscript.dyn.onnx"
    quantization.quantize_dynamic(source, path, weight_type=quantization.QuantType.QInt8)
    graph = edgelstm.load(path).graph
    (gather,) = (node for node in graph.nodes if node.op == "gather" and graph.constants[node.inputs[0]].ndim == 2)
    assert graph.constants[gather.inputs[0]].dtype == np.int8


# --- single operators ------------------------------------------------------------------------------------------------


def save(path, nodes, inputs, outputs, tensors, opset=13):
    """Inputs and outputs name → shape; tensors name → array."""
    ports = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in group.items()]
        for group in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "g", *ports, [numpy_helper.from_array(a, n) for n, a in tensors.items()])
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def agrees(path, feeds, **tolerance):
    model = edgelstm.load(path)
    got, want = list(model.run(feeds).values()), peer(path, feeds)
    for ours, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(ours, theirs, **tolerance)
    return model


def integers(*shape, seed=0):
    return np.random.default_rng(seed).integers(-127, 128, shape).astype(np.int8)


@pytest.mark.parametrize(("op", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_cells_between_quantize_and_dequantize(tmp_path, op, gates):
    w, r = integers(1, gates * 5, 4), integers(1, gates * 5, 5, seed=1)
    scale = np.linspace(0.004, 0.008, gates * 5, dtype=np.float32)
    tensors = {
        "s": np.float32(0.02),
        "z": np.uint8(128),
        "w": w,
        "r": r,
        "ws": scale,
        "wz": np.zeros(gates * 5, np.int8),
    }
    tensors |= {"rs": np.float32(0.006), "rz": np.int8(0)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wf"], axis=1),
        helper.make_node("DequantizeLinear", ["r", "rs", "rz"], ["rf"]),
        helper.make_node(op, ["d", "wf", "rf"], ["y"], hidden_size=5),
    ]
    save(tmp_path / "q.onnx", nodes, {"x": ["T", 2, 4]}, {"y": ["T", 1, 2, 5]}, tensors)
    x = RNG.standard_normal((6, 2, 4)).astype(np.float32)
    model = agrees(tmp_path / "q.onnx", {"x": x}, atol=1e-5)
    (node,) = (node for node in model.graph.nodes if node.op == op.lower())
    for name, stored in zip(node.inputs[1:3], (w, r), strict=True):
        np.testing.assert_array_equal(model.graph.constants[name], stored)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
def test_integer_product_to_float(tmp_path, bias, per_channel):
    w, scale = integers(6, 4), np.linspace(0.01, 0.02, 4, dtype=np.float32)
    tensors = {"w": w, "ws": scale if per_channel else scale[:1], "wz": np.zeros(4 if per_channel else 1, np.int8)}
    tensors |= {"b": np.arange(4, dtype=np.float32)}
    names = ["q", "w", "s", "ws", "z", "wz", *(["b"] if bias else [])]
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("MatMulIntegerToFloat", names, ["y"], domain="com.microsoft"),
    ]
    save(tmp_path / "q.onnx", nodes, {"x": ["B", 6]}, {"y": ["B", 4]}, tensors)
    model = agrees(tmp_path / "q.onnx", {"x": RNG.standard_normal((1, 6)).astype(np.float32)}, atol=2e-2, rtol=2e-2)
    (node,) = (node for node in model.graph.nodes if node.op == "linear")
    assert node.attrs["int8"] == ("x",)
    np.testing.assert_array_equal(model.graph.constants[node.inputs[1]], w.T)


@pytest.mark.parametrize("quantized_output", [False, True])
@pytest.mark.parametrize("turned", [0, 1])
def test_quantized_gemm(tmp_path, turned, quantized_output):
    w, tensors = integers(4, 6) if turned else integers(6, 4), {"s": np.float32(0.02), "z": np.uint8(100)}
    tensors |= {"w": w, "ws": np.float32(0.01), "wz": np.int8(0), "b": np.arange(-2, 2, dtype=np.int32) * 900}
    tensors |= {"ys": np.float32(0.05), "yz": np.uint8(120)}
    names = ["q", "s", "z", "w", "ws", "wz", "b", *(["ys", "yz"] if quantized_output else [])]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("QGemm", names, ["p"], domain="com.microsoft", transB=turned, alpha=1.0),
        helper.make_node("DequantizeLinear", ["p", "ys", "yz"], ["y"])
        if quantized_output
        else helper.make_node("Identity", ["p"], ["y"]),
    ]
    save(tmp_path / "q.onnx", nodes, {"x": ["B", 6]}, {"y": ["B", 4]}, tensors)
    model = agrees(tmp_path / "q.onnx", {"x": RNG.standard_normal((5, 6)).astype(np.float32)}, atol=1e-5)
    assert int8_constants(model) == [(4, 6)]


def test_a_product_of_two_quantized_values(tmp_path):
    tensors = {"s": np.float32(0.02), "z": np.uint8(128), "ys": np.float32(0.05), "yz": np.uint8(128)}
    nodes = [
        helper.make_node("QuantizeLinear", ["a", "s", "z"], ["qa"]),
        helper.make_node("QuantizeLinear", ["b", "s", "z"], ["qb"]),
        helper.make_node("QLinearMatMul", ["qa", "s", "z", "qb", "s", "z", "ys", "yz"], ["p"]),
        helper.make_node("DequantizeLinear", ["p", "ys", "yz"], ["y"]),
    ]
    save(tmp_path / "q.onnx", nodes, {"a": ["B", 6], "b": [6, 4]}, {"y": ["B", 4]}, tensors)
    feeds = {name: RNG.standard_normal(shape).astype(np.float32) for name, shape in (("a", (5, 6)), ("b", (6, 4)))}
    agrees(tmp_path / "q.onnx", feeds, atol=1e-5)


@pytest.mark.parametrize("changed", ["scale", "zero"])
def test_a_tensor_read_with_another_scale_is_refused(tmp_path, changed):
    tensors = {"s": np.float32(0.02), "z": np.uint8(128), "s2": np.float32(0.03), "z2": np.uint8(120)}
    names = ["q", "s2" if changed == "scale" else "s", "z2" if changed == "zero" else "z"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", names, ["y"], name="reads"),
    ]
    save(tmp_path / "q.onnx", nodes, {"x": ["B", 6]}, {"y": ["B", 6]}, tensors)
    with pytest.raises(UnsupportedError, match="DequantizeLinear node 'reads': reads 'q' with the scale"):
        edgelstm.load(tmp_path / "q.onnx")


def test_an_integer_operator_that_is_not_known_is_named(tmp_path):
    tensors = {"s": np.float32(0.02), "z": np.uint8(128)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node(
            "QLinearReduceMean", ["q", "s", "z", "s", "z"], ["m"], name="mean", domain="com.microsoft", axes=[1]
        ),
        helper.make_node("DequantizeLinear", ["m", "s", "z"], ["y"]),
    ]
    save(tmp_path / "q.onnx", nodes, {"x": ["B", 6]}, {"y": ["B", 1]}, tensors)
    with pytest.raises(UnsupportedError, match="QLinearReduceMean node 'mean': takes the integer tensor 'q'"):
        edgelstm.load(tmp_path / "q.onnx")
