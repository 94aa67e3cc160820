"""Programs for the sizes that are asked for, kept in a bounded cache, and the executors that run them."""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec

from edgelstm.graph.bind import bind
from edgelstm.graph.ir import Graph
from edgelstm.program.executor import Executor, ReferenceExecutor
from edgelstm.program.lowering import lower
from edgelstm.program.program import Program

MAX_PROGRAMS = 16
MAX_IDLE = 4


def make_executor(program: Program) -> Executor:
    """The machine where numba is installed, else the reference in NumPy (said once, as a warning)."""
    if find_spec("numba") is not None:
        from edgelstm.machine.executor import Machine

        return Machine(program)
    _warn_once()
    return ReferenceExecutor(program)


@cache
def _warn_once() -> None:
    warnings.warn(
        "numba is not installed: models run in plain NumPy, many times slower; "
        "install edgelstm[jit] for the compiled machine",
        RuntimeWarning,
        stacklevel=4,
    )


@dataclass(slots=True)
class _Entry:
    program: Program
    idle: list[Executor] = field(default_factory=list)


class Programs:
    """The programs of one graph by sizes; the least recently used is dropped beyond `MAX_PROGRAMS`."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._entries: OrderedDict[tuple[tuple[str, int], ...], _Entry] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def executor(self, sizes: Mapping[str, int]) -> Iterator[Executor]:
        """An executor that no other thread uses meanwhile."""
        entry = self._entry(tuple(sorted(sizes.items())))
        with self._lock:
            executor = entry.idle.pop() if entry.idle else None
        executor = executor or make_executor(entry.program)
        try:
            yield executor
        finally:
            with self._lock:
                if len(entry.idle) < MAX_IDLE:
                    entry.idle.append(executor)

    def program(self, sizes: Mapping[str, int]) -> Program:
        """The program for these sizes."""
        return self._entry(tuple(sorted(sizes.items()))).program

    def _entry(self, key: tuple[tuple[str, int], ...]) -> _Entry:
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        entry = _Entry(lower(bind(self._graph, dict(key))))
        with self._lock:
            entry = self._entries.setdefault(key, entry)
            while len(self._entries) > MAX_PROGRAMS:
                self._entries.popitem(last=False)
        return entry
