"""One-dimensional convolution over time. PyTorch holds weight (out, in/groups, K), Keras kernel (K, in/groups, out)."""

from __future__ import annotations

import numpy as np

from edgelstm.errors import InputError
from edgelstm_converters.array_book import FloatArray
from edgelstm_converters.layers.activation import apply_function
from edgelstm_converters.layers.build import ChainBuilder
from edgelstm_converters.layers.entry import Entry
from edgelstm_converters.layers.functions import read_function


def read_kernel(entry: Entry) -> tuple[str, FloatArray]:
    """The kernel as (out, in/groups, K), and the name of its array."""
    role = "kernel" if entry.layout == "keras" else "weight"
    array = entry.need(role, (None, None, None))
    return entry.name_of(role), array.transpose(2, 1, 0) if role == "kernel" else array


def add_conv1d(entry: Entry, to: ChainBuilder) -> None:
    """Appends a convolution over time and the function after it.

    Raises:
        InputError: an array or a key is missing or does not fit.
    """
    to.need_sequence(entry.where)
    name, kernel = read_kernel(entry)
    outputs, _, width = kernel.shape
    groups = entry.integer("groups", 1) or 1
    stride, dilation = entry.integer("stride", 1) or 1, entry.integer("dilation", 1) or 1
    if kernel.shape[1] * groups != to.features or outputs % groups:
        raise InputError(
            f"{entry.where}: array {name!r}: expected {to.features} input channels, the width of the layer before, got "
            f"{kernel.shape[1]} in each of {groups} groups and {outputs} output channels"
        )
    left, right = _padding(entry, dilation * (width - 1))
    bias = entry.array("bias", (outputs,))
    function = read_function(entry, "activation")
    more = [to.constant(f"{entry.label}.w", np.ascontiguousarray(kernel))]
    if bias is not None:
        more.append(to.constant(f"{entry.label}.b", bias))
    to.swap(False, entry.label)
    to.then("transpose", f"{entry.label}.channels_first", perm=(0, 2, 1))
    to.then("conv", entry.label, *more, strides=(stride,), pads=(left, right), dilations=(dilation,), group=groups)
    to.then("transpose", f"{entry.label}.channels_last", perm=(0, 2, 1))
    apply_function(function, to, entry.label)
    to.report.append(
        f"{entry.label}: Conv1d, {kernel.shape[1] * groups} to {outputs} channels, kernel {width}, stride {stride}, "
        f"dilation {dilation}, padding ({left}, {right})"
    )


def _padding(entry: Entry, reach: int) -> tuple[int, int]:
    """Zeros before and after; `padding` is a number for both sides, a pair, "valid" or "causal"."""
    found = entry.value("padding", 0)
    if isinstance(found, (list, tuple)) and len(found) == 2 and all(type(one) is int and one >= 0 for one in found):
        return found[0], found[1]
    if found == "valid":
        return 0, 0
    if found == "causal":
        return reach, 0
    if isinstance(found, str):
        raise InputError(f"{entry.where}: padding: expected a number, a pair, 'valid' or 'causal', got {found!r}")
    both = entry.integer("padding", 0, least=0) or 0
    return both, both
