"""Dense, Embedding and the layers that one value goes through as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edgelstm.errors import FormatError
from edgelstm_converters.keras.builder import Flow, KerasBuilder
from edgelstm_converters.keras.config import Layer
from edgelstm_converters.keras.functions import apply
from edgelstm_converters.keras.layers.mask import hold_token
from edgelstm_converters.keras.layers.shape import fixed, need_features
from edgelstm_converters.layers.embedding import add_embedding
from edgelstm_converters.layers.linear import add_linear

_VANISH = (
    "Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianDropout", "GaussianNoise", "AlphaDropout",
    "ActivityRegularization", "Identity",
)  # fmt: skip


def _dense(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    units = layer.integer("units")
    bias = [("", "bias")] if layer.flag("use_bias", True) else []
    need_features(layer, inputs[0], to)
    fixed(layer, to.type.shape[-1:], "the width of its input")
    add_linear(to.entry(layer, "linear", [("", "kernel"), *bias], out_features=units), to)
    to.report[-1] += f", {apply(layer, 'activation', to)}"
    return [to.leave()]


def _embedding(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    tokens, features = layer.integer("input_dim"), layer.integer("output_dim")
    layer.inert("input_length", "sparse", "weights")
    to.enter(inputs[0], False)
    if not to.tokens:
        raise FormatError(f"{layer.where}: expected token ids, but its input holds features")
    hold = hold_token(layer, inputs[0], to) if layer.flag("mask_zero", False) else ""
    to.enter(inputs[0], False)
    keys = {"num_embeddings": tokens, "embedding_dim": features}
    add_embedding(to.entry(layer, "embedding", [("", "embeddings")], **keys), to)
    to.time_major = False
    if hold:
        to.report.append(f"{layer.name}: token 0 is padding, whose steps are left out")
    return [Flow(to.value, hold=hold)]


def _vanish(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    layer.inert("rate", "stddev", "noise_shape", "l1", "l2", "data_format")
    to.report.append(f"{layer.name}: {layer.kind}, which does nothing after training")
    return [inputs[0]]


def _rescaling(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    need_features(layer, inputs[0], to)
    to.then("affine", layer.name, alpha=layer.number("scale"), beta=layer.number("offset", 0.0))
    return [to.leave()]


HANDLERS: Mapping[str, Callable[[Layer, Sequence[Flow], KerasBuilder], list[Flow]]] = {
    "Dense": _dense,
    "Embedding": _embedding,
    "Rescaling": _rescaling,
    **dict.fromkeys(_VANISH, _vanish),
}
