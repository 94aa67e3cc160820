"""A Stream: one sequence that arrives a reading at a time, and the state that it carries."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from edgelstm.errors import InputError, StateError
from edgelstm.graph.dims import TIME
from edgelstm.graph.ir import Array, TensorType
from edgelstm.machine.team import check_threads
from edgelstm.passes.stream import StepGraph
from edgelstm.program.status import BUSY, OK
from edgelstm.runtime.answers import raise_for
from edgelstm.runtime.executors import Programs
from edgelstm.runtime.held import PREFIX, Held
from edgelstm.runtime.readings import Readings, Slot, check_finite, count_rows, describe_invalid, finite, flat_shape
from edgelstm.runtime.schedule import Schedule
from edgelstm.runtime.snapshot import pack, unpack
from edgelstm.runtime.states import fit_states

POLICIES = ("error", "hold", "reset", "propagate")
BLOCK = 24  # readings that `run` takes through the layers together, where layers treat readings alike
LEAST_BLOCKS = 4  # from so many on, what does a block is made; it holds weights of its own


class Stream:
    """One stream of readings; made by `Model.stream`, used by one thread at a time.

    Arrays have neither batch nor time axis: a model with x (B, T, 3) takes readings of shape (3,).
    """

    def __init__(
        self,
        model_hash: str,
        step: StepGraph,
        programs: Programs,
        state: Mapping[str, Any] | None,
        on_invalid: str,
        threads: int = 1,
    ) -> None:
        if on_invalid not in POLICIES:
            raise InputError(f"on_invalid: expected one of {', '.join(POLICIES)}, got {on_invalid!r}")
        self._hash, self._policy, self._threads = model_hash, on_invalid, check_threads(threads)
        self._step_graph, self._programs = step, programs
        self._twin: Stream | None = None  # what forecasts run on, made by the first one
        program = programs.program({})
        self._executor = programs.make(program, threads)
        self._arenas = self._executor.arenas
        self._inputs = {port.name: Slot(port, step, self._arenas.inputs[port.name]) for port in program.inputs}
        self._outputs = {port.name: Slot(port, step, self._arenas.outputs[port.name]) for port in program.outputs}
        self._readings, self._first = Readings(self._inputs), next(iter(self._inputs))
        self._check = on_invalid != "propagate"
        self._executor.set_check(self._check)
        self._lock = threading.RLock()  # taken by every call but the fast road of `step`, which the executor guards
        self._held = Held(self._inputs, on_invalid == "hold")
        self._keep = self._held.keep
        tick = program.graph.tick
        self._schedule = Schedule(list(self._outputs), step.firings, self._arenas.states[tick] if tick else None)
        self._flat = flat_shape(self._inputs, self._outputs)
        self._single = None if self._schedule.counts else self._flat
        self._road: Callable[[Any, Any], int] = self._choose_road()
        self._enter: Callable[[Any, Any], int] = _no_single  # what `step` tries first
        self._fresh = False  # the outputs belong to the state
        self._exact = not self._schedule.counts and on_invalid in (
            "error",
            "propagate",
        )  # no output is left out, nothing is held
        self._horizon = self._left = 0  # readings until the start does not matter: in all, and from here on
        if state:
            self.state = state

    def step(self, x: Any, out: Array | None = None) -> Any:
        """One reading in, one prediction out.

        Args:
            x: the reading, or readings by name where the model has several inputs. Lists, Python numbers and
                float64 are cast.
            out: float32 array of the output's shape to write to, which avoids an allocation; one output only.

        Returns:
            A fresh array (or `out`), or a dict of them where the model has several outputs. None where the model has no
            output at this reading: see `stride` and `latency`.

        Raises:
            InputError: the reading does not fit, or holds NaN or Inf (see `Model.stream`); the state is as before.
            StreamError: another thread is inside this stream.
        """
        y = out
        try:
            if y is None:
                y = np.empty(self._single, np.float32)  # type: ignore[arg-type]  # None is the TypeError below
            if not self._enter(x, y):  # OK is 0
                return y
        except TypeError:
            pass
        return self._step_any(x, out)

    def run(self, xs: Any) -> Any:
        """Many readings, exactly as that many steps, looped in compiled code with the GIL released.

        Args:
            xs: (T, ...) readings, or a dict of them.

        Returns:
            (T, ...) predictions, or a dict of them; only the readings that have an output have a row.

        Raises:
            InputError: the readings do not fit, or (with on_invalid="error") one holds NaN or Inf; the state is as
                before the call.
            StreamError: another thread is inside this stream.
        """
        rows = self._readings.cast_rows(xs)
        if self._policy == "error":
            check_finite(rows)
        outputs = {name: np.empty((count_rows(rows), *s.shape), s.dtype) for name, s in self._outputs.items()}
        with self._alone():
            due = self._schedule.due(count_rows(rows))
            if self._flat is not None and self._policy in ("error", "propagate"):
                self._run_compiled(rows, outputs, due)
            else:
                self._run_rows(rows, outputs)
        if self._schedule.counts:
            outputs = {name: values[due[name]] for name, values in outputs.items()}
        return outputs if len(outputs) != 1 else next(iter(outputs.values()))

    @property
    def inputs(self) -> dict[str, TensorType]:
        """Name → dtype and shape of what `step` takes: no axes for time and batch, no states."""
        return {name: TensorType(slot.dtype, slot.shape) for name, slot in self._inputs.items()}

    @property
    def outputs(self) -> dict[str, TensorType]:
        """Name → dtype and shape of what `step` gives."""
        return {name: TensorType(slot.dtype, slot.shape) for name, slot in self._outputs.items()}

    @property
    def model_hash(self) -> str:
        """See `Model.hash`."""
        return self._hash

    @property
    def horizon(self) -> int:
        """Readings after which this stream counts as warm; see `Model.horizon`. Setting it starts the count anew."""
        return self._horizon

    @horizon.setter
    def horizon(self, readings: int) -> None:
        if not isinstance(readings, int) or readings < 0:
            raise InputError(f"horizon: expected a number of readings from 0, got {readings!r}")
        with self._alone():
            self._horizon = self._left = readings
            if readings:
                self._enter = _no_single

    @property
    def warm(self) -> bool:
        """Whether `horizon` readings went in since the stream was made or reset, so that its start does not show."""
        return self._left <= 0

    @property
    def stride(self) -> int:
        """Readings from one output to the next; the largest, where outputs differ."""
        return self._schedule.stride

    @property
    def latency(self) -> int:
        """Readings that come before the one that gives the first output; the largest, where outputs differ."""
        return self._schedule.latency

    @property
    def last(self) -> dict[str, Array] | None:
        """A copy of the last prediction by name, or None where the state is not that which a prediction left."""
        return {name: slot.read() for name, slot in self._outputs.items()} if self._fresh else None

    @property
    def state(self) -> dict[str, Array]:
        """A copy of every state by name; setting it takes any subset of the names.

        Raises:
            StateError: on setting, a name is unknown or a value does not fit; nothing is changed then.
            StreamError: another thread is inside this stream.
        """
        with self._alone():
            return {name: view.copy() for name, view in self._arenas.states.items()}

    @state.setter
    def state(self, values: Mapping[str, Any]) -> None:
        views = self._arenas.states
        fitted = fit_states(self._step_graph.graph, views, values, self._check)
        with self._alone():
            for name, array in fitted.items():
                views[name][...] = array
            self._arm()

    def reset(self) -> None:
        """Back to the start state of the model.

        Raises:
            StreamError: another thread is inside this stream.
        """
        with self._alone():
            self._arenas.state[:] = self._arenas.program.initial_state
            self._held.seen, self._left = False, self._horizon
            self._arm()

    def fork(self, on_invalid: str | None = None) -> Stream:
        """A stream of the same model at the same state, which then goes its own way.

        Args:
            on_invalid: its own policy, see `Model.stream`; this stream's unless given.

        Raises:
            InputError: there is no such policy.
        """
        twin = Stream(self._hash, self._step_graph, self._programs, None, on_invalid or self._policy, self._threads)
        twin.follow(self)
        return twin

    def follow(self, other: Stream) -> None:
        """Take the state of another stream, to the bit.

        Raises:
            StateError: the other stream is of another model, or was made with other options.
        """
        if other._programs is not self._programs:
            raise StateError("the streams are not alike: expected one of the same model, made with the same options")
        with self._alone(), other._alone():
            self._arenas.state[:] = other._arenas.state
            for name, slot in self._inputs.items():
                slot.view[...] = other._inputs[name].view
            self._held.take(other._held.values, other._held.seen and len(other._held.values) == len(self._held.values))
            for name, slot in self._outputs.items():
                if slot.view.flags.writeable:  # a constant stands there already
                    slot.view[...] = other._outputs[name].view
            self._arm()
            self._fresh = other._fresh

    def forecast(self, n: int, future: Any = None, feedback: Any = None) -> Any:
        """The next n predictions, each fed back for the one after it. The stream stays as it is, to the bit.

        Args:
            n: how many. The first is what the last `step` gave.
            future: what the model needs besides its own predictions: (n, k) values of the k features that are not fed
                back, in their order; row i stands in the reading that holds prediction i. The last row is not needed.
                A dict by name where there are several inputs.
            feedback: which inputs the outputs replace. A list holds a feature for each output: [2, 0] puts output 0
                into feature 2 and output 1 into feature 0. A dict says it for any model, input → output, by feature,
                by name or by (name, feature). Not needed where one output is as large as the one input.

        Returns:
            (n, ...) predictions, or a dict of them where the model has several outputs.

        Raises:
            InputError: an argument does not fit, or a prediction is not finite.
            StreamError: no prediction belongs to the current state, or the model does not predict at every reading.
        """
        if self._twin is None:
            self._twin = self.fork("propagate" if self._policy == "propagate" else "error")
        self._twin.follow(self)
        from edgelstm.runtime.forecast import forecast

        return forecast(self, self._twin, n, future, feedback)

    def snapshot(self) -> bytes:
        """The state as bytes, to be kept and given to `restore`, on this machine or another.

        Raises:
            StreamError: another thread is inside this stream.
        """
        with self._alone():
            states = self.state | self._held.named()
        return pack(self._hash, states)

    def restore(self, blob: bytes) -> None:
        """Take the state of a snapshot.

        Raises:
            StateError: the bytes are no snapshot of this model; the state is as before.
            StreamError: another thread is inside this stream.
        """
        expected = dict(self._arenas.states)
        optional = {PREFIX + name: slot.view for name, slot in self._inputs.items()}
        states = unpack(blob, self._hash, expected, optional)
        with self._alone():
            for name, view in expected.items():
                view[...] = states[name]
            held = {name.removeprefix(PREFIX): array for name, array in states.items() if name not in expected}
            self._held.take(held, bool(held))
            self._arm()

    # The general road: any number of inputs and outputs, any dtype, every policy.

    def _step_any(self, x: Any, out: Array | None) -> Any:
        if self._exact and out is None and (results := self._step_exact(x)) is not None:
            return results if len(results) != 1 else next(iter(results.values()))
        reading = self._readings.cast(x)
        if out is not None:
            self._check_out(out)
        with self._alone():
            outputs = self._advance(reading)
        if all(value is None for value in outputs.values()):
            return None
        if out is not None:
            out[...] = next(iter(outputs.values()))
            return out
        return outputs if len(outputs) != 1 else next(iter(outputs.values()))

    def _step_exact(self, x: Any) -> dict[str, Array] | None:
        """Arrays that need no cast, checked where they are run; None where the general road has something to say."""
        given = x if isinstance(x, dict) else {self._first: x}
        if len(given) != len(self._inputs) or not self._lock.acquire(blocking=False):
            return None
        try:
            for name, value in given.items():
                slot = self._inputs.get(name)
                if slot is None or not slot.takes(value):
                    return None
            self._arm()
            for name, value in given.items():
                self._inputs[name].shown[...] = value
            if self._executor.execute(self._check) != OK:
                return None
            self._note()
            return {name: slot.read() for name, slot in self._outputs.items()}
        finally:
            self._lock.release()

    def _advance(self, reading: Mapping[str, Array]) -> dict[str, Array | None]:
        if self._check and not finite(reading):
            if self._policy == "error":
                raise InputError(f"{describe_invalid(reading)}; the state is as before (see on_invalid)")
            if self._policy == "reset":
                self.reset()
                return {name: slot.invalid() for name, slot in self._outputs.items()}
            reading = self._held.fill(reading)
        due = self._schedule.due(1)
        self._arm()
        for name, slot in self._inputs.items():
            slot.view[...] = reading[name].reshape(slot.view.shape)
        raise_for(self._executor.execute(False))
        self._note(due)
        return {name: slot.read() if due[name][0] else None for name, slot in self._outputs.items()}

    def _run_compiled(self, rows: Mapping[str, Array], outputs: Mapping[str, Array], due: Mapping[str, Array]) -> None:
        (xs,), (ys,) = rows.values(), outputs.values()
        if not len(xs):
            return
        self._arm()
        xs, ys = xs.reshape(len(xs), -1), ys.reshape(len(ys), -1)
        done = self._run_blocks(xs, ys)
        status, _ = self._executor.run(xs[done:], ys[done:])
        raise_for(status)
        self._note(due)

    def _run_blocks(self, xs: Array, ys: Array) -> int:
        """As many readings as fill whole blocks, layer by layer; how many. At least the last is left to the step."""
        count = (len(xs) - 1) // BLOCK
        blocks = self._programs.blocks if count >= LEAST_BLOCKS else None
        if blocks is None:
            return 0
        done = count * BLOCK
        with blocks.executor({TIME: BLOCK}, self._threads) as executor, self._executor.taken() as free:
            if not free:
                raise_for(BUSY)
            executor.set_check(False)
            for name, view in executor.arenas.states.items():
                view[...] = self._arenas.states[name]
            raise_for(executor.run(xs[:done].reshape(count, -1), ys[:done].reshape(count, -1))[0])
            for name, view in executor.arenas.states.items():
                self._arenas.states[name][...] = view
        return done

    def _run_rows(self, rows: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        before, seen = self._arenas.state.copy(), self._held.seen
        held = {name: array.copy() for name, array in self._held.values.items()}
        for index in range(count_rows(rows)):
            try:
                results = self._advance({name: array[index] for name, array in rows.items()})
            except InputError as error:
                self._arenas.state[:] = before
                self._held.take(held, seen)
                self._arm()
                raise InputError(f"reading {index}: {error}") from None
            for name, value in results.items():
                if value is not None:
                    outputs[name][index] = value

    def _check_out(self, out: Any) -> None:
        if len(self._outputs) != 1:
            raise InputError(f"out: the stream has the outputs {', '.join(self._outputs)}; out= takes one output")
        next(iter(self._outputs.values())).check_out(out)

    def _arm(self) -> None:
        """No prediction belongs to the state now. The next reading goes the general road, which notices it."""
        self._fresh, self._enter = False, _no_single

    def _note(self, due: Mapping[str, Array] | None = None) -> None:
        """Readings went through; `due` says which outputs they gave, all if not given."""
        self._keep()
        if self._left > 0:  # until the stream is warm, readings take the general road, which counts them
            self._left -= len(next(iter(due.values()))) if due else 1
        self._held.seen, self._enter = True, _no_single if self._left > 0 else self._road
        self._fresh = due is None or all(times[-1] for times in due.values())

    def _choose_road(self) -> Callable[[Any, Any], int]:
        if self._single is None:
            return _no_single
        return self._step_kept if self._held.values else self._executor.step

    def _step_kept(self, x: Any, y: Any) -> int:
        status = self._executor.step(x, y)
        if status == OK:
            self._keep()
        return status

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else is inside, and nobody comes in."""
        if not self._lock.acquire(blocking=False):
            raise_for(BUSY)
        try:
            if self._executor.busy:
                raise_for(BUSY)
            yield
        finally:
            self._lock.release()


def _no_single(_x: Any, _y: Any) -> int:
    raise TypeError("several inputs or outputs, other dtypes and ranks, or the first reading")
