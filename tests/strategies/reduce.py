"""Makers of reductions, softmax and normalization."""

from __future__ import annotations

from math import prod

import numpy as np

from edgelstm.graph.dims import Expr
from tests.strategies.builder import (
    INTEGERS,
    LONGEST,
    Builder,
    RejectError,
    Value,
    signed_axis,
)


def make_softmax(b: Builder, op: str) -> None:
    x = b.floats(lambda v: v.shape)
    axis = b.integer(0, len(x.shape) - 1)
    attrs = {} if axis == len(x.shape) - 1 and b.chance(0.3) else {"axis": signed_axis(b, axis, len(x.shape))}
    if op == "softmax":
        b.apply(op, x, 0.0, 1.0, **attrs)
    else:
        b.apply(op, x, x.low - x.high - 3.0, 0.0, 2.0, **attrs)


def reduced_axes(b: Builder, x: Value) -> tuple[int, ...]:
    axes = [axis for axis in range(len(x.shape)) if b.chance(0.5)] or [b.integer(0, len(x.shape) - 1)]
    if b.streamable and x.clock.axis is not None:
        axes = [axis for axis in axes if axis != x.clock.axis]
    if not axes:
        raise RejectError
    return tuple(signed_axis(b, axis, len(x.shape)) for axis in axes)


def make_reduce(b: Builder, op: str) -> None:
    kinds = ("float32",) if op == "reduce_mean" else ("float32", *INTEGERS)
    x = b.any_number(lambda v: v.shape and v.dtype in kinds)
    axes = reduced_axes(b, x)
    count = prod(LONGEST if isinstance(x.shape[axis], Expr) else x.shape[axis] for axis in axes)
    attrs = {"axes": axes, "keepdims": b.integer(0, 1)}
    if op in ("reduce_max", "reduce_min"):
        b.node(op, [x], x.low, x.high, x.error, x.same, **attrs)
    elif op == "reduce_mean":
        b.apply(op, x, x.low, x.high, **attrs)
    elif op == "reduce_sum":
        if x.dtype == "float32" and count * x.size > 8:
            x = b.apply("affine", x, -8.0 / count, 8.0 / count, 4.0 / count, alpha=4.0 / count / max(1, x.size))
        b.node(op, [x], count * min(x.low, 0), count * max(x.high, 0), count * x.error + 4, **attrs)
    elif x.dtype == "float32":
        if count > 32:
            raise RejectError
        x = b.bring(x, 0.9, 1.05) if b.chance(0.5) else b.bring(x, -1.0, 1.0)
        b.node(op, [x], -(1.05**count), 1.05**count, min(count, 6) * 1.3 * (x.error + 1), **attrs)
    else:
        largest = float(max(x.size, 1)) ** min(count, 64)
        b.node(op, [x], -largest, largest, **attrs)


def make_argmax(b: Builder, op: str) -> None:
    x = b.any_number(lambda v: v.shape and v.same)
    axis = b.integer(0, len(x.shape) - 1)
    size = LONGEST if isinstance(x.shape[axis], Expr) else x.shape[axis]
    more = {"axis": signed_axis(b, axis, len(x.shape)), "keepdims": b.integer(0, 1), "select_last": b.integer(0, 1)}
    b.node(op, [x], 0, size - 1, **more)


def make_layer_norm(b: Builder, op: str) -> None:
    x = b.floats(lambda v: v.shape and not isinstance(v.shape[-1], Expr))
    rank = len(x.shape)
    axis = rank - 1
    if rank > 1 and not isinstance(x.shape[-2], Expr) and b.chance(0.4):
        axis = rank - 2
    tail = x.shape[axis:]
    x = x if x.fresh else b.bring(x, -1.5, 1.5)
    scale = b.constant("float32", tail, 0.3, 1.2)
    bias = b.constant("float32", tail, -0.5, 0.5) if b.chance(0.6) else None
    sizes = [0.5, 1.0] + [1e-5] * (x.fresh and prod(tail) > 5)
    epsilon = float(np.float32(b.choose(sizes)))
    attrs = {"axis": signed_axis(b, axis, rank), "epsilon": 1e-5 if epsilon < 1e-4 else epsilon}
    if axis == rank - 1 and b.chance(0.3):
        del attrs["axis"]
    b.node(op, [x, scale, bias], -4.5, 4.5, 2.5 * x.error + 6, **attrs)
