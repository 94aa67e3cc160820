"""Operators with random attributes and sizes, through `Model.run`, against ONNX Runtime."""

import numpy as np
import pytest

pytest.importorskip("onnx")

from edgelstm_converters.onnx import load_onnx
from onnx import helper

from edgelstm.runtime.model import Model
from tests.converters.onnx.build import model, run_onnxruntime, typed, value

DRAWS = 12


class Draw:
    """What one case is made of."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.inputs, self.constants, self.free = {}, {}, {}

    def number(self, low, high):
        return int(self.rng.integers(low, high + 1))

    def choose(self, *options):
        return options[int(self.rng.integers(len(options)))]

    def floats(self, name, *shape, free=()):
        self.inputs[name] = self.rng.normal(size=shape).astype(np.float32)
        self.free[name] = free if self.chance() else ()
        return name

    def integers(self, name, low, high, *shape):
        self.inputs[name] = self.rng.integers(low, high + 1, shape)
        self.free[name] = ()
        return name

    def constant(self, name, array, dtype=None):
        self.constants[name] = np.asarray(array, dtype)
        return name

    def weights(self, name, *shape):
        return self.constant(name, self.rng.normal(size=shape), np.float32)

    def chance(self, p=0.5):
        return bool(self.rng.random() < p)


def windowed(draw, op):
    """x and the attributes of a window over one or two axes."""
    rank = draw.number(1, 2)
    kernel = [draw.number(1, 3) for _ in range(rank)]
    attrs = {"kernel_shape": kernel, "strides": [draw.number(1, 3) for _ in range(rank)]}
    if draw.chance(0.7):
        attrs["pads"] = [draw.number(0, size - 1) for size in (*kernel, *kernel)]
    else:
        attrs["auto_pad"] = draw.choose("VALID", "SAME_UPPER", "SAME_LOWER")
        attrs["strides"] = [min(pair) for pair in zip(attrs["strides"], kernel, strict=True)]
    sizes = [draw.number(5, 9) for _ in range(rank)]
    draw.floats("x", draw.number(1, 2), draw.number(1, 3), *sizes, free=(0,))
    return attrs


def average_pool(draw):
    attrs = windowed(draw, "AveragePool")
    attrs["count_include_pad"] = draw.number(0, 1)
    opset = draw.choose(7, 10, 11, 19, 22)
    if opset >= 19 and not attrs["count_include_pad"]:  # before, ONNX Runtime counts what lies past the end
        attrs["ceil_mode"] = draw.number(0, 1)
    return ["x"], attrs, opset


def max_pool(draw):
    attrs = windowed(draw, "MaxPool")
    attrs["ceil_mode"] = draw.number(0, 1)
    return ["x"], attrs, draw.choose(10, 11, 12, 22)


def conv_transpose(draw):
    rank, group = draw.number(1, 2), draw.choose(1, 1, 2)
    kernel = [draw.number(1, 4) for _ in range(rank)]
    strides = [draw.number(1, 3) for _ in range(rank)]
    dilations = [draw.number(1, 2) for _ in range(rank)]
    attrs = {"kernel_shape": kernel, "strides": strides, "dilations": dilations, "group": group}
    kind = draw.choose("pads", "pads", "auto", "shape")
    sizes = [draw.number(3, 6) for _ in range(rank)]
    if kind == "pads":
        attrs["pads"] = [draw.number(0, 1) for _ in range(2 * rank)]
        attrs["output_padding"] = [
            draw.number(0, max(stride, dilation) - 1) for stride, dilation in zip(strides, dilations, strict=True)
        ]
    elif kind == "auto":
        attrs["auto_pad"] = draw.choose("VALID", "SAME_UPPER", "SAME_LOWER")
    else:
        attrs["output_shape"] = [size * stride for size, stride in zip(sizes, strides, strict=True)]
    if kind != "pads":  # what ONNX Runtime makes of negative pads is not defined
        attrs["kernel_shape"] = kernel = [max(k, s) for k, s in zip(kernel, strides, strict=True)]
    draw.floats("x", draw.number(1, 2), 2 * group, *sizes, free=(0,))
    draw.weights("w", 2 * group, draw.number(1, 3), *kernel)
    more = [draw.weights("b", group * draw.constants["w"].shape[1])] if draw.chance() else []
    return ["x", "w", *more], attrs, draw.choose(9, 11, 22)


def instance_norm(draw):
    channels = draw.number(1, 4)
    draw.floats("x", 2, channels, *[draw.number(2, 5) for _ in range(draw.number(1, 2))], free=(0, 2))
    return ["x", draw.weights("s", channels), draw.weights("b", channels)], {"epsilon": 1e-3}, draw.choose(9, 22)


def group_norm(draw):
    groups, each = draw.number(1, 3), draw.number(1, 3)
    draw.floats("x", 2, groups * each, draw.number(2, 5), free=(0, 2))
    size = groups * each
    return ["x", draw.weights("s", size), draw.weights("b", size)], {"num_groups": groups}, 21


def rms_norm(draw):
    shape = [draw.number(1, 4) for _ in range(3)]
    axis = draw.number(-2, 2)
    draw.floats("x", *shape, free=(0,) if axis not in (0, -3) else ())
    return ["x", draw.weights("s", *shape[axis:])], {"axis": axis, "epsilon": 1e-4}, 23


def layer_norm(draw):
    shape = [draw.number(1, 4) for _ in range(3)]
    axis = draw.number(-2, 2)
    draw.floats("x", *shape, free=(0,) if axis not in (0, -3) else ())
    return ["x", draw.weights("s", *shape[axis:])], {"axis": axis}, 17


EQUATIONS = (
    *("ij->ji", "ij->", "ijk->ki", "bij,bjk->bik", "bij,jk->bik", "bhid,bhjd->bhij", "bhij,bhjd->bhid"),
    *("ij,ij->ij", "i,j->ij", "ij,kj->ik", "bij,bi->bj", "bi,ij,bj->b", "...ij,...jk->...ik", "...i,ij->...j"),
    *("bij,bjk", "bti,hoi->btho", "bthd,hdo->bto", "ibj,kbj->bik"),
)


def einsum(draw):
    equation = draw.choose(*EQUATIONS)
    sizes = {label: draw.number(1, 4) for label in "bhijkdto"}
    names = []
    for index, term in enumerate(equation.partition("->")[0].split(",")):
        shape = [sizes[label] for label in term if label != "."]
        if "..." in term:
            shape = [2, 3, *shape] if index == 0 or draw.chance(0.7) else shape
        name = f"x{index}"
        names.append(draw.weights(name, *shape) if index and draw.chance() else draw.floats(name, *shape))
    return names, {"equation": equation}, draw.choose(12, 20)


def trilu(draw):
    draw.floats("x", 2, draw.number(1, 5), draw.number(1, 5), free=(0, 1, 2))
    more = [draw.constant("k", draw.number(-3, 3), np.int64)] if draw.chance(0.8) else []
    return ["x", *more], {"upper": draw.number(0, 1)}, draw.choose(14, 20)


def cum_sum(draw):
    draw.floats("x", draw.number(1, 5), draw.number(1, 5), draw.number(1, 3), free=(0, 1))
    attrs = {"reverse": draw.number(0, 1), "exclusive": draw.number(0, 1)}
    return ["x", draw.constant("axis", draw.number(-3, 2), np.int64)], attrs, draw.choose(11, 14)


def scatter_nd(draw):
    shape = [draw.number(2, 4) for _ in range(3)]
    depth = draw.number(1, 3)
    count = draw.number(1, 3)
    places = np.stack([draw.rng.integers(-size, size, count) for size in shape[:depth]], -1)
    _, first = np.unique(places % shape[:depth], axis=0, return_index=True)  # ONNX leaves the order of equals open
    places = places[np.sort(first)]
    draw.floats("x", *shape)
    draw.floats("u", len(places), *shape[depth:])
    return ["x", draw.constant("i", places), "u"], {}, draw.choose(11, 13, 18)


def one_hot(draw):
    depth = draw.number(1, 4)
    draw.integers("i", -depth, depth, 3, 2)
    values = draw.weights("v", 2)
    return ["i", draw.constant("d", depth, np.int64), values], {"axis": draw.number(-3, 2)}, draw.choose(9, 11)


def unary_of(op, *opsets, **choices):
    def case(draw):
        draw.floats("x", 3, draw.number(1, 20), free=(0, 1))
        draw.inputs["x"] *= 3
        return ["x"], {name: draw.choose(*values) for name, values in choices.items()}, draw.choose(*opsets)

    case.op = op
    return case


def logic(draw):
    for name in ("a", "b"):
        draw.integers(name, 0, 1, 3, 4)
        draw.inputs[name] = draw.inputs[name].astype(bool)
    return ["a", "b"], {}, 17


def mod(draw):
    draw.integers("a", -9, 9, 3, 4)
    draw.integers("b", 1, 4, 4)
    draw.inputs["b"] *= draw.rng.choice([-1, 1], 4)
    return ["a", "b"], {"fmod": draw.number(0, 1)}, draw.choose(10, 13)


def reduction(draw):
    draw.floats("x", 2, draw.number(1, 4), draw.number(1, 4), free=(0,))
    draw.inputs["x"] = np.abs(draw.inputs["x"]) + np.float32(0.1)
    axes = sorted({draw.number(0, 2) for _ in range(2)})
    attrs = {"keepdims": draw.number(0, 1)}
    if draw.chance():
        return ["x"], {**attrs, "axes": axes}, draw.choose(9, 13)
    return ["x", draw.constant("axes", axes)], attrs, 18


def attention(draw):
    heads, groups, size, wide = draw.choose((2, 2), (4, 2), (3, 1)), None, draw.number(1, 4), draw.number(1, 4)
    heads, groups = heads
    length, total = draw.number(1, 4), draw.number(1, 5)
    attrs = {"is_causal": draw.number(0, 1)} if draw.chance(0.8) else {"scale": 0.7, "softcap": 2.0}
    if attrs.get("is_causal"):
        total = length
    if draw.chance():
        draw.floats("q", 2, length, heads * size, free=(0, 1))
        draw.floats("k", 2, total, groups * size, free=())
        draw.floats("v", 2, total, groups * wide, free=())
        attrs |= {"q_num_heads": heads, "kv_num_heads": groups}
    else:
        draw.floats("q", 2, heads, length, size)
        draw.floats("k", 2, groups, total, size)
        draw.floats("v", 2, groups, total, wide)
    mask = []
    if draw.chance():
        if draw.chance():
            mask = [draw.floats("mask", length, total)]
        else:
            allowed = draw.rng.random((length, total)) < 0.7
            allowed[:, 0] = True
            mask = [draw.constant("mask", allowed)]
    return ["q", "k", "v", *mask], attrs, 23


def rotary(draw):
    heads, size, length = draw.number(1, 3), 2 * draw.number(2, 3), draw.number(1, 4)
    turned = draw.choose(0, 4)
    half = (turned or size) // 2
    flat = turned or draw.chance()
    shape = (2, length, heads * size) if flat else (2, heads, length, size)
    attrs = {"interleaved": draw.number(0, 1), "rotary_embedding_dim": turned} | ({"num_heads": heads} if flat else {})
    names = [draw.floats("x", *shape), draw.weights("c", 5, half), draw.weights("s", 5, half)]
    return [*names, draw.integers("p", 0, 4, 2, length)], attrs, 23


CASES = {
    "RotaryEmbedding": rotary,
    "Swish": unary_of("Swish", 24, alpha=(1.0, 0.5)),
    "AveragePool": average_pool,
    "MaxPool": max_pool,
    "ConvTranspose": conv_transpose,
    "InstanceNormalization": instance_norm,
    "GroupNormalization": group_norm,
    "RMSNormalization": rms_norm,
    "LayerNormalization": layer_norm,
    "Einsum": einsum,
    "Trilu": trilu,
    "CumSum": cum_sum,
    "ScatterND": scatter_nd,
    "OneHot": one_hot,
    "Xor": logic,
    "Mod": mod,
    "ReduceLogSum": reduction,
    "ReduceLogSumExp": reduction,
    "ReduceL2": reduction,
    "Attention": attention,
    "Floor": unary_of("Floor", 9, 13),
    "Ceil": unary_of("Ceil", 9, 13),
    "Round": unary_of("Round", 11, 22),
    "Sign": unary_of("Sign", 9, 13),
    "Selu": unary_of("Selu", 9, 22, alpha=(1.5, 1.67326319), gamma=(1.05070102, 2.0)),
    "Celu": unary_of("Celu", 12, alpha=(0.5, 1.0, 2.0)),
    "Mish": unary_of("Mish", 18, 22),
    "IsNaN": unary_of("IsNaN", 9, 13),
    "Elu": unary_of("Elu", 9, 22, alpha=(0.5, 1.0)),
    "LeakyRelu": unary_of("LeakyRelu", 9, 16, alpha=(0.01, 0.3)),
    "HardSigmoid": unary_of("HardSigmoid", 9, 22, alpha=(0.2, 0.3), beta=(0.5, 0.4)),
    "HardSwish": unary_of("HardSwish", 14, 22),
    "Gelu": unary_of("Gelu", 20, approximate=("none", "tanh")),
    "Softplus": unary_of("Softplus", 9, 22),
    "Erf": unary_of("Erf", 9, 13),
}


@pytest.mark.parametrize("seed", range(DRAWS))
@pytest.mark.parametrize("op", CASES)
def test_against_onnxruntime(op, seed):
    draw = Draw([seed, *op.encode()])
    names, attrs, opset = CASES[op](draw)
    node = helper.make_node(op, names, ["y"], "it", **attrs)
    kinds = {
        name: ([f"{name}{k}" if k in draw.free[name] else n for k, n in enumerate(array.shape)], array.dtype.name)
        for name, array in draw.inputs.items()
    }
    made = typed(model([node], kinds, ["y"], draw.constants, opset))
    if op == "GroupNormalization":  # whose output onnx does not infer
        made.graph.output[0].CopyFrom(value("y", None))
    want = run_onnxruntime(made, draw.inputs)["y"]
    found = Model(load_onnx(made).graph).run(draw.inputs)["y"]
    assert (want.dtype, want.shape) == (found.dtype, found.shape)
    np.testing.assert_allclose(found, want, rtol=2e-5, atol=5e-6)
