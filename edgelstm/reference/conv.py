"""Convolution in one or two dimensions (ONNX Conv): what the deep-learning frameworks call so, a cross-correlation."""

from __future__ import annotations

import itertools

import numpy as np

from edgelstm.reference import quantized
from edgelstm.reference.arguments import Array, Attrs, Inputs, Outputs, given, integer, integers, optional


def conv(inputs: Inputs, attrs: Attrs) -> Outputs:
    """Slide w over x.

    Inputs: x (N, C, *sizes), w (M, C / group, *kernel), b (M,)?. Output channel m reads the input channels of
    its group; pads are (begin of every axis, end of every axis), filled with zeros. On 8 bits, the channels of one
    position are one row, so that a window may slide over them. Returns (N, M, *out).
    """
    x = quantized.inputs(given(inputs, 0), attrs, axis=1)
    w, b = given(inputs, 1).astype(x.dtype, copy=False), optional(inputs, 2, like=x)
    group, kernel = integer(attrs, "group"), w.shape[2:]
    each = w.shape[0] // group
    kernels = np.moveaxis(w, (0, 1), (-2, -1))  # (*kernel, M, C / group)
    y: Array | None = None
    for where, seen in windows(x, kernel, attrs, 0.0):
        # (N, group, C / group, *out) with (group, M / group, C / group)
        parts = seen.reshape(len(x), group, -1, *seen.shape[2:])
        taps = kernels[where].reshape(group, each, -1)
        term = np.einsum("ngc...,gmc->ngm...", parts, taps).reshape(len(x), len(w), *seen.shape[2:])
        y = term if y is None else y + term
    assert y is not None
    return (y if b is None else y + b.reshape(-1, *[1] * len(kernel)),)


def windows(x: Array, kernel: tuple[int, ...], attrs: Attrs, fill: float) -> list[tuple[tuple[int, ...], Array]]:
    """For every position in the kernel, the values (N, C, *out) of padded x that fall on it."""
    rank = len(kernel)
    strides, dilations, pads = (integers(attrs, name) for name in ("strides", "dilations", "pads"))
    around = [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)]
    x = np.pad(x, around, constant_values=np.asarray(fill, x.dtype))
    out = [
        (size - (taps - 1) * dilation - 1) // stride + 1
        for size, taps, dilation, stride in zip(x.shape[2:], kernel, dilations, strides, strict=True)
    ]
    found = []
    for where in itertools.product(*map(range, kernel)):
        first = [k * dilation for k, dilation in zip(where, dilations, strict=True)]
        index = [slice(f, f + (n - 1) * s + 1, s) for f, n, s in zip(first, out, strides, strict=True)]
        found.append((where, x[:, :, *index]))
    return found


FAMILY = {"conv": conv}
