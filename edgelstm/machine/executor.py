"""A program on the compiled machine: its arenas, its context block, and the calls that run it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgelstm.machine import slots
from edgelstm.machine.compiled import Compiled
from edgelstm.machine.slots import STATUSES
from edgelstm.machine.team import Crew, crew
from edgelstm.program.executor import Arenas
from edgelstm.program.fallible import can_stop, can_stop_halfway
from edgelstm.program.opcodes import SCRATCH, STATE, WEIGHTS
from edgelstm.program.program import Port, Program
from edgelstm.program.status import BUSY, INDEX, KIND, OK, SIZE

if TYPE_CHECKING:
    from edgelstm.machine.sharing import Shared

Floats = npt.NDArray[np.float32]

# Weight words from which a step takes some tens of microseconds: other threads then gain more from a free
# GIL than the step loses by taking it back.
_HEAVY = 1 << 19


class Machine:
    """A verified program in the compiled machine. See `program.executor.Executor` for what the calls do.

    Args:
        program: what to run.
        compiled: the machine; numba's for this CPU unless given.
        threads: how many may share a call, where the program has rows that are worth it.

    Attributes:
        arenas: the memory of this executor.
        step: (x, y) -> status. Holds the GIL unless the program is heavy.
    """

    def __init__(self, program: Program, compiled: Compiled | None = None, threads: int = 1) -> None:
        self.arenas = Arenas(program)
        self._compiled = compiled or _jit()
        self._code = np.ascontiguousarray(program.code, np.int64)
        self._floats = self._float_table(program)
        self._context: Any = np.zeros(slots.SLOTS, np.int64)
        self._fill_context(program)
        self._address = int(self._context.ctypes.data)
        self._fallible, self._stops = can_stop_halfway(program), can_stop(program)
        self._crew, self._shared = self._share(threads) if threads > 1 else (None, None)
        self._entered = threading.Lock()
        self.step = self._choose_step(program)

    @property
    def busy(self) -> bool:
        """See `Executor`."""
        return bool(self._context[slots.BUSY])

    @contextmanager
    def taken(self) -> Iterator[bool]:
        """See `Executor`."""
        if self.busy:
            yield False
            return
        self._context[slots.BUSY] = 1
        try:
            yield True
        finally:
            self._context[slots.BUSY] = 0

    @property
    def compiled(self) -> Compiled:
        """The compiled entry points."""
        return self._compiled

    @property
    def address(self) -> int:
        """Of the context, for the entry points; good while this object lives."""
        return self._address

    def where(self, port: Port) -> int:
        """The address of a port's words."""
        return self._where(port)

    def execute(self, check: bool) -> int:
        """See `Executor`."""
        if self._crew is not None:
            return self.execute_released(check)
        if not self._fallible:
            return self._compiled.execute(self._address, int(check))
        return self._restoring(partial(self._compiled.execute, self._address, int(check)), self._fallible)

    def execute_released(self, check: bool) -> int:
        """See `Executor`."""
        call = partial(self._compiled.execute_released, self._address, int(check))
        return self._restoring(self._together(call), self._fallible)

    def run(self, xs: Floats, ys: Floats) -> tuple[int, int]:
        """See `Executor`. Where a reading is not finite, the rows before it have been done; INDEX undoes them all."""
        if not self._compiled.direct:
            return self._run_copied(xs, ys)
        call = self._together(partial(self._compiled.run, self._address, xs, ys), len(xs) > 1)
        answer = self._restoring(call, self._stops)
        return answer % STATUSES, answer // STATUSES

    def set_check(self, check: bool) -> None:
        """See `Executor`."""
        self._context[slots.CHECK] = int(check)

    def _restoring(self, call: Any, fallible: bool) -> int:
        """Where the data can stop a run halfway, put the state back as it was."""
        if not fallible:
            return int(call())
        before = self.arenas.state.copy()
        answer = int(call())
        if answer % STATUSES == INDEX:
            self.arenas.state[:] = before
        return answer

    def _share(self, threads: int) -> tuple[Crew | None, Shared | None]:
        """Let threads share rows of the program; neither crew nor code where one thread does as well."""
        from edgelstm.machine.sharing import share_rows
        from edgelstm.machine.threshold import worth

        found = crew(self._compiled, threads)
        if found is None:
            return None, None
        shared = share_rows(self._code, self._context, found.threads, partial(worth, self._compiled, found.threads))
        if shared is None:
            return None, None
        self._context[slots.CODE] = shared.code.ctypes.data
        return found, shared

    def _together(self, call: Callable[[], int], keen: bool = True) -> Callable[[], int]:
        """The call with a team at hand, if there is one."""
        return call if self._crew is None else partial(self._with_team, self._crew, call, keen)

    def _with_team(self, helpers: Crew, call: Callable[[], int], keen: bool) -> int:
        # Another caller must not change whose team it is, not even one that is refused.
        if not self._entered.acquire(blocking=False):
            return BUSY
        try:
            with helpers.team(keen) as team:
                self._context[slots.TEAM] = team.address if team is not None else 0
                return call()
        finally:
            self._context[slots.TEAM] = 0
            self._entered.release()

    def _choose_step(self, program: Program) -> Any:
        inputs, outputs = program.inputs, program.outputs
        single = len(inputs) == len(outputs) == 1 and inputs[0].dtype == outputs[0].dtype == "float32"
        if not single:
            return _no_step
        if not self._compiled.direct:
            return self._step_copied
        if self._fallible or self._crew is not None or program.weights.size > _HEAVY:
            return self._step_released
        return self._compiled.bind_step(self._context)

    def _step_released(self, x: Floats, y: Floats) -> int:
        if not (_is_row(x) and _is_row(y)):
            return KIND
        call = self._together(partial(self._compiled.run, self._address, x[None], y[None]))
        return self._restoring(call, self._fallible) % STATUSES

    def _step_copied(self, x: Floats, y: Floats) -> int:
        (source,), (target,) = self.arenas.inputs.values(), self.arenas.outputs.values()
        if not (_is_row(x) and _is_row(y) and y.flags.writeable):
            return KIND
        if x.size != source.size or y.size != target.size:
            return SIZE
        source[...] = x.reshape(source.shape)
        answer = self.execute(bool(self._context[slots.CHECK]))
        if answer == OK:
            y[...] = target.ravel()
        return answer

    def _run_copied(self, xs: Floats, ys: Floats) -> tuple[int, int]:
        if len(xs) != len(ys):
            return SIZE, 0
        for done, (x, y) in enumerate(zip(xs, ys, strict=True)):
            answer = self._step_copied(x, y)
            if answer != OK:
                return answer, done
        return OK, len(xs)

    def _float_table(self, program: Program) -> Any:
        ports = [port for port in program.inputs if port.dtype == "float32"]
        return np.array([(self._where(port), port.words) for port in ports], np.int64).reshape(-1, 2)

    def _where(self, port: Port) -> int:
        bases = {WEIGHTS: self.arenas.program.weights, STATE: self.arenas.state, SCRATCH: self.arenas.scratch}
        return int(bases[port.operand % 4].ctypes.data) + 4 * port.start

    def _fill_context(self, program: Program) -> None:
        context = self._context
        context[slots.CODE], context[slots.ROWS] = self._code.ctypes.data, len(self._code)
        bases = (program.weights, self.arenas.state, self.arenas.scratch)
        context[slots.BASE : slots.BASE + 4] = [*(base.ctypes.data for base in bases), slots.ABSENT_BASE]
        if program.inputs:
            context[slots.INPUT], context[slots.INPUT_WORDS] = self._where(program.inputs[0]), program.inputs[0].words
        if program.outputs:
            context[slots.OUTPUT] = self._where(program.outputs[0])
            context[slots.OUTPUT_WORDS] = program.outputs[0].words
        context[slots.FLOATS], context[slots.FLOAT_COUNT] = self._floats.ctypes.data, len(self._floats)
        context[slots.CHECK] = 1
        context[slots.INTERPRETER] = self._compiled.interpreter
        context[slots.ARRAY_TYPE], context[slots.FLOAT32] = id(np.ndarray), id(np.dtype(np.float32))
        context[slots.ANSWERS], context[slots.COUNTED] = _ANSWERS.ctypes.data, sys.version_info < (3, 12)


# Small integers are the same objects throughout the process.
_ANSWERS = np.array([id(number) for number in range(STATUSES)], np.int64)


def _jit() -> Compiled:
    from edgelstm.machine.jit import warmup

    return warmup()


def _is_row(array: Any) -> bool:
    if type(array) is not np.ndarray or array.dtype != np.float32 or array.ndim != 1:
        return False
    return array.flags.c_contiguous and array.flags.aligned


def _no_step(_x: Floats, _y: Floats) -> int:
    return SIZE
