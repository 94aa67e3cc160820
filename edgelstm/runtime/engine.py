"""What steps the rows of a pool's slab: programs for groups of rows on the machine, or NumPy row by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from edgelstm.graph.bind import bind
from edgelstm.graph.ir import Graph
from edgelstm.machine.arrays import address as address_of
from edgelstm.machine.objects import layout
from edgelstm.passes.stream import StepGraph, StreamOptions
from edgelstm.program.executor import Executor
from edgelstm.program.fallible import can_stop
from edgelstm.program.lowering import lower
from edgelstm.program.program import Port, Program
from edgelstm.program.status import OK
from edgelstm.runtime.batch import batch_axes, with_rows
from edgelstm.runtime.executors import Programs
from edgelstm.runtime.keys import KeyTable
from edgelstm.runtime.ports import Row

if TYPE_CHECKING:
    from edgelstm.machine.slab import Rows, Stretch

Floats = npt.NDArray[np.float32]
Index = npt.NDArray[np.int64]

LARGEST = 64  # rows a run: enough to share the weights among, few enough to stay in the nearest caches
_LONG = 1 << 15  # rows times weight words, divided by 64: from here on other threads may run meanwhile


class Engine(Protocol):
    """Steps slots of one slab; used by one thread at a time."""

    batched: bool
    can_stop: bool

    def step(self, index: Index, address: int, x: Floats, y: Floats) -> int:
        """Distinct slots, their readings, room for their predictions. A status; some rows may be done if not OK."""

    def scan(self, used: Index, index: Index, address: int, now: int, x: Floats, check: bool) -> int:
        """Note that slots are used now. Not 0 where a reading is not finite or a slot stands twice."""

    def key_table(self, capacity: int) -> KeyTable | None:
        """A table for so many keys; None where there is no compiled machine, or it cannot read this Python's keys."""


def make_engine(
    graph: Graph,
    options: StreamOptions,
    step: StepGraph,
    programs: Programs,
    slab: Floats,
    x: Row,
    y: Row,
    states: Row,
) -> Engine:
    """Groups of rows where there is a compiled machine."""
    if programs.machine is None:
        return RowByRow(programs.make(programs.program({})), slab, x, y, states)
    return Grouped(graph, options, step, programs, slab, x, y, states)


def scan(used: Index, index: Index, now: int, x: Floats, check: Row | None) -> int:
    """`Engine.scan` in NumPy."""
    used[index] = now
    if check is not None and not check.finite(x).all():
        return -1
    return int(len(np.unique(index)) != len(index))


class RowByRow:
    """One stream after the other through any executor."""

    batched = False

    def __init__(self, executor: Executor, slab: Floats, x: Row, y: Row, states: Row) -> None:
        self._executor, self._slab, self._x, self._y, self._states = executor, slab, x, y, states
        self._program = executor.arenas.program
        self.can_stop = can_stop(self._program)

    def step(self, index: Index, address: int, x: Floats, y: Floats) -> int:  # noqa: ARG002 - as `Grouped`
        """See `Engine`."""
        arenas = self._executor.arenas
        for row, slot in enumerate(index.tolist()):
            for name, values in self._states.split(self._slab[slot]).items():
                arenas.states[name][...] = values
            for name, values in self._x.split(x[row]).items():
                arenas.inputs[name][...] = values.reshape(arenas.inputs[name].shape)
            status = self._executor.execute(False)
            if status != OK:
                return status
            self._slab[slot, : self._states.words] = self._states.join(arenas.states)
            y[row] = self._y.join(arenas.outputs)
        return OK

    def scan(
        self,
        used: Index,
        index: Index,
        address: int,  # noqa: ARG002 - as `Grouped`
        now: int,
        x: Floats,
        check: bool,
    ) -> int:
        """See `Engine`."""
        return scan(used, index, now, x, self._x if check else None)

    def key_table(self, capacity: int) -> KeyTable | None:  # noqa: ARG002 - as `Grouped`
        """See `Engine`."""
        return None


class Grouped:
    """Programs for 1, 2, 4 ... LARGEST rows, lowered when they are first needed."""

    def __init__(
        self,
        graph: Graph,
        options: StreamOptions,
        step: StepGraph,
        programs: Programs,
        slab: Floats,
        x: Row,
        y: Row,
        states: Row,
    ) -> None:
        self._graph, self._options, self._compiled = graph, options, programs.machine
        self._slab, self._x, self._y, self._states = slab, x, y, states
        self._single = programs.program({})
        self.can_stop = can_stop(self._single)
        self._axes = batch_axes(graph, options, step.graph)
        self.batched = self._axes is not None
        self._rows: dict[int, Rows] = {}
        self._rows[1] = self._make(self._single, 1, {})
        self._check = x.all_floats

    def step(self, index: Index, address: int, x: Floats, y: Floats) -> int:
        """See `Engine`."""
        rest = len(index)
        if not rest:
            return OK
        x_at, y_at = address_of(x), address_of(y)
        x_bytes, y_bytes = 4 * self._x.words, 4 * self._y.words
        release = rest * (1024 + self._single.weights.size) >> 6 >= _LONG
        group = LARGEST if self.batched else 1
        while rest:
            while group > rest:
                group >>= 1
            count = rest - rest % group
            status, _ = self.rows(group).step(address, count, x_at, y_at, release)
            if status != OK:
                return status
            rest -= count
            address, x_at, y_at = address + 8 * count, x_at + x_bytes * count, y_at + y_bytes * count
        return OK

    def rows(self, group: int) -> Rows:
        """What steps so many rows a run: a power of two up to LARGEST, 1 where rows are not `batched`."""
        return self._rows.get(group) or self._lower(group)

    def scan(self, used: Index, index: Index, address: int, now: int, x: Floats, check: bool) -> int:
        """See `Engine`."""
        if check and not self._check:
            return scan(used, index, now, x, self._x)
        words = self._x.words if check else 0
        return self._scan(address_of(used), address, len(index), now, address_of(x), words)

    def key_table(self, capacity: int) -> KeyTable | None:
        """See `Engine`."""
        known = layout()
        return None if known is None else KeyTable(*self._lookups, capacity, known)

    def _lower(self, group: int) -> Rows:
        step = with_rows(self._graph, self._options, group)
        program = lower(bind(step.graph, {}))
        if np.array_equal(program.weights.view(np.int32), self._single.weights.view(np.int32)):
            program = replace(program, weights=self._single.weights)
        self._rows[group] = self._make(program, group, self._axes or {})
        return self._rows[group]

    def _make(self, program: Program, group: int, axes: Mapping[str, int]) -> Rows:
        from edgelstm.machine.executor import Machine
        from edgelstm.machine.slab import Rows

        machine = Machine(program, self._compiled)
        self._scan = machine.compiled.scan_rows
        self._lookups = machine.compiled.find_keys, machine.compiled.note_keys

        def stretches(ports: tuple[Port, ...], row: Row) -> list[Stretch]:
            return [
                stretch
                for port in ports
                for stretch in _stretches(port, row.starts[port.name], machine.where(port), axes.get(port.name), group)
            ]

        return Rows(
            machine,
            group,
            self._slab,
            stretches(program.states, self._states),
            stretches(program.inputs, self._x),
            stretches(program.outputs, self._y),
            self._x.words,
            self._y.words,
        )


def _stretches(port: Port, start: int, address: int, axis: int | None, group: int) -> list[Stretch]:
    """How the words of one row lie in a port of `group` rows."""
    if axis is None:
        return [(4 * start, address, 0, port.words)]
    outer, inner = prod(port.shape[:axis]), prod(port.shape[axis + 1 :])
    return [(4 * (start + o * inner), address + 4 * o * group * inner, 4 * inner, inner) for o in range(outer)]
