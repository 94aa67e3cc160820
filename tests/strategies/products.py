"""Makers of products, convolutions and pooling."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from edgelstm.graph.dims import Dim, Expr
from tests.strategies.builder import (
    LONGEST,
    Builder,
    RejectError,
    Value,
)


def make_linear(b: Builder, op: str) -> None:
    x = b.floats(lambda v: v.shape and not isinstance(v.shape[-1], Expr))
    b.choose([linear])(b, x, b.integer(1, 18))


def linear(b: Builder, x: Value, width: int) -> Value:
    w = b.given(weight(b, (width, x.shape[-1]), 1.5))
    bias = b.constant("float32", (width,), -0.5, 0.5) if b.chance(0.7) else None
    high = 1.5 * x.size + 0.5
    return b.node("linear", [x, w, bias], -high, high, 1.5 * x.error + 4 + high)


def weight(b: Builder, shape: tuple[int, ...], norm: float) -> np.ndarray:
    """Rows whose absolute values sum to at most `norm`."""
    array = b.rng.normal(size=shape)
    return (array * norm / np.maximum(np.abs(array).sum(axis=-1, keepdims=True), 1e-6)).astype(np.float32)


def make_matmul(b: Builder, op: str) -> None:
    a = b.floats(lambda v: v.shape)
    inner = a.shape[-1]
    fits = [
        v
        for v in b.values
        if v.dtype == "float32" and v.shape and (v.shape[-2] if len(v.shape) > 1 else v.shape[0]) == inner
    ]
    if fits and b.chance(0.6):
        c = b.choose(fits)
    elif isinstance(inner, Expr):
        raise RejectError
    else:
        c = b.constant("float32", b.choose([(inner,), (inner, 3), (2, inner, 4), (1, inner, 17)]), -1.0, 1.0)
    count = LONGEST if isinstance(inner, Expr) else inner
    if count * a.size * c.size > 8:
        a = b.apply("affine", a, -1.0, 1.0, 1.0 / a.size, alpha=1.0 / max(a.size, 1.0))
        c = b.apply("affine", c, -1.0, 1.0, 1.0 / c.size, alpha=1.0 / max(c.size, 1.0))
    high = count * a.size * c.size
    b.node(op, [a, c], -high, high, count * (a.error * c.size + c.error * a.size) + high / 2 + 2)


def image(b: Builder) -> Value:
    """A float value with axes (N, C, L) or (N, C, H, W), C known."""
    found = [v for v in b.values if v.dtype == "float32" and len(v.shape) in (3, 4) and isinstance(v.shape[1], int)]
    if found and b.chance(0.7):
        return b.choose(found)
    x = b.floats(lambda v: len(v.shape) >= 3 and isinstance(v.shape[-1], int))
    if len(x.shape) == 3 and b.chance(0.6):
        order = (b.choose([(0, 2, 1), (1, 2, 0)]),)[0]
        return b.node("transpose", [x], x.low, x.high, x.error, x.same, perm=order)
    spread = (*x.shape[:-1], 1, x.shape[-1])
    x = b.node("reshape", [x], x.low, x.high, x.error, x.same, shape=spread)
    if len(x.shape) != 4:
        raise RejectError
    return b.node("transpose", [x], x.low, x.high, x.error, x.same, perm=b.choose([(0, 3, 1, 2), (1, 2, 0, 3)]))


def window(b: Builder, lengths: tuple[Dim, ...], pooled: bool) -> tuple[tuple[int, ...], dict[str, Any]]:
    kernel, strides, dilations, front, back = [], [], [], [], []
    for length in lengths:
        k = b.integer(1, 3)
        d = 1 if pooled and b.chance(0.6) else b.integer(1, 2)
        if b.streamable and isinstance(length, Expr):
            k = d = 1
        room = d * (k - 1)
        p, q = (b.integer(0, room), b.integer(0, room)) if not (pooled and d > 1) else (0, 0)
        if isinstance(length, Expr) and p + q < room:
            p, q = (room, q) if not (pooled and d > 1) else (p, q)
        smallest = 1 if isinstance(length, Expr) else length
        if smallest + p + q - room - 1 < 0:
            raise RejectError
        kernel.append(k)
        dilations.append(d)
        front.append(p)
        back.append(q)
        strides.append(1 if b.streamable and isinstance(length, Expr) else b.integer(1, 2))
    return tuple(kernel), {
        "strides": tuple(strides),
        "pads": (*front, *back),
        "dilations": tuple(dilations),
    }


def make_conv(b: Builder, op: str) -> None:
    x = image(b)
    channels = x.shape[1]
    group = b.choose([g for g in (1, 2, 3, channels) if channels % g == 0])
    kernel, attrs = window(b, x.shape[2:], pooled=False)
    out = group * b.choose([1, 2, 3, 17 if group == 1 else 2])
    shape = (out, channels // group, *kernel)
    flat = weight(b, (out, prod(shape[1:])), 1.5)
    w = b.given(flat.reshape(shape))
    bias = b.constant("float32", (out,), -0.5, 0.5) if b.chance(0.6) else None
    high = 1.5 * x.size + 0.5
    if group == 1 and b.chance(0.5):
        del attrs["strides"]
        attrs["strides"] = (1,) * len(kernel)
    b.node(op, [x, w, bias], -high, high, 1.5 * x.error + 4 + high, **attrs, group=group)


def make_pool(b: Builder, op: str) -> None:
    x = image(b)
    kernel, attrs = window(b, x.shape[2:], pooled=True)
    if op == "max_pool":
        b.node(op, [x], x.low, x.high, x.error, x.same, kernel=kernel, **attrs)
        return
    attrs["count_include_pad"] = b.integer(0, 1)
    if attrs["count_include_pad"] == 0 and b.streamable and any(attrs["pads"]):
        raise RejectError
    b.node(op, [x], min(x.low, 0), max(x.high, 0), x.error + 4 + 2 * x.size, kernel=kernel, **attrs)
