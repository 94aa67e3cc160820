"""The shape that Reshape asks for, over sizes that may be symbolic."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from edgelstm.errors import InputError, UnsupportedError
from edgelstm.graph.dims import Dim, exact_div, product, substitute, symbols
from edgelstm_converters.onnx.symbols import Symbols


def solve_shape(table: Symbols, dims: Sequence[Dim], target: Sequence[Dim], allow_zero: bool) -> list[Dim]:
    """The target with 0 (keep) and -1 (the rest) replaced, such that element counts agree for every size.

    Where they only agree at the sizes that the file wrote down, those sizes become exact.

    Args:
        table: learns what the target implies.
        dims: shape of the input.
        target: as the file gives it.
        allow_zero: 0 is a size, not "keep".

    Raises:
        InputError: the counts cannot agree.
        UnsupportedError: they agree for some sizes only.
    """
    shape = [
        dims[axis] if size == 0 and not allow_zero and axis < len(dims) else size for axis, size in enumerate(target)
    ]
    if shape.count(-1) > 1:
        raise InputError(f"the shape {list(target)} has -1 more than once")
    if -1 in shape:
        return _with_rest(table, dims, shape)
    if not _counts_agree(table, dims, shape):
        with suppress(InputError, UnsupportedError):
            _learn(table, list(dims), list(shape))
        table.same(product(dims), product(shape), _what(dims, shape))
    return list(table.shape(tuple(shape)))


def _counts_agree(table: Symbols, dims: Sequence[Dim], shape: Sequence[Dim]) -> bool:
    """Whether the element counts are equal, after learning what that asks for."""
    with suppress(UnsupportedError):
        table.same(product(dims), product(shape), _what(dims, shape))
    return table.resolve(product(dims)) == table.resolve(product(shape))


def _with_rest(table: Symbols, dims: Sequence[Dim], shape: list[Dim]) -> list[Dim]:
    place = shape.index(-1)
    rest = _rest(table, dims, shape)
    if rest is None:
        for fixed in _candidates(table, dims, shape):
            table.pin_names(fixed, _what(dims, shape))
            rest = _rest(table, dims, shape)
            break
    if rest is None:
        after = len(shape) - place - 1
        with suppress(InputError):  # axes that do not line up one by one prove nothing
            _learn(table, list(dims[:place]), shape[:place])
            _learn(table, list(dims[len(dims) - after :]), shape[place + 1 :])
        rest = _rest(table, dims, shape)
    if rest is None:
        raise UnsupportedError(
            f"the shape {_text(table, dims)} cannot become {[str(dim) for dim in shape]} for every size;"
            " export the model with fixed sizes"
        )
    return [*shape[:place], rest, *shape[place + 1 :]]


def _rest(table: Symbols, dims: Sequence[Dim], shape: Sequence[Dim]) -> Dim | None:
    mine, others = _without_equals(table, dims, [dim for dim in shape if dim != -1])
    return exact_div(product(mine), product(others))


def _without_equals(table: Symbols, dims: Sequence[Dim], shape: Sequence[Dim]) -> tuple[list[Dim], list[Dim]]:
    """Both lists without the sizes that stand in either: sums divide by nothing but themselves."""
    mine, others = list(table.shape(tuple(dims))), []
    for dim in table.shape(tuple(shape)):
        if dim in mine:
            mine.remove(dim)
        else:
            others.append(dim)
    return mine, others


def _candidates(table: Symbols, dims: Sequence[Dim], shape: Sequence[Dim]) -> list[tuple[str, ...]]:
    """Sets of fixed symbols whose integers make the division exact; one symbol if one is enough.

    A size that the target itself names comes first: it is the one that the exporter froze.
    """
    total, others = map(product, _without_equals(table, dims, [dim for dim in shape if dim != -1]))
    fixed = [name for name in sorted(symbols(total) | symbols(others)) if name in table.hints]
    fixed.sort(key=lambda name: table.hints[name] not in shape)
    choices = [(name,) for name in fixed] + ([tuple(fixed)] if len(fixed) > 1 else [])
    found = []
    for names in choices:
        sizes: dict[str, Dim] = {name: table.hints[name] for name in names}
        if exact_div(substitute(total, sizes), substitute(others, sizes)) is not None:
            found.append(names)
    return found


def _learn(table: Symbols, dims: list[Dim], shape: list[Dim]) -> None:
    """Where as many axes are left on both sides, they keep their sizes one by one."""
    dims, shape = list(table.shape(tuple(dims))), list(table.shape(tuple(shape)))
    while dims and shape and dims[0] == shape[0]:
        del dims[0], shape[0]
    while dims and shape and dims[-1] == shape[-1]:
        del dims[-1], shape[-1]
    if product(dims) == product(shape) or len(dims) != len(shape):
        return
    for mine, wanted in zip(dims, shape, strict=True):
        table.same(mine, wanted, f"reshaping {_text(table, dims)} to {_text(table, shape)}")


def _what(dims: Sequence[Dim], shape: Sequence[Dim]) -> str:
    return f"the shape ({', '.join(map(str, shape))}) for ({', '.join(map(str, dims))})"


def _text(table: Symbols, dims: Sequence[Dim]) -> str:
    return f"({', '.join(str(table.resolve(dim)) for dim in dims)})"
