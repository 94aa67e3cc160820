"""Whole processes: a program that loads a layer and makes its first step, for each engine and for each way of ours."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from benchmarks.layers import Layer
from benchmarks.runtimes import Unavailable, edgelstm, runtime

ROOT = Path(__file__).parents[1]
LAYER = Layer("LSTM", 16, 64)
OURS = ("edgelstm, prebuilt", "edgelstm, bare loader", "edgelstm, numba", "edgelstm, numba, nothing cached")
PEAK = """
for line in open("/proc/self/status"):
    if line.startswith("VmHWM"):
        print(line.split()[1])
"""


@dataclass(frozen=True, slots=True)
class Done:
    """What a process took: seconds from its start to its end, and its largest resident memory in MB."""

    seconds: float
    peak: float


def program(name: str) -> Callable[[], Done]:
    """A function that runs an engine's program once.

    Raises:
        Unavailable: the engine is not installed, or the system does not tell a process's peak memory.
    """
    if not Path("/proc/self/status").exists():
        raise Unavailable("the system has no /proc/self/status")
    folder = Path(mkdtemp(prefix="edgelstm-bench-"))
    if name in OURS:
        return _ours(name, folder)
    text = runtime(name).script(LAYER, folder)
    return lambda: run(text)


def run(text: str, **variables: str) -> Done:
    """A program of Python in a process of its own.

    It may keep its modules' bytecode, which an installed package has: a variable against that would have the compiler
    in the figure of whatever runs from a checkout.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", text + PEAK], env=environment | variables, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(done.stderr)
    return Done(seconds, int(done.stdout.split()[-1]) / 1024)


def _ours(name: str, folder: Path) -> Callable[[], Done]:
    x = f"[0.5] * {LAYER.inputs}"
    if name == "edgelstm, bare loader":
        place = str(_built())
        return lambda: run(f"import sys\nsys.path.insert(0, {place!r})\nimport layer\nlayer.Stream().step({x})")
    if name == "edgelstm, prebuilt":
        path, variables = _built(), {}
    else:
        path, variables = folder / "layer.edgelstm", {"EDGELSTM_MACHINE": "jit"}
        edgelstm.layer_model(LAYER).save(path)
    text = f"import edgelstm\nedgelstm.load({str(path)!r}).stream().step({x})"
    if not name.endswith("nothing cached"):
        return lambda: run(text, **variables)

    def afresh() -> Done:
        """The compiler's own files may lie warm; its results do not."""
        return run(text, **variables, NUMBA_CACHE_DIR=mkdtemp(dir=folder))

    return afresh


@cache
def _built() -> Path:
    """A folder of `edgelstm build` for this machine."""
    from edgelstm.errors import EdgeLSTMError
    from edgelstm.machine.ahead import resolve
    from edgelstm.native.build import build

    out = Path(mkdtemp(prefix="edgelstm-bench-")) / "built"
    try:
        return build(edgelstm.layer_model(LAYER), resolve("native"), out, name="layer")
    except EdgeLSTMError as error:
        raise Unavailable(str(error)) from None
