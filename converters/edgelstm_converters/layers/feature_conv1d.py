"""One-dimensional convolution along the features of each step, such as over the bands of a spectrum."""

from __future__ import annotations

import numpy as np

from edgelstm.errors import InputError
from edgelstm.graph.dims import BATCH, TIME, symbol
from edgelstm_converters.layers.activation import apply_function
from edgelstm_converters.layers.build import ChainBuilder
from edgelstm_converters.layers.conv1d import read_kernel
from edgelstm_converters.layers.entry import Entry
from edgelstm_converters.layers.functions import read_function


def read_features(entry: Entry) -> int:
    """The width of a step, which no array tells."""
    found = entry.integer("features")
    if found is None:
        raise InputError(f"{entry.where}: expected 'features', the width of one step, which the kernel does not tell")
    return found


def add_feature_conv1d(entry: Entry, to: ChainBuilder) -> None:
    """Appends the convolution, the function after it, pooling by `max_pool`, and the channels laid side by side.

    Raises:
        InputError: an array or a key is missing or does not fit.
    """
    to.need_sequence(entry.where)
    name, kernel = read_kernel(entry)
    outputs, inputs, width = kernel.shape
    features = read_features(entry)
    stride, padding = entry.integer("stride", 1) or 1, entry.integer("padding", 0, least=0) or 0
    pool = entry.integer("max_pool", 1) or 1
    if inputs != 1 or features != to.features or features + 2 * padding < width:
        raise InputError(
            f"{entry.where}: array {name!r} {kernel.shape}: expected one input channel, and a kernel that fits the "
            f"{to.features} features of a step, declared as {features}"
        )
    bias = entry.array("bias", (outputs,))
    function = read_function(entry, "activation")
    more = [to.constant(f"{entry.label}.w", np.ascontiguousarray(kernel))]
    if bias is not None:
        more.append(to.constant(f"{entry.label}.b", bias))
    to.swap(False, entry.label)
    batch, time = symbol(BATCH), symbol(TIME)
    to.then("reshape", f"{entry.label}.steps", shape=(batch * time, 1, features))
    to.then("conv", entry.label, *more, strides=(stride,), pads=(padding, padding), dilations=(1,), group=1)
    apply_function(function, to, entry.label)
    if pool > 1:
        to.then("max_pool", f"{entry.label}.pool", kernel=(pool,), strides=(pool,), pads=(0, 0), dilations=(1,))
    places = to.features
    to.then("reshape", f"{entry.label}.flat", shape=(batch, time, outputs * places))
    to.report.append(
        f"{entry.label}: convolution along {features} features, {outputs} channels, kernel {width}, stride {stride}, "
        f"padding {padding}, largest of {pool}: {outputs} x {places} features"
    )
