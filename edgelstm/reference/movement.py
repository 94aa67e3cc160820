"""Operators that only move values.

Source: the ONNX operators Reshape, Transpose, Slice, Concat, Expand, Pad and ReverseSequence; `expect` is our own.
"""

from __future__ import annotations

import numpy as np

from edgelstm.errors import InputError
from edgelstm.reference.arguments import Attrs, Inputs, Outputs, given, integer, integers, number, text
from edgelstm.reference.recurrent import check_lengths


def reshape(inputs: Inputs, attrs: Attrs) -> Outputs:
    """The same values, row-major, in another shape."""
    return (given(inputs, 0).reshape(integers(attrs, "shape")),)


def expect(inputs: Inputs, attrs: Attrs) -> Outputs:
    """The input, which is right only where the sizes `given` are those `wanted`.

    Raises:
        InputError: they are not.
    """
    if integers(attrs, "given") != integers(attrs, "wanted"):
        raise InputError(f"expected the sizes {attrs['wanted']}, got {attrs['given']}")
    return (given(inputs, 0),)


def transpose(inputs: Inputs, attrs: Attrs) -> Outputs:
    """Axis k of the result is axis perm[k] of x."""
    return (np.transpose(given(inputs, 0), integers(attrs, "perm")),)


def slice_(inputs: Inputs, attrs: Attrs) -> Outputs:
    """The entries range(start, stop, step) along each listed axis: a negative step may stop at -1, before the first."""
    x = given(inputs, 0)
    index = [slice(None)] * x.ndim
    names = ("axes", "starts", "stops", "steps")
    for axis, first, stop, step in zip(*(integers(attrs, name) for name in names), strict=True):
        index[axis] = slice(first, None if stop < 0 else stop, step)
    return (x[tuple(index)],)


def concat(inputs: Inputs, attrs: Attrs) -> Outputs:
    """All inputs one after the other along `axis`."""
    return (np.concatenate([given(inputs, k) for k in range(len(inputs))], integer(attrs, "axis")),)


def broadcast(inputs: Inputs, attrs: Attrs) -> Outputs:
    """The input repeated up to `shape`, which is the shape of the result."""
    return (np.broadcast_to(given(inputs, 0), integers(attrs, "shape")),)


def arange(inputs: Inputs, attrs: Attrs) -> Outputs:
    """0, 1, 2... of the one size in `shape`."""
    (size,) = integers(attrs, "shape")
    return (np.arange(size),)


def pad(inputs: Inputs, attrs: Attrs) -> Outputs:
    """More values around x: pads are (begin of every axis, end of every axis).

    mode "constant" fills with `value`, "edge" with the border, "reflect" mirrors without repeating the border.
    """
    x, pads = given(inputs, 0), integers(attrs, "pads")
    around = list(zip(pads[: x.ndim], pads[x.ndim :], strict=True))
    match text(attrs, "mode"):
        case "constant":
            return (np.pad(x, around, constant_values=np.asarray(number(attrs, "value")).astype(x.dtype)),)
        case "edge":
            return (np.pad(x, around, mode="edge"),)
        case "reflect":
            return (np.pad(x, around, mode="reflect"),)
        case mode:
            raise ValueError(f"pad mode {mode!r} is none of constant, edge, reflect")


def reverse_sequence(inputs: Inputs, attrs: Attrs) -> Outputs:
    """For every row b along batch_axis, the first lengths[b] entries along time_axis in reverse order."""
    x, lengths = given(inputs, 0), given(inputs, 1)
    batch_axis, time_axis = integer(attrs, "batch_axis"), integer(attrs, "time_axis")
    check_lengths(lengths, x.shape[time_axis])
    y = np.array(x)
    rows = np.moveaxis(y, (batch_axis, time_axis), (0, 1))  # a view: writing to it fills y
    for row, length in zip(rows, lengths, strict=True):
        row[:length] = row[:length][::-1].copy()
    return (y,)


FAMILY = {
    "reshape": reshape,
    "expect": expect,
    "transpose": transpose,
    "slice": slice_,
    "concat": concat,
    "arange": arange,
    "broadcast": broadcast,
    "pad": pad,
    "reverse_sequence": reverse_sequence,
}
