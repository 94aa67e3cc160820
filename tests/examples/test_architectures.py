"""Every architecture of the examples: exported, loaded, and streamed to the bits of the whole sequence."""

import pytest

from tests.support import require_module

require_module("torch")
require_module("onnx")

from examples.architectures.__main__ import NAMES, compare, export, find  # noqa: E402  # they import torch

CASES = [(name, exporter) for name in NAMES for exporter in find(name).exporters]


@pytest.mark.parametrize(("name", "exporter"), CASES)
def test_example(name, exporter, tmp_path):
    if exporter == "dynamo":
        require_module("onnxscript")
    example = find(name)
    path = tmp_path / f"{name}.onnx"
    error, drift = compare(example, export(example, exporter, path), path)
    assert error < 1e-5
    assert drift == 0 if example.exact else drift < 0.1
