"""Steps at which a mask makes a cell keep its state: what Keras' Masking layer leaves behind.

A new state goes through a choice, `where(mask, new, old)` or `mask * new + (not mask) * old`, whose `old` is the state
that the step started from. Such a choice belongs to the cell, which then keeps its state where the mask says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from edgelstm.graph.ir import Node
from edgelstm.passes.reroll.cell import Cell, Mask
from edgelstm.passes.reroll.trace import Trace
from edgelstm.passes.reroll.view import View


@dataclass(frozen=True, slots=True)
class Choice:
    """A value that is a new state or the old one.

    Attributes:
        value: its name.
        new: the state that the step made.
        old: the state that it may keep.
        mask: says which.
    """

    value: str
    new: str
    old: str
    mask: Mask


def choices(trace: Trace) -> Iterator[Choice]:
    """Every choice between two float values of one shape by a mask."""
    for node in trace.graph.nodes:
        if node.op == "where":
            condition, first, second = node.inputs
            yield from _either(trace, node, truth(trace, condition), first, second)
        elif node.op == "add":
            yield from _weighted(trace, node)


def _either(trace: Trace, node: Node, mask: Mask, first: str, second: str) -> Iterator[Choice]:
    """The new state where the mask holds, or where it does not."""
    name, kept = mask
    yield Choice(node.outputs[0], first, second, (name, not kept))
    yield Choice(node.outputs[0], second, first, (name, kept))


def _weighted(trace: Trace, node: Node) -> Iterator[Choice]:
    """mask * a + (not mask) * b, with masks as numbers."""
    products = [trace.makers.get(name) for name in node.inputs]
    if any(product is None or product.op != "mul" for product in products):
        return
    left, right = (_masked(trace, product) for product in products if product is not None)
    for mask, value in left:
        for other, rest in right:
            if mask[0] == other[0] and mask[1] != other[1]:
                yield from _either(trace, node, mask, value, rest)


def _masked(trace: Trace, node: Node) -> list[tuple[Mask, str]]:
    """The mask in a product, and what it is multiplied with."""
    found = []
    for factor, value in (node.inputs, node.inputs[::-1]):
        maker = trace.makers.get(factor)
        if maker is not None and maker.op == "cast" and trace.types[maker.inputs[0]].dtype == "bool":
            found.append((truth(trace, maker.inputs[0]), value))
    return found


def truth(trace: Trace, name: str) -> Mask:
    """The value that a condition is, or is the opposite of: its name, and whether the condition holds where it does."""
    positive = True
    while (node := trace.makers.get(name)) is not None and node.op in ("not", "identity"):
        positive ^= node.op == "not"
        name = node.inputs[0]
    return name, positive


def with_masks(trace: Trace, cells: Mapping[str, Cell]) -> dict[str, Cell]:
    """The cells, each with the mask that its new state goes through."""
    by_new: dict[str, list[Choice]] = {}
    for choice in choices(trace):
        by_new.setdefault(choice.new, []).append(choice)
    found: dict[str, Cell] = {}
    for name, cell in cells.items():
        masked = _masked_cell(trace, cell, by_new) if name in by_new else None
        found[masked.h if masked is not None else name] = masked or cell
    return found


def _masked_cell(trace: Trace, cell: Cell, by_new: Mapping[str, list[Choice]]) -> Cell | None:
    for choice in by_new[cell.h]:
        old = before(trace, choice.old)
        if old is None and not is_zero(trace, choice.old):
            continue
        if old is not None and (old not in cell.sources or cell.before_h not in (None, old)):
            continue
        c = "" if cell.op != "lstm" else _masked_c(trace, cell, choice.mask, by_new.get(cell.c, []))
        if c is not None and _fits(trace, choice, cell):
            return replace(cell, h=choice.value, c=c, made=cell.h, before_h=old or cell.before_h, mask=choice.mask)
    return None


def _masked_c(trace: Trace, cell: Cell, mask: Mask, options: list[Choice]) -> str | None:
    """The choice that c goes through, by the same mask; "" where no step after this one takes up its c."""
    if not options:
        return ""
    for choice in options:
        if choice.mask != mask:
            continue
        if isinstance(cell.before_c, View) and before(trace, choice.old) == cell.before_c:
            return choice.value
        if not isinstance(cell.before_c, View) and is_zero(trace, choice.old):
            return choice.value
    return None


def _fits(trace: Trace, choice: Choice, cell: Cell) -> bool:
    """Whether the mask has one entry for each row."""
    rows = trace.types[cell.h].shape[:-1]
    mask = trace.types[choice.mask[0]].shape
    return [dim for dim in mask if dim != 1] == [dim for dim in rows if dim != 1]


def before(trace: Trace, name: str) -> View | None:
    """The view that a state before is; None for a constant."""
    return None if trace.row(name) is not None else trace.views[name].core


def is_zero(trace: Trace, name: str) -> bool:
    """Whether a value is known to be zero."""
    row = trace.row(name)
    return row is not None and not np.any(row)
