"""How numba compiles the machine: LLVM sees all functions at once, and only once.

By default numba optimises every function, makes machine code and two wrappers for Python and C of it, and only then
copies it into its callers, where all of this happens again. Here a function that only other compiled functions
call stays as the front end wrote it; LLVM's passes and the code generator run where Python or C come in. That halves
the time.

These are numba's internals, tried with the versions that `compiled.NUMBA` tells. With a version that changed them
`at_once` raises, and `jit.py` compiles numba's own way.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numba.core import event
from numba.core.codegen import JITCodeLibrary, JITCPUCodegen
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher
from numba.core.registry import cpu_target
from numba.core.runtime.nrt import rtsys

# The compiler makes objects by the million, few of them garbage: looking for it as often as usual costs a seventh.
_OBJECTS_PER_COLLECTION = 100_000
# What is replaced or called below, and would be missed only after some of it was replaced.
_NEEDED = {
    JITCodeLibrary: ("_optimize_functions", "_optimize_final_module", "_finalize_final_module", "name"),
    JITCPUCodegen: ("_module_pass_manager", "set_env", "_library_class"),
    Dispatcher: ("_make_finalizer", "_reset_overloads"),
    type(cpu_target.target_context): ("create_cpython_wrapper", "create_cfunc_wrapper"),
}


class _Library(JITCodeLibrary):
    """One function and all that it calls."""

    _codegen: _Codegen

    @property
    def _entered(self) -> bool:
        return self.name in self._codegen.entries

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        if self._entered:
            passes, builder = self._codegen._module_pass_manager()
            passes.run(self._final_module, builder)

    def _finalize_final_module(self) -> None:
        if self._entered:
            super()._finalize_final_module()
        else:
            self._finalize_dynamic_globals()
            self._finalized = True


class _Codegen(JITCPUCodegen):
    """Code for this CPU, of which Python and C enter the functions of these qualified names."""

    _library_class = _Library

    def __init__(self, entries: frozenset[str]) -> None:
        self.entries = entries
        super().__init__("edgelstm.machine")

    def set_env(self, env_name: str, env: Any) -> None:
        if self._engine.is_symbol_defined(env_name):
            super().set_env(env_name, env)


class _Compiled(event.Listener):
    """Collects the dispatchers that are compiled meanwhile."""

    def __init__(self) -> None:
        self.dispatchers: list[Any] = []

    def on_start(self, event: Any) -> None:
        self.dispatchers.append(event.data["dispatcher"])

    def on_end(self, event: Any) -> None:
        pass


@contextmanager
def at_once(entries: frozenset[str]) -> Iterator[None]:
    """Inside, numba makes machine code of the functions of these qualified names alone.

    Other threads' compilations wait. What the functions called is forgotten in the end: elsewhere
    numba compiles it as ever.

    Raises:
        AttributeError: this numba has not all that is needed; nothing was changed.
    """
    for owner, names in _NEEDED.items():
        for name in names:
            getattr(owner, name)
    with global_compiler_lock:
        context = cpu_target.target_context
        context.refresh()
        rtsys.initialize(context)
        usual, cpython, cfunc = context._internal_codegen, context.create_cpython_wrapper, context.create_cfunc_wrapper

        def for_entries(create: Any) -> Any:
            return lambda library, *args, **named: library._entered and create(library, *args, **named)

        compiled, threshold = _Compiled(), gc.get_threshold()
        gc.set_threshold(_OBJECTS_PER_COLLECTION, *threshold[1:])
        context._internal_codegen = _Codegen(entries)
        context.create_cpython_wrapper, context.create_cfunc_wrapper = for_entries(cpython), for_entries(cfunc)
        try:
            with event.install_listener("numba:compile", compiled):
                yield
        finally:
            gc.set_threshold(*threshold)
            context._internal_codegen = usual
            del context.create_cpython_wrapper, context.create_cfunc_wrapper
            for dispatcher in compiled.dispatchers:
                if dispatcher.py_func.__qualname__ not in entries:
                    dispatcher._make_finalizer()()
                    dispatcher._reset_overloads()
