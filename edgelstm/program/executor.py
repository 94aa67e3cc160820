"""What every executor of a program has: its own arenas, and named views of them.

The reference executor evaluates the graph in NumPy between the same arenas that the machine uses,
so streams, snapshots and ports work alike with either.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgelstm.errors import InputError
from edgelstm.graph.ir import Array
from edgelstm.program.opcodes import SCRATCH, STATE, WEIGHTS
from edgelstm.program.program import Port, Program, aligned
from edgelstm.program.status import BUSY, INDEX, INVALID, KIND, OK, SIZE

Floats = npt.NDArray[np.float32]


class Arenas:
    """The memory of one executor.

    Attributes:
        state: float32 words, all that a stream is.
        inputs, outputs, states: port name → view of the port's words in its shape (int32 where not float32).
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.state = aligned(program.state_words)
        self.state[:] = program.initial_state
        self.scratch = aligned(program.scratch_words)
        self._memory = {WEIGHTS: program.weights, STATE: self.state, SCRATCH: self.scratch}
        self.inputs = {port.name: self.view(port) for port in program.inputs}
        self.outputs = {port.name: self.view(port) for port in program.outputs}
        self.states = {port.name: self.view(port) for port in program.states}

    def view(self, port: Port) -> Array:
        """The words of a port, in its shape."""
        words = self._memory[port.operand % 4][port.start : port.start + port.words]
        return words.view(port.word_dtype).reshape(port.shape)


class Executor(Protocol):
    """What streams and models ask of an executor. Calls answer with a status."""

    arenas: Arenas

    @property
    def busy(self) -> bool:
        """Whether a call is running."""

    def taken(self) -> AbstractContextManager[bool]:
        """Refuses calls as if one were running; gives whether that was possible, so whether none is."""

    def execute(self, check: bool) -> int:
        """Run once on what stands in the input views; with `check`, refuse NaN and Inf before any change."""

    def execute_released(self, check: bool) -> int:
        """The same, letting other Python threads run meanwhile."""

    def step(self, x: Floats, y: Floats) -> int:
        """One float32 input in, one float32 output out, flat; checked as `set_check` said.

        KIND where an array is not float32, one-dimensional and contiguous; nothing was done then.
        """

    def run(self, xs: Floats, ys: Floats) -> tuple[int, int]:
        """Row by row through `step`, other threads free to run: status, and rows done."""

    def set_check(self, check: bool) -> None:
        """Whether `step` and `run` refuse NaN and Inf."""


class ReferenceExecutor:
    """A program's graph evaluated in NumPy, for machines without numba."""

    def __init__(self, program: Program) -> None:
        self.arenas = Arenas(program)
        from edgelstm.program.reference import Reference

        self._reference = Reference(program.graph)
        self._check, self._busy = True, False
        self._after = {state.input: state.output for state in program.graph.states}

    @property
    def busy(self) -> bool:
        """See `Executor`."""
        return self._busy

    @contextmanager
    def taken(self) -> Iterator[bool]:
        """See `Executor`."""
        free, self._busy = not self._busy, True
        try:
            yield free
        finally:
            self._busy = not free

    def execute(self, check: bool) -> int:
        """See `Executor`."""
        if self._busy:
            return BUSY
        if check and not self._finite():
            return INVALID
        self._busy = True
        try:
            return self._evaluate()
        finally:
            self._busy = False

    execute_released = execute

    def _finite(self) -> bool:
        ports = self.arenas.program.inputs
        return all(np.isfinite(self.arenas.inputs[port.name]).all() for port in ports if port.dtype == "float32")

    def _evaluate(self) -> int:
        graph = self.arenas.program.graph
        views = {**self.arenas.inputs, **self.arenas.states}
        given = {name: views[name].astype(kind.dtype) for name, kind in graph.inputs.items()}
        try:
            values = self._reference.values(given)
        except (IndexError, InputError):  # an index or a length in the data
            return INDEX
        for port in self.arenas.program.outputs:
            name, value = port.name, graph.outputs[port.name]
            if port.operand % 4 == WEIGHTS or value not in values:
                continue  # a constant, which stands there already, or not due at this step
            self.arenas.outputs[name][...] = values[value].astype(self.arenas.outputs[name].dtype)
        for name, value in self._after.items():
            if value in values:
                self.arenas.states[name][...] = values[value].astype(self.arenas.states[name].dtype)
        return OK

    def step(self, x: Floats, y: Floats) -> int:
        """See `Executor`."""
        (source,), (target,) = self.arenas.inputs.values(), self.arenas.outputs.values()
        for array in (x, y):
            if not isinstance(array, np.ndarray) or array.dtype != np.float32 or array.ndim != 1:
                return KIND
        if x.size != source.size or y.size != target.size:
            return SIZE
        if self._check and not np.isfinite(x).all():
            return INVALID
        source[...] = x.reshape(source.shape)
        status = self.execute(False)
        if status == OK:
            y[...] = target.reshape(y.shape)
        return status

    def run(self, xs: Floats, ys: Floats) -> tuple[int, int]:
        """See `Executor`."""
        for index, (x, y) in enumerate(zip(xs, ys, strict=True)):
            status = self.step(x, y)
            if status != OK:
                return status, index
        return OK, len(xs)

    def set_check(self, check: bool) -> None:
        """See `Executor`."""
        self._check = check
