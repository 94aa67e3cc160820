"""Reductions over listed axes.

Source: the ONNX operators ReduceSum, ReduceMean, ReduceMax, ReduceMin, ReduceProd and ArgMax.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgelstm.reference.arguments import Array, Attrs, Inputs, Outputs, given, integer, integers


def argmax(inputs: Inputs, attrs: Attrs) -> Outputs:
    """Index of the largest value along `axis` as int64: the first one, or the last with select_last."""
    x, axis = given(inputs, 0), integer(attrs, "axis")
    if integer(attrs, "select_last"):
        index = x.shape[axis] - 1 - np.argmax(np.flip(x, axis), axis)
    else:
        index = np.argmax(x, axis)
    index = np.asarray(index, np.int64)
    return (np.expand_dims(index, axis) if integer(attrs, "keepdims") else index,)


def _reduction(define: Callable[..., Any], **extra: Any) -> Callable[[Inputs, Attrs], Outputs]:
    def reduce(inputs: Inputs, attrs: Attrs) -> Outputs:
        x = given(inputs, 0)
        y: Array = define(x, axis=integers(attrs, "axes"), keepdims=bool(integer(attrs, "keepdims")), **extra)
        return (np.asarray(y, x.dtype),)

    return reduce


FAMILY = {
    "reduce_sum": _reduction(np.sum),
    "reduce_mean": _reduction(np.mean),
    "reduce_max": _reduction(np.max),
    "reduce_min": _reduction(np.min),
    "reduce_prod": _reduction(np.prod),
    "argmax": argmax,
}
