"""Sequential and Functional models: which layer is applied to what, in an order in which every tensor is there.

Keras 3 writes the inputs of a call as tensors with a `keras_history` of (layer, call, output); Keras 2 as lists of the
same three. A layer that is called several times has its weights once. Models may hold models.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from edgelstm.errors import FormatError, UnsupportedError
from edgelstm_converters.keras.config import Layer, brief, make_layer
from edgelstm_converters.keras.weights import Weights

MODELS = ("Sequential", "Functional", "Model")
INPUT = "InputLayer"
MAX_LAYERS = 1000  # of a model
MAX_CALLS = 10_000  # of a model and the models in it
MAX_NESTED = 8
MAX_OUTPUTS = 1000

Ref: TypeAlias = tuple[str, int, int]  # layer, number of its call, number of its output


@dataclass(frozen=True, slots=True)
class Network:
    """A model's layers and their calls.

    Attributes:
        inputs: the input layers, in the model's order.
        layers: all others, in the order of the file.
        calls: in an order in which every tensor is made before it is used.
        outputs: what the model gives.
    """

    inputs: tuple[Layer, ...]
    layers: tuple[Layer, ...]
    calls: tuple[Call, ...]
    outputs: tuple[Ref, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """One application of a layer.

    Attributes:
        layer: what is applied.
        number: how many calls the layer had before.
        inputs: the tensors that it takes; start states stand after the sequence.
        inner: the network of a layer that is a model.
        mask: the tensor that it is handed as its mask.
    """

    layer: Layer
    number: int
    inputs: tuple[Ref, ...]
    inner: Network | None
    mask: Ref | None = None

    @property
    def sources(self) -> set[tuple[str, int]]:
        """The layers and their calls that it needs."""
        return {ref[:2] for ref in (*self.inputs, *([self.mask] if self.mask else []))}


class NetworkReader:
    """Reads a description and the models in it.

    Args:
        weights: tells where the weights of a layer are.
        version: major version of Keras that wrote the description, or 0.
        file: what messages call the file.
    """

    def __init__(self, weights: Weights, version: int, file: str) -> None:
        self.weights, self.version, self.file = weights, version, file
        self._calls = 0

    def read(self, data: Any) -> Network:
        """The network of a whole file.

        Raises:
            FormatError: the description is damaged.
            UnsupportedError: it is no Sequential or Functional model of Keras's own layers.
        """
        return self._model(make_layer(data, self.file, "", self.version), 0)

    def _model(self, model: Layer, depth: int) -> Network:
        listed = model.get("layers")
        if model.kind not in MODELS or (model.kind == "Model" and listed is None):
            raise UnsupportedError(
                f"{model.where}: expected a Sequential or Functional model; what a subclass of Model computes is code "
                "that is not in the file: build it of layers, or save its weights and list them with layers=[...]"
            )
        if not isinstance(listed, list) or not listed:
            raise FormatError(f"{model.where}: layers: expected a list of layers, got {brief(listed)}")
        if len(listed) > MAX_LAYERS or depth > MAX_NESTED:
            raise UnsupportedError(
                f"{model.where}: expected at most {MAX_LAYERS} layers and {MAX_NESTED} models in one another"
            )
        taken: dict[str, int] = {}
        layers = []
        for entry in listed:
            layer = make_layer(entry, self.file, "", self.version)
            if layer.kind != INPUT or model.kind != "Sequential":  # a Sequential does not count its input
                layer.place = self.weights.inside(model.place, layer.kind, layer.name, taken)
            layers.append(layer)
        if len({layer.name for layer in layers}) != len(layers):
            raise FormatError(f"{model.where}: two layers have one name")
        inner = {layer.name: self._model(layer, depth + 1) for layer in layers if layer.kind in MODELS}
        if model.kind == "Sequential":
            return self._sequential(model, layers, inner)
        return self._functional(model, layers, inner)

    def _sequential(self, model: Layer, layers: list[Layer], inner: Mapping[str, Network]) -> Network:
        if layers[0].kind != INPUT:
            config = {"batch_shape": _built_shape(model, layers[0])}
            layers.insert(0, Layer(INPUT, "input", self.file, config, "", self.version))
        first, *rest = layers
        calls = []
        last: Ref = (first.name, 0, 0)
        for layer in rest:
            calls.append(Call(layer, 0, (last,), inner.get(layer.name)))
            last = (layer.name, 0, 0)
        self._count(model, len(calls))
        return Network((first,), tuple(rest), tuple(calls), (last,))

    def _functional(self, model: Layer, layers: Sequence[Layer], inner: Mapping[str, Network]) -> Network:
        calls = []
        for layer in layers:
            nodes = layer.entry.get("inbound_nodes", [])
            if not isinstance(nodes, list):
                raise FormatError(f"{layer.where}: inbound_nodes: expected a list, got {brief(nodes)}")
            self._count(model, len(nodes))
            if layer.kind == INPUT:
                continue
            for number, node in enumerate(nodes):
                given, mask = _call_inputs(layer, node)
                calls.append(Call(layer, number, tuple(given), inner.get(layer.name), mask))
        by_name = {layer.name: layer for layer in layers}
        inputs = []
        for name, _, _ in _ends(model, "input_layers"):
            if name not in by_name or by_name[name].kind != INPUT:
                raise FormatError(f"{model.where}: input_layers: {name!r} is no InputLayer of the model")
            inputs.append(by_name[name])
        outputs = _ends(model, "output_layers")
        calls = _numbered(calls, outputs)
        ordered = _ordered(model, inputs, calls, outputs)
        return Network(tuple(inputs), tuple(layer for layer in layers if layer.kind != INPUT), ordered, tuple(outputs))

    def _count(self, model: Layer, calls: int) -> None:
        self._calls += calls
        if self._calls > MAX_CALLS:
            raise UnsupportedError(f"{model.where}: expected at most {MAX_CALLS} calls of layers")


def _built_shape(model: Layer, first: Layer) -> Any:
    """The input shape of a Sequential without an input layer, from wherever its version of Keras wrote it."""
    built = model.entry.get("build_config")
    model.inert("build_input_shape")
    for shape in (
        first.config.get("batch_shape"),
        first.config.get("batch_input_shape"),
        model.config.get("build_input_shape"),
        built.get("input_shape") if isinstance(built, Mapping) else None,
    ):
        if shape is not None:
            return shape
    return None


def _numbered(calls: list[Call], outputs: Sequence[Ref]) -> list[Call]:
    """The calls by the numbers that references have for them.

    Most models in models count theirs from 1, since building them was the first call. Every call is used, so the last
    one's number tells.
    """
    used = {ref[:2] for ref in outputs}.union(*(call.sources for call in calls))
    counts = Counter(call.layer.name for call in calls)
    return [
        replace(call, number=call.number + 1) if call.inner and (name, counts[name]) in used else call
        for call in calls
        for name in (call.layer.name,)
    ]


def _ordered(model: Layer, inputs: Sequence[Layer], calls: Sequence[Call], outputs: Sequence[Ref]) -> tuple[Call, ...]:
    """The calls in an order in which every tensor is made before it is used."""
    made: dict[tuple[str, int], list[int]] = {(layer.name, 0): [] for layer in inputs}
    made.update({(call.layer.name, call.number): [] for call in calls})
    waiting = []
    for index, call in enumerate(calls):
        for source in call.sources:
            if source not in made:
                raise FormatError(f"{call.layer.where}: its input {source[0]!r} (call {source[1]}) is not in the model")
            made[source].append(index)
        waiting.append(len(call.sources))
    for name, number, _ in outputs:
        if (name, number) not in made:
            raise FormatError(f"{model.where}: output_layers: {name!r} (call {number}) is not in the model")
    ready = deque((layer.name, 0) for layer in inputs)
    ordered = []
    while ready:
        for index in made[ready.popleft()]:
            waiting[index] -= 1
            if not waiting[index]:
                ordered.append(calls[index])
                ready.append((calls[index].layer.name, calls[index].number))
    if len(ordered) != len(calls):
        stuck = next(call for call, count in zip(calls, waiting, strict=True) if count)
        raise FormatError(f"{stuck.layer.where}: its inputs depend on its own output")
    return tuple(ordered)


def _ends(model: Layer, key: str) -> list[Ref]:
    """`input_layers` or `output_layers`: one reference, or a list or dict of them."""
    found = model.get(key)
    if _is_ref(found):
        return [_ref(found)]
    items = list(found.values()) if isinstance(found, Mapping) else found
    if not isinstance(items, list) or not 0 < len(items) <= MAX_OUTPUTS or not all(map(_is_ref, items)):
        raise model.damaged(key, "references [layer, call, output]", found)
    return [_ref(item) for item in items]


def _is_ref(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) >= 3
        and isinstance(value[0], str)
        and all(isinstance(part, int) and not isinstance(part, bool) and part >= 0 for part in value[1:3])
    )


def _ref(value: Sequence[Any]) -> Ref:
    return value[0], value[1], value[2]


def _call_inputs(layer: Layer, node: Any) -> tuple[list[Ref], Ref | None]:
    """The tensors that one call takes, and the one that is its mask."""
    found: list[Ref] = []
    mask: list[Ref] = []
    if isinstance(node, Mapping):  # Keras 3
        kwargs, given = node.get("kwargs", {}), node.get("args", [])
        if layer.kind == "NotEqual" and isinstance(given, list) and len(given) == 2:
            *given, value = given
            layer.config = {**layer.config, "value": value}
        _tensors(layer, given, found)
    elif isinstance(node, list):  # Keras 2
        kwargs = {}
        items = [node] if _is_ref(node) else node
        for item in items:
            if not _is_ref(item):
                raise FormatError(f"{layer.where}: inbound_nodes: expected [layer, call, output], got {brief(item)}")
            found.append(_ref(item))
            if len(item) > 3:
                kwargs = {**kwargs, **item[3]} if isinstance(item[3], Mapping) else {"arguments": item[3]}
    else:
        raise FormatError(f"{layer.where}: inbound_nodes: expected a call, got {brief(node)}")
    if not found:
        raise FormatError(f"{layer.where}: inbound_nodes: a call without inputs")
    if not isinstance(kwargs, Mapping):
        raise FormatError(f"{layer.where}: kwargs: expected an object, got {brief(kwargs)}")
    for key, value in kwargs.items():
        if key == "initial_state" and value is not None:
            _tensors(layer, value, found)
        elif key == "mask" and _is_tensor(value):
            _tensors(layer, value, mask)
        elif value is not None and value is not False:
            raise layer.refuse(f"argument {key}", value, "call the layer with its inputs alone")
    return found, (mask[0] if mask else None)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get("class_name") == "__keras_tensor__"


def _tensors(layer: Layer, value: Any, found: list[Ref]) -> None:
    """Adds the tensors of a nest of lists."""
    if isinstance(value, list):
        for item in value:
            _tensors(layer, item, found)
        return
    config = value.get("config") if _is_tensor(value) else None
    history = config.get("keras_history") if isinstance(config, Mapping) else None
    if _is_ref(history):
        found.append(_ref(history))  # type: ignore[arg-type]
    elif value is not None:
        raise layer.refuse("argument", value, "call the layer with tensors alone")
