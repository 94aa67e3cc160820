"""Products with packed matrices, and activations on 8 bits: see `program/lower/int8.py` for the layout.

to[n] = start[n] + (sum of integers, less zero point · sum of weights) · (scale of activations · scale of output), one
multiply-add; the sum is exact, so neither the order of its terms nor the instruction set shows. With float activations
(modes FLOAT and WIDENED) a sum is one chain, k ascending.
"""

from __future__ import annotations

import numba
import numpy as np

from edgelstm.machine.dot import dot, dot_start, quad, store_bytes, to_float, weights, widen0, widen1, widen2, widen3
from edgelstm.machine.simd import (
    absolute,
    any_lane,
    broadcast,
    first_lanes,
    fma,
    has_wide_registers,
    lane,
    load,
    max_lanes,
    maximum,
    min_lanes,
    minimum,
    round_even,
    select,
    splat,
    store,
)
from edgelstm.program.lower.int8 import FLOAT, INTEGER

_BLOCK = 4 * 16  # bytes of a vector
_FLOAT, _INTEGER = FLOAT, INTEGER
_LEVELS, _SPAN, _ONE, _ZERO = np.float32(127), np.float32(254), np.float32(1), np.float32(0)
_TINY = np.float32(2.0**-100)  # a row with a lesser scale counts as zero
_NAN, _LARGEST = np.float32(np.nan), np.float32(np.finfo(np.float32).max)


@numba.njit(error_model="numpy")
def quantize(v, count, q, scale, zero, least):
    """Write `count` floats to q on 8 bits, zeros up to a whole vector; their scale and zero point.

    Args:
        v: the floats.
        count: how many.
        q: where the bytes go.
        scale: a fixed scale; 0: from the range of the floats.
        zero: the zero point that goes with a fixed scale.
        least: above 0: symmetric, for values within at least this range.
    """
    high, low, valid = splat(_ZERO), splat(_ZERO), first_lanes(16)
    for k in range(0, count, 16):
        x = select(first_lanes(count - k), load(v, k), _ZERO)
        valid = valid & (absolute(x) <= _LARGEST)
        high = maximum(high, x)
        low = minimum(low, x)
    top, bottom, shift = max_lanes(high), min_lanes(low), _ZERO
    if any_lane(~valid):
        scale, inverse = _NAN, _ZERO
    elif scale != _ZERO:
        inverse, shift = _ONE / scale, np.float32(zero)
    elif least > _ZERO:
        limit = max(top, -bottom, least)
        scale, inverse = limit / _LEVELS, _LEVELS / limit
    else:
        scale, inverse = top / _SPAN - bottom / _SPAN, _ZERO
        if scale < _TINY:
            scale = _ZERO
        else:
            inverse = _ONE / scale
            shift = -_LEVELS - lane(round_even(splat(bottom * inverse)), 0)
    for k in range(0, count, 16):
        x = select(first_lanes(count - k), load(v, k), _ZERO)
        # The order of the operands keeps NaN out.
        level = minimum(maximum(splat(-_LEVELS), round_even(x * inverse) + shift), _LEVELS)
        store_bytes(q, k, level)
    return scale, np.int64(shift)


@numba.njit(error_model="numpy")
def product(mode, w, vectors, v, q, scale, zero, count, start, to, turn):
    """to = start + matrix · activations, whole vectors, which stand in `v` as floats and in `q` on 8 bits.

    `start` may be `to`. With `turn`, groups are taken from the last to the first: weights too large for a cache then
    find there what the step before read last.
    """
    if mode == _INTEGER:
        _integers(w, vectors, q, scale, zero, (count + 3) >> 2, start, to, turn)
    elif mode == _FLOAT:
        _floats(w, vectors, v, count, start, to)
    else:
        _widened(w, vectors, v, count, start, to)


@numba.njit(forceinline=True)
def group_bytes(mode, count):
    """Bytes of a group of four vectors of a packed matrix with `count` columns."""
    return 4 * _BLOCK * (count if mode == _FLOAT else 2 + ((count + 3) >> 2))


@numba.njit(forceinline=True)
def _finish(sums, w, i, scale, start, to):
    store(to, i, fma(to_float(sums), load(w, i) * scale, load(start, i)))


@numba.njit(error_model="numpy")
def _integers(w, vectors, q, scale, zero, quads, start, to, turn):
    group = 4 * _BLOCK * (2 + quads)
    width = _width(vectors)
    rounds = vectors // width
    for n in range(rounds):
        at = (rounds - 1 - n if turn else n) * width
        here, first, target = w + group * (at >> 2), start + _BLOCK * at, to + _BLOCK * at
        if width == 16:
            _sixteen(here, group, q, quads, scale, zero, first, target)
        elif width == 8:
            _eight(here, group, q, quads, scale, zero, first, target)
        else:
            _four(here, q, quads, scale, zero, first, target)
    done = rounds * width
    if width == 16 and done + 8 <= vectors:
        _eight(w + group * (done >> 2), group, q, quads, scale, zero, start + _BLOCK * done, to + _BLOCK * done)
        done += 8
    while done + 4 <= vectors:
        _four(w + group * (done >> 2), q, quads, scale, zero, start + _BLOCK * done, to + _BLOCK * done)
        done += 4
    w += group * (done >> 2)
    while done < vectors:
        a = dot_start(w, 16, zero)
        p = w + 2 * _BLOCK
        for j in range(quads):
            a = dot(a, p, 0, quad(q, j))
            p += _BLOCK
        _finish(a, w, 0, scale, start + _BLOCK * done, to + _BLOCK * done)
        w += _BLOCK * (2 + quads)
        done += 1


@numba.njit(forceinline=True)
def _width(vectors):
    """Vectors that advance together: groups side by side hide latencies and read several streams of weights at once."""
    if not has_wide_registers():
        return 4
    return 16 if vectors >= 16 else 8


@numba.njit(forceinline=True)
def _starts(w, zero):
    """The sums of a group of four vectors at their start."""
    return dot_start(w, 64, zero), dot_start(w, 80, zero), dot_start(w, 96, zero), dot_start(w, 112, zero)


@numba.njit(forceinline=True)
def _dots(sums, p, x):
    """The sums of a group, and four more activations."""
    a, b, c, d = sums
    return dot(a, p, 0, x), dot(b, p, 16, x), dot(c, p, 32, x), dot(d, p, 48, x)


@numba.njit(forceinline=True)
def _finish_group(sums, w, scale, start, to):
    a, b, c, d = sums
    _finish(a, w, 0, scale, start, to)
    _finish(b, w, 16, scale, start, to)
    _finish(c, w, 32, scale, start, to)
    _finish(d, w, 48, scale, start, to)


@numba.njit(forceinline=True)
def _four(w, q, quads, scale, zero, start, to):
    sums, p = _starts(w, zero), w + 8 * _BLOCK
    for j in range(quads):
        sums = _dots(sums, p, quad(q, j))
        p += 4 * _BLOCK
    _finish_group(sums, w, scale, start, to)


@numba.njit(forceinline=True)
def _eight(w, group, q, quads, scale, zero, start, to):
    first, second, p = _starts(w, zero), _starts(w + group, zero), w + 8 * _BLOCK
    for j in range(quads):
        x = quad(q, j)
        first, second = _dots(first, p, x), _dots(second, p + group, x)
        p += 4 * _BLOCK
    _finish_group(first, w, scale, start, to)
    _finish_group(second, w + group, scale, start + 4 * _BLOCK, to + 4 * _BLOCK)


@numba.njit(forceinline=True)
def _sixteen(w, group, q, quads, scale, zero, start, to):
    w2, w3, w4, p = w + group, w + 2 * group, w + 3 * group, w + 8 * _BLOCK
    a, b, c, d = _starts(w, zero), _starts(w2, zero), _starts(w3, zero), _starts(w4, zero)
    for j in range(quads):
        x = quad(q, j)
        a, b = _dots(a, p, x), _dots(b, p + group, x)
        c, d = _dots(c, p + 2 * group, x), _dots(d, p + 3 * group, x)
        p += 4 * _BLOCK
    _finish_group(a, w, scale, start, to)
    _finish_group(b, w2, scale, start + 4 * _BLOCK, to + 4 * _BLOCK)
    _finish_group(c, w3, scale, start + 8 * _BLOCK, to + 8 * _BLOCK)
    _finish_group(d, w4, scale, start + 12 * _BLOCK, to + 12 * _BLOCK)


@numba.njit(error_model="numpy")
def _floats(w, vectors, v, count, start, to):
    done = 0
    while done + 4 <= vectors:
        a, b, c, d = load(start, 0), load(start, 16), load(start, 32), load(start, 48)
        for k in range(count):
            x = broadcast(v, k)
            a = fma(load(w, 0), x, a)
            b = fma(load(w, 16), x, b)
            c = fma(load(w, 32), x, c)
            d = fma(load(w, 48), x, d)
            w += 4 * _BLOCK
        store(to, 0, a)
        store(to, 16, b)
        store(to, 32, c)
        store(to, 48, d)
        start += 4 * _BLOCK
        to += 4 * _BLOCK
        done += 4
    while done < vectors:
        a = load(start, 0)
        for k in range(count):
            a = fma(load(w, 0), broadcast(v, k), a)
            w += _BLOCK
        store(to, 0, a)
        start += _BLOCK
        to += _BLOCK
        done += 1


@numba.njit(forceinline=True)
def _widen_four(w, i, v, j, a):
    """Four more terms of one chain."""
    q = weights(w, i)
    a = fma(widen0(q), broadcast(v, j), a)
    a = fma(widen1(q), broadcast(v, j + 1), a)
    a = fma(widen2(q), broadcast(v, j + 2), a)
    return fma(widen3(q), broadcast(v, j + 3), a)


@numba.njit(forceinline=True)
def _widen_rest(w, i, v, j, rest, a):
    """The last one to three terms: what stands past the end of v is not read."""
    q = weights(w, i)
    a = fma(widen0(q), broadcast(v, j), a)
    if rest > 1:
        a = fma(widen1(q), broadcast(v, j + 1), a)
    if rest > 2:
        a = fma(widen2(q), broadcast(v, j + 2), a)
    return a


@numba.njit(error_model="numpy")
def _widened(w, vectors, v, count, start, to):
    """Float activations on integer weights: the scale is multiplied in once, at the end."""
    whole, rest = count & -4, count & 3
    done = 0
    while done + 4 <= vectors:
        a = b = c = d = splat(_ZERO)
        p = w + 8 * _BLOCK
        for j in range(0, whole, 4):
            a = _widen_four(p, 0, v, j, a)
            b = _widen_four(p, 16, v, j, b)
            c = _widen_four(p, 32, v, j, c)
            d = _widen_four(p, 48, v, j, d)
            p += 4 * _BLOCK
        if rest:
            a = _widen_rest(p, 0, v, whole, rest, a)
            b = _widen_rest(p, 16, v, whole, rest, b)
            c = _widen_rest(p, 32, v, whole, rest, c)
            d = _widen_rest(p, 48, v, whole, rest, d)
            p += 4 * _BLOCK
        store(to, 0, fma(a, load(w, 0), load(start, 0)))
        store(to, 16, fma(b, load(w, 16), load(start, 16)))
        store(to, 32, fma(c, load(w, 32), load(start, 32)))
        store(to, 48, fma(d, load(w, 48), load(start, 48)))
        w = p
        start += 4 * _BLOCK
        to += 4 * _BLOCK
        done += 4
    while done < vectors:
        a = splat(_ZERO)
        p = w + 2 * _BLOCK
        for j in range(0, whole, 4):
            a = _widen_four(p, 0, v, j, a)
            p += _BLOCK
        if rest:
            a = _widen_rest(p, 0, v, whole, rest, a)
            p += _BLOCK
        store(to, 0, fma(a, load(w, 0), load(start, 0)))
        w = p
        start += _BLOCK
        to += _BLOCK
        done += 1
