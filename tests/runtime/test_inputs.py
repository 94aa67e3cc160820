"""Arguments become arrays of the model's dtype, or one clear error."""

import numpy as np
import pytest

from edgelstm.errors import InputError
from edgelstm.graph.dims import symbol
from edgelstm.graph.ir import TensorType
from edgelstm.runtime.inputs import as_dtype, check_names, show, sized, solve_sizes

T, B = symbol("T"), symbol("B")


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ([1, 2.5], "float32"),
        (np.float64(3), "float32"),
        (7, "float32"),
        (True, "float32"),
        (np.arange(3, dtype=np.uint8), "float32"),
        (np.float16([1.5]), "float32"),
        ([1, -2], "int64"),
        (np.array([2**31 - 1, -(2**31)]), "int64"),
        (True, "int32"),
        ([0, 255], "uint8"),
        ([True, False], "bool"),
        ([], "int64"),
        ([], "bool"),
    ],
)
def test_harmless_casts(value, dtype):
    array = as_dtype(value, dtype, "x")
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    assert array.shape == np.shape(value)
    np.testing.assert_array_equal(array, value)


def test_arrays_that_need_no_cast_are_not_copied():
    array = np.ones((2, 3), np.float32)
    assert np.shares_memory(as_dtype(array, "float32", "x"), array)


def test_numbers_keep_their_rank():
    assert as_dtype(1.5, "float32", "x").shape == ()


@pytest.mark.parametrize(
    ("value", "dtype", "match"),
    [
        ([1.5], "int64", "input 'x': expected int64, got float64 .*; cast it yourself if that is meant"),
        ([1.0], "uint8", "expected uint8, got float64"),
        ([1], "bool", "expected bool, got int64"),
        ([1.0], "bool", "expected bool, got float64"),
        (["a"], "float32", "expected float32"),
        (None, "float32", "expected float32, got object"),
        ([[1], [1, 2]], "float32", "expected float32 numbers"),
        ([1j], "float32", "got complex128"),
        (np.array(["2020-01-01"], "M8[D]"), "float32", "got datetime64"),
        ([2**31], "int64", "expected integers from -2147483648 to 2147483647, got 2147483648"),
        ([-(2**31) - 1], "int32", "expected integers from -2147483648"),
        ([256], "uint8", "expected integers from 0 to 255, got 256 to 256"),
        ([-1], "uint8", "expected integers from 0 to 255"),
        (np.array([2**63], np.uint64), "int64", "expected integers from"),
        (10**30, "int64", "expected int64"),
    ],
)
def test_casts_that_are_refused(value, dtype, match):
    with pytest.raises(InputError, match=match) as caught:
        as_dtype(value, dtype, "x")
    assert len(str(caught.value)) < 300


def test_what_is_shown_of_a_long_value_is_short():
    with pytest.raises(InputError) as caught:
        as_dtype(["text"] * 10_000, "float32", "x")
    assert len(str(caught.value)) < 200


def test_a_float64_beyond_float32_becomes_infinite():
    assert as_dtype([1e300, -1e300], "float32", "x").tolist() == [np.inf, -np.inf]


def test_names():
    check_names({"a": 1, "b": 2}, ["b", "a"])
    with pytest.raises(InputError, match="inputs: expected a, b; missing b and unknown c, 3"):
        check_names({"a": 1, "c": 2, 3: 4}, ["a", "b"])


def solve(kinds, shapes, frozen=(), pinned=()):
    arrays = {name: np.zeros(shape) for name, shape in shapes.items()}
    return solve_sizes({k: TensorType("float32", v) for k, v in kinds.items()}, arrays, dict(frozen), dict(pinned))


def test_sizes_are_read_off():
    assert solve({"x": (T, B, 3), "z": (2 * T + 1, B)}, {"x": (4, 2, 3), "z": (9, 2)}) == {"T": 4, "B": 2}
    assert solve({"x": (3,)}, {"x": (3,)}) == {}


@pytest.mark.parametrize(
    ("kinds", "shapes", "more", "match"),
    [
        ({"x": (T, 3)}, {"x": (4,)}, {}, r"input 'x': expected shape \(T, 3\), got \(4,\)"),
        ({"x": (T, 3)}, {"x": (4, 2)}, {}, r"expected shape \(T, 3\), got \(4, 2\)"),
        ({"x": (T, T)}, {"x": (4, 2)}, {}, "T is 2 in .* but 4 in another input or axis"),
        ({"x": (T,), "z": (2 * T,)}, {"x": (4,), "z": (7,)}, {}, r"input 'z': expected shape \(2\*T,\), got \(7,\)"),
        ({"x": (T,)}, {"x": (4,)}, {"frozen": {"T": 5}}, "exported with T = 5 and runs only at that size, got 4"),
        ({"x": (3,)}, {"x": (4,)}, {"pinned": {"T": "because of k"}}, "because of k"),
    ],
)
def test_sizes_that_do_not_fit(kinds, shapes, more, match):
    with pytest.raises(InputError, match=match):
        solve(kinds, shapes, **more)


def test_a_size_that_only_a_formula_has():
    """z alone says 2 T: what T is cannot be read off, and is not guessed."""
    with pytest.raises(InputError, match="z"):
        solve({"z": (2 * T,)}, {"z": (8,)})


def test_shapes_as_text():
    assert show((T, 3)) == "(T, 3)"
    assert show((3,)) == "(3,)"
    assert show(()) == "()"
    assert sized((2, 3)) == (2, 3)
