"""Compiling the machine: once per CPU, cached, at the first model load or `warmup()`, never at import.

numba's cache does not see changes in functions that a cached one calls. So the functions cached here
are made in a factory that captures a digest of every source behind them: closure values are part of
the cache's key. The cache is pickle, which can run code when it is read: a directory that others can
write to is refused.
"""

from __future__ import annotations

import hashlib
import threading
import time
import warnings
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numba
from numba.core import types
from numba.core.ccallback import CFunc

from edgelstm.machine import dot, entry, keys, pieces, rows
from edgelstm.machine.arrays import layout_is_known
from edgelstm.machine.cache import TrustedCache
from edgelstm.machine.compiled import NUMBA, Compiled, source_digest
from edgelstm.machine.interpreter import interpret

# No fastmath: anything it allows (reassociation, contraction, reciprocals) may change bits from CPU to CPU.
FLAGS: dict[str, Any] = {"error_model": "numpy"}

_INT = types.int64
_ARRAY = entry.array_object

_lock = threading.Lock()


def warmup() -> Compiled:
    """The compiled machine: compiled or loaded on the first call, the same object ever after.

    Warns:
        RuntimeWarning: there is no directory to keep compiled code in, so every process compiles anew; or this numba
            compiles only function by function, which takes longer.
    """
    with _lock:
        return _compile()


def digest() -> str:
    """SHA-256 over everything that the compiled code depends on: sources, and a forced dot product."""
    return hashlib.sha256(f"{dot.forced()} {source_digest()}".encode()).hexdigest()


def _interpreter(sources: str) -> Any:
    def interpreter(context):  # type: ignore[no-untyped-def]
        _ = sources
        return interpret(context)

    return interpreter


def _step(sources: str) -> Any:
    def step(context, x, y):  # type: ignore[no-untyped-def]
        _ = sources
        return entry.step(context, x, y)

    return step


def _execute(sources: str) -> Any:
    def execute(context, check):  # type: ignore[no-untyped-def]
        _ = sources
        return entry.execute(context, check)

    return execute


def _execute_released(sources: str) -> Any:
    def execute_released(context, check):  # type: ignore[no-untyped-def]
        _ = sources
        return entry.execute(context, check)

    return execute_released


def _run(sources: str) -> Any:
    def run(context, xs, ys):  # type: ignore[no-untyped-def]
        _ = sources
        return entry.run(context, xs, ys)

    return run


def _step_rows(sources: str) -> Any:
    def step_rows(context, table, slots, count, x, y):  # type: ignore[no-untyped-def]
        _ = sources
        return rows.step_rows(context, table, slots, count, x, y)

    return step_rows


def _step_rows_released(sources: str) -> Any:
    def step_rows_released(context, table, slots, count, x, y):  # type: ignore[no-untyped-def]
        _ = sources
        return rows.step_rows(context, table, slots, count, x, y)

    return step_rows_released


def _find_keys(sources: str) -> Any:
    def find_keys(table, listed, hashes, slots):  # type: ignore[no-untyped-def]
        _ = sources
        return keys.find_keys(table, listed, hashes, slots)

    return find_keys


def _note_keys(sources: str) -> Any:
    def note_keys(table, listed, hashes, slots):  # type: ignore[no-untyped-def]
        _ = sources
        return keys.note_keys(table, listed, hashes, slots)

    return note_keys


def _scan_rows(sources: str) -> Any:
    def scan_rows(used, slots, count, clock, x, words):  # type: ignore[no-untyped-def]
        _ = sources
        return rows.scan_rows(used, slots, count, clock, x, words)

    return scan_rows


def _share(sources: str) -> Any:
    def share(team, function, records, stride, count):  # type: ignore[no-untyped-def]
        _ = sources
        return pieces.share(team, function, records, stride, count)

    return share


def _serve(sources: str) -> Any:
    def serve(team, worker):  # type: ignore[no-untyped-def]
        _ = sources
        return pieces.serve(team, worker)

    return serve


def _do_record(sources: str) -> Any:
    def do_record(record, member):  # type: ignore[no-untyped-def]
        _ = sources
        return pieces.do_record(record, member)

    return do_record


_INTO_C = (_interpreter, _do_record)
_INTO_PYTHON = (_step, _run, _execute, _execute_released)
_OF_POOLS = (_step_rows, _step_rows_released, _scan_rows, _find_keys, _note_keys)
_OF_TEAMS = (_share, _serve)
_ENTRIES = frozenset(make("").__qualname__ for make in (*_INTO_C, *_INTO_PYTHON, *_OF_POOLS, *_OF_TEAMS))


@cache
def _compile() -> Compiled:
    try:
        from edgelstm.machine.whole import at_once

        with at_once(_ENTRIES):
            return _compile_entries()
    except Exception as error:  # noqa: BLE001 - whatever changed internals of numba lead to; others come again below
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
    compiled = replace(_compile_entries(), piecemeal=reason)
    if not compiled.from_cache:
        warnings.warn(
            f"numba {numba.__version__} compiled the machine function by function, which took {compiled.seconds:.0f} s "
            f"(it is as fast): {reason}; tried with numba {NUMBA[0]} to {NUMBA[1]}",
            RuntimeWarning,
            stacklevel=4,
        )
    return compiled


def _compile_entries() -> Compiled:
    start = time.perf_counter()
    sources = digest()
    interpreter = CFunc(_interpreter(sources), ((_INT,), _INT), {}, dict(FLAGS))
    directory = _enable_cache(interpreter)
    interpreter.compile()
    cached = directory is not None
    record = CFunc(_do_record(sources), ((_INT, _INT), _INT), {}, dict(FLAGS))
    if cached:
        _enable_cache(record)
    record.compile()

    def compiled(function: Any, *arguments: Any, nogil: bool) -> Any:
        dispatcher = numba.njit(nogil=nogil, **FLAGS)(function)
        if cached:
            _enable_cache(dispatcher)
        dispatcher.compile(_INT(*arguments))
        # The compiled function itself: without the dispatcher's look at the types, which cost half of a call.
        return dispatcher.overloads[arguments].entry_point

    step = compiled(_step(sources), _INT, _ARRAY, _ARRAY, nogil=False)
    return Compiled(
        interpreter=int(interpreter.address or 0),
        bind_step=lambda context: partial(step, int(context.ctypes.data)),
        execute=compiled(_execute(sources), _INT, _INT, nogil=False),
        run=compiled(_run(sources), _INT, _ARRAY, _ARRAY, nogil=True),
        execute_released=compiled(_execute_released(sources), _INT, _INT, nogil=True),
        step_rows=compiled(_step_rows(sources), *[_INT] * 6, nogil=False),
        step_rows_released=compiled(_step_rows_released(sources), *[_INT] * 6, nogil=True),
        scan_rows=compiled(_scan_rows(sources), *[_INT] * 6, nogil=False),
        find_keys=compiled(_find_keys(sources), *[_INT] * 4, nogil=False),
        share=compiled(_share(sources), *[_INT] * 5, nogil=True),
        serve=compiled(_serve(sources), *[_INT] * 2, nogil=True),
        do_record=int(record.address or 0),
        note_keys=compiled(_note_keys(sources), *[_INT] * 4, nogil=False),
        direct=layout_is_known(),
        source="read from the cache" if interpreter.cache_hits > 0 else "compiled",
        seconds=time.perf_counter() - start,
        directory=directory,
    )


def _enable_cache(compilable: Any) -> Path | None:
    """Give a dispatcher or C callback its cache; the directory, or None with a warning."""
    make: Any = TrustedCache
    try:
        compilable._cache = make(compilable.__wrapped__ if isinstance(compilable, CFunc) else compilable.py_func)
    except RuntimeError:
        warnings.warn(
            "no directory to keep compiled code in: every process compiles the machine anew; set NUMBA_CACHE_DIR to "
            "a directory that you can write to and that others cannot",
            RuntimeWarning,
            stacklevel=4,
        )
        return None
    return Path(compilable._cache.cache_path)
