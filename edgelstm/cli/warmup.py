"""Compiles the machine for this processor, or reads it from the cache, so that no model waits for it."""

from __future__ import annotations

import argparse
from importlib.util import find_spec

from edgelstm.cli.bench import peak_memory_mb
from edgelstm.errors import DependencyError


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `edgelstm warmup`: none."""


def main(options: argparse.Namespace) -> int:
    """See the module."""
    from edgelstm.machine.native import prebuilt

    if (library := prebuilt()) is not None:
        print(f"nothing to compile: the machine is a prebuilt {library.source}")
        return 0
    if find_spec("numba") is None:
        raise DependencyError("numba is not installed, so there is nothing to compile; install edgelstm[jit]")
    from edgelstm.machine import jit

    compiled = jit.warmup()
    memory = peak_memory_mb()
    print(f"{compiled.source} in {compiled.seconds:.1f} s" + (f", peak memory {memory:.0f} MB" if memory else ""))
    print(f"cache: {compiled.directory or 'none, every process compiles anew'}")
    return 0
