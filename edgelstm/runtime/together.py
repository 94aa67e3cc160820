"""The rows of a batch among several threads, where rows do not touch each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import pairwise
from weakref import WeakKeyDictionary

import numpy as np

from edgelstm.errors import EdgeLSTMError, InputError
from edgelstm.graph.bind import substitute_graph
from edgelstm.graph.dims import BATCH, TIME
from edgelstm.graph.ir import Array, Graph
from edgelstm.machine.executor import Machine
from edgelstm.machine.team import Crew, crew
from edgelstm.machine.threshold import worth
from edgelstm.machine.together import execute_all
from edgelstm.program.executor import Executor
from edgelstm.program.status import INDEX, OK
from edgelstm.runtime.batch import MARK, keeps_rows_apart
from edgelstm.runtime.executors import MAX_PROGRAMS, Programs

_known: WeakKeyDictionary[Programs, dict[tuple[tuple[str, int], ...], bool]] = WeakKeyDictionary()


def predict_together(
    graph: Graph,
    programs: Programs,
    sizes: Mapping[str, int],
    given: tuple[str, Array],
    output: str,
    axes: tuple[int | None, int | None],
    threads: int,
) -> Array | None:
    """The output of a model for a batch whose rows are shared among threads; None where that is no gain.

    Args:
        graph: the model.
        programs: its programs.
        sizes: the size of each of its symbols.
        given: its input's name and value.
        output: its output's name.
        axes: the batch axes of input and output.
        threads: how many may share.

    Raises:
        InputError: an index in the input is out of range.
    """
    machine, (name, array), (axis, out_axis) = programs.machine, given, axes
    helpers = crew(machine, threads) if machine is not None else None
    if machine is None or helpers is None or axis is None or out_axis is None:
        return None
    rows = sizes[BATCH]
    weights = 4 * programs.program(sizes).weights.size
    if not worth(machine, helpers.threads, weights, 1, rows * sizes.get(TIME, 1)) or not _apart(graph, programs, sizes):
        return None
    with ExitStack() as stack:
        borders = _borders(rows, helpers.threads)
        machines = [
            stack.enter_context(programs.executor({**sizes, BATCH: end - start})) for start, end in pairwise(borders)
        ]
        for executor, (start, end) in zip(machines, pairwise(borders), strict=True):
            executor.arenas.inputs[name][...] = np.moveaxis(np.moveaxis(array, axis, 0)[start:end], 0, axis)
        _execute(helpers, machines)
        return np.concatenate([executor.arenas.outputs[output] for executor in machines], out_axis)


def _execute(helpers: Crew, executors: Sequence[Executor]) -> None:
    status = execute_all(helpers, [one for one in executors if isinstance(one, Machine)])
    if status == INDEX:
        raise InputError("an index or length in the inputs is out of range of what it selects from")
    if status != OK:
        raise RuntimeError(f"the program answered {status}")


def _apart(graph: Graph, programs: Programs, sizes: Mapping[str, int]) -> bool:
    """Whether no row of the batch depends on another; found out once for each length."""
    known = _known.setdefault(programs, {})
    key = tuple(sorted((name, size) for name, size in sizes.items() if name != BATCH))
    if key not in known:
        try:
            known[key] = keeps_rows_apart(substitute_graph(graph, {**sizes, BATCH: MARK}))
        except (EdgeLSTMError, MemoryError):
            known[key] = False
        while len(known) > MAX_PROGRAMS:
            known.pop(next(iter(known)), None)
    return known.get(key, False)


def _borders(rows: int, parts: int) -> list[int]:
    """Where a batch is cut, at even numbers of rows: kernels take them by two at least."""
    size = -(-rows // (2 * parts)) * 2
    return [*range(0, rows, size), rows]
