"""What a float value is made of, as far as cells need it: sums of products over views.

A value's last axis holds features; rows of features that are made in the same way form a block. A block is

    constants + sum over views v of coefficient(v) · v + sum over pairs (v, w) of coefficient(v, w) * v * w

where the coefficient of one view is a matrix or one number for each feature, and that of a pair is one number for each
feature. What is more than this stands for itself, as a view of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from edgelstm.graph.dims import Dim, Shape
from edgelstm.graph.ir import Array
from edgelstm.passes.reroll.view import View

Key: TypeAlias = tuple[View, ...]
Terms: TypeAlias = Mapping[Key, Array]


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Some features of a value.

    Attributes:
        size: how many.
        view: the features themselves, as a part of a value of the graph.
        terms: what they are the sum of: one or two views → a matrix (size, width of the view) or a row (size,).
        constants: rows (size,), kept apart so that a sum of two biases stays exact.
    """

    size: int
    view: View
    terms: Terms
    constants: tuple[Array, ...] = ()

    @property
    def pure(self) -> View | None:
        """The one view that the block is, where it is no more than that."""
        if len(self.terms) == 1 and not self.constants:
            ((key, coefficient),) = self.terms.items()
            if len(key) == 1 and coefficient.ndim == 1 and np.all(coefficient == 1):
                return key[0]
        return None

    @property
    def dense(self) -> bool:
        """Whether a matrix takes part."""
        return any(coefficient.ndim == 2 for coefficient in self.terms.values())

    @property
    def light(self) -> bool:
        """Whether products with it may be multiplied out: at most a constant and two single views."""
        return len(self.terms) <= 2 and all(len(key) == 1 and c.ndim == 1 for key, c in self.terms.items())

    def rows(self, start: int, stop: int, view: View) -> Block:
        """Features start..stop, of which `view` is the part of the graph's value."""
        if (start, stop) == (0, self.size):
            return replace(self, view=view)
        terms: dict[Key, Array] = {}
        for key, coefficient in self.terms.items():
            if coefficient.ndim == 2:
                terms[key] = coefficient[start:stop]
                continue
            parts = [part.sliced(len(part.axes) - 1, start, stop - start) for part in key]
            if any(part is None for part in parts):
                return leaf(view)
            terms[tuple(part for part in parts if part is not None)] = coefficient[start:stop]
        return Block(stop - start, view, terms, tuple(row[start:stop] for row in self.constants))

    def map(self, move: Callable[[View], View | None]) -> Block | None:
        """The block with its leading axes moved; None where a view cannot follow."""
        view, terms = move(self.view), {}
        for key, coefficient in self.terms.items():
            parts = [move(part) for part in key]
            if any(part is None for part in parts):
                return None if view is None else leaf(view)
            terms[tuple(part for part in parts if part is not None)] = coefficient
        return None if view is None else replace(self, view=view, terms=terms)


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A value as blocks of features, one after the other."""

    shape: Shape
    blocks: tuple[Block, ...]

    @property
    def one(self) -> Block | None:
        """The only block."""
        return self.blocks[0] if len(self.blocks) == 1 else None


def leaf(view: View) -> Block:
    """A block that stands for itself."""
    size = view.width
    assert isinstance(size, int)
    return Block(size, view, {(view,): np.ones(size)})


def simplified(block: Block) -> Block:
    """The block without terms and constants that are zero."""
    terms = {key: value for key, value in block.terms.items() if value.ndim == 2 or np.any(value)}
    return replace(block, terms=terms, constants=tuple(row for row in block.constants if np.any(row)))


def add(left: Block, right: Block, sign: int, view: View) -> Block:
    """left + sign * right."""
    terms = dict(left.terms)
    for key, value in right.terms.items():
        term = value if sign == 1 else -value
        if key in terms:
            mine = terms[key]
            if mine.ndim != term.ndim:
                mine, term = _matrix(mine), _matrix(term)
            terms[key] = mine + term
        else:
            terms[key] = term
    constants = (*left.constants, *(row if sign == 1 else -row for row in right.constants))
    return simplified(Block(left.size, view, terms, constants))


def multiply(left: Block, right: Block, view: View) -> Block:
    """left * right, feature by feature; what would be more than a product of two views stands for itself."""
    left, right = (block if block.light else leaf(block.view) for block in (left, right))
    terms: dict[Key, Array] = {}
    for mine in _addends(left):
        for other in _addends(right):
            key = tuple(sorted((*mine[0], *other[0]), key=str))
            product = mine[1] * other[1]
            terms[key] = terms[key] + product if key in terms else product
    constant = terms.pop((), None)
    return simplified(Block(left.size, view, terms, () if constant is None else (constant,)))


def scale(block: Block, row: Array, view: View) -> Block:
    """The block times one number for each feature."""
    if not block.light:
        block = leaf(block.view)
    terms = {key: value * row for key, value in block.terms.items()}
    return simplified(replace(block, view=view, terms=terms, constants=tuple(c * row for c in block.constants)))


def constant(row: Array, view: View) -> Block:
    """A block that is the same for every row of the batch."""
    return simplified(Block(len(row), view, {}, (row,)))


def product(blocks: Sequence[Block], matrix: Array, view: View) -> Block:
    """The features of `blocks`, one after the other, times a matrix (out, in)."""
    terms: dict[Key, Array] = {}
    constants: list[Array] = []
    start = 0
    for block in blocks:
        columns = matrix[:, start : start + block.size]
        start += block.size
        if not block.terms:
            constants += [columns.astype(np.float64) @ row for row in block.constants]
            continue
        key = (block.pure or block.view,)
        terms[key] = terms[key] + columns if key in terms else columns
    return simplified(Block(len(matrix), view, terms, tuple(constants)))


def aligned(left: Sequence[Block], right: Sequence[Block]) -> list[tuple[Block, Block]]:
    """Two values of equal width cut at the same features."""
    pairs: list[tuple[Block, Block]] = []
    first, second = list(left), list(right)
    while first and second:
        size = min(first[0].size, second[0].size)
        pair = []
        for blocks in (first, second):
            block = blocks.pop(0)
            if block.size > size:
                head = block.view.sliced(len(block.view.axes) - 1, 0, size)
                tail = block.view.sliced(len(block.view.axes) - 1, size, block.size - size)
                assert head is not None
                assert tail is not None
                blocks.insert(0, block.rows(size, block.size, tail))
                block = block.rows(0, size, head)
            pair.append(block)
        pairs.append((pair[0], pair[1]))
    return pairs


def width(shape: Shape) -> Dim:
    """Number of features of a shape."""
    return shape[-1] if shape else 1


def _addends(block: Block) -> list[tuple[Key, Array]]:
    return [*block.terms.items(), *(((), row) for row in block.constants)]


def _matrix(coefficient: Array) -> Array:
    return np.diag(coefficient) if coefficient.ndim == 1 else coefficient
