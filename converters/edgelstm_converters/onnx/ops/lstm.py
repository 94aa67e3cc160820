"""LSTM."""

from __future__ import annotations

from edgelstm.errors import FormatError
from edgelstm_converters.onnx.node import OnnxNode
from edgelstm_converters.onnx.ops.recurrent import translate
from edgelstm_converters.onnx.registry import Result, handles


@handles("LSTM")
def lstm(node: OnnxNode) -> Result:
    """The long short-term memory, with or without peepholes."""
    coupled = node.attrs.integer("input_forget", 0)
    if coupled not in (0, 1):
        raise FormatError(f"{node.where}: input_forget={coupled}: expected 0 or 1")
    return translate(node, "lstm", ("Sigmoid", "Tanh", "Tanh"), 2, input_forget=coupled)
