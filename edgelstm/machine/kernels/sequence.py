"""What the recurrent kernels share: rows of a batch, their lengths, exact writes."""

from __future__ import annotations

import numba

from edgelstm.machine.context import UNITS_BEFORE, UNITS_BEHIND
from edgelstm.machine.simd import load, load_int, read64, splat, store, store_partial


@numba.njit(forceinline=True)
def own_units(context, units):
    """The units that this call computes, from one to before another: all, or a piece of them (see `shared.py`).

    With a piece, an int8 cell's w, r and biases begin with its first unit.
    """
    return read64(context, UNITS_BEFORE), units - read64(context, UNITS_BEHIND)


@numba.njit(forceinline=True)
def row_length(lengths, b, time):
    """The number of steps of row b, within [0, time]; `lengths` 0: all of them."""
    if lengths == 0:
        return time
    return min(max(load_int(lengths, b), 0), time)


@numba.njit(forceinline=True)
def keeps(keep, n, steps, reverse, batch, b):
    """Whether row b keeps its state at its n-th step; `keep` 0: never."""
    if keep == 0:
        return False
    t = steps - 1 - n if reverse != 0 else n
    return load_int(keep, t * batch + b) != 0


@numba.njit(forceinline=True)
def store_units(to, unit, v, units):
    """Write lanes `unit` to `unit + 15` of a row of `units`, and nothing past its end; `to` 0: nowhere."""
    if to != 0:
        if unit + 16 <= units:
            store(to, unit, v)
        else:
            store_partial(to, unit, v, units - unit)


@numba.njit(error_model="numpy")
def copy_row(source, to, units):
    """Copy a row exactly; nothing where `to` is 0 or the source itself."""
    if source != to:
        for unit in range(0, units, 16):
            store_units(to, unit, load(source, unit), units)


@numba.njit(error_model="numpy")
def zero_rows(to, stride, rows, units):
    """Rows of zeros, `stride` bytes apart."""
    for _ in range(rows):
        for unit in range(0, units, 16):
            store_units(to, unit, splat(0.0), units)
        to += stride
