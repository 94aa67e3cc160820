"""Maximum and mean over sliding windows (ONNX MaxPool and AveragePool, without ceil_mode)."""

from __future__ import annotations

import numpy as np

from edgelstm.reference.arguments import Attrs, Inputs, Outputs, given, integer, integers
from edgelstm.reference.conv import windows


def max_pool(inputs: Inputs, attrs: Attrs) -> Outputs:
    """The largest value of every window of x (N, C, *sizes); padding never wins."""
    x = given(inputs, 0)
    return (np.max([seen for _, seen in windows(x, integers(attrs, "kernel"), attrs, -np.inf)], axis=0),)


def avg_pool(inputs: Inputs, attrs: Attrs) -> Outputs:
    """The mean of every window of x (N, C, *sizes), over the entries inside x or, with count_include_pad, over all."""
    x, kernel = given(inputs, 0), integers(attrs, "kernel")
    total = sum(seen for _, seen in windows(x, kernel, attrs, 0.0))
    if integer(attrs, "count_include_pad"):
        return (np.asarray(total / np.asarray(np.prod(kernel), x.dtype)),)
    inside = sum(seen for _, seen in windows(np.ones((1, 1, *x.shape[2:]), x.dtype), kernel, attrs, 0.0))
    return (np.asarray(total / np.maximum(inside, 1)),)


FAMILY = {"max_pool": max_pool, "avg_pool": avg_pool}
