"""Whole int8 kernels give the same bits whatever instruction set their dot products use."""

import importlib
import os
import re
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import types
from numba.core.registry import cpu_target

from edgelstm.machine import dot
from edgelstm.machine.dot import variants
from edgelstm.program.lowering import lower
from tests.machine.kernels import harness
from tests.machine.kernels.int8_cases import KINDS, cell, every

KERNELS = "edgelstm.machine.kernels"
MODULES = ("int8", "int8_rows", "lstm_int8", "gru_int8", "rnn_int8", "linear_int8", "conv_int8", "gather_int8")
HERE = variants(*(cpu_target.target_context.codegen().magic_tuple()[k] for k in (0, 2)))
INSTRUCTIONS = {"vnni256": r"vpdpbusd.*%ymm", "avx2": r"psignb.*%ymm", "ssse3": r"psignb.*%xmm", "neon": r"smull"}
INSTRUCTIONS |= {"portable": r"pmulld|mul\s+v", "sdot": r"\bsdot\b"}
QUICK = [name for name in HERE if name in ("avx2", "neon")]


def compiled(variant):
    """The kernels made once more, with another dot product: kernel name → function."""
    package = importlib.import_module(KERNELS)
    names = [f"{KERNELS}.{name}" for name in MODULES]
    saved = {name: importlib.import_module(name) for name in names}
    before = os.environ.get(dot.FORCED)
    os.environ[dot.FORCED] = variant
    for name in names:
        del sys.modules[name]
    try:
        made = {}
        for name in MODULES[2:]:
            made[name] = getattr(importlib.import_module(f"{KERNELS}.{name}"), name)
            made[name].compile((types.int64, types.int64))
        return made
    finally:
        sys.modules.update(saved)
        for name, module in zip(MODULES, saved.values(), strict=True):
            setattr(package, name, module)
        os.environ.pop(dot.FORCED) if before is None else os.environ.update({dot.FORCED: before})


CHOSEN = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in HERE[1:] if name not in QUICK)]


@pytest.fixture(scope="module", params=CHOSEN)
def other(request):
    made = compiled(request.param)
    (assembly,) = made["linear_int8"].inspect_asm().values()
    assert re.search(INSTRUCTIONS[request.param], assembly), "the other dot product is not in the kernel"
    return made


def outputs(graph, feeds, kernels=None):
    return harness.Machine(lower(graph), kernels).run(feeds)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(KINDS))
def test_every_kernel(other, seed, kind):
    for name, (graph, feeds) in every(seed, kind).items():
        want, got = outputs(graph, feeds), outputs(graph, feeds, other)
        for output, value in want.items():
            np.testing.assert_array_equal(got[output].view(np.int32), value.view(np.int32), err_msg=f"{name}, {output}")


@pytest.mark.slow
@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_a_hundred_thousand_steps(other, op):
    graph, feeds = cell(op, 5, 40, moments=100_000, batch=1)
    want, got = outputs(graph, feeds), outputs(graph, feeds, other)
    for output, value in want.items():
        np.testing.assert_array_equal(got[output].view(np.int32), value.view(np.int32), err_msg=output)
