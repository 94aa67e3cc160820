"""Products of two matrices that are both made at run time.

One accumulator a result, k ascending, one multiply-add each, whatever the block it falls in.
"""

from __future__ import annotations

import numba

from edgelstm.machine.context import field, place
from edgelstm.machine.simd import LANES, broadcast, fma, load, splat, store, store_partial
from edgelstm.program.lower.matmul import MATMUL

_A, _B, _Y, _M, _N, _K = (MATMUL.column(name) for name in ("a", "b", "y", "m", "n", "k"))
_SIZES, _STEP_A, _STEP_B = MATMUL.column("n0"), MATMUL.column("a0"), MATMUL.column("b0")


@numba.njit(error_model="numpy", forceinline=True)
def _put(y, i, v, count):
    if count >= LANES:
        store(y, i, v)
    else:
        store_partial(y, i, v, count)


@numba.njit(error_model="numpy")
def _product(a, b, y, m, n, k):
    """y (m, n) = a (m, k) @ b (k, n), all compact."""
    i = 0
    while m - i >= 4:  # four rows share each vector of b
        r0 = a + 4 * i * k
        r1, r2, r3 = r0 + 4 * k, r0 + 8 * k, r0 + 12 * k
        for j in range(0, n, LANES):
            v0 = v1 = v2 = v3 = splat(0.0)
            for p in range(k):
                w = load(b, p * n + j)
                v0 = fma(broadcast(r0, p), w, v0)
                v1 = fma(broadcast(r1, p), w, v1)
                v2 = fma(broadcast(r2, p), w, v2)
                v3 = fma(broadcast(r3, p), w, v3)
            at = i * n + j
            _put(y, at, v0, n - j)
            _put(y, at + n, v1, n - j)
            _put(y, at + 2 * n, v2, n - j)
            _put(y, at + 3 * n, v3, n - j)
        i += 4
    while i < m:
        r0 = a + 4 * i * k
        j = 0
        while n - j >= 4 * LANES:  # four vectors of b hide the latency of one row
            v0 = v1 = v2 = v3 = splat(0.0)
            for p in range(k):
                x, at = broadcast(r0, p), p * n + j
                v0 = fma(x, load(b, at), v0)
                v1 = fma(x, load(b, at + LANES), v1)
                v2 = fma(x, load(b, at + 2 * LANES), v2)
                v3 = fma(x, load(b, at + 3 * LANES), v3)
            at = i * n + j
            store(y, at, v0)
            store(y, at + LANES, v1)
            store(y, at + 2 * LANES, v2)
            store(y, at + 3 * LANES, v3)
            j += 4 * LANES
        while j < n:
            v0 = splat(0.0)
            for p in range(k):
                v0 = fma(broadcast(r0, p), load(b, p * n + j), v0)
            _put(y, i * n + j, v0, n - j)
            j += LANES
        i += 1


@numba.njit(error_model="numpy")
def matmul(context, row):
    """MATMUL: see `program/lower/matmul.py`."""
    a, b, y = place(context, row, _A), place(context, row, _B), place(context, row, _Y)
    m, n, k = field(row, _M), field(row, _N), field(row, _K)
    for i0 in range(field(row, _SIZES)):
        a1, b1 = a + 4 * i0 * field(row, _STEP_A), b + 4 * i0 * field(row, _STEP_B)
        for i1 in range(field(row, _SIZES + 1)):
            a2, b2 = a1 + 4 * i1 * field(row, _STEP_A + 1), b1 + 4 * i1 * field(row, _STEP_B + 1)
            for i2 in range(field(row, _SIZES + 2)):
                a3, b3 = a2 + 4 * i2 * field(row, _STEP_A + 2), b2 + 4 * i2 * field(row, _STEP_B + 2)
                for i3 in range(field(row, _SIZES + 3)):
                    a4, b4 = a3 + 4 * i3 * field(row, _STEP_A + 3), b3 + 4 * i3 * field(row, _STEP_B + 3)
                    _product(a4, b4, y, m, n, k)
                    y += 4 * m * n
