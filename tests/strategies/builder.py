"""Growing one random graph: what is known of its values, and the draws that keep them in range."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from edgelstm.errors import InputError, StreamError
from edgelstm.graph.dims import BATCH, TIME, Dim, Expr, substitute, symbol
from edgelstm.graph.dims import product as dims_product
from edgelstm.graph.ir import Graph, State, TensorType
from edgelstm.graph.ops import infer, make_node
from tests.clocks import STILL, Clock, advance, input_clock

T, B = symbol(TIME), symbol(BATCH)
SIZES = {TIME: 4, BATCH: 2}  # what sizes are judged by while a graph grows
LONGEST = 32  # what a symbolic size is at most when a graph is run
MAX_WORDS = 600
MAX_ERROR = 14.0  # half ulps of 1.0
STATE_ERROR = 4.0
WHOLE = 1 << 20  # integers stay below this, so that sums and products fit 32 bits
INTEGERS = ("int64", "int32", "uint8")
Makers = Mapping[str, "Callable[[Builder, str], None]"]


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

    def __init__(self, seed: int, streamable: bool, makers: Makers) -> None:
        self.rng, self.seed, self.streamable = np.random.default_rng(seed), seed, streamable
        self.makers = makers
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
            op = self.choose(self.makers)
            for _ in range(8):
                if self.attempt(op):
                    break

    def attempt(self, op: str) -> bool:
        kept = len(self.nodes), len(self.values), len(self.states), set(self.constants), set(self.inputs)
        try:
            self.makers[op](self, op)
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


def signed_axis(b: Builder, axis: int, rank: int) -> int:
    return axis - rank if b.chance(0.4) else axis


def moved(b: Builder, op: str, x: Value, low: float | None = None, high: float | None = None, **attrs: Any) -> Value:
    """A node that only moves values."""
    return b.node(op, [x], x.low if low is None else low, x.high if high is None else high, x.error, x.same, **attrs)


def lengths_of(b: Builder) -> Value:
    """Row lengths, as an input; the largest fits every sequence of at least 3 moments."""
    found = [v for v in b.values if v.name.startswith("l")]
    if found and b.chance(0.7):
        return found[0]
    if b.streamable:
        raise RejectError
    dtype = b.choose(INTEGERS)
    return b.input("l", dtype, (B,), 0, 1)
