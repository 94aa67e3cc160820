"""LayerNormalization, BatchNormalization and Normalization over the features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgelstm.graph.ir import Array
from edgelstm_converters.array_book import FloatArray
from edgelstm_converters.keras.builder import Flow, KerasBuilder
from edgelstm_converters.keras.config import Layer
from edgelstm_converters.keras.layers.shape import fixed, need_features
from edgelstm_converters.keras.weights import Part
from edgelstm_converters.layers.layer_norm import add_layer_norm


def _need_last_axis(layer: Layer, to: KerasBuilder, rank: int) -> int:
    """Only the last axis is normalised; gives its size."""
    axes = layer.integers("axis") if layer.has("axis") else (-1,)
    if len(axes) != 1 or axes[0] not in (-1, rank - 1):
        raise layer.refuse("axis", list(axes), "normalise over the last axis (-1)")
    return fixed(layer, to.type.shape[-1:], "the number of features")[0]


def _scale_parts(layer: Layer) -> list[Part]:
    roles = [role for role, key in (("gamma", "scale"), ("beta", "center")) if layer.flag(key, True)]
    return [("", role) for role in roles]


def _layer_norm(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    need_features(layer, inputs[0], to)
    width = _need_last_axis(layer, to, to.type.rank)
    layer.only("rms_scaling", False, "leave it at its default")
    parts = _scale_parts(layer)
    arrays: dict[str, object] = dict(to.weights.names(layer, parts)) if parts else {}
    arrays.setdefault("gamma", np.ones(width, np.float32))
    add_layer_norm(to.array_entry(layer, "layer_norm", arrays, epsilon=layer.number("epsilon", 1e-3)), to)  # type: ignore[arg-type]
    return [to.leave()]


def _batch_norm(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta, as one factor and one term a feature."""
    need_features(layer, inputs[0], to)
    width = _need_last_axis(layer, to, to.type.rank)
    layer.only("renorm", False, "leave it at its default")
    layer.only("virtual_batch_size", None, "leave it at its default")
    layer.inert("momentum", "synchronized", "fused", "renorm_clipping", "renorm_momentum", "adjustment")
    epsilon = layer.number("epsilon", 1e-3)
    parts = [*_scale_parts(layer), ("", "moving_mean"), ("", "moving_variance")]
    entry = to.entry(layer, "batch_norm", parts)
    arrays = {role: entry.need(role, (width,)).astype(np.float64) for _, role in parts}
    variance = arrays["moving_variance"] + epsilon
    if not (variance > 0).all():
        raise layer.damaged("moving_variance", "values that are positive with epsilon", float(variance.min()))
    factor = arrays.get("gamma", np.ones(width)) / np.sqrt(variance)
    term = arrays.get("beta", np.zeros(width)) - arrays["moving_mean"] * factor
    _affine(layer, factor, term, to)
    to.report.append(f"{layer.name}: BatchNormalization, epsilon {epsilon:g}, one factor and term for each feature")
    return [to.leave()]


def _normalization(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    """(x - mean) / max(sqrt(variance), 1e-7), with statistics of the training data or given in the config."""
    need_features(layer, inputs[0], to)
    width = _need_last_axis(layer, to, to.type.rank)
    inverse = layer.flag("invert", False)
    if layer.has("mean") or layer.has("variance"):
        raise layer.refuse("mean", layer.get("mean"), "statistics given by hand are not read; use adapt()")
    entry = to.entry(layer, "normalization", [("", "mean"), ("", "variance"), ("", "count")])
    to.book.ignore([entry.name_of("count")], layer.where)
    mean = entry.need("mean", (width,)).astype(np.float64)
    spread = np.maximum(np.sqrt(entry.need("variance", (width,)).astype(np.float64)), 1e-7)
    factor, term = (spread, mean) if inverse else (1.0 / spread, -mean / spread)
    _affine(layer, factor, term, to)
    to.report.append(f"{layer.name}: Normalization")
    return [to.leave()]


def _affine(layer: Layer, factor: Array, term: Array, to: KerasBuilder) -> None:
    def constant(role: str, values: FloatArray) -> str:
        return to.constant(f"{layer.name}.{role}", to.book.clean(f"{layer.name}.{role}", values))

    to.then("mul", layer.name, constant("factor", factor.astype(np.float32)))
    to.then("add", layer.name, constant("term", term.astype(np.float32)))


HANDLERS: Mapping[str, Callable[[Layer, Sequence[Flow], KerasBuilder], list[Flow]]] = {
    "LayerNormalization": _layer_norm,
    "BatchNormalization": _batch_norm,
    "Normalization": _normalization,
}
