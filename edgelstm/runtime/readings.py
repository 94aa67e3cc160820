"""What a stream takes and gives: slots without the axes of time and batch, and the casts into them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgelstm.errors import InputError
from edgelstm.graph.ir import Array
from edgelstm.passes.stream import StepGraph
from edgelstm.program.program import Port
from edgelstm.runtime.inputs import as_dtype, check_names, show

Rows = Mapping[str, Array]  # a reading, or many in rows, by input name


class Slot:
    """One input or output as a stream shows it: without the axes of time and batch."""

    def __init__(self, port: Port, step: StepGraph, view: Array) -> None:
        self.name, self.view = port.name, view
        axes = step.axes.get(port.name, ())
        self.shape = tuple(size for axis, size in enumerate(port.shape) if axis not in axes)
        self.shown = view.reshape(self.shape)
        self.dtype = port.dtype
        self._same = self.shown.dtype == self.dtype

    def takes(self, value: Any) -> bool:
        """Whether an array can be copied in as it is."""
        return type(value) is np.ndarray and value.dtype == self.shown.dtype and value.shape == self.shape

    def cast(self, value: Any) -> Array:
        """One reading.

        Raises:
            InputError: its dtype or shape does not fit.
        """
        array = as_dtype(value, self.dtype, self.name)
        if array.shape != self.shape:
            if self._lacks_ones(array.shape):
                return array.reshape(self.shape)
            raise InputError(
                f"input {self.name!r}: expected a reading of shape {show(self.shape)}, got {show(array.shape)}"
                f"{self._no_time(array.shape)}"
            )
        return array

    def cast_rows(self, value: Any) -> Array:
        """Many readings.

        Raises:
            InputError: their dtype or shape does not fit.
        """
        array = as_dtype(value, self.dtype, self.name)
        if array.ndim and self._lacks_ones(array.shape[1:]):
            return array.reshape(len(array), *self.shape)
        if array.shape[1:] != self.shape or array.ndim != len(self.shape) + 1:
            raise InputError(
                f"input {self.name!r}: expected any number of readings of shape {show(self.shape)}, "
                f"got {show(array.shape)}{self._no_time(array.shape[1:])}"
            )
        return array

    def check_out(self, out: Any) -> None:
        """Whether an output can be written to an array.

        Raises:
            InputError: it cannot.
        """
        fits = isinstance(out, np.ndarray) and out.dtype == self.dtype and out.shape == self.shape
        if not fits or not out.flags.writeable:
            found = f"{out.dtype} {show(out.shape)}" if isinstance(out, np.ndarray) else type(out).__name__
            raise InputError(f"out: expected a writable {self.dtype} array of shape {show(self.shape)}, got {found}")

    def read(self) -> Array:
        """A copy of what stands there."""
        return self.shown.copy() if self._same else self.shown.astype(self.dtype)

    def invalid(self) -> Array:
        """What stands for an output that was not computed."""
        return np.full(self.shape, np.nan if self.dtype == "float32" else 0, self.dtype)

    def _lacks_ones(self, given: tuple[int, ...]) -> bool:
        """Whether a shape lacks nothing but axes of one entry, as where the model fixes its batch at 1."""
        return len(given) < len(self.shape) and _wide(given) == _wide(self.shape)

    def _no_time(self, given: tuple[int, ...]) -> str:
        """A model that was exported at one length takes all of a sequence as one reading."""
        sizes = _wide(self.shape)
        if len(sizes) > 1 and sizes[1:] == _wide(given):
            return f"; no axis of this input is time: export the model with the axis of {sizes[0]} dynamic"
        return ""


def _wide(shape: tuple[int, ...]) -> list[int]:
    return [size for size in shape if size != 1]


class Readings:
    """The inputs of a stream.

    Attributes:
        slots: input name → slot.
    """

    def __init__(self, slots: Mapping[str, Slot]) -> None:
        self.slots = slots

    def cast(self, x: Any) -> dict[str, Array]:
        """One reading of every input."""
        return {name: self.slots[name].cast(value) for name, value in self._named(x).items()}

    def cast_rows(self, xs: Any) -> dict[str, Array]:
        """As many readings of every input."""
        rows = {name: self.slots[name].cast_rows(value) for name, value in self._named(xs).items()}
        counts = {name: len(array) for name, array in rows.items()}
        if len(set(counts.values())) > 1:
            raise InputError(f"expected as many readings of every input, got {counts}")
        return rows

    def _named(self, x: Any) -> Mapping[str, Any]:
        if isinstance(x, Mapping):
            check_names(x, list(self.slots))
            return x
        if len(self.slots) != 1:
            raise InputError(f"the stream has the inputs {', '.join(self.slots)}: give a dict by name")
        return {next(iter(self.slots)): x}


def flat_shape(inputs: Mapping[str, Slot], outputs: Mapping[str, Slot]) -> tuple[int, ...] | None:
    """The output's shape where one flat float32 input gives one float32 output, flat or a number, the fast road."""
    if len(inputs) != 1 or len(outputs) != 1:
        return None
    (source,), (target,) = inputs.values(), outputs.values()
    plain = source.dtype == target.dtype == "float32" and len(source.shape) == 1 and len(target.shape) <= 1
    return target.shape if plain else None


def count_rows(rows: Rows) -> int:
    """How many readings there are."""
    return len(next(iter(rows.values())))


def finite(reading: Rows) -> bool:
    """Whether there is neither NaN nor Inf in it."""
    return all(np.isfinite(array).all() for array in reading.values() if array.dtype == np.float32)


def check_finite(rows: Rows) -> None:
    """Refuse rows with NaN or Inf.

    Raises:
        InputError: names the first such reading and number.
    """
    for name, array in rows.items():
        if array.dtype == np.float32 and not np.isfinite(array).all():
            index = int(np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))[0])
            raise InputError(
                f"reading {index}: {describe_invalid({name: array[index]})}; "
                "the state is as before the call (see on_invalid)"
            )


def describe_invalid(reading: Rows) -> str:
    """Which number of a reading is not finite."""
    for name, array in reading.items():
        if array.dtype == np.float32 and not np.isfinite(array).all():
            place = [int(axis[0]) for axis in np.nonzero(~np.isfinite(array))]
            value = array[tuple(place)] if place else array[()]
            return f"input {name!r}: expected finite numbers, got {value} at {place or 'the only value'}"
    return "the reading is not finite"
