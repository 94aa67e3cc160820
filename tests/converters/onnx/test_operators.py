"""Every operator that is translated, against ONNX Runtime: with fixed sizes and with named ones."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from edgelstm_converters.onnx import load_onnx, registry
from onnx import helper, numpy_helper

from edgelstm.errors import FormatError, InputError, UnsupportedError
from tests.converters.onnx.build import DTYPES, model, run_graph, run_onnxruntime, typed, value
from tests.converters.onnx.test_random_operators import CASES as RANDOM

RNG = np.random.default_rng(11)


def floats(*shape):
    return RNG.normal(size=shape).astype(np.float32)


@dataclass
class Case:
    """A chain of nodes from `x` (and more inputs) to `y`; axes in `free` get names instead of sizes."""

    nodes: list
    inputs: dict
    constants: dict = field(default_factory=dict)
    opset: int = 17
    free: tuple = (0,)
    outputs: tuple = ("y",)

    def model(self, named):
        shapes = {
            name: ([f"{name}{axis}" if named and axis in self.free else size for axis, size in enumerate(array.shape)])
            for name, array in self.inputs.items()
        }
        kinds = {name: (shapes[name], array.dtype.name) for name, array in self.inputs.items()}
        return typed(model(self.nodes, kinds, self.outputs, self.constants, self.opset))


def op(op_type, *inputs, outputs=("y",), **attrs):
    inputs = list(inputs) or ([] if op_type == "Constant" else ["x"])
    return helper.make_node(op_type, inputs, list(outputs), f"{op_type.lower()} {outputs[0]}", **attrs)


def unary(op_type, x=None, opset=17, free=(0, 1), constants=None, inputs=("x",), **attrs):
    x = floats(3, 4) if x is None else x
    return Case([op(op_type, *inputs, **attrs)], {"x": x}, constants or {}, opset, free)


def binary(op_type, a, b, opset=17, free=(0,), **attrs):
    return Case([op(op_type, "x", "b", **attrs)], {"x": a, "b": b}, {}, opset, free)


def ints(*values):
    return np.asarray(values, np.int64)


POSITIVE = np.abs(floats(3, 4)) + np.float32(0.1)
SEQUENCE = floats(5, 2, 3)  # (T, B, I)

CASES = {
    **{name: unary(name) for name in ("Sigmoid", "Tanh", "Relu", "Softsign", "Softplus", "Exp", "Erf", "Neg", "Abs")},
    **{name: unary(name, POSITIVE) for name in ("Log", "Sqrt", "Reciprocal")},
    "Not": unary("Not", floats(3, 4) > 0),
    "LeakyRelu": unary("LeakyRelu"),
    "LeakyRelu/alpha": unary("LeakyRelu", alpha=0.3),
    "ThresholdedRelu": unary("ThresholdedRelu", 2 * floats(3, 4)),
    "HardSigmoid": unary("HardSigmoid", 3 * floats(3, 4)),
    "HardSigmoid/alpha": unary("HardSigmoid", 3 * floats(3, 4), alpha=0.3, beta=0.4),
    "Elu": unary("Elu", alpha=1.5),
    "HardSwish": unary("HardSwish", 4 * floats(3, 4)),
    "Gelu": unary("Gelu", 2 * floats(3, 4), opset=20),
    "Gelu/tanh": unary("Gelu", 2 * floats(3, 4), opset=20, approximate="tanh"),
    "PRelu": unary("PRelu", inputs=("x", "s"), constants={"s": np.abs(floats(4))}),
    **{name: binary(name, floats(3, 4), floats(3, 4)) for name in ("Add", "Sub", "Mul", "Div")},
    "Add/row": unary("Add", inputs=("x", "c"), constants={"c": floats(4)}),
    "Add/equal rows": unary("Add", inputs=("x", "c"), constants={"c": np.tile(floats(4), (3, 1))}),
    "Add/int64": binary("Add", ints(1, 2, 3), ints(4, 5, 6)),
    "Div/int64": binary("Div", ints(7, 8, 9), ints(2, 3, 5)),
    **{name: binary(name, np.round(floats(3, 4)), np.round(floats(3, 4))) for name in ("Equal", "Less", "Greater")},
    **{
        name: binary(name, np.round(floats(3, 4)), np.round(floats(3, 4))) for name in ("LessOrEqual", "GreaterOrEqual")
    },
    **{name: binary(name, floats(3, 4) > 0, floats(3, 4) > 0) for name in ("And", "Or")},
    "Pow": unary("Pow", POSITIVE, inputs=("x", "e"), constants={"e": np.float32(1.7)}),
    "Pow/int exponent": unary("Pow", inputs=("x", "e"), constants={"e": np.int64(2)}),
    "Max": Case([op("Max", "x", "b", "c")], {"x": floats(3, 4), "b": floats(3, 4)}, {"c": np.float32(0.2)}),
    "Min": Case([op("Min", "x", "b")], {"x": floats(3, 4), "b": floats(3, 4)}),
    "Sum": Case([op("Sum", "x", "b", "c")], {"x": floats(3, 4), "b": floats(3, 4)}, {"c": floats(4)}),
    "Mean": Case([op("Mean", "x", "b", "c")], {"x": floats(3, 4), "b": floats(3, 4)}, {"c": floats(4)}),
    "Clip": unary("Clip", inputs=("x", "low", "high"), constants={"low": np.float32(-0.5), "high": np.float32(0.4)}),
    "Clip/one side": unary("Clip", inputs=("x", "", "high"), constants={"high": np.float32(0.4)}),
    "Clip/before 11": unary("Clip", opset=10, min=-0.2, max=0.3),
    "Where": Case([op("Where", "c", "x", "b")], {"c": floats(3, 4) > 0, "x": floats(3, 4), "b": floats(3, 4)}),
    "Cast/int": unary("Cast", 5 * floats(3, 4), to=DTYPES["int32"]),
    "Cast/float": unary("Cast", ints(1, 2, 3), free=(0,), to=DTYPES["float32"]),
    "Identity": Case([op("Identity", outputs=["z"]), op("Tanh", "z")], {"x": floats(3, 4)}),
    "Dropout": Case([op("Dropout", outputs=["z"]), op("Tanh", "z")], {"x": floats(3, 4)}),
    "MatMul/constant": unary("MatMul", floats(2, 3, 4), inputs=("x", "w"), constants={"w": floats(4, 5)}),
    "MatMul/vector": unary("MatMul", floats(4), free=(), inputs=("x", "w"), constants={"w": floats(4, 5)}),
    "MatMul/batch": binary("MatMul", floats(2, 3, 4), floats(2, 4, 5)),
    "MatMul/constant left": unary("MatMul", floats(3, 4), inputs=("w", "x"), free=(1,), constants={"w": floats(2, 3)}),
    "Gemm": unary("Gemm", inputs=("x", "w", "b"), constants={"w": floats(5, 4), "b": floats(5)}, transB=1),
    "Gemm/scaled": unary(
        "Gemm", inputs=("x", "w", "b"), constants={"w": floats(4, 5), "b": floats(1, 5)}, alpha=0.5, beta=2.0
    ),
    "Gemm/transA": unary("Gemm", inputs=("x", "w"), constants={"w": floats(3, 5)}, transA=1, free=(1,)),
    "Gemm/scalar bias": unary("Gemm", inputs=("x", "w", "b"), constants={"w": floats(4, 5), "b": np.float32(0.3)}),
    "Gemm/matrix bias": Case(
        [op("Gemm", "x", "w", "b", beta=0.5)], {"x": floats(3, 4), "b": floats(3, 5)}, {"w": floats(4, 5)}
    ),
    "Gemm/two inputs": binary("Gemm", floats(3, 4), floats(4, 5), free=(), alpha=2.0),
    "Softmax": unary("Softmax", floats(2, 3, 4)),
    "Softmax/axis": unary("Softmax", floats(2, 3, 4), axis=1),
    "Softmax/before 13": unary("Softmax", floats(2, 3, 4), opset=12),
    "Softmax/before 13, last": unary("Softmax", floats(2, 3, 4), opset=11, axis=2),
    "Softmax/before 13, all": unary("Softmax", floats(2, 3, 4), opset=11, axis=0),
    "LogSoftmax": unary("LogSoftmax", floats(2, 3, 4)),
    "LogSoftmax/before 13": unary("LogSoftmax", floats(2, 3, 4), opset=12, axis=1),
    **{
        f"{name}/{opset}": unary(name, np.abs(floats(2, 3, 4)) + 1, opset=opset, axes=[1], keepdims=0)
        for name in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare")
        for opset in (12, 17)
    },
    **{
        name: unary(name, floats(2, 3, 4), opset=18, inputs=("x", "axes"), constants={"axes": ints(-1)})
        for name in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare")
    },
    "ReduceSum": unary("ReduceSum", floats(2, 3, 4), inputs=("x", "axes"), constants={"axes": ints(0, 2)}, free=(0, 1)),
    "ReduceSum/before 13": unary("ReduceSum", floats(2, 3, 4), opset=11, axes=[1]),
    "ReduceSum/all": unary("ReduceSum", floats(2, 3, 4), keepdims=0),
    "ReduceMean/noop": unary(
        "ReduceMean", opset=18, inputs=("x", "axes"), constants={"axes": ints(-1)}, noop_with_empty_axes=0
    ),
    "ReduceSum/none": Case(
        [op("ReduceSum", "x", "axes", outputs=["z"], noop_with_empty_axes=1), op("Neg", "z")],
        {"x": floats(2, 3)},
        {"axes": ints()},
    ),
    "ArgMax": unary("ArgMax", axis=-1, keepdims=0),
    "ArgMax/last": unary("ArgMax", np.ones((3, 4), np.float32), axis=1, select_last_index=1),
    "ArgMax/before 12": unary("ArgMax", opset=11, axis=1),
    "ArgMin": unary("ArgMin", axis=1),
    "GlobalAveragePool": unary("GlobalAveragePool", floats(2, 3, 5), free=(0, 2)),
    "GlobalMaxPool": unary("GlobalMaxPool", floats(2, 3, 5), free=(0, 2)),
    "LayerNormalization": unary(
        "LayerNormalization", inputs=("x", "s", "b"), constants={"s": floats(4), "b": floats(4)}, epsilon=1e-3
    ),
    "LayerNormalization/two axes": unary(
        "LayerNormalization", floats(2, 3, 4), free=(0,), inputs=("x", "s"), constants={"s": floats(3, 4)}, axis=1
    ),
    "BatchNormalization": unary(
        "BatchNormalization",
        floats(2, 3, 5),
        free=(0, 2),
        inputs=("x", "s", "b", "m", "v"),
        constants={"s": floats(3), "b": floats(3), "m": floats(3), "v": np.abs(floats(3)) + 1},
        epsilon=1e-2,
    ),
    "Conv": unary(
        "Conv", floats(2, 3, 9), free=(0, 2), inputs=("x", "w"), constants={"w": floats(4, 3, 3)}, pads=[1, 0]
    ),
    "Conv/bias, stride": unary(
        "Conv",
        floats(2, 4, 11),
        free=(0, 2),
        inputs=("x", "w", "b"),
        constants={"w": floats(6, 2, 3), "b": floats(6)},
        strides=[2],
        dilations=[2],
        group=2,
        kernel_shape=[3],
    ),
    "Conv/2-D": unary(
        "Conv",
        floats(2, 3, 6, 7),
        free=(0, 3),
        inputs=("x", "w"),
        constants={"w": floats(4, 3, 3, 2)},
        auto_pad="VALID",
    ),
    "Conv/same": unary(
        "Conv", floats(2, 3, 8), free=(0, 2), inputs=("x", "w"), constants={"w": floats(4, 3, 4)}, auto_pad="SAME_UPPER"
    ),
    "Conv/same, stride": unary(
        "Conv",
        floats(2, 3, 8),
        free=(0,),
        inputs=("x", "w"),
        constants={"w": floats(4, 3, 4)},
        auto_pad="SAME_LOWER",
        strides=[2],
    ),
    "MaxPool": unary("MaxPool", floats(2, 3, 9), free=(0, 2), kernel_shape=[3], strides=[2], pads=[1, 1], ceil_mode=0),
    "MaxPool/2-D": unary("MaxPool", floats(2, 3, 6, 6), free=(0,), kernel_shape=[2, 3], storage_order=0),
    "Reshape": unary("Reshape", floats(2, 3, 4), inputs=("x", "s"), constants={"s": ints(0, 0, 2, -1)}),
    "Reshape/flat": unary("Reshape", floats(2, 3, 4), inputs=("x", "s"), constants={"s": ints(-1, 4)}),
    "Flatten": unary("Flatten", floats(2, 3, 4)),
    "Flatten/axis": unary("Flatten", floats(2, 3, 4), axis=2),
    "Transpose": unary("Transpose", floats(2, 3, 4), free=(0, 1, 2)),
    "Transpose/perm": unary("Transpose", floats(2, 3, 4), free=(0, 1, 2), perm=[1, 0, 2]),
    "Squeeze": unary("Squeeze", floats(3, 1, 4), free=(0, 2), inputs=("x", "a"), constants={"a": ints(-2)}),
    "Squeeze/before 13": unary("Squeeze", floats(3, 1, 4), opset=11, free=(0,), axes=[1]),
    "Squeeze/all": unary("Squeeze", floats(3, 1, 4), free=()),
    "Unsqueeze": unary("Unsqueeze", inputs=("x", "a"), constants={"a": ints(0, -1)}),
    "Unsqueeze/before 13": unary("Unsqueeze", opset=11, axes=[1]),
    "Concat": Case([op("Concat", "x", "b", axis=-1)], {"x": floats(3, 4), "b": floats(3, 2)}),
    "Concat/free axis": Case([op("Concat", "x", "b", axis=0)], {"x": floats(3, 4), "b": floats(2, 4)}),
    "Split": Case([op("Split", "x", outputs=["a", "b"], axis=1), op("Sub", "a", "b")], {"x": floats(3, 4)}),
    "Split/sizes": Case(
        [op("Split", "x", "s", outputs=["a", "b"], axis=1), op("Neg", "b")], {"x": floats(3, 4)}, {"s": ints(1, 3)}
    ),
    "Split/before 13": Case(
        [op("Split", "x", outputs=["a", "b"], axis=1, split=[1, 3]), op("Neg", "b")], {"x": floats(3, 4)}, opset=11
    ),
    "Split/uneven": Case(
        [op("Split", "x", outputs=["a", "b"], axis=1, num_outputs=2), op("Neg", "b")], {"x": floats(3, 5)}, opset=18
    ),
    "Slice": Case(
        [op("Slice", "x", "s", "e", "a", "t")],
        {"x": floats(9, 6)},
        {"s": ints(1, -1), "e": ints(7, -5), "a": ints(0, 1), "t": ints(2, -2)},
    ),
    "Slice/last of a free axis": Case(
        [op("Slice", "x", "s", "e", "a")], {"x": floats(9, 6)}, {"s": ints(-1), "e": ints(2**63 - 1), "a": ints(0)}
    ),
    "Slice/all but the ends": Case(
        [op("Slice", "x", "s", "e", "a")], {"x": floats(9, 6)}, {"s": ints(1), "e": ints(-1), "a": ints(0)}
    ),
    "Slice/reversed": Case(
        [op("Slice", "x", "s", "e", "a", "t")],
        {"x": floats(9, 6)},
        {"s": ints(-1), "e": ints(-(2**63)), "a": ints(0), "t": ints(-1)},
    ),
    "Slice/before 10": unary("Slice", floats(9, 6), opset=9, free=(1,), starts=[2, 0], ends=[5, 1000], axes=[1, 0]),
    "Gather": Case([op("Gather", "t", "x")], {"x": ints(1, 0, 3)}, {"t": floats(4, 3)}),
    "Gather/one": unary("Gather", inputs=("x", "i"), constants={"i": np.int64(-1)}, axis=0),
    "Gather/list": unary("Gather", inputs=("x", "i"), constants={"i": ints(2, -1, 0)}, axis=1, free=(0,)),
    "ReverseSequence": Case(
        [op("ReverseSequence", "x", "n", time_axis=0, batch_axis=1)], {"x": floats(5, 2, 3)}, {"n": ints(3, 5)}
    ),
    "ReverseSequence/whole": Case(
        [op("ReverseSequence", "x", "n", time_axis=1, batch_axis=0)], {"x": floats(2, 5, 3)}, {"n": ints(5, 5)}
    ),
    **{
        f"Pad/{mode}": unary("Pad", floats(3, 6), inputs=("x", "p"), constants={"p": ints(0, 2, 0, 1)}, mode=mode)
        for mode in ("constant", "reflect", "edge")
    },
    "Pad/value": unary("Pad", inputs=("x", "p", "v"), constants={"p": ints(0, 2, 0, 1), "v": np.float32(0.7)}),
    "Pad/axes": unary("Pad", opset=18, inputs=("x", "p", "", "a"), constants={"p": ints(2, 1), "a": ints(1)}),
    "Pad/before 11": unary("Pad", opset=10, pads=[0, 2, 0, 1], value=0.5),
    "Expand": Case([op("Expand", "x", "s")], {"x": floats(3, 1)}, {"s": ints(2, 1, 4)}),
    "Tile": unary("Tile", floats(3, 1), free=(0,), inputs=("x", "r"), constants={"r": ints(1, 4)}),
    "Tile/twice": unary("Tile", floats(3, 2), free=(0,), inputs=("x", "r"), constants={"r": ints(1, 2)}),
    "Range": Case(
        [op("Range", "a", "b", "c", outputs=["r"]), op("Mul", "x", "r")],
        {"x": floats(3, 4)},
        {"a": np.float32(0), "b": np.float32(2), "c": np.float32(0.5)},
    ),
    **{
        name: Case(
            [
                op("Range", "a", "b", "c", outputs=["r"]),
                op(name, "r", outputs=["t"]),
                op("Mul", "x", "t"),
            ],
            {"x": floats(3, 4)},
            {"a": np.float32(0), "b": np.float32(2), "c": np.float32(0.5)},
        )
        for name in ("Sin", "Cos")
    },
    "Range/of a size": Case(
        [
            op("Shape", "x", outputs=["s"], start=0, end=1),
            op("Squeeze", "s", outputs=["n"]),
            op("Range", "zero", "n", "one", outputs=["r"]),
            op("Unsqueeze", "r", "last", outputs=["column"]),
            op("Cast", "column", outputs=["f"], to=DTYPES["float32"]),
            op("Mul", "x", "f"),
        ],
        {"x": floats(3, 4)},
        {"zero": np.int64(0), "one": np.int64(1), "last": ints(1)},
    ),
    "Range/by three": Case(
        [
            op("Shape", "x", outputs=["s"], start=0, end=1),
            op("Squeeze", "s", outputs=["n"]),
            op("Mul", "n", "step", outputs=["m"]),
            op("Add", "m", "start", outputs=["limit"]),
            op("Range", "start", "limit", "step", outputs=["r"]),
            op("Add", "x", "r"),
        ],
        {"x": ints(5, 6, 7)},
        {"start": np.int64(2), "step": np.int64(3)},
    ),
    "CastLike": Case([op("CastLike", "x", "c")], {"x": ints(1, 2, 3)}, {"c": np.float32(0)}),
    "Constant": Case(
        [
            op("Constant", outputs=["c"], value=numpy_helper.from_array(floats(4))),
            op("Add", "x", "c"),
        ],
        {"x": floats(3, 4)},
    ),
    "Constant/float": Case(
        [helper.make_node("Constant", [], ["c"], value_float=0.5), op("Add", "x", "c")], {"x": floats(3, 4)}
    ),
    "Constant/ints": Case(
        [helper.make_node("Constant", [], ["c"], value_ints=[-1]), op("Reshape", "x", "c")], {"x": floats(3, 4)}
    ),
    "Shape": Case(
        [
            op("Shape", "x", outputs=["s"]),
            op("Gather", "s", "zero", outputs=["n"]),
            op("Unsqueeze", "n", "zeros", outputs=["n1"]),
            op("Concat", "n1", "rest", outputs=["t"], axis=0),
            op("Reshape", "x", "t"),
        ],
        {"x": floats(3, 4)},
        {"zero": np.int64(0), "zeros": ints(0), "rest": ints(2, 2)},
    ),
    "Shape/end": Case(
        [
            op("Shape", "x", outputs=["s"], end=1),
            op("Concat", "s", "one", outputs=["t"], axis=0),
            op("Reshape", "x", "t"),
        ],
        {"x": floats(3, 4)},
        {"one": ints(-1)},
    ),
    "Size": Case(
        [
            op("Size", "x", outputs=["n"]),
            op("Unsqueeze", "n", "zeros", outputs=["t"]),
            op("Reshape", "x", "t"),
        ],
        {"x": floats(3, 4)},
        {"zeros": ints(0)},
    ),
    "ConstantOfShape": Case(
        [
            op("Shape", "x", outputs=["s"]),
            op("ConstantOfShape", "s", outputs=["c"], value=numpy_helper.from_array(np.asarray([2.5], np.float32))),
            op("Mul", "x", "c"),
        ],
        {"x": floats(3, 4)},
    ),
    "size arithmetic": Case(
        [
            op("Shape", "x", outputs=["s"]),
            op("Slice", "s", "zeros", "ones", outputs=["n"]),
            op("Mul", "n", "four", outputs=["m"]),
            op("Div", "m", "two", outputs=["d"]),
            op("Add", "d", "n", outputs=["sum"]),
            op("Sub", "sum", "n", outputs=["twice"]),
            op("Concat", "twice", "two", outputs=["t"], axis=0),
            op("Reshape", "x", "t"),
        ],
        {"x": floats(3, 4)},
        {"zeros": ints(0), "ones": ints(1), "four": ints(4), "two": ints(2)},
    ),
    "Mod": Case(
        [
            op("Shape", "x", outputs=["s"]),
            op("Mul", "s", "two", outputs=["t"]),
            op("Mod", "t", "two", outputs=["zeros"]),
            op("Add", "s", "zeros", outputs=["same"]),
            op("Reshape", "x", "same"),
        ],
        {"x": floats(3, 4)},
        {"two": ints(2, 2)},
        free=(0, 1),
    ),
    "Where of sizes": Case(  # how PyTorch writes expand(-1, ...)
        [
            op("Shape", "x", outputs=["s"]),
            op("Equal", "s", "minus", outputs=["e"]),
            op("ReduceProd", "s", outputs=["count"], keepdims=1),
            op("Where", "e", "ones", "s", outputs=["t"]),
            op("Expand", "row", "t", outputs=["r"]),
            op("Reshape", "x", "count", outputs=["f"]),
            op("Reshape", "f", "t", outputs=["g"]),
            op("Add", "g", "r"),
        ],
        {"x": floats(3, 4)},
        {"minus": ints(-1, -1), "ones": ints(1, 1), "row": floats(1, 4)},
    ),
    **{
        name: Case(
            [op(name, "x", "w", "r", hidden_size=4)],
            {"x": SEQUENCE},
            {"w": floats(1, 4 * gates, 3), "r": floats(1, 4 * gates, 4)},
            free=(0, 1),
        )
        for name, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4))
    },
}
CASES["If"] = Case(
    [
        op("Shape", "x", outputs=["s"]),
        op("Gather", "s", "one", outputs=["n"]),
        op("Equal", "n", "four", outputs=["c"]),
        helper.make_node(
            "If",
            ["c"],
            ["y"],
            "choice",
            then_branch=helper.make_graph([op("Tanh", outputs=["z"])], "then", [], [value("z", ["n", 4])]),
            else_branch=helper.make_graph([op("Relu", outputs=["z"])], "else", [], [value("z", ["n", 4])]),
        ),
    ],
    {"x": floats(3, 4)},
    {"one": np.int64(1), "four": np.int64(4)},
)


@pytest.mark.parametrize("named", [False, True], ids=["fixed", "named"])
@pytest.mark.parametrize("name", CASES)
def test_against_onnxruntime(name, named):
    case = CASES[name]
    made = case.model(named)
    expected = run_onnxruntime(made, case.inputs)
    found = run_graph(load_onnx(made).graph, case.inputs)
    assert list(expected) == list(found)
    for key, want in expected.items():
        assert want.dtype == found[key].dtype
        assert want.shape == found[key].shape
        np.testing.assert_allclose(found[key], want, rtol=2e-5, atol=2e-6)


def test_broadcasting_before_opset_7_is_lined_up_at_an_axis():
    # ONNX Runtime starts at opset 7; expected values by NumPy
    case = Case([op("Add", "x", "c", broadcast=1, axis=0)], {"x": floats(3, 4)}, {"c": floats(3)}, opset=6)
    found = run_graph(load_onnx(case.model(True)).graph, case.inputs)
    np.testing.assert_array_equal(found["y"], case.inputs["x"] + case.constants["c"][:, None])


def test_every_operator_has_a_case():
    used = {node.op_type for case in CASES.values() for node in case.nodes} | set(RANDOM) | {"Loop", "Scan"}
    assert not set(registry.supported()) - used - {"Loop", "Scan"}  # in test_loop.py


def test_named_axes_stay_free_where_nothing_pins_them():
    graph = load_onnx(CASES["Tanh"].model(True)).graph
    assert str(graph.inputs["x"]) == "float32(B, T)"  # the only free axis beside the batch


def test_a_slice_past_the_end_of_a_short_input_is_refused():
    made = Case([op("Slice", "x", "s", "e", "a")], {"x": floats(9, 6)}, {"s": ints(0), "e": ints(5), "a": ints(0)})
    result = load_onnx(made.model(True))
    assert any("shorter" in entry.text for entry in result.report)
    with pytest.raises(InputError):
        run_graph(result.graph, {"x": floats(4, 6)})  # ONNX would give 4 rows here


def test_a_negative_index_into_a_free_axis_in_a_list():
    made = unary("Gather", inputs=("x", "i"), constants={"i": ints(0, -1)}, axis=0)
    with pytest.raises(UnsupportedError, match="negative indices"):
        load_onnx(made.model(True))


def test_mean_and_deviation_of_a_layer_norm():
    nodes = [op("LayerNormalization", "x", "s", outputs=["y", "mean", "inverse"])]
    made = typed(model(nodes, {"x": [3, 4]}, ["y", "mean", "inverse"], {"s": floats(4)}))
    x = floats(3, 4)
    want, found = run_onnxruntime(made, {"x": x}), run_graph(load_onnx(made).graph, {"x": x})
    for name, array in want.items():
        np.testing.assert_allclose(found[name], array, rtol=2e-5, atol=2e-6)


def test_an_output_that_no_node_makes():
    made = model([op("Tanh")], {"x": [2]}, ["y"])
    made.graph.output[0].name = "z"
    with pytest.raises(FormatError):
        load_onnx(made)


def test_constant_outputs_and_inputs_passed_through():
    made = model(
        [op("Identity", outputs=["same"]), op("Constant", outputs=["c"], value=numpy_helper.from_array(ints(4, 5)))],
        {"x": ["n", 2]},
        ["same", "c"],
    )
    found = run_graph(load_onnx(made).graph, {"x": np.ones((3, 2), np.float32)})
    np.testing.assert_array_equal(found["same"], np.ones((3, 2), np.float32))
    np.testing.assert_array_equal(found["c"], ints(4, 5))
