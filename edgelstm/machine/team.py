"""Threads that help a caller, as Python sees them: who there are, who is free, and how they end.

A worker is a thread of Python that stays inside compiled code, with the interpreter's lock released, and sleeps on a
semaphore of the C library between calls. Streams, pools and models that ask for as many threads have one crew, from
which each call borrows a team; a call that finds none free runs on its own thread. Where the C library has no unnamed
semaphores (macOS, Windows) there are no teams.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import platform
import threading
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import numpy as np

from edgelstm.errors import InputError
from edgelstm.machine import places
from edgelstm.machine.compiled import Compiled
from edgelstm.program.program import aligned

MAX_THREADS = 256
_LINE_BYTES = 8 * places.LINE
_LIBRARY_CALLS = ("sem_post", "sem_wait", "sched_yield")  # in the order of places.POST, WAIT, YIELD
_END_SECONDS = 1.0


def check_threads(threads: Any) -> int:
    """A number of threads that was asked for.

    Raises:
        InputError: it is none.
    """
    if not isinstance(threads, int) or isinstance(threads, bool) or not 1 <= threads <= MAX_THREADS:
        raise InputError(f"threads: expected an integer from 1 to {MAX_THREADS}, got {threads!r}")
    return threads


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _library() -> Any | None:
    """The C library, if it has what workers sleep on."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        for name in ("sem_init", *_LIBRARY_CALLS):
            getattr(library, name)
        # Some systems have the function, and it refuses.
        room = ctypes.create_string_buffer(_LINE_BYTES)
        return library if library.sem_init(room, 0, 0) == 0 else None
    except (OSError, AttributeError, TypeError):
        return None


def possible() -> bool:
    """Whether this system can have teams at all."""
    return _library() is not None


@cache
def _warn_once() -> None:
    warnings.warn(
        f"threads: calls run on one thread, because {platform.system()} has no unnamed POSIX semaphores for others to "
        "sleep on; results are the same",
        RuntimeWarning,
        stacklevel=6,
    )


class Team:
    """A caller's place and some workers. The threads end when the object does."""

    def __init__(self, compiled: Compiled, workers: int) -> None:
        library = _library()
        assert library is not None
        words = places.table_words(workers)
        self._table: Any = aligned(2 * words).view(np.int64)[:words]
        self.address = int(self._table.ctypes.data)
        self._table[places.WORKERS] = workers
        calls = [ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0 for name in _LIBRARY_CALLS]
        self._table[places.POST : places.POST + len(calls)] = calls
        semaphores = [self._semaphore(worker) for worker in range(workers)]
        for semaphore in semaphores:
            library.sem_init(ctypes.c_void_p(semaphore), 0, 0)
        self.threads = [
            threading.Thread(
                target=_work, args=(compiled, self._table, worker), name=f"edgelstm-{worker + 1}", daemon=True
            )
            for worker in range(workers)
        ]
        self.end = weakref.finalize(self, _end, self._table, semaphores, self.threads)
        self.end.atexit = False  # see `_end_all`
        for thread in self.threads:
            thread.start()

    def keen(self, more: bool) -> None:
        """Whether calls follow each other at once, so that workers wait awake for a moment in between."""
        self._table[places.KEEN] = int(more)

    def _semaphore(self, worker: int) -> int:
        return self.address + 8 * (places.MEMBERS + places.MEMBER * worker + places.SEMAPHORE)


def _work(compiled: Compiled, table: Any, worker: int) -> None:
    # `table` is held here for as long as compiled code looks at it.
    compiled.serve(int(table.ctypes.data), worker)


def _end(table: Any, semaphores: list[int], threads: list[threading.Thread]) -> None:
    """Tell workers to end. Does not wait: this may run wherever garbage is collected."""
    table[places.STOP] = 1
    library = _library()
    if library is not None and any(thread.is_alive() for thread in threads):
        for semaphore in semaphores:
            library.sem_post(ctypes.c_void_p(semaphore))


class Crew:
    """The teams of so many threads that one compiled machine has; made when they are first needed."""

    def __init__(self, compiled: Compiled, threads: int) -> None:
        self.compiled, self.threads = compiled, threads
        self._most = max((processors() - 1) // (threads - 1), 1)
        self.forget()
        _crews.add(self)

    def forget(self) -> None:
        """Begin anew: after a fork no worker is there any more."""
        self._lock = threading.Lock()
        self._free: list[Team] = []
        self.teams: list[Team] = []

    @contextmanager
    def team(self, keen: bool = False) -> Iterator[Team | None]:
        """A team for one call; None where all are at work. `keen`: see `Team.keen`."""
        team = self._take()
        if team is None:
            yield None
            return
        free = self._free
        try:
            if keen:
                team.keen(True)
            yield team
        finally:
            if keen:
                team.keen(False)
            free.append(team)

    def _take(self) -> Team | None:
        with self._lock:
            if self._free:
                return self._free.pop()
            if len(self.teams) < self._most:
                try:
                    self.teams.append(Team(self.compiled, self.threads - 1))
                except RuntimeError:  # no more threads can be started
                    return None
                return self.teams[-1]
        return None


_crews: WeakSet[Crew] = WeakSet()
_by_machine: WeakKeyDictionary[Any, weakref.WeakValueDictionary[int, Crew]] = WeakKeyDictionary()
_lock = threading.Lock()


def crew(compiled: Compiled, threads: int) -> Crew | None:
    """The crew that all with this machine and number share; None where one thread does as well."""
    threads = min(threads, processors())
    if threads < 2:
        return None
    if not possible():
        _warn_once()
        return None
    with _lock:
        crews = _by_machine.setdefault(compiled, weakref.WeakValueDictionary())
        found = crews.get(threads)
        if found is None:
            found = crews[threads] = Crew(compiled, threads)
        return found


def _after_fork() -> None:
    _lock._at_fork_reinit()  # type: ignore[attr-defined]
    for one in list(_crews):
        one.forget()


def _end_all() -> None:
    """Workers are gone before the interpreter takes its memory back."""
    teams = [team for one in list(_crews) for team in one.teams]
    for team in teams:
        team.end()
    for team in teams:
        for thread in team.threads:
            thread.join(_END_SECONDS)


atexit.register(_end_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
