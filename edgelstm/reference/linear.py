"""Products: a linear layer with constant weights, and a matrix product of two running values."""

from __future__ import annotations

import numpy as np

from edgelstm.reference import quantized
from edgelstm.reference.arguments import Attrs, Inputs, Outputs, given, optional


def linear(inputs: Inputs, attrs: Attrs) -> Outputs:
    """The product y = x @ w.T + b, with x (..., in), w (out, in), b (out,)?; y is (..., out)."""
    x = given(inputs, 0)
    y = quantized.inputs(x, attrs) @ given(inputs, 1).astype(x.dtype, copy=False).T
    b = optional(inputs, 2, like=x)
    return (y if b is None else y + b,)


def matmul(inputs: Inputs, _: Attrs) -> Outputs:
    """The product a @ b of ONNX and NumPy: the last two axes multiply, leading ones broadcast, vectors lend an axis."""
    return (np.asarray(np.matmul(given(inputs, 0), given(inputs, 1))),)


FAMILY = {"linear": linear, "matmul": matmul}
