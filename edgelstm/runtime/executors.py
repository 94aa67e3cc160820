"""Programs for the sizes that are asked for, kept in a bounded cache, and the executors that run them."""

from __future__ import annotations

import os
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.util import find_spec

from edgelstm.errors import DependencyError, InputError
from edgelstm.graph.bind import bind
from edgelstm.graph.ir import Graph
from edgelstm.machine.compiled import Compiled
from edgelstm.machine.executor import Machine
from edgelstm.machine.native import prebuilt
from edgelstm.program.executor import Executor, ReferenceExecutor
from edgelstm.program.lowering import lower
from edgelstm.program.program import Program

MAX_PROGRAMS = 16
MAX_IDLE = 4


CHOICE = "EDGELSTM_MACHINE"
CHOICES = ("prebuilt", "jit", "numpy")


def installed_machine() -> Compiled | None:
    """The machine that came compiled with the package, else numba's, else None. `CHOICE` forces one, for tests.

    Raises:
        InputError: `CHOICE` is none of `CHOICES`.
        DependencyError: the one that it names is not there.
    """
    choice = os.environ.get(CHOICE, "")
    if choice not in ("", *CHOICES):
        raise InputError(f"{CHOICE} is {choice!r}; expected one of {', '.join(CHOICES)}")
    if choice == "prebuilt" or not (choice or os.environ.get("EDGELSTM_DOT")):
        found = prebuilt()
        if found is not None:
            return found
    if choice in ("", "jit") and find_spec("numba") is not None:
        from edgelstm.machine.jit import warmup

        return warmup()
    if choice in ("prebuilt", "jit"):
        raise DependencyError(f"{CHOICE} is {choice!r}, and there is none: install a wheel that has it, or numba")
    return None


def make_executor(program: Program) -> Executor:
    """The compiled machine where there is one, else the reference in NumPy (said once, as a warning)."""
    compiled = installed_machine()
    if compiled is not None:
        return Machine(program, compiled)
    _warn_once()
    return ReferenceExecutor(program)


@cache
def _warn_once() -> None:
    warnings.warn(
        "no compiled machine and no numba: models run in plain NumPy, many times slower; "
        "install edgelstm[jit] for the compiled machine",
        RuntimeWarning,
        stacklevel=4,
    )


@dataclass(slots=True)
class _Entry:
    program: Program
    idle: dict[int, list[Executor]] = field(default_factory=dict)  # by threads


class Programs:
    """The programs of one graph by sizes; the least recently used is dropped beyond `MAX_PROGRAMS`.

    Args:
        graph: what to lower.
        machine: what runs the programs; what is installed, if not given.
        block: for a one-step graph, makes the graph that does many steps at once (see `passes/block.py`), if there is.
    """

    def __init__(
        self, graph: Graph, machine: Compiled | None = None, block: Callable[[], Graph | None] = lambda: None
    ) -> None:
        self._graph, self._machine, self._block = graph, machine, block
        self._entries: OrderedDict[tuple[tuple[str, int], ...], _Entry] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def executor(self, sizes: Mapping[str, int], threads: int = 1) -> Iterator[Executor]:
        """An executor that no other caller uses meanwhile, and that shares its work among so many threads."""
        entry = self._entry(tuple(sorted(sizes.items())))
        with self._lock:
            idle = entry.idle.setdefault(threads, [])
            executor = idle.pop() if idle else None
        executor = executor or self.make(entry.program, threads)
        try:
            yield executor
        finally:
            with self._lock:
                if len(idle) < MAX_IDLE:
                    idle.append(executor)

    @property
    def machine(self) -> Compiled | None:
        """What runs the programs; None where NumPy does."""
        return self._machine or installed_machine()

    @cached_property
    def blocks(self) -> Programs | None:
        """The programs that do many steps at once, by T; None where there are none, or NumPy would run them."""
        graph = self._block() if self.machine is not None else None
        return None if graph is None else Programs(graph, self._machine)

    def make(self, program: Program, threads: int = 1) -> Executor:
        """An executor of a program that shares its work among so many threads."""
        machine = self._machine if threads == 1 else self.machine
        return Machine(program, machine, threads) if machine is not None else make_executor(program)

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
