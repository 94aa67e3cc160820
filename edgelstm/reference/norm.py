"""Layer normalization (ONNX LayerNormalization-17; Ba, Kiros & Hinton 2016)."""

from __future__ import annotations

import numpy as np

from edgelstm.reference.arguments import Attrs, Inputs, Outputs, given, integer, number, optional


def layer_norm(inputs: Inputs, attrs: Attrs) -> Outputs:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias over all axes from `axis` on; the bias may be absent."""
    x = given(inputs, 0)
    axes = tuple(range(integer(attrs, "axis") % x.ndim, x.ndim))
    centred = x - np.mean(x, axes, keepdims=True)
    variance = np.mean(centred * centred, axes, keepdims=True)
    y = centred / np.sqrt(variance + number(attrs, "epsilon")) * given(inputs, 1).astype(x.dtype, copy=False)
    bias = optional(inputs, 2, like=x)
    return (y if bias is None else y + bias,)


FAMILY = {"layer_norm": layer_norm}
