"""What a model costs on a device: bytes, memory, time to the first prediction and of a step; ONNX Runtime beside it.

    python -m benchmarks.footprint           everything, measured on this machine in one run
    python -m benchmarks.footprint --quick   does it work at all?

Needs edgelstm[build,onnx], onnxruntime, cc and a system with /proc/self/status. Every figure is the best of several
processes or rounds, taken in turns.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import edgelstm
from edgelstm.cli.demo import DATA
from edgelstm.machine.ahead import resolve
from edgelstm.native.build import build
from edgelstm.passes.stream import StreamOptions
from tools.arm_cycles import model as layer

DRIVER = Path(__file__).parent / "footprint.c"
PEAK = """
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
print(__import__("json").dumps({"first": first, "peak": peak}))
"""
START = "import time\nstart = time.perf_counter()\n"
FIRST = "first = time.perf_counter() - start\n"
BARE = f"""import sys
sys.path.insert(0, FOLDER)
{START}import model
stream = model.Stream()
stream.step([0.5] * WIDTH)
{FIRST}for _ in range(1000): stream.step([0.5] * WIDTH)
"""
PACKAGE = f"""{START}import edgelstm
stream = edgelstm.load(PATH).stream()
stream.step([0.5] * WIDTH)
{FIRST}for _ in range(1000): stream.step([0.5] * WIDTH)
"""
ONNXRUNTIME = f"""{START}import numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(PATH, options, providers=["CPUExecutionProvider"])
name, x = session.get_inputs()[0].name, numpy.full((1, 1, WIDTH), 0.5, "f4")
session.run(None, {{name: x}})
{FIRST}for _ in range(1000): session.run(None, {{name: x}})
"""


def main() -> int:
    """Prints the two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    rounds = 1 if options.quick else 4
    with tempfile.TemporaryDirectory(prefix="edgelstm-") as place:
        _processes(Path(place), rounds)
        _steps(Path(place), rounds)
    return 0


def _processes(place: Path, rounds: int) -> None:
    """The demo's model, streamed by a process of each kind."""
    source = DATA / "forecaster.onnx"
    demo = edgelstm.load(source)
    folder = build(demo, resolve("native"), place / "demo")
    size = (folder / "libmodel.so").stat().st_size
    weights = demo._step(StreamOptions())[1].program({}).weights.nbytes
    width = _width(demo)
    texts = {
        "bare Python, the folder's loader": BARE,
        "edgelstm.load of the folder": PACKAGE.replace("PATH", repr(str(folder))),
        "edgelstm with numba, cached": PACKAGE.replace("PATH", repr(str(folder / "model.edgelstm"))),
        "ONNX Runtime": ONNXRUNTIME.replace("PATH", repr(str(source))),
    }
    runs: dict[str, Callable[[], dict[str, float]]] = {
        name: _python(text.replace("FOLDER", repr(str(folder))).replace("WIDTH", str(width)) + PEAK)
        for name, text in texts.items()
    }
    program = _compiled(folder)
    runs["C, static"] = lambda: _json([str(program), "1000"])
    found: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
    for _ in range(rounds + 1):  # the first fills the page cache
        for name, run in runs.items():
            found[name].append(run())
    print(f"library of the demo's model: {size} bytes, of them {weights} are weights (measured)\n")
    print(f"{'demo model, one process (measured)':36} {'peak MB':>8} {'first step, ms':>15}")
    for name, done in found.items():
        print(f"{name:36} {min(d['peak'] for d in done):8.1f} {1e3 * min(d['first'] for d in done[1:]):15.2f}")


def _steps(place: Path, rounds: int) -> None:
    """Microseconds of a step: library and numba from Python, `run`, and C."""
    head = ("library", "numba", "numba run", "C")
    print(f"\n{'µs a step (measured)':24}" + "".join(f"{name:>12}" for name in head))
    cases = {"demo model": edgelstm.load(DATA / "forecaster.onnx")}
    cases |= {
        f"{c} 16→{h} {'int8' * q}": layer(c, h, int8=bool(q))
        for c in ("LSTM", "GRU")
        for h in (32, 128)
        for q in (0, 1)
    }
    for number, (name, model) in enumerate(cases.items()):
        folder = build(model, resolve("native"), place / str(number))
        program = _compiled(folder)
        library, numba = edgelstm.load(folder).stream(), model.stream()
        width = _width(model)
        xs = np.full((2000, width), 0.5, np.float32)
        ways: tuple[Callable[[], float], ...] = (
            partial(_loop, library, xs[0]),
            partial(_loop, numba, xs[0]),
            partial(_run, numba, xs),
            partial(_step_in_c, program),
        )
        best = [1e9] * len(ways)
        for _ in range(3 * rounds):
            best = [min(old, way()) for old, way in zip(best, ways, strict=True)]
        print(f"{name:24}" + "".join(f"{1e6 * value:12.3f}" for value in best), flush=True)


def _step_in_c(program: Path) -> float:
    return float(_json([str(program), "2000"])["step"])


def _width(model: Any) -> int:
    (kind,) = model.inputs.values()
    return int(kind.shape[-1])


def _loop(stream: Any, x: Any) -> float:
    step, start = stream.step, time.perf_counter()
    for _ in range(2000):
        step(x)
    return (time.perf_counter() - start) / 2000


def _run(stream: Any, xs: Any) -> float:
    start = time.perf_counter()
    stream.run(xs)
    return (time.perf_counter() - start) / len(xs)


def _compiled(folder: Path) -> Path:
    """The driver with the folder's archive, static."""
    command = [
        "cc",
        "-O2",
        "-static",
        f"-I{folder}",
        str(DRIVER),
        str(folder / "libmodel.a"),
        "-o",
        str(folder / "driver"),
    ]
    subprocess.run(command, check=True)
    return folder / "driver"


def _python(text: str) -> Callable[[], dict[str, float]]:
    return lambda: _json([sys.executable, "-c", text])


def _json(command: list[str]) -> dict[str, float]:
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


if __name__ == "__main__":
    sys.exit(main())
