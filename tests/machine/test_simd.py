"""Each operation on vectors against NumPy, and no access past what it was given."""

import numba
import numpy as np
import pytest

from edgelstm.machine import simd
from tests.machine.features import needs_fma

RNG = np.random.default_rng(5)
A = np.concatenate([RNG.standard_normal(12) * 3, [0, np.inf, -np.inf, np.nan]]).astype(np.float32)
B = RNG.permutation(np.concatenate([RNG.standard_normal(12), [0, 1, np.nan, -np.inf]])).astype(np.float32)


def over(function, *operands):
    """The result of a function of vectors, as an array."""

    @numba.njit(error_model="numpy")
    def one(a, out):
        simd.store(out, 0, function(simd.load(a, 0)))

    @numba.njit(error_model="numpy")
    def two(a, b, out):
        simd.store(out, 0, function(simd.load(a, 0), simd.load(b, 0)))

    out = np.empty(16, np.float32)
    (one if len(operands) == 1 else two)(*(operand.ctypes.data for operand in operands), out.ctypes.data)
    return out


@pytest.mark.parametrize(
    ("function", "same"),
    [
        (numba.njit(lambda a, b: a + b), lambda a, b: a + b),
        (numba.njit(lambda a, b: a - b), lambda a, b: a - b),
        (numba.njit(lambda a, b: a * b), lambda a, b: a * b),
        (numba.njit(lambda a, b: a / b), lambda a, b: a / b),
        (numba.njit(lambda a, b: simd.select(a < b, a, b)), lambda a, b: np.where(a < b, a, b)),
        (numba.njit(lambda a, b: simd.select(a <= b, a, 2.0)), lambda a, b: np.where(a <= b, a, 2)),
        (numba.njit(lambda a, b: simd.select(a != b, 1.0, 0.0)), lambda a, b: (a != b).astype(np.float32)),
        (numba.njit(lambda a, b: simd.select(~(a == b), 1.0, 0.0)), lambda a, b: (a != b).astype(np.float32)),
        (numba.njit(lambda a, b: simd.select((a > 0) & (b > 0), a, b)), lambda a, b: np.where((a > 0) & (b > 0), a, b)),
        (numba.njit(lambda a, b: simd.select((a > 0) | (b > 0), a, b)), lambda a, b: np.where((a > 0) | (b > 0), a, b)),
        (numba.njit(lambda a, b: simd.select((a > 0) ^ (b > 0), a, b)), lambda a, b: np.where((a > 0) ^ (b > 0), a, b)),
        (simd.minimum, lambda a, b: np.where(b < a, b, a)),
        (simd.maximum, lambda a, b: np.where(b > a, b, a)),
        (simd.copysign, np.copysign),
        (numba.njit(lambda a, b: 1.0 - a * 2 + b / 4), lambda a, b: np.float32(1) - a * 2 + b / 4),
    ],
)
def test_operations_on_two_vectors(function, same):
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(over(function, A, B), same(A, B))


@pytest.mark.parametrize(
    ("function", "same"),
    [
        (numba.njit(lambda a: -a), np.negative),
        (simd.absolute, np.abs),
        (simd.sqrt, np.sqrt),
        (simd.round_even, np.rint),
        (numba.njit(lambda a: simd.clamp(a, -1.5, 2.0)), lambda a: np.clip(a, -1.5, 2)),
    ],
)
def test_operations_on_one_vector(function, same):
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(over(function, A), same(A))


@pytest.mark.parametrize("value", [0.5, 1.5, -2.5, 4194303.5, 8388609.0, -0.3, 3e38])
def test_rounding_goes_to_even(value):
    values = np.full(16, value, np.float32)
    np.testing.assert_array_equal(over(simd.round_even, values), np.rint(values))


def test_powers_exponents_and_mantissas():
    n = np.array([-126, -1, 0, 1, 5, 126, 127, 64, *range(8)], np.float32)
    np.testing.assert_array_equal(
        over(simd.exponent_from_low_bits, n + np.float32(1.5 * 2**23 + 127)), np.ldexp(np.float32(1), n.astype(int))
    )
    x = np.ldexp(np.float32(1.25), n.astype(int))
    np.testing.assert_array_equal(over(simd.exponent, x), n)
    np.testing.assert_array_equal(over(simd.mantissa, x), np.full(16, 1.25))


@needs_fma
def test_fma_rounds_once():
    """The product alone would round to 1 + 2^-11."""
    a = np.full(16, 1 + 2**-12, np.float32)
    found = over(numba.njit(lambda a, b: simd.fma(a, b, -(1 + 2**-11))), a, a)
    np.testing.assert_array_equal(found, np.full(16, 2.0**-24))


@pytest.mark.parametrize("count", range(17))
def test_partial_stores_end_where_they_should(count):
    @numba.njit
    def write(a, out, n):
        simd.store_partial(out, 3, simd.load(a, 0), n)

    out = np.full(24, 7, np.float32)
    write(A.ctypes.data, out.ctypes.data, count)
    expected = np.full(24, 7, np.float32)
    expected[3 : 3 + count] = A[:count]
    np.testing.assert_array_equal(out, expected)


def test_scalars_integers_and_reductions():
    @numba.njit
    def work(a, table, out):
        simd.store_scalar(out, 0, simd.load_scalar(a, 2))
        simd.store_int(out, 1, -7)
        simd.store_int(out, 2, simd.load_int(out, 1) - 1)
        simd.store(out, 16, simd.broadcast(a, 5))
        v = simd.load(a, 0)
        simd.store_scalar(out, 3, simd.sum_lanes(v))
        simd.store_scalar(out, 4, simd.max_lanes(v))
        simd.store_scalar(out, 5, simd.min_lanes(v))
        simd.store_scalar(out, 6, simd.lane(v, 11))
        simd.store_scalar(out, 7, simd.bits_to_float(0x40490FDB))
        simd.store_int(out, 8, simd.any_lane(v > 1e9))
        simd.store_int(out, 9, simd.any_lane((v > 1e9) | simd.first_lanes(1)))
        simd.store_int(out, 10, simd.float_to_bits(simd.load_scalar(a, 0)))
        simd.write64(table, 1, simd.read64(table, 0) + 1)

    a, out = RNG.standard_normal(16).astype(np.float32), np.zeros(32, np.float32)
    table = np.array([2**40, 0])
    work(a.ctypes.data, table.ctypes.data, out.ctypes.data)
    ints = out.view(np.int32)
    assert out[0] == a[2]
    assert (ints[1], ints[2]) == (-7, -8)
    np.testing.assert_array_equal(out[16:], np.full(16, a[5]))
    tree = a.copy()
    for half in (8, 4, 2, 1):
        tree = tree[:half] + tree[half : 2 * half]
    assert out[3] == tree[0]
    assert (out[4], out[5], out[6]) == (a.max(), a.min(), a[11])
    assert out[7] == np.float32(np.pi)
    assert (ints[8], ints[9]) == (0, 1)
    assert ints[10] == a.view(np.int32)[0]
    assert table[1] == 2**40 + 1
