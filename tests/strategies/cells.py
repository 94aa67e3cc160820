"""Makers of recurrent cells."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

from edgelstm.graph.ir import TensorType
from edgelstm.graph.ops import ACTIVATIONS
from edgelstm.graph.shapes import GATES
from tests.strategies.builder import (
    STATE_ERROR,
    B,
    Builder,
    T,
    Value,
    lengths_of,
    moved,
)
from tests.strategies.pointwise import ALPHA, BETA
from tests.strategies.products import weight


def sequence(b: Builder) -> Value:
    """A float value (T, B, n)."""
    found = [v for v in b.values if v.dtype == "float32" and v.shape[:2] == (T, B) and known_tail(v) and v.size <= 4]
    if found and b.chance(0.6):
        x = b.choose(found)
    else:
        x = b.floats(lambda v: set(v.shape[:2]) == {T, B} and known_tail(v) and v.size <= 4)
        if x.shape[:2] == (B, T):
            x = moved(b, "transpose", x, perm=(1, 0, *range(2, len(x.shape))))
    if len(x.shape) != 3:
        x = moved(b, "reshape", x, shape=(T, B, prod(x.shape[2:])))
    return x


def known_tail(v: Value) -> bool:
    return all(isinstance(dim, int) for dim in v.shape[2:])


BOUNDED = ("sigmoid", "tanh", "hard_sigmoid", "scaled_tanh", "softsign")
POSITIVE = ("sigmoid", "hard_sigmoid", "relu", "softplus", "thresholded_relu")


def activations(b: Builder, op: str, directions: int, coupled: bool) -> tuple[dict[str, Any], bool]:
    """Names, alphas, betas and clip; every function stays within [-1, 1]. Also whether they are the usual ones."""
    usual = {"rnn": ("tanh",), "gru": ("sigmoid", "tanh"), "lstm": ("sigmoid", "tanh", "tanh")}[op]
    plain = b.chance(0.5)
    names: list[str] = []
    for _ in range(directions):
        for place in range(len(usual)):
            positive = place == 0 and (op == "gru" or coupled)  # 1 - gate must stay within [0, 1], too
            names.append(usual[place] if plain else b.choose(POSITIVE if positive else ACTIVATIONS))
    bounded = all(name in BOUNDED for name in names)
    clip = b.choose([0.0, 0.0, 0.5, 1.0, 3.0]) if bounded else 0.5
    alphas, betas = [], []
    for name in names:
        alpha = beta = 0.0
        if name in ALPHA:
            alpha = b.choose([-6.0, 0.0, 6.0]) if name == "thresholded_relu" else b.number(0.1, 0.9)
        if name in BETA:
            beta = b.number(0.05, 0.5)
        alphas.append(alpha)
        betas.append(beta)
    return {
        "activations": tuple(names),
        "activation_alpha": tuple(alphas),
        "activation_beta": tuple(betas),
        "clip": clip,
    }, plain


def make_cell(b: Builder, op: str) -> None:
    x = sequence(b)
    direction = "forward" if b.streamable else b.choose(["forward", "forward", "reverse", "bidirectional"])
    count = 2 if direction == "bidirectional" else 1
    hidden = b.integer(1, 6) if b.chance(0.7) else b.integer(14, 35)
    coupled = op == "lstm" and b.chance(0.25)
    attrs, plain = activations(b, op, count, coupled)
    attrs |= {"hidden_size": hidden, "direction": direction}
    if op == "gru":
        attrs["linear_before_reset"] = b.integer(0, 1)
    if op == "lstm":
        attrs["input_forget"] = int(coupled)
    project = op == "lstm" and b.chance(0.2)
    out = b.integer(1, 18) if project else hidden
    gates = GATES[op] * hidden
    w = b.given(weight(b, (count, gates, x.shape[2]), 1.2))
    r = b.given(weight(b, (count, gates, out), 0.8 if plain else 0.25))
    bias = b.constant("float32", (count, 2 * gates), -0.25, 0.25) if b.chance(0.75) else None
    lengths = lengths_of(b) if not b.streamable and b.chance(0.25) else None
    starts = [start_state(b, count, out)]
    if op == "lstm":
        starts.append(start_state(b, count, hidden))
        starts.append(b.constant("float32", (count, 3 * hidden), -0.3, 0.3) if b.chance(0.2) else None)
        starts.append(b.given(weight(b, (count, out, hidden), 1.0)) if project else None)
    keep = b.input("k", "bool", (T, B), 0, 1) if b.chance(0.15) else None
    y, *last = b.node(
        op, [x, w, r, bias, lengths, *starts, keep], -1, 1, STATE_ERROR, outputs=3 if op == "lstm" else 2, **attrs
    )
    if op == "lstm":
        b.values[-1] = replace(last[1], low=-8.0, high=8.0)
    if not b.streamable:
        pair(b, starts)
    if b.chance(0.7):  # as exporters go on: (T, D, B, H) -> (T, B, D * H)
        y = moved(b, "transpose", y, perm=(0, 2, 1, 3))
        moved(b, "reshape", y, shape=(T, B, count * out))


def start_state(b: Builder, count: int, size: int) -> Value | None:
    kind = b.integer(0, 5)
    if kind < 2:
        return None
    if kind == 2:
        return b.constant("float32", (count, 1, size), -1, 1)
    if kind == 3 and not b.streamable:
        found = [v for v in b.values if v.type == TensorType("float32", (count, B, size)) and v.size <= 1]
        if found:
            return b.choose(found)
    value = b.input("h", "float32", (count, B, size), -1, 1)
    if b.streamable:
        b.values.pop()  # a stream carries it, so nothing else may use it
    return value


def pair(b: Builder, starts: list[Value | None]) -> None:
    """Start states that are inputs may become states."""
    for start, limit in zip(starts, (1.0, 8.0), strict=False):
        taken = {state.name for state in b.states}
        if start is not None and start.name in b.inputs and start.name not in taken and b.chance(0.6):
            carried = replace(start, low=-limit, high=limit, error=STATE_ERROR, same=False, fresh=False)
            b.values = [carried if v.name == start.name else v for v in b.values]
            b.states.append(carried)
