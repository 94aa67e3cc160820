"""Symbolic dimensions: integers, symbols such as T (time) and B (batch), and polynomials in them.

A `Dim` is an `int` or an `Expr`. An `Expr` is a sum of monomials with integer coefficients over
atoms; an atom is a symbol or the floor division of an `Expr` by a positive integer (what a strided
convolution makes of a length). Expressions are canonical: equal expressions compare equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from edgelstm.errors import InputError

TIME = "T"
BATCH = "B"
MAX_TERMS = 64  # far beyond any model; bounds the work that a damaged file can ask for
MAX_COEFFICIENT = 1 << 62


@dataclass(frozen=True, slots=True, order=True)
class Symbol:
    """A free dimension, known by its name."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class FloorDiv:
    """`numerator // denominator` where the division is not known to be exact."""

    numerator: Expr
    denominator: int

    def __str__(self) -> str:
        return f"(({self.numerator})//{self.denominator})"


Atom: TypeAlias = Symbol | FloorDiv
Monomial: TypeAlias = tuple[Atom, ...]  # sorted by text; the empty one is the constant term


@dataclass(frozen=True, slots=True)
class Expr:
    """A sum of `coefficient * product of atoms`; never a plain integer (`normal` sees to that)."""

    terms: tuple[tuple[Monomial, int], ...]

    def __add__(self, other: Dim) -> Dim:
        return _combine(self, other, 1)

    __radd__ = __add__

    def __sub__(self, other: Dim) -> Dim:
        return _combine(self, other, -1)

    def __rsub__(self, other: int) -> Dim:
        return _combine(other, self, -1)

    def __neg__(self) -> Dim:
        return _combine(0, self, -1)

    def __mul__(self, other: Dim) -> Dim:
        product: dict[Monomial, int] = {}
        _check_terms(len(self.terms) * len(_terms(other)), MAX_TERMS**2)
        for left, a in _terms(self):
            for right, b in _terms(other):
                key = tuple(sorted(left + right, key=str))
                product[key] = product.get(key, 0) + a * b
        return normal(product)

    __rmul__ = __mul__

    def __floordiv__(self, divisor: int) -> Dim:
        if divisor <= 0:
            raise InputError(f"cannot divide the dimension {self} by {divisor}: expected a positive integer")
        if all(coefficient % divisor == 0 for _, coefficient in self.terms):
            return normal({key: coefficient // divisor for key, coefficient in self.terms})
        return normal({(FloorDiv(self, divisor),): 1})

    def __str__(self) -> str:
        return "+".join(_term_text(key, coefficient) for key, coefficient in self.terms).replace("+-", "-")

    __repr__ = __str__


Dim: TypeAlias = int | Expr
Shape: TypeAlias = tuple[Dim, ...]


def symbol(name: str) -> Expr:
    """The free dimension called `name`."""
    return Expr((((Symbol(name),), 1),))


def normal(terms: Mapping[Monomial, int]) -> Dim:
    """The canonical dimension of a term table: an `int` when nothing symbolic is left."""
    kept = {key: coefficient for key, coefficient in terms.items() if coefficient}
    if not kept:
        return 0
    if set(kept) == {()}:
        return kept[()]
    _check_terms(max(len(kept), *map(len, kept)), MAX_TERMS)
    if max(map(abs, kept.values())) > MAX_COEFFICIENT:
        raise InputError(f"a dimension has a coefficient too large: expected at most {MAX_COEFFICIENT}")
    return Expr(tuple(sorted(kept.items(), key=lambda item: (-len(item[0]), tuple(map(str, item[0]))))))


def symbols(dim: Dim) -> frozenset[str]:
    """Names of the free dimensions that `dim` depends on."""
    if isinstance(dim, int):
        return frozenset()
    names: set[str] = set()
    for key, _ in dim.terms:
        for atom in key:
            names |= {atom.name} if isinstance(atom, Symbol) else symbols(atom.numerator)
    return frozenset(names)


def substitute(dim: Dim, binding: Mapping[str, Dim]) -> Dim:
    """`dim` with every symbol named in `binding` replaced."""
    if isinstance(dim, int):
        return dim
    total: Dim = 0
    for key, coefficient in dim.terms:
        product: Dim = coefficient
        for atom in key:
            if isinstance(atom, Symbol):
                product = product * binding.get(atom.name, symbol(atom.name))
            else:
                product = product * (substitute(atom.numerator, binding) // atom.denominator)
        total = total + product
    return total


def substitute_shape(shape: Iterable[Dim], binding: Mapping[str, Dim]) -> Shape:
    """`substitute` over a shape."""
    return tuple(substitute(dim, binding) for dim in shape)


def product(dims: Iterable[Dim]) -> Dim:
    """Product of dimensions; 1 for none."""
    total: Dim = 1
    for dim in dims:
        total = total * dim
    return total


def exact_div(numerator: Dim, denominator: Dim) -> Dim | None:
    """`numerator / denominator` when it divides exactly for every size, else None."""
    if isinstance(denominator, int):
        if denominator == 0:
            return None
        if isinstance(numerator, int):
            return numerator // denominator if numerator % denominator == 0 else None
        if any(coefficient % denominator for _, coefficient in numerator.terms):
            return None
        return normal({key: coefficient // denominator for key, coefficient in numerator.terms})
    if numerator == 0:
        return 0
    if len(denominator.terms) != 1:
        return 1 if numerator == denominator else None
    (divisor, scale), quotient = denominator.terms[0], {}
    for key, coefficient in _terms(numerator):
        rest = list(key)
        for atom in divisor:
            if atom not in rest:
                return None
            rest.remove(atom)
        if coefficient % scale:
            return None
        quotient[tuple(rest)] = coefficient // scale
    return normal(quotient)


def parse(text: str | int) -> Dim:
    """The inverse of `str(dim)`: reads `7`, `T`, `2*B*T+1`, `((T-2)//2)`.

    Raises:
        InputError: the text is not a dimension.
    """
    if isinstance(text, int):
        return text
    reader = _Reader(text)
    dim = reader.sum()
    if reader.rest:
        raise InputError(f"not a dimension: {text!r}: expected integers, symbols, + - * and //, found {reader.rest!r}")
    return dim


class _Reader:
    """Recursive descent over the text of a dimension, of bounded length and depth."""

    MAX_LENGTH = 200

    def __init__(self, text: str) -> None:
        if len(text) > self.MAX_LENGTH:
            raise InputError(f"not a dimension: {len(text)} characters, at most {self.MAX_LENGTH} are read")
        self.text, self.rest = text, text

    def accept(self, token: str) -> bool:
        if self.rest.startswith(token):
            self.rest = self.rest[len(token) :]
            return True
        return False

    def sum(self) -> Dim:
        total = -self.term() if self.accept("-") else self.term()
        while True:
            if self.accept("+"):
                total = total + self.term()
            elif self.accept("-"):
                total = total - self.term()
            else:
                return total

    def term(self) -> Dim:
        total = self.factor()
        while True:
            if self.accept("//"):
                total = total // self.integer()
            elif self.accept("*"):
                total = total * self.factor()
            else:
                return total

    def factor(self) -> Dim:
        if self.accept("("):
            inner = self.sum()
            if not self.accept(")"):
                raise InputError(f"not a dimension: {self.text!r}: a bracket is not closed")
            return inner
        if self.rest[:1].isdigit():
            return self.integer()
        length = 0
        while length < len(self.rest) and (self.rest[length].isalnum() or self.rest[length] in "_.:"):
            length += 1
        if not length:
            raise InputError(f"not a dimension: {self.text!r}: expected a symbol or an integer, found {self.rest!r}")
        name, self.rest = self.rest[:length], self.rest[length:]
        return symbol(name)

    def integer(self) -> int:
        digits = self.rest[: len(self.rest) - len(self.rest.lstrip("0123456789"))]
        if not digits or len(digits) > 18:
            raise InputError(f"not a dimension: {self.text!r}: expected an integer, found {self.rest[:20]!r}")
        self.rest = self.rest[len(digits) :]
        return int(digits)


def _terms(dim: Dim) -> tuple[tuple[Monomial, int], ...]:
    return (((), dim),) if isinstance(dim, int) else dim.terms


def _combine(left: Dim, right: Dim, sign: int) -> Dim:
    total = dict(_terms(left))
    for key, coefficient in _terms(right):
        total[key] = total.get(key, 0) + sign * coefficient
    return normal(total)


def _check_terms(count: int, limit: int) -> None:
    if count > limit:
        raise InputError(f"a dimension has {count} terms or factors: at most {limit} are taken")


def _term_text(key: Monomial, coefficient: int) -> str:
    if not key:
        return str(coefficient)
    atoms = "*".join(map(str, key))
    return {1: atoms, -1: f"-{atoms}"}.get(coefficient, f"{coefficient}*{atoms}")
