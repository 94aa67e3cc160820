"""Maximum over sliding windows (ONNX MaxPool, without ceil_mode)."""

from __future__ import annotations

import numpy as np

from edgelstm.reference.arguments import Attrs, Inputs, Outputs, given, integers
from edgelstm.reference.conv import windows


def max_pool(inputs: Inputs, attrs: Attrs) -> Outputs:
    """The largest value of every window of x (N, C, *sizes); padding never wins."""
    x = given(inputs, 0)
    return (np.max([seen for _, seen in windows(x, integers(attrs, "kernel"), attrs, -np.inf)], axis=0),)


FAMILY = {"max_pool": max_pool}
