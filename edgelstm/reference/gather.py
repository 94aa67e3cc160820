"""Looking up entries by index (ONNX Gather): embeddings above all; and replacing one: histories."""

from __future__ import annotations

import numpy as np

from edgelstm.errors import InputError
from edgelstm.reference.arguments import Attrs, Inputs, Outputs, given, integer


def gather(inputs: Inputs, attrs: Attrs) -> Outputs:
    """Entries of `table` along `axis`, one for every index; a negative index counts from the end.

    Raises:
        InputError: an index is out of range.
    """
    table, indices, axis = given(inputs, 0), given(inputs, 1), integer(attrs, "axis")
    count = table.shape[axis]
    if indices.size and not (-count <= indices.min() and indices.max() < count):
        wrong = indices[(indices < -count) | (indices >= count)].flat[0]
        raise InputError(f"gather: expected indices from {-count} to {count - 1}, got {wrong}")
    return (np.take(table, indices, axis),)


def put(inputs: Inputs, attrs: Attrs) -> Outputs:
    """x with its entry at `index` along `axis` replaced by `value`.

    Raises:
        InputError: the index is below 0 or past the end.
    """
    x, value, index, axis = given(inputs, 0), given(inputs, 1), int(given(inputs, 2)[0]), integer(attrs, "axis")
    if not 0 <= index < x.shape[axis]:
        raise InputError(f"put: expected an index from 0 to {x.shape[axis] - 1}, got {index}")
    y = np.array(x)
    np.moveaxis(y, axis, 0)[index] = np.moveaxis(value, axis, 0)[0]
    return (y,)


FAMILY = {"gather": gather, "put": put}
