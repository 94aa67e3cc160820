"""Activation, ReLU, LeakyReLU, ELU and Softmax as layers of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edgelstm_converters.keras.builder import Flow, KerasBuilder
from edgelstm_converters.keras.config import Layer
from edgelstm_converters.keras.functions import apply
from edgelstm_converters.keras.layers.shape import axis_of, need_features


def _activation(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    need_features(layer, inputs[0], to)
    to.report.append(f"{layer.name}: {apply(layer, 'activation', to)}")
    return [to.leave()]


def _relu(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    need_features(layer, inputs[0], to)
    slope = layer.number("negative_slope", 0.0)
    layer.only("threshold", 0.0, "leave it at 0")
    if slope:
        to.then("leaky_relu", layer.name, alpha=slope)
    else:
        to.then("relu", layer.name)
    if layer.has("max_value"):
        to.then("minimum", layer.name, to.scalar(f"{layer.name}.max_value", layer.number("max_value")))
    to.report.append(f"{layer.name}: ReLU, negative_slope {slope:g}")
    return [to.leave()]


def _leaky_relu(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    """Keras 2 calls the slope alpha, Keras 3 negative_slope; both have 0.3 if it is not given."""
    need_features(layer, inputs[0], to)
    slope = layer.number("negative_slope" if layer.has("negative_slope") else "alpha", 0.3)
    to.then("leaky_relu", layer.name, alpha=slope)
    to.report.append(f"{layer.name}: LeakyReLU, negative_slope {slope:g}")
    return [to.leave()]


def _elu(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    need_features(layer, inputs[0], to)
    to.then("elu", layer.name, alpha=layer.number("alpha", 1.0))
    to.report.append(f"{layer.name}: ELU")
    return [to.leave()]


def _softmax(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    need_features(layer, inputs[0], to)
    axis = axis_of(layer, layer.integer("axis", -1, least=-8, most=8), to.type.rank)
    if axis != to.type.rank - 1:
        to.enter(inputs[0], False)
    to.then("softmax", layer.name, axis=axis)
    to.report.append(f"{layer.name}: Softmax over axis {axis}")
    return [to.leave()]


HANDLERS: Mapping[str, Callable[[Layer, Sequence[Flow], KerasBuilder], list[Flow]]] = {
    "Activation": _activation,
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "ELU": _elu,
    "Softmax": _softmax,
}
