"""What a gate takes from the inputs, for several steps at once: every weight is loaded once for all of them.

The sums go on with the products of h, step by step, so each chain has the order, and the bits, that it has alone.
"""

from __future__ import annotations

import numba

from edgelstm.machine.simd import broadcast, fma, load, store


@numba.njit(forceinline=True)
def sum_inputs(bias, w, w_step, x, x_step, inputs, to, to_step):
    """One gate of 16 units: the bias and the products of six inputs, `x_step` bytes apart; to `to`, `to_step` apart."""
    x1 = x + x_step
    x2 = x1 + x_step
    x3 = x2 + x_step
    x4 = x3 + x_step
    x5 = x4 + x_step
    a = b = c = d = e = f = load(bias, 0)
    for k in range(inputs):
        v = load(w, 0)
        a = fma(v, broadcast(x, k), a)
        b = fma(v, broadcast(x1, k), b)
        c = fma(v, broadcast(x2, k), c)
        d = fma(v, broadcast(x3, k), d)
        e = fma(v, broadcast(x4, k), e)
        f = fma(v, broadcast(x5, k), f)
        w += w_step
    store(to, 0, a)
    store(to + to_step, 0, b)
    store(to + 2 * to_step, 0, c)
    store(to + 3 * to_step, 0, d)
    store(to + 4 * to_step, 0, e)
    store(to + 5 * to_step, 0, f)
