"""The two kinds of value that a translated ONNX graph carries.

`Known` values never reach the Graph unless a node needs them: weights, shape arithmetic, start
states. `Flow` values are made at run time by nodes of the Graph.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgelstm.errors import FormatError, UnsupportedError
from edgelstm.graph.dims import Dim, Expr, Shape
from edgelstm.graph.ir import TensorType
from edgelstm_converters.onnx.symbols import Symbols

AnyArray: TypeAlias = npt.NDArray[Any]

MAX_ELEMENTS = 1 << 23  # a repeated or computed constant beyond this, and beyond four times its inputs, is refused
INTEGERS = ("int64", "int32", "bool", "uint8")


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """A value that is known before anything runs.

    Attributes:
        array: the entries; of dtype object where some are symbolic dimensions. An axis of size 1
            may stand for the longer axis of `shape`: the entries repeat along it.
        dtype: what the file says the entries are.
        shape: the full shape, same rank as `array`.
        name: what the file calls it; "" for a result of folding.
    """

    array: AnyArray
    dtype: str
    shape: Shape
    name: str = ""

    @property
    def symbolic(self) -> bool:
        """Whether an entry depends on a free dimension."""
        return self.array.dtype == object

    @property
    def plain(self) -> bool:
        """Whether `array` is the whole value."""
        return not self.symbolic and self.shape == self.array.shape

    @property
    def type(self) -> TensorType:
        """Dtype and full shape."""
        return TensorType(self.dtype, self.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """A value that the Graph makes at run time."""

    name: str
    type: TensorType


Value: TypeAlias = Known | Flow


def known(array: npt.ArrayLike, name: str = "", dtype: str = "") -> Known:
    """A plain known value."""
    entries = np.asarray(array)
    return Known(entries, dtype or entries.dtype.name, entries.shape, name)


def integers(entries: Any, dtype: str = "int64") -> Known:
    """Integers of which some may be symbolic: an array of `dtype` where none is.

    Args:
        entries: anything that becomes an array of `int` and `Expr`.
        dtype: of the whole numbers.

    Raises:
        OverflowError: an integer does not fit the dtype.
    """
    array = np.asarray(entries, dtype=object)
    if not any(isinstance(entry, (Expr, Undecided)) for entry in array.flat):
        array = array.astype(dtype)
    return Known(array, dtype, array.shape)


def dims(value: Known) -> list[Dim]:
    """The entries of a 0-d or 1-D integer value."""
    full = np.broadcast_to(value.array, tuple(int(size) for size in value.shape if isinstance(size, int)))
    entries = list(np.atleast_1d(full))
    if any(isinstance(entry, Undecided) for entry in entries):
        raise UnsupportedError("a comparison that depends on sizes at run time cannot be used as a size")
    return [entry if isinstance(entry, Expr) else int(entry) for entry in entries]


def write_out(value: Known, symbols: Symbols) -> AnyArray | None:
    """The whole array of a value; None where a size or an entry is symbolic."""
    if value.plain:
        return value.array
    shape = symbols.shape(value.shape)
    sizes = [size for size in shape if isinstance(size, int)]
    if value.symbolic or len(sizes) < len(shape):
        return None
    check_elements(sizes, value.array.size)
    if any(held not in (1, size) for held, size in zip(value.array.shape, sizes, strict=True)):
        raise FormatError(f"a constant of shape {list(value.array.shape)} would have to be {sizes}")
    return np.ascontiguousarray(np.broadcast_to(value.array, sizes))


def check_elements(sizes: Sequence[int], held: int = 0) -> None:
    """Refuse an array that would be too large, before it is allocated.

    Args:
        sizes: its shape.
        held: elements that the file itself holds of it.
    """
    limit = max(MAX_ELEMENTS, 4 * held)
    if math.prod(sizes) > limit:
        raise UnsupportedError(f"a constant of shape {list(sizes)} is too large: at most {limit} elements are computed")


def uniform(array: AnyArray, axis: int) -> bool:
    """Whether all entries along an axis are the same."""
    return bool(array.size) and bool(np.all(array == array.take([0], axis)))


@dataclass(frozen=True, slots=True)
class Undecided:
    """A comparison of two dimensions that holds for some sizes only."""

    left: Dim
    relation: str
    right: Dim
    negated: bool = False

    def __str__(self) -> str:
        return f"{'not ' if self.negated else ''}{self.left} {self.relation} {self.right}"
