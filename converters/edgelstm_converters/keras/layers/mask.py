"""Masks: which steps of a sequence Keras leaves out, from the layers that mark them to those that heed them.

A Flow carries its mask as `hold`, a boolean (B, T) that is true where a step is left out. Recurrent layers keep their
state at such a step (`recurrent.py`), the mean over time does without it (`pool.py`). Functional models of Keras 3
also write what makes a mask as operations of their own, and hand it to a layer as the argument `mask`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from edgelstm.graph.ir import Attr
from edgelstm_converters.keras.builder import Flow, KerasBuilder
from edgelstm_converters.keras.config import Layer
from edgelstm_converters.keras.layers.shape import need_rank
from edgelstm_converters.layers.entry import ASSUMED

# Layers whose outputs have the mask of their inputs; several inputs must share one.
_CARRY = (
    "Dense", "Activation", "ReLU", "LeakyReLU", "ELU", "LayerNormalization", "BatchNormalization", "Normalization",
    "Rescaling", "Dropout", "SpatialDropout1D", "GaussianDropout", "GaussianNoise", "AlphaDropout",
    "ActivityRegularization", "Identity", "TimeDistributed", "Add", "Subtract", "Average", "Concatenate",
)  # fmt: skip
_CELLS = ("LSTM", "GRU", "SimpleRNN", "Bidirectional")
_HEED = (*_CELLS, "Masking", "Embedding", "GlobalAveragePooling1D", "GlobalAvgPool1D")
# What versions of Keras compute differently where a mask is there.
_DIFFER = ("Softmax", "Multiply", "Maximum", "Minimum")


def carry(layer: Layer, inputs: Sequence[Flow], outputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    """The outputs of a layer with the masks that Keras gives them.

    Raises:
        UnsupportedError: the layer cannot carry a mask.
    """
    holds = {flow.hold for flow in inputs}
    if holds == {""} or layer.kind in _HEED:
        return list(outputs)
    if layer.kind in _DIFFER:
        raise layer.refuse("mask", True, "take it before Masking or Embedding(mask_zero=True), or after the cells")
    if layer.kind not in _CARRY:
        to.report.append(f"{ASSUMED}{layer.name}: {layer.kind} ends the mask of its input, as in Keras")
        return [replace(flow, hold="") for flow in outputs]
    if len(holds) > 1 or (layer.kind == "Concatenate" and layer.get("axis", -1) not in (-1, 2)):
        raise layer.refuse("mask", True, "join sequences along their features, all of them with the same mask")
    if layer.kind == "TimeDistributed" and layer.config["layer"]["class_name"] in _DIFFER:
        raise layer.refuse("layer", layer.config["layer"]["class_name"], "it cannot carry a mask")
    return [replace(flow, hold=inputs[0].hold) for flow in outputs]


def given_mask(inputs: Sequence[Flow], mask: Flow, layer: Layer, to: KerasBuilder) -> list[Flow]:
    """The inputs of a call with the mask that is handed to it."""
    if to.type_of(mask.name).dtype != "bool" or len(to.shape(mask)) != 2:
        raise layer.refuse("argument mask", mask.name, "give the mask that Masking or mask_zero=True makes")
    if layer.kind not in (*_HEED, "BatchNormalization", "TimeDistributed", "Sequential", "Functional", *_DIFFER):
        raise layer.refuse("argument mask", mask.name, "supported by recurrent layers and GlobalAveragePooling1D")
    first, *rest = inputs
    return [replace(first, hold=_turned(mask.name, to)), *rest]


def unheard(layer: Layer, inputs: Sequence[Flow]) -> bool:
    """Whether a cell takes every step although its input has a mask: Keras 3 finds it only where the input is alone.

    Raises:
        UnsupportedError: the file does not say which Keras wrote it.
    """
    if layer.kind not in _CELLS or len(inputs) < 2 or not inputs[0].hold:
        return False
    if not layer.version:
        raise layer.refuse("initial_state", "given", "beside a mask Keras 2 and 3 differ: say keras_version=")
    return layer.version >= 3


def steps_taken(layer: Layer, hold: str, to: KerasBuilder, time_major: bool) -> str:
    """1.0 where a step is taken, 0.0 where it is left out: (T, B, 1) or (B, T, 1)."""
    to.enter(Flow(_turned(hold, to)), time_major)
    to.then("cast", f"{layer.name}.taken", to="float32")
    to.then("reshape", f"{layer.name}.taken", shape=(*to.type.shape, 1))
    return to.value


def blank(layer: Layer, value: str, hold: str, to: KerasBuilder) -> str:
    """The outputs (T, D, B, H) of a cell with zeros at the steps that are left out."""
    to.enter(Flow(hold), True)
    time, batch = to.type.shape
    to.then("reshape", f"{layer.name}.hold", shape=(time, 1, batch, 1))
    (out,) = to.node("where", [to.value, to.scalar(f"{layer.name}.zero", 0.0), value], f"{layer.name}.blank", 1, {})
    return out


def started(layer: Layer, hold: str, keep: str, direction: str, to: KerasBuilder) -> tuple[str, str]:
    """1.0 once a step was taken, 0.0 before: at every step (T, 1, B, 1), and at the end (1, B, 1).

    Keras gives zeros before the first step that it takes, also where the cell starts from another state.
    """
    x = steps_taken(layer, hold, to, True)
    one, zero = np.ones((1, 1, 1), np.float32), np.zeros((1, 1, 1), np.float32)
    weights = [to.constant(f"{layer.name}.started.{role}", value) for role, value in (("w", one), ("r", zero))]
    attrs: dict[str, Attr] = {
        "hidden_size": 1, "direction": direction, "activations": ("affine",),
        "activation_alpha": (1.0,), "activation_beta": (0.0,),
    }  # fmt: skip
    every, last = to.node("rnn", [x, *weights, "", "", "", keep], f"{layer.name}.started", 2, attrs)
    return every, last


def _turned(mask: str, to: KerasBuilder) -> str:
    """The opposite of a mask, made once."""
    if mask not in to.turned:
        (found,) = to.node("not", [mask], f"{mask}.not", 1, {})
        to.turned.update({mask: found, found: mask})
    return to.turned[mask]


def _masking(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    """A step all of whose features have the value is left out, and is zero from here on."""
    need_rank(layer, inputs[0], (3,), to)
    value = layer.number("mask_value", 0.0)
    to.enter(inputs[0], False)
    x = to.value
    to.then("equal", f"{layer.name}.equal", to.scalar(f"{layer.name}.value", value))
    to.then("cast", f"{layer.name}.equal", to="float32")
    to.then("reduce_min", f"{layer.name}.all", axes=(2,), keepdims=0)
    to.then("cast", f"{layer.name}.hold", to="bool")
    hold = to.value
    to.then("reshape", f"{layer.name}.hold", shape=(*to.type.shape, 1))
    (to.value,) = to.node("where", [to.value, to.scalar(f"{layer.name}.zero", 0.0), x], layer.name, 1, {})
    to.report.append(f"{layer.name}: Masking, steps that are all {value:g} are left out")
    return [Flow(to.value, hold=hold)]


def hold_token(layer: Layer, tokens: Flow, to: KerasBuilder) -> str:
    """The mask of token ids that are 0."""
    to.enter(tokens, False)
    zero = to.constant(f"{layer.name}.padding", np.zeros((), to.type.dtype))
    to.then("equal", f"{layer.name}.hold", zero)
    return to.value


def _not_equal(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    """Written beside Masking and Embedding(mask_zero=True) by Keras 3."""
    value = layer.number("value")
    to.enter(inputs[0], False)
    dtype = to.type.dtype
    if dtype != "float32" and value != int(value):
        raise layer.damaged("value", "a whole number", value)
    to.then("equal", f"{layer.name}.equal", to.constant(f"{layer.name}.value", np.array(value, dtype)))
    return [Flow(_turned(to.value, to))]


def _any(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    layer.only("axis", -1, "masks are made over the features")
    layer.only("keepdims", False, "masks are (batch, steps)")
    to.enter(inputs[0], False)
    if to.type.dtype != "bool" or to.type.rank != 3:
        raise layer.refuse("input", inputs[0].name, "it makes masks of sequences")
    to.then("cast", f"{layer.name}.float", to="float32")
    to.then("reduce_max", layer.name, axes=(2,), keepdims=0)
    to.then("cast", layer.name, to="bool")
    return [to.leave()]


HANDLERS: Mapping[str, Callable[[Layer, Sequence[Flow], KerasBuilder], list[Flow]]] = {
    "Masking": _masking,
    "NotEqual": _not_equal,
    "Any": _any,
}
