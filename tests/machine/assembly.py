"""Prints the assembly of a kernel for a CPU: `python -m tests.machine.assembly cortex-a72 lstm`.

A program of its own: the choice of instructions for another CPU must stand before any kernel is compiled.
"""

from __future__ import annotations

import re
import sys
from importlib import import_module

import llvmlite.binding as llvm
import numba
from numba.core import types

from edgelstm.machine.simd import emit

TARGETS = {  # cpu: (triple, features that kernels ask for)
    "cortex-a53": ("aarch64-unknown-linux-gnu", {"neon"}),
    "cortex-a72": ("aarch64-unknown-linux-gnu", {"neon"}),
    "haswell": ("x86_64-unknown-linux-gnu", {"avx", "fma", "sse4.1"}),
    "skylake-avx512": ("x86_64-unknown-linux-gnu", {"avx", "fma", "sse4.1", "avx512f"}),
}


def assembly(cpu: str, name: str) -> str:
    """What LLVM makes of a kernel and all that it calls, for one CPU."""
    triple, features = TARGETS[cpu]
    emit.can = lambda _context, *wanted: not features.isdisjoint(wanted)
    function = getattr(import_module(f"edgelstm.machine.kernels.{name}"), name)
    kernel = numba.njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)(function.py_func)
    kernel.compile(types.void(types.int64, types.int64))
    (code,) = kernel.inspect_llvm().values()
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=3)
    code = re.sub(r"target triple = .*", f'target triple = "{triple}"', code)
    code = re.sub(r"target datalayout = .*", f'target datalayout = "{machine.target_data}"', code)
    return machine.emit_assembly(llvm.parse_assembly(code))


if __name__ == "__main__":
    print(assembly(*sys.argv[1:]))
