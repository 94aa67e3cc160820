"""What can be said of Raspberry Pis without one: instructions of a step under qemu, and a bound from the processor.

    python -m benchmarks boards

Emulated: the library of `edgelstm build` for the board, every instruction of a step counted. Modelled: the least time
that loading each weight once from the first-level cache takes, at the processor's width and clock. Neither is a
measured time.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import counts
from benchmarks.layers import Layer
from benchmarks.report import number


@dataclass(frozen=True, slots=True)
class Board:
    """A board: its target, the processor to emulate, bytes that it loads in a cycle, and its clock in MHz."""

    name: str
    target: str
    cpu: str
    load: int
    clock: int

    def bound(self, layer: Layer) -> float:
        """Microseconds that loading the weights of a step takes at least."""
        return layer.products * (1 if layer.int8 else 4) / self.load / self.clock


BOARDS = (
    Board("Raspberry Pi 3, Zero 2 W", "pi3", "cortex-a53", 8, 1200),
    Board("Raspberry Pi 4", "pi4", "cortex-a72", 16, 1800),
    Board("Raspberry Pi 5", "pi5", "cortex-a76", 32, 2400),
)
LAYERS = tuple(Layer("LSTM", 16, hidden, int8) for int8 in (False, True) for hidden in (32, 64, 128))
LONG = 3  # steps of the longer of two emulations, whose difference counts


def emulated(board: Board, layers: Sequence[Layer]) -> dict[str, float]:
    """Instructions a step.

    Raises:
        FileNotFoundError: qemu-aarch64-static is not installed.
    """
    emulator = shutil.which("qemu-aarch64-static")
    if emulator is None:
        raise FileNotFoundError("the program 'qemu-aarch64-static' is not installed")
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl", "-static"]
    with tempfile.TemporaryDirectory(prefix="edgelstm-boards-") as folder:
        program = counts.driver(Path(folder), layers, board.target, compiler)
        command = [emulator, "-cpu", board.cpu, "-singlestep", "-d", "exec,nochain", str(program)]
        return {
            str(layer): (
                _instructions([*command, counts.name_of(layer), str(LONG)])
                - _instructions([*command, counts.name_of(layer), "1"])
            )
            / (LONG - 1)
            for layer in layers
        }


def _instructions(command: Sequence[str]) -> int:
    """Lines of qemu's log, one for each instruction that ran."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stderr is not None
        return sum(line.startswith("Trace ") for line in process.stderr)


def main(arguments: Sequence[str]) -> int:
    """`python -m benchmarks boards`."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks boards",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", metavar="TARGET", default=[board.target for board in BOARDS])
    options = parser.parse_args(arguments)
    head = ["board", *map(str, LAYERS)]
    print("\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head))))
    for board in (board for board in BOARDS if board.target in options.only):
        found = emulated(board, LAYERS)
        print(f"| {board.name}, emulated: instructions | {' | '.join(f'{count:.0f}' for count in found.values())} |")
        bounds = " | ".join(f"≥ {number(board.bound(layer))} µs" for layer in LAYERS)
        print(f"| {board.name}, modelled: bound | {bounds} |", flush=True)
    return 0
