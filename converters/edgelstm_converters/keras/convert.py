"""A network of Keras layers to a Graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgelstm.errors import EdgeLSTMError, FormatError, InputError, UnsupportedError
from edgelstm.graph.dims import BATCH, TIME, Dim, symbol
from edgelstm.graph.ir import Graph, TensorType
from edgelstm_converters.array_book import listing
from edgelstm_converters.keras.builder import Flow, KerasBuilder, NeedsLengthError
from edgelstm_converters.keras.config import MAX_SIZE, Layer, brief
from edgelstm_converters.keras.layers import ADVICE, LAYERS, SEVERAL
from edgelstm_converters.keras.layers.mask import carry, given_mask, unheard
from edgelstm_converters.keras.layers.shape import show
from edgelstm_converters.keras.network import Network, Ref
from edgelstm_converters.keras.weights import Weights
from edgelstm_converters.layers.build import INPUT, OUTPUT
from edgelstm_converters.layers.entry import ASSUMED

_STATES = ("", "h", "c", "backward_h", "backward_c")


class Inputs:
    """What the inputs of a network are.

    Attributes:
        types: name in the graph → type, with T and B symbolic.
        frozen: T or B → the size that the file gives.
        length: T's size in the file; None where it is free or there is no T.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        shapes = [_shape(layer) for layer in network.inputs]
        tokens = [_feeds_embedding(network, (layer.name, 0, 0)) for layer in network.inputs]
        single = len(network.inputs) == 1
        times = [
            shape[1] for shape, ids in zip(shapes, tokens, strict=True) if len(shape) > 2 or (ids and len(shape) == 2)
        ]
        self.timed = bool(times)
        self.length = None if None in times else next((n for n in times if n != 1), times[0] if times else None)
        self.batch = next((shape[0] for shape in shapes if shape[0] is not None), None)
        self.types: dict[str, TensorType] = {}
        self.names: list[str] = []
        for layer, shape, ids in zip(network.inputs, shapes, tokens, strict=True):
            name = INPUT if single else layer.name
            dims: list[Dim] = [symbol(BATCH)]
            for axis, size in enumerate(shape[1:], 1):
                if axis == 1 and (len(shape) > 2 or ids) and size == self.length:
                    dims.append(symbol(TIME))
                elif size is None:
                    dims.append(symbol(f"{name}_{axis}"))
                else:
                    dims.append(size)
            if not ids and (len(shape) < 2 or not isinstance(dims[-1], int)):
                raise UnsupportedError(
                    f"{layer.where}: expected a fixed number of features, got the shape {brief(list(shape))}"
                )
            self.names.append(name)
            self.types[name] = TensorType("int64" if ids else "float32", tuple(dims))
        self.frozen = {name: size for name, size in ((BATCH, self.batch), (TIME, self.length)) if size is not None}

    def at_length(self) -> dict[str, TensorType]:
        """The types with T at the size that the file gives."""
        assert self.length is not None
        return {
            name: TensorType(kind.dtype, tuple(self.length if dim == symbol(TIME) else dim for dim in kind.shape))
            for name, kind in self.types.items()
        }


def convert(network: Network, weights: Weights, metadata: Mapping[str, str]) -> tuple[Graph, list[str]]:
    """The graph of a network, T symbolic unless a layer needs its size.

    Raises:
        UnsupportedError: a layer, or what it is asked for, is not honoured; names it.
        FormatError: layers and arrays do not fit together.
    """
    inputs = Inputs(network)
    try:
        return _build(network, weights, inputs, inputs.types, inputs.frozen, {}, metadata)
    except NeedsLengthError as error:
        if inputs.length is None:
            raise UnsupportedError(
                f"{error}; the model leaves it free: build it with Input((length, features))"
            ) from None
        frozen = {name: size for name, size in inputs.frozen.items() if name != TIME}
        pinned = {TIME: f"the length is fixed at {inputs.length}: {error}"}
        return _build(network, weights, inputs, inputs.at_length(), frozen, pinned, metadata)


def _build(
    network: Network,
    weights: Weights,
    inputs: Inputs,
    types: Mapping[str, TensorType],
    frozen: Mapping[str, int],
    pinned: Mapping[str, str],
    metadata: Mapping[str, str],
) -> tuple[Graph, list[str]]:
    to = KerasBuilder(types, weights)
    for layer, name in zip(network.inputs, inputs.names, strict=True):
        _finish_input(layer)
        to.report.append(f"{layer.name}: input {name!r}, {types[name]}")
    for name, size in frozen.items():
        to.report.append(f"{ASSUMED}{name} is {size} in the file; a stream takes any, run and predict that one")
    to.report += [f"{ASSUMED}{reason}" for reason in pinned.values()]
    flows = _run(network, [Flow(name) for name in inputs.names], to)
    names = _output_names(network)
    graph = to.graph(dict(zip(names, flows, strict=True)), frozen, pinned, metadata)
    if unused := weights.book.unused():
        raise FormatError(f"{weights.where}: {len(unused)} arrays of the file belong to no layer: {listing(unused)}")
    return graph, [*to.report, *weights.book.report()]


def _run(network: Network, given: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    made: dict[Ref, Flow] = {(layer.name, 0, 0): flow for layer, flow in zip(network.inputs, given, strict=True)}
    for call in network.calls:
        layer = call.layer
        needed = [*call.inputs, *([call.mask] if call.mask else [])]
        if missing := [ref for ref in needed if ref not in made]:
            raise FormatError(f"{layer.where}: its input {missing[0][0]!r} has no output number {missing[0][2]}")
        inputs, hold = [made[ref] for ref in call.inputs], ""
        try:
            if call.mask:
                inputs = given_mask(inputs, made[call.mask], layer, to)
            elif unheard(layer, inputs):
                hold, inputs = inputs[0].hold, [replace(inputs[0], hold=""), *inputs[1:]]
            flows = _run(call.inner, inputs, to) if call.inner else _apply(layer, inputs, to)
            if hold and len(to.shape(flows[0])) == 3:
                flows[0] = replace(flows[0], hold=hold)
        except InputError as error:
            text = str(error)
            raise FormatError(text if text.startswith(layer.where) else f"{layer.where}: {text}") from None
        except ValueError as error:
            if isinstance(error, EdgeLSTMError):
                raise
            raise FormatError(f"{layer.where}: its inputs do not fit it ({error})") from None
        for number, flow in enumerate(flows):
            made[layer.name, call.number, number] = flow
    for name, call_number, number in network.outputs:
        if (name, call_number, number) not in made:
            raise FormatError(
                f"{to.weights.where}: the model's output {name!r} (call {call_number}) has no output number {number}"
            )
    return [made[ref] for ref in network.outputs]


def _apply(layer: Layer, inputs: Sequence[Flow], to: KerasBuilder) -> list[Flow]:
    handler = LAYERS.get(layer.kind)
    if handler is None:
        advice = ADVICE.get(layer.kind, f"supported are {', '.join(sorted(LAYERS))}")
        raise UnsupportedError(f"{layer.where}: this layer is not supported: {advice}")
    if len(inputs) > 1 and layer.kind not in SEVERAL:
        raise FormatError(f"{layer.where}: expected one input, got {len(inputs)}")
    flows = carry(layer, inputs, handler(layer, inputs, to), to)
    for flow in flows:
        if any(isinstance(size, int) and size > MAX_SIZE for size in to.shape(flow)):
            raise UnsupportedError(
                f"{layer.where}: an output {show(to.shape(flow))}: expected axes of at most {MAX_SIZE}"
            )
    to.report += [ASSUMED + note for note in layer.finish()]
    return flows


def _shape(layer: Layer) -> tuple[int | None, ...]:
    """The shape of an input layer, batch first."""
    found = next((layer.get(key) for key in ("batch_shape", "batch_input_shape") if layer.has(key)), None)
    if found is None:
        raise UnsupportedError(
            f"{layer.where}: the file does not say the shape of the input; begin the model with "
            "keras.Input((None, features)) and save it again"
        )
    if isinstance(found, list) and found and isinstance(found[0], list) and len(found) == 1:
        (found,) = found
    sizes = found if isinstance(found, list) else []
    if not 1 <= len(sizes) <= 8 or not all(
        size is None or (isinstance(size, int) and not isinstance(size, bool) and 1 <= size <= MAX_SIZE)
        for size in sizes
    ):
        raise layer.damaged("batch_shape", f"sizes from 1 to {MAX_SIZE}", found)
    return tuple(sizes)


def _finish_input(layer: Layer) -> None:
    dtype: Any = layer.get("dtype")
    if isinstance(dtype, str) and dtype not in ("float16", "float32", "float64", "int32", "int64", "uint8"):
        raise layer.refuse("dtype", dtype, "give numbers")
    for key in ("sparse", "ragged"):
        layer.only(key, False, "give dense arrays")
    layer.only("optional", False, "give every input")
    layer.config = {key: value for key, value in layer.config.items() if key != "dtype"}
    layer.finish()


def _feeds_embedding(network: Network, ref: Ref) -> bool:
    for call in network.calls:
        for position, source in enumerate(call.inputs):
            if source != ref:
                continue
            if call.layer.kind == "Embedding":
                return True
            inner = call.inner
            if inner and position < len(inner.inputs) and _feeds_embedding(inner, (inner.inputs[position].name, 0, 0)):
                return True
    return False


def _output_names(network: Network) -> list[str]:
    """`y`, or, where there are several, the names of their layers, states as `lstm_h` and `lstm_c`."""
    if len(network.outputs) == 1:
        return [OUTPUT]
    names: list[str] = []
    for layer, _, number in network.outputs:
        kind = _STATES[number] if number < len(_STATES) else str(number)
        stem = fresh = f"{layer}_{kind}" if number else layer
        count = 2
        while fresh in names:
            fresh, count = f"{stem}_{count}", count + 1
        names.append(fresh)
    return names
