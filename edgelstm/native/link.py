"""Objects to libraries, with the cross toolchain of the ziglang package: no compiler of the system, no network."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from edgelstm.errors import DependencyError, EdgeLSTMError
from edgelstm.machine.targets import CUSTOM, Target

# Processors in zig's spelling, where LLVM's with underscores is not it.
_CPUS = {"generic": "baseline", "generic-rv64": "baseline_rv64"}


def compile_c(source: Path, target: Target, out: Path) -> None:
    """One C file to a position independent object.

    Raises:
        DependencyError: the ziglang package is not installed.
        EdgeLSTMError: the compiler refused.
    """
    flags = ["-std=c23", "-O2", "-g0", "-fPIC", "-fno-stack-protector", "-fno-sanitize=all", "-Wall", "-Werror"]
    _zig("cc", "-target", target.link, f"-mcpu={_cpu(target)}", *flags, "-c", str(source), "-o", str(out))


def shared_library(objects: Sequence[Path], target: Target, name: str, out: Path) -> None:
    """A shared library that needs no other: RELRO, bound at load, no executable stack, stripped.

    Raises:
        DependencyError: the ziglang package is not installed.
        EdgeLSTMError: the linker refused.
    """
    _zig(
        "build-lib",
        "-dynamic",
        "-fcompiler-rt",
        "-fstrip",
        "-OReleaseSmall",
        "-target",
        target.link,
        f"-mcpu={_cpu(target)}",
        "--name",
        name,
        f"-fsoname=lib{name}.so",
        f"-femit-bin={out}",
        *map(str, objects),
    )


def static_library(objects: Sequence[Path], out: Path) -> None:
    """An archive for linking into C or C++.

    Raises:
        DependencyError: the ziglang package is not installed.
        EdgeLSTMError: the archiver refused.
    """
    _zig("ar", "rcsD", str(out), *map(str, objects))


def static_flags(target: Target) -> str:
    """What `python -m ziglang cc` takes for a program that runs on any Linux of the target."""
    system = target.link.partition("-gnu")[0] + "-musl" + ("eabihf" if target.architecture == "arm" else "")
    return f"-target {system} -mcpu={_cpu(target)} -static"


def _cpu(target: Target) -> str:
    """The processor in zig's spelling; what was told by hand in full, so that a name that does not exist is refused."""
    if target.architecture == "arm" and target.cpu == "generic":
        base = "generic+v7a+vfp3d16"
    else:
        base = _CPUS.get(target.cpu, target.cpu.replace("-", "_"))
    told = target.features if target.name == CUSTOM else ""
    return base + "".join(word[0] + word[1:].replace("-", "_") for word in told.split(",") if word)


def _zig(*arguments: str) -> None:
    if find_spec("ziglang") is None:
        raise DependencyError(
            "the ziglang package is not installed, and links for other machines; install edgelstm[build]"
        )
    done = subprocess.run([sys.executable, "-m", "ziglang", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (
            [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or ["no message"]
        )
        raise EdgeLSTMError(f"zig {arguments[0]} failed: {lines[0]}")
