"""Pointwise operators on sizes that are only known at run time: sums, comparisons, choices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgelstm.errors import UnsupportedError
from edgelstm.graph.dims import Dim, Expr, exact_div
from edgelstm.graph.ir import Node
from edgelstm_converters.onnx.symbols import Symbols
from edgelstm_converters.onnx.values import Undecided


def definition(node: Node, symbols: Symbols) -> Callable[..., Any] | None:
    """What the operator of a node makes of one entry of each input; None where sizes do not go through it."""

    def compare(relation: str) -> Callable[[Any, Any], bool | Undecided]:
        def define(a: Any, b: Any) -> bool | Undecided:
            if isinstance(a, Undecided) or isinstance(b, Undecided):
                raise UnsupportedError(f"{node.where}: a comparison that depends on sizes at run time is not supported")
            a, b = _size(a, node), _size(b, node)
            sign = symbols.sign(a - b)
            if sign is None:
                return Undecided(a, relation, b)
            return {"equal": sign == 0, "less": sign < 0, "greater": sign > 0}[relation]

        return define

    table: dict[str, Callable[..., Any]] = {
        "identity": lambda a: a,
        "cast": lambda a: _cast(a, str(node.attrs["to"]), node),
        "neg": lambda a: -a,
        "add": lambda a, b: a + b,
        "sub": lambda a, b: a - b,
        "mul": lambda a, b: a * b,
        "div": lambda a, b: _divide(a, b, node, symbols),
        "maximum": lambda a, b: _larger(a, b, node, symbols),
        "minimum": lambda a, b: -_larger(-a, -b, node, symbols),
        "equal": compare("equal"),
        "less": compare("less"),
        "greater": compare("greater"),
        "not": lambda a: Undecided(a.left, a.relation, a.right, not a.negated) if isinstance(a, Undecided) else not a,
        "and": lambda a, b: _logic(a, b, False),
        "or": lambda a, b: _logic(a, b, True),
        "where": lambda c, a, b: _choose(c, a, b, symbols),
    }
    return table.get(node.op)


def _size(entry: Any, node: Node) -> Dim:
    """What is compared with a size; a float that is a whole number is one."""
    if isinstance(entry, (Expr, int)):
        return entry
    if float(entry).is_integer():
        return int(entry)
    raise UnsupportedError(f"{node.where}: compares a size with {entry}, which is not supported")


def _cast(entry: Any, to: str, node: Node) -> Any:
    if isinstance(entry, Undecided):
        if to == "bool":
            return entry
        raise UnsupportedError(f"{node.where}: a comparison that depends on sizes at run time cannot become {to}")
    return entry


def _divide(a: Dim, b: Dim, node: Node, symbols: Symbols) -> Dim:
    a, b = symbols.resolve(a), symbols.resolve(b)
    if isinstance(a, int) and isinstance(b, int) and b:
        return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    if (quotient := exact_div(a, b)) is not None:
        return quotient
    if isinstance(b, int) and b > 0 and symbols.sign(a) == 1:
        return a // b
    raise UnsupportedError(f"{node.where}: the size {symbols.text(a)} divided by {symbols.text(b)} cannot be stated")


def _larger(a: Dim, b: Dim, node: Node, symbols: Symbols) -> Dim:
    sign = symbols.sign(a - b)
    if sign is None and symbols.pin(a - b, "which of two sizes is larger") is not None:
        a, b = symbols.resolve(a), symbols.resolve(b)
        sign = symbols.sign(a - b)
    if sign is None:
        raise UnsupportedError(
            f"{node.where}: which of {symbols.text(a)} and {symbols.text(b)} is larger depends on sizes at run time"
        )
    return a if sign >= 0 else b


def _logic(a: Any, b: Any, absorbing: bool) -> Any:
    for left, right in ((a, b), (b, a)):
        if not isinstance(left, Undecided):
            return absorbing if bool(left) is absorbing else right
    return a if a == b else _undecidable()


def _undecidable() -> Any:
    raise UnsupportedError("a condition that depends on two sizes at run time is not supported")


def decide(condition: Undecided, symbols: Symbols) -> bool | None:
    """A comparison at the sizes that the file fixes, which become exact; None where a size is free."""
    difference = condition.left - condition.right
    symbols.pin(difference, f"the condition {condition}")
    sign = symbols.sign(difference)
    if sign is None:
        return None
    holds = {"equal": sign == 0, "less": sign < 0, "greater": sign > 0}[condition.relation]
    return holds != condition.negated


def _choose(condition: Any, a: Any, b: Any, symbols: Symbols) -> Any:
    if isinstance(condition, Undecided):
        if symbols.resolve(a) == symbols.resolve(b):
            return a
        decided = decide(condition, symbols)
        if decided is None:
            raise UnsupportedError(f"whether {condition} depends on sizes at run time")
        condition = decided
    return a if condition else b
