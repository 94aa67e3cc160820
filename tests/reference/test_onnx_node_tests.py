"""The reference against the node tests that onnx ships for RNN, GRU and LSTM."""

import warnings

import numpy as np
import pytest

from edgelstm.graph.ops import make_node
from edgelstm.reference import evaluate

onnx = pytest.importorskip("onnx")

DEFAULTS = {"RNN": ("Tanh",), "GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh")}


def load_cases():
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # making the data of other operators overflows
        return [case for case in load_model_tests(kind="node") if {"rnn", "gru", "lstm"} & set(case.name.split("_"))]


CASES = load_cases()


def test_all_are_there():
    assert len(CASES) == 18


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_matches(case):
    (node,) = case.model.graph.node
    attrs = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    layout = attrs.pop("layout", 0)
    direction = attrs.pop("direction", b"forward").decode()
    names = DEFAULTS[node.op_type] * (2 if direction == "bidirectional" else 1)
    assert "activations" not in attrs
    zeros = (0.0,) * len(names)
    ir = make_node(
        node.op_type.lower(),
        [],
        [],
        direction=direction,
        activations=names,
        activation_alpha=zeros,
        activation_beta=zeros,
        **attrs,
    )
    ((arrays, expected),) = case.data_sets
    arrays = iter(arrays)
    inputs = [next(arrays) if name else None for name in node.input]
    if layout:
        for k in (0, 5, 6):
            if k < len(inputs) and inputs[k] is not None:
                inputs[k] = np.swapaxes(inputs[k], 0, 1)
    got = [value for name, value in zip(node.output, evaluate(ir, inputs), strict=False) if name]
    if layout:  # y (T, D, B, H) to (B, T, D, H); h (D, B, H) to (B, D, H)
        got = [np.moveaxis(value, -2, 0) for value in got]
    assert len(expected) == len(got)
    for want, value in zip(expected, got, strict=True):
        assert want.shape == value.shape
        np.testing.assert_allclose(value, want, rtol=1e-5, atol=1e-6)
