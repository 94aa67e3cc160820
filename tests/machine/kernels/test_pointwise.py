from __future__ import annotations

import numpy as np
import pytest

from edgelstm.machine import vecmath
from edgelstm.program import functions
from tests.machine.kernels.harness import reference, run

SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 3e38, -3e38, 1e-30], np.float32)
SMALLEST = np.finfo(np.float32).smallest_normal
ULPS = {
    "sigmoid": vecmath.SIGMOID_ULP,
    "tanh": vecmath.TANH_ULP,
    "scaled_tanh": vecmath.TANH_ULP,
    "softplus": vecmath.SOFTPLUS_ULP,
    "elu": vecmath.EXPM1_ULP,
    "exp": vecmath.EXP_ULP,
    "log": vecmath.LOG_ULP,
    "erf": vecmath.ERF_ULP,
    "softsign": 1.5,
    "leaky_relu": 1.0,  # alpha is float32 here, float64 in the reference
    "hard_sigmoid": None,  # near its zero digits cancel: compared absolutely
}


def values(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    spread = rng.standard_normal(count) * np.exp(rng.uniform(-10, 4.4, count))
    return np.concatenate([SPECIAL, spread.astype(np.float32)])


def ulps(got: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Errors in units in the last place; results below the smallest normal number count as 0."""
    flushed = np.where(np.abs(expected) < SMALLEST, 0.0, expected)
    got = np.where(np.abs(got) < SMALLEST, np.float32(0), got)
    unit = np.maximum(np.spacing(np.abs(flushed).astype(np.float32)), SMALLEST * np.finfo(np.float32).eps)
    return np.abs(got - flushed) / unit


@pytest.mark.parametrize("op", [name for name in functions.UNARY if name != "identity"])
def test_float_function_is_within_its_ulps_of_float64(op: str) -> None:
    x = values(4999)
    got, expected = run(op, x), reference(op, x)
    with np.errstate(over="ignore"):
        rounded = expected.astype(np.float32)
    assert np.array_equal(np.isnan(got), np.isnan(rounded))
    finite = np.isfinite(rounded)
    infinite = ~finite & ~np.isnan(rounded)
    assert np.array_equal(got[infinite], rounded[infinite])
    budget = ULPS.get(op, 0.5)
    if budget is None:
        assert np.max(np.abs(got[finite] - expected[finite])) <= 2.0**-24
    else:
        assert np.max(ulps(got[finite], expected[finite])) <= budget


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("affine", {"alpha": 2.5, "beta": -1.0}),
        ("leaky_relu", {"alpha": 0.25}),
        ("thresholded_relu", {"alpha": 0.5}),
        ("scaled_tanh", {"alpha": 1.5, "beta": 0.5}),
        ("hard_sigmoid", {"alpha": 0.25, "beta": 0.5}),
        ("elu", {"alpha": 1.5}),
    ],
)
def test_alpha_and_beta_are_honoured(op: str, attrs: dict[str, float]) -> None:
    x = np.linspace(-4, 4, 129, dtype=np.float32)  # holds the threshold 0.5 itself
    np.testing.assert_allclose(run(op, x, **attrs), reference(op, x, **attrs), rtol=3e-7, atol=3e-7)


@pytest.mark.parametrize("count", [1, 15, 16, 17, 33])
def test_every_length_gives_the_same_bits(count: int) -> None:
    x = values(33)[10 : 10 + count]
    whole = run("sigmoid", values(33)[10:])
    assert np.array_equal(run("sigmoid", x), whole[:count])


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
@pytest.mark.parametrize("op", ["neg", "abs"])
def test_integer_functions(op: str, dtype: str) -> None:
    x = np.array([0, 1, 7, 255, 100], dtype)
    x = x if dtype == "uint8" else np.concatenate([x, -x])
    assert np.array_equal(run(op, x), reference(op, x))


def test_not() -> None:
    x = np.array([True, False, True])
    assert run("not", x).tolist() == [0, 1, 0]


FLOATS = np.array([0.0, -0.0, 0.9, -0.9, 1.5, -1.5, 254.9, 255.5, 300.0, np.nan], np.float32)


@pytest.mark.parametrize("to", ["int32", "uint8", "bool", "float32"])
def test_cast_of_floats(to: str) -> None:
    x = np.concatenate([FLOATS, np.array([2.0**31, -(2.0**31), -(2.0**31) - 1e4, np.inf, -np.inf, 1e20], np.float32)])
    expected = reference("cast", x, to=to)
    assert np.array_equal(run("cast", x, to=to), expected, equal_nan=to == "float32")


def test_cast_to_bool_sees_denormals() -> None:
    assert run("cast", np.array([1e-45], np.float32), to="bool").tolist() == [1]


@pytest.mark.parametrize("source", ["int64", "int32", "uint8", "bool"])
@pytest.mark.parametrize("to", ["float32", "int64", "int32", "uint8", "bool"])
def test_cast_of_integers(source: str, to: str) -> None:
    x = np.array([0, 1, 2, 200, 255], np.int64)
    if source.startswith("int"):
        x = np.concatenate([x, [-1, -300, 300, 16777217, 33554435, 2**31 - 1, -(2**31)]])
    x = x.astype(source)
    assert np.array_equal(run("cast", x, to=to), x.astype(to))


SHAPES = [
    ((), ()),
    ((5,), (5,)),
    ((3, 17), (17,)),
    ((3, 17), (3, 1)),
    ((3, 1, 5), (4, 1)),
    ((2, 1, 3, 1, 2, 5), (1, 4, 1, 2, 1, 5)),
    ((40,), (1,)),
    ((1,), (40,)),
    ((2, 3, 40), (2, 3, 40)),
]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("op", [name for name in functions.BINARY if name != "pow"])
def test_float_pairs_are_exact(op: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    rng = np.random.default_rng(1)
    a, b = (np.round(rng.standard_normal(shape) * 2).astype(np.float32) for shape in shapes)
    with np.errstate(all="ignore"):
        expected = reference(op, a, b)
    assert np.array_equal(run(op, a, b), expected.astype(np.float32) if op == "div" else expected, equal_nan=True)


@pytest.mark.parametrize("op", ["maximum", "minimum", "equal", "less", "greater", "add"])
def test_nan_is_treated_as_numpy_does(op: str) -> None:
    a, b = (array.ravel() for array in np.meshgrid(SPECIAL, SPECIAL))
    with np.errstate(over="ignore"):
        expected = reference(op, a, b).astype(np.float32)
    assert np.array_equal(run(op, a, b), expected, equal_nan=True)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
@pytest.mark.parametrize("op", [name for name in functions.BINARY_INTEGER if name not in ("and", "or")])
def test_integer_pairs_are_exact(op: str, dtype: str) -> None:
    rng = np.random.default_rng(2)
    low, high = (0, 256) if dtype == "uint8" else (-40, 40)
    a = rng.integers(low, high, (4, 1, 19)).astype(dtype)
    b = rng.integers(low, high, (3, 19)).astype(dtype)
    assert np.array_equal(run(op, a, b), reference(op, a, b))


def test_integers_wrap_at_32_bits_and_division_never_traps() -> None:
    lowest = np.array([-(2**31)], np.int32)
    assert run("add", lowest, np.array([-1], np.int32)).tolist() == [2**31 - 1]
    assert run("mul", lowest, np.array([3], np.int32)).tolist() == [-(2**31)]
    assert run("div", lowest, np.array([-1], np.int32)).tolist() == [-(2**31)]
    assert run("div", lowest, np.array([0], np.int32)).tolist() == [0]
    assert run("div", np.array([-7, 7], np.int32), np.array([2, -2], np.int32)).tolist() == [-3, -3]


@pytest.mark.parametrize("op", ["and", "or", "equal"])
def test_bool_pairs(op: str) -> None:
    a, b = np.array([True, True, False, False]), np.array([True, False, True, False])
    assert np.array_equal(run(op, a, b), reference(op, a, b))


def test_pow_is_correct_to_one_ulp() -> None:
    rng = np.random.default_rng(3)
    a = np.exp(rng.uniform(-20, 20, 5000)).astype(np.float32)
    b = rng.uniform(-4, 4, 5000).astype(np.float32)
    b[:1000] = rng.integers(-8, 9, 1000)
    a[:1000:2] *= -1
    got, expected = run("pow", a, b), reference("pow", a, b)
    finite = np.abs(expected) <= np.finfo(np.float32).max
    assert np.max(ulps(got[finite], expected[finite])) <= 0.501
    assert np.all(np.isinf(got[~finite]))


def test_a_square_is_a_product_to_the_same_bit() -> None:
    x, two = values(500), np.full((1, 1), 2, np.float32)
    assert np.array_equal(run("pow", x, two, constants=(1,)), run("pow", x, two), equal_nan=True)
    assert run("pow", x, two, constants=(1,)).shape == (1, x.size)


def test_pow_of_special_values_is_numpys() -> None:
    numbers = np.concatenate([SPECIAL, np.array([0.5, 2.0, -2.0, 3.0, -3.0, 2.5, -0.5, 1e9, 1e-40], np.float32)])
    a, b = (array.ravel() for array in np.meshgrid(numbers, numbers))
    with np.errstate(all="ignore"):
        expected = np.power(a, b)
    got = run("pow", a, b)
    with np.errstate(invalid="ignore"):
        same = np.isclose(got, expected, rtol=3e-7, atol=0) | (np.isnan(got) & np.isnan(expected))
    assert np.all(same), list(zip(a[~same], b[~same], got[~same], expected[~same], strict=True))


@pytest.mark.parametrize("dtype", ["float32", "int32", "bool"])
def test_where_copies_words(dtype: str) -> None:
    rng = np.random.default_rng(4)
    condition = rng.integers(0, 2, (3, 1, 18)).astype(bool)
    a = rng.integers(0, 2 if dtype == "bool" else 99, (5, 1)).astype(dtype)
    b = rng.integers(0, 2 if dtype == "bool" else 99, (3, 5, 18)).astype(dtype)
    assert np.array_equal(run("where", condition, a, b), np.where(condition, a, b))


def test_where_keeps_the_bits_of_nan() -> None:
    bits = np.array([0x7FC12345, -5, 3], np.int32)
    got = run("where", np.array([True, False, True]), bits.view(np.float32), np.zeros(3, np.float32))
    assert got.view(np.int32).tolist() == [0x7FC12345, 0, 3]


def test_empty_tensors_give_empty_results() -> None:
    empty = np.zeros((0, 4), np.float32)
    assert run("tanh", empty).shape == (0, 4)
    assert run("add", empty, np.ones(4, np.float32)).shape == (0, 4)
    assert run("where", np.zeros((0, 1), bool), empty, empty).shape == (0, 4)


@pytest.mark.parametrize("op", ["floor", "ceil", "round"])
def test_whole_numbers_and_halves(op: str) -> None:
    x = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, -3.0, 8388609.0, -16777216.0, 0.4999999701976776], np.float32)
    assert np.array_equal(run(op, x), reference(op, x))
