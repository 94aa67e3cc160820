"""The instructions that one step of a library executes on an emulated AArch64 processor, in order."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from edgelstm.errors import DependencyError, EdgeLSTMError
from edgelstm.machine.targets import Target
from edgelstm.native.link import static_flags
from tools.mca import program

# The third step is looked at: by then nothing is done for the first time.
DRIVER = """
#include "model.h"
static _Alignas(MODEL_ALIGNMENT) unsigned char memory[MODEL_MEMORY];
static float x[MODEL_X_WORDS], y[MODEL_Y_WORDS];
int main(void) {
    model_stream *stream = model_create(memory, sizeof memory);
    for (unsigned i = 0; i < MODEL_X_WORDS; i++)
        x[i] = 0.125f * (float)(i % 16) - 1.0f;
    for (int step = 0; step < 3; step++)
        if (model_step(stream, x, y) != MODEL_OK)
            return 1;
    return 0;
}
"""
_BRANCH = re.compile(r"\b(0x[0-9a-f]+) <[^>]*>$")


def one_step(folder: Path, target: Target) -> list[str]:
    """Assembly of the instructions of one step.

    Args:
        folder: what `edgelstm build --name model` wrote for the target, AArch64; a program is put there.
        target: it.

    Raises:
        DependencyError: qemu-aarch64-static, LLVM or ziglang is not installed.
        EdgeLSTMError: the program did not compile or run.
    """
    emulator = shutil.which("qemu-aarch64-static")
    if emulator is None:
        raise DependencyError("qemu-aarch64-static is not installed; Debian has it in the package qemu-user-static")
    (folder / "driver.c").write_text(DRIVER)
    compiler = [sys.executable, "-m", "ziglang", "cc", *static_flags(target).split(), "-O2"]
    _run([*compiler, "driver.c", "libmodel.a", "-o", "driver"], folder)
    listing = _run([program("llvm-objdump"), "-d", "--no-show-raw-insn", "driver"], folder)
    singly = "-one-insn-per-tb" if "one-insn-per-tb" in _run([emulator, "-help"], folder) else "-singlestep"
    _run([emulator, "-cpu", "max", singly, "-d", "nochain,exec", "-D", "trace.log", "./driver"], folder)
    executed = [int(found, 16) for found in re.findall(r"/([0-9a-f]{8,16})/", (folder / "trace.log").read_text())]
    return _cut(executed, *parse(listing))


def parse(listing: str) -> tuple[dict[int, str], dict[str, range]]:
    """Of a disassembly: what stands at each address, and the addresses of each function."""
    code: dict[int, str] = {}
    starts: dict[str, int] = {}
    for line in listing.splitlines():
        if head := re.fullmatch(r"([0-9a-f]+) <(.+)>:", line):
            starts[head[2]] = int(head[1], 16)
        elif found := re.fullmatch(r"\s*([0-9a-f]+):\s+(.*)", line):
            text = found[2].partition("//")[0].strip().replace("\t", " ")
            code[int(found[1], 16)] = _BRANCH.sub("#0" if text.startswith("adr") else "#4", text)
    ordered = sorted(starts.items(), key=lambda pair: pair[1])
    ends = [at for _, at in ordered[1:]] + [max(code, default=0) + 4]
    return code, {name: range(at, end) for (name, at), end in zip(ordered, ends, strict=True)}


def _cut(executed: Sequence[int], code: dict[int, str], functions: dict[str, range]) -> list[str]:
    """From the third entry of the step to its return."""
    entry, outside = functions["model_step"].start, functions["main"]
    entries = [index for index, at in enumerate(executed) if at == entry]
    if len(entries) < 3:
        raise EdgeLSTMError(f"the trace holds {len(entries)} steps of 3")
    start = entries[2]
    end = next(index for index in range(start, len(executed)) if executed[index] in outside)
    return [code[at] for at in executed[start:end]]


def _run(command: Sequence[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EdgeLSTMError(f"{command[0]} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout
