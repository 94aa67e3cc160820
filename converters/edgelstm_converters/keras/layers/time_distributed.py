"""TimeDistributed around a layer that works on the features of one step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edgelstm.graph.dims import product
from edgelstm_converters.keras.builder import Flow, KerasBuilder
from edgelstm_converters.keras.config import Layer, make_layer
from edgelstm_converters.keras.layers import activation, dense, norm
from edgelstm_converters.keras.layers.shape import fixed

_PER_STEP: Mapping[str, Callable[[Layer, Sequence[Flow], KerasBuilder], list[Flow]]] = {
    **{kind: handler for kind, handler in dense.HANDLERS.items() if kind != "Embedding"},
    **activation.HANDLERS,
    **norm.HANDLERS,
}


def _time_distributed(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    place = to.weights.below(layer.place, "layer")
    inner = make_layer(layer.get("layer"), layer.file, place, layer.version)
    if inner.kind == "Flatten":
        flows = _flatten(inner, inputs, to)
    elif inner.kind in _PER_STEP:
        inner.config = _moved_axis(inner.config)
        flows = _PER_STEP[inner.kind](inner, inputs, to)
    else:
        raise layer.refuse("layer", inner.kind, f"at every step there may be {', '.join((*_PER_STEP, 'Flatten'))}")
    to.report += [f"assumed  {note}" for note in inner.finish()]
    return flows


def _moved_axis(config: Mapping[str, object]) -> dict[str, object]:
    """The inner layer counts its axes without time."""
    axis = config.get("axis")
    axes = axis if isinstance(axis, list) else [axis]
    if not all(isinstance(one, int) for one in axes):
        return dict(config)
    moved = [one + 1 if isinstance(one, int) and one > 0 else one for one in axes]
    return {**config, "axis": moved if isinstance(axis, list) else moved[0]}


def _flatten(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    layer.only("data_format", "channels_last", "use channels_last")
    to.enter(inputs[0], False)
    batch, time, *rest = to.type.shape
    to.then("reshape", layer.name, shape=(batch, time, product(fixed(layer, rest, "flattening"))))
    return [to.leave()]


HANDLERS: Mapping[str, Callable[[Layer, Sequence[Flow], KerasBuilder], list[Flow]]] = {
    "TimeDistributed": _time_distributed
}
