"""Compiling the machine where numba's internals are not as they were tried."""

import subprocess
import sys
import warnings
from dataclasses import fields

import numba
import pytest
from numba.core import types
from numba.core.registry import cpu_target

from edgelstm.machine import jit, whole
from edgelstm.machine.compiled import Compiled


@pytest.fixture
def small(monkeypatch):
    """In place of the machine, two functions; what `execute` answers shows whether both work."""

    def compile_entries():
        @numba.njit
        def inner(value):
            return 2 * value

        def execute(value, check):
            return inner(value) + check

        outer = numba.njit(execute)
        outer.compile(types.int64(types.int64, types.int64))
        unused = dict.fromkeys(field.name for field in fields(Compiled))
        return Compiled(**unused | {"execute": outer, "source": "compiled", "seconds": 0.0, "piecemeal": ""})

    monkeypatch.setattr(jit, "_compile_entries", compile_entries)
    monkeypatch.setattr(jit, "_ENTRIES", frozenset({"small.<locals>.compile_entries.<locals>.execute"}))
    return jit._compile.__wrapped__


def no_module(monkeypatch):
    monkeypatch.setitem(sys.modules, "edgelstm.machine.whole", None)


def no_name(monkeypatch):
    monkeypatch.setitem(whole._NEEDED, numba.core.dispatcher.Dispatcher, ("_renamed",))


def other_arguments(monkeypatch):
    monkeypatch.setattr(whole._Codegen, "__init__", lambda self: None)


def other_behaviour(monkeypatch):
    def optimize(_self):
        raise AssertionError("the module was finalized before")

    monkeypatch.setattr(whole._Library, "_optimize_final_module", optimize)


def test_all_at_once_says_nothing(small):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compiled = small()
    assert compiled.execute(20, 2) == 42
    assert compiled.piecemeal == ""


@pytest.mark.parametrize("hide", [no_module, no_name, other_arguments, other_behaviour])
def test_without_the_internals_numba_compiles_its_own_way(small, monkeypatch, hide):
    codegen = cpu_target.target_context.codegen()
    hide(monkeypatch)
    with pytest.warns(RuntimeWarning, match="function by function") as said:
        compiled = small()
    assert len(said) == 1
    assert compiled.execute(20, 2) == 42
    assert compiled.piecemeal
    assert cpu_target.target_context.codegen() is codegen
    assert numba.njit(lambda value: value + 1)(20) == 21


def test_a_fault_of_the_machine_itself_is_raised(small, monkeypatch):
    def broken():
        numba.njit(lambda value: value.missing).compile(types.int64(types.int64))

    monkeypatch.setattr(jit, "_compile_entries", broken)
    with pytest.raises(numba.TypingError, match="missing"):
        small()


WHOLE_MACHINE = """
import sys, warnings
sys.modules["edgelstm.machine.whole"] = None
warnings.simplefilter("error")
warnings.filterwarnings("ignore", "numba .* function by function")
from edgelstm.cli import selftest
from edgelstm.machine import jit
assert jit.warmup().piecemeal and not jit.warmup().from_cache
assert selftest.run().passed
"""


@pytest.mark.slow
def test_the_whole_machine_compiles_function_by_function(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("EDGELSTM_MACHINE", "jit")
    tmp_path.chmod(0o700)
    done = subprocess.run([sys.executable, "-c", WHOLE_MACHINE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
