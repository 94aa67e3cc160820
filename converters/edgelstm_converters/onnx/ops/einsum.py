"""Einsum of one or two values: sums, transposes and one product."""

from __future__ import annotations

import string
from collections.abc import Sequence

from edgelstm.errors import FormatError
from edgelstm.graph.dims import Dim, product
from edgelstm_converters.onnx.node import OnnxNode
from edgelstm_converters.onnx.registry import Result, handles
from edgelstm_converters.onnx.values import Known, Value, known, write_out


@handles("Einsum", since=12)
def einsum(node: OnnxNode) -> Result:
    """Values multiplied along named axes and summed over those that the result does not name."""
    values = [node.input(index) for index in range(len(node.inputs))]
    terms, result = _parse(node, node.attrs.text("equation"), [node.rank(value) for value in values])
    if not all(node.is_float(value) for value in values):
        raise node.refuse("expected float32 inputs")
    parts = list(zip(values, terms, strict=True))
    while len(parts) > 1:
        (a, left), (b, right) = parts[:2]
        later = {label for _, term in parts[2:] for label in term}
        keep = later | set(result)
        parts[:2] = [_product(node, a, left, b, right, keep)]
    value, term = parts[0]
    value, term = _summed(node, value, term, set(result))
    return node.transpose(value, [term.index(label) for label in result])


def _parse(node: OnnxNode, equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """One string of labels an input, and that of the result; an ellipsis becomes labels of its own."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks) or not set(left + right) <= set(string.ascii_letters + ",."):
        raise FormatError(f"{node.where}: equation={equation!r} does not fit {len(ranks)} inputs")
    spare = [label for label in string.ascii_letters if label not in left + right]
    widths = [
        rank - len(term.replace("...", "")) if "..." in term else 0 for term, rank in zip(terms, ranks, strict=True)
    ]
    widest = max(widths, default=0)
    if min(widths, default=0) < 0 or widest > len(spare):
        raise FormatError(f"{node.where}: equation={equation!r} names more axes than its inputs have")
    dots = "".join(spare[:widest])
    full = [
        term.replace("...", dots[widest - width :] if width else "") for term, width in zip(terms, widths, strict=True)
    ]
    if arrow:
        result = right.replace("...", dots)
    else:
        joined = "".join(full)
        result = dots + "".join(sorted(label for label in set(joined) - set(dots) if joined.count(label) == 1))
    for term, rank in zip(full, ranks, strict=True):
        if len(term) != rank or "." in term:
            raise FormatError(f"{node.where}: equation={equation!r}: {term!r} names {len(term)} axes of {rank}")
        if len(set(term)) < len(term):
            raise node.refuse(f"equation={equation!r}: a diagonal ({term!r}) is not supported")
    if len(set(result)) < len(result) or not set(result) <= set("".join(full)):
        raise FormatError(f"{node.where}: equation={equation!r}: the result {result!r} does not follow")
    return full, result


def _summed(node: OnnxNode, value: Value, term: str, keep: set[str]) -> tuple[Value, str]:
    """The value without the axes that nobody needs."""
    axes = tuple(axis for axis, label in enumerate(term) if label not in keep)
    if not axes:
        return value, term
    return node.emit("reduce_sum", value, axes=axes, keepdims=0), "".join(label for label in term if label in keep)


def _product(node: OnnxNode, a: Value, left: str, b: Value, right: str, keep: set[str]) -> tuple[Value, str]:
    """Two values as one, with the axes in `keep` that they have: shared first, then a's, then b's."""
    a, left = _summed(node, a, left, keep | set(right))
    b, right = _summed(node, b, right, keep | set(left))
    shared = [label for label in left if label in right and label in keep]
    summed = [label for label in left if label in right and label not in keep]
    mine = [label for label in left if label not in right]
    theirs = [label for label in right if label not in left]
    term = "".join((*shared, *mine, *theirs))
    if not summed:
        a = _lined_up(node, a, left, [*shared, *mine], len(theirs))
        b = node.transpose(b, [right.index(label) for label in (*shared, *theirs)])
        dims = list(node.shape(b))
        b = node.reshape(b, [*dims[: len(shared)], *[1] * len(mine), *dims[len(shared) :]])
        return node.emit("mul", a, b), term
    sizes = {label: node.shape(a)[left.index(label)] for label in left}
    sizes |= {label: node.shape(b)[right.index(label)] for label in right if sizes.get(label, 1) == 1}
    rows = node.transpose(a, [left.index(label) for label in (*shared, *mine, *summed)])
    width = product([sizes[label] for label in summed])
    if (w := _matrix(node, b, right, shared, summed, theirs)) is not None:
        rows = node.reshape(rows, [*[sizes[label] for label in mine], width] if mine else [1, width])
        total = node.emit("linear", rows, w)
        return node.reshape(total, [sizes[label] for label in (*mine, *theirs)]), term
    count = len(shared)
    rows = node.reshape(rows, [*node.shape(rows)[:count], _many(sizes, mine), width])
    columns = node.transpose(b, [right.index(label) for label in (*shared, *summed, *theirs)])
    columns = node.reshape(columns, [*node.shape(columns)[:count], width, _many(sizes, theirs)])
    total = node.emit("matmul", rows, columns)
    return node.reshape(total, [sizes[label] for label in term]), term


def _many(sizes: dict[str, Dim], labels: Sequence[str]) -> Dim:
    return product([sizes[label] for label in labels])


def _lined_up(node: OnnxNode, value: Value, term: str, order: Sequence[str], more: int) -> Value:
    moved = node.transpose(value, [term.index(label) for label in order])
    return node.reshape(moved, [*node.shape(moved), *[1] * more])


def _matrix(
    node: OnnxNode, b: Value, right: str, shared: Sequence[str], summed: Sequence[str], theirs: Sequence[str]
) -> Value | None:
    """A constant that shares no axis with the result's front, as the weights of a linear layer."""
    if shared or not isinstance(b, Known):
        return None
    array = write_out(b, node.symbols)
    if array is None:
        return None
    moved = array.transpose([right.index(label) for label in (*theirs, *summed)])
    rows = 1
    for label in theirs:
        rows *= array.shape[right.index(label)]
    return known(moved.reshape(rows, -1).copy(), b.name)
