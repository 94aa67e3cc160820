"""Sizes and strides: what handlers make of shapes, and what `check` functions make of sizes.

Strides count 32-bit words. An instruction with axes carries exactly `MAX_RANK` of them, outermost
first, missing ones with size 1 and stride 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from edgelstm.errors import UnsupportedError
from edgelstm.program.opcodes import MAX_RANK, Fields, Region

LIMIT = 1 << 31  # no size, stride or pad may reach this: sums of products stay within int64

Axes = tuple[int, ...]


def axis_names(prefix: str, rank: int = MAX_RANK) -> tuple[str, ...]:
    """The fields of one operand's sizes or strides: `n0`, `n1`, ..."""
    return tuple(f"{prefix}{axis}" for axis in range(rank))


def axis_fields(prefix: str, values: Sequence[int], absent: int, rank: int = MAX_RANK) -> dict[str, int]:
    """The values of those fields, right-aligned, `absent` in front."""
    return dict(zip(axis_names(prefix, rank), (*[absent] * (rank - len(values)), *values), strict=True))


def read_axes(fields: Fields, prefix: str, rank: int = MAX_RANK) -> Axes:
    """The inverse of `axis_fields`."""
    return tuple(fields[name] for name in axis_names(prefix, rank))


def compact(sizes: Sequence[int]) -> Axes:
    """Row-major strides of a tensor without gaps."""
    return tuple(prod(sizes[axis + 1 :]) for axis in range(len(sizes)))


def broadcast_strides(shape: Sequence[int], target: Sequence[int]) -> Axes:
    """Strides that read a compact tensor of `shape` as one of `target`: 0 along repeated axes."""
    own = [0 if size == 1 else stride for size, stride in zip(shape, compact(shape), strict=True)]
    return (*[0] * (len(target) - len(shape)), *own)


def is_compact(sizes: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether the strides are those of a compact tensor, axes of size 1 apart."""
    parts = zip(sizes, strides, compact(sizes), strict=True)
    return 0 in sizes or all(size == 1 or mine == wanted for size, mine, wanted in parts)


def collapse(sizes: Sequence[int], *strides: Sequence[int], limit: int = MAX_RANK, where: str = "") -> list[Axes]:
    """The same walk over as few axes as possible: sizes, then each operand's strides.

    Raises:
        UnsupportedError: more than `limit` axes are left.
    """
    kept: list[list[int]] = []  # each: size, then one stride an operand
    for axis, size in enumerate(sizes):
        row = [size, *(own[axis] for own in strides)]
        if size == 1:
            continue
        if kept and all(outer == inner * size for outer, inner in zip(kept[-1][1:], row[1:], strict=True)):
            kept[-1] = [kept[-1][0] * size, *row[1:]]
        else:
            kept.append(row)
    if len(kept) > limit:
        raise UnsupportedError(
            f"{where}: walks {len(kept)} axes that cannot be merged, shape {tuple(sizes)}: at most {limit} are handled;"
            " reshape the tensor to fewer axes"
        )
    columns = list(zip(*kept, strict=True)) if kept else [()] * (1 + len(strides))
    return [tuple(column) for column in columns]


def sizes(fields: Fields, *names: str, least: int = 1) -> list[int]:
    """Fields that are sizes.

    Raises:
        ValueError: one is below `least` or absurdly large.
    """
    for name in names:
        if not least <= fields[name] < LIMIT:
            raise ValueError(f"{name} is {fields[name]}: expected {least} to {LIMIT - 1}")
    return [fields[name] for name in names]


def flag(fields: Fields, *names: str) -> None:
    """Fields that are 0 or 1.

    Raises:
        ValueError: one is neither.
    """
    for name in names:
        if fields[name] not in (0, 1):
            raise ValueError(f"{name} is {fields[name]}: expected 0 or 1")


def region(operand: int, words: int, write: bool = False) -> Region:
    """A region that starts at an operand.

    Raises:
        ValueError: the operand is absent or names no arena.
    """
    if operand < 0 or operand & 3 == 3:
        raise ValueError(f"{operand} is not an operand")
    return Region(operand, words, write)


def walked(operand: int, sizes: Sequence[int], strides: Sequence[int]) -> Region:
    """Every word between the lowest and the highest that a strided read touches.

    Raises:
        ValueError: the walk starts before its arena, or the operand is absent.
    """
    steps = [(size - 1) * stride for size, stride in zip(sizes, strides, strict=True)]
    low, high = sum(step for step in steps if step < 0), sum(step for step in steps if step > 0)
    first = region(operand, high - low + 1)
    if (operand >> 2) + low < 0:
        raise ValueError(f"a walk starts {-low} words before its operand, which is word {operand >> 2} of its arena")
    return Region(operand + 4 * low, first.words)


def walked_once(operand: int, sizes: Sequence[int], strides: Sequence[int]) -> Region:
    """As `walked`, for a write. No word may be written twice: so the work is bounded by the region.

    Raises:
        ValueError: two positions might fall on one word.
    """
    span = 1
    for stride, size in sorted((abs(stride), size) for size, stride in zip(sizes, strides, strict=True) if size > 1):
        if stride < span:
            raise ValueError(f"a write of sizes {tuple(sizes)} with strides {tuple(strides)} falls on itself")
        span += stride * (size - 1)
    touched = walked(operand, sizes, strides)
    return Region(touched.operand, touched.words, write=True)
