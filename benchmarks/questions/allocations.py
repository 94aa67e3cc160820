"""How many allocations does a step make, Python's own objects included?"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from itertools import repeat
from pathlib import Path
from tempfile import mkdtemp

from benchmarks.layers import Layer
from benchmarks.measure import Timing
from benchmarks.questions import Case, Effort, unavailable
from benchmarks.results import Row
from benchmarks.runtimes import Unavailable, runtime

TITLE = "Allocations a step (malloc and its kin, each of Python's objects one), after a warm-up"
UNIT = "allocations a step"
MORE_IS_BETTER = False
THREADS = 1
ALTERNATE = False

SOURCE = Path(__file__).parents[1] / "allocations.c"
STEPS = 1000


def cases(*, quick: bool) -> list[Case]:
    """Steps, and a sequence of a hundred."""
    layer = Layer("LSTM", 16, 64)
    calls = {"one step": 1, "a sequence of 100": 100}
    return [Case("allocations", name, (layer, length)) for name, length in calls.items() if length == 1 or not quick]


def measure(case: Case, engines: Sequence[str], effort: Effort) -> list[Row]:
    """Each engine in a process with a counting allocator."""
    layer, length = case.value
    row = Row(case.group, case.label)
    for name in engines:
        with unavailable(row, name):
            runtime(name)
            count = _in_process(name, layer, length)
            row.figures[name] = Timing(count, count, count)
    return [row]


def _in_process(name: str, layer: Layer, length: int) -> float:
    done = subprocess.run(
        [sys.executable, "-m", __name__, name, layer.cell, *map(str, (layer.inputs, layer.hidden, length))],
        env=os.environ | {"LD_PRELOAD": str(_library()), "PYTHONMALLOC": "malloc"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Unavailable((done.stderr.strip() or "no answer").splitlines()[-1])
    return float(done.stdout.split()[-1])


@cache
def _library() -> Path:
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        raise Unavailable("counting needs Linux and a C compiler")
    out = Path(mkdtemp(prefix="edgelstm-bench-")) / "allocations.so"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", SOURCE, "-o", out], check=True, capture_output=True)
    return out


def _count(name: str, layer: Layer, length: int) -> float:
    """In the process with the counting allocator."""
    call = runtime(name).layer(layer, length, 1, 1)
    counter = ctypes.CDLL(None).allocations
    counter.restype = ctypes.c_ulong
    for _ in repeat(None, 100):
        call()
    own = -(counter() - counter())  # reading the counter allocates
    before = counter()
    for _ in repeat(None, STEPS):
        call()
    return float(counter() - before - own) / STEPS


if __name__ == "__main__":
    engine, cell, *sizes = sys.argv[1:]
    inputs, hidden, steps = map(int, sizes)
    try:
        print(_count(engine, Layer(cell, inputs, hidden), steps))
    except Unavailable as reason:
        sys.exit(str(reason))
