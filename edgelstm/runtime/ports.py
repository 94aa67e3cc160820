"""Several ports as one row of words: what a pool's slab, its readings and its predictions are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelstm.errors import InputError
from edgelstm.graph.ir import Array, TensorType
from edgelstm.program.program import Port
from edgelstm.runtime.inputs import as_dtype, check_names, show

Floats = npt.NDArray[np.float32]


class Row:
    """Ports side by side, each compact.

    Attributes:
        words: of all of them.
        kinds: name → dtype and shape without the axes of time and batch.
        starts: name → its first word in the row.
    """

    def __init__(self, ports: Sequence[Port], axes: Mapping[str, tuple[int, ...]]) -> None:
        self.kinds = {
            port.name: TensorType(
                port.dtype, tuple(size for axis, size in enumerate(port.shape) if axis not in axes.get(port.name, ()))
            )
            for port in ports
        }
        self._shapes = {name: tuple(int(str(dim)) for dim in kind.shape) for name, kind in self.kinds.items()}
        self.starts: dict[str, int] = {}
        self.words = 0
        for port in ports:
            self.starts[port.name], self.words = self.words, self.words + port.words
        self._single = ports[0].name if len(ports) == 1 and ports[0].dtype == "float32" else ""
        self._flat = len(self._shapes[self._single]) == 1 if self._single else False
        self._floats = np.zeros(self.words, np.bool_)  # which words are float32
        for port in ports:
            self._floats[self.starts[port.name] : self.starts[port.name] + port.words] = port.dtype == "float32"

    def cast_rows(self, values: Any) -> Floats:
        """(n, words) of what a caller hands over.

        Raises:
            InputError: a name, dtype or shape does not fit.
        """
        fast = self._flat and type(values) is np.ndarray and values.dtype == np.float32
        if fast and values.ndim == 2 and values.shape[1] == self.words and values.flags.c_contiguous:
            return np.asarray(values)
        if not isinstance(values, Mapping):
            if len(self.kinds) != 1:
                raise InputError(f"the model has the inputs {', '.join(self.kinds)}: give a dict by name")
            values = {next(iter(self.kinds)): values}
        check_names(values, list(self.kinds))
        parts = [self._cast(name, value) for name, value in values.items()]
        if len({len(part) for part in parts}) > 1:
            raise InputError(f"expected as many rows of every input, got {[len(part) for part in parts]}")
        if len(parts) == 1:
            return parts[0]
        by_name = dict(zip(values, parts, strict=True))
        return np.ascontiguousarray(np.concatenate([by_name[name] for name in self.kinds], axis=1))

    def _cast(self, name: str, value: Any) -> Floats:
        array, shape = as_dtype(value, self.kinds[name].dtype, name), self._shapes[name]
        if array.ndim == 1 and int(np.prod(shape)) == 1:
            array = array.reshape(-1, *shape)
        if array.ndim != len(shape) + 1 or array.shape[1:] != shape:
            raise InputError(
                f"input {name!r}: expected readings of shape ({', '.join(map(str, ('n', *shape)))}), "
                f"got {show(array.shape)}"
            )
        return _words(array).reshape(len(array), int(np.prod(shape, dtype=np.int64)))

    def show_rows(self, rows: Floats) -> Any:
        """(n, words) as the arrays that a caller sees."""
        if self._flat:
            return rows
        found = {name: self._view(name, rows) for name in self.kinds}
        return found if len(found) != 1 else next(iter(found.values()))

    def split(self, row: Floats) -> dict[str, Array]:
        """One row as arrays by name, copied, in the ports' word dtypes."""
        found = {}
        for name, kind in self.kinds.items():
            size = int(np.prod(self._shapes[name], dtype=np.int64))
            words = row[self.starts[name] : self.starts[name] + size].copy()
            found[name] = (words if kind.dtype == "float32" else words.view(np.int32)).reshape(self._shapes[name])
        return found

    def join(self, values: Mapping[str, Array]) -> Floats:
        """The inverse of `split`."""
        return np.concatenate([np.zeros(0, np.float32), *(_words(values[name]).ravel() for name in self.kinds)])

    def flatten(self, arena: Floats, ports: Sequence[Port]) -> Floats:
        """The ports' words of an arena, as one row."""
        parts = [arena[port.start : port.start + port.words] for port in ports]
        return np.concatenate([np.zeros(0, np.float32), *parts])

    def finite(self, rows: Floats) -> npt.NDArray[np.bool_]:
        """(n,) whether all real numbers of a row are finite."""
        return np.asarray(np.isfinite(rows[:, self._floats]).all(axis=1))

    def mend(self, rows: Floats, held: Floats, wrong: npt.NDArray[np.bool_]) -> Floats:
        """Numbers that are not finite replaced by those of `held`, in the rows that are wrong."""
        bad = self._floats & ~np.isfinite(rows) & wrong[:, None]
        return np.where(bad, held, rows)

    def invalid(self) -> Floats:
        """The row that stands for "no prediction": NaN, and 0 for integers."""
        return np.where(self._floats, np.float32(np.nan), np.float32(0))

    def brief(self, row: Floats) -> str:
        """Where a row is not finite."""
        word = int(np.flatnonzero(self._floats & ~np.isfinite(row))[0])
        name = next(name for name in reversed(self.starts) if self.starts[name] <= word)
        return f"{row[word]} at {word - self.starts[name]} of input {name!r}"

    def describe(self) -> str:
        """Names, dtypes and shapes as text."""
        return ";".join(f"{name}:{kind}" for name, kind in self.kinds.items())

    @property
    def all_floats(self) -> bool:
        """Whether every word is float32."""
        return bool(self._floats.all())

    def _view(self, name: str, rows: Floats) -> Array:
        shape, dtype = self._shapes[name], self.kinds[name].dtype
        size = int(np.prod(shape, dtype=np.int64))
        words = np.ascontiguousarray(rows[:, self.starts[name] : self.starts[name] + size])
        array = words if dtype == "float32" else words.view(np.int32).astype(dtype)
        return array.reshape(len(rows), *shape)


def _words(array: Array) -> Floats:
    if array.dtype == np.float32:
        return array
    return np.ascontiguousarray(array.astype(np.int32)).view(np.float32)
