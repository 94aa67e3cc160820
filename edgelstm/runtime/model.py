"""A Model: immutable, shared by every thread and stream."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from edgelstm.errors import InputError, StreamError
from edgelstm.file import save, to_bytes
from edgelstm.graph.bind import bind
from edgelstm.graph.check import check
from edgelstm.graph.dims import BATCH, TIME, substitute_shape, symbols
from edgelstm.graph.ir import Array, Graph, TensorType
from edgelstm.graph.ops import infer_all
from edgelstm.machine.compiled import Compiled
from edgelstm.machine.team import check_threads
from edgelstm.passes.block import to_block
from edgelstm.passes.states import pair_states, with_start_states
from edgelstm.passes.stream import StepGraph, StreamOptions, to_step
from edgelstm.program.status import INDEX, OK
from edgelstm.runtime.executors import Programs
from edgelstm.runtime.inputs import as_dtype, check_names, sized, solve_sizes
from edgelstm.runtime.options import stream_options
from edgelstm.runtime.stream import Stream

if TYPE_CHECKING:
    from edgelstm.runtime.horizon import Horizon
    from edgelstm.runtime.pool import Key, Pool

# What few programs ask for is imported where they do, so that a first step need not wait for it.

MAX_FORMS = 8  # one-step forms kept for different options of `stream`


@dataclass(frozen=True, slots=True)
class StateInfo:
    """A state that a stream of the model carries.

    Attributes:
        name: how `stream.state` calls it; the model's input that it replaces, if there is one.
        output: the model's output that shows it after a step, or "" where the model shows none.
        type: dtype and shape.
        how: how it was found: "caller", "data flow" or "implicit" (a layer that starts from its own start state).
    """

    name: str
    output: str
    type: TensorType
    how: str


class Model:
    """A model ready to run: whole sequences by `run` and `predict`, one reading at a time by `stream`.

    Args:
        graph: what a converter or `edgelstm.load` gave.
        states: input name → output name of state pairs, where data flow does not show them.
        machine: what runs it; what is installed, if not given.
        options: how it is streamed where `stream` and `pool` are not told.

    Raises:
        FormatError: the graph is not whole.
        InputError: `states` names what the model does not have.
    """

    def __init__(
        self,
        graph: Graph,
        states: Mapping[str, str] | None = None,
        *,
        machine: Compiled | None = None,
        options: StreamOptions | None = None,
    ) -> None:
        check(graph)
        self._machine, self._options = machine, options or StreamOptions()
        self.graph = pair_states(graph, states)
        self._types = infer_all(self.graph)
        self._steps: dict[StreamOptions, tuple[StepGraph, Programs]] = {}
        self._programs = Programs(replace(self.graph, states=(), initial={}), machine)  # `run`: states are plain inputs

    @property
    def inputs(self) -> Mapping[str, TensorType]:
        """Name → dtype and shape, T and B symbolic."""
        return MappingProxyType(dict(self.graph.inputs))

    @property
    def outputs(self) -> Mapping[str, TensorType]:
        """Name → dtype and shape, T and B symbolic."""
        return MappingProxyType({name: self._types[value] for name, value in self.graph.outputs.items()})

    @cached_property
    def states(self) -> tuple[StateInfo, ...]:
        """What a stream carries; the explicit pairs alone when the model cannot be streamed."""
        try:
            graph = self._step(self._options)[0].graph
        except StreamError:
            graph = self.graph
        shown = {value: name for name, value in self.graph.outputs.items()}
        return tuple(StateInfo(s.input, shown.get(s.output, ""), graph.inputs[s.input], s.how) for s in graph.states)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the model, in hexadecimal; equal models have equal hashes."""
        return hashlib.sha256(to_bytes(replace(self.graph, metadata={}))).hexdigest()

    @property
    def metadata(self) -> Mapping[str, str]:
        """Free text that travels with the model."""
        return MappingProxyType(dict(self.graph.metadata))

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Array]:
        """The graph exactly as exported.

        Args:
            feeds: every input by name; any batch and length that the model allows.

        Returns:
            Every output by name, fresh arrays.

        Raises:
            InputError: a name, dtype or shape does not fit; an index is out of range.
        """
        check_names(feeds, list(self.graph.inputs))
        arrays = {name: as_dtype(feeds[name], kind.dtype, name) for name, kind in self.graph.inputs.items()}
        sizes = solve_sizes(self.graph.inputs, arrays, self.graph.frozen, self.graph.pinned)
        return self._call(self._programs, sizes, arrays)

    def predict(self, x: Any, lengths: Sequence[int] | None = None, *, threads: int = 1) -> Array:
        """Whole sequences in, outputs out; states start as the model says, else at zero.

        Args:
            x: the model's one input that is not a state, batch and time axes as the model has them.
            lengths: one length a row; each row is run at its own length and the rest of its output is 0.
            threads: how many threads may share the rows, or the units of large layers, to the same bits; they do where
                it is quicker.

        Returns:
            The model's one output that is not a state.

        Raises:
            InputError: the model has several inputs or outputs, or x, lengths or threads do not fit.
        """
        check_threads(threads)
        name, output = self._single(self._rest_inputs, "inputs"), self._single(self._rest_outputs, "outputs")
        array = as_dtype(x, self.graph.inputs[name].dtype, name)
        if lengths is None:
            return self._predict(name, output, array, threads)
        return self._predict_rows(name, output, array, lengths, threads)

    def stream(
        self,
        state: Mapping[str, Any] | None = None,
        on_invalid: str = "error",
        *,
        threads: int = 1,
        sizes: Mapping[str, int] | None = None,
        history: int | None = None,
        window: int | None = None,
        lookahead: int | None = None,
    ) -> Stream:
        """A stream with a state of its own: one reading at a time.

        What is not told of sizes, history, window and lookahead is as below, or as a folder was built with.

        Args:
            state: what to start from, by name (see `Stream.state`); the rest starts as the model says.
            on_invalid: what a reading with NaN or Inf does: "error", "hold", "reset" or "propagate".
            threads: how many threads may share a step, to the same bits; they do where a layer is so large that it
                is quicker. Such a step releases the GIL.
            sizes: sizes of free dimensions other than time and batch.
            history: how many steps attention and attention pooling look back on; a stream that has taken so many
                refuses the next until it is reset: 256. Models with such layers pay for it in memory and time.
            window: run the whole-sequence model over the last `window` readings at every step, from its start states;
                the way for models that look at a fixed number of readings or need all of them. 0, the default: do not.
            lookahead: let outputs wait for this many later readings: backward layers then run over so many, and
                centred windows see all they need: 0. See `lookahead_error` for what that costs in accuracy.

        Raises:
            StreamError: the model needs the future; names the layer and the ways out.
            StateError: `state` does not fit.
            InputError: an option is out of range.
        """
        step, programs = self._step(stream_options(self._options, sizes, history, window, lookahead))
        return Stream(self.hash, step, programs, state, on_invalid, threads)

    def pool(
        self,
        capacity: int,
        on_invalid: str = "error",
        *,
        on_full: str = "error",
        on_evict: Callable[[list[Key]], object] | None = None,
        threads: int = 1,
        sizes: Mapping[str, int] | None = None,
        history: int | None = None,
        window: int | None = None,
        lookahead: int | None = None,
    ) -> Pool:
        """Many streams by key, stepped together.

        Args:
            capacity: how many streams there is room for.
            on_invalid: what a reading with NaN or Inf does, as in `stream`: "error" refuses the whole call.
            on_full: what a new key does when the pool is full: "error", or "evict" the least recently used.
            on_evict: called with the keys that made room.
            threads: how many threads may share the rows of a call; they do where it is quicker.
            sizes: as in `stream`.
            history: as in `stream`.
            window: as in `stream`.
            lookahead: as in `stream`.

        Raises:
            StreamError: the model cannot be streamed, or not with an output at every reading.
            InputError: an option is out of range.
        """
        from edgelstm.runtime.pool import Pool

        options = stream_options(self._options, sizes, history, window, lookahead)
        step, programs = self._step(options)
        return Pool(
            self.hash,
            self.graph,
            options,
            step,
            programs,
            capacity=capacity,
            on_invalid=on_invalid,
            on_full=on_full,
            on_evict=on_evict,
            threads=threads,
        )

    def horizon(self, xs: Any = None, tolerance: float = 1e-3, longest: int = 10_000) -> Horizon:
        """After how many readings a stream no longer depends on the state that it started from; see `horizon.py`.

        Args:
            xs: (T, ...) readings of the kind that the model will see; random ones if not given.
            tolerance: how alike outputs must be, as a part of the largest one.
            longest: how many readings are tried at most.

        Raises:
            StreamError: the model cannot be streamed.
            InputError: an argument does not fit.
        """
        from edgelstm.runtime.horizon import measure

        return measure(self.stream, xs, tolerance, longest)

    def lookahead_error(self, x: Any, lookahead: int) -> dict[str, float]:
        """How far a stream with a lookahead is from the whole sequence, on a sample.

        Args:
            x: one sequence, as `stream().run` takes it.
            lookahead: as for `stream`.

        Returns:
            "max" and "rms" of the difference, and "max_output", the largest value that the model gives.

        Raises:
            StreamError: the model does not stream with this lookahead.
        """
        stream = self.stream(window=0, lookahead=lookahead)
        streamed = np.asarray(stream.run(x))
        whole = self.stream(window=len(x), lookahead=0).run(x)[-1]
        time = whole.shape.index(len(x)) if len(x) in whole.shape else 0
        whole = np.moveaxis(whole, time, 0)[: len(streamed)]
        error = (streamed - whole).astype(np.float64)
        return {
            "max": float(np.abs(error).max(initial=0)),
            "rms": float(np.sqrt(np.mean(error**2))) if error.size else 0.0,
            "max_output": float(np.abs(whole).max(initial=0)),
        }

    def trace(self, x: Any) -> dict[str, dict[str, Array]]:
        """Every cell's gates, c and h over time, computed by the NumPy reference.

        Args:
            x: the one input, or all inputs by name.

        Returns:
            cell name → gate or state (i, o, f, g, c, h of an LSTM; z, r, n, h of a GRU; h of an RNN) → (T, D, B, H).
        """
        from edgelstm.program.reference import Reference

        feeds = x if isinstance(x, Mapping) else {self._single(self._rest_inputs, "inputs"): x}
        graph = self.graph if isinstance(x, Mapping) else self._started
        check_names(feeds, list(graph.inputs))
        arrays = {name: as_dtype(feeds[name], kind.dtype, name) for name, kind in graph.inputs.items()}
        sizes = solve_sizes(graph.inputs, arrays, graph.frozen, graph.pinned)
        return Reference(bind(graph, sizes)).trace(arrays)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model as one `.edgelstm` file, atomically.

        Raises:
            OSError: the folder cannot be written to.
        """
        save(self.graph, path)

    def __repr__(self) -> str:
        inputs = ", ".join(f"{name}: {kind}" for name, kind in self.inputs.items())
        outputs = ", ".join(f"{name}: {kind}" for name, kind in self.outputs.items())
        return f"Model({inputs} -> {outputs})"

    # How a sequence without given states is run.

    @cached_property
    def _started(self) -> Graph:
        return with_start_states(self.graph)

    @cached_property
    def _from_start(self) -> Programs:
        return Programs(self._started, self._machine)

    def _step(self, options: StreamOptions) -> tuple[StepGraph, Programs]:
        """The one-step form for some options, kept for the next stream."""
        if options not in self._steps:
            step = to_step(self.graph, options)
            while len(self._steps) >= MAX_FORMS:
                self._steps.pop(next(iter(self._steps)), None)
            block = partial(to_block, self.graph, step, options)
            self._steps[options] = step, Programs(step.graph, self._machine, block)
        return self._steps[options]

    @property
    def _rest_inputs(self) -> list[str]:
        return list(self._started.inputs)

    @property
    def _rest_outputs(self) -> list[str]:
        return list(self._started.outputs)

    def _single(self, names: list[str], what: str) -> str:
        if len(names) != 1:
            raise InputError(
                f"the model has the {what} {', '.join(names) or 'none'}; expected one: use run() with a dict"
            )
        return names[0]

    def _call(
        self, programs: Programs, sizes: Mapping[str, int], arrays: Mapping[str, Array], threads: int = 1
    ) -> dict[str, Array]:
        with programs.executor(sizes, threads) as executor:
            for name, array in arrays.items():
                executor.arenas.inputs[name][...] = array
            status = executor.execute_released(False)
            if status == INDEX:
                raise InputError("an index or length in the inputs is out of range of what it selects from")
            if status != OK:
                raise RuntimeError(f"the program answered {status}")
            types = {name: self._types[value] for name, value in self.graph.outputs.items()}
            return {name: view.astype(types[name].dtype) for name, view in executor.arenas.outputs.items()}

    def _predict(self, name: str, output: str, array: Array, threads: int) -> Array:
        started = self._started
        sizes = solve_sizes(started.inputs, {name: array}, started.frozen, started.pinned)
        if threads > 1 and sizes.get(BATCH, 1) > 1:
            from edgelstm.runtime.together import predict_together

            axes = axis_of(started.inputs[name], BATCH), axis_of(self._types[started.outputs[output]], BATCH)
            answer = predict_together(started, self._from_start, sizes, (name, array), output, axes, threads)
            if answer is not None:
                return answer.astype(self._types[started.outputs[output]].dtype)
        return self._call(self._from_start, sizes, {name: array}, threads)[output]

    def _predict_rows(self, name: str, output: str, array: Array, lengths: Sequence[int], threads: int) -> Array:
        kind, result = self.graph.inputs[name], self._types[self.graph.outputs[output]]
        time, batch = axis_of(kind, TIME), axis_of(kind, BATCH)
        out_time, out_batch = axis_of(result, TIME), axis_of(result, BATCH)
        if time is None or batch is None or out_batch is None:
            raise InputError(
                f"lengths need an input and output with a batch axis and a time axis; got {kind} to {result}"
            )
        counts = as_dtype(lengths, "int64", "lengths")
        inside = counts.min(initial=0) >= 0 and counts.max(initial=0) <= array.shape[time]
        if counts.shape != (array.shape[batch],) or not inside:
            raise InputError(
                f"lengths: expected {array.shape[batch]} integers from 0 to {array.shape[time]}, got {counts.tolist()}"
            )
        sizes = solve_sizes({name: kind}, {name: array}, {}, {})
        out = np.zeros(sized(substitute_shape(result.shape, sizes)), result.dtype)
        for length in np.unique(counts[counts > 0]).tolist():
            rows = np.flatnonzero(counts == length)
            part = self._predict(name, output, array.take(rows, batch).take(range(length), time), threads)
            target = np.moveaxis(out, out_batch, 0)
            source = np.moveaxis(part, out_batch, 0)
            if out_time is not None:
                after = out_time + (out_time < out_batch)
                target, source = np.moveaxis(target, after, 1), np.moveaxis(source, after, 1)
                target[rows, : source.shape[1]] = source
            else:
                target[rows] = source
        return out


def axis_of(kind: TensorType, name: str) -> int | None:
    """The one axis that depends on the symbol `name`, if there is one."""
    axes = [axis for axis, dim in enumerate(kind.shape) if name in symbols(dim)]
    return axes[0] if len(axes) == 1 else None
