"""What every definition in this package is given: inputs by position, attributes by name.

The readers turn an attribute into the one Python type that its operator expects; the graph has been
checked before, so they only convert.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

import numpy.typing as npt

from edgelstm.graph.ir import Attr

Array: TypeAlias = npt.NDArray[Any]
Inputs: TypeAlias = Sequence[Array | None]
Attrs: TypeAlias = Mapping[str, Attr]
Outputs: TypeAlias = tuple[Array, ...]


def given(inputs: Inputs, index: int) -> Array:
    """A required input."""
    value = inputs[index]
    if value is None:
        raise TypeError(f"input {index} is required and absent")
    return value


def optional(inputs: Inputs, index: int, like: Array | None = None) -> Array | None:
    """An input that may be absent, cast to the dtype of `like` where that is given."""
    value = inputs[index] if index < len(inputs) else None
    return value if value is None or like is None else value.astype(like.dtype, copy=False)


def integer(attrs: Attrs, name: str) -> int:
    """An integer attribute."""
    return int(cast(int, attrs[name]))


def integers(attrs: Attrs, name: str) -> tuple[int, ...]:
    """A tuple of integers; dimensions must be bound to sizes."""
    return tuple(int(value) for value in cast("tuple[int, ...]", attrs[name]))


def number(attrs: Attrs, name: str) -> float:
    """A float attribute."""
    return float(cast(float, attrs[name]))


def numbers(attrs: Attrs, name: str) -> tuple[float, ...]:
    """A tuple of floats."""
    return tuple(float(value) for value in cast("tuple[float, ...]", attrs[name]))


def text(attrs: Attrs, name: str) -> str:
    """A string attribute."""
    return str(attrs[name])


def texts(attrs: Attrs, name: str) -> tuple[str, ...]:
    """A tuple of strings."""
    return tuple(str(value) for value in cast("tuple[str, ...]", attrs[name]))
