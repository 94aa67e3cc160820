"""GRU."""

from __future__ import annotations

from edgelstm.errors import FormatError
from edgelstm_converters.onnx.node import OnnxNode
from edgelstm_converters.onnx.ops.recurrent import translate
from edgelstm_converters.onnx.registry import Result, handles


@handles("GRU")
def gru(node: OnnxNode) -> Result:
    """The gated recurrent unit; linear_before_reset came with version 3."""
    reset = node.attrs.integer("linear_before_reset", 0) if node.opset >= 3 else 0
    if reset not in (0, 1):
        raise FormatError(f"{node.where}: linear_before_reset={reset}: expected 0 or 1")
    return translate(node, "gru", ("Sigmoid", "Tanh"), 1, linear_before_reset=reset)
