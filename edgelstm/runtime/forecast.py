"""Recursive forecasts: a stream's predictions fed back as readings, on a copy of its state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgelstm.errors import InputError, StreamError
from edgelstm.graph.ir import Array, TensorType
from edgelstm.runtime.inputs import as_dtype, check_names, show, sized

Indices = npt.NDArray[np.intp]
Place = tuple[str, int | None]  # an input or output, and one of its elements or all


class Source(Protocol):
    """What is asked of a stream."""

    @property
    def inputs(self) -> Mapping[str, TensorType]:
        """Name → dtype and shape of a reading."""

    @property
    def outputs(self) -> Mapping[str, TensorType]:
        """Name → dtype and shape of a prediction."""

    @property
    def stride(self) -> int:
        """Readings from one output to the next."""

    @property
    def last(self) -> dict[str, Array] | None:
        """The outputs that belong to the current state."""

    def step(self, x: Any) -> Any:
        """One reading in, one prediction out."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What each reading is made of.

    Attributes:
        links: input, its elements, output, its elements: the latter replace the former.
        rest: input → its elements that the future must give.
    """

    links: tuple[tuple[str, Indices, str, Indices], ...]
    rest: Mapping[str, Indices]


def forecast(live: Source, twin: Source, n: int, future: Any, feedback: Any) -> Any:
    """`Stream.forecast` on a twin that stands at the live stream's state.

    Args:
        live: only looked at.
        twin: is stepped n - 1 times.
        n: how many predictions.
        future: see `Stream.forecast`.
        feedback: see `Stream.forecast`.

    Returns:
        (n, ...) predictions, or a dict of them where there are several outputs.

    Raises:
        InputError: an argument does not fit, or a prediction is not finite.
        StreamError: there is no prediction to begin with, or not one at every reading.
    """
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise InputError(f"forecast: expected a number of steps from 1, got {n!r}")
    if live.stride != 1:
        raise StreamError(
            f"forecast: this model predicts at every {live.stride}th reading only, so it cannot feed itself"
        )
    plan = make_plan(live.inputs, live.outputs, feedback)
    rows = _future_rows(live.inputs, plan, n, future)
    last = live.last
    if last is None:
        raise StreamError(
            "forecast: no prediction belongs to the stream's state yet, as it is new, reset, restored or still filling "
            "its window: step a reading first"
        )
    found = {name: np.empty((n, *array.shape), array.dtype) for name, array in last.items()}
    for name, array in last.items():
        found[name][0] = array
    reading = {name: np.zeros(sized(kind.shape), kind.dtype) for name, kind in live.inputs.items()}
    for index in range(1, n):
        _fill(reading, plan, rows, found, index - 1)
        try:
            outputs = twin.step(reading if len(reading) > 1 else next(iter(reading.values())))
        except InputError as error:
            raise InputError(f"forecast: after prediction {index} of {n}: {error}") from None
        for name, value in (outputs if isinstance(outputs, dict) else {next(iter(found)): outputs}).items():
            found[name][index] = value
    return found if len(found) != 1 else next(iter(found.values()))


def make_plan(inputs: Mapping[str, TensorType], outputs: Mapping[str, TensorType], feedback: Any) -> Plan:
    """Where each element of a reading comes from.

    Raises:
        InputError: `feedback` is needed, or names what there is not, or replaces something twice.
    """
    taken: dict[str, set[int]] = {name: set() for name in inputs}
    links = []
    for target, source in _pairs(inputs, outputs, feedback):
        to, positions = _elements(target, inputs, "input")
        by, elements = _elements(source, outputs, "output")
        if len(positions) != len(elements):
            raise InputError(f"feedback: input {to!r} has {len(positions)} values there, output {by!r} {len(elements)}")
        if twice := taken[to] & set(positions.tolist()):
            raise InputError(f"feedback: value {min(twice)} of input {to!r} is replaced twice")
        taken[to] |= set(positions.tolist())
        links.append((to, positions, by, elements))
    rest = {
        name: np.array([index for index in range(_size(kind)) if index not in taken[name]], np.intp)
        for name, kind in inputs.items()
    }
    return Plan(tuple(links), {name: indices for name, indices in rest.items() if len(indices)})


def _pairs(
    inputs: Mapping[str, TensorType], outputs: Mapping[str, TensorType], feedback: Any
) -> list[tuple[Place, Place]]:
    single = len(inputs) == len(outputs) == 1
    to, by = next(iter(inputs)), next(iter(outputs))
    if feedback is None:
        if single and _size(inputs[to]) == _size(outputs[by]):
            return [((to, None), (by, None))]
        there = ", ".join(f"{name} {show(kind.shape)}" for name, kind in outputs.items())
        here = ", ".join(f"{name} {show(kind.shape)}" for name, kind in inputs.items())
        raise InputError(
            f"forecast: outputs ({there}) and inputs ({here}) differ; say with feedback= which inputs the outputs "
            "replace, such as feedback=[0] for output 0 → feature 0, or {input name: output name}"
        )
    if isinstance(feedback, Mapping):
        return [(_place(key, inputs), _place(value, outputs)) for key, value in feedback.items()]
    if not single or isinstance(feedback, str) or not isinstance(feedback, Sequence):
        raise InputError(f"feedback: expected a list of features of a single input, or a dict, got {feedback!r}")
    if len(feedback) != _size(outputs[by]):
        raise InputError(f"feedback: expected one feature for each of {_size(outputs[by])} outputs, got {feedback!r}")
    return [(_place(feature, inputs), (by, index)) for index, feature in enumerate(feedback)]


def _place(key: Any, kinds: Mapping[str, TensorType]) -> Place:
    if isinstance(key, str):
        return key, None
    if isinstance(key, int) and not isinstance(key, bool) and len(kinds) == 1:
        return next(iter(kinds)), key
    if isinstance(key, tuple) and len(key) == 2 and isinstance(key[0], str) and isinstance(key[1], int):
        return key[0], key[1]
    raise InputError(f"feedback: expected a name, a feature's number or (name, number), got {key!r}")


def _elements(place: Place, kinds: Mapping[str, TensorType], what: str) -> tuple[str, Indices]:
    name, index = place
    if name not in kinds:
        raise InputError(f"feedback: there is no {what} {name!r}; there are {', '.join(kinds)}")
    if kinds[name].dtype != "float32":
        raise InputError(
            f"feedback: {what} {name!r} is {kinds[name].dtype}; only real numbers are forecast, ids are what "
            "edgelstm.generate feeds back"
        )
    size = _size(kinds[name])
    if index is not None and not 0 <= index < size:
        raise InputError(f"feedback: {what} {name!r} has the values 0 to {size - 1}, got {index}")
    return name, np.arange(size) if index is None else np.array([index])


def _future_rows(inputs: Mapping[str, TensorType], plan: Plan, n: int, future: Any) -> dict[str, Array]:
    """Input → (rows, elements that are not fed back)."""
    needed = ", ".join(f"{name} (n, {len(indices)})" for name, indices in plan.rest.items())
    if future is None:
        if plan.rest and n > 1:
            raise InputError(f"future: values that are not predicted must be given for every step: {needed}")
        return {}
    if not plan.rest:
        raise InputError("future: every input is fed back, nothing is left to be given")
    if not isinstance(future, Mapping):
        if len(plan.rest) != 1:
            raise InputError(f"future: expected a dict of {needed}")
        future = {next(iter(plan.rest)): future}
    check_names(future, list(plan.rest), "future")
    return {name: _rows(name, value, inputs[name], len(plan.rest[name]), n) for name, value in future.items()}


def _rows(name: str, value: Any, kind: TensorType, count: int, n: int) -> Array:
    array = as_dtype(value, kind.dtype, f"future of {name}")
    whole = count == _size(kind) and array.shape[1:] == sized(kind.shape)
    fits = whole or array.shape[1:] == (count,) or (count == 1 and array.ndim == 1)
    if array.ndim == 0 or not fits or len(array) not in (n, n - 1):
        raise InputError(
            f"future of {name}: expected ({n}, {count}), a row for the reading of each prediction (the last one is not "
            f"needed), got {show(array.shape)}"
        )
    rows = array.reshape(len(array), -1)
    if rows.dtype == np.float32 and not np.isfinite(rows[: n - 1]).all():
        bad = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise InputError(f"future of {name}: row {bad} holds NaN or Inf")
    return rows


def _fill(
    reading: Mapping[str, Array], plan: Plan, rows: Mapping[str, Array], found: Mapping[str, Array], index: int
) -> None:
    for name, values in rows.items():
        reading[name].reshape(-1)[plan.rest[name]] = values[index]
    for to, positions, by, elements in plan.links:
        reading[to].reshape(-1)[positions] = found[by][index].reshape(-1)[elements]


def _size(kind: TensorType) -> int:
    return prod(sized(kind.shape))
