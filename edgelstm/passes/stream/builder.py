"""Builds the step graph: nodes that run when their inputs are known, and the states that carry the past."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edgelstm.graph.dims import Dim
from edgelstm.graph.ir import Array, Attr, Graph, Node, State, TensorType
from edgelstm.graph.ops import infer, make_node
from edgelstm.graph.stored import value_type
from edgelstm.passes.stream.clock import Clock, Firing, Item

LARGEST_COUNT = 2**31 - 2


@dataclass(slots=True)
class StepBuilder:
    """Collects the step graph.

    Attributes:
        whole: the graph that is rewritten, with B = 1 and T symbolic.
        history: the capacity of histories, in elements.
        lookahead: how many readings each backward layer may wait for.
        backward: how many backward layers there are.
    """

    whole: Graph
    history: int
    lookahead: int
    backward: int = 0
    nodes: list[Node] = field(default_factory=list)
    types: dict[str, TensorType] = field(default_factory=dict)
    inputs: dict[str, TensorType] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    scales: dict[str, Array] = field(default_factory=dict)
    initial: dict[str, str] = field(default_factory=dict)
    states: list[State] = field(default_factory=list)
    _counters: dict[Firing, tuple[str, str]] = field(default_factory=dict)
    _histories: dict[str, Item] = field(default_factory=dict)
    _valid: dict[Firing, str] = field(default_factory=dict)
    _reserved: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        """The names of the whole graph stay with what they name there."""
        self._reserved = {*self.whole.inputs, *self.whole.constants}
        self._reserved |= {output for node in self.whole.nodes for output in node.outputs}

    def add(self, node: Node) -> None:
        """Append a node whose names are settled."""
        kinds = infer(node, [self.types[name] if name else None for name in node.inputs])
        for name, kind in zip(node.outputs, kinds, strict=True):
            if name:
                self.types[name] = kind
        self.nodes.append(node)

    def emit(self, op: str, inputs: Sequence[str], firing: Firing, output: str = "", **attrs: Attr) -> str:
        """Append a node whose one output gets the name of the whole graph's value, or a fresh one."""
        name = output if output and output not in self.types else self.fresh(f"{inputs[0]}/{op}")
        self.add(replace(make_node(op, inputs, [name], name, **attrs), every=firing))
        return name

    def constant(self, value: Any, name: str) -> str:
        """A constant with a fresh name."""
        fresh = self.fresh(name)
        array = np.asarray(value)
        array.flags.writeable = False
        self.constants[fresh] = array
        self.types[fresh] = value_type(array)
        return fresh

    def entry(self, name: str, index: int) -> str:
        """Entry `index` along the first axis of a constant, as a constant with the same number of axes."""
        fresh = self.constant(self.constants[name][index : index + 1], name)
        if name in self.scales:
            scale = self.scales[name]
            self.scales[fresh] = scale[index : index + 1] if len(scale) > 1 else scale
        return fresh

    def state(self, name: str, kind: TensorType, start: Any = None) -> str:
        """A state of the stream; starts at zero, or at `start` (broadcast)."""
        fresh = self.fresh(name)
        self.inputs[fresh] = self.types[fresh] = kind
        if start is not None:
            shape = tuple(int(str(dim)) for dim in kind.shape)
            self.initial[fresh] = self.constant(np.broadcast_to(np.asarray(start, kind.dtype), shape), f"{fresh}/start")
        return fresh

    def carry(self, before: str, after: str) -> None:
        """`after` is the next value of the state `before`."""
        self.states.append(State(before, after, "implicit"))

    def fresh(self, name: str) -> str:
        """A name that is not taken."""
        candidate, number = name, 2
        while candidate in self.types or candidate in self._reserved:
            candidate, number = f"{name}#{number}", number + 1
        return candidate

    # What the past is made of.

    def window(self, item: Item, axis: int, size: int, fill: float = 0.0) -> str:
        """The last `size` elements of a value along `axis`, oldest first; before the first, `fill`."""
        if size == 1:
            return item.name
        kind, firing = self.types[item.name], item.clock.firing
        shape = _with(kind.shape, axis, size - 1)
        before = self.state(f"{item.name}.window", TensorType(kind.dtype, shape), fill or None)
        joined = self.emit("concat", [before, item.name], firing, axis=axis)
        self.carry(before, self.part(joined, axis, 1, size, firing))
        return joined

    def delay(self, item: Item, steps: int) -> Item:
        """The same value `steps` of its elements later."""
        if steps == 0 or item.clock.axis is None:
            return item
        joined = self.window(item, item.clock.axis, steps + 1)
        name = self.part(joined, item.clock.axis, 0, 1, item.clock.firing)
        clock = item.clock
        return replace(item, name=name, clock=replace(clock, first=clock.first + steps * clock.stride))

    def counter(self, firing: Firing) -> tuple[str, str]:
        """How many elements came before this one, and with it: two int32 values of shape (1,)."""
        if firing not in self._counters:
            before = self.state("count", TensorType("int32", (1,)))
            one = self.constant(np.array([1], np.int32), "count/one")
            limit = self.constant(np.array([LARGEST_COUNT], np.int32), "count/limit")
            after = self.emit("minimum", [self.emit("add", [before, one], firing), limit], firing)
            self.carry(before, after)
            self._counters[firing] = before, after
        return self._counters[firing]

    def valid(self, clock: Clock, axis: int, rank: int) -> str:
        """Which places of a history have been filled, shaped to stand along `axis` of `rank` axes."""
        if clock.firing not in self._valid:
            places = self.constant(np.arange(self.history, dtype=np.int32), "places")
            self._valid[clock.firing] = self.emit("less", [places, self.counter(clock.firing)[1]], clock.firing)
        shape = tuple(self.history if position == axis else 1 for position in range(rank))
        return self.emit("reshape", [self._valid[clock.firing]], clock.firing, shape=shape)

    def remember(self, item: Item) -> Item:
        """All elements of a value so far, in a history of bounded capacity; 0 where none has come yet."""
        axis = item.clock.axis
        assert axis is not None
        if item.name not in self._histories:
            kind, firing = self.types[item.name], item.clock.firing
            before = self.state(f"{item.name}.history", TensorType(kind.dtype, _with(kind.shape, axis, self.history)))
            index = self.counter(firing)[0]
            after = self.emit("put", [before, item.name, index], firing, axis=axis)
            self.carry(before, after)
            clock = replace(item.clock, axis=None, past=axis, settled=True, end=True)
            self._histories[item.name] = Item(after, clock, item.kind)
        return self._histories[item.name]

    def masked(self, item: Item, fill: float) -> str:
        """A value with a past whose places that have not been filled hold `fill`."""
        past = item.clock.past
        assert past is not None
        firing, kind = item.clock.firing, self.types[item.name]
        filled = self.valid(item.clock, past, kind.rank)
        blank = self.constant(np.asarray(fill, kind.dtype), "blank")
        return self.emit("where", [filled, item.name, blank], firing)

    def part(self, name: str, axis: int, start: int, stop: int, firing: Firing) -> str:
        """Elements `start` to `stop` along an axis."""
        return self.emit("slice", [name], firing, axes=(axis,), starts=(start,), stops=(stop,), steps=(1,))


def _with(shape: Sequence[Dim], axis: int, size: int) -> tuple[Dim, ...]:
    return tuple(size if position == axis else dim for position, dim in enumerate(shape))
