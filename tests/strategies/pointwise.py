"""Makers of pointwise operators."""

from __future__ import annotations

from edgelstm.graph.dims import Expr
from tests.strategies.builder import (
    INTEGERS,
    Builder,
    RejectError,
    Value,
)

ALPHA = ("affine", "leaky_relu", "thresholded_relu", "scaled_tanh", "hard_sigmoid", "elu")
BETA = ("affine", "scaled_tanh", "hard_sigmoid")


def make_sigmoid_like(low, high, slope=1.0):
    return lambda b, op: b.apply(op, b.floats(), low, high, slope)


def make_bounded(b: Builder, op: str) -> None:
    x = b.floats()
    if op in ("relu", "identity", "abs"):
        low, high = max(0.0, x.low) if op != "identity" else x.low, x.size
        b.node(op, [x], low, high, x.error, x.same)
    else:
        b.apply(op, x, *{"softsign": (-1, 1), "softplus": (0.0, x.size + 0.7), "erf": (-1, 1)}[op], 1.2)


def make_with_parameters(b: Builder, op: str) -> None:
    x = b.floats()
    default = b.chance(0.2)
    alpha = b.number(0.1, 1.2)
    attrs = {} if default else {"alpha": alpha}
    alpha = {"leaky_relu": 0.01, "hard_sigmoid": 0.2}.get(op, 1.0) if default else alpha
    beta = {"hard_sigmoid": 0.5, "scaled_tanh": 1.0}.get(op, 0.0)
    if op in BETA and not default:
        beta = attrs["beta"] = b.number(0.1, 1.5)
    if op == "affine" and not default and b.chance(0.3):
        alpha = attrs["alpha"] = -alpha
    match op:
        case "affine":
            ends = sorted((alpha * x.low + beta, alpha * x.high + beta))
            b.apply(op, x, *ends, abs(alpha), **attrs)
        case "thresholded_relu":
            x = b.floats(lambda v: v.same)
            b.node(op, [x], min(0.0, x.low), max(0.0, x.high), 0.0, True, **attrs)
        case "scaled_tanh":
            b.apply(op, x, -alpha, alpha, alpha * beta, **attrs)
        case "hard_sigmoid":
            b.apply(op, x, 0.0, 1.0, alpha, **attrs)
        case _:
            b.apply(op, x, min(x.low, -alpha), max(0.0, x.high), max(1.0, alpha), **attrs)


def make_exp(b: Builder, op: str) -> None:
    x = b.bring(b.floats(), -3.0, 1.5)
    b.apply(op, x, 0.0, 4.5, 4.5)


def make_root(b: Builder, op: str) -> None:
    x = b.bring(b.floats(), 0.7, 2.0)
    slope, low, high = {"log": (1.5, -0.4, 0.7), "sqrt": (0.6, 0.8, 1.5), "reciprocal": (2.1, 0.5, 1.5)}[op]
    b.apply(op, x, low, high, slope)


def make_signed(b: Builder, op: str) -> None:
    x = b.any_number()
    ends = (-x.high, -x.low) if op == "neg" else (0.0, x.size)
    if x.dtype == "uint8":
        ends = (0, 255)
    b.node(op, [x], *ends, x.error, x.same)


def make_not(b: Builder, op: str) -> None:
    b.node(op, [a_bool(b)], 0, 1)


def make_identity(b: Builder, op: str) -> None:
    x = b.pick()
    b.node(op, [x], x.low, x.high, x.error, x.same)


def make_cast(b: Builder, op: str) -> None:
    to = b.choose(["float32", *INTEGERS, "bool"])
    x = b.pick(lambda v: v.same and (v.dtype == "float32" or v.size <= 8 or to != "float32"))
    low, high = (0, 255) if to == "uint8" else (min(x.low, 0), max(x.high, 1))
    b.node(op, [x], low, high, same=True, to=to)


def a_bool(b: Builder) -> Value:
    found = [v for v in b.values if v.dtype == "bool"]
    if found and b.chance(0.7):
        return b.choose(found)
    x = b.floats(lambda v: v.same)
    return b.node(b.choose(["less", "greater"]), [x, b.constant("float32", ())], 0, 1)


def partner(b: Builder, a: Value, wanted=lambda v: True, low=-2.0, high=2.0) -> Value:
    """Something to broadcast with a: another value, a again, or a constant."""
    if b.chance(0.55):
        others = [v for v in b.values if v.dtype == a.dtype and wanted(v) and broadcasts(a, v)]
        if others:
            return b.choose(others)
    rank = b.integer(0, len(a.shape))
    tail = a.shape[len(a.shape) - rank :]
    shape = tuple(1 if isinstance(dim, Expr) or b.chance(0.2) else dim for dim in tail)
    if a.dtype in INTEGERS:
        low, high = (0 if a.dtype == "uint8" else low), high + 4
    return b.constant(a.dtype, shape, low, high)


def broadcasts(a: Value, v: Value) -> bool:
    return all(p in (q, 1) or q == 1 for p, q in zip(a.shape[::-1], v.shape[::-1], strict=False))


def corners(function, a: Value, c: Value) -> tuple[float, float]:
    ends = [function(p, q) for p in (a.low, a.high) for q in (c.low, c.high)]
    return min(ends), max(ends)


def make_arithmetic(b: Builder, op: str) -> None:
    a = b.any_number()
    c = partner(b, a)
    if b.chance(0.5):
        a, c = c, a
    function = {"add": lambda p, q: p + q, "sub": lambda p, q: p - q, "mul": lambda p, q: p * q}[op]
    low, high = corners(function, a, c)
    error = a.error + c.error if op != "mul" else a.error * c.size + c.error * a.size
    b.node(op, [a, c], low, high, error + max(abs(low), abs(high)))


def make_div(b: Builder, op: str) -> None:
    a = b.any_number()
    if a.dtype == "float32":
        c = b.bring(partner(b, a, low=0.7), 0.7, 2.0)
        high = a.size / 0.7
        b.node(op, [a, c], -high, high, a.error / 0.7 + 2.1 * a.size * c.error + high)
        return
    c = partner(b, a, lambda v: v.low > 0 or v.high < 0, 1, 3)
    if c.low <= 0 <= c.high:
        raise RejectError
    b.node(op, [a, c], -a.size, a.size)


def make_pow(b: Builder, op: str) -> None:
    a = b.bring(b.floats(), 0.7, 1.6)
    c = b.bring(partner(b, a), -1.0, 1.0)
    b.node(op, [a, c], 0.6, 1.6, 2.1 * a.error + 0.8 * c.error + 3)


def make_extreme(b: Builder, op: str) -> None:
    a = b.any_number()
    c = partner(b, a)
    pair = max if op == "maximum" else min
    b.node(op, [a, c], pair(a.low, c.low), pair(a.high, c.high), max(a.error, c.error), a.same and c.same)


def make_comparison(b: Builder, op: str) -> None:
    a = b.pick(lambda v: v.same and (op == "equal" or v.dtype != "bool"))
    b.node(op, [a, partner(b, a, lambda v: v.same)], 0, 1)


def make_logic(b: Builder, op: str) -> None:
    a = a_bool(b)
    b.node(op, [a, partner(b, a)], 0, 1)


def make_where(b: Builder, op: str) -> None:
    condition = a_bool(b)
    likely = [v for v in b.values if broadcasts(condition, v)]
    a = b.choose(likely)
    c = partner(b, a, lambda v: broadcasts(condition, v))
    b.node(op, [condition, a, c], min(a.low, c.low), max(a.high, c.high), max(a.error, c.error), a.same and c.same)


def make_rounded(b: Builder, op: str) -> None:
    x = b.floats(lambda v: v.same)
    b.node(op, [x], x.low - 1, x.high + 1, 0.0, True)
