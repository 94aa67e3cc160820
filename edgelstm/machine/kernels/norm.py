"""Layer normalisation: mean first, then the variance of what is left, both summed in index order."""

from __future__ import annotations

import numba
import numpy as np

from edgelstm.machine.context import field, float_field, place
from edgelstm.machine.kernels.reduce import sum_words
from edgelstm.machine.simd import LANES, fma, load, load_scalar, splat, sqrt, store, store_partial
from edgelstm.program.lower.norm import LAYER_NORM

_X, _SCALE, _BIAS, _Y = (LAYER_NORM.column(name) for name in ("x", "scale", "bias", "y"))
_ROWS, _COUNT, _EPSILON = (LAYER_NORM.column(name) for name in ("rows", "count", "epsilon"))


@numba.njit(error_model="numpy")
def layer_norm(context, row):
    """LAYER_NORM: see `program/lower/norm.py`."""
    x, y = place(context, row, _X), place(context, row, _Y)
    scale, bias = place(context, row, _SCALE), place(context, row, _BIAS)
    count, epsilon = field(row, _COUNT), float_field(row, _EPSILON)
    words = np.float32(count)
    for _ in range(field(row, _ROWS)):
        mean = sum_words(x, count) / words
        squares = np.float32(0.0)
        for i in range(count):
            centred = load_scalar(x, i) - mean
            squares = fma(centred, centred, squares)
        deviation, centre = sqrt(splat(squares / words + epsilon)), splat(mean)
        for i in range(0, count, LANES):
            v = ((load(x, i) - centre) / deviation) * load(scale, i)
            if bias != 0:
                v = v + load(bias, i)
            if count - i >= LANES:
                store(y, i, v)
            else:
                store_partial(y, i, v, count - i)
        x += 4 * count
        y += 4 * count
