"""From what a caller hands over to arrays of the model's dtype and sizes, or one clear error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgelstm.errors import InputError
from edgelstm.graph.dims import Expr, Shape, substitute, symbol, symbols
from edgelstm.graph.ir import Array, TensorType

INT32 = np.iinfo(np.int32)


def as_dtype(value: Any, dtype: str, name: str) -> Array:
    """`value` as a C-contiguous array of a dtype; nothing but harmless casts.

    Raises:
        InputError: it is not numeric, or real numbers are given for integers, or an integer needs over 32 bits.
    """
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise InputError(f"input {name!r}: expected {dtype} numbers, got {_brief(value)} ({error})") from None
    kinds = {"float32": "fiub", "bool": "b"}.get(dtype, "iub")
    if array.dtype.kind not in kinds and array.shape != (0,):  # an empty list is of any dtype
        hint = "; cast it yourself if that is meant" if array.dtype.kind == "f" else ""
        raise InputError(f"input {name!r}: expected {dtype}, got {array.dtype} ({_brief(value)}){hint}")
    if dtype == "uint8":
        low, high = 0, 255
    else:
        low, high = INT32.min, INT32.max
    if array.dtype.kind in "iu" and dtype != "float32" and array.size and (array.min() < low or array.max() > high):
        raise InputError(f"input {name!r}: expected integers from {low} to {high}, got {array.min()} to {array.max()}")
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes Inf, which on_invalid deals with
        return np.ascontiguousarray(array, dtype).reshape(array.shape)


def _brief(value: Any) -> str:
    text = f"{type(value).__name__} {value!r}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_names(given: Mapping[str, Any], wanted: Sequence[str], what: str = "inputs") -> None:
    """Every name, and no other.

    Raises:
        InputError: a name is missing or unknown.
    """
    if set(given) != set(wanted):
        missing = [name for name in wanted if name not in given]
        unknown = [name for name in given if name not in wanted]
        parts = [f"missing {', '.join(missing)}"] if missing else []
        parts += [f"unknown {', '.join(map(str, unknown))}"] if unknown else []
        raise InputError(f"{what}: expected {', '.join(wanted)}; {' and '.join(parts)}")


def solve_sizes(
    kinds: Mapping[str, TensorType], arrays: Mapping[str, Array], frozen: Mapping[str, int], pinned: Mapping[str, str]
) -> dict[str, int]:
    """The sizes of the free dimensions that make every array fit.

    Raises:
        InputError: an array does not fit, or a dimension is frozen at another size.
    """
    sizes: dict[str, int] = {}
    for name, kind in kinds.items():
        shape = arrays[name].shape
        if len(shape) != kind.rank:
            raise InputError(f"input {name!r}: expected shape {show(kind.shape)}, got {shape}")
        for dim, size in zip(kind.shape, shape, strict=True):
            for free in symbols(dim):
                if dim == symbol(free) and sizes.setdefault(free, size) != size:
                    raise InputError(
                        f"input {name!r}: {free} is {size} in {shape} but {sizes[free]} in another input or axis"
                    )
    for free, size in frozen.items():
        if free in sizes and sizes[free] != size:
            reason = f" ({pinned[free]})" if free in pinned else ""
            raise InputError(
                f"the model was exported with {free} = {size} and runs only at that size, got {sizes[free]}{reason}: "
                "export it with dynamic axes, or stream it"
            )
    for name, kind in kinds.items():
        expected = tuple(substitute(dim, sizes) for dim in kind.shape)
        if expected != arrays[name].shape:
            reason = "".join(f"; {text}" for text in pinned.values())
            raise InputError(f"input {name!r}: expected shape {show(kind.shape)}, got {arrays[name].shape}{reason}")
    return sizes


def show(shape: Shape) -> str:
    """A shape as people write it."""
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def sized(shape: Shape) -> tuple[int, ...]:
    """A shape that is known to be concrete."""
    return tuple(0 if isinstance(dim, Expr) else dim for dim in shape)
