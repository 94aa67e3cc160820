"""From a graph at concrete sizes to a program: place every value, pack every weight, emit the rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelstm.errors import InputError, UnsupportedError
from edgelstm.graph import stored
from edgelstm.graph.ir import Array, Graph, Node
from edgelstm.graph.ops import infer_all
from edgelstm.program.opcodes import ABSENT, LANES, ROW, SCRATCH, STATE, WEIGHTS, Opcode, operand
from edgelstm.program.program import Port, Program, aligned

# State input → the output that may stand in its place: a cell's last states, a history with one more entry.
IN_PLACE = {"rnn": {5: 1}, "gru": {5: 1}, "lstm": {5: 1, 6: 2}, "put": {0: 0}}
ALWAYS = (1, 0)  # a node that runs at every step
INT32 = np.iinfo(np.int32)
MAX_WORDS = 1 << 30  # of one arena: nothing larger is meant, and it would be asked for only when the program runs


def lower(graph: Graph) -> Program:
    """Plan a graph whose dimensions are all integers.

    Raises:
        InputError: a dimension is not an integer, or a constant does not fit 32 bits.
        UnsupportedError: an operator has no lowering.
        ProgramError: the plan failed its own verification.
    """
    from edgelstm.program.verify import verify

    program = Lowering(graph).finish()
    verify(program)
    return program


@dataclass(slots=True)
class _Arena:
    """Hands out 16-word aligned stretches, each followed by slack for vectors that read past its end."""

    size: int = 0
    free: list[tuple[int, int]] = field(default_factory=list)

    def take(self, words: int) -> int:
        length = rounded(words)
        for index, (start, room) in enumerate(self.free):
            if room >= length:
                if room == length:
                    del self.free[index]
                else:
                    self.free[index] = (start + length, room - length)
                return start
        start, self.size = self.size, self.size + length
        if self.size > MAX_WORDS:
            raise UnsupportedError(
                f"a program at these sizes needs over {MAX_WORDS * 4 >> 30} GiB of memory: run it on less at once"
            )
        return start

    def give_back(self, start: int, words: int) -> None:
        spans = sorted([*self.free, (start, rounded(words))])
        self.free = [spans[0]]
        for begin, length in spans[1:]:
            last, room = self.free[-1]
            if last + room == begin:
                self.free[-1] = (last, room + length)
            else:
                self.free.append((begin, length))


def rounded(words: int) -> int:
    """Room that a buffer takes: its words, at least LANES - 1 more, in whole vectors."""
    return -(-(words + LANES - 1) // LANES) * LANES


@dataclass(slots=True)
class _Place:
    """Where a value lives, and the buffer whose lifetime it shares."""

    operand: int
    root: str


class Lowering:
    """The planner that the handlers in `lower/` talk to."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.types = graph, infer_all(graph)
        self._rows: list[list[int]] = []
        self._places: dict[str, _Place] = {}
        self._arenas = {WEIGHTS: _Arena(), STATE: _Arena(), SCRATCH: _Arena()}
        self._packed: dict[tuple[object, ...], int] = {}
        self._blobs: list[tuple[int, npt.NDArray[np.float32]]] = []
        self._uses = self._count_uses()
        self._released: list[tuple[int, int]] = []
        self._gate: list[int] | None = None  # the gate that the rows being emitted stand behind
        self._every = ALWAYS
        self._states = {state.input: state for state in graph.states}
        self._in_state = self._find_in_place()
        self._state_ports = tuple(self._place_state(name) for name in self._states)
        self.inputs = self._place_inputs()

    # What handlers use.

    def shape(self, value: str) -> tuple[int, ...]:
        """The sizes of a value."""
        dims = self.types[value].shape
        if not all(isinstance(dim, int) for dim in dims):
            raise InputError(f"the value {value!r} has the shape {dims}: a program needs sizes for all of them")
        return tuple(int(str(dim)) for dim in dims)

    def dtype(self, value: str) -> str:
        """The dtype of a value."""
        return self.types[value].dtype

    def constant(self, value: str) -> Array | None:
        """The array of a constant value, widened to float32 where it is stored narrower; else None."""
        return self._value(value) if value in self.graph.constants else None

    def integers(self, value: str) -> tuple[Array, Array] | None:
        """An int8 constant as it is stored, and its scales; else None."""
        array = self.graph.constants.get(value)
        return None if array is None or array.dtype != np.int8 else (array, self.graph.scales[value])

    def operand(self, value: str) -> int:
        """Where a value lives; a constant is placed on its first use; ABSENT for ""."""
        if not value:
            return ABSENT
        if value not in self._places:
            place = self.pack(("constant", value), lambda: to_words(self._value(value), value))
            self._places[value] = _Place(place, "")
        return self._places[value].operand

    def result(self, value: str) -> int:
        """A place for a node's output; ABSENT for ""."""
        if not value:
            return ABSENT
        if value in self._in_state:
            self._places[value] = _Place(self._places[self._in_state[value]].operand, "")
        else:
            start = self._arenas[SCRATCH].take(prod(self.shape(value)))
            self._places[value] = _Place(operand(SCRATCH, start), value)
        return self._places[value].operand

    def fixed(self, value: str, place: int) -> None:
        """`value` stands in the weights, at `place`."""
        self._places[value] = _Place(place, "")

    def alias(self, value: str, source: str, words: int = 0) -> None:
        """`value` is the part of `source` that starts `words` further on."""
        place = operand(0, words) + self.operand(source)
        root = self._places[source].root
        self._places[value] = _Place(place, root)
        if root:
            self._uses[root] += self._uses.get(value, 0)

    def work(self, words: int) -> int:
        """Scratch for the instructions of this node alone."""
        start = self._arenas[SCRATCH].take(words)
        self._released.append((start, words))
        return operand(SCRATCH, start)

    def pack(self, key: tuple[object, ...], make: Callable[[], npt.NDArray[np.float32]]) -> int:
        """The operand of an array in the weight arena, made once per key."""
        if key not in self._packed:
            blob = np.ascontiguousarray(make(), np.float32).ravel()
            start = self._arenas[WEIGHTS].take(blob.size)
            self._blobs.append((start, blob))
            self._packed[key] = operand(WEIGHTS, start)
        return self._packed[key]

    def emit(self, opcode: Opcode, **fields: int) -> None:
        """Append one instruction."""
        self._rows.append(opcode.row(**fields))

    def _value(self, name: str) -> Array:
        return stored.value(self.graph, name)

    # Planning.

    def finish(self) -> Program:
        """Lower every node, carry the states over, and gather the program."""
        from edgelstm.program.lower import handler

        self._look_at_indices()
        for node in self.graph.nodes:
            lower_node = handler(node, self)
            self._run_every(node.every)
            lower_node(node, self)
            self._release(node)
        self._run_every(ALWAYS)
        outputs = tuple(self._output(name, value) for name, value in self.graph.outputs.items())
        self._carry_states()
        return Program(
            code=np.array(self._rows, np.int64).reshape(-1, ROW),
            weights=self._fill(WEIGHTS, self._blobs),
            scratch_words=self._arenas[SCRATCH].size + LANES,
            initial_state=self._fill(STATE, [(p.start, self._start_value(p)) for p in self._state_ports]),
            inputs=self.inputs,
            outputs=outputs,
            states=self._state_ports,
            graph=self.graph,
        )

    def _run_every(self, every: tuple[int, int]) -> None:
        """The rows from here on run at steps first, first + stride and so on; (1, 0) is every step."""
        from edgelstm.program.lower.gate import GATE

        if every == self._every:
            return
        if self._gate is not None:
            if self._rows[-1] is self._gate:
                self._rows.pop()  # nothing was emitted behind it
            else:
                rows = len(self._rows) - 1 - next(i for i, row in enumerate(self._rows) if row is self._gate)
                self._gate[GATE.column("rows")] = rows
        self._gate, self._every = None, every
        if every != ALWAYS:
            if not self.graph.tick:
                raise InputError(f"nodes run at steps {every[1]}, {every[1] + every[0]}...: the graph counts no steps")
            self._gate = GATE.row(tick=self.operand(self.graph.tick), stride=every[0], first=every[1], rows=0)
            self._rows.append(self._gate)

    def _look_at_indices(self) -> None:
        """Indices that are given are looked at before anything is written: then no state has to be put back."""
        from edgelstm.program.lower.gather import emit_bound

        seen = set()
        for node in self.graph.nodes:
            if node.op not in ("gather", "put") or node.inputs[-1] not in self.graph.inputs:
                continue
            axis: Any = node.attrs["axis"]
            what = (node.op, node.inputs[-1], self.shape(node.inputs[0])[axis], node.every)
            if what not in seen:
                self._run_every(node.every)
                emit_bound(node, self)
            seen.add(what)

    def _count_uses(self) -> dict[str, int]:
        uses = dict.fromkeys(self.types, 0)
        for node in self.graph.nodes:
            for name in filter(None, node.inputs):
                uses[name] += 1
        for name in [*self.graph.outputs.values(), *(state.output for state in self.graph.states), self.graph.tick]:
            if name:
                uses[name] += 1
        return uses

    def _find_in_place(self) -> dict[str, str]:
        """Last states that may be written straight over their start states: output → state input."""
        found: dict[str, str] = {}
        for state in self.graph.states:
            for node in self.graph.nodes:
                for before, after in IN_PLACE.get(node.op, {}).items():
                    follows = node.inputs[before] == state.input and node.outputs[after] == state.output
                    if follows and self._uses[state.input] == 1 and state.output not in found:
                        found[state.output] = state.input
        return found

    def _place_state(self, name: str) -> Port:
        start = self._arenas[STATE].take(prod(self.shape(name)))
        self._places[name] = _Place(operand(STATE, start), "")
        return Port(name, self.dtype(name), self.shape(name), operand(STATE, start))

    def _place_inputs(self) -> tuple[Port, ...]:
        """float32 first, so that one stretch of scratch holds everything that can be NaN."""
        names = [name for name in self.graph.inputs if name not in self._states]
        places: dict[str, int] = {}
        for name in sorted(names, key=lambda name: self.dtype(name) != "float32"):
            places[name] = operand(SCRATCH, self._arenas[SCRATCH].take(prod(self.shape(name))))
            self._places[name] = _Place(places[name], "")
        return tuple(Port(name, self.dtype(name), self.shape(name), places[name]) for name in names)

    def _release(self, node: Node) -> None:
        for start, words in self._released:
            self._arenas[SCRATCH].give_back(start, words)
        self._released.clear()
        for name in (*node.inputs, *node.outputs):
            root = self._places[name].root if name in self._places else ""
            if not root:
                continue
            if name in node.inputs:
                self._uses[root] -= 1
            if self._uses[root] == 0:
                self._uses[root] = -1
                self._arenas[SCRATCH].give_back(self._places[root].operand // 4, prod(self.shape(root)))

    def _output(self, name: str, value: str) -> Port:
        """Outputs that show a state as it was before the step are copied out of its way."""
        place = self.operand(value)
        if place % 4 == STATE and value not in self._in_state:
            place = self._copied(value)
        return Port(name, self.dtype(value), self.shape(value), place)

    def _carry_states(self) -> None:
        """Copy new states over old ones, at the steps that made them; those that are old states by way of scratch."""
        every = {name: node.every for node in self.graph.nodes for name in node.outputs}
        carried = [
            (every.get(state.output, ALWAYS), state)
            for state in self.graph.states
            if self._in_state.get(state.output) != state.input
        ]
        carried.sort(key=lambda pair: (pair[0] == ALWAYS, pair[0]))  # the count of steps, which gates read, last
        moves = []
        for due, state in carried:
            place = self.operand(state.output)
            self._run_every(due)
            moves.append((due, state.input, self._copied(state.output) if place % 4 == STATE else place))
        for due, name, place in moves:
            self._run_every(due)
            self._copy(self._places[name].operand, place, prod(self.shape(name)))
        self._run_every(ALWAYS)

    def _copied(self, value: str) -> int:
        words = prod(self.shape(value))
        place = operand(SCRATCH, self._arenas[SCRATCH].take(words))
        self._copy(place, self.operand(value), words)
        return place

    def _copy(self, to: int, source: int, words: int) -> None:
        from edgelstm.program.lower.movement import emit_copy

        emit_copy(self, to, source, words)

    def _start_value(self, port: Port) -> npt.NDArray[np.float32]:
        name = self.graph.initial.get(port.name)
        if name is None:
            return np.zeros(port.words, np.float32)
        return to_words(np.broadcast_to(self._value(name), port.shape), name)

    def _fill(self, arena: int, blobs: list[tuple[int, npt.NDArray[np.float32]]]) -> npt.NDArray[np.float32]:
        words = aligned(self._arenas[arena].size + LANES)
        for start, blob in blobs:
            words[start : start + blob.size] = blob
        words.flags.writeable = False
        return words


def to_words(array: Array, name: str) -> npt.NDArray[np.float32]:
    """An array as 32-bit words: float32 as it is, integers and booleans as int32 in the same bits.

    Raises:
        InputError: an integer does not fit 32 bits.
    """
    flat = np.ascontiguousarray(array).ravel()
    if flat.dtype == np.float32:
        return flat
    if flat.size and flat.dtype.kind in "iu" and (flat.min() < INT32.min or flat.max() > INT32.max):
        raise InputError(f"{name!r} holds {flat.min()} to {flat.max()}: integers must fit 32 bits")
    return flat.astype(np.int32).view(np.float32)
