"""Random graphs over the whole operator table, and readings to feed them.

A graph grows node by node. Every value is known with an interval and an estimate of its rounding error, so that
no program drifts into a range where float32 has no digits left: the tolerance of the tests then means something.
What jumps (comparisons, argmax, conversion to integers) only sees values that are the same bits in every executor.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
from hypothesis import strategies as st

from edgelstm.errors import InputError, StreamError
from edgelstm.graph.dims import BATCH, TIME, Dim, Expr, substitute, symbol, symbols
from edgelstm.graph.dims import product as dims_product
from edgelstm.graph.ir import Graph, State, TensorType
from edgelstm.graph.ops import ACTIVATIONS, infer, make_node
from edgelstm.graph.shapes import GATES
from tests.clocks import STILL, Clock, advance, input_clock

T, B = symbol(TIME), symbol(BATCH)
SIZES = {TIME: 4, BATCH: 2}  # what sizes are judged by while a graph grows
LONGEST = 32  # what a symbolic size is at most when a graph is run
MAX_WORDS = 600
MAX_ERROR = 14.0  # half ulps of 1.0
STATE_ERROR = 4.0
WHOLE = 1 << 20  # integers stay below this, so that sums and products fit 32 bits
INTEGERS = ("int64", "int32", "uint8")
ALPHA = ("affine", "leaky_relu", "thresholded_relu", "scaled_tanh", "hard_sigmoid", "elu")
BETA = ("affine", "scaled_tanh", "hard_sigmoid")


class RejectError(Exception):
    """This draw does not fit; another one is made."""


@dataclass(frozen=True)
class Value:
    """What is known of a value: `same` means the same bits whoever computes it."""

    name: str
    type: TensorType
    low: float = -2.0
    high: float = 2.0
    error: float = 0.0
    same: bool = True
    clock: Clock = STILL
    fresh: bool = False  # an input: its entries differ

    @property
    def shape(self):
        return self.type.shape

    @property
    def dtype(self):
        return self.type.dtype

    @property
    def size(self):
        return max(abs(self.low), abs(self.high))


@dataclass(frozen=True)
class Case:
    """A graph and the intervals that its inputs are drawn from."""

    graph: Graph
    ranges: dict[str, tuple[float, float]] = field(repr=False)
    seed: int = 0

    def feeds(self, rng: np.random.Generator, sizes: dict[str, int]) -> dict[str, np.ndarray]:
        """Every input at these sizes."""
        return {
            name: self.draw(rng, name, tuple(int(substitute(dim, sizes)) for dim in kind.shape))
            for name, kind in self.graph.inputs.items()
        }

    def draw(self, rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """One input of a shape."""
        low, high = self.ranges[name]
        return draw(rng, self.graph.inputs[name].dtype, shape, low, high)


def draw(rng, dtype, shape, low, high):
    if dtype == "float32":
        return rng.uniform(low, high, shape).astype(np.float32)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    return rng.integers(int(low), int(high) + 1, shape).astype(dtype)


def at(dim: Dim) -> int:
    return int(substitute(dim, SIZES))


class Builder:
    """Grows one graph; `streamable` keeps to what can run one step at a time."""

    def __init__(self, seed: int, streamable: bool, ops: tuple[str, ...]) -> None:
        self.rng, self.seed, self.streamable = np.random.default_rng(seed), seed, streamable
        self.ops = ops
        self.values: list[Value] = []
        self.nodes, self.inputs, self.constants, self.ranges = [], {}, {}, {}
        self.states: list[Value] = []
        self.count = 0
        self.moved = False  # something depends on the sequence

    # Draws.

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    def choose(self, options: Any) -> Any:
        options = list(options)
        if not options:
            raise RejectError
        return options[int(self.rng.integers(len(options)))]

    def integer(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def number(self, low: float, high: float) -> float:
        return float(np.float32(self.rng.uniform(low, high)))

    def pick(self, wanted=lambda v: True) -> Value:
        return self.choose([v for v in self.values if wanted(v)])

    def floats(self, wanted=lambda v: True) -> Value:
        return self.pick(lambda v: v.dtype == "float32" and wanted(v))

    def any_number(self, wanted=lambda v: True) -> Value:
        """A value of any dtype but bool, each dtype as likely as the others."""
        found = [v for v in self.values if v.dtype != "bool" and wanted(v)]
        dtype = self.choose(sorted({v.dtype for v in found}))
        return self.choose([v for v in found if v.dtype == dtype])

    def fresh_name(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    # Parts.

    def input(self, stem: str, dtype: str, shape: tuple[Dim, ...], low: float = -2.0, high: float = 2.0) -> Value:
        name = self.fresh_name(stem)
        kind = TensorType(dtype, shape)
        self.inputs[name], self.ranges[name] = kind, (low, high)
        value = Value(name, kind, low, high, clock=input_clock(name, kind), fresh=True)
        self.values.append(value)
        return value

    def state(self, dtype: str, shape: tuple[Dim, ...], low: float, high: float) -> Value:
        value = replace(self.input("s", dtype, shape, low, high), error=STATE_ERROR, same=False, fresh=False)
        self.values[-1] = value
        self.states.append(value)
        return value

    def constant(self, dtype: str, shape: tuple[int, ...], low: float = -2.0, high: float = 2.0) -> Value:
        return self.given(draw(self.rng, dtype, shape, low, high))

    def given(self, array: np.ndarray) -> Value:
        name = self.fresh_name("k")
        array.flags.writeable = False
        self.constants[name] = array
        low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
        return Value(name, TensorType(array.dtype.name, array.shape), low, high)

    def node(self, op, operands, low, high, error=0.0, same=False, outputs=1, **attrs):
        """Add a node whose first output lies in [low, high]."""
        names = [self.fresh_name("v") for _ in range(outputs)]
        node = make_node(op, [v.name if v else "" for v in operands], names, f"n{len(self.nodes)}", **attrs)
        kinds = [v.type if v else None for v in operands]
        try:
            types = infer(node, kinds)
            clocks = [v.clock if v else STILL for v in operands]
            found = advance(node, kinds, clocks, types) if self.streamable else [STILL] * len(types)
        except InputError as problem:
            raise RejectError from problem
        except StreamError as problem:
            raise RejectError from problem
        kind = types[0]
        integral = kind.dtype in INTEGERS
        if kind.dtype == "uint8" and (low < 0 or high > 255):
            low, high = 0, 255
        limit = WHOLE if integral else 8.0
        if kind.dtype != "bool" and (max(abs(low), abs(high)) > limit or error > MAX_ERROR):
            raise RejectError
        for each in types:
            if each.rank > 5 or words(each.shape) > MAX_WORDS or any(degree(dim) > 1 for dim in each.shape):
                raise RejectError
            if degree(dims_product(each.shape)) > 2 or any(at(dim) < 1 for dim in each.shape):
                raise RejectError
        same = same or integral or kind.dtype == "bool"
        made = [
            Value(name, each, float(low), float(high), 0.0 if same else float(error), same, clock)
            for name, each, clock in zip(node.outputs, types, found, strict=False)
        ]
        self.nodes.append(node)
        self.values += made
        return made[0] if outputs == 1 else made

    def apply(self, op, x, low, high, slope=1.0, **attrs):
        """A function of one value."""
        return self.node(op, [x], low, high, slope * x.error + 1 + max(abs(low), abs(high)), **attrs)

    def bring(self, x: Value, low: float, high: float) -> Value:
        """x, or a function of it, within an interval."""
        if low <= x.low and x.high <= high and self.chance(0.7):
            return x
        s = self.node("sigmoid", [x], 0.0, 1.0, 0.25 * x.error + 1)
        scale = float(high - low)
        return self.node("affine", [s], low, high, scale * s.error + high, alpha=scale, beta=float(low))

    # The whole.

    def start(self) -> None:
        width = self.integer(1, 7)
        front = self.choose([(T, B), (B, T), (T, B)])
        self.input("x", "float32", (*front, width), *self.choose([(-2.0, 2.0), (-2.0, 2.0), (0.7, 1.6)]))
        if self.chance(0.2):
            self.input("x", "float32", self.choose([(T, B, 3), (B, T), (B, T, 2, 3), (B, 2, T)]))
        if self.chance(0.5):
            dtype = self.choose(INTEGERS)
            self.input("i", dtype, self.choose([(B, T), (T, B)]), 0 if dtype == "uint8" else -5, 4)
        if self.chance(0.2):
            self.input("m", "bool", self.choose([(B, T), (T, B), (B, T, width)]))
        if self.chance(0.2):
            self.input("c", self.choose(["float32", "int64", "bool"]), self.choose([(B, 4), (B,), (3,), ()]), -2, 2)
        if self.chance(0.3):
            for _ in range(self.integer(1, 2)):
                self.state("float32", self.choose([(B, 3), (1, B, 4), (B, 3), (2,)]), -1.0, 1.0)
        if self.chance(0.1):
            self.state(self.choose(["bool", "uint8"]), self.choose([(B,), (2,)]), 0, 255)

    def grow(self, wanted: int) -> None:
        start = len(self.nodes)
        for _ in range(4 * wanted):
            if len(self.nodes) - start >= wanted:
                return
            op = self.choose(self.ops)
            for _ in range(8):
                if self.attempt(op):
                    break

    def attempt(self, op: str) -> bool:
        kept = len(self.nodes), len(self.values), len(self.states), set(self.constants), set(self.inputs)
        try:
            MAKERS[op](self, op)
        except RejectError:
            self.undo(*kept)
            return False
        return True

    def rests_on_input(self, name: str) -> bool:
        """Whether a value depends on any input; a stream does not give what depends on time alone."""
        known = set(self.inputs)
        for node in self.nodes:
            if known & set(node.inputs):
                known |= set(node.outputs)
        return name in known

    def undo(self, nodes: int, values: int, states: int, constants: set[str], inputs: set[str]) -> None:
        del self.nodes[nodes:], self.values[values:], self.states[states:]
        for table, names in ((self.constants, constants), (self.inputs, inputs), (self.ranges, inputs)):
            for name in set(table) - names:
                del table[name]

    def finish(self) -> Case:
        states, used = [], set()
        for before in self.states:
            fits = [v for v in self.values if self.follows(before, v)]
            made = [v for v in fits if v.name not in self.inputs] or fits
            after = self.choose(made if self.chance(0.8) else fits)
            states.append(State(before.name, after.name))
            used.add(after.name)
        consumed = {name for node in self.nodes for name in node.inputs}
        loose = [v.name for v in self.values if v.name not in consumed and v.name not in self.inputs]
        anything = [v.name for v in self.values]
        shown = list(loose[-3:])
        if self.chance(0.3) or not shown:
            shown.append(self.choose(anything))  # may be an input or a state
        if self.chance(0.1) and self.constants:
            shown.append(self.choose(self.constants))
        if self.chance(0.15):
            shown.append(self.choose(shown))
        outputs = {f"o{k}": name for k, name in enumerate(shown)}
        initial = {}
        for before in self.states:
            if self.chance(0.5):
                shape = self.choose([(), tuple(1 if isinstance(dim, Expr) else dim for dim in before.shape)])
                initial[before.name] = self.constant(before.dtype, shape, before.low, before.high).name
        keep = {name for node in self.nodes for name in node.inputs} | set(outputs.values()) | set(initial.values())
        keep |= {state.output for state in states}
        constants = {name: array for name, array in self.constants.items() if name in keep}
        nodes = tuple(self.without_unused(node, keep) for node in self.nodes)
        graph = Graph(self.inputs, outputs, nodes, constants, tuple(states), initial)
        return Case(graph, dict(self.ranges), self.seed)

    def without_unused(self, node, keep):
        """Outputs that nobody wants are not asked for, as long as one is left."""
        if len(node.outputs) == 1 or not set(node.outputs) & keep:
            return node
        return replace(node, outputs=tuple(name if name in keep else "" for name in node.outputs))

    def follows(self, before: Value, v: Value) -> bool:
        if v.type != before.type or v.clock.axis is not None or (v.name in self.inputs and v not in self.states):
            return False
        return v.low >= before.low and v.high <= before.high and v.error <= STATE_ERROR


def words(shape) -> int:
    return prod(at(dim) for dim in shape)


def degree(dim: Dim) -> int:
    return 0 if isinstance(dim, int) else max(len(key) for key, _ in dim.terms)


# One maker an operator.


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


def signed_axis(b: Builder, axis: int, rank: int) -> int:
    return axis - rank if b.chance(0.4) else axis


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


def make_arange(b: Builder, op: str) -> None:
    size = b.choose([1, 2, 5] if b.streamable else [1, 2, 5, T])
    b.node(op, [], 0, 32, shape=(size,))


def make_rounded(b: Builder, op: str) -> None:
    x = b.floats(lambda v: v.same)
    b.node(op, [x], x.low - 1, x.high + 1, 0.0, True)


def moved(b: Builder, op: str, x: Value, low: float | None = None, high: float | None = None, **attrs: Any) -> Value:
    """A node that only moves values."""
    return b.node(op, [x], x.low if low is None else low, x.high if high is None else high, x.error, x.same, **attrs)


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


def lengths_of(b: Builder) -> Value:
    """Row lengths, as an input; the largest fits every sequence of at least 3 moments."""
    found = [v for v in b.values if v.name.startswith("l")]
    if found and b.chance(0.7):
        return found[0]
    if b.streamable:
        raise RejectError
    dtype = b.choose(INTEGERS)
    return b.input("l", dtype, (B,), 0, 1)


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


# Recurrent cells.


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


MAKERS = {
    **dict.fromkeys(("rnn", "gru", "lstm"), make_cell),
    "linear": make_linear,
    "matmul": make_matmul,
    "conv": make_conv,
    **dict.fromkeys(("max_pool", "avg_pool"), make_pool),
    "arange": make_arange,
    **dict.fromkeys(("floor", "ceil", "round"), make_rounded),
    "sigmoid": make_sigmoid_like(0.0, 1.0, 0.25),
    "tanh": make_sigmoid_like(-1.0, 1.0),
    **dict.fromkeys(("relu", "softsign", "softplus", "erf"), make_bounded),
    **dict.fromkeys(ALPHA, make_with_parameters),
    "exp": make_exp,
    **dict.fromkeys(("log", "sqrt", "reciprocal"), make_root),
    **dict.fromkeys(("neg", "abs"), make_signed),
    "not": make_not,
    "identity": make_identity,
    "cast": make_cast,
    **dict.fromkeys(("add", "sub", "mul"), make_arithmetic),
    "div": make_div,
    "pow": make_pow,
    **dict.fromkeys(("maximum", "minimum"), make_extreme),
    **dict.fromkeys(("equal", "less", "greater"), make_comparison),
    **dict.fromkeys(("and", "or"), make_logic),
    "where": make_where,
    **dict.fromkeys(("softmax", "log_softmax"), make_softmax),
    **{f"reduce_{kind}": make_reduce for kind in ("sum", "mean", "max", "min", "prod")},
    "argmax": make_argmax,
    "layer_norm": make_layer_norm,
    "reshape": make_reshape,
    "expect": make_expect,
    "transpose": make_transpose,
    "slice": make_slice,
    "concat": make_concat,
    "broadcast": make_broadcast,
    "pad": make_pad,
    "reverse_sequence": make_reverse_sequence,
    "gather": make_gather,
    "put": make_put,
}
CELLS = ("rnn", "gru", "lstm")


def random_case(seed: int, streamable: bool = False, nodes: int | None = None, ops: Any = None) -> Case:
    """The graph of a seed: the same on every machine."""
    allowed = tuple(MAKERS) if ops is None else tuple(ops)
    whole = ("reverse_sequence", "put")  # which no stream takes
    builder = Builder(seed, streamable, tuple(op for op in allowed if not (streamable and op in whole)))
    builder.start()
    if any(op in allowed for op in CELLS) and (streamable or builder.chance(0.6)):
        builder.ops, whole = tuple(op for op in CELLS if op in allowed), builder.ops
        builder.grow(1)
        builder.ops = whole
    builder.grow(nodes or builder.integer(2, 16))
    return builder.finish()


def cases(streamable: bool = False) -> st.SearchStrategy[Case]:
    """Random graphs for hypothesis."""
    return st.integers(0, 1 << 32).map(lambda seed: random_case(seed, streamable))


def moves_in_time(case: Case) -> bool:
    """Whether any input runs over T."""
    return any(TIME in symbols(dim) for kind in case.graph.inputs.values() for dim in kind.shape)
