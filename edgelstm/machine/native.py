"""The machine out of a library that was compiled ahead of time, through ctypes. Imports neither numba nor llvmlite.

Short calls hold the GIL. `step` is a built-in function of Python's own kind, made from an address in the library: it
costs less than a call through ctypes.
"""

from __future__ import annotations

import ctypes
import hashlib
import platform
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from edgelstm.errors import FormatError, InputError
from edgelstm.machine import slots
from edgelstm.machine.arrays import layout_is_known
from edgelstm.machine.compiled import Compiled, source_digest
from edgelstm.machine.trust import why_not_trusted
from edgelstm.program.status import KIND, SIZE

PREFIX = "edgelstm_machine_"
PREBUILT = Path(__file__).parent / "prebuilt"
_FASTCALL = 0x80

_MACHINES = {0x3E: "x86_64", 0xB7: "aarch64", 0x28: "arm", 0xF3: "riscv64"}


class _Method(ctypes.Structure):
    """PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


def check_owner(path: Path) -> None:
    """Whether nobody else can have written a library.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: others can write to it.
    """
    if reason := why_not_trusted(path.resolve()):
        raise InputError(
            f"{path} is code and will not be loaded: {reason}; make it and the folders above it writable by you alone"
        )


def check_file(path: Path, sha256: str | None = None) -> None:
    """Whether a library is whole, and for this machine.

    Raises:
        FileNotFoundError: there is no such file.
        FormatError: it is cut short, changed, or for another machine.
    """
    data = path.read_bytes()
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise FormatError(f"{path}: {len(data)} bytes that are not those that were built: copy the folder again")
    if len(data) < 64 or data[:4] != b"\x7fELF":
        raise FormatError(f"{path}: not a shared library of Linux (or cut short): copy the folder again")
    made = _MACHINES.get(int.from_bytes(data[18:20], "little"), "another machine")
    bits, here = 32 * data[4], 8 * ctypes.sizeof(ctypes.c_void_p)
    machine = platform.machine()
    machine = "arm" if (machine.startswith("arm") and here == 32) or (machine == "aarch64" and here == 32) else machine
    if (made, bits) != (machine, here):
        raise FormatError(
            f"{path} is for {made} ({bits}-bit), this Python runs on {machine} ({here}-bit): "
            "build for this machine (`edgelstm targets` lists them)"
        )


def load_library(path: Path, label: str, sha256: str | None = None) -> Compiled:
    """The machine in a library.

    Args:
        path: the library.
        label: what to call it in `Compiled.source`.
        sha256: what the file's bytes must have, in hexadecimal.

    Raises:
        FileNotFoundError: there is no such file.
        FormatError: it is damaged, for another machine, or of another version of edgelstm.
    """
    start = time.perf_counter()
    check_file(path, sha256)
    try:
        held, free = ctypes.PyDLL(str(path)), ctypes.CDLL(str(path))
        made_from = _digest(held)
    except (OSError, AttributeError) as error:
        raise FormatError(f"{path}: cannot be loaded ({error})") from None
    if made_from != source_digest():
        raise FormatError(
            f"{path} was made by another version of edgelstm than the installed one: build it again, or install the "
            "version that its card names"
        )
    address = _address(held, "interpret")
    direct = layout_is_known() and platform.python_implementation() == "CPython"
    method = _Method(b"step", _address(held, "call_step"), _FASTCALL, None)
    make = ctypes.pythonapi.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)
    at = ctypes.addressof(method)

    def bind_step(context: Any, _kept: _Method = method) -> Any:
        return make(at, context, None)

    run_at = _function(free, "run", 4)

    def run(context: int, xs: Any, ys: Any) -> int:
        table = (ctypes.c_int64 * slots.SLOTS).from_address(context)
        if not (_is_matrix(xs) and _is_matrix(ys) and ys.flags.writeable):
            return KIND
        if len(xs) != len(ys) or (xs.shape[1], ys.shape[1]) != (table[slots.INPUT_WORDS], table[slots.OUTPUT_WORDS]):
            return SIZE
        return int(run_at(context, xs.ctypes.data, ys.ctypes.data, len(xs)))

    return Compiled(
        interpreter=address,
        bind_step=bind_step,
        execute=_function(held, "execute", 2),
        run=run,
        execute_released=_function(free, "execute", 2),
        step_rows=_function(held, "step_rows", 6),
        step_rows_released=_function(free, "step_rows", 6),
        scan_rows=_function(held, "scan_rows", 6),
        share=_function(free, "share", 5),
        serve=_function(free, "serve", 2),
        do_record=_address(held, "do_record"),
        find_keys=_function(held, "find_keys", 4),
        note_keys=_function(held, "note_keys", 4),
        direct=direct,
        source=f"library for {label}",
        seconds=time.perf_counter() - start,
        directory=path.parent,
    )


@cache
def prebuilt() -> Compiled | None:
    """The machine that came with the package and fits this processor best; None where there is none.

    Who may write to it is not asked: the same can write to the modules beside it.
    """
    if platform.system() != "Linux" or not PREBUILT.is_dir():
        return None
    for name in suitable():
        path = PREBUILT / f"{name}.so"
        if path.is_file():
            try:
                return load_library(path, name)
            except FormatError:
                return None  # of other sources, as in a checkout that was edited: numba compiles those
    return None


def suitable() -> list[str]:
    """Names of targets whose libraries this processor runs, the best first."""
    flags = _flags()
    if platform.machine() == "x86_64":
        v2 = {"ssse3", "sse4_1", "sse4_2", "popcnt", "cx16"} <= flags
        v3 = v2 and {"avx2", "fma", "bmi1", "bmi2", "f16c", "movbe"} <= flags and {"lzcnt", "abm"} & flags != set()
        v4 = v3 and {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"} <= flags
        fits = {
            "x86-64-v4-vnni": v4 and "avx512_vnni" in flags,
            "x86-64-v4": v4,
            "x86-64-v3-vnni": v3 and "avx_vnni" in flags,
            "x86-64-v3": v3,
            "x86-64-v2": v2,
        }
    elif platform.machine() == "aarch64" and ctypes.sizeof(ctypes.c_void_p) == 8:
        fits = {"aarch64-dotprod": "asimddp" in flags, "aarch64": True}
    else:
        fits = {}
    return [name for name, fit in fits.items() if fit]


def _flags() -> set[str]:
    """What the kernel says the processor can do."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return set()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in {"flags", "Features"}:
            return set(value.split())
    return set()


def _digest(library: ctypes.CDLL) -> str:
    function = getattr(library, f"{PREFIX}digest")
    function.restype, function.argtypes = ctypes.c_char_p, ()
    return bytes(function()).decode("ascii", "replace")


def _function(library: ctypes.CDLL, name: str, count: int) -> Any:
    function = getattr(library, PREFIX + name)
    function.restype, function.argtypes = ctypes.c_int64, (ctypes.c_int64,) * count
    return function


def _address(library: ctypes.CDLL, name: str) -> int:
    return ctypes.cast(getattr(library, PREFIX + name), ctypes.c_void_p).value or 0


def _is_matrix(array: Any) -> bool:
    if type(array) is not np.ndarray or array.dtype != np.float32 or array.ndim != 2:
        return False
    return bool(array.flags.c_contiguous and array.flags.aligned)
