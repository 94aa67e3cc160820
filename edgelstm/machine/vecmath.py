"""exp, log, sigmoid, tanh and relatives on sixteen lanes: branch-free, no library calls, NaN stays NaN.

Each function states its error in units in the last place as `<NAME>_ULP`, over every float32; results
below the smallest normal number count as 0, since the machine flushes them. Polynomials are minimax
fits of this project (weighted least squares, reweighted until the errors are level, coefficients
rounded to float32 from the lowest order up).

e^x is 2^n e^r with n = round(x / ln 2) and |r| <= ln(2)/2. Adding a large constant rounds x / ln 2 and
leaves n + 127 in the low bits of the sum, so one shift makes 2^n.

A gate that is divided anyway takes e^r as a fraction, which is cheaper: e^(2h) = (C + h) / (C - h) with C = h coth h.
"""

from __future__ import annotations

import numba

from edgelstm.machine.simd import (
    absolute,
    clamp,
    copysign,
    exponent,
    exponent_from_low_bits,
    fma,
    mantissa,
    maximum,
    minimum,
    select,
    splat,
)

EXP_ULP = 1.5
SIGMOID_ULP = 2.5
TANH_ULP = 3.0
LOG_ULP = 2.0
LOG1P_ULP = 3.0
EXPM1_ULP = 2.0
SOFTPLUS_ULP = 3.0

_INF = float("inf")
_NAN = float("nan")
_SMALLEST = 1.1754943508222875e-38  # the smallest normal number
_LOWEST = -87.33654  # its logarithm

_LOG2E = 1.4426950408889634
_MAGIC = 12582912.0 + 127  # adding 1.5 * 2**23 rounds to an integer; 127 is the exponent's bias
_LN2 = 0.6931471824645996  # ln 2 as a float32; 1.9e-9 too large
_LN2_REST = -1.904654299957768e-09  # ln 2 - _LN2
_LN2_SHORT = 0.693359375  # ten bits: its products with exponents are exact, also where there is no FMA
_LN2_SHORT_REST = -0.00021219444005469057  # ln 2 - _LN2_SHORT

# (e^r - 1 - r) / r^2 on |r| <= ln(2)/2, relative error of e^r - 1: 2^-26.1
_E2 = 0.4999999701976776
_E3 = 0.1666654497385025
_E4 = 0.04166743904352188
_E5 = 0.00836645346134901
_E6 = 0.0013870554976165295

# (h coth h - 1) / h^2 on |h| <= ln(2)/4, relative error of h coth h: 2^-28.1
_H2 = 0.33333250880241394
_H4 = -0.022135036066174507

# (log(1 + f) - f + f^2/2) / f^3 on [sqrt(1/2) - 1, sqrt(2) - 1], relative error of log: 2^-24.9
_L3 = 0.3333390951156616
_L4 = -0.2500133514404297
_L5 = 0.199631005525589
_L6 = -0.16577652096748352
_L7 = 0.14914508163928986
_L8 = -0.14266933500766754
_L9 = 0.08700403571128845

# Where a gate counts as closed: sigmoid differs from 0 or 1 by 1e-13, tanh from +-1 by nothing.
# Products of two sigmoid denominators and one of tanh stay below 2^116, see `lstm_c`.
_GATE = 30.0
_TANH_GATE = 9.2


@numba.njit(forceinline=True)
def _expm1_reduced(r):
    square = r * r
    low = fma(r, splat(_E3), splat(_E2))
    high = fma(r, splat(_E5), splat(_E4))
    high = fma(square, splat(_E6), high)
    return fma(square, fma(square, high, low), r)


@numba.njit(forceinline=True)
def _power(x, scale):
    """(n, 2^n) with n = round(scale x), for |n| <= 126."""
    shifted = fma(x, splat(scale), splat(_MAGIC))
    return shifted - _MAGIC, exponent_from_low_bits(shifted)


@numba.njit(forceinline=True)
def _power_of(n):
    """2^n for integers in [-126, 127]."""
    return exponent_from_low_bits(n + _MAGIC)


@numba.njit(forceinline=True)
def _split_wide(x):
    """(n, e^r - 1) for any |x| that keeps n below 2**22."""
    n = fma(x, splat(_LOG2E), splat(_MAGIC)) - _MAGIC
    r = fma(n, splat(-_LN2_SHORT), x)
    return n, _expm1_reduced(fma(n, splat(-_LN2_SHORT_REST), r))


@numba.njit(forceinline=True)
def sigmoid_keep(x):
    """d with sigmoid(x) = 1 / d, to 1e-13 absolute, for the gate that keeps a state.

    An open gate gives exactly 1, so that what it holds for a million steps does not drift.
    """
    x = clamp(x, -_GATE, _GATE)
    n, power = _power(x, -_LOG2E)
    rest = _expm1_reduced(-fma(n, splat(_LN2), x))
    return fma(power, rest, power + 1.0)


@numba.njit(forceinline=True)
def sigmoid_gate(x):
    """(n, d) with sigmoid(x) = n / d and 0 < n <= d, to 1e-13 absolute: a cell update divides once for several."""
    x = clamp(x, -_GATE, _GATE)
    n, power = _power(x, -_LOG2E)
    r = fma(n, splat(_LN2), x)
    square = r * r
    c = fma(square, fma(square, splat(0.125 * _H4), splat(0.5 * _H2)), splat(2.0))  # 2C of h = r/2
    numerator = c + r
    return numerator, fma(power, c - r, numerator)


@numba.njit(forceinline=True)
def tanh_gate(x):
    """(n, d) with tanh(x) = n / d and |n| <= d."""
    size = minimum(absolute(x), _TANH_GATE)
    n, power = _power(size, 2 * _LOG2E)
    h = fma(n, splat(-0.5 * _LN2), size)
    square = h * h
    c = fma(square, fma(square, splat(_H4), splat(_H2)), splat(1.0))
    # 2^n (C + h) - (C - h), written so that nothing cancels where x is small. The denominator is made of it, so
    # that what the numerator was rounded by is in both.
    numerator = fma(c, power - 1.0, fma(h, power, h))
    return copysign(numerator, x), fma(c - h, splat(2.0), numerator)


@numba.njit(forceinline=True)
def tanh(x):
    """tanh x, never outside [-1, 1]."""
    numerator, denominator = tanh_gate(x)
    return numerator / denominator


@numba.njit(forceinline=True)
def sigmoid(x):
    """1 / (1 + e^-x), never outside [0, 1]."""
    n, rest = _split_wide(-clamp(x, _LOWEST, -_LOWEST))
    power = _power_of(n)
    result = splat(1.0) / fma(power, rest, power + 1.0)
    return select(x < _LOWEST, 0.0, result)


@numba.njit(forceinline=True)
def exp(x):
    """e^x; infinite past 88.72, 0 below -87.3."""
    n, rest = _split_wide(clamp(x, _LOWEST, 89.0))
    most = minimum(n, 127.0)  # 2^128 is no float32
    power = _power_of(most)
    result = fma(power, rest, power) * _power_of(n - most)
    return select(x < _LOWEST, 0.0, result)


@numba.njit(forceinline=True)
def expm1_negative(x):
    """e^x - 1 for x <= 0 (larger x count as 0)."""
    n, rest = _split_wide(clamp(x, -20.0, 0.0))
    power = _power_of(n)
    return fma(power, rest, power - 1.0)


@numba.njit(forceinline=True)
def log(x):
    """The natural logarithm: -inf at 0 (and below the smallest normal number), NaN below 0."""
    n, m = exponent(x), mantissa(x)
    high = m > 1.4142135
    n = select(high, n + 1.0, n)
    f = select(high, m * 0.5, m) - 1.0
    square = f * f
    p = fma(f, splat(_L9), splat(_L8))
    p = fma(f, p, splat(_L7))
    p = fma(f, p, splat(_L6))
    p = fma(f, p, splat(_L5))
    p = fma(f, p, splat(_L4))
    p = fma(f, p, splat(_L3))
    p = fma(square, splat(-0.5), (p * f) * square + n * _LN2_REST)
    result = fma(n, splat(_LN2), f + p)
    result = select(x < _SMALLEST, -_INF, result)
    result = select(x < 0.0, _NAN, result)
    # Infinity and NaN are their own logarithms.
    return select(x < _INF, result, x)


@numba.njit(forceinline=True)
def log1p_unit(x):
    """log(1 + x) for x in [0, 1]."""
    w = x + 1.0
    return log(w) + (x - (w - 1.0)) / w


@numba.njit(forceinline=True)
def softplus(x):
    """log(1 + e^x)."""
    return maximum(x, 0.0) + log1p_unit(exp(-absolute(x)))


@numba.njit(forceinline=True)
def lstm_c(i, f, g, c):
    """c' = sigmoid(f) c + sigmoid(i) tanh(g) of an LSTM, from the gates before their activations.

    One division, over the common denominator. Finite while |c| < 2^56.
    """
    ni, di = sigmoid_gate(i)
    df = sigmoid_keep(f)
    ng, dg = tanh_gate(g)
    both = di * dg
    return fma(c, both, (ni * ng) * df) / (both * df)


@numba.njit(forceinline=True)
def lstm_h(o, c):
    """h' = sigmoid(o) tanh(c') of an LSTM, with one division.

    Several blocks of units take `lstm_c` first and `lstm_h` then: what waits for a division is no longer in the way.
    """
    no, do = sigmoid_gate(o)
    nc, dc = tanh_gate(c)
    return (no * nc) / (do * dc)


@numba.njit(forceinline=True)
def gru_output(z, n, h):
    """h' = (1 - z) tanh(n) + z h over the common denominator, from z and n before their activations.

    |h'| <= 1 where |h| <= 1. Finite while |h| < 2^58.
    """
    dz = sigmoid_keep(z)
    nn, dn = tanh_gate(n)
    return fma(dz - 1.0, nn, h * dn) / (dz * dn)


@numba.njit(forceinline=True)
def gru_reset(r, m):
    """sigmoid(r) m."""
    numerator, denominator = sigmoid_gate(r)
    return numerator * m / denominator


@numba.njit(forceinline=True)
def gru_cell(z, r, n, m, h):
    """The new h of a cell that resets after the product; n and m are the candidate's sums over x and h."""
    return gru_output(z, n + gru_reset(r, m), h)


ERF_ULP = 2.0

# erf(x) / x - 1 in x^2 on |x| <= 0.92, relative error 2^-25.9
_R0 = 0.12837915122509003
_R1 = -0.3761250078678131
_R2 = 0.11281877756118774
_R3 = -0.026768619194626808
_R4 = 0.004995918832719326
_R5 = -0.0006004149909131229

# -log(1 - erf(x)) / x - 1 on [0.92, 3.92], relative error of erf 2^-28.3; erf is 1 beyond
_C0 = 0.128514364361763
_C1 = 0.6357182860374451
_C2 = 0.1052619144320488
_C3 = -0.022890038788318634
_C4 = 0.0032149909529834986
_C5 = -0.000213991166674532


@numba.njit(forceinline=True)
def erf(x):
    """The error function, never outside [-1, 1]."""
    square = x * x
    near = fma(square, splat(_R5), splat(_R4))
    near = fma(square, near, splat(_R3))
    near = fma(square, near, splat(_R2))
    near = fma(square, near, splat(_R1))
    near = fma(square, near, splat(_R0))
    near = fma(near, x, x)
    size = minimum(absolute(x), 4.0)
    far = fma(size, splat(_C5), splat(_C4))
    far = fma(size, far, splat(_C3))
    far = fma(size, far, splat(_C2))
    far = fma(size, far, splat(_C1))
    far = fma(size, far, splat(_C0))
    far = splat(1.0) - exp(-fma(far, size, size))
    return select(absolute(x) > 0.92, copysign(far, x), near)
