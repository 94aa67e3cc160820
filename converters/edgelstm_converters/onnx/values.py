"""The two kinds of value that a translated ONNX graph carries.

`Known` values never reach the Graph unless a node needs them: weights, shape arithmetic, start
states. `Flow` values are made at run time by nodes of the Graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from edgelstm.errors import UnsupportedError
from edgelstm.graph.dims import Dim, Expr, Shape
from edgelstm.graph.ir import TensorType

AnyArray: TypeAlias = npt.NDArray[Any]


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


@dataclass(frozen=True, slots=True)
class Undecided:
    """A comparison of two dimensions that holds for some sizes only."""

    left: Dim
    relation: str
    right: Dim
    negated: bool = False

    def __str__(self) -> str:
        return f"{'not ' if self.negated else ''}{self.left} {self.relation} {self.right}"
