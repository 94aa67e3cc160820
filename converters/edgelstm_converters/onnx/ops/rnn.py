"""RNN."""

from __future__ import annotations

from edgelstm_converters.onnx.node import OnnxNode
from edgelstm_converters.onnx.ops.recurrent import translate
from edgelstm_converters.onnx.registry import Result, handles


@handles("RNN")
def rnn(node: OnnxNode) -> Result:
    """The plain recurrent cell."""
    return translate(node, "rnn", ("Tanh",), 1)
