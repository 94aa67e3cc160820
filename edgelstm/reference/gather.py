"""Looking up entries by index (ONNX Gather): embeddings above all."""

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


FAMILY = {"gather": gather}
