"""Softmax and its logarithm along one axis (ONNX Softmax-13, LogSoftmax-13)."""

from __future__ import annotations

import numpy as np

from edgelstm.reference.arguments import Attrs, Inputs, Outputs, given, integer


def softmax(inputs: Inputs, attrs: Attrs) -> Outputs:
    """exp(x) / sum(exp(x)), the maximum taken off first."""
    x, axis = given(inputs, 0), integer(attrs, "axis")
    e = np.exp(x - np.max(x, axis, keepdims=True))
    return (e / np.sum(e, axis, keepdims=True),)


def log_softmax(inputs: Inputs, attrs: Attrs) -> Outputs:
    """`x - log(sum(exp(x)))`, the maximum taken off first."""
    x, axis = given(inputs, 0), integer(attrs, "axis")
    x = x - np.max(x, axis, keepdims=True)
    return (x - np.log(np.sum(np.exp(x), axis, keepdims=True)),)


FAMILY = {"softmax": softmax, "log_softmax": log_softmax}
