"""Layer normalisation entries: (x - mean) / sqrt(variance + epsilon) * scale + bias over the features."""

from __future__ import annotations

from edgelstm.errors import InputError
from edgelstm_converters.layers.build import ChainBuilder
from edgelstm_converters.layers.entry import ASSUMED, Entry

_EPSILON = {"torch": 1e-5, "keras": 1e-3, "onnx": 1e-5}  # what nn.LayerNorm, keras LayerNormalization, ONNX default to


def add_layer_norm(entry: Entry, to: ChainBuilder) -> None:
    """Appends a layer normalisation over the last axis.

    Raises:
        InputError: an array is missing or does not fit.
    """
    to.need_features(entry.where)
    scale, shift = ("gamma", "beta") if entry.layout == "keras" else ("weight", "bias")
    weight, bias = entry.need(scale, (to.features,)), entry.array(shift, (to.features,))
    given = entry.number("epsilon")
    epsilon = _EPSILON[entry.layout] if given is None else given
    if epsilon < 0.0:
        raise InputError(f"{entry.where}: epsilon: expected a positive number, got {epsilon}")
    more = [to.constant(f"{entry.label}.scale", weight)]
    if bias is not None:
        more.append(to.constant(f"{entry.label}.bias", bias))
    to.then("layer_norm", entry.label, *more, axis=-1, epsilon=epsilon)
    to.report.append(f"{entry.label}: LayerNorm, {to.features} features, epsilon {epsilon:g}")
    if given is None:
        to.report.append(f"{ASSUMED}{entry.label}: epsilon {epsilon:g} is the default of {entry.layout}")
