"""Calibration data: checked once, then run through a model and its variants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edgelstm.errors import InputError, StreamError
from edgelstm.graph.ir import Array, Graph
from edgelstm.graph.ops import make_node
from edgelstm.passes.states import with_start_states
from edgelstm.runtime.inputs import as_dtype, check_names, show
from edgelstm.runtime.model import Model
from edgelstm.runtime.stream import Stream

TAP = "quantization tap"  # outputs that show the inputs of a layer


@dataclass(frozen=True, slots=True)
class Samples:
    """Inputs by name and how to run a model on them.

    Attributes:
        feeds: name → array; a row for each reading where `streamed`, else as `Model.run` or `Model.predict` takes them.
        streamed: whether they go through a stream.
        started: whether states are left to start by themselves.
        sizes: of free dimensions, for the stream.
    """

    feeds: Mapping[str, Array]
    streamed: bool
    started: bool
    sizes: Mapping[str, int] = field(default_factory=dict)

    def outputs(self, graph: Graph) -> dict[str, Array]:
        """Every output by name."""
        model = Model(graph)
        if self.streamed:
            stream = model.stream(sizes=self.sizes)
            found = stream.run(dict(self.feeds))
            return found if isinstance(found, dict) else {next(iter(stream.outputs)): found}
        if self.started:
            return Model(with_start_states(graph)).run(self.feeds)
        return model.run(self.feeds)

    def inputs_of(self, graph: Graph, nodes: list[int]) -> dict[int, Array]:
        """What some nodes take as their first input, (n, features): node index → rows."""
        found = self._seen(graph, {index: graph.nodes[index].inputs[0] for index in nodes})
        rows: dict[int, Array] = {}
        for index in nodes:
            values = found[index]
            if graph.nodes[index].op == "conv":
                strides: Any = graph.nodes[index].attrs["strides"]
                values = np.moveaxis(values, -1 - len(strides), -1)  # (..., channels, *sizes) with the channels last
            rows[index] = values.reshape(-1, values.shape[-1])
        return rows

    def states_of(self, graph: Graph, nodes: list[int]) -> dict[int, list[Array]]:
        """The states that some cells go through: node index → one array (n, width) for each direction."""
        ys = [graph.nodes[index].outputs[0] for index in nodes]
        fresh = {index: y or f"{TAP} y {index}" for index, y in zip(nodes, ys, strict=True)}
        shown = list(graph.nodes)
        for index, y in fresh.items():
            shown[index] = replace(shown[index], outputs=(y, *shown[index].outputs[1:]))
        found = self._seen(replace(graph, nodes=tuple(shown)), fresh)
        rows = {}
        for index in nodes:
            directions, width = graph.constants[graph.nodes[index].inputs[2]].shape[::2]
            values = found[index]
            # (time, direction, batch, width), or (time, direction, width) from a stream
            batch = values.size // max(1, len(values) * directions * width)
            values = np.moveaxis(values.reshape(-1, directions, batch, width), 1, 0)
            rows[index] = [one.reshape(-1, width) for one in values]
        return rows

    def _seen(self, graph: Graph, values: Mapping[int, str]) -> dict[int, Array]:
        """What some values of a graph are, by the same keys."""
        taps = {key: f"{TAP} {key}" for key in values}
        shown = [make_node("identity", [value], [taps[key]]) for key, value in values.items()]
        outputs = {**graph.outputs, **{tap: tap for tap in taps.values()}}
        found = self.outputs(replace(graph, nodes=(*graph.nodes, *shown), outputs=outputs)) if values else {}
        return {key: found[tap] for key, tap in taps.items()}


def read_samples(model: Model, calibration: Any, sizes: Mapping[str, int] | None = None) -> Samples:
    """Check calibration data against a model.

    Args:
        model: the float model.
        calibration: readings in time order, (T, features), or by name where the model has several inputs; or whole
            sequences as `Model.predict` takes them, or all inputs as `Model.run` does.
        sizes: of free dimensions, for the stream.

    Raises:
        InputError: an input is missing, has the wrong shape, is empty, holds NaN or Inf, or has a column that never
            changes; names the input and the column.
    """
    stream, refused = None, ""
    try:
        stream = model.stream(sizes=sizes)
    except StreamError as error:
        refused = str(error)
    whole = None if stream is not None and _fits(stream, calibration) else _whole(model, calibration)
    if whole is not None:
        for name, array in whole.feeds.items():
            _check(name, array, array.shape[-1] if array.ndim > 1 else 1)
        return whole
    if stream is None:
        raise InputError(
            f"calibration: expected whole sequences as predict() takes them, for this model does not stream ({refused})"
        )
    given = calibration if isinstance(calibration, Mapping) else {_only(list(stream.inputs)): calibration}
    check_names(given, list(stream.inputs), "calibration")
    feeds = {}
    for name, kind in stream.inputs.items():
        array = as_dtype(given[name], kind.dtype, name)
        shape = tuple(int(str(dim)) for dim in kind.shape)
        if array.ndim == 1 and np.prod(shape) == 1:
            array = array.reshape(-1, *shape)
        if array.shape[1:] != shape or array.ndim != len(shape) + 1:
            raise InputError(
                f"calibration: input {name!r}: expected readings of shape {show(shape)}, one a row, got {array.shape}"
            )
        _check(name, array, int(np.prod(shape)))
        feeds[name] = array
    if len({len(array) for array in feeds.values()}) > 1:
        raise InputError(f"calibration: expected as many rows of each input, got {[len(a) for a in feeds.values()]}")
    return Samples(feeds, True, True, dict(sizes or {}))


def _fits(stream: Stream, calibration: Any) -> bool:
    """Whether the data are readings, one a row, and not whole sequences: first of all where both would fit."""
    given = calibration if isinstance(calibration, Mapping) else dict.fromkeys(stream.inputs, calibration)
    ranks = {name: len(kind.shape) + 1 for name, kind in stream.inputs.items()}
    return set(given) == set(ranks) and all(np.ndim(given[name]) == rank for name, rank in ranks.items())


def _whole(model: Model, calibration: Any) -> Samples | None:
    """The data as whole sequences, where they are that."""
    if isinstance(calibration, Mapping):
        given = dict(calibration)
        names, started = (list(model.inputs), False)
        if set(given) != set(names):
            names, started = [name for name in names if name not in {state.input for state in model.graph.states}], True
        if set(given) != set(names) or any(np.ndim(given[name]) != model.inputs[name].rank for name in names):
            return None
    else:
        names = [name for name in model.inputs if name not in {state.input for state in model.graph.states}]
        if len(names) != 1 or np.ndim(calibration) != model.inputs[names[0]].rank:
            return None
        given, started = {names[0]: calibration}, True
    feeds = {name: as_dtype(given[name], model.inputs[name].dtype, name) for name in names}
    return Samples(feeds, False, started)


def _only(names: list[str]) -> str:
    if len(names) != 1:
        raise InputError(f"calibration: the model has the inputs {', '.join(names)}; expected a dict by name")
    return names[0]


def _check(name: str, array: Array, width: int) -> None:
    if not array.size:
        raise InputError(f"calibration: input {name!r} is empty, shape {array.shape}; expected some readings")
    if array.dtype != np.float32 or width == 0:
        return
    columns = array.reshape(-1, width)
    bad = ~np.isfinite(columns)
    if bad.any():
        row, column = (int(axis[0]) for axis in np.nonzero(bad))
        raise InputError(
            f"calibration: input {name!r}: expected finite numbers, got {columns[row, column]} at row {row}, "
            f"column {column}"
        )
    if len(columns) < 2:
        raise InputError(f"calibration: input {name!r}: expected at least 2 readings, got {len(columns)}")
    still = np.flatnonzero(columns.max(axis=0) == columns.min(axis=0))
    if still.size:
        raise InputError(
            f"calibration: input {name!r}: column {still[0]} is {columns[0, still[0]]} in every reading; "
            "expected data in which every column changes, as it will when the model runs"
        )
