"""Compiling all functions at once, and what it leaves behind."""

import gc

import numba
import pytest
from numba.core import types
from numba.core.registry import cpu_target

from edgelstm.machine.whole import at_once


@pytest.fixture
def functions():
    """A function that Python calls, and one that it calls."""

    @numba.njit
    def inner(value):
        return 2 * value

    @numba.njit
    def outer(value):
        return inner(value) + 1

    return outer, inner


def compile_both(outer):
    with at_once(frozenset({outer.py_func.__qualname__})):
        outer.compile(types.int64(types.int64))


def test_machine_code_is_made_of_entries_alone(functions):
    outer, inner = functions
    compile_both(outer)
    assert outer(20) == 41
    assert outer.signatures
    assert not inner.signatures


def test_functions_inside_can_still_be_called_from_python(functions):
    outer, inner = functions
    compile_both(outer)
    assert inner(20) == 40
    assert numba.njit(lambda value: inner(value) - 1)(20) == 39


def test_a_failure_leaves_the_compiler_as_it_was(functions):
    outer, inner = functions
    codegen, threshold = cpu_target.target_context.codegen(), gc.get_threshold()
    with pytest.raises(numba.TypingError), at_once(frozenset({outer.py_func.__qualname__})):
        outer.compile((types.unicode_type,))
    assert cpu_target.target_context.codegen() is codegen
    assert gc.get_threshold() == threshold
    assert not inner.signatures
    assert numba.njit(lambda value: value + 1)(20) == 21
