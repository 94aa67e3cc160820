"""Functions of one value, arithmetic and comparison with broadcasting, Where, Clip, Cast."""

from __future__ import annotations

import math
from functools import reduce

import numpy as np

from edgelstm.graph.ir import Attr
from edgelstm.graph.shapes import INTEGERS, broadcast_shapes
from edgelstm_converters.onnx.node import OnnxNode
from edgelstm_converters.onnx.reader import DTYPES, dtype_advice, dtype_name
from edgelstm_converters.onnx.registry import Result, handles
from edgelstm_converters.onnx.values import Known, Value, known

_PLAIN = {
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Relu": "relu",
    "Softsign": "softsign",
    "Softplus": "softplus",
    "Exp": "exp",
    "Log": "log",
    "Sqrt": "sqrt",
    "Reciprocal": "reciprocal",
    "Erf": "erf",
    "Neg": "neg",
    "Abs": "abs",
    "Not": "not",
    "Floor": "floor",
    "Ceil": "ceil",
    "Round": "round",
}
_OF_CONSTANTS = {"Sin": np.sin, "Cos": np.cos}
_PARAMETRIC: dict[str, tuple[str, dict[str, float]]] = {
    "LeakyRelu": ("leaky_relu", {"alpha": 0.01}),
    "ThresholdedRelu": ("thresholded_relu", {"alpha": 1.0}),
    "HardSigmoid": ("hard_sigmoid", {"alpha": 0.2, "beta": 0.5}),
    "Elu": ("elu", {"alpha": 1.0}),
}
_BINARY = {
    "Add": "add",
    "Sub": "sub",
    "Mul": "mul",
    "Div": "div",
    "Equal": "equal",
    "Less": "less",
    "Greater": "greater",
    "And": "and",
    "Or": "or",
}
_VARIADIC = {"Max": "maximum", "Min": "minimum", "Sum": "add"}


@handles(*_PLAIN)
def plain(node: OnnxNode) -> Result:
    """A function without attributes."""
    node.attrs.ignore("consumed_inputs", "a memory hint of opset 1")
    return node.emit(_PLAIN[node.op_type], node.input(0))


@handles(*_PARAMETRIC)
def parametric(node: OnnxNode) -> Result:
    """A function with alpha and beta."""
    op, defaults = _PARAMETRIC[node.op_type]
    node.attrs.ignore("consumed_inputs", "a memory hint of opset 1")
    attrs: dict[str, Attr] = {name: node.attrs.number(name, default) for name, default in defaults.items()}
    return node.emit(op, node.input(0), **attrs)


@handles(*_OF_CONSTANTS, since=7)
def of_constants(node: OnnxNode) -> Result:
    """Functions that only tables of positions use: of values that are known before anything runs."""
    x = node.constant(0, "its input")
    assert x is not None
    return known(_OF_CONSTANTS[node.op_type](x).astype(x.dtype))


@handles("Selu", since=6)
def selu(node: OnnxNode) -> Result:
    """gamma * elu(x, alpha)."""
    alpha, gamma = node.attrs.number("alpha", 1.67326319), node.attrs.number("gamma", 1.05070102)
    return node.emit("affine", node.emit("elu", node.input(0), alpha=alpha), alpha=gamma, beta=0.0)


@handles("Celu", since=12)
def celu(node: OnnxNode) -> Result:
    """alpha * elu(x / alpha)."""
    alpha, x = node.attrs.number("alpha", 1.0), node.input(0)
    bent = node.emit("elu", node.emit("affine", x, alpha=1 / alpha, beta=0.0), alpha=1.0)
    return node.emit("affine", bent, alpha=alpha, beta=0.0)


@handles("Mish", since=18)
def mish(node: OnnxNode) -> Result:
    """x * tanh(softplus(x))."""
    x = node.input(0)
    return node.emit("mul", x, node.emit("tanh", node.emit("softplus", x)))


@handles("Swish", since=24)
def swish(node: OnnxNode) -> Result:
    """x * sigmoid(alpha * x)."""
    x, alpha = node.input(0), node.attrs.number("alpha", 1.0)
    return node.emit("mul", x, node.emit("sigmoid", x if alpha == 1 else node.emit("mul", x, node.scalar(alpha, x))))


@handles("Sign", since=9)
def sign(node: OnnxNode) -> Result:
    """1, 0 or -1."""
    x = node.input(0)
    if x.type.dtype == "uint8":
        raise node.refuse("of uint8 is not supported: expected float32 or signed integers")
    zero = node.scalar(0, x)
    above, below = (
        node.emit("where", node.emit(op, x, zero), node.scalar(number, x), zero)
        for op, number in (("greater", 1), ("less", -1))
    )
    return node.emit("add", above, below)


@handles("IsNaN", since=9)
def is_nan(node: OnnxNode) -> Result:
    """What is not equal to itself."""
    x = node.input(0)
    return node.emit("not", node.emit("equal", x, x))


@handles("Xor", since=7)
def xor(node: OnnxNode) -> Result:
    """One of two, not both."""
    return node.emit("not", node.emit("equal", node.input(0), node.input(1)))


@handles("HardSwish", since=14)
def hard_swish(node: OnnxNode) -> Result:
    """x * max(0, min(1, x / 6 + 1 / 2))."""
    x = node.input(0)
    return node.emit("mul", x, node.emit("hard_sigmoid", x, alpha=1 / 6, beta=0.5))


@handles("Gelu", since=20)
def gelu(node: OnnxNode) -> Result:
    """x / 2 * (1 + erf(x / sqrt(2))), or its approximation by tanh."""
    x, kind = node.input(0), node.attrs.text("approximate", "none")
    match kind:
        case "none":
            bend = node.emit("erf", node.emit("mul", x, node.scalar(math.sqrt(0.5), x)))
        case "tanh":
            cube = node.emit("mul", x, node.emit("mul", x, x))
            inner = node.emit("add", x, node.emit("mul", cube, node.scalar(0.044715, x)))
            bend = node.emit("tanh", node.emit("mul", inner, node.scalar(math.sqrt(2 / math.pi), x)))
        case _:
            raise node.refuse(f"approximate={kind!r}: expected none or tanh")
    return node.emit("mul", x, node.emit("affine", bend, alpha=0.5, beta=0.5))


@handles("PRelu")
def prelu(node: OnnxNode) -> Result:
    """max(x, 0) + slope * min(x, 0)."""
    x = node.input(0)
    negative = node.emit("minimum", x, node.scalar(0.0, x))
    return node.emit("add", node.emit("relu", x), node.emit("mul", node.input(1), negative))


@handles(*_BINARY, since=7)
def binary(node: OnnxNode) -> Result:
    """Two values with NumPy broadcasting."""
    a, b = node.input(0), node.input(1)
    return _with_zeros(node, a, b) or node.emit(_BINARY[node.op_type], a, b)


def _with_zeros(node: OnnxNode, a: Value, b: Value) -> Value | None:
    """Exporters keep an unused input by adding 0 times it: an integer times 0 is 0, and a value plus 0 itself."""
    if a.type.dtype != b.type.dtype or (isinstance(a, Known) and isinstance(b, Known)):
        return None
    shape = node.symbols.shape(broadcast_shapes([node.shape(a), node.shape(b)], node.symbols.same))
    for zeros, other in ((a, b), (b, a)):
        if not isinstance(zeros, Known) or zeros.symbolic or zeros.array.any() or not zeros.array.size:
            continue
        if node.op_type == "Mul" and zeros.dtype in INTEGERS:
            return Known(np.zeros((1,) * len(shape), zeros.dtype), zeros.dtype, shape)
        if node.op_type == "Add" and node.shape(other) == shape:
            return other
    return None


@handles(*_BINARY, until=6)
def binary_before_7(node: OnnxNode) -> Result:
    """Broadcasting only where `broadcast` is 1, of the second value, lined up at `axis`."""
    node.attrs.ignore("consumed_inputs", "a memory hint of opset 1")
    a, b = node.input(0), node.input(1)
    if node.attrs.integer("broadcast", 0):
        if "axis" in node.attrs:
            axis = node.axis(node.attrs.integer("axis"), max(node.rank(a), 1))
            b = node.reshape(b, [*node.shape(b), *[1] * (node.rank(a) - axis - node.rank(b))])
    elif node.rank(a) != node.rank(b):
        raise node.refuse(f"expected equal shapes without broadcast=1, got {a.type} and {b.type}")
    return node.emit(_BINARY[node.op_type], a, b)


@handles("GreaterOrEqual", "LessOrEqual", since=12)
def or_equal(node: OnnxNode) -> Result:
    """a > b or a == b: false where one is NaN."""
    a, b = node.input(0), node.input(1)
    strictly = node.emit("greater" if node.op_type == "GreaterOrEqual" else "less", a, b)
    return node.emit("or", strictly, node.emit("equal", a, b))


@handles("Pow", since=7)
def power(node: OnnxNode) -> Result:
    """a ** b; an exponent of another dtype is cast, which is exact for small integers."""
    a, b = node.input(0), node.input(1)
    if b.type.dtype != a.type.dtype:
        b = node.emit("cast", b, to=a.type.dtype)
    return node.emit("pow", a, b)


@handles("Max", "Min", "Sum", since=6)
def variadic(node: OnnxNode) -> Result:
    """Any number of values, from left to right."""
    op = _VARIADIC[node.op_type]
    values: list[Value] = [node.input(index) for index in range(len(node.inputs))]
    return reduce(lambda a, b: node.emit(op, a, b), values)


@handles("Mean", since=6)
def mean(node: OnnxNode) -> Result:
    """The sum of all values over their number."""
    values: list[Value] = [node.input(index) for index in range(len(node.inputs))]
    total = reduce(lambda a, b: node.emit("add", a, b), values)
    return node.emit("div", total, node.scalar(float(len(values)), total))


@handles("Clip", since=6)
def clip(node: OnnxNode) -> Result:
    """min(max(x, low), high); attributes before opset 11, inputs since."""
    value = node.input(0)
    if node.opset < 11:
        limits = np.finfo(np.float32)
        bounds: list[Value | None] = [
            known(np.float32(node.attrs.number("min", float(limits.min)))),
            known(np.float32(node.attrs.number("max", float(limits.max)))),
        ]
    else:
        bounds = [node.optional(1), node.optional(2)]
    for op, bound in zip(("maximum", "minimum"), bounds, strict=True):
        if bound is not None:
            value = node.emit(op, value, bound)
    return value


@handles("Where", since=9)
def where(node: OnnxNode) -> Result:
    """condition ? a : b."""
    return node.emit("where", node.input(0), node.input(1), node.input(2))


@handles("CastLike", since=15)
def cast_like(node: OnnxNode) -> Result:
    """The dtype of another value."""
    node.attrs.ignore("saturate", "it concerns 8-bit floats only")
    node.attrs.ignore("round_mode", "it concerns 8-bit floats only")
    value, to = node.input(0), node.input(1).type.dtype
    return value if value.type.dtype == to else node.emit("cast", value, to=to)


@handles("Cast", since=6)
def cast(node: OnnxNode) -> Result:
    """Another dtype; known values may pass through one that a Graph cannot carry."""
    to = node.attrs.integer("to")
    node.attrs.ignore("saturate", "it concerns 8-bit floats only")
    node.attrs.ignore("round_mode", "it concerns 8-bit floats only")
    value = node.input(0)
    if isinstance(value, Known) and not value.symbolic and dtype_name(to) == "double":
        return Known(value.array.astype(np.float64), "float64", value.shape)
    if to not in DTYPES:
        raise node.refuse(f"Cast to {dtype_name(to)} is not supported; {dtype_advice(dtype_name(to))}")
    return value if value.type.dtype == DTYPES[to] else node.emit("cast", value, to=DTYPES[to])
