"""The machine for another CPU: numba's LLVM, with the target's abilities, as one relocatable object.

Run as a program of its own (`python -m edgelstm.machine.ahead TARGET OUT`, see `object_code`): the choice of
instructions must stand before any kernel is compiled. Only numba's front end is used; LLVM's
passes run once, with the target's costs.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgelstm.errors import DependencyError, EdgeLSTMError
from edgelstm.machine.compiled import NUMBA, source_digest
from edgelstm.machine.folder import cache_folder, keep
from edgelstm.machine.targets import NATIVE, Target, custom, find

PREFIX = "edgelstm_machine_"


def resolve(name: str) -> Target:
    """A target by name; "native" is the CPU that this runs on.

    Raises:
        InputError: there is none.
        DependencyError: "native" was asked for, and llvmlite is missing.
    """
    if name != NATIVE:
        return find(name)
    try:
        import llvmlite.binding as llvm
    except ImportError:
        raise DependencyError("numba and llvmlite are not installed; install edgelstm[build]") from None
    features, cpu = llvm.get_host_cpu_features().flatten(), llvm.get_host_cpu_name()
    target = custom(llvm.get_process_triple(), cpu, features)
    return replace(target, name=NATIVE, machines=f"this machine ({cpu})")


def object_code(target: Target) -> bytes:
    """The interpreter and its entry points as a relocatable ELF object for a target, position independent.

    It defines `PREFIX` + the names of `_functions` and "digest"; it calls nothing but memcpy, memset and the compiler's
    helpers. It is the same for every model, and kept in the user's cache directory (EDGELSTM_CACHE_DIR) unless others
    can write there.

    Raises:
        DependencyError: numba is not installed.
        EdgeLSTMError: the target's compiler refused.
    """
    if find_spec("numba") is None:
        raise DependencyError("numba is not installed, and compiles the machine for a target; install edgelstm[build]")
    kept = _cache_file(target)
    if kept is not None and kept.is_file():
        return kept.read_bytes()
    with tempfile.TemporaryDirectory(prefix="edgelstm-") as folder:
        out = Path(folder, "machine.o")
        root = str(Path(__file__).resolve().parent.parent.parent)
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH", ""))))
        done = subprocess.run(
            [sys.executable, "-m", "edgelstm.machine.ahead", json.dumps(asdict(target)), str(out)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": path},
        )
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ["no message"]
            raise EdgeLSTMError(f"the machine could not be compiled for {target.name} ({target.triple}): {last[0]}")
        code = out.read_bytes()
    if kept is not None:
        keep(kept, code)
    return code


def _cache_file(target: Target) -> Path | None:
    """Where an object is kept; None where there is no directory that is the user's alone."""
    base = cache_folder()
    if base is None:
        return None
    code = target.triple, target.cpu, target.features, target.abilities, target.abi
    versions = version("numba"), version("llvmlite"), os.environ.get("EDGELSTM_DOT", "")
    key = json.dumps([*code, source_digest(), *versions])
    return base / f"{target.architecture}-{hashlib.sha256(key.encode()).hexdigest()[:32]}.o"


def _functions() -> dict[str, tuple[Any, int]]:
    """Exported name → function and how many int64 it takes; all answer an int64."""
    from edgelstm.machine import entry, keys, pieces, rows
    from edgelstm.machine.interpreter import interpret

    return {
        "interpret": (interpret, 1),
        "execute": (entry.execute, 2),
        "run": (entry.run_at, 4),
        "call_step": (entry.call_step, 3),
        "step_rows": (rows.step_rows, 6),
        "scan_rows": (rows.scan_rows, 6),
        "share": (pieces.share, 5),
        "serve": (pieces.serve, 2),
        "do_record": (pieces.do_record, 2),
        "find_keys": (keys.find_keys, 4),
        "note_keys": (keys.note_keys, 4),
    }


# Functions of kernels that take long for what a call costs. LLVM inlines whatever has one caller; code would be half as
# large again, and no faster.
_RARELY = re.compile(r"7kernels\d+(?!lstm|gru|rnn|int8|sequence|walk|activation)")


def _compile(target: Target) -> bytes:
    import llvmlite.binding as llvm
    import numba
    from numba.core import types
    from numba.core.codegen import CPUCodegen, CPUCodeLibrary, JITCodeLibrary, JITCPUCodegen
    from numba.core.compiler_lock import global_compiler_lock

    enabled = ",".join(f"+{ability}" for ability in target.abilities)
    stubs: dict[tuple[Any, str], Any] = {
        (CPUCodegen, "magic_tuple"): lambda _self: (target.triple, target.cpu, enabled),
        # LLVM's passes are run below, for the target.
        (CPUCodeLibrary, "_optimize_functions"): lambda _self, _module: None,
        (CPUCodeLibrary, "_optimize_final_module"): lambda _self: None,
        # Nothing is to run here: another CPU's instructions would not even compile.
        (JITCodeLibrary, "_finalize_specific"): lambda _self: None,
        (JITCodeLibrary, "get_pointer_to_function"): lambda _self, _name: 1,
        (JITCPUCodegen, "_add_module"): lambda _self, _module: None,
        (JITCPUCodegen, "set_env"): lambda _self, _name, _environment: None,
    }
    for (owner, name), stub in stubs.items():
        if not hasattr(owner, name):
            oldest, newest = NUMBA
            raise DependencyError(
                f"numba {numba.__version__} has no {owner.__name__}.{name}, which compiling for another machine needs; "
                f"install a version from {oldest} to {newest}"
            )
        setattr(owner, name, stub)
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.features, opt=3, reloc="pic", codemodel="default", abiname=target.abi
    )
    whole: Any = None
    for name, (function, count) in _functions().items():
        flags: dict[str, Any] = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
        dispatcher = numba.njit(**flags)(function.py_func)
        dispatcher.compile(types.int64(*[types.int64] * count))
        (compiled,) = dispatcher.overloads.values()
        with global_compiler_lock:
            compiled.library._ensure_finalized()
        text = str(compiled.library._final_module) + _wrapper(name, compiled.fndesc.llvm_func_name, count)
        text = re.sub(r"target triple = .*", f'target triple = "{target.triple}"', text)
        text = re.sub(r"target datalayout = .*", f'target datalayout = "{machine.target_data}"', text)
        module = llvm.parse_assembly(text)
        for defined in module.functions:
            defined.add_function_attribute("nounwind")
            if not defined.is_declaration and not defined.name.startswith(PREFIX):
                defined.linkage = "linkonce_odr"
        if whole is None:
            whole = module
            whole.link_in(llvm.parse_assembly(_digest(target, str(machine.target_data))))
        else:
            whole.link_in(module)
    for defined in whole.functions:
        if not defined.is_declaration:
            outside = defined.name.startswith(PREFIX)
            defined.linkage = "external" if outside else "internal"
            if _RARELY.search(defined.name) and b"alwaysinline" not in defined.attributes:
                defined.add_function_attribute("noinline")
            if not _wide(target):
                defined.add_function_attribute("optsize")
    for variable in whole.global_variables:
        if not variable.is_declaration:
            variable.linkage = "internal"
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization, options.slp_vectorization = True, False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(whole, builder)
    whole.verify()
    return bytes(machine.emit_object(whole))


def _wide(target: Target) -> bool:
    """Whether vectors have 32 bytes or more; with shorter ones unrolling doubles the code and gains no time."""
    return "avx2" in target.abilities


def _digest(target: Target, layout: str) -> str:
    """A module with the function that tells from which sources the library is made."""
    text = source_digest()
    return f"""
target triple = "{target.triple}"
target datalayout = "{layout}"
@digest = internal constant [{len(text) + 1} x i8] c"{text}\\00"
define ptr @{PREFIX}digest() {{
  ret ptr @digest
}}
"""


def _wrapper(name: str, inner: str, count: int) -> str:
    """A C function around numba's, which answers by pointer and reports errors that cannot occur here."""
    arguments = ", ".join(f"i64 %a{n}" for n in range(count))
    inner = inner if re.fullmatch(r"[\w.]+", inner) else f'"{inner}"'
    return f"""
define i64 @{PREFIX}{name}({arguments}) {{
  %answer = alloca i64
  %error = alloca ptr
  %status = call i32 @{inner}(ptr %answer, ptr %error, {arguments})
  %value = load i64, ptr %answer
  ret i64 %value
}}
"""


if __name__ == "__main__":
    described = json.loads(sys.argv[1])
    described["abilities"] = tuple(described["abilities"])
    Path(sys.argv[2]).write_bytes(_compile(Target(**described)))
