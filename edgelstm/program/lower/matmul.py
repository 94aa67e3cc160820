"""Products of two run-time matrices, batched with NumPy broadcasting."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from edgelstm.graph.ir import Node
from edgelstm.program.lower.strides import (
    axis_fields,
    axis_names,
    broadcast_strides,
    collapse,
    read_axes,
    region,
    sizes,
    walked,
)
from edgelstm.program.opcodes import Fields, Opcode, Region

if TYPE_CHECKING:
    from edgelstm.program.lowering import Lowering

BATCH_AXES = 4


def _check(fields: Fields) -> list[Region]:
    m, n = sizes(fields, "m", "n")
    (k,) = sizes(fields, "k", least=0)
    batch = sizes(fields, *axis_names("n", BATCH_AXES))
    regions = [region(fields["y"], prod(batch) * m * n, write=True)]
    for name, words in (("a", m * k), ("b", k * n)):
        span = walked(fields[name], batch, read_axes(fields, name, BATCH_AXES))
        if words:
            regions.append(Region(span.operand, span.words + words - 1))
    return regions


# y[..., i, j] = sum over k ascending of a[..., i, k] * b[..., k, j]; matrices compact, the axes before them strided
MATMUL = Opcode(
    5,
    "matmul",
    (
        "a",
        "b",
        "y",
        "m",
        "n",
        "k",
        *axis_names("n", BATCH_AXES),
        *axis_names("a", BATCH_AXES),
        *axis_names("b", BATCH_AXES),
    ),
    _check,
    ("a", "b", "y"),
)


def lower_matmul(node: Node, to: Lowering) -> None:
    """NumPy's matmul; one matrix b for all of a is a single product of more rows."""
    a, b = node.inputs
    left, right = to.shape(a), to.shape(b)
    left, right = left if len(left) > 1 else (1, *left), right if len(right) > 1 else (*right, 1)
    operands = {"a": to.operand(a), "b": to.operand(b), "y": to.result(node.outputs[0])}
    shape = to.shape(node.outputs[0])
    if not prod(shape):
        return
    m, k, n = left[-2], left[-1], right[-1]
    batch = tuple(
        max(own) if min(own) else 0
        for own in zip(*(_aligned(side[:-2], max(len(left), len(right)) - 2) for side in (left, right)), strict=True)
    )
    walk_a = [stride * m * k for stride in broadcast_strides(left[:-2], batch)]
    walk_b = [stride * k * n for stride in broadcast_strides(right[:-2], batch)]
    if prod(right[:-2]) == 1 and left[:-2] == batch[len(batch) - len(left) + 2 :]:
        m, batch, walk_a, walk_b = m * prod(batch), (), [], []
    lengths, *walks = collapse(batch, walk_a, walk_b, limit=BATCH_AXES, where=node.where)
    axes = {
        **axis_fields("n", lengths, 1, BATCH_AXES),
        **axis_fields("a", walks[0], 0, BATCH_AXES),
        **axis_fields("b", walks[1], 0, BATCH_AXES),
    }
    to.emit(MATMUL, **operands, m=m, n=n, k=k, **axes)


def _aligned(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    return (*[1] * (rank - len(shape)), *shape)


OPCODES = (MATMUL,)
LOWER = {"matmul": lower_matmul}
