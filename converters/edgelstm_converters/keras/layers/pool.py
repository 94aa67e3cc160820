"""MaxPooling1D, AveragePooling1D and the global ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from edgelstm_converters.keras.builder import Flow, KerasBuilder
from edgelstm_converters.keras.config import MAX_SIZE, MAX_WINDOW, Layer
from edgelstm_converters.keras.layers.conv import same_pads
from edgelstm_converters.keras.layers.mask import steps_taken
from edgelstm_converters.keras.layers.shape import fixed, need_rank
from edgelstm_converters.layers.pool import add_pool


def _enter_window(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> tuple[int, int, int, tuple[int, int]]:
    """Channels, window, stride and padding; the current value is then (B, C, L)."""
    size = layer.integer("pool_size", 2, most=MAX_WINDOW)
    stride = layer.integer("strides", size, most=MAX_WINDOW)
    padding = layer.choice("padding", ("valid", "same"), "valid")
    layer.only("data_format", "channels_last", "use channels_last")
    need_rank(layer, inputs[0], (3,), to)
    to.enter(inputs[0], False)
    (channels,) = fixed(layer, to.type.shape[-1:], "the number of channels")
    pads = (0, 0) if padding == "valid" else same_pads(layer, to.type.shape[1], size - 1, stride)
    to.then("transpose", f"{layer.name}.channels_first", perm=(0, 2, 1))
    to.report.append(f"{layer.name}: {layer.kind}, window {size}, stride {stride}, padding {pads}")
    return channels, size, stride, pads


def _max(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    _, size, stride, pads = _enter_window(layer, inputs, to)
    to.then("max_pool", layer.name, kernel=(size,), strides=(stride,), pads=pads, dilations=(1,))
    to.then("transpose", f"{layer.name}.channels_last", perm=(0, 2, 1))
    return [to.leave()]


def _average(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    """A convolution of every channel with 1 / window; where a window reaches past an end, only what is there counts."""
    channels, size, stride, pads = _enter_window(layer, inputs, to)
    if channels * size > MAX_SIZE:
        raise layer.refuse("pool_size", size, f"with {channels} channels expected at most {MAX_SIZE // channels}")
    kernel = to.constant(f"{layer.name}.w", np.full((channels, 1, size), 1.0 / size, np.float32))
    lengths = to.type.shape[2:]
    to.then("conv", layer.name, kernel, strides=(stride,), pads=pads, dilations=(1,), group=channels)
    if any(pads):
        (length,) = fixed(layer, lengths, "padding='same'")
        (count,) = fixed(layer, to.type.shape[2:], "padding='same'")
        starts = np.arange(count) * stride - pads[0]
        there = np.minimum(starts + size, length) - np.maximum(starts, 0)
        to.then("mul", layer.name, to.constant(f"{layer.name}.share", (size / there).astype(np.float32)))
    to.then("transpose", f"{layer.name}.channels_last", perm=(0, 2, 1))
    return [to.leave()]


def _global(pool: str) -> Callable[[Layer, Sequence[Flow], KerasBuilder], list[Flow]]:
    def handler(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
        layer.only("data_format", "channels_last", "use channels_last")
        keep = layer.flag("keepdims", False)
        need_rank(layer, inputs[0], (3,), to)
        if pool == "mean" and inputs[0].hold:
            _masked_mean(layer, inputs[0], to)
        else:
            add_pool(to.array_entry(layer, "pool", {}, pool=pool), to)
        if keep:
            batch, width = to.type.shape
            to.then("reshape", f"{layer.name}.kept", shape=(batch, 1, width))
            to.time_major = False
        return [to.leave()]

    return handler


def _masked_mean(layer: Layer, flow: Flow, to: KerasBuilder) -> None:
    """The mean of the steps that a mask leaves in; 0 / 0 where it leaves none, as in Keras."""
    taken = steps_taken(layer, flow.hold, to, False)
    to.enter(flow, False)
    to.then("mul", f"{layer.name}.taken", taken)
    to.then("reduce_sum", f"{layer.name}.sum", axes=(1,), keepdims=0)
    total = to.value
    to.value = taken
    to.then("reduce_sum", f"{layer.name}.count", axes=(1,), keepdims=0)
    (to.value,) = to.node("div", [total, to.value], layer.name, 1, {})
    to.time_major, to.pooled = False, True
    to.report.append(f"{layer.name}: mean over time of the steps that the mask leaves in")


HANDLERS: Mapping[str, Callable[[Layer, Sequence[Flow], KerasBuilder], list[Flow]]] = {
    "MaxPooling1D": _max,
    "MaxPool1D": _max,
    "AveragePooling1D": _average,
    "AvgPool1D": _average,
    "GlobalMaxPooling1D": _global("max"),
    "GlobalMaxPool1D": _global("max"),
    "GlobalAveragePooling1D": _global("mean"),
    "GlobalAvgPool1D": _global("mean"),
}
