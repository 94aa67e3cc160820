"""Every operator that is not a recurrent cell against ONNX Runtime's operator of the same meaning."""

import math

import numpy as np
import pytest

from edgelstm.errors import InputError
from edgelstm.graph.ir import TensorType
from edgelstm.graph.ops import OPS, infer, make_node
from edgelstm.reference import REFERENCE, evaluate

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(3)
X = RNG.normal(0, 2, (3, 4, 5)).astype(np.float32)
Y = RNG.normal(0, 2, (4, 1)).astype(np.float32)
POSITIVE = np.abs(X) + np.float32(0.1)
K, J = RNG.integers(-9, 10, (2, 3, 4))
J[J == 0] = 4
P, Q = RNG.integers(0, 2, (2, 3, 4)).astype(bool)
EDGES = np.array([-np.inf, -200, -1, -0.0, 0.0, 0.5, 1, 200, np.inf, np.nan], np.float32)
SEQUENCE = RNG.normal(size=(2, 6, 11)).astype(np.float32)
IMAGE = RNG.normal(size=(2, 4, 7, 9)).astype(np.float32)


def ints(*values):
    return np.array(values, np.int64)


def unary(name, onnx_name, x=X, **attrs):
    return (name, attrs, [x], onnx_name, attrs, [x])


def binary(name, onnx_name, a=X, b=Y):
    return (name, {}, [a, b], onnx_name, {}, [a, b])


def reduction(name, onnx_name, axes, keepdims, x=X):
    return (name, {"axes": axes, "keepdims": keepdims}, [x], onnx_name, {"keepdims": keepdims}, [x, ints(*axes)])


def conv(x, w, b, group=1, **window):
    renamed = {"strides": window["strides"], "pads": window["pads"], "dilations": window["dilations"]}
    inputs = [x, w] if b is None else [x, w, b]
    return ("conv", {**window, "group": group}, inputs, "Conv", {**renamed, "group": group}, inputs)


def pool(x, kernel, **window):
    return ("max_pool", {"kernel": kernel, **window}, [x], "MaxPool", {"kernel_shape": kernel, **window}, [x])


def pad(mode, pads, value=0.0, x=X):
    return (
        "pad",
        {"pads": pads, "mode": mode, "value": value},
        [x],
        "Pad",
        {"mode": mode},
        [x, ints(*pads), np.float32(value)],
    )


def slices(x, axes, starts, stops, steps):
    attrs = {"axes": axes, "starts": starts, "stops": stops, "steps": steps}
    theirs = [stop if stop >= 0 else -99 for stop in stops]  # to ONNX, -1 is the last entry
    return ("slice", attrs, [x], "Slice", {}, [x, ints(*starts), ints(*theirs), ints(*axes), ints(*steps)])


def cast(x, to, code):
    return ("cast", {"to": to}, [x], "Cast", {"to": code}, [x])


W1 = RNG.normal(size=(4, 3, 3)).astype(np.float32)
W2 = RNG.normal(size=(6, 2, 2, 3)).astype(np.float32)
B1, B2 = RNG.normal(size=4).astype(np.float32), RNG.normal(size=6).astype(np.float32)
M, N = RNG.normal(size=(2, 3, 4)).astype(np.float32), RNG.normal(size=(4, 5)).astype(np.float32)
BIAS = RNG.normal(size=5).astype(np.float32)

CASES = [
    unary("sigmoid", "Sigmoid"),
    unary("sigmoid", "Sigmoid", EDGES),
    unary("tanh", "Tanh"),
    unary("tanh", "Tanh", EDGES),
    unary("relu", "Relu"),
    unary("leaky_relu", "LeakyRelu", alpha=0.3),
    unary("thresholded_relu", "ThresholdedRelu", np.array([0.5, 1.0, 1.5], np.float32), alpha=1.0),
    unary("hard_sigmoid", "HardSigmoid", alpha=0.3, beta=0.4),
    unary("elu", "Elu", alpha=1.3),
    unary("softsign", "Softsign"),
    unary("softplus", "Softplus"),
    unary("exp", "Exp"),
    unary("log", "Log", POSITIVE),
    unary("sqrt", "Sqrt", POSITIVE),
    unary("neg", "Neg"),
    unary("neg", "Neg", K),
    unary("abs", "Abs"),
    unary("abs", "Abs", K),
    unary("reciprocal", "Reciprocal"),
    unary("erf", "Erf"),
    unary("floor", "Floor", EDGES),
    unary("ceil", "Ceil", EDGES),
    unary("round", "Round", np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.4, 2e9, np.inf, np.nan], np.float32)),
    unary("not", "Not", P),
    unary("identity", "Identity"),
    cast(K, "float32", 1),
    cast(X, "int64", 7),
    cast(K, "bool", 9),
    cast(X, "bool", 9),
    cast(P, "float32", 1),
    cast(K, "uint8", 2),
    binary("add", "Add"),
    binary("add", "Add", K, J),
    binary("sub", "Sub"),
    binary("mul", "Mul"),
    binary("div", "Div"),
    binary("div", "Div", K, J),
    binary("pow", "Pow", POSITIVE, Y),
    binary("maximum", "Max"),
    binary("minimum", "Min", K, J),
    binary("equal", "Equal", K, np.sort(K)),
    binary("less", "Less"),
    binary("greater", "Greater", K, J),
    binary("and", "And", P, Q),
    binary("or", "Or", P, Q),
    ("where", {}, [P[:, :, None], X, Y], "Where", {}, [P[:, :, None], X, Y]),
    ("softmax", {"axis": 1}, [X], "Softmax", {"axis": 1}, [X]),
    ("softmax", {"axis": -1}, [50 * X], "Softmax", {"axis": -1}, [50 * X]),
    ("log_softmax", {"axis": 0}, [X], "LogSoftmax", {"axis": 0}, [X]),
    ("log_softmax", {"axis": -1}, [50 * X], "LogSoftmax", {"axis": -1}, [50 * X]),
    reduction("reduce_sum", "ReduceSum", (1,), 1),
    reduction("reduce_sum", "ReduceSum", (0, -1), 0, K[..., None]),
    reduction("reduce_mean", "ReduceMean", (0, 2), 0),
    reduction("reduce_max", "ReduceMax", (2,), 0),
    reduction("reduce_min", "ReduceMin", (0, 1, 2), 1),
    reduction("reduce_prod", "ReduceProd", (-1,), 0),
    *(
        (
            "argmax",
            {"axis": axis, "keepdims": keepdims, "select_last": last},
            [K],
            "ArgMax",
            {"axis": axis, "keepdims": keepdims, "select_last_index": last},
            [K.astype(np.float32)],
        )
        for axis in (0, -1)
        for keepdims in (0, 1)
        for last in (0, 1)
    ),
    (
        "layer_norm",
        {"axis": -1, "epsilon": 1e-3},
        [X, BIAS, BIAS],
        "LayerNormalization",
        {"epsilon": 1e-3},
        [X, BIAS, BIAS],
    ),
    ("layer_norm", {"axis": 1}, [X, X[0]], "LayerNormalization", {"axis": 1}, [X, X[0]]),
    ("linear", {}, [N.T, N.T, BIAS], "Gemm", {"transB": 1}, [N.T, N.T, BIAS]),
    ("linear", {}, [N, N], "Gemm", {"transB": 1}, [N, N]),
    ("matmul", {}, [M, N], "MatMul", {}, [M, N]),
    ("matmul", {}, [M, N[:, 0]], "MatMul", {}, [M, N[:, 0]]),
    ("matmul", {}, [N[:, 0], N], "MatMul", {}, [N[:, 0], N]),
    conv(SEQUENCE, W1, B1, strides=(1,), pads=(0, 0), dilations=(1,), group=2),
    conv(SEQUENCE, W1, None, strides=(2,), pads=(2, 1), dilations=(3,), group=2),
    conv(IMAGE, W2, B2, strides=(2, 1), pads=(1, 0, 0, 2), dilations=(1, 2), group=2),
    conv(IMAGE[:, :2], W2, B2, strides=(1, 3), pads=(0, 0, 0, 0), dilations=(2, 1)),
    pool(SEQUENCE, (3,), strides=(2,), pads=(1, 1), dilations=(1,)),
    *(
        (
            "avg_pool",
            {"kernel": k, "strides": s, "pads": p, "dilations": d, "count_include_pad": c},
            [x],
            "AveragePool",
            {"kernel_shape": k, "strides": s, "pads": p, "dilations": d, "count_include_pad": c},
            [x],
        )
        for c in (0, 1)
        for x, k, s, p, d in (
            (SEQUENCE, (3,), (2,), (1, 1), (1,)),
            (IMAGE, (2, 3), (1, 2), (0, 1, 1, 2), (1, 1)),
            (IMAGE, (2, 3), (2, 1), (0, 0, 0, 0), (2, 3)),
        )
    ),
    pool(-np.abs(IMAGE), (2, 3), strides=(1, 2), pads=(0, 1, 1, 2), dilations=(2, 1)),
    ("reshape", {"shape": (2, 30)}, [X], "Reshape", {}, [X, ints(2, 30)]),
    ("transpose", {"perm": (2, 0, 1)}, [X], "Transpose", {"perm": (2, 0, 1)}, [X]),
    slices(X, (2, 0), (1, 1), (5, 3), (2, 1)),
    slices(X, (1, 2), (3, 4), (-1, 0), (-1, -2)),
    ("concat", {"axis": -2}, [X, X[:, :2]], "Concat", {"axis": -2}, [X, X[:, :2]]),
    ("broadcast", {"shape": (3, 4, 2)}, [Y], "Expand", {}, [Y, ints(3, 4, 2)]),
    pad("constant", (0, 1, 2, 3, 0, 1), 1.5),
    pad("edge", (1, 0, 2, 0, 1, 3)),
    pad("reflect", (1, 0, 2, 2, 1, 3)),
    (
        "reverse_sequence",
        {"batch_axis": 1, "time_axis": 0},
        [X, ints(3, 1, 1, 2)],
        "ReverseSequence",
        {"batch_axis": 1, "time_axis": 0},
        [X, ints(3, 1, 1, 2)],
    ),
    (
        "reverse_sequence",
        {"batch_axis": 0, "time_axis": 1},
        [X, ints(3, 4, 1)],
        "ReverseSequence",
        {"batch_axis": 0, "time_axis": 1},
        [X, ints(3, 4, 1)],
    ),
    ("gather", {"axis": 0}, [N, ints(2, 0, -1)], "Gather", {"axis": 0}, [N, ints(2, 0, -1)]),
    ("gather", {"axis": 1}, [X, np.array([[3, 1]])], "Gather", {"axis": 1}, [X, np.array([[3, 1]])]),
]


def onnxruntime_output(op, attrs, inputs):
    helper = onnx.helper
    names = [f"i{k}" for k in range(len(inputs))]
    inputs = [np.asarray(array) for array in inputs]
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in zip(names, inputs, strict=True)
    ]
    node = helper.make_node(op, names, ["out"], **attrs)
    graph = helper.make_graph([node], "g", infos, [onnx.ValueInfoProto(name="out")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip(names, inputs, strict=True)))[0]


@pytest.mark.parametrize(("op", "attrs", "inputs", "onnx_op", "onnx_attrs", "onnx_inputs"), CASES)
def test_agrees_with_onnxruntime(op, attrs, inputs, onnx_op, onnx_attrs, onnx_inputs):
    node = make_node(op, [f"i{k}" for k in range(len(inputs))], ["out"], **attrs)
    padded = [*inputs, *[None] * (len(node.inputs) - len(inputs))]
    (got,) = evaluate(node, padded)
    want = onnxruntime_output(onnx_op, onnx_attrs, onnx_inputs)
    assert (want.dtype, want.shape) == (got.dtype, got.shape)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    # the graph's shape rule foresees it
    kinds = [None if array is None else TensorType(array.dtype.name, array.shape) for array in padded]
    assert infer(node, kinds) == [TensorType(got.dtype.name, got.shape)]
    # and float64 gives the same values with more digits
    if got.dtype == np.float32 and op != "cast":
        wide = [a.astype(np.float64) if a is not None and a.dtype == np.float32 else a for a in padded]
        (exact,) = evaluate(node, wide)
        assert exact.dtype == np.float64
        np.testing.assert_allclose(got, exact, rtol=1e-5, atol=1e-5)


def test_every_operator_of_the_table_is_defined_and_tested():
    assert set(OPS) == set(REFERENCE)
    without_peer = {"affine", "scaled_tanh", "put", "expect", "arange"}  # of ONNX; tested below
    assert set(OPS) - {"rnn", "gru", "lstm"} == {case[0] for case in CASES} | without_peer


def test_affine_and_scaled_tanh():
    x = X.astype(np.float64)
    (got,) = evaluate(make_node("affine", ["x"], ["y"], alpha=0.3, beta=-1.0), [x])
    np.testing.assert_allclose(got, [[[0.3 * v - 1.0 for v in row] for row in rows] for rows in x])
    (got,) = evaluate(make_node("scaled_tanh", ["x"], ["y"], alpha=0.3, beta=-1.5), [x])
    np.testing.assert_allclose(got, [[[0.3 * math.tanh(-1.5 * v) for v in row] for row in rows] for rows in x])


def test_cast_to_integers_saturates():
    x = np.array([np.nan, 3e9, -3e9, 2.9, -2.9, np.inf], np.float32)
    (got,) = evaluate(make_node("cast", ["x"], ["y"], to="int32"), [x])
    assert got.tolist() == [0, 2**31 - 1, -(2**31), 2, -2, 2**31 - 1]
    (got,) = evaluate(make_node("cast", ["x"], ["y"], to="uint8"), [x])
    assert got.tolist() == [0, 255, 0, 2, 0, 255]


def test_integer_division_by_zero_gives_zero():
    (got,) = evaluate(make_node("div", ["a", "b"], ["y"]), [np.array([7, -7], np.int32), np.array([0, 0], np.int32)])
    assert got.tolist() == [0, 0]


def test_gather_refuses_an_index_out_of_range():
    with pytest.raises(InputError, match="expected indices from -4 to 3, got 4"):
        evaluate(make_node("gather", ["t", "i"], ["y"]), [N, ints(0, 4)])


def test_expected_sizes():
    x = np.ones((2, 3), np.float32)
    (y,) = evaluate(make_node("expect", ["x"], ["y"], given=(3, 4), wanted=(3, 4)), [x])
    assert y is x
    with pytest.raises(InputError, match="expected the sizes"):
        evaluate(make_node("expect", ["x"], ["y"], given=(3, 4), wanted=(3, 5)), [x])


@pytest.mark.parametrize("index", [-1, 3])
def test_put_out_of_range(index):
    x = np.zeros((3, 2), np.float32)
    (y,) = evaluate(make_node("put", ["x", "v", "i"], ["y"], axis=0), [x, x[:1] + 1, np.array([1])])
    assert y.tolist() == [[0, 0], [1, 1], [0, 0]]
    assert not x.any()
    with pytest.raises(InputError, match="expected an index from 0 to 2"):
        evaluate(make_node("put", ["x", "v", "i"], ["y"], axis=0), [x, x[:1], np.array([index])])


def test_arange():
    (y,) = evaluate(make_node("arange", [], ["y"], shape=(4,)), [])
    assert y.dtype == np.int64
    assert y.tolist() == [0, 1, 2, 3]
    with pytest.raises(InputError, match="one axis"):
        infer(make_node("arange", [], ["y"], shape=(4, 2)), [])
