"""Every function within its stated error, in units in the last place, against float64."""

import math
from functools import cache

import numba
import numpy as np
import pytest

from edgelstm.machine import entry, simd, vecmath
from tests.machine.features import needs_fma

pytestmark = needs_fma

SMALLEST = 2.0**-126  # the smallest normal number; the machine flushes what is below


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


# name: (function, oracle, its error bound, the range that it is defined on)
CASES = {
    "exp": (vecmath.exp, np.exp, vecmath.EXP_ULP, -np.inf, np.inf),
    "expm1_negative": (vecmath.expm1_negative, np.expm1, vecmath.EXPM1_ULP, -np.inf, 0),
    "log": (vecmath.log, np.log, vecmath.LOG_ULP, -np.inf, np.inf),
    "log1p_unit": (vecmath.log1p_unit, np.log1p, vecmath.LOG1P_ULP, 0, 1),
    "sigmoid": (vecmath.sigmoid, _sigmoid, vecmath.SIGMOID_ULP, -np.inf, np.inf),
    "tanh": (vecmath.tanh, np.tanh, vecmath.TANH_ULP, -np.inf, np.inf),
    "softplus": (vecmath.softplus, lambda x: np.logaddexp(0, x), vecmath.SOFTPLUS_ULP, -np.inf, np.inf),
    "erf": (vecmath.erf, np.vectorize(math.erf, otypes=[np.float64]), vecmath.ERF_ULP, -np.inf, np.inf),
}
SPECIAL = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 88.72, 88.73, -87.33, -87.34, 3e38, -3e38], np.float32)


@cache
def vectorized(function):
    @numba.njit(error_model="numpy")
    def apply(x, y, count):
        mode = entry._enter_mode()  # the bounds hold where denormals are flushed
        for i in range(0, count, 16):
            simd.store(y, i, function(simd.load(x, i)))
        entry._leave_mode(mode)

    def over(values):
        x = np.zeros(-(-values.size // 16) * 16, np.float32)
        x[: values.size] = values
        y = np.empty_like(x)
        apply(x.ctypes.data, y.ctypes.data, x.size)
        return y[: values.size]

    return over


def flushed(values):
    """As the machine sees numbers: denormal is 0."""
    return np.where(np.abs(values) < SMALLEST, np.copysign(0, values), values)


def errors(found, exact):
    """Distance in units in the last place of the exact result; 0 where it rounds to infinity and infinity was found."""
    exact, found = flushed(exact), flushed(found.astype(np.float64))
    with np.errstate(invalid="ignore", over="ignore"):
        size = np.maximum(np.abs(exact), SMALLEST)
        unit = 2.0 ** (np.floor(np.log2(np.where(np.isfinite(size), size, 1))) - 23)
        error = np.abs(found - exact) / unit
        infinite = np.isinf(exact.astype(np.float32)) & (found == exact.astype(np.float32))
    # Where the exact result is about the smallest normal number, flushing it is no error.
    edge = (found == 0) & (np.abs(exact) < SMALLEST * (1 + 2.0**-20))
    return np.where(infinite | edge | np.isnan(exact), 0, error)


def assert_within(name, values):
    function, oracle, bound, low, high = CASES[name]
    with np.errstate(all="ignore"):
        values = values[~((values < low) | (values > high))].astype(np.float32)
        exact = oracle(flushed(values.astype(np.float64)))
        found = vectorized(function)(values)
        error = errors(found, exact)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(exact))
    worst = np.argmax(error) if error.size else 0
    assert np.max(error, initial=0) <= bound, (values[worst], found[worst], exact[worst])
    return found


def dense():
    """Every 65,521st bit pattern, and the stretch where the functions bend, closely."""
    patterns = np.arange(0, 2**32, 65521, dtype=np.uint64).astype(np.uint32).view(np.float32)
    return np.concatenate([SPECIAL, patterns, np.linspace(-20, 20, 100_003, dtype=np.float32)])


@pytest.mark.parametrize("name", CASES)
def test_error_is_within_its_bound(name):
    assert_within(name, dense())


@pytest.mark.parametrize(("name", "low", "high"), [("tanh", -1, 1), ("sigmoid", 0, 1), ("erf", -1, 1)])
def test_results_stay_in_their_range(name, low, high):
    found = assert_within(name, dense())
    assert np.nanmin(found) == low
    assert np.nanmax(found) == high


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if name != "erf"])
@pytest.mark.parametrize("part", range(64))
def test_error_is_within_its_bound_for_every_float32(name, part):
    size, few = 2**26, 2**15  # few enough for a second-level cache
    for start in range(part * size, (part + 1) * size, few):
        patterns = np.arange(start, start + few, dtype=np.uint32).view(np.float32)
        found = assert_within(name, patterns)
        if name in {"tanh", "sigmoid"} and not np.isnan(found).all():
            assert np.nanmin(found) >= (-1 if name == "tanh" else 0)
            assert np.nanmax(found) <= 1


def test_lstm_cell_follows_its_equations():
    """Against float64, over gates from closed to open; the bound is absolute, as c and h are."""
    rng = np.random.default_rng(0)
    i, o, f, g = (rng.choice([1, 5, 50], 4096) * rng.standard_normal(4096) for _ in range(4))
    c = rng.uniform(-1, 1, 4096)
    i, o, f, g, c = (values.astype(np.float32) for values in (i, o, f, g, c))

    @numba.njit(error_model="numpy")
    def apply(gates, c, h):
        for n in range(0, 4096, 16):
            i, o, f, g = (
                simd.load(gates, n),
                simd.load(gates, 4096 + n),
                simd.load(gates, 8192 + n),
                simd.load(gates, 12288 + n),
            )
            new_c = vecmath.lstm_c(i, f, g, simd.load(c, n))
            new_h = vecmath.lstm_h(o, new_c)
            simd.store(h, n, new_h)
            simd.store(c, n, new_c)

    gates, new_c, new_h = np.concatenate([i, o, f, g]), c.copy(), np.empty_like(c)
    apply(gates.ctypes.data, new_c.ctypes.data, new_h.ctypes.data)
    i, o, f, g, c = (values.astype(np.float64) for values in (i, o, f, g, c))
    with np.errstate(over="ignore"):
        exact_c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        exact_h = _sigmoid(o) * np.tanh(exact_c)
    np.testing.assert_allclose(new_c, exact_c, rtol=0, atol=3 * 2.0**-23)
    np.testing.assert_allclose(new_h, exact_h, rtol=0, atol=4 * 2.0**-24)
    assert np.abs(new_h).max() <= 1
