"""Dimensions are a ring with canonical forms, and their text reads back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelstm.errors import InputError
from edgelstm.graph.dims import Expr, exact_div, parse, product, substitute, substitute_shape, symbol, symbols

T, B = symbol("T"), symbol("B")


@st.composite
def dims(draw, depth=2):
    """Integers, symbols, and sums, products and floor divisions of them."""
    if depth == 0 or draw(st.booleans()):
        return draw(st.one_of(st.integers(-9, 9), st.sampled_from([T, B, symbol("length.1")])))
    left, right = draw(dims(depth - 1)), draw(dims(depth - 1))
    match draw(st.integers(0, 3)):
        case 0:
            return left + right
        case 1:
            return left - right
        case 2:
            return left * right
        case _:
            return left // draw(st.integers(1, 5))


bindings = st.fixed_dictionaries({"T": st.integers(0, 50), "B": st.integers(0, 9), "length.1": st.integers(0, 9)})


@given(dims(), dims(), dims())
def test_ring_axioms(a, b, c):
    assert a + b == b + a
    assert a * b == b * a
    assert (a + b) + c == a + (b + c)
    assert (a * b) * c == a * (b * c)
    assert a * (b + c) == a * b + a * c
    assert a + 0 == a
    assert a * 1 == a
    assert a * 0 == 0
    assert a - a == 0
    assert a - b == a + b * -1
    assert 0 - a == -a


@given(dims(), dims())
def test_equal_dims_hash_alike(a, b):
    assert hash(a + b) == hash(b + a)


@given(dims())
def test_text_reads_back(dim):
    if len(str(dim)) <= 200:
        assert parse(str(dim)) == dim


@given(dims(), dims(), bindings)
def test_substitution_is_a_homomorphism(a, b, binding):
    assert substitute(a + b, binding) == substitute(a, binding) + substitute(b, binding)
    assert substitute(a * b, binding) == substitute(a, binding) * substitute(b, binding)
    assert isinstance(substitute(a, binding), int)


@given(dims(), st.integers(1, 7), bindings)
def test_floor_division_is_that_of_the_sizes(a, divisor, binding):
    assert substitute(a // divisor, binding) == substitute(a, binding) // divisor


@given(dims(), dims())
def test_exact_division_undoes_multiplication(a, b):
    quotient = exact_div(a * b, b)
    if isinstance(b, Expr) and len(b.terms) == 1:
        assert quotient == a
    else:
        assert quotient is None or quotient * b == a * b


@given(dims(), dims())
def test_exact_division_is_exact(a, b):
    quotient = exact_div(a, b)
    assert quotient is None or quotient * b == a


@given(dims())
def test_integers_are_plain(dim):
    assert isinstance(dim, int) == (not symbols(dim))
    assert dim - dim == 0
    assert isinstance(dim - dim, int)


def test_symbols_are_found_inside_divisions():
    assert symbols((T * B + 1) // 2) == {"T", "B"}


def test_substitution_of_a_symbol_by_a_dimension():
    assert substitute(2 * T + 1, {"T": B + 3}) == 2 * B + 7
    assert substitute_shape((T, 4, B), {"T": 5}) == (5, 4, B)


def test_product():
    assert product(()) == 1
    assert product((2, T, 3, B)) == 6 * B * T


def test_division_that_is_exact_leaves_no_division():
    assert (4 * T + 8) // 4 == T + 2
    assert str((T + 1) // 2) == "((T+1)//2)"


@pytest.mark.parametrize("divisor", [0, -2])
def test_division_by_what_is_not_positive(divisor):
    with pytest.raises(InputError, match="expected a positive integer"):
        T // divisor


def test_exact_division_by_zero():
    assert exact_div(T, 0) is None
    assert exact_div(6, 0) is None


@pytest.mark.parametrize(
    "text",
    ["", "T+", "*T", "T T", "(T", "T)", "T//B", "T//0", "T/2", "1.5", "T**2", "-", "()", "T" * 201, "9" * 19, "T+é!"],
)
def test_text_that_is_no_dimension(text):
    with pytest.raises(InputError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "dim"),
    [("7", 7), (7, 7), ("-3", -3), ("T", T), ("2*B*T+1", 2 * B * T + 1), ("((T-2)//2)", (T - 2) // 2), ("-T+3", 3 - T)],
)
def test_text_that_is_a_dimension(text, dim):
    assert parse(text) == dim


def test_a_dimension_of_too_many_terms():
    """Multiplying sums out must not take a damaged file's word for how long that may go on."""
    many = sum((symbol(f"s{k}") for k in range(60)), start=0)
    with pytest.raises(InputError, match="terms"):
        product([many] * 6)


def test_a_dimension_of_too_many_digits():
    big = 1 << 62
    with pytest.raises(InputError, match="large"):
        product([symbol("T") * big] * 400)
