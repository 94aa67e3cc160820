"""onnx's own node tests of every operator that is translated: right, or refused by name, never wrong."""

import warnings
from collections import Counter

import numpy as np
import pytest

pytest.importorskip("onnx")

from edgelstm_converters.onnx import backend, registry

from edgelstm.errors import EdgeLSTMError

# Tests of these cannot be as wide as a Graph's dtypes: everything else about them must be honoured.
OTHER_DTYPES = {"float16", "float64", "bfloat16", "int8", "int16", "uint16", "uint32", "uint64", "object", "str"}
# Tests of one node that onnx 1.23 has and that are honoured; later releases have more.
LEAST = {
    "Attention": 80,
    "AveragePool": 14,
    "BatchNormalization": 2,
    "Ceil": 2,
    "Celu": 1,
    "Clip": 9,
    "ConvTranspose": 10,
    "Dropout": 6,
    "Elu": 3,
    "Erf": 1,
    "Flatten": 9,
    "Floor": 2,
    "GRU": 6,
    "Gelu": 4,
    "GroupNormalization": 2,
    "HardSigmoid": 3,
    "HardSwish": 1,
    "InstanceNormalization": 2,
    "LSTM": 6,
    "LayerNormalization": 19,
    "LeakyRelu": 3,
    "MaxPool": 12,
    "Mish": 1,
    "Mod": 5,
    "OneHot": 3,
    "PRelu": 2,
    "Pad": 5,
    "RMSNormalization": 19,
    "RNN": 6,
    "ReduceLogSum": 4,
    "RotaryEmbedding": 8,
    "Round": 1,
    "ScatterND": 1,
    "Selu": 3,
    "Sign": 1,
    "Slice": 8,
    "Softplus": 2,
    "Split": 14,
    "Swish": 1,
    "ThresholdedRelu": 3,
    "Trilu": 16,
    "Xor": 8,
}


def cases():
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [case for case in collect_testcases(None) if case.model is not None]
    known = set(registry.supported())
    kept = [case for case in found if {node.op_type for node in case.model.graph.node} <= known and plain(case)]
    return {case.name: case for case in kept}


def plain(case):
    arrays = [array for inputs, outputs in case.data_sets for array in (*inputs, *outputs)]
    return all(isinstance(a, (np.ndarray, np.generic)) and np.asarray(a).dtype.name not in OTHER_DTYPES for a in arrays)


CASES = cases()
PASSED: Counter = Counter()


@pytest.mark.parametrize("name", CASES)
def test_right_or_refused(name):
    case = CASES[name]
    names = [entry.name for entry in case.model.graph.input]
    for inputs, outputs in case.data_sets:
        try:
            found = backend.prepare(case.model).run(dict(zip(names, map(np.asarray, inputs), strict=True)))
        except EdgeLSTMError:
            return
        for want, got in zip(outputs, found, strict=True):
            assert (np.asarray(want).dtype, np.asarray(want).shape) == (got.dtype, got.shape)
            np.testing.assert_allclose(got, want, rtol=max(case.rtol, 1e-4), atol=max(case.atol, 1e-6))
    PASSED.update({node.op_type for node in case.model.graph.node} if len(case.model.graph.node) == 1 else set())
    PASSED["all"] += 1


def test_most_are_right():
    if PASSED["all"] < 100:
        pytest.skip("counts what the other tests of this file found: run them all")
    short = {op: (PASSED[op], least) for op, least in LEAST.items() if PASSED[op] < least}
    assert not short
    assert PASSED["all"] >= 850
