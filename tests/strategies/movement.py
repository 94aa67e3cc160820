"""Makers of operators that move values."""

from __future__ import annotations

from edgelstm.graph.dims import Expr
from tests.clocks import STILL
from tests.strategies.builder import (
    INTEGERS,
    B,
    Builder,
    RejectError,
    T,
    lengths_of,
    moved,
    signed_axis,
)


def make_arange(b: Builder, op: str) -> None:
    size = b.choose([1, 2, 5] if b.streamable else [1, 2, 5, T])
    b.node(op, [], 0, 32, shape=(size,))


def make_reshape(b: Builder, op: str) -> None:
    x = b.pick()
    shape = list(x.shape)
    for _ in range(b.integer(1, 2)):
        place = b.integer(0, len(shape))
        match b.integer(0, 3):
            case 0:
                shape.insert(place, 1)
            case 1 if 1 in shape:
                shape.remove(1)
            case 2 if place + 1 < len(shape):
                shape[place : place + 2] = [shape[place] * shape[place + 1]]
            case 3 if place < len(shape) and isinstance(shape[place], int):
                factors = [f for f in range(2, shape[place] + 1) if shape[place] % f == 0]
                if factors:
                    factor = b.choose(factors)
                    shape[place : place + 1] = [factor, shape[place] // factor]
    moved(b, op, x, shape=tuple(shape))


def make_expect(b: Builder, op: str) -> None:
    x = b.pick(lambda v: v.shape)
    size = b.choose([dim for dim in x.shape if not (b.streamable and isinstance(dim, Expr))])
    moved(b, op, x, given=(size,), wanted=(size,))


def make_transpose(b: Builder, op: str) -> None:
    x = b.pick(lambda v: len(v.shape) > 1)
    moved(b, op, x, perm=tuple(int(axis) for axis in b.rng.permutation(len(x.shape))))


def make_slice(b: Builder, op: str) -> None:
    x = b.pick(lambda v: v.shape)
    axes, starts, stops, steps = [], [], [], []
    for axis, dim in enumerate(x.shape):
        if b.chance(0.5) and len(x.shape) > 1:
            continue
        if isinstance(dim, Expr):
            options = [(0, dim, 1), (dim - 1, dim, 1), (dim - 1, -1, -1), (0, dim, 2), (0, 1, 1)]
            start, stop, step = b.choose(options[: 2 if b.streamable and b.chance(0.9) else 5])
        elif b.chance(0.3):
            start = b.integer(0, dim - 1)
            stop, step = b.integer(-1, start - 1), b.choose([-1, -2])
        else:
            start = b.integer(0, dim - 1)
            stop, step = b.integer(start + 1, dim), b.choose([1, 1, 2])
        axes.append(signed_axis(b, axis, len(x.shape)))
        starts.append(start)
        stops.append(stop)
        steps.append(step)
    if not axes:
        raise RejectError
    moved(b, op, x, axes=tuple(axes), starts=tuple(starts), stops=tuple(stops), steps=tuple(steps))


def make_concat(b: Builder, op: str) -> None:
    x = b.pick(lambda v: v.shape)
    axis = b.integer(0, len(x.shape) - 1)

    def joins(v):
        if v.dtype != x.dtype or len(v.shape) != len(x.shape):
            return False
        return all(p == q for k, (p, q) in enumerate(zip(v.shape, x.shape, strict=True)) if k != axis)

    parts = [x] + [b.pick(joins) for _ in range(b.integer(0, 2))]
    if not any(isinstance(dim, Expr) for dim in x.shape) and b.chance(0.3):
        parts.append(b.constant(x.dtype, x.shape, 0, 2))
    low, high = min(v.low for v in parts), max(v.high for v in parts)
    same = all(v.same for v in parts)
    b.node(op, parts, low, high, max(v.error for v in parts), same, axis=signed_axis(b, axis, len(x.shape)))


def make_broadcast(b: Builder, op: str) -> None:
    x = b.pick()
    shape = [b.choose([1, 2, 3, B if b.chance(0.3) else 2]) if dim == 1 else dim for dim in x.shape]
    if b.chance(0.4):
        shape.insert(0, b.choose([1, 2, 3]))
    if b.streamable and x.clock == STILL and b.rests_on_input(x.name) and b.chance(0.3):
        shape.insert(0, T)
    moved(b, op, x, shape=tuple(shape))


def make_pad(b: Builder, op: str) -> None:
    x = b.pick(lambda v: v.shape)
    mode = b.choose(["constant", "reflect", "edge"])
    front, back = [], []
    for dim in x.shape:
        most = min(2, dim - 1 if mode == "reflect" else 2) if isinstance(dim, int) else int(mode != "reflect")
        if b.streamable and isinstance(dim, Expr):
            most = 0
        for side in (front, back):
            side.append(b.integer(0, most) if b.chance(0.6) else 0)
    attrs = {} if mode == "constant" and b.chance(0.3) else {"mode": mode, "value": float(b.integer(0, 1))}
    moved(b, op, x, min(x.low, 0), max(x.high, 1), pads=(*front, *back), **attrs)


def make_reverse_sequence(b: Builder, op: str) -> None:
    x = b.pick(lambda v: len(v.shape) > 1 and set(v.shape[:2]) == {T, B})
    batch = int(x.shape[1] == B)
    b.node(op, [x, lengths_of(b)], x.low, x.high, x.error, x.same, batch_axis=batch, time_axis=1 - batch)


def make_gather(b: Builder, op: str) -> None:
    if b.chance(0.5):
        indices = b.pick(lambda v: v.dtype in INTEGERS and v.size <= 40)
        count = int(max(indices.high + 1, -indices.low, 1))
        dtype = b.choose(["float32", "float32", "int32", "bool"])
        rank = b.integer(1, 3)
        axis = b.integer(0, rank - 1)
        shape = [b.integer(1, 5) for _ in range(rank)]
        shape[axis] = count + b.integer(0, 2)
        table = b.constant(dtype, tuple(shape), 0 if dtype == "bool" else -2, 2)
    else:
        table = b.pick(lambda v: any(isinstance(dim, int) for dim in v.shape))
        rank = len(table.shape)
        axis = b.choose([k for k, dim in enumerate(table.shape) if isinstance(dim, int)])
        size = table.shape[axis]
        indices = b.constant(b.choose(["int64", "int32"]), b.choose([(), (1,), (2,), (2, 2)]), -size, size - 1)
    attrs = {} if axis == 0 and b.chance(0.3) else {"axis": signed_axis(b, axis, rank)}
    b.node(op, [table, indices], table.low, table.high, table.error, table.same, **attrs)


def make_put(b: Builder, op: str) -> None:
    x = b.pick(lambda v: v.shape)
    axis = b.choose([k for k, dim in enumerate(x.shape) if isinstance(dim, int)])
    shape = tuple(1 if k == axis else dim for k, dim in enumerate(x.shape))
    found = [v for v in b.values if v.dtype == x.dtype and v.shape == shape]
    if found:
        value = b.choose(found)
    elif any(isinstance(dim, Expr) for dim in shape):
        raise RejectError
    else:
        value = b.constant(x.dtype, shape, 0, 1)
    index = b.constant(b.choose(["int64", "int32"]), (1,), 0, x.shape[axis] - 1)
    low, high = min(x.low, value.low), max(x.high, value.high)
    error, same = max(x.error, value.error), x.same and value.same
    b.node(op, [x, value, index], low, high, error, same, axis=signed_axis(b, axis, len(x.shape)))
