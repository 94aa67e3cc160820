"""a ** b of two float32, computed in float64 with plain arithmetic: correct to the last float32 bit but for rare ties.

No library call, so that the result is the same on every machine.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from edgelstm.machine.simd import bits_to_float, float_to_bits

_LN2 = 0.6931471805599453
_LOG2E = 1.4426950408889634
_INF = np.float32(np.inf)
_NAN = np.float32(np.nan)


@numba.njit(error_model="numpy")
def _log2(x):
    """log2 of a positive, finite float32, as float64."""
    bits, shift = float_to_bits(x), 127
    if bits < 0x00800000:  # denormal
        bits, shift = float_to_bits(x * np.float32(16777216.0)), 151
    exponent = (bits >> 23) - shift
    m = np.float64(bits_to_float((bits & 0x007FFFFF) | 0x3F800000))
    if m > 1.4142135623730951:
        m *= 0.5
        exponent += 1
    # log m = 2 atanh(s), |s| < 0.172: the series to s^21 leaves less than 1e-18
    s = (m - 1.0) / (m + 1.0)
    square = s * s
    total = 1.0 / 21.0
    for odd in range(19, 0, -2):
        total = total * square + 1.0 / odd
    return exponent + 2.0 * s * total * _LOG2E


@numba.njit(error_model="numpy")
def _exp2(t):
    """2 ** t for |t| < 200, as float64."""
    n = np.int64(t + 0.5 if t >= 0.0 else t - 0.5)
    r = (t - n) * _LN2  # |r| < 0.347: the series to r^13 leaves less than 1e-17
    total = 1.0
    for k in range(13, 0, -1):
        total = 1.0 + total * r / k
    half = n >> 1
    return total * np.float64(bits_to_float((half + 127) << 23)) * np.float64(bits_to_float((n - half + 127) << 23))


@numba.njit(error_model="numpy")
def power(a, b):
    """As IEEE 754 `pow`: 1 for b = 0 or a = 1, NaN for a negative base and a broken exponent."""
    one = np.float32(1.0)
    if b == 0 or a == one:
        return one
    if math.isnan(a) or math.isnan(b):
        return _NAN
    size = abs(a)
    whole = abs(b) >= np.float32(16777216.0)
    odd = False
    if not whole:
        integer = np.int64(b)
        whole = np.float32(integer) == b
        odd = whole and (integer & 1) != 0
    if size == one:
        return one if (whole and not odd) or a > 0 else (-one if odd else _NAN)
    if size in (np.float32(0.0), _INF):
        result = _INF if (size == _INF) == (b > 0) else np.float32(0.0)
    elif abs(b) == _INF:
        return _INF if (size > one) == (b > 0) else np.float32(0.0)
    else:
        if a < 0 and not whole:
            return _NAN
        t = np.float64(b) * _log2(size)
        if t >= 128.5:
            result = _INF
        elif t <= -151.0:
            result = np.float32(0.0)
        else:
            result = np.float32(_exp2(t))
    return -result if odd and float_to_bits(a) < 0 else result
