"""What is known of the sizes in a file: one symbol per input dimension, and what unifies them.

Every dimension of every input starts as a symbol of its own, also where the exporter wrote an
integer: that integer stays beside it as a hint. Nodes then make symbols equal to each other, to
expressions or to integers. Everything that holds at the hints, and at any sizes that the learned
equations allow, is exact; what cannot be shown equal is an error, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgelstm.errors import InputError, UnsupportedError
from edgelstm.graph.dims import (
    Dim,
    Expr,
    FloorDiv,
    Monomial,
    Shape,
    Symbol,
    exact_div,
    normal,
    substitute,
    symbol,
    symbols,
)

MAX_WORK = 1 << 33  # multiply-adds on constants that an import may take; an entry computed or moved counts as 8


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a symbol comes from: an axis of an input, with the name or the size that the file gives it."""

    input: str
    axis: int
    param: str
    size: int | None

    @property
    def where(self) -> str:
        """How a message names this dimension."""
        return f"axis {self.axis} of input {self.input!r}"


class Symbols:
    """The symbols of one import and the equations between them.

    Attributes:
        origins: symbol → where it comes from.
        hints: symbol → the integer that the file wrote, for dimensions it fixes.
        where: the node being translated; part of every message and reason.
    """

    def __init__(self) -> None:
        self.origins: dict[str, Origin] = {}
        self.hints: dict[str, int] = {}
        self.where = ""
        self._work = MAX_WORK
        self._bound: dict[str, Dim] = {}  # every right side is free of bound symbols
        self._history: list[tuple[str, Dim, str]] = []

    def new(self, origin: Origin) -> Expr:
        """A fresh symbol for a dimension of an input."""
        name = base = f"{_clean(origin.input)}.{origin.axis}"
        while name in self.origins:
            name = f"{base}.{len(self.origins)}"
        self.origins[name] = origin
        if origin.size is not None:
            self.hints[name] = origin.size
        return symbol(name)

    def spend(self, work: int) -> bool:
        """Note work on constants; false once an import has done too much of it."""
        self._work -= work
        return self._work >= 0

    def resolve(self, dim: Dim) -> Dim:
        """`dim` with everything that is known put in."""
        return substitute(dim, self._bound) if self._bound else dim

    def shape(self, shape: Shape) -> Shape:
        """`resolve` over a shape."""
        return tuple(self.resolve(dim) for dim in shape)

    def hint(self, dim: Dim) -> int | None:
        """The size at the integers that the file wrote; None where a free dimension takes part."""
        dim = self.resolve(dim)
        value = substitute(dim, dict(self.hints))
        return value if isinstance(value, int) else None

    def why(self, name: str) -> str:
        """The reason why a symbol became an integer."""
        now: Dim = symbol(name)
        for left, right, reason in self._history:
            if left in symbols(now):
                now = substitute(now, {left: right})
                if isinstance(now, int):
                    return reason
        return ""

    def same(self, left: Dim, right: Dim, what: str) -> Dim:
        """Learn that two dimensions are equal; gives the settled one.

        Raises:
            InputError: they differ for every size, or at the sizes that the file fixes.
            UnsupportedError: they are equal only for some sizes that no equation of the table can state.
        """
        left, right = self.resolve(left), self.resolve(right)
        if left == right:
            return left
        if what.startswith("broadcast, ") and 1 in {left, right}:  # learned since the caller looked
            return right if left == 1 else left
        if what.startswith("broadcast") and (other := self._one_of(left, right)) is not None:
            return other
        expected, got = self.hint(left), self.hint(right)
        if expected is not None and got is not None and expected != got:
            raise InputError(f"{what}: expected equal sizes, got {self.text(left)} and {self.text(right)}")
        difference = left - right
        if not isinstance(difference, int) and (self._solve(difference, what) or self._pin_some(difference, what)):
            return self.resolve(left)
        kind = InputError if isinstance(difference, int) else UnsupportedError
        raise kind(f"{what}: expected equal sizes, got {self.text(left)} and {self.text(right)}")

    def pin(self, dim: Dim, what: str) -> int | None:
        """Give every fixed symbol of `dim` its integer; None where a free dimension takes part."""
        self.pin_names([name for name in sorted(symbols(self.resolve(dim))) if name in self.hints], what)
        value = self.resolve(dim)
        return value if isinstance(value, int) else None

    def pin_names(self, names: Iterable[str], what: str) -> None:
        """Give fixed symbols their integers."""
        for name in names:
            self._bind(name, self.hints[name], what)

    def sign(self, dim: Dim) -> int | None:
        """1, 0 or -1 where `dim` has one sign for all sizes of at least 1; None otherwise."""
        dim = self.resolve(dim)
        if isinstance(dim, int):
            return (dim > 0) - (dim < 0)
        if all(isinstance(atom, Symbol) for key, _ in dim.terms for atom in key):
            varying = [coefficient for key, coefficient in dim.terms if key]
            total = sum(coefficient for _, coefficient in dim.terms)  # the value where every size is 1
            if all(coefficient > 0 for coefficient in varying) and total > 0:
                return 1
            if all(coefficient < 0 for coefficient in varying) and total < 0:
                return -1
        return None

    def text(self, dim: Dim) -> str:
        """A dimension as a message shows it."""
        dim = self.resolve(dim)
        if isinstance(dim, int):
            return str(dim)
        known = ", ".join(
            f"{name} is {self.hints[name]} in the file" for name in sorted(symbols(dim)) if name in self.hints
        )
        return f"{dim} ({known})" if known else str(dim)

    def _one_of(self, left: Dim, right: Dim) -> Dim | None:
        """Where a size that the file fixes at 1 meets another one, it is the 1 of a broadcast."""
        for one, other in ((left, right), (right, left)):
            if not isinstance(one, int) and self.hint(one) == 1 and self.hint(other) != 1:
                self.pin(one, "broadcasting against another size")
                return other
        return None

    def _solve(self, difference: Dim, what: str) -> bool:
        """Find a symbol that `difference == 0` determines, and bind it."""
        for name in self._order(difference):
            value = _isolate(difference, name)
            if value is None:
                continue
            if isinstance(value, int) and (value < 0 or self.hints.get(name, value) != value):
                return False
            self._bind(name, value, what)
            return True
        return False

    def _order(self, dim: Dim) -> list[str]:
        """Symbols in the order in which to give them up: fixed ones first, then the youngest."""
        order = {name: index for index, name in enumerate(self.origins)}
        return sorted(symbols(dim), key=lambda name: (name not in self.hints, -order[name]))

    def _pin_some(self, difference: Dim, what: str) -> bool:
        """Make `difference` 0 by giving fixed symbols their integers: one if one is enough, else all."""
        fixed = [name for name in self._order(difference) if name in self.hints]
        for names in (*((name,) for name in fixed), tuple(fixed)):
            if names and substitute(difference, {name: self.hints[name] for name in names}) == 0:
                for name in names:
                    self._bind(name, self.hints[name], what)
                return True
        return False

    def _bind(self, name: str, value: Dim, what: str) -> None:
        for other in symbols(value):
            if name in self.hints and value == symbol(other):
                self.hints.setdefault(other, self.hints[name])
        self._bound = {key: substitute(dim, {name: value}) for key, dim in self._bound.items()}
        self._bound[name] = value
        self._history.append((name, value, f"{self.where}: {what}: {self.text(value)}" if self.where else what))


def atoms(dim: Dim) -> list[Symbol | FloorDiv]:
    """The symbols and divisions that a dimension is made of."""
    return [] if isinstance(dim, int) else [atom for key, _ in dim.terms for atom in key]


def _clean(text: str) -> str:
    """The letters of a name that a symbol may have."""
    return "".join(letter if letter.isalnum() else "_" for letter in text)[:40]


def _isolate(difference: Dim, name: str) -> Dim | None:
    """The value of a symbol that makes `difference` 0, where it stands alone in one term; else None."""
    if isinstance(difference, int):
        return None
    difference = _without_common_factor(difference, name)
    mine: Monomial = (Symbol(name),)
    table = dict(difference.terms)
    coefficient = table.pop(mine, 0)
    rest = normal(table)
    if not coefficient or name in symbols(rest):
        return None
    return exact_div(-rest, coefficient)


def _without_common_factor(difference: Expr, name: str) -> Expr:
    """B*T - 7*B is 0 for every B exactly where T - 7 is: sizes are not 0."""
    common = [atom for atom in difference.terms[0][0] if all(atom in key for key, _ in difference.terms)]
    for atom in common:
        if atom != Symbol(name):
            smaller = exact_div(difference, normal({(atom,): 1}))
            if isinstance(smaller, Expr):
                difference = smaller
    return difference
