"""Write docs/arm-cycles.md: what one step of a layer costs on the cores of Raspberry Pis, as LLVM models them.

`python -m tools.arm_cycles` needs edgelstm[build], qemu-aarch64-static, llvm-objdump and llvm-mca.
"""

from __future__ import annotations

import math
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

from edgelstm.errors import EdgeLSTMError
from edgelstm.machine.targets import find
from edgelstm.native.build import build
from edgelstm.quantization.quantize import quantize
from edgelstm.runtime.load import from_arrays
from edgelstm.runtime.model import Model
from tools import mca, trace

PAGE = Path(__file__).resolve().parent.parent / "docs" / "arm-cycles.md"
TARGETS = {"A53": "pi3", "A72": "pi4", "A76": "pi5"}
CLOCKS = {"A53": 1.2, "A72": 1.5, "A76": 2.4}  # GHz, as the boards are sold
INPUTS, HIDDEN = 16, (32, 64, 128)
GATES = {"LSTM": 4, "GRU": 3}

HEAD = """# Cycles of a step on ARM

Made by `python -m tools.arm_cycles` with llvmlite {llvmlite}. One step of one layer with {inputs} inputs, called from
C through the library that `edgelstm build` makes for the board: no board was at hand, and nothing here is measured.

**Instructions are emulated**: qemu executes the library, and every instruction of one step is counted.

**Cycles are modelled**: these same instructions, in the order in which they were executed, go through the pipeline that
LLVM describes for the core (`llvm-mca`; for the A76 that of Neoverse N1, which has the same core). The model predicts
every branch right and finds everything in the first cache. Where a layer has more weights than that cache holds (32 KB;
64 KB on the A76), the core waits for the second, and takes longer than it says here.

| layer | weights, KB | {cores} |
|---|--:|{rules}|
"""


def model(cell: str, hidden: int, *, int8: bool) -> Model:
    """A layer with random weights."""
    rng, rows = np.random.default_rng(hidden), GATES[cell] * hidden
    shapes = {
        "weight_ih_l0": (rows, INPUTS),
        "weight_hh_l0": (rows, hidden),
        "bias_ih_l0": (rows,),
        "bias_hh_l0": (rows,),
    }
    found = from_arrays(
        {f"cell.{name}": rng.uniform(-0.1, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    )
    return quantize(found, objective="size", tolerance=math.inf) if int8 else found


def row(cell: str, hidden: int, *, int8: bool) -> str:
    """A line of the table."""
    layer = model(cell, hidden, int8=int8)
    cells = []
    for core, name in TARGETS.items():
        target = find(name)
        with tempfile.TemporaryDirectory(prefix="edgelstm-") as folder:
            executed = trace.one_step(build(layer, target, Path(folder, "built")), target)
        taken = mca.cycles(executed, core)
        cells += [f"{len(executed):,}", f"{taken:,}", f"{taken / CLOCKS[core] / 1e3:.2g}"]
    weights = GATES[cell] * hidden * (INPUTS + hidden) * (1 if int8 else 4) / 1024
    kind = "int8" if int8 else "float"
    return f"| {cell} {INPUTS}→{hidden} {kind} | {weights:.0f} | {' | '.join(cells)} |\n"


def main() -> int:
    """Writes the page."""
    titles = [
        f"{core}: instructions (emulated) | cycles (modelled) | µs at {CLOCKS[core]} GHz (modelled)" for core in TARGETS
    ]
    text = HEAD.format(
        llvmlite=version("llvmlite"), inputs=INPUTS, cores=" | ".join(titles), rules="--:|" * 3 * len(TARGETS)
    ).replace("|--:||", "|--:|")
    for cell in GATES:
        for int8 in (False, True):
            for hidden in HIDDEN:
                text += row(cell, hidden, int8=int8)
                print(text.splitlines()[-1], flush=True)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except EdgeLSTMError as error:
        sys.exit(f"{error}")
