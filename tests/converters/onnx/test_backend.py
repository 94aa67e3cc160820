"""onnx's own runner over its node tests of RNN, GRU and LSTM, on edgelstm as a backend."""

import warnings

import pytest

pytest.importorskip("onnx")

from edgelstm_converters.onnx import backend
from onnx.backend.test import BackendTest

NODE_TESTS = r"^test_(rnn|simple_rnn|gru|lstm)_.*_cpu$"


def node_tests():
    """The runner's test class with the chosen tests alone, instead of all others as skipped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # making the data of other operators overflows
        runner = BackendTest(backend.EdgeLSTMBackend, __name__)
    runner.include(NODE_TESTS)
    chosen = runner.test_cases["OnnxBackendNodeModelTest"]
    for name, method in list(vars(chosen).items()):
        if getattr(method, "__unittest_skip__", False):
            delattr(chosen, name)
    return chosen


TestNodes = node_tests()


def test_all_eighteen_are_run():
    assert sum(name.startswith("test_") for name in vars(TestNodes)) == 18


def test_other_devices_are_refused():
    assert not backend.supports_device("CUDA:1")
