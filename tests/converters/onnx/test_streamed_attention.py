"""Attention as exporters and opset 23 write it: the same as ONNX Runtime over the whole, and step by step."""

import numpy as np
import pytest

pytest.importorskip("onnx")

from edgelstm_converters.onnx import load_onnx
from onnx import helper, numpy_helper

from edgelstm.runtime.model import Model
from tests.converters.onnx.build import model, run_onnxruntime, typed

RNG = np.random.default_rng(5)
LENGTH = 7
op = helper.make_node
LEAST = numpy_helper.from_array(np.array([-np.inf], np.float32))
SCALARS = {"zero": np.int64(0), "one": np.int64(1), "first": np.array([0]), "second": np.array([1])}


def weights(*shape):
    return (RNG.normal(size=shape) * 0.4).astype(np.float32)


def projected(groups=2):
    constants = {"wq": weights(8, 8), "wk": weights(8, 4 * groups), "wv": weights(8, 4 * groups)}
    return [op("MatMul", ["x", f"w{part}"], [part]) for part in "qkv"], constants


def as_operator(groups, **attrs):
    nodes, constants = projected(groups)
    nodes.append(op("Attention", ["q", "k", "v"], ["y"], q_num_heads=2, kv_num_heads=groups, is_causal=1, **attrs))
    return typed(model(nodes, {"x": ["b", "t", 8]}, ["y"], constants, 23))


def by_triangle():
    nodes, constants = projected()
    nodes += [
        op("Shape", ["x"], ["t"], start=1, end=2),
        op("Concat", ["t", "t"], ["tt"], axis=0),
        op("ConstantOfShape", ["tt"], ["low"], value=LEAST),
        op("Trilu", ["low", "one"], ["mask"], upper=1),
        op("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        op("MatMul", ["q", "kt"], ["scores"]),
        op("Add", ["scores", "mask"], ["masked"]),
        op("Softmax", ["masked"], ["p"], axis=-1),
        op("MatMul", ["p", "v"], ["y"]),
    ]
    return typed(model(nodes, {"x": ["b", "t", 8]}, ["y"], constants | SCALARS, 17))


def by_comparison():
    nodes, constants = projected()
    nodes += [
        op("Shape", ["x"], ["t1"], start=1, end=2),
        op("Squeeze", ["t1"], ["t"]),
        op("Range", ["zero", "t", "one"], ["places"]),
        op("Unsqueeze", ["places", "second"], ["column"]),
        op("Unsqueeze", ["places", "first"], ["row"]),
        op("LessOrEqual", ["row", "column"], ["keep"]),
        op("Einsum", ["q", "k"], ["scores"], equation="bid,bjd->bij"),
        op("Where", ["keep", "scores", "low"], ["masked"]),
        op("Softmax", ["masked"], ["p"], axis=-1),
        op("Einsum", ["p", "v"], ["y"], equation="bij,bjd->bid"),
    ]
    constants |= SCALARS | {"low": np.float32(-1e9)}
    return typed(model(nodes, {"x": ["b", "t", 8]}, ["y"], constants, 17))


def with_positions():
    nodes = [
        op("Shape", ["x"], ["t1"], start=1, end=2),
        op("Squeeze", ["t1"], ["t"]),
        op("Range", ["zero", "t", "one"], ["places"]),
        op("Gather", ["table", "places"], ["where"]),
        op("Add", ["x", "where"], ["y"]),
    ]
    return typed(model(nodes, {"x": ["b", "t", 8]}, ["y"], {**SCALARS, "table": weights(64, 8)}, 17))


MODELS = {
    "operator": as_operator(2),
    "capped": as_operator(2, scale=0.6, softcap=3.0),
    "grouped": as_operator(1),
    "triangle": by_triangle(),
    "comparison": by_comparison(),
    "positions": with_positions(),
}


@pytest.mark.parametrize("name", MODELS)
def test_whole_and_step_by_step(name):
    x = RNG.normal(size=(1, LENGTH, 8)).astype(np.float32)
    want = run_onnxruntime(MODELS[name], {"x": x})["y"]
    loaded = Model(load_onnx(MODELS[name]).graph)
    np.testing.assert_allclose(loaded.run({"x": x})["y"], want, atol=1e-6)
    stream = loaded.stream()
    np.testing.assert_allclose([stream.step(reading) for reading in x[0]], want[0], atol=1e-6)
    np.testing.assert_allclose(loaded.stream().run(x[0]), want[0], atol=1e-6)
