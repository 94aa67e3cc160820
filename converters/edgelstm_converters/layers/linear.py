"""Linear (dense) entries: y = f(x W^T + b). PyTorch holds weight (out, in), Keras kernel (in, out)."""

from __future__ import annotations

import numpy as np

from edgelstm.errors import InputError
from edgelstm_converters.array_book import FloatArray
from edgelstm_converters.layers.activation import apply_function
from edgelstm_converters.layers.build import ChainBuilder
from edgelstm_converters.layers.entry import Entry
from edgelstm_converters.layers.functions import read_function


def read_weight(entry: Entry) -> tuple[str, FloatArray]:
    """The weight as (out, in), and the name of its array; the role tells which way round it is stored.

    Raises:
        InputError: the array is missing, given twice, or not 2-D.
    """
    roles = {"torch": ("weight",), "keras": ("kernel",), "onnx": ("weight", "kernel")}[entry.layout]
    found = [role for role in roles if entry.found(role)]
    if len(found) > 1:
        raise InputError(f"{entry.where}: expected one of the roles weight (out, in) and kernel (in, out), got both")
    role = found[0] if found else roles[0]
    array = entry.need(role, (None, None))
    return entry.name_of(role), array.T if role == "kernel" else array


def add_linear(entry: Entry, to: ChainBuilder) -> None:
    """Appends a linear entry and the function after it.

    Raises:
        InputError: an array is missing or does not fit.
    """
    to.need_features(entry.where)
    name, weight = read_weight(entry)
    outputs, inputs = weight.shape
    if inputs != to.features:
        raise InputError(
            f"{entry.where}: array {name!r}: expected {to.features} input features, the width of the layer before, "
            f"got {inputs}"
        )
    entry.expect("in_features", inputs, f"array {name!r}")
    entry.expect("out_features", outputs, f"array {name!r}")
    bias = entry.array("bias", (outputs,))
    function = read_function(entry, "activation")
    more = [to.constant(f"{entry.label}.w", np.ascontiguousarray(weight))]
    if bias is not None:
        more.append(to.constant(f"{entry.label}.b", bias))
    to.then("linear", entry.label, *more)
    apply_function(function, to, entry.label)
    after = f", then {function[0]}" if function else ""
    to.report.append(f"{entry.label}: Linear, {inputs} to {outputs}{'' if bias is not None else ', no bias'}{after}")
