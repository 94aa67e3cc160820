"""Instructions of one step, counted by callgrind in the library for x86-64-v3: the same on every processor.

    python -m benchmarks counts            what the code makes now, beside the committed counts
    python -m benchmarks counts --write    commits them: benchmarks/counts.json

valgrind emulates the processor, and the library is compiled for x86-64-v3 whatever the host is: a count depends on the
source, on LLVM and on nothing else. It tells no time (a load from memory counts as much as one from a register), but it
tells at once, and everywhere, when a kernel got longer. A test fails when a count has grown by more than `MARGIN`.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks.layers import Layer
from benchmarks.report import number

COMMITTED = Path(__file__).parent / "counts.json"
DRIVER = Path(__file__).parent / "counts.c"
TARGET = "x86-64-v3"
MARGIN = 0.01  # a compiler may choose another instruction; a kernel that grew does more than that
STEPS = 4  # each counts the same; the first is among them

LAYERS = tuple(
    Layer(cell, 16, hidden, int8) for cell in ("LSTM", "GRU") for int8 in (False, True) for hidden in (32, 64, 128)
)


@dataclass(frozen=True, slots=True)
class Change:
    """A layer whose count differs from the committed one."""

    layer: str
    before: float
    after: float

    @property
    def grown(self) -> bool:
        """By more than the margin."""
        return self.after > self.before * (1 + MARGIN)

    def __str__(self) -> str:
        share = self.after / self.before - 1
        return f"{self.layer}: {self.before:.0f} → {self.after:.0f} instructions a step ({share:+.1%})"


def measure(layers: Sequence[Layer] = LAYERS) -> dict[str, float]:
    """Instructions a step of each layer.

    Raises:
        FileNotFoundError: valgrind or cc is not installed.
        DependencyError: numba or ziglang is not installed.
        RuntimeError: the driver did not compile or run.
    """
    with tempfile.TemporaryDirectory(prefix="edgelstm-counts-") as folder:
        program = driver(Path(folder), layers, TARGET, [_find("cc")])
        return {str(layer): _count(program, name_of(layer)) for layer in layers}


def changes(before: Mapping[str, float], after: Mapping[str, float]) -> list[Change]:
    """Every count that is not what was committed, of the layers that both know."""
    both = [name for name in after if name in before]
    return [Change(name, before[name], after[name]) for name in both if before[name] != after[name]]


def committed() -> dict[str, float]:
    """The counts of benchmarks/counts.json."""
    content = json.loads(COMMITTED.read_text(encoding="utf-8"))
    return {str(name): float(count) for name, count in content["instructions"].items()}


def name_of(layer: Layer) -> str:
    """The name of a layer's library."""
    return f"{layer.cell}{layer.hidden}{'q' if layer.int8 else 'f'}".lower()


def driver(folder: Path, layers: Sequence[Layer], target: str, compiler: Sequence[str]) -> Path:
    """One C program with the library of every layer: `counts NAME STEPS` makes so many steps."""
    from benchmarks.runtimes.edgelstm import layer_model
    from edgelstm.machine.targets import find
    from edgelstm.native.build import build

    names = [name_of(layer) for layer in layers]
    for layer, name in zip(layers, names, strict=True):
        build(layer_model(layer), find(target), folder / name, name=name)
    text = DRIVER.read_text(encoding="utf-8").replace("@INCLUDES@", "\n".join(f'#include "{n}/{n}.h"' for n in names))
    text = text.replace("@NAMES@", " ".join(f"X({name}, {name.upper()})" for name in names))
    (folder / "counts.c").write_text(text, encoding="utf-8")
    archives = [f"{name}/lib{name}.a" for name in names]
    _run([*compiler, "-O1", "counts.c", *archives, "-o", "counts"], folder)
    return folder / "counts"


def _count(program: Path, name: str) -> float:
    tool = [_find("valgrind"), "--tool=callgrind", f"--toggle-collect={name}_step", "--callgrind-out-file=/dev/null"]
    said = _run([*tool, str(program), name, str(STEPS)], program.parent)
    found = re.search(r"Collected : (\d+)", said)
    if found is None:
        raise RuntimeError(f"callgrind counted nothing:\n{said}")
    return int(found[1]) / STEPS


def _find(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise FileNotFoundError(f"the program {name!r} is not installed")
    return path


def _run(command: Sequence[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stderr


def main(arguments: Sequence[str]) -> int:
    """`python -m benchmarks counts`: exit code 1 where a count has grown."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks counts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--write", action="store_true", help="make these the committed counts")
    options = parser.parse_args(arguments)
    after = measure()
    before = committed() if COMMITTED.exists() else {}
    for name, count in after.items():
        print(f"{name:20} {count:10.2f}  {number(count / _products(name))} a multiply-add")
    found = changes(before, after)
    for change in found:
        print(change, "grown" if change.grown else "", file=sys.stderr)
    if options.write:
        content = {"target": TARGET, "llvmlite": version("llvmlite"), "margin": MARGIN, "instructions": after}
        COMMITTED.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return 0
    return int(any(change.grown for change in found))


def _products(name: str) -> int:
    return next(layer.products for layer in LAYERS if str(layer) == name)
