"""Conv1D over time: kernels (K, in/groups, out), channels last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edgelstm.graph.dims import Dim
from edgelstm_converters.keras.builder import Flow, KerasBuilder, NeedsLengthError
from edgelstm_converters.keras.config import MAX_WINDOW, Layer
from edgelstm_converters.keras.functions import apply
from edgelstm_converters.keras.layers.shape import fixed, need_rank
from edgelstm_converters.layers.conv1d import add_conv1d


def same_pads(layer: Layer, length: Dim, reach: int, stride: int) -> tuple[int, int]:
    """Zeros before and after that make ceil(length / stride) windows of `reach` + 1, the odd one after.

    Raises:
        NeedsLengthError: they depend on a length that is symbolic.
    """
    if stride == 1:
        total = reach
    elif not isinstance(length, int):
        raise NeedsLengthError(f"{layer.where}: padding='same' with a stride of {stride} needs a fixed length")
    else:
        total = max((-(-length // stride) - 1) * stride + reach + 1 - length, 0)
    return total // 2, total - total // 2


def _conv1d(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    filters, width = layer.integer("filters"), layer.integer("kernel_size", most=MAX_WINDOW)
    stride, dilation = layer.integer("strides", 1, most=MAX_WINDOW), layer.integer("dilation_rate", 1, most=MAX_WINDOW)
    groups = layer.integer("groups", 1)
    padding = layer.choice("padding", ("valid", "same", "causal"), "valid")
    layer.only("data_format", "channels_last", "use channels_last")
    layer.only("rank", 1, "a Conv1D has one")
    bias = [("", "bias")] if layer.flag("use_bias", True) else []
    need_rank(layer, inputs[0], (3,), to)
    to.enter(inputs[0], False)
    length, _ = to.type.shape[1:]
    fixed(layer, to.type.shape[-1:], "the number of channels")
    reach = dilation * (width - 1)
    pads: object = padding if padding != "same" else same_pads(layer, length, reach, stride)
    keys = {"stride": stride, "dilation": dilation, "groups": groups, "padding": pads}
    entry = to.entry(layer, "conv1d", [("", "kernel"), *bias], **keys)
    entry.need("kernel", (width, None, filters))
    add_conv1d(entry, to)
    to.report[-1] += f", {apply(layer, 'activation', to)}"
    return [to.leave()]


HANDLERS: Mapping[str, Callable[[Layer, Sequence[Flow], KerasBuilder], list[Flow]]] = {"Conv1D": _conv1d}
